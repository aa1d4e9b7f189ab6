//! A load that asks for its own key is noticed; one that asks for others goes on.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

use larder::Cache;

use crate::lab::{Fragile, Task, block_on, dawdle, message_of};

#[test]
fn a_load_that_asks_for_its_own_key_panics() {
    let cache: Cache<u32, u32> = Cache::new(100);
    let forms: [(&str, &dyn Fn()); 6] = [
        ("sync", &|| {
            cache.get_or_insert_with(1, || cache.get_or_insert_with(1, || 1));
        }),
        ("sync, through another key", &|| {
            cache.get_or_insert_with(1, || cache.get_or_insert_with(2, || cache.get_or_insert_with(1, || 1)));
        }),
        ("async", &|| {
            block_on(cache.get_or_insert_async(1, async { cache.get_or_insert_async(1, async { 1 }).await }));
        }),
        ("async, later and through another key", &|| {
            let innermost = async { cache.get_or_insert_async(1, async { 1 }).await };
            let inner = async { cache.get_or_insert_async(2, innermost).await };
            let outer = async {
                dawdle(2).await;
                inner.await
            };
            block_on(cache.get_or_insert_async(1, outer));
        }),
        ("sync in async", &|| {
            block_on(cache.get_or_insert_async(1, async { cache.get_or_insert_with(1, || 1) }));
        }),
        ("async in sync", &|| {
            cache.get_or_insert_with(1, || block_on(cache.get_or_insert_async(1, async { 1 })));
        }),
    ];
    for (name, form) in forms {
        let message = message_of(form);
        assert!(message.contains("asked for this key itself"), "{name}: {message}");
        assert_eq!(cache.get_or_insert_with(1, || 9), 9, "{name}: the key can be loaded again");
        cache.clear();
        cache.validate();
    }
}

#[test]
fn a_waiter_that_is_moved_into_the_load_it_waits_for_panics() {
    let cache: Cache<u32, u32> = Cache::new(100);
    let mut waiter: Task<'_, u32> = Task::new(cache.get_or_insert_async(1, async { 2 }));
    let slot = Cell::new(None);
    let mut leader = Task::new(cache.get_or_insert_async(1, async {
        dawdle(1).await;
        let mut waiter: Task<'_, u32> = slot.take().unwrap();
        poll_fn(|_| waiter.poll()).await
    }));
    assert!(leader.poll().is_pending());
    assert!(waiter.poll().is_pending());
    slot.set(Some(waiter));
    let message = message_of(|| assert!(leader.poll().is_ready()));
    assert!(message.contains("asked for this key itself"), "{message}");
    assert_eq!(cache.get_or_insert_with(1, || 3), 3);
}

#[test]
fn a_load_may_load_other_keys() {
    let cache: Cache<u64, u64> = Cache::new(100);
    fn fibonacci(cache: &Cache<u64, u64>, n: u64) -> u64 {
        cache.get_or_insert_with(n, || if n < 2 { n } else { fibonacci(cache, n - 1) + fibonacci(cache, n - 2) })
    }
    assert_eq!(fibonacci(&cache, 60), 1_548_008_755_920);
    assert_eq!(cache.stats().loads, 61);
    cache.validate();
}

#[test]
fn user_code_inside_a_load_that_asks_for_the_key_is_noticed() {
    thread_local! {
        static CACHE: Rc<Cache<u32, Fragile>> = Rc::new(Cache::new(10));
    }
    let alive = Arc::new(AtomicI64::new(0));
    let cache = CACHE.with(Rc::clone);
    let ask = |id| {
        CACHE.with(|cache| drop(cache.get_or_insert_with(id, || unreachable!("it is being loaded"))));
    };
    let message = message_of(|| drop(cache.get_or_insert_with(1, || Fragile::new(1, ask, &alive))));
    assert!(message.contains("asked for this key itself"), "{message}");
    assert_eq!(alive.load(SeqCst), 0);
}
