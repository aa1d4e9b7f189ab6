//! The caches under test, each behind `Subject`, with the settings a user gets who sets the capacity and nothing else:
//! the crate's own hasher, its own shards, its own eviction.
//!
//! Only this file knows the caches' own interfaces.

use std::{
    hint::black_box,
    num::NonZeroUsize,
    sync::PoisonError,
    time::{Duration, Instant},
};

use larder::Policy;
use lru::LruCache;

use crate::{
    subject::{Candidate, Subject},
    workload::{Ints, Workload},
};

pub(crate) const LARDER_LRU: &str = "larder Lru";
pub(crate) const LARDER_S3_FIFO: &str = "larder S3Fifo";
pub(crate) const QUICK_CACHE: &str = "quick_cache";

/// Every subject, in the order of the tables' rows.
pub(crate) fn all<W: Workload>() -> Vec<Candidate<W>> {
    vec![
        Candidate::<W>::new(LARDER_LRU, |capacity| larder_with::<W>(Policy::Lru, capacity)),
        Candidate::new(LARDER_S3_FIFO, |capacity| larder_with::<W>(Policy::S3Fifo, capacity)),
        Candidate::new(QUICK_CACHE, quick_cache::sync::Cache::<W::Key, W::Value>::new),
        Candidate::new("TinyUFO", |capacity| tinyufo::TinyUfo::<W::Key, W::Value>::new(capacity, capacity)),
        Candidate::new("moka", |capacity| moka::sync::Cache::<W::Key, W::Value>::new(capacity as u64)),
        Candidate::new("foyer-memory", |capacity| {
            foyer_memory::CacheBuilder::<W::Key, W::Value, _>::new(capacity).build::<foyer_memory::CacheProperties>()
        }),
        Candidate::new("lru in std Mutex", |capacity| std::sync::Mutex::new(lru::<W>(capacity))),
        Candidate::new("lru in parking_lot", |capacity| parking_lot::Mutex::new(lru::<W>(capacity))),
    ]
}

type Larder<W> = larder::Cache<<W as Workload>::Key, <W as Workload>::Value>;

fn larder_with<W: Workload>(policy: Policy, capacity: usize) -> Larder<W> {
    larder::Cache::builder()
        .max_entries(capacity)
        .policy(policy)
        .build()
        .expect("a policy and a capacity are a valid choice")
}

impl<W: Workload> Subject<W> for larder::Cache<W::Key, W::Value> {
    #[inline]
    fn get(&self, key: &W::Query) -> Option<W::Value> {
        larder::Cache::get(self, key)
    }

    #[inline]
    fn insert(&self, key: W::Key, value: W::Value) {
        larder::Cache::insert(self, key, value);
    }

    fn holds(&self, key: &W::Query) -> bool {
        self.contains_key(key)
    }

    #[inline]
    fn get_batch<'q>(&self, keys: impl Iterator<Item = &'q W::Query>) -> usize {
        black_box(self.get_many(keys)).iter().flatten().count()
    }

    fn settle(&self) {
        self.maintain();
    }
}

/// A larder cache whose every entry is inserted with a time to live of its own.
struct WithTtl(larder::Cache<u64, u64>);

impl Subject<Ints> for WithTtl {
    #[inline]
    fn get(&self, key: &u64) -> Option<u64> {
        self.0.get(key)
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        self.0.insert_with_ttl(key, value, Duration::from_secs(3600));
    }

    fn holds(&self, key: &u64) -> bool {
        self.0.contains_key(key)
    }

    fn settle(&self) {
        self.0.maintain();
    }
}

/// A plain larder cache whose caller reads the clock before each get: what a reading of the clock takes there.
struct ClockBefore(larder::Cache<u64, u64>);

