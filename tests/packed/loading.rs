//! Loads of values that are packed.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use larder::{Cache, ManualClock, PackedCache};

use crate::codecs::{codecs, text};
use crate::lab::{Brittle, pairs};

#[test]
fn callers_share_a_load() {
    for (name, codec) in codecs() {
        let cache: PackedCache<u64, String> = Cache::builder().max_entries(64).codec(codec).build().unwrap();
        let loads = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let value = cache.get_or_insert_with(1, || {
                        loads.fetch_add(1, SeqCst);
                        thread::sleep(Duration::from_millis(20));
                        text(1, 3000)
                    });
                    assert_eq!(value, text(1, 3000), "{name}");
                });
            }
        });
        assert_eq!(loads.load(SeqCst), 1, "{name}");
        assert_eq!(cache.get(&1), Some(text(1, 3000)), "{name}");
    }
}

#[test]
fn tasks_load_and_wait() {
    for (name, codec) in codecs() {
        let cache: PackedCache<u64, String> = Cache::builder().max_entries(64).codec(codec).build().unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut waits = true;
        let load =
            std::future::poll_fn(
                |_| {
                    if std::mem::take(&mut waits) { Poll::Pending } else { Poll::Ready(text(5, 3000)) }
                },
            );
        let mut leader = pin!(cache.get_or_insert_async(1, load));
        let mut waiter = pin!(cache.get_or_insert_async(1, std::future::pending()));
        assert!(leader.as_mut().poll(&mut context).is_pending());
        assert!(waiter.as_mut().poll(&mut context).is_pending());
        assert_eq!(leader.as_mut().poll(&mut context), Poll::Ready(text(5, 3000)), "{name}");
        assert_eq!(waiter.as_mut().poll(&mut context), Poll::Ready(text(5, 3000)), "{name}");
        assert_eq!(cache.get(&1), Some(text(5, 3000)), "{name}");
    }
}

/// A cache whose entries are due after a minute, and one that is.
fn due(codec: &Arc<Brittle>) -> (PackedCache<u64, Vec<u8>>, ManualClock) {
    let clock = ManualClock::new();
    let cache = Cache::builder()
        .max_entries(64)
        .refresh_after(Duration::from_secs(60))
        .clock(clock.clone())
        .record_stats()
        .codec(Arc::clone(codec))
        .build()
        .unwrap();
    cache.insert(1, pairs(1, 1000));
    clock.advance(Duration::from_secs(60));
    (cache, clock)
}

#[test]
fn what_is_old_is_served_while_it_is_loaded_anew() {
    let (cache, _) = due(&Arc::default());
    let reload = || {
        assert_eq!(cache.get_or_insert_with(1, || unreachable!()), pairs(1, 1000));
        pairs(2, 1000)
    };
    assert_eq!(cache.get_or_insert_with(1, reload), pairs(2, 1000));
    assert_eq!(cache.get(&1), Some(pairs(2, 1000)));
}

#[test]
fn what_is_old_is_served_where_its_load_fails() {
    let (cache, _) = due(&Arc::default());
    assert_eq!(cache.try_get_or_insert_with(1, || Err::<_, ()>(())), Ok(pairs(1, 1000)));
    assert_eq!(cache.get(&1), Some(pairs(1, 1000)));
}

#[test]
fn what_is_old_and_does_not_open_is_loaded_as_if_it_were_missing() {
    let codec = Arc::new(Brittle::default());
    let (cache, _) = due(&codec);
    codec.is_broken.store(true, SeqCst);
    assert_eq!(cache.try_get_or_insert_with(1, || Err::<Vec<u8>, _>("down")), Err("down"));
    assert!(cache.is_empty());
    assert_eq!(cache.get_or_insert_with(1, || pairs(3, 1000)), pairs(3, 1000));
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.damaged), (0, 2, 1));
    codec.is_broken.store(false, SeqCst);
    assert_eq!(cache.get(&1), Some(pairs(3, 1000)));
}

#[test]
fn what_is_young_and_does_not_open_is_loaded_as_if_it_were_missing() {
    let codec = Arc::new(Brittle::default());
    let (cache, clock) = due(&codec);
    cache.insert(2, pairs(2, 1000));
    clock.advance(Duration::from_secs(1));
    codec.is_broken.store(true, SeqCst);
    assert_eq!(cache.get_or_insert_with(2, || pairs(4, 1000)), pairs(4, 1000));
    assert_eq!(cache.stats().damaged, 1);
    codec.is_broken.store(false, SeqCst);
    assert_eq!(cache.get(&2), Some(pairs(4, 1000)));
    cache.validate();
}
