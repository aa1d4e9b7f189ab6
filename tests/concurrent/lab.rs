//! Caches of several kinds, threads that race for them, and what has to be so when they have finished.
//!
//! Knows the calls of a cache by number, so that tests can choose them at random.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use larder::{Cache, Change, Outcome, Policy};

use crate::entries::{Alive, Keeping, Key, Value};

pub(crate) type Entries = Cache<Key, Value, Keeping>;

/// The kinds of caches that every test is run on, unless it is about one of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Shape {
    /// The exact order of use: hits take the lock.
    Exact,
    SecondChance,
    S3Fifo,
    /// Starts tiny, grows, and then is full.
    Bytes,
    /// Few hashes for all keys: whole buckets overflow.
    Colliding,
}

pub(crate) const SHAPES: [Shape; 5] =
    [Shape::Exact, Shape::SecondChance, Shape::S3Fifo, Shape::Bytes, Shape::Colliding];

impl Shape {
    pub(crate) fn build(self) -> Entries {
        let builder = Cache::builder().hasher(Keeping(u64::MAX));
        match self {
            Self::Exact => builder.max_entries(48).build(),
            Self::SecondChance => builder.max_entries(300).stripes(4).build(),
            Self::S3Fifo => builder.max_entries(300).policy(Policy::S3Fifo).initial_entries(1).build(),
            Self::Bytes => return Self::build_bytes(64 << 10),
            Self::Colliding => builder.hasher(Keeping(0x700)).max_entries(100).initial_entries(1).build(),
        }
        .unwrap()
    }

    pub(crate) fn build_bytes(max_bytes: u64) -> Entries {
        Cache::builder().hasher(Keeping(u64::MAX)).max_bytes(max_bytes).stripes(2).build().unwrap()
    }

    /// So large that nothing is evicted, and yet it starts with a table of a few entries.
    pub(crate) fn build_unlimited(self) -> Entries {
        let builder = Cache::builder().hasher(Keeping(u64::MAX)).initial_entries(1);
        match self {
            Self::Exact => Cache::builder().hasher(Keeping(u64::MAX)).initial_entries(1).max_entries(64).build(),
            Self::SecondChance => builder.max_entries(1 << 20).stripes(2).build(),
            Self::S3Fifo => builder.max_entries(1 << 20).stripes(1).policy(Policy::S3Fifo).build(),
            Self::Bytes => builder.max_bytes(1 << 30).build(),
            Self::Colliding => builder.hasher(Keeping(0x700)).max_entries(1 << 20).build(),
        }
        .unwrap()
    }

    /// As [`Shape::build_unlimited`], for numbers.
    pub(crate) fn build_counters(self) -> Cache<u64, u64, Keeping> {
        let keeping = Keeping(if self == Self::Colliding { 0x700 } else { u64::MAX });
        let builder = Cache::builder().hasher(keeping).initial_entries(1);
        match self {
            Self::Exact => builder.max_entries(64).build(),
            Self::S3Fifo => builder.max_entries(1 << 20).stripes(1).policy(Policy::S3Fifo).build(),
            Self::Bytes => builder.max_bytes(1 << 30).build(),
            Self::SecondChance | Self::Colliding => builder.max_entries(1 << 20).stripes(2).build(),
        }
        .unwrap()
    }

    /// How many keys a test may use besides its own, if nothing may be evicted.
    pub(crate) fn others(self) -> u64 {
        match self {
            Self::Exact => 40,
            Self::Colliding => 150,
            _ => 3_000,
        }
    }
}

/// Splitmix.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(mixed ^ (mixed >> 31)) * u128::from(end)) >> 64) as u64
    }
}

/// Lets one test run at a time: a reader of any cache keeps what is retired in all of them.
pub(crate) fn one_at_a_time() -> MutexGuard<'static, ()> {
    static RUNS: Mutex<()> = Mutex::new(());
    RUNS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writers that have not finished.
pub(crate) struct Running(AtomicUsize);

impl Running {
    pub(crate) fn goes_on(&self) -> bool {
        self.0.load(Acquire) > 0
    }
}

pub(crate) type Writer<'a> = &'a (dyn Fn() + Sync);

pub(crate) type Reader<'a> = &'a (dyn Fn(&Running) + Sync);