impl Subject<Ints> for ClockBefore {
    #[inline]
    fn get(&self, key: &u64) -> Option<u64> {
        black_box(Instant::now());
        self.0.get(key)
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    fn holds(&self, key: &u64) -> bool {
        self.0.contains_key(key)
    }

    fn settle(&self) {
        self.0.maintain();
    }
}

pub(crate) const PLAIN: &str = "plain";
pub(crate) const CLOCK: &str = "plain, and the caller reads the clock";
pub(crate) const TTL: &str = "TTL on each entry";

/// The same larder cache with one feature more each, to be held against the plain one.
pub(crate) fn features() -> Vec<Candidate<Ints>> {
    const VALID: &str = "one feature beside a capacity is a valid choice";
    let builder = |capacity| larder::Cache::<u64, u64>::builder().max_entries(capacity);
    vec![
        Candidate::new(PLAIN, |capacity| larder_with::<Ints>(Policy::Lru, capacity)),
        Candidate::new(CLOCK, |capacity| ClockBefore(larder_with::<Ints>(Policy::Lru, capacity))),
        Candidate::new("record_stats", move |capacity| builder(capacity).record_stats().build().expect(VALID)),
        Candidate::new("removal listener", move |capacity| {
            builder(capacity)
                .on_removal(|key, value, cause| {
                    black_box((key, value, cause));
                })
                .build()
                .expect(VALID)
        }),
        Candidate::new("weigher and max_bytes", |capacity| {
            larder::Cache::<u64, u64>::builder()
                .max_bytes(capacity as u64 * 256)
                .weigher(|_, _| 16)
                .build()
                .expect(VALID)
        }),
        Candidate::new(TTL, |capacity| WithTtl(larder_with::<Ints>(Policy::Lru, capacity))),
    ]
}

/// The larder caches whose memory is counted beside the plain ones: with a TTL on every entry.
pub(crate) fn with_ttl() -> Vec<Candidate<Ints>> {
    vec![
        Candidate::new("larder Lru, TTL on each", |capacity| WithTtl(larder_with::<Ints>(Policy::Lru, capacity))),
        Candidate::new("larder S3Fifo, TTL on each", |capacity| WithTtl(larder_with::<Ints>(Policy::S3Fifo, capacity))),
    ]
}

/// The larder caches that are limited by bytes: here the capacity is one.
pub(crate) fn limited_by_bytes() -> Vec<Candidate<Ints>> {
    let limited = |policy, bytes: usize| {
        larder::Cache::<u64, u64>::builder()
            .max_bytes(bytes as u64)
            .policy(policy)
            .build()
            .expect("a policy and a limit in bytes are a valid choice")
    };
    vec![
        Candidate::new("larder Lru, max_bytes", move |bytes| limited(Policy::Lru, bytes)),
        Candidate::new("larder S3Fifo, max_bytes", move |bytes| limited(Policy::S3Fifo, bytes)),
    ]
}

impl<W: Workload> Subject<W> for quick_cache::sync::Cache<W::Key, W::Value> {
    #[inline]
    fn get(&self, key: &W::Query) -> Option<W::Value> {
        quick_cache::sync::Cache::get(self, key)
    }

    #[inline]
    fn insert(&self, key: W::Key, value: W::Value) {
        quick_cache::sync::Cache::insert(self, key, value);
    }

    fn holds(&self, key: &W::Query) -> bool {
        self.contains_key(key)
    }
}

/// Looks up by `&K` alone, so a text key has to be made for every look-up. It also keeps no key: only a hash of it.
impl<W: Workload> Subject<W> for tinyufo::TinyUfo<W::Key, W::Value> {
    #[inline]
    fn get(&self, key: &W::Query) -> Option<W::Value> {
        tinyufo::TinyUfo::get(self, &key.to_owned())
    }

    #[inline]
    fn insert(&self, key: W::Key, value: W::Value) {
        black_box(self.put(key, value, 1));
    }
}

impl<W: Workload> Subject<W> for moka::sync::Cache<W::Key, W::Value> {
    #[inline]
    fn get(&self, key: &W::Query) -> Option<W::Value> {
        moka::sync::Cache::get(self, key)
    }

    #[inline]
    fn insert(&self, key: W::Key, value: W::Value) {
        moka::sync::Cache::insert(self, key, value);
    }

    fn holds(&self, key: &W::Query) -> bool {
        self.contains_key(key)
    }

    fn settle(&self) {
        self.run_pending_tasks();
    }
}

impl<W: Workload> Subject<W> for foyer_memory::Cache<W::Key, W::Value> {
    #[inline]
    fn get(&self, key: &W::Query) -> Option<W::Value> {
        foyer_memory::Cache::get(self, key).map(|entry| entry.value().clone())
    }

    #[inline]
    fn insert(&self, key: W::Key, value: W::Value) {
        black_box(foyer_memory::Cache::insert(self, key, value));
    }

    fn holds(&self, key: &W::Query) -> bool {
        self.contains(key)
    }
}

fn lru<W: Workload>(capacity: usize) -> LruCache<W::Key, W::Value> {
    LruCache::new(NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN))
}

impl<W: Workload> Subject<W> for std::sync::Mutex<LruCache<W::Key, W::Value>> {
    #[inline]
    fn get(&self, key: &W::Query) -> Option<W::Value> {
        let mut cache = self.lock().unwrap_or_else(PoisonError::into_inner);
        cache.get(key).cloned()
    }

    #[inline]
    fn insert(&self, key: W::Key, value: W::Value) {
        // Bound before the lock is, so that what it displaces is dropped after the unlock.
        let _displaced;
        let mut cache = self.lock().unwrap_or_else(PoisonError::into_inner);
        _displaced = cache.push(key, value);
    }

    fn holds(&self, key: &W::Query) -> bool {
        let cache = self.lock().unwrap_or_else(PoisonError::into_inner);
        cache.contains(key)
    }
}

impl<W: Workload> Subject<W> for parking_lot::Mutex<LruCache<W::Key, W::Value>> {
    #[inline]
    fn get(&self, key: &W::Query) -> Option<W::Value> {
        self.lock().get(key).cloned()
    }

    #[inline]
    fn insert(&self, key: W::Key, value: W::Value) {
        let _displaced;
        let mut cache = self.lock();
        _displaced = cache.push(key, value);
    }

    fn holds(&self, key: &W::Query) -> bool {
        self.lock().contains(key)
    }
}
