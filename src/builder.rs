//! Every setting of a cache: set once, checked once.
//!
//! Knows what settings mean together, and how a cache is laid out for them. Does nothing at run time.

use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::thread::available_parallelism;
use std::time::Duration;

use crate::budget::{Budget, MAX_LIMIT, Unit};
use crate::cache::{Cache, Listener, Parts, WeighFn};
use crate::clock::{Clock, Time, nanos};
use crate::codec::Codec;
use crate::error::BuildError;
use crate::form::{Form, Plain};
#[cfg(feature = "serde")]
use crate::packed::BySerde;
use crate::packed::{ByteValue, Packed};
use crate::stripe::queues::Policy;
use crate::stripe::{MAX_TABLE_ENTRIES, RemovalCause, Settings, Stripe};
use crate::weigh::Weigh;

/// The most stripes there can be.
pub(crate) const MAX_STRIPES: usize = 1 << 16;

/// The most entries of one stripe, where all have as many: half of what its table can have, for some stripe has more than the
/// others.
const MAX_STRIPE_ENTRIES: usize = MAX_TABLE_ENTRIES / 2;

/// Entries of one stripe where there are as many as that: its table still grows within a millisecond.
const FULL_STRIPE: usize = 32 << 10;

/// Entries of one stripe below which another stripe would only make each less like the whole.
const SMALL_STRIPE: usize = 1 << 10;

/// Up to here one stripe keeps the exact order of use.
const EXACT_LRU: usize = 64;

/// Memory is laid out at once for so many entries at most, unless `initial_entries` says more.
const LAID_OUT_AT_ONCE: usize = 1 << 20;

/// What an entry is taken to weigh where only bytes are known, to choose the number of stripes, if its node takes no more.
const TYPICAL_WEIGHT: u64 = 256;

/// The state of a [`Builder`] without a weigher: keys and values have to be [`Weigh`].
#[derive(Debug)]
pub struct ByWeigh(());

/// The state of a [`Builder`] with `max_entries`: nothing is weighed.
#[derive(Debug)]
pub struct ByCount(());

/// The state of a [`Builder`] with a weigher.
pub struct ByClosure<K, V>(WeighFn<K, V>);

/// How a [`Builder`] that is complete weighs entries.
///
/// Implemented for the builder's states; not meant for other types.
#[diagnostic::on_unimplemented(
    message = "entries of this cache can't be weighed by `{Self}`",
    note = "a `weigher` weighs values as they are, but a cache with a codec is charged with what it stores: leave it out"
)]
pub trait Weighing<K, V>: sealed::Sealed {
    #[doc(hidden)]
    fn weigh_fn(self) -> Weigher<K, V>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::ByWeigh {}
    impl Sealed for super::ByCount {}
    impl<K, V> Sealed for super::ByClosure<K, V> {}
}

/// A weigher, where there is one, and whether the user gave it.
#[doc(hidden)]
pub struct Weigher<K, V> {
    weigh: Option<WeighFn<K, V>>,
    given: bool,
}

impl<K: Weigh, V: Weigh> Weighing<K, V> for ByWeigh {
    fn weigh_fn(self) -> Weigher<K, V> {
        let weigh = |key: &K, value: &V| key.weigh().saturating_add(value.weigh());
        Weigher { weigh: Some(Box::new(weigh)), given: false }
    }
}

impl<K, V> Weighing<K, V> for ByCount {
    fn weigh_fn(self) -> Weigher<K, V> {
        Weigher { weigh: None, given: false }
    }
}

impl<K, V> Weighing<K, V> for ByClosure<K, V> {
    fn weigh_fn(self) -> Weigher<K, V> {
        Weigher { weigh: Some(self.0), given: true }
    }
}

