//! Counters, and the snapshot that a user sees.
//!
//! What writes count is counted under the stripes' locks, always. What readers count costs something
//! on every hit, so it is off unless asked for, and then each thread has its own line: threads
//! that read the same key share nothing that they write.

use crate::codec::PackCounts;
use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use std::cell::Cell;
use std::ops::Sub;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What a cache has done since it was made, and what it holds: a snapshot.
///
/// The difference of two snapshots says what happened between them; `entries`, `bytes` and
/// `retired_bytes`, which are levels, are those of the later one.
///
/// # Examples
///
/// ```
/// use larder::Cache;
///
/// let cache: Cache<u32, u32> = Cache::builder().max_entries(100).record_stats().build()?;
/// cache.insert(1, 10);
/// let before = cache.stats();
/// cache.get(&1);
/// cache.get(&2);
/// let change = cache.stats() - before;
/// assert_eq!((change.hits, change.misses, change.inserts), (1, 1, 0));
/// assert_eq!(change.hit_ratio(), Some(0.5));
/// # Ok::<(), larder::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Look-ups that found a living entry: by `get`, `read`, `get_ref`, `get_many` and the loading
    /// calls; not by `peek`, `contains_key` and iteration. 0 without `record_stats`.
    pub hits: u64,
    /// Look-ups that did not. 0 without `record_stats`.
    pub misses: u64,
    /// Entries put in for a key that had none.
    pub inserts: u64,
    /// Entries put in the place of another.
    pub updates: u64,
    /// Entries that weighed more than the whole cache may, or whose value the codec refused.
    pub rejected: u64,
    /// Entries that made room.
    pub evictions: u64,
    /// Entries that left because their time was over.
    pub expirations: u64,
    /// Entries that the caller removed, and those whose value did not open.
    pub removals: u64,
    /// Loads that gave a value.
    pub loads: u64,
    /// Loads that gave an error or panicked.
    pub load_failures: u64,
    /// The time that all loads took together, failures included.
    pub load_time: Duration,
    /// Values that did not open when they were met, since their stored bytes were damaged; their entries were removed. Where
    /// the call counts hits and misses, it counts as a miss: `get` does, for example, but not `peek`, `remove`, `compute`,
    /// `retain` or iteration.
    pub damaged: u64,
    /// What the codec made of values; all zero in a cache without one.
    pub codec: PackCounts,
    /// Entries in the cache, expired ones that have not been taken out yet among them.
    pub entries: u64,
    /// Bytes in use, see [`Cache::used_bytes`](crate::Cache::used_bytes).
    pub bytes: u64,
    /// Those of them that have been displaced and wait for their last readers to leave, with tables that were outgrown, and
    /// nodes that can't be given back before because one beside them is lent.
    pub retired_bytes: u64,
}

impl Stats {
    /// Hits per look-up, from 0 to 1. `None` before the first look-up, or without `record_stats`.
    pub fn hit_ratio(&self) -> Option<f64> {
        let lookups = self.hits + self.misses;
        (lookups != 0).then(|| self.hits as f64 / lookups as f64)
    }
}

impl Sub for Stats {
    type Output = Stats;

    /// What happened between the snapshot `earlier` and this one.
    fn sub(self, earlier: Stats) -> Stats {
        Stats {
            hits: self.hits.saturating_sub(earlier.hits),
            misses: self.misses.saturating_sub(earlier.misses),
            inserts: self.inserts.saturating_sub(earlier.inserts),
            updates: self.updates.saturating_sub(earlier.updates),
            rejected: self.rejected.saturating_sub(earlier.rejected),
            evictions: self.evictions.saturating_sub(earlier.evictions),
            expirations: self.expirations.saturating_sub(earlier.expirations),
            removals: self.removals.saturating_sub(earlier.removals),
            loads: self.loads.saturating_sub(earlier.loads),
            load_failures: self.load_failures.saturating_sub(earlier.load_failures),
            load_time: self.load_time.saturating_sub(earlier.load_time),
            damaged: self.damaged.saturating_sub(earlier.damaged),
            codec: self.codec - earlier.codec,
            entries: self.entries,
            bytes: self.bytes,
            retired_bytes: self.retired_bytes,
        }
    }
}

/// Threads that have a line of their own; more threads than that share the others.
const OWN_LINES: usize = 64;
const SHARED_LINES: usize = 16;

/// The numbers of threads that ended, to be used again, and the next that was never used.
static NUMBERS: Mutex<(Vec<usize>, usize)> = Mutex::new((Vec::new(), 0));

/// A number that no other living thread has.
struct ThreadNumber(usize);

/// In place of a number, where a thread has none.
const NO_NUMBER: usize = usize::MAX;

thread_local! {
    // Two, since a cell that needs no destructor is there until the very end, and is had for one load.
    static NUMBER: Cell<usize> = const { Cell::new(NO_NUMBER) };
    static OWNED: ThreadNumber = ThreadNumber::take();
}

