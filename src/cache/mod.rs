//! The cache: hash, choose a stripe, call it, clone or lend the value.
//!
//! Knows the hasher, the form of values, the weigher and the clock, which the stripes do not. Keys are hashed, values
//! packed, entries weighed and the clock read before any lock is taken.
//!
//! ```text
//! what a cache is made of, its limits and counters   (here)
//!   look       look-ups                              (look.rs)
//!   write      inserts and removals                  (write.rs)
//!   compute    read, decide, change                  (compute.rs)
//! ```

mod compute;
mod look;
mod write;

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crossbeam_utils::CachePadded;

pub use self::compute::{Change, Outcome};

use crate::budget::{Budget, Unit};
use crate::builder::{self, Builder};
use crate::clock::Time;
use crate::error::BuildError;
use crate::first_panic::FirstPanic;
use crate::form::{Form, Plain};
use crate::iter::{Iter, Keys, Ref};
use crate::loading::Registry;
use crate::stats::{LoadCounts, LookupCounts, Stats};
use crate::stripe::{self, RemovalCause, Stripe};
use crate::sync::pin;

pub(crate) type WeighFn<K, V> = Box<dyn Fn(&K, &V) -> u64 + Send + Sync>;
pub(crate) type Listener<K, V> = Box<dyn Fn(&K, &V, RemovalCause) + Send + Sync>;

/// A key-value cache in memory, shared by all threads of a program.
///
/// See the [crate's documentation](crate) for what it guarantees. Look-ups take a borrowed form of the key
/// (`&str` for `String`), and no lock. All calls are O(1) unless they say otherwise.
///
/// The cache is `Send` and `Sync` where `K` and `V` are: share it by reference or in an `Arc`.
///
/// Keys and values lie in the cache's nodes, and go there and away over the stack, where a write has room for some of them at
/// a time: put what takes more than some kilobytes itself into a `Box`.
///
/// A child of a `fork` that no `exec` follows may go on with its parent's cache if no other thread of the parent was inside a
/// call; otherwise a lock may stay taken in the child, or memory may never be freed there.
///
/// `S` hashes keys, and `F` is the [form](Form) in which values are kept: as they are, where nothing is said.
pub struct Cache<K, V, S = ahash::RandomState, F: Form<K, V> = Plain> {
    pub(crate) core: Core<K, F::Stored>,
    pub(crate) registry: Registry<K, V>,
    pub(crate) form: F,
    pub(crate) hasher: S,
}

/// What of a cache depends neither on its hasher nor on the form of its values. `V` is what is stored.
pub(crate) struct Core<K, V> {
    pub(crate) stripes: Box<[Stripe<K, V>]>,
    pub(crate) budget: Budget,
    pub(crate) time: Time,
    /// Whether any entry ever had a deadline, or has an age: if not, writes need not read the clock.
    timed: AtomicBool,
    /// In nanoseconds; 0 for never.
    pub(crate) time_to_live: u64,
    time_to_idle: u64,
    /// In nanoseconds; 0 for never.
    pub(crate) refresh_after: u64,
    weigh: Option<WeighFn<K, V>>,
    pub(crate) listener: Option<Listener<K, V>>,
    lookups: Option<LookupCounts>,
    pub(crate) loads: LoadCounts,
    rejected: CachePadded<AtomicU64>,
    damaged: AtomicU64,
}

/// What a builder makes a cache of.
pub(crate) struct Parts<K, V, S, F: Form<K, V>> {
    pub(crate) stripes: Box<[Stripe<K, F::Stored>]>,
    pub(crate) budget: Budget,
    pub(crate) form: F,
    pub(crate) hasher: S,
    pub(crate) time: Time,
    pub(crate) time_to_live: u64,
    pub(crate) time_to_idle: u64,
    pub(crate) refresh_after: u64,
    pub(crate) weigh: Option<WeighFn<K, F::Stored>>,
    pub(crate) listener: Option<Listener<K, F::Stored>>,
    pub(crate) record_stats: bool,
}

/// Where a key belongs.
#[derive(Clone, Copy)]
pub(crate) struct Location {
    pub(crate) stripe: usize,
    pub(crate) hash: stripe::Hash,
}
impl<K, V> Core<K, V> {
    /// The time for a write, read before it takes a lock, or for a walk; 0 where no entry has a deadline.
    pub(crate) fn time_if_timed(&self) -> u64 {
        // Relaxed: who does not see yet that there is a deadline may leave it to the next write.
        if self.timed.load(Relaxed) { self.time.now() } else { 0 }
    }