/// Settings of a cache to be; made by [`Cache::builder`].
///
/// One limit has to be set, [`max_entries`](Builder::max_entries) or
/// [`max_bytes`](Builder::max_bytes). Of a setting made twice the later counts.
///
/// # Examples
///
/// ```
/// use larder::{Cache, Policy};
/// use std::time::Duration;
///
/// let cache: Cache<String, Vec<u8>> = Cache::builder()
///     .max_bytes(64 << 20)
///     .policy(Policy::S3Fifo)
///     .time_to_live(Duration::from_secs(300))
///     .build()?;
/// # Ok::<(), larder::BuildError>(())
/// ```
#[must_use = "a builder makes a cache only when build() is called"]
pub struct Builder<K, V, S = ahash::RandomState, W = ByWeigh, F = Plain> {
    common: Common<K, V>,
    form: F,
    hasher: S,
    weigher: W,
    weighed: bool,
}

/// The settings that have nothing to do with a type parameter of the builder.
struct Common<K, V> {
    max_entries: Option<usize>,
    max_bytes: Option<u64>,
    policy: Policy,
    stripes: Option<usize>,
    time_to_live: Option<Duration>,
    time_to_idle: Option<Duration>,
    refresh_after: Option<Duration>,
    listener: Option<Listener<K, V>>,
    record_stats: bool,
    clock: Option<Box<dyn Clock>>,
    initial_entries: Option<usize>,
    _entry: PhantomData<(K, V)>,
}

impl<K, V> Builder<K, V> {
    pub(crate) fn new() -> Self {
        let common = Common {
            max_entries: None,
            max_bytes: None,
            policy: Policy::Lru,
            stripes: None,
            time_to_live: None,
            time_to_idle: None,
            refresh_after: None,
            listener: None,
            record_stats: false,
            clock: None,
            initial_entries: None,
            _entry: PhantomData,
        };
        Self { common, form: Plain, hasher: ahash::RandomState::new(), weigher: ByWeigh(()), weighed: false }
    }
}

impl<K, V, S, W, F> Builder<K, V, S, W, F> {
    /// Limits the cache to so many entries.
    ///
    /// The table is laid out for them at once, up to a million; nodes are allocated as they are used. The number of
    /// [`stripes`](Builder::stripes) follows the limit, too: with one that can never be reached, such as `usize::MAX`, a cache
    /// takes some 150 MB before anything is in it.
    pub fn max_entries(mut self, max_entries: usize) -> Builder<K, V, S, ByCount, F> {
        self.common.max_entries = Some(max_entries);
        self.with_weigher(ByCount(()), false)
    }

    /// Limits the cache to so many bytes: keys and values with the heap memory behind them, the
    /// nodes they lie in, tables and queues, and what has been displaced and still waits for readers.
    ///
    /// A full cache uses at least nine tenths of it. What an entry holds on the heap is said by
    /// [`Weigh`], or by a [`weigher`](Builder::weigher).
    pub fn max_bytes(mut self, max_bytes: u64) -> Self {
        self.common.max_bytes = Some(max_bytes);
        self
    }

    /// Weighs entries by a closure instead of [`Weigh`]: it says how many bytes key and value hold
    /// *beyond* their own size, on the heap. Their own size is counted by the cache.
    ///
    /// It is called once for each insert or update, and once more for each time that a `compute` has to begin anew, outside of
    /// any lock. If it panics nothing is inserted.
    ///
    /// # Examples
    ///
    /// ```
    /// use larder::Cache;
    ///
    /// struct Page { html: String, links: Vec<u64> }
    ///
    /// let cache: Cache<u64, Page> = Cache::builder()
    ///     .max_bytes(1 << 20)
    ///     .weigher(|_, page: &Page| (page.html.capacity() + page.links.capacity() * 8) as u64)
    ///     .build()?;
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    pub fn weigher<T>(self, weigher: T) -> Builder<K, V, S, ByClosure<K, V>, F>
    where
        T: Fn(&K, &V) -> u64 + Send + Sync + 'static,
    {
        self.with_weigher(ByClosure(Box::new(weigher)), true)
    }

    fn with_weigher<T>(self, weigher: T, weighed: bool) -> Builder<K, V, S, T, F> {
        let Self { common, form, hasher, weighed: before, .. } = self;
        Builder { common, form, hasher, weigher, weighed: weighed || before }
    }

