//! Everything at once, with many keys and many loads.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::SeqCst};
use std::thread;

use larder::{Cache, Policy};

use crate::lab::{Fragile, Task, block_on, dawdle, give_up, rng, run_all};

/// A value that knows its key and is counted.
#[derive(Clone)]
struct Counted(u32, Fragile);

#[test]
fn all_at_once() {
    const KEYS: u32 = 12;
    // Keys below this are never removed and have room: they are loaded with success just once.
    const KEPT: u32 = 6;
    for policy in [Policy::Lru, Policy::S3Fifo] {
        let alive = Arc::new(AtomicI64::new(0));
        let cache: Cache<u32, Counted> = Cache::builder().max_entries(200).policy(policy).build().unwrap();
        let inside: Vec<AtomicUsize> = (0..KEYS).map(|_| AtomicUsize::new(0)).collect();
        let loaded: Vec<AtomicUsize> = (0..KEYS).map(|_| AtomicUsize::new(0)).collect();
        for round in 0..40 {
            thread::scope(|scope| {
                for thread in 0..4 {
                    let (cache, inside, loaded, alive) = (&cache, &inside, &loaded, &alive);
                    scope.spawn(move || {
                        one_of_all(round * 4 + thread, cache, |key, succeeds| {
                            if key < KEPT {
                                assert_eq!(inside[key as usize].fetch_add(1, SeqCst), 0, "two loads of key {key}");
                                thread::yield_now();
                                inside[key as usize].fetch_sub(1, SeqCst);
                            }
                            if !succeeds {
                                return Err(());
                            }
                            loaded[key as usize].fetch_add(1, SeqCst);
                            Ok(Counted(key, Fragile::new(key, |_| (), alive)))
                        });
                    });
                }
            });
            cache.validate();
            for key in 0..KEPT {
                let loads = loaded[key as usize].swap(0, SeqCst);
                assert_eq!(loads, usize::from(cache.contains_key(&key)), "key {key} in round {round}");
            }
            cache.clear();
        }
        for key in 0..KEYS {
            let load = || Counted(key, Fragile::new(key, |_| (), &alive));
            assert_eq!(cache.get_or_insert_with(key, load).0, key, "nothing is left that it waits for");
        }
        drop(cache);
        assert_eq!(alive.load(SeqCst), 0, "everything was dropped once");
    }

    fn one_of_all(seed: u64, cache: &Cache<u32, Counted>, load: impl Fn(u32, bool) -> Result<Counted, ()>) {
        let mut below = rng(seed);
        for _ in 0..60 {
            let key = below(KEYS.into()) as u32;
            let (succeeds, panics) = (below(3) > 0, below(8) == 0);
            let load = || {
                let loaded = load(key, succeeds && !panics);
                if panics {
                    give_up();
                }
                loaded
            };
            let pauses = below(3) as usize;
            let load_later = async {
                dawdle(pauses).await;
                load()
            };
            let got = match below(8) {
                0 if key >= KEPT => Ok(cache.remove(&key).ok_or(())),
                1 if key >= KEPT => {
                    cache.insert(key, cache.peek(&key).unwrap_or_else(|| foreign(key)));
                    continue;
                }
                0..=3 => catch_unwind(AssertUnwindSafe(|| cache.try_get_or_insert_with(key, load))),
                4..=5 => catch_unwind(AssertUnwindSafe(|| block_on(cache.try_get_or_insert_async(key, load_later)))),
                _ => catch_unwind(AssertUnwindSafe(|| {
                    // Polled a few times, then dropped.
                    let mut task = Task::new(cache.try_get_or_insert_async(key, load_later));
                    (0..=pauses).find_map(|_| task.step()).unwrap_or(Err(()))
                })),
            };
            if let Ok(Ok(value)) = got {
                assert_eq!((value.0, value.1.id), (key, key));
            }
        }
    }

    fn foreign(key: u32) -> Counted {
        Counted(key, Fragile::new(key, |_| (), &Arc::default()))
    }
}

#[test]
fn a_thousand_loads_at_a_time() {
    let cache: Cache<u32, u32> = Cache::new(10_000);
    let mut tasks: Vec<_> = (0..1_000)
        .map(|key| {
            Task::new(cache.try_get_or_insert_async(key % 500, async move {
                dawdle(3).await;
                Ok::<_, Infallible>(key)
            }))
        })
        .collect();
    for task in &mut tasks {
        assert!(task.poll().is_pending());
    }
    // Half of those who load leave.
    for gone in (0..500).step_by(2) {
        tasks[gone] = Task::new(async { Ok(0) });
    }
    let values = run_all(tasks);
    for key in (0..500).step_by(2) {
        assert_eq!(values[key + 500], Ok(key as u32 + 500));
        assert_eq!(values[key + 501], Ok(key as u32 + 1));
    }
    assert_eq!((cache.len(), cache.stats().loads), (500, 500));
    cache.validate();
}
