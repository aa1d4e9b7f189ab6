//! Many callers of one key: one loads; one that fails or panics hands over to the next.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use larder::Cache;

use crate::lab::{Key, Task, crowd, give_up, is_first, never};

#[test]
fn many_callers_one_load() {
    let cache: Cache<Key, String> = Cache::new(100);
    let loads = AtomicUsize::new(0);
    let values = crowd(16, |number, key, all_wait| {
        cache.get_or_insert_with(key, || {
            loads.fetch_add(1, SeqCst);
            all_wait();
            format!("by {number}")
        })
    });
    assert_eq!(loads.into_inner(), 1);
    assert_eq!(values.iter().collect::<HashSet<_>>().len(), 1, "{values:?}");
    assert_eq!(cache.get(&Key::new(1)).as_ref(), Some(&values[0]));
    assert_eq!(cache.stats().loads, 1);
    cache.validate();
}

#[test]
fn a_failure_is_its_callers_own_and_the_next_one_loads() {
    let cache: Cache<Key, usize> = Cache::new(100);
    let loads = AtomicUsize::new(0);
    let results = crowd(8, |number, key, all_wait| {
        cache.try_get_or_insert_with(key, || {
            if is_first(&loads) {
                all_wait();
                return Err(number);
            }
            Ok(number)
        })
    });
    assert_eq!(loads.into_inner(), 2);
    let failed: Vec<_> = (0..8).filter(|&number| results[number] == Err(number)).collect();
    assert_eq!(failed.len(), 1, "{results:?}");
    let value = cache.get(&Key::new(1)).expect("stored by the second");
    assert!(results.iter().all(|result| result.is_err() || *result == Ok(value)), "{results:?}");
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.load_failures), (1, 1));
    cache.validate();
}

#[test]
fn where_all_fail_each_loads_once() {
    let cache: Cache<Key, u32> = Cache::new(100);
    let (loads, inside) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let results = crowd(8, |number, key, all_wait| {
        cache.try_get_or_insert_with(key, || {
            assert_eq!(inside.fetch_add(1, SeqCst), 0, "one at a time");
            if is_first(&loads) {
                all_wait();
            }
            inside.fetch_sub(1, SeqCst);
            Err(number)
        })
    });
    assert_eq!(results, (0..8).map(Err).collect::<Vec<_>>());
    assert_eq!((loads.into_inner(), cache.len()), (8, 0));
    assert_eq!(cache.stats().load_failures, 8);
    cache.validate();
}

#[test]
fn a_panic_reaches_its_caller_and_the_next_one_loads() {
    let cache: Cache<Key, u32> = Cache::new(100);
    let loads = AtomicUsize::new(0);
    let results = crowd(8, |_, key, all_wait| {
        catch_unwind(AssertUnwindSafe(|| {
            cache.get_or_insert_with(key, || {
                if is_first(&loads) {
                    all_wait();
                    give_up();
                }
                7
            })
        }))
        .map_err(|panic| *panic.downcast_ref::<&str>().unwrap())
    });
    assert_eq!(results.iter().filter(|result| **result == Err("gave up")).count(), 1);
    assert_eq!(results.iter().filter(|result| **result == Ok(7)).count(), 7);
    let stats = cache.stats();
    assert_eq!((loads.into_inner(), stats.loads, stats.load_failures), (2, 1, 1));
    cache.validate();
}

#[test]
fn each_call_counts_as_one_look_up_and_loads_are_timed() {
    let cache: Cache<Key, u32> = Cache::builder().max_entries(100).record_stats().build().unwrap();
    let loads = AtomicUsize::new(0);
    let took = Duration::from_millis(1);
    crowd(4, |_, key, all_wait| {
        let _ = cache.try_get_or_insert_with(key, || {
            all_wait_if_first(&loads, all_wait)?;
            let started = Instant::now();
            while started.elapsed() < took {}
            Ok::<_, ()>(1)
        });
    });
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.loads, stats.load_failures), (0, 4, 1, 1));
    assert!(stats.load_time >= took, "{:?}", stats.load_time);
    cache.get_or_insert_with(Key::new(1), || unreachable!("it is there"));
    let change = cache.stats() - stats;
    assert_eq!((change.hits, change.misses, change.loads, change.load_time), (1, 0, 0, Duration::ZERO));
    // What is cancelled has neither succeeded nor failed.
    assert!(Task::new(cache.get_or_insert_async(Key::new(2), never())).poll().is_pending());
    let change = cache.stats() - stats;
    assert_eq!((change.misses, change.loads, change.load_failures), (1, 0, 0));
}

/// The first one waits for the others, and fails.
fn all_wait_if_first(loads: &AtomicUsize, all_wait: &dyn Fn()) -> Result<(), ()> {
    if is_first(loads) {
        all_wait();
        return Err(());
    }
    Ok(())
}