    /// When an entry that lives for `ttl` nanoseconds, 0 for ever, expires, and the limit up to which a hit
    /// may put that off.
    #[inline]
    pub(crate) fn deadline(&self, ttl: u64) -> (u64, u64) {
        if ttl == 0 && self.time_to_idle == 0 { (0, 0) } else { self.deadline_from_now(ttl) }
    }

    #[inline(never)]
    fn deadline_from_now(&self, ttl: u64) -> (u64, u64) {
        if !self.timed.load(Relaxed) {
            self.timed.store(true, Relaxed);
        }
        let now = self.time.now();
        let limit = if ttl == 0 { 0 } else { now.checked_add(ttl).unwrap_or(0) };
        match self.time_to_idle {
            0 => (limit, limit),
            idle => (stripe::idle_deadline(now, idle, limit), limit),
        }
    }

    /// Counts an entry that was too large.
    pub(crate) fn reject(&self) -> Outcome {
        self.rejected.fetch_add(1, Relaxed);
        Outcome::Rejected
    }

    pub(crate) fn weigh(&self, key: &K, value: &V) -> u64 {
        self.weigh.as_ref().map_or(0, |weigh| weigh(key, value))
    }

    /// What the cache's own structures take at the least, in a cache that is new.
    fn least_bytes(&self) -> u64 {
        self.stripes.iter().map(Stripe::least_bytes).sum()
    }

    /// Whether an entry of this weight is too large for the cache, and then the most it may be.
    #[inline]
    pub(crate) fn is_too_large(&self, weight: u64) -> Option<u64> {
        // What is no more than a quarter always fits, and most entries are: they need no sum.
        if self.budget.unit == Unit::Entries || weight <= self.budget.limit() / 4 {
            return None;
        }
        let structures: u64 = self.stripes.iter().map(Stripe::lasting_bytes).sum();
        let max = self.budget.limit().saturating_sub(structures);
        (weight > max).then_some(max)
    }
}

impl<K, V> Cache<K, V> {
    /// Settings for a cache.
    pub fn builder() -> Builder<K, V> {
        Builder::new()
    }
}

impl<K: Hash + Eq, V> Cache<K, V> {
    /// A cache of at most `max_entries` entries, which is taken as 1 if it is 0, and as the most that a
    /// cache can hold if it is more than that. [`Cache::builder`] has all other settings, and refuses such numbers.
    ///
    /// # Examples
    ///
    /// ```
    /// let cache = larder::Cache::new(1_000);
    /// cache.insert("one", 1);
    /// assert_eq!(cache.get("one"), Some(1));
    /// ```
    pub fn new(max_entries: usize) -> Self {
        let builder = Builder::new().max_entries(max_entries.clamp(1, builder::max_entries(builder::MAX_STRIPES)));
        builder.build().expect("every number in this range is a valid limit")
    }
}

impl<K, V, S, F: Form<K, V>> Cache<K, V, S, F> {
    pub(crate) fn from_parts(parts: Parts<K, V, S, F>) -> Self {
        let Parts { stripes, budget, form, hasher, time, time_to_live, time_to_idle, refresh_after, weigh, .. } = parts;
        let core = Core {
            stripes,
            budget,
            time,
            timed: AtomicBool::new(time_to_live != 0 || time_to_idle != 0 || refresh_after != 0),
            time_to_live,
            time_to_idle,
            refresh_after,
            weigh,
            listener: parts.listener,
            lookups: parts.record_stats.then(LookupCounts::new),
            loads: LoadCounts::default(),
            rejected: CachePadded::default(),
            damaged: AtomicU64::new(0),
        };
        Self { core, registry: Registry::new(), form, hasher }
    }

    /// Charges the memory that stripes start with, and sees whether the budget has room for them.
    pub(crate) fn check_room(&self) -> Result<(), BuildError> {
        self.check_limit(self.core.budget.limit())?;
        for stripe in 0..self.core.stripes.len() {
            self.core.trim(stripe, stripe::Slack::Much);
        }
        Ok(())
    }

    fn check_limit(&self, given: u64) -> Result<(), BuildError> {
        // Half of the limit for structures, at the most: an entry of a quarter fits always.
        let min = self.core.least_bytes() * 2;
        if self.core.budget.unit == Unit::Bytes && given < min {
            return Err(BuildError::TooFewBytes { given, min });
        }
        Ok(())
    }

    /// The number of entries, expired ones that have not been taken out yet among them. O(stripes);
    /// takes each stripe's lock for a moment.
    pub fn len(&self) -> usize {
        self.core.stripes.iter().map(Stripe::len).sum()
    }