impl ThreadNumber {
    fn take() -> Self {
        let (ended, next) = &mut *NUMBERS.lock();
        Self(ended.pop().unwrap_or_else(|| {
            *next += 1;
            *next - 1
        }))
    }

    /// Gives this thread its number.
    #[cold]
    fn assign() {
        // A thread that is being torn down has lost it; it may still drop a value that uses a cache.
        let number = OWNED.try_with(|owned| owned.0).unwrap_or(NO_NUMBER);
        NUMBER.set(number);
    }
}

impl Drop for ThreadNumber {
    fn drop(&mut self) {
        NUMBER.set(NO_NUMBER);
        NUMBERS.lock().0.push(self.0);
    }
}

/// Counters of which each thread has its own line: to count is to write what no other thread writes.
pub(crate) struct ThreadCounts<const N: usize> {
    lines: Box<[CachePadded<[AtomicU64; N]>; OWN_LINES + SHARED_LINES]>,
}

impl<const N: usize> ThreadCounts<N> {
    pub(crate) fn new() -> Self {
        let lines = std::array::from_fn(|_| CachePadded::new([const { AtomicU64::new(0) }; N]));
        Self { lines: Box::new(lines) }
    }

    /// Adds one to the counter of this number.
    #[inline]
    pub(crate) fn count(&self, which: usize) {
        self.add(which, 1);
    }

    /// Adds to the counter of this number, modulo 2^64: so that a thread can take back what it has counted.
    #[inline]
    fn add(&self, which: usize, number: u64) {
        if !self.try_add(which, number) {
            self.add_elsewhere(which, number);
        }
    }

    /// Adds, if this thread has a line of its own, and calls no function.
    #[inline]
    fn try_add(&self, which: usize, number: u64) -> bool {
        let thread = NUMBER.get();
        if thread >= OWN_LINES {
            return false;
        }
        let counter = &self.lines[thread][which];
        // Load and store, not an atomic addition: nobody else stores here. A thread that takes over the number of
        // one that ended does so after it, through the lock on the numbers.
        counter.store(counter.load(Relaxed).wrapping_add(number), Relaxed);
        true
    }

    /// Adds in a thread that has no line of its own yet, or, since it is beyond those that have, or is being torn down,
    /// where several threads do.
    #[cold]
    #[inline(never)]
    fn add_elsewhere(&self, which: usize, number: u64) {
        if NUMBER.get() == NO_NUMBER {
            ThreadNumber::assign();
            if self.try_add(which, number) {
                return;
            }
        }
        self.lines[OWN_LINES + NUMBER.get() % SHARED_LINES][which].fetch_add(number, Relaxed);
    }

    /// The sums over all threads there have been.
    pub(crate) fn sum(&self) -> [u64; N] {
        let mut sums = [0_u64; N];
        for line in &*self.lines {
            for (sum, counter) in sums.iter_mut().zip(line.iter()) {
                *sum = sum.wrapping_add(counter.load(Relaxed));
            }
        }
        sums
    }
}

/// Hits and misses.
pub(crate) struct LookupCounts(ThreadCounts<2>);

impl LookupCounts {
    pub(crate) fn new() -> Self {
        Self(ThreadCounts::new())
    }

    /// Out of line, so that look-ups in a cache that does not count have the registers to themselves.
    #[inline(never)]
    pub(crate) fn count(&self, hit: bool) {
        self.0.count(usize::from(!hit));
    }

    /// As [`LookupCounts::count`], if that can be done without a call. Whether it could.
    #[inline]
    pub(crate) fn try_count(&self, hit: bool) -> bool {
        self.0.try_add(usize::from(!hit), 1)
    }

    /// Takes back a hit that this thread has counted, and counts a miss for it.
    pub(crate) fn recount_as_miss(&self) {
        self.0.add(usize::from(false), u64::MAX);
        self.count(false);
    }

    /// The sums over all threads there have been.
    pub(crate) fn sum(&self) -> (u64, u64) {
        self.0.sum().into()
    }
}

/// What loads count; they take long enough that one shared line does not matter.
#[derive(Default)]
pub(crate) struct LoadCounts {
    loads: AtomicU64,
    failures: AtomicU64,
    nanos: AtomicU64,
}

impl LoadCounts {
    pub(crate) fn count(&self, succeeded: bool, took: Duration) {
        let counter = if succeeded { &self.loads } else { &self.failures };
        counter.fetch_add(1, Relaxed);
        self.nanos.fetch_add(crate::clock::nanos(took), Relaxed);
    }

    pub(crate) fn add_to(&self, stats: &mut Stats) {
        stats.loads = self.loads.load(Relaxed);
        stats.load_failures = self.failures.load(Relaxed);
        stats.load_time = Duration::from_nanos(self.nanos.load(Relaxed));
    }
}