    /// Keeps values as `codec` writes them: they cost fewer bytes, or nobody else can read them. `V` has to be a value that
    /// is bytes ([`ByteValue`]): `Vec<u8>`, `Box<[u8]>`, `Arc<[u8]>`, `String`, `Box<str>`, `Arc<str>`, `[u8; N]`, with the
    /// feature `bytes` also `Bytes`, or a type of one's own. For all others see `codec_serde`, of the feature `serde`.
    ///
    /// The cache's methods stay what they are, with the user's own value type in and out. There is no
    /// [`read`](Cache::read) and no [`get_ref`](Cache::get_ref), which lend a value as it lies in the cache; and `max_bytes`
    /// is charged with what is really stored, so that there is no [`weigher`](Builder::weigher).
    ///
    /// * Nothing is packed or opened under a lock. `get` opens the value anew each time, `insert` packs it before it takes
    ///   the lock; `compute`, `retain` and iteration open what they show. A [listener](Builder::on_removal) is given the
    ///   opened value too: with one each entry that leaves costs that much.
    /// * A value is stored as it is where it is small (see [`codec_min_size`](Builder::codec_min_size)), or would not
    ///   shrink by an eighth, or the codec fails; unless the codec [must not](crate::codec::Codec::must_encode) be left
    ///   out, as one that seals: then the entry is not stored, as if it were too large, and counts in
    ///   [`Stats::rejected`](crate::Stats::rejected). The others are counted in [`Stats::codec`](crate::Stats::codec).
    /// * A value that does not open, since its bytes are damaged, is a miss, and its entry is removed without telling the
    ///   listener; `try_get` says why. Of a value that is stored as it is nothing tells whether it is damaged.
    /// * A codec that [binds the key](crate::codec::Codec::binds_key), as one that seals, is given what the key writes to a
    ///   hasher. A key whose `Hash` leaves out something that its `Eq` compares is the same key to it: a value that is moved
    ///   from one such key to another does open.
    /// * The codec can be changed while the cache is in use, by `set_codec`.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "snappy")] {
    /// use larder::{Cache, codec::Snappy};
    ///
    /// let cache: larder::PackedCache<u64, Vec<u8>> = Cache::builder().max_bytes(1 << 20).codec(Snappy::new()).build()?;
    /// cache.insert(1, vec![b'x'; 10_000]);
    /// assert_eq!(cache.get(&1), Some(vec![b'x'; 10_000]));
    /// assert!(cache.get_stored(&1).is_some_and(|stored| stored.format() == Some("snappy")));
    /// assert!(cache.stats().codec.bytes_after < 1_000);
    /// # }
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    pub fn codec<C>(self, codec: C) -> Builder<K, V, S, W, Packed>
    where
        C: Codec + 'static,
        V: ByteValue,
    {
        self.with_form(Packed::new(codec))
    }

    /// As [`codec`](Builder::codec), for any value that serde can write and read: it is encoded by `postcard`, and that is
    /// packed by the codec.
    ///
    /// `postcard` is not self-describing: types with `skip_serializing_if`, `flatten`, untagged or internally tagged enums,
    /// and `serde_json::Value` do not come back, or **come back as another value without an error**. See
    /// [`BySerde`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "snappy")] {
    /// use larder::{BySerde, Cache, PackedCache, codec::Snappy};
    ///
    /// # mod serde { pub(super) use ::serde::{Deserialize, Serialize}; }
    /// #[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq)]
    /// struct Session {
    ///     user: u64,
    ///     basket: Vec<String>,
    /// }
    ///
    /// let sessions: PackedCache<u64, Session, BySerde> =
    ///     Cache::builder().max_bytes(1 << 20).codec_serde(Snappy::new()).build()?;
    /// let session = Session { user: 7, basket: vec!["a pot of honey".to_owned(); 30] };
    /// sessions.insert(1, session.clone());
    /// assert_eq!(sessions.get(&1), Some(session));
    /// assert!(sessions.stats().codec.bytes_after < 200);
    /// # }
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    #[cfg(feature = "serde")]
    pub fn codec_serde<C>(self, codec: C) -> Builder<K, V, S, W, Packed<BySerde>>
    where
        C: Codec + 'static,
        V: serde::Serialize + serde::de::DeserializeOwned,
    {
        self.with_form(Packed::new(codec))
    }