    /// Whether there is no entry. Costs as much as [`Cache::len`].
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes in use, as they count against `max_bytes`: keys and values with what they hold on the heap, nodes,
    /// tables, queues, and what has been displaced and waits for its last readers.
    ///
    /// In a cache that is limited by entries nothing is weighed: there it is the cache's own memory, with keys and
    /// values as they lie in it, without what they hold on the heap. O(stripes); takes each lock for a moment.
    pub fn used_bytes(&self) -> u64 {
        self.bytes().0
    }

    /// All bytes, and the retired ones of them.
    fn bytes(&self) -> (u64, u64) {
        let bytes = self.core.stripes.iter().map(Stripe::bytes);
        bytes.fold((0, 0), |sum, bytes| (sum.0 + bytes.0, sum.1 + bytes.1))
    }

    /// What the cache has done and what it holds. O(stripes), and O(threads) with `record_stats`.
    pub fn stats(&self) -> Stats {
        let (bytes, retired_bytes) = self.bytes();
        let (hits, misses) = self.core.lookups.as_ref().map_or((0, 0), LookupCounts::sum);
        let rejected = self.core.rejected.load(Relaxed);
        let mut stats = Stats { hits, misses, rejected, bytes, retired_bytes, ..Stats::default() };
        for stripe in &self.core.stripes {
            let (counts, others, entries) = stripe.counts();
            stats.inserts += counts.inserts;
            stats.updates += others.updates;
            stats.evictions += counts.evictions;
            stats.expirations += others.expirations;
            stats.removals += others.removals;
            stats.entries += entries as u64;
        }
        self.core.loads.add_to(&mut stats);
        stats.damaged = self.core.damaged.load(Relaxed);
        self.form.add_to(&mut stats);
        stats
    }

    /// A walk over all living entries, in no order. Neither a use nor a lock; memory is fetched a few entries at a time.
    ///
    /// An entry that is there during the whole of the walk is yielded just once; one that is inserted or removed
    /// meanwhile may be or not. The cache may be used while the walk goes on.
    pub fn iter(&self) -> Iter<'_, K, V, F> {
        Iter::new(&self.core, &self.form)
    }

    /// The keys of all living entries, cloned; otherwise as [`Cache::iter`].
    pub fn keys(&self) -> Keys<'_, K, V, F>
    where
        K: Clone,
    {
        Keys::new(&self.core)
    }

    /// Sets another limit of a cache that is limited by bytes, and evicts what is beyond it.
    ///
    /// The cache keeps the stripes that it was built with. If it becomes many times as large, give it as many at first as it
    /// will need ([`Builder::stripes`](crate::Builder::stripes), one for some 32,000 entries): a stripe's table is made larger
    /// at once while writers wait, which takes a millisecond for those, and a hundred for some millions.
    ///
    /// # Panics
    ///
    /// If a listener or a destructor panics: with the first such panic, when what is beyond the limit has been evicted.
    ///
    /// # Errors
    ///
    /// If the cache is limited by entries, or the limit is less than its empty structures take, or more than it can count.
    pub fn set_max_bytes(&self, max_bytes: u64) -> Result<(), BuildError> {
        if self.core.budget.unit != Unit::Bytes {
            return Err(BuildError::OtherLimit { limited_by: "max_entries" });
        }
        let max = builder::max_bytes(self.core.stripes.len(), Stripe::<K, F::Stored>::PLACE_BYTES);
        if max_bytes > max {
            return Err(BuildError::TooManyBytes { given: max_bytes, max });
        }
        self.check_limit(max_bytes)?;
        self.set_limit(max_bytes);
        Ok(())
    }

    /// Sets another limit of a cache that is limited by entries, and evicts what is beyond it. The same stripes serve: see
    /// [`set_max_bytes`](Cache::set_max_bytes).
    ///
    /// # Panics
    ///
    /// As there.
    ///
    /// # Errors
    ///
    /// If the cache is limited by bytes, or the limit is 0 or more than it can hold.
    pub fn set_max_entries(&self, max_entries: usize) -> Result<(), BuildError> {
        let max = builder::max_entries(self.core.stripes.len());
        match max_entries {
            _ if self.core.budget.unit != Unit::Entries => Err(BuildError::OtherLimit { limited_by: "max_bytes" }),
            0 => Err(BuildError::ZeroEntries),
            given if given > max => Err(BuildError::TooManyEntries { given, max }),
            _ => {
                self.set_limit(max_entries as u64);
                Ok(())
            }
        }
    }

    fn set_limit(&self, limit: u64) {
        let before = self.core.budget.limit();
        self.core.budget.set_limit(limit);
        if limit > before && self.core.budget.unit == Unit::Bytes {
            // What may be lacking all the same is what readers hold up.
            return;
        }
        // A listener or a destructor that panics keeps nothing above the limit: the first panic goes on when all is done.
        let mut panic = FirstPanic::default();
        let left = || (self.core.budget.free(), self.len(), self.core.waiting());
        loop {
            let before = left();
            if panic.catch(|| self.shrink_to(limit)) || left() == before {
                break;
            }
        }
        panic.resume();
    }

    /// Evicts what is beyond the limit, which has been lowered.
    fn shrink_to(&self, limit: u64) {
        if self.core.budget.free() < 0 && self.core.budget.unit == Unit::Bytes {
            let (used, retired) = self.bytes();
            let share = limit as f64 / (used - retired).max(limit) as f64;
            let left = self.core.shares(share);
            if !self.core.is_held_up() {
                self.core.vacate_to(&left, share);
            }
            if self.core.is_held_up() {
                // By what was there before, or by what has gone for this: to evict until the budget is in order would be to
                // evict all.
                return self.core.shed_to(&left);
            }
        }
        // What evictions give back in nodes counts only when it has been freed, so it takes rounds.
        while self.core.budget.free() < 0 {
            let before = (self.core.budget.free(), self.len());
            self.core.make_room(0, None);
            self.core.maintain();
            if (self.core.budget.free(), self.len()) == before {
                break;
            }
        }
        if self.core.budget.is_clogged() {
            self.core.relieve();
        }
    }

    /// Does at once what is otherwise done by and by: takes out expired entries, drops what has been
    /// displaced as far as no reader holds it, and gives back nodes that are not in use. O(entries) at the worst.
    ///
    /// When it returns and no other call is under way, and no [`Ref`] is left, nothing that was
    /// removed, replaced, evicted or expired before is alive.
    ///
    /// While readers stay in a cache that is limited by bytes, more than the limit can come in use. What is still too much
    /// when they have left is evicted for, as by the next insert.
    ///
    /// Nothing needs this call. Use it where memory is to be given back in a quiet hour.
    pub fn maintain(&self) {
        self.core.maintain();
    }
}

