//! The cache under test: keys and values that are counted, hashers good and bad, and random settings.
//!
//! Knows no model.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::panicking;
use std::time::Duration;

use larder::{BuildError, Builder, Cache, Equivalent, ManualClock, Policy, RemovalCause};

pub(crate) type Subject = Cache<Key, Value, Hashing>;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Xorshift.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((u128::from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)) * u128::from(end)) >> 64) as u64
    }

    pub(crate) fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// How many keys and values there are, by the serial number of the write that brought them.
#[derive(Default)]
pub(crate) struct Census {
    alive: Mutex<HashMap<u64, i64>>,
}

impl Census {
    fn change(&self, serial: u64, by: i64) {
        let mut alive = lock(&self.alive);
        let count = alive.entry(serial).or_default();
        *count += by;
        assert!(*count >= 0 || panicking(), "the entry of write {serial} was dropped twice");
        if *count == 0 {
            alive.remove(&serial);
        }
    }

    pub(crate) fn of(&self, serial: u64) -> i64 {
        lock(&self.alive).get(&serial).copied().unwrap_or(0)
    }

    pub(crate) fn all(&self) -> Vec<(u64, i64)> {
        let mut all: Vec<_> = lock(&self.alive).iter().map(|(&serial, &count)| (serial, count)).collect();
        all.sort_unstable();
        all
    }
}

/// A part of a key or a value, which makes the census count it.
pub(crate) struct Counted {
    census: Arc<Census>,
    pub(crate) serial: u64,
}

impl Counted {
    pub(crate) fn new(census: &Arc<Census>, serial: u64) -> Self {
        census.change(serial, 1);
        Self { census: Arc::clone(census), serial }
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::new(&self.census, self.serial)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.census.change(self.serial, -1);
    }
}

#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) id: u32,
    pub(crate) counted: Counted,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.id);
    }
}

/// What keys are looked up by.
#[derive(Clone, Copy, Hash)]
pub(crate) struct Id(pub(crate) u32);

impl Equivalent<Key> for Id {
    fn equivalent(&self, key: &Key) -> bool {
        self.0 == key.id
    }
}

#[derive(Clone)]
pub(crate) struct Value {
    pub(crate) weight: u64,
    pub(crate) counted: Counted,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Hashing {
    /// The default, with a seed that is known.
    Ahash(u64),
    Identity,
    /// So many different hashes.
    Few(u64),
}

pub(crate) struct Collect(Hashing, u32);

impl BuildHasher for Hashing {
    type Hasher = Collect;

    fn build_hasher(&self) -> Collect {
        Collect(*self, 0)
    }
}

impl Hasher for Collect {
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys write a u32");
    }

    fn write_u32(&mut self, id: u32) {
        self.1 = id;
    }

    fn finish(&self) -> u64 {
        match self.0 {
            Hashing::Ahash(seed) => ahash::RandomState::with_seeds(seed, 1, 2, 3).hash_one(self.1),
            Hashing::Identity => self.1.into(),
            Hashing::Few(hashes) => u64::from(self.1) % hashes,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    Entries(usize),
    Bytes(u64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    pub(crate) policy: Policy,
    pub(crate) limit: Limit,
    pub(crate) stripes: Option<usize>,
    pub(crate) hashing: Hashing,
    /// Keys are below this.
    pub(crate) ids: u32,
    /// Nanoseconds of which all times are multiples.
    pub(crate) tick: u64,
    pub(crate) ttl: Option<Duration>,
    pub(crate) idle: Option<Duration>,
    /// Whether entries are given times to live of their own, too.
    pub(crate) timed: bool,
    /// Most weights are below this.
    pub(crate) weight: u64,
    /// Whether the cache is filled before the first step.
    pub(crate) filled: bool,
    pub(crate) steps: usize,
}

impl Config {
    pub(crate) fn is_one_stripe(&self) -> bool {
        match (self.stripes, self.limit) {
            (Some(stripes), _) => stripes == 1,
            (None, Limit::Entries(limit)) => limit < 2048,
            (None, Limit::Bytes(_)) => false,
        }
    }

    pub(crate) fn is_exact(&self) -> bool {
        matches!(self.limit, Limit::Entries(..=64)) && self.policy == Policy::Lru && self.is_one_stripe()
    }

    /// Settings that all tests have in common.
    pub(crate) fn random(rng: &mut Rng, policy: Policy, limit: Limit, ids: u32) -> Self {
        let few = 1 + rng.below(3);
        let hashings = [Hashing::Ahash(rng.below(u64::MAX)), Hashing::Identity, Hashing::Few(few)];
        let idles = rng.one_in(3);
        // A 64th of the time to idle is no multiple of the tick, so no hit falls on the very border.
        let tick = if idles { 1_000 } else { rng.pick(&[1, 1_000, 1_000_000_000]) };
        let ttl = rng.one_in(3).then(|| Duration::from_nanos(tick * (1 + rng.below(1_000))));
        Self {
            policy,
            limit,
            stripes: None,
            hashing: rng.pick(if ids > 300 { &hashings[..2] } else { &hashings }),
            ids,
            tick,
            ttl,
            idle: idles.then(|| Duration::from_nanos(tick * 650)),
            timed: rng.one_in(2),
            weight: 0,
            filled: false,
            steps: 500,
        }
    }
}

/// What a listener was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) id: u32,
    pub(crate) serial: u64,
    pub(crate) cause: RemovalCause,
}

/// What a cache is given, and its test looks at.
#[derive(Clone, Default)]
pub(crate) struct Outside {
    pub(crate) clock: ManualClock,
    pub(crate) census: Arc<Census>,
    pub(crate) log: Arc<Mutex<Vec<Told>>>,
}

pub(crate) fn build(config: &Config, outside: &Outside) -> Result<Subject, BuildError> {
    match config.limit {
        Limit::Entries(limit) => settings(Cache::builder().max_entries(limit), config, outside).build(),
        Limit::Bytes(limit) => {
            let builder = Cache::builder().max_bytes(limit).weigher(|_, value: &Value| value.weight);
            settings(builder, config, outside).build()
        }
    }
}

fn settings<S, W>(
    builder: Builder<Key, Value, S, W>,
    config: &Config,
    outside: &Outside,
) -> Builder<Key, Value, Hashing, W> {
    let Outside { clock, census, log } = outside.clone();
    let listener = move |key: &Key, value: &Value, cause| {
        let serial = value.counted.serial;
        assert_eq!(key.counted.serial, serial, "key and value of one write");
        assert!(census.of(serial) >= 2, "told of what is dropped");
        lock(&log).push(Told { id: key.id, serial, cause });
    };
    let builder = builder.policy(config.policy).hasher(config.hashing).clock(clock);
    let mut builder = builder.record_stats().on_removal(listener);
    if let Some(stripes) = config.stripes {
        builder = builder.stripes(stripes);
    }
    if let Some(ttl) = config.ttl {
        builder = builder.time_to_live(ttl);
    }
    if let Some(idle) = config.idle {
        builder = builder.time_to_idle(idle);
    }
    builder
}