    fn with_form<T>(self, form: T) -> Builder<K, V, S, W, T> {
        let Self { common, hasher, weigher, weighed, .. } = self;
        Builder { common, form, hasher, weigher, weighed }
    }

    /// Chooses how entries are evicted; [`Policy::Lru`] where nothing is said.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.common.policy = policy;
        self
    }

    /// Sets the number of stripes, rounded up to a power of two: how many writes can go on at a time.
    ///
    /// Where nothing is said it is chosen by cores and limit: one for a small cache, at least four a
    /// core where each then has a thousand entries, and enough that none has more than about 32,000.
    pub fn stripes(mut self, stripes: usize) -> Self {
        self.common.stripes = Some(stripes);
        self
    }

    /// Lets entries expire so long after they were inserted or updated, unless they are inserted
    /// with a time of their own. `Duration::MAX` is never.
    pub fn time_to_live(mut self, time_to_live: Duration) -> Self {
        self.common.time_to_live = Some(time_to_live);
        self
    }

    /// Lets entries expire so long after their last use: a hit, an insert or an update. Hits
    /// closer together than a 64th of it count as one. `Duration::MAX` is never.
    ///
    /// With it every hit reads the clock, and one in each 64th of the time takes the stripe's lock.
    pub fn time_to_idle(mut self, time_to_idle: Duration) -> Self {
        self.common.time_to_idle = Some(time_to_idle);
        self
    }

    /// Has entries loaded anew that are older than this, while what they hold is served. `Duration::MAX` is never.
    ///
    /// The age of an entry is the time since it was written, by whatever call; a hit or a `touch` makes it no younger.
    /// Where [`get_or_insert_with`](Cache::get_or_insert_with) or one of its kin hits an entry that is older, that caller
    /// runs its loader, and returns what it gives; it is stored as by [`insert`](Cache::insert). All others are given the
    /// old value meanwhile, and wait for nothing. Calls that can't load, such as [`get`](Cache::get), are given the value
    /// that is there, however old. No thread is started: an entry that nobody asks for is not loaded.
    ///
    /// A loader that fails, panics or is cancelled leaves the old value in place, and it is served for as long again
    /// before another caller tries: so a source that is down is asked once in that time, and not by every caller. The
    /// caller whose loader failed is given the old value too, if that has not expired; the failure shows in
    /// [`load_failures`](crate::Stats::load_failures). Without a [`time_to_live`](Builder::time_to_live), which has to be
    /// longer than this, nothing limits how long a value is served whose loader keeps failing.
    ///
    /// Costs about 14 bytes an entry, and a hit of these calls a look at the clock and one more word of memory to read:
    /// some 30 ns in a small cache, and in one of a million entries about as much again as the look-up. It takes no lock
    /// but where a reload takes longer than `refresh_after`: then each such hit asks under one whether that is still
    /// under way.
    ///
    /// # Examples
    ///
    /// ```
    /// use larder::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let rates: Cache<&str, f64> = Cache::builder()
    ///     .max_entries(100)
    ///     .refresh_after(Duration::from_secs(60))
    ///     .time_to_live(Duration::from_secs(3600))
    ///     .clock(clock.clone())
    ///     .build()?;
    /// assert_eq!(rates.get_or_insert_with("EUR", || 1.08), 1.08);
    /// clock.advance(Duration::from_secs(60));
    /// let reload = || {
    ///     // Whoever else asks now is given the old value.
    ///     assert_eq!(rates.get_or_insert_with("EUR", || unreachable!()), 1.08);
    ///     1.09
    /// };
    /// assert_eq!(rates.get_or_insert_with("EUR", reload), 1.09);
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    pub fn refresh_after(mut self, refresh_after: Duration) -> Self {
        self.common.refresh_after = Some(refresh_after);
        self
    }

    /// Calls `listener` with each entry that leaves the cache, and why.
    ///
    /// It is called by the thread whose call displaced the entry, before that call returns, and
    /// under no lock: it may use the cache. If it panics, the other entries that the call displaced are
    /// still told, then the panic goes on in the caller. Entries that are left when the cache is dropped
    /// are not told. As while [`read`](Cache::read) runs, nothing that is displaced is dropped while it runs.
    ///
    /// # Examples
    ///
    /// ```
    /// use larder::{Cache, RemovalCause};
    /// use std::sync::mpsc;
    ///
    /// let (sender, receiver) = mpsc::channel();
    /// let cache: Cache<u32, &str> = Cache::builder()
    ///     .max_entries(10)
    ///     .on_removal(move |key, _, cause| sender.send((*key, cause)).unwrap())
    ///     .build()?;
    /// cache.insert(1, "one");
    /// cache.insert(1, "uno");
    /// cache.invalidate(&1);
    /// assert_eq!(receiver.try_recv(), Ok((1, RemovalCause::Replaced)));
    /// assert_eq!(receiver.try_recv(), Ok((1, RemovalCause::Removed)));
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    pub fn on_removal<T>(mut self, listener: T) -> Self
    where
        T: Fn(&K, &V, RemovalCause) + Send + Sync + 'static,
    {
        self.common.listener = Some(Box::new(listener));
        self
    }

    /// Counts hits and misses, for [`Cache::stats`]. Costs a look-up a few nanoseconds, on a line
    /// that no other thread writes. Everything else is counted anyway.
    pub fn record_stats(mut self) -> Self {
        self.common.record_stats = true;
        self
    }

    /// Hashes keys with `hasher` instead of ahash with a random seed.
    ///
    /// A hasher without a secret lets whoever chooses the keys make them collide: such a cache is slow,
    /// and still correct.
    pub fn hasher<T>(self, hasher: T) -> Builder<K, V, T, W, F> {
        let Self { common, form, weigher, weighed, .. } = self;
        Builder { common, form, hasher, weigher, weighed }
    }

    /// Takes the time from `clock` instead of the system's monotonic clock.
    pub fn clock<C: Clock + 'static>(mut self, clock: C) -> Self {
        self.common.clock = Some(Box::new(clock));
        self
    }

    /// Lays out memory for so many entries at once, so that tables need not grow on the way; where `max_bytes` is set, for no
    /// more than can fit.
    pub fn initial_entries(mut self, initial_entries: usize) -> Self {
        self.common.initial_entries = Some(initial_entries);
        self
    }
}