impl<K: Hash + Eq, V, S: BuildHasher, F: Form<K, V>> Cache<K, V, S, F> {
    #[inline]
    pub(crate) fn locate<Q: Hash + ?Sized>(&self, key: &Q) -> Location {
        // Identity and other weak hashes are common: one multiplication brings every bit to the top and,
        // folded, back to the bottom.
        let product = u128::from(self.hasher.hash_one(key)) * 0x9e37_79b9_7f4a_7c15;
        let hash = (product >> 64) as u64 ^ product as u64;
        let stripe = ((hash >> 32) * self.core.stripes.len() as u64) >> 32;
        Location { stripe: stripe as usize, hash: stripe::Hash::new(hash as u32) }
    }
}

impl<K, V, S, F: Form<K, V>> Cache<K, V, S, F> {
    /// Recomputes every count, position, weight and byte from scratch and compares. Meant for tests; O(entries), with each
    /// stripe locked meanwhile. Counts are compared only if no other call is under way.
    ///
    /// # Panics
    ///
    /// If anything is not as it should be: a defect of this crate.
    #[doc(hidden)]
    pub fn validate(&self) {
        let pin = pin();
        let budget = &self.core.budget;
        for stripe in &self.core.stripes {
            stripe.validate(budget.unit, &pin);
        }
        let spent: u64 = self.core.stripes.iter().map(|stripe| stripe.spent(budget.unit)).sum();
        assert_eq!(spent as i64 + budget.free(), (budget.limit() - budget.reserve()) as i64, "the budget adds up");
        if budget.unit == Unit::Bytes {
            let reported = self.core.stripes.iter().map(Stripe::reported);
            let retired = reported.fold((0, 0), |sum, stripe| (sum.0 + stripe.0, sum.1 + stripe.1));
            assert_eq!(budget.retired(), retired, "bytes and entries that wait for readers");
        }
    }
}

impl<K, V, S, F: Form<K, V>> fmt::Debug for Cache<K, V, S, F> {
    /// Shows the limit and what is in use, not the entries.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = match self.core.budget.unit {
            Unit::Entries => "max_entries",
            Unit::Bytes => "max_bytes",
        };
        f.debug_struct("Cache")
            .field(limit, &self.core.budget.limit())
            .field("stripes", &self.core.stripes.len())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl<'c, K: Eq, V, S, F: Form<K, V>> IntoIterator for &'c Cache<K, V, S, F> {
    type Item = Ref<'c, K, V, F>;
    type IntoIter = Iter<'c, K, V, F>;

    fn into_iter(self) -> Iter<'c, K, V, F> {
        self.iter()
    }
}