/// Runs all at the same time, a thread each. Readers are to stop when the writers have finished.
pub(crate) fn race(writers: &[Writer<'_>], readers: &[Reader<'_>]) {
    struct Finish<'a>(&'a Running);
    impl Drop for Finish<'_> {
        fn drop(&mut self) {
            self.0.0.fetch_sub(1, Release);
        }
    }

    let start = Barrier::new(writers.len() + readers.len());
    let running = Running(AtomicUsize::new(writers.len()));
    let (start, running) = (&start, &running);
    thread::scope(|scope| {
        let writers = writers.iter().map(|writer| {
            scope.spawn(move || {
                let _finish = Finish(running);
                start.wait();
                writer();
            })
        });
        let readers = readers.iter().map(|reader| {
            scope.spawn(move || {
                start.wait();
                reader(running);
            })
        });
        let threads: Vec<_> = writers.chain(readers).collect();
        // The scope's own end waits for what the threads were to run, and not until they have been torn down.
        for thread in threads {
            if let Err(panic) = thread.join() {
                resume_unwind(panic);
            }
        }
    });
}

/// All is as it should be, nothing but what is in the cache is alive, and when it is dropped nothing at all.
#[track_caller]
pub(crate) fn finish(cache: Entries, alive: &Alive) {
    cache.validate();
    cache.maintain();
    cache.validate();
    let walked = cache.iter().inspect(|entry| _ = entry.check(*entry.key().id)).count();
    assert_eq!(walked, cache.len());
    assert_eq!(alive.count(), 2 * cache.len() as i64, "keys and values alive");
    let stats = cache.stats();
    assert_eq!(stats.retired_bytes, 0);
    assert_eq!(stats.inserts, stats.entries + stats.evictions + stats.expirations + stats.removals, "{stats:?}");
    drop(cache);
    assert_eq!(alive.count(), 0, "keys and values alive after the cache was dropped");
}

/// Looks a key up in one of all ways, as `way` says; the version found.
#[track_caller]
pub(crate) fn look_up(cache: &Entries, id: u64, way: u64) -> Option<u64> {
    match way % 9 {
        0 => cache.get(&id).map(|value| value.check(id)),
        1 => cache.read(&id, |value| value.check(id)),
        2 => cache.get_ref(&id).map(|entry| {
            assert_eq!(*entry.key().id, id);
            entry.check(id)
        }),
        3 => cache.peek(&id).map(|value| value.check(id)),
        4 => cache.get_many([&id]).pop().unwrap().map(|value| value.check(id)),
        // These say nothing about the value.
        5 => cache.contains_key(&id).then_some(u64::MAX),
        6 => cache.time_left(&id).map(|_| u64::MAX),
        7 => {
            let mut version = None;
            let outcome = cache.compute(&id, |entry| {
                version = entry.map(|(key, value)| {
                    assert_eq!(*key.id, id);
                    value.check(id)
                });
                Change::Keep
            });
            assert_eq!(outcome, Outcome::Unchanged);
            version
        }
        _ => {
            let mut version = None;
            let removed = cache.remove_if(&id, |key, value| {
                version = Some(value.check(*key.id));
                false
            });
            assert!(removed.is_none());
            version
        }
    }
}

/// Changes the entry of a key in one of all ways, or some others with it.
pub(crate) fn change(cache: &Entries, alive: &Alive, id: u64, version: u64, way: u64) {
    match way % 24 {
        0 => assert_eq!(cache.remove(&id).map_or(id, |value| value.id), id),
        1 => drop(cache.invalidate(&id)),
        2 => drop(cache.remove_if(&id, |_, value| value.check(id) % 2 == 0)),
        3 => drop(cache.compute(&id, |_| Change::Remove)),
        4 => drop(cache.touch(&id, Duration::MAX)),
        5 => cache.insert_with_ttl(alive.key(id), alive.value(id, version), Duration::ZERO),
        6 => cache.insert_many((id..id + 4).map(|id| (alive.key(id), alive.value(id, version)))),
        7 => cache.retain(|key, value| value.check(*key.id) % 8 != 0),
        8 if version % 50 == 0 => cache.clear(),
        9 if version % 50 == 0 => cache.maintain(),
        10 => {
            cache.compute(&id, |found| match found {
                Some((key, value)) if value.check(*key.id) >= version => Change::Keep,
                _ => Change::Put(alive.key(id), alive.value(id, version)),
            });
        }
        11 => drop(cache.try_insert(alive.key(id), alive.value(id, version)).is_ok()),
        _ => cache.insert(alive.key(id), alive.value(id, version)),
    }
}