impl<K, V, S, W, E> Builder<K, V, S, W, Packed<E>> {
    /// Stores values of fewer bytes than this as they are; 256 where nothing is said. A codec that must not be left out is
    /// not left out for that.
    pub fn codec_min_size(self, bytes: usize) -> Self {
        Self { form: self.form.with_min_size(bytes), ..self }
    }
}

impl<K, V, S, W, F> Builder<K, V, S, W, F>
where
    K: Hash + Eq,
    S: BuildHasher,
    F: Form<K, V>,
    W: Weighing<K, F::Stored>,
{
    /// Makes the cache.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] that says which setting can't be, and why.
    pub fn build(self) -> Result<Cache<K, V, S, F>, BuildError> {
        let Self { common, form, hasher, weigher, weighed } = self;
        let Weigher { weigh, given } = weigher.weigh_fn();
        if (given || weighed) && common.max_bytes.is_none() && common.max_entries.is_some() {
            return Err(BuildError::WeigherWithoutBytes);
        }
        let (unit, limit) = common.limit()?;
        let place = Stripe::<K, F::Stored>::PLACE_BYTES;
        let stripes = common.stripes(unit, limit, place)?;
        common.check_limits(unit, limit, stripes, place)?;
        let time_to_live = period(common.time_to_live, BuildError::ZeroTimeToLive)?;
        let time_to_idle = period(common.time_to_idle, BuildError::ZeroTimeToIdle)?;
        let refresh_after = common.refresh_after()?;
        let budget = Budget::new(unit, limit, stripes);
        let settings = Settings {
            policy: common.policy,
            exact: common.policy == Policy::Lru && unit == Unit::Entries && limit <= EXACT_LRU as u64 && stripes == 1,
            unit,
            entries: common.laid_out(unit, limit, stripes, place),
            timed: time_to_live != 0 || time_to_idle != 0,
            idle: time_to_idle,
            refresh: refresh_after,
            batch: batch(unit, limit, stripes, place),
            tell: common.listener.is_some(),
            counts_hits: common.record_stats,
        };
        let stripes: Box<[_]> = (0..stripes).map(|_| Stripe::new(settings)).collect();
        let cache = Cache::from_parts(Parts {
            stripes,
            budget,
            hasher,
            time: common.clock.map_or_else(Time::system, Time::Given),
            time_to_live,
            time_to_idle,
            refresh_after,
            weigh: if unit == Unit::Bytes { weigh } else { None },
            listener: common.listener.map(|listener| form.listener(listener)),
            form,
            record_stats: common.record_stats,
        });
        cache.check_room()?;
        Ok(cache)
    }
}

