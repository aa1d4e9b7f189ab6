//! Threads that come and go, caches that are used in the last moments of values and of threads, and readers that stay.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::sync::{Arc, LazyLock, OnceLock};
use std::thread;
use std::time::Duration;

use larder::Cache;

use crate::entries::{Alive, Keeping};
use crate::lab::{Entries, Random, SHAPES, Shape, change, finish, look_up, one_at_a_time, race};

#[test]
fn threads_come_and_go() {
    let _one = one_at_a_time();
    let alive = Alive::default();
    let cache = Shape::SecondChance.build();
    let spawn = |seed: u64| {
        for round in 0..80 {
            let (cache, alive) = (&cache, &alive);
            thread::scope(|scope| {
                scope.spawn(move || {
                    let mut random = Random(seed + round);
                    for version in 0..20 {
                        change(cache, alive, random.below(100), version, random.below(24));
                        look_up(cache, random.below(100), random.below(9));
                    }
                });
            });
        }
    };
    race(&[&|| spawn(1), &|| spawn(1 << 20), &|| spawn(1 << 30)], &[]);
    finish(cache, &alive);
}

/// A value that uses a cache when it is dropped, at most a few times over.
struct Busy {
    cache: Arc<OnceLock<Cache<u64, Busy>>>,
    key: u64,
    again: u32,
    dropped: Arc<AtomicU64>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Relaxed);
        let Some(cache) = self.cache.get().filter(|_| self.again > 0) else { return };
        cache.read(&self.key, |_| ());
        cache.invalidate(&(self.key + 1));
        let (cache_too, dropped) = (Arc::clone(&self.cache), Arc::clone(&self.dropped));
        cache.insert(self.key * 7 % 64, Busy { cache: cache_too, key: self.key, again: self.again - 1, dropped });
    }
}

#[test]
fn values_that_use_their_cache_when_they_are_dropped() {
    let _one = one_at_a_time();
    let cell = Arc::new(OnceLock::new());
    let cache = Cache::builder().max_entries(32).stripes(2).build().unwrap();
    assert!(cell.set(cache).is_ok());
    let (dropped, made) = (Arc::new(AtomicU64::new(0)), AtomicU64::new(0));
    let cache = cell.get().unwrap();
    let write = |seed: u64| {
        let mut random = Random(seed);
        for _ in 0..3_000 {
            let (key, dropped) = (random.below(100), Arc::clone(&dropped));
            made.fetch_add(1 + 2, Relaxed);
            cache.insert(key, Busy { cache: Arc::clone(&cell), key, again: 2, dropped });
            match random.below(300) {
                0 => cache.clear(),
                1 => cache.maintain(),
                _ => drop(cache.get_ref(&random.below(100))),
            }
        }
    };
    race(&[&|| write(1), &|| write(2)], &[]);
    // Each that is dropped puts in another, twice.
    for _ in 0..4 {
        cache.clear();
        cache.maintain();
    }
    cache.validate();
    assert!(cache.is_empty());
    assert_eq!(dropped.load(Relaxed), made.load(Relaxed));
}

/// What is left in a thread's own storage when it ends uses a cache, however late that is.
#[test]
fn caches_work_while_a_thread_is_torn_down() {
    let _one = one_at_a_time();
    static CACHE: LazyLock<Entries> = LazyLock::new(|| {
        let build = Cache::builder().hasher(Keeping(u64::MAX)).max_entries(50).record_stats();
        build.time_to_idle(Duration::from_secs(3_600)).build().unwrap()
    });
    static ENDED: AtomicU64 = AtomicU64::new(0);

    struct Last(Alive);
    impl Drop for Last {
        fn drop(&mut self) {
            for id in 0..100 {
                CACHE.insert(self.0.key(id), self.0.value(id, 1));
                (0..9).for_each(|way| _ = look_up(&CACHE, id, way));
                CACHE.invalidate(&(id / 2));
            }
            CACHE.iter().for_each(|entry| _ = entry.check(*entry.key().id));
            CACHE.maintain();
            ENDED.fetch_add(1, Relaxed);
        }
    }

    thread_local! {
        static FIRST: RefCell<Option<Last>> = const { RefCell::new(None) };
        static SECOND: RefCell<Option<Last>> = const { RefCell::new(None) };
    }
    let alive = Alive::default();
    thread::scope(|scope| {
        for _ in 0..8 {
            let alive = alive.clone();
            scope
                .spawn(move || {
                    // One is dropped before, the other after whatever a cache keeps for the thread.
                    FIRST.set(Some(Last(alive.clone())));
                    CACHE.insert(alive.key(1), alive.value(1, 0));
                    CACHE.get(&1);
                    SECOND.set(Some(Last(alive)));
                })
                .join()
                .unwrap();
        }
    });
    assert_eq!(ENDED.load(Relaxed), 16);
    CACHE.validate();
    CACHE.clear();
    CACHE.maintain();
    assert_eq!(alive.count(), 0);
}

/// What was retired beside a reader that stays is given up when it leaves, all of it.
#[test]
fn a_long_reader_delays_what_is_retired_and_no_more() {
    let _one = one_at_a_time();
    for shape in SHAPES {
        let alive = Alive::default();
        let cache = shape.build();
        cache.insert(alive.key(0), alive.value(0, 0));
        let read = cache.read(&0, |value| {
            for version in 1..3_000 {
                cache.insert(alive.key(version), alive.value(version, version));
                if version % 3 == 0 {
                    cache.invalidate(&(version - 1));
                }
            }
            cache.clear();
            assert!(cache.is_empty());
            value.check(0)
        });
        assert_eq!(read, Some(0));
        cache.maintain();
        assert_eq!(alive.count(), 0, "{shape:?}");
        finish(cache, &alive);
    }
}