impl<K, V> Common<K, V> {
    fn limit(&self) -> Result<(Unit, u64), BuildError> {
        match (self.max_entries, self.max_bytes) {
            (None, None) => Err(BuildError::NoLimit),
            (Some(_), Some(_)) => Err(BuildError::TwoLimits),
            (Some(0), None) => Err(BuildError::ZeroEntries),
            (Some(entries), None) => Ok((Unit::Entries, entries as u64)),
            (None, Some(bytes)) => Ok((Unit::Bytes, bytes)),
        }
    }

    /// The age at which entries are loaded anew, in nanoseconds; 0 for never.
    fn refresh_after(&self) -> Result<u64, BuildError> {
        let refresh = period(self.refresh_after, BuildError::ZeroRefreshAfter)?;
        match (self.refresh_after, self.time_to_live) {
            (Some(refresh_after), Some(time_to_live)) if refresh != 0 && refresh >= nanos(time_to_live) => {
                Err(BuildError::RefreshNotBelowTimeToLive { refresh_after, time_to_live })
            }
            _ => Ok(refresh),
        }
    }

    /// How many of the initial entries a cache of so many bytes can hold at the most, each in a node of `place` bytes.
    fn initial_within(&self, limit: u64, place: u64) -> Option<usize> {
        let most = usize::try_from(limit / place).unwrap_or(usize::MAX);
        self.initial_entries.map(|entries| entries.min(most))
    }

    fn stripes(&self, unit: Unit, limit: u64, place: u64) -> Result<usize, BuildError> {
        if let Some(given) = self.stripes {
            return match given {
                1..=MAX_STRIPES => Ok(given.next_power_of_two()),
                _ => Err(BuildError::Stripes { given, max: MAX_STRIPES }),
            };
        }
        let expected = match (unit, self.initial_within(limit, place)) {
            (Unit::Bytes, Some(entries)) => entries as u64,
            (Unit::Bytes, None) => limit / TYPICAL_WEIGHT.max(place),
            (Unit::Entries, _) => limit,
        };
        let cores = available_parallelism().map_or(4, usize::from);
        Ok(stripes_for(expected, cores))
    }

    fn check_limits(&self, unit: Unit, limit: u64, stripes: usize, place: u64) -> Result<(), BuildError> {
        let max = max_entries(stripes);
        let most = self.initial_entries.into_iter().chain(self.max_entries).max().unwrap_or(0);
        if most > max {
            return Err(BuildError::TooManyEntries { given: most, max });
        }
        if let (Some(initial), Some(max)) = (self.initial_entries, self.max_entries) {
            if initial > max {
                return Err(BuildError::InitialAboveMax { initial, max });
            }
        }
        let max = max_bytes(stripes, place);
        if unit == Unit::Bytes && limit > max {
            return Err(BuildError::TooManyBytes { given: limit, max });
        }
        Ok(())
    }

    /// For how many entries a stripe is laid out. Stripes get unequal shares: four standard deviations are
    /// added, so that hardly any has to grow.
    fn laid_out(&self, unit: Unit, limit: u64, stripes: usize, place: u64) -> usize {
        let entries = match (unit, self.initial_entries) {
            (Unit::Entries, Some(entries)) => entries,
            (Unit::Entries, None) => limit.min(LAID_OUT_AT_ONCE as u64) as usize,
            (Unit::Bytes, _) => match self.initial_within(limit, place) {
                Some(entries) => entries,
                None => return 0,
            },
        };
        let share = entries.div_ceil(stripes);
        if stripes == 1 { share + 1 } else { share + 4 * share.isqrt() + 1 }
    }
}

/// The most entries that a cache with so many stripes can be asked to hold.
pub(crate) fn max_entries(stripes: usize) -> usize {
    MAX_STRIPE_ENTRIES.saturating_mul(stripes)
}

/// The most bytes: so many that the smallest entries fill the tables. Each takes its node and its share of table and queue,
/// which is more than the half of what `place` adds to the node.
pub(crate) fn max_bytes(stripes: usize, place: u64) -> u64 {
    (MAX_TABLE_ENTRIES as u64).saturating_mul(stripes as u64).saturating_mul(place - 16).min(MAX_LIMIT)
}

/// At least four a core, twice that where there are entries for it, as long as each has a thousand; more
/// where they would have more than 32,000 each.
fn stripes_for(expected: u64, cores: usize) -> usize {
    let by_size = usize::try_from(expected / FULL_STRIPE as u64).unwrap_or(MAX_STRIPES) + 1;
    let by_cores = cores * 8;
    let most = usize::try_from(expected / SMALL_STRIPE as u64).unwrap_or(MAX_STRIPES);
    let stripes = by_size.max(by_cores).min(most.max(1)).min(MAX_STRIPES);
    // Down, not up: a stripe has at least a thousand entries.
    if stripes >= by_size.next_power_of_two() {
        1 << stripes.ilog2()
    } else {
        by_size.next_power_of_two().min(MAX_STRIPES)
    }
}

/// How many retired entries a stripe may leave unfinished: few where it has few.
fn batch(unit: Unit, limit: u64, stripes: usize, place: u64) -> usize {
    let share = match unit {
        Unit::Entries => limit / stripes as u64,
        Unit::Bytes => limit / stripes as u64 / TYPICAL_WEIGHT.max(place),
    };
    (share / 16).clamp(1, 64) as usize
}

/// A time that was set, in nanoseconds; 0 for never.
fn period(time: Option<Duration>, zero: BuildError) -> Result<u64, BuildError> {
    match time.map(nanos) {
        None | Some(u64::MAX) => Ok(0),
        Some(0) => Err(zero),
        Some(nanos) => Ok(nanos),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stripes_follow_size_and_cores() {
        assert_eq!(stripes_for(0, 2), 1);
        assert_eq!(stripes_for(64, 2), 1);
        assert_eq!(stripes_for(1_500, 64), 1);
        assert_eq!(stripes_for(10_000, 2), 8);
        assert_eq!(stripes_for(100_000, 2), 16);
        assert_eq!(stripes_for(1_000_000, 2), 32);
        assert_eq!(stripes_for(1_000_000, 16), 128);
        assert_eq!(stripes_for(u64::MAX, 2), MAX_STRIPES);
        for entries in (0..10_000_000).step_by(7919) {
            let stripes = stripes_for(entries, 8) as u64;
            assert!(stripes.is_power_of_two());
            assert!(entries / stripes <= FULL_STRIPE as u64);
            assert!(stripes == 1 || entries / stripes >= SMALL_STRIPE as u64);
        }
    }
}
