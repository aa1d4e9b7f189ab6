//! Look-ups: find an entry under a pin, and give, lend or show its value.
//!
//! Knows when a value is opened: under the pin where that costs no more than a clone, and otherwise when the pin has been
//! left, the entry held meanwhile. (A hold is one addition on a line that the look-up has read anyway, and needs no counter
//! in what is stored.)
//!
//! # With a glance
//!
//! Nearly every hit finds its entry in the first bucket, without a deadline, and has no more to do than to raise a
//! mark, if that. [`Cache::look_up`] does so much without calling a function, so that nothing has to be saved from one,
//! and leaves the rest to functions after which it has nothing to do. With the loop around it that took a look-up from
//! 127 instructions to 104, and nine fewer since a brief pin is left by one addition and a hit that nobody counts asks no
//! more about it. It counts twice: a processor begins the next look-up, and its wait for memory, only when that comes
//! within its window of some hundreds of instructions, or half of them where two threads share a core. (Among a million
//! entries a look-up took a fifth to a third less time. One that is counted, of 153 instructions then, had taken two
//! thirds more.)

use std::hash::{BuildHasher, Hash};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hashbrown::Equivalent;
use smallvec::SmallVec;

use super::{Cache, Core, Location};
use crate::form::Form;
use crate::iter::Ref;
use crate::operation::Operation;
use crate::stripe::{self, Aftermath, Expect, Glance, Held, Node, RemovalCause, Stripe};
use crate::sync::{BriefPin, PIN_IS_FENCED, Pin, pin, pin_briefly};

/// Keys looked up at a time by [`Cache::get_many`]: as many as the processor can fetch ahead of use.
const TOGETHER: usize = 32;

/// What takes from a node that was found all that is wanted of it.
trait Take<'c, K, V, R>: FnOnce(&'c Stripe<K, V>, &Node<K, V>, &Pin) -> Option<R> {}

impl<'c, K, V, R, T: FnOnce(&'c Stripe<K, V>, &Node<K, V>, &Pin) -> Option<R>> Take<'c, K, V, R> for T {}

impl<K, V> Core<K, V> {
    /// Starts to fetch what a look-up reads first, where it would have to wait for the pin.
    #[inline]
    pub(crate) fn prefetch_before_pin(&self, at: Location) {
        if PIN_IS_FENCED {
            self.stripes[at.stripe].prefetch_bucket(at.hash);
        }
    }

    #[inline]
    fn count_lookup(&self, hit: bool) {
        if let Some(lookups) = &self.lookups {
            lookups.count(hit);
        }
    }

    /// As [`Core::count_lookup`], if that can be done without calling a function. Whether it is done.
    #[inline(always)]
    fn try_count_lookup(&self, hit: bool) -> bool {
        self.lookups.as_ref().is_none_or(|lookups| lookups.try_count(hit))
    }

    #[cold]
    #[inline(never)]
    fn count_miss<R>(&self) -> Option<R> {
        self.count_lookup(false);
        None
    }

    /// Counts a hit that this thread has counted as a miss instead.
    pub(crate) fn recount_as_miss(&self) {
        if let Some(lookups) = &self.lookups {
            lookups.recount_as_miss();
        }
    }

    /// Counts a value that does not open.
    pub(super) fn count_damaged(&self) {
        self.damaged.fetch_add(1, Relaxed);
    }

    /// Opens a value. An entry whose value does not open is taken out of its stripe, which is asked for only then.
    pub(crate) fn open<T, F>(
        &self,
        form: &F,
        held: &Held<'_, K, V>,
        stripe: impl FnOnce() -> usize,
    ) -> Result<F::Opened, F::OpenError>
    where
        F: Form<K, T, Stored = V>,
    {
        // Looked at, not passed through `inspect_err`, which would move it.
        let opened = form.open(held.key(), held.value());
        if opened.is_err() {
            self.remove_damaged(stripe(), held);
        }
        opened
    }

    /// Takes out an entry whose value does not open, if it is still there.
    #[cold]
    fn remove_damaged(&self, stripe: usize, held: &Held<'_, K, V>) {
        self.count_damaged();
        let place = self.stripes[stripe].place_of(held, &pin());
        let Some(place) = place else { return };
        let mut aftermath = Aftermath::new();
        let mut operation = Operation::new(self, stripe, &mut aftermath);
        // As it is held, no other entry comes to its place.
        let (hash, expect, cause) = (held.hash(), Expect::Place(place), RemovalCause::Removed);
        operation.run(|context, aftermath| {
            self.stripes[stripe].remove(context, hash, |_| false, expect, cause, aftermath);
        });
    }
}

impl<K: Hash + Eq, V, S: BuildHasher, F: Form<K, V>> Cache<K, V, S, F> {
    #[inline]
    pub(crate) fn find<'p, Q>(&'p self, key: &Q, at: Location, pin: &'p Pin) -> Option<(u32, &'p Node<K, F::Stored>)>
    where
        Q: Equivalent<K> + ?Sized,
    {
        self.find_in(&self.core.stripes[at.stripe], key, at.hash, pin)
    }

    #[inline]
    fn find_in<'p, Q>(
        &'p self,
        stripe: &'p Stripe<K, F::Stored>,
        key: &Q,
        hash: stripe::Hash,
        pin: &'p Pin,
    ) -> Option<(u32, &'p Node<K, F::Stored>)>
    where
        Q: Equivalent<K> + ?Sized,
    {
        let is_key = |candidate: &K| key.equivalent(candidate);
        let time = &self.core.time;
        stripe.find_living(pin, hash, is_key, |deadline| time.is_surely_before(deadline), || time.now())
    }

    /// Looks up, counts, and records a use.
    #[inline(always)]
    pub(crate) fn find_and_use<'p, Q>(&'p self, key: &Q, at: Location, pin: &'p Pin) -> Option<&'p Node<K, F::Stored>>
    where
        Q: Equivalent<K> + ?Sized,
    {
        let stripe = &self.core.stripes[at.stripe];
        let Some((_, node)) = self.find_in(stripe, key, at.hash, pin) else {
            self.core.count_lookup(false);
            return None;
        };
        self.core.count_lookup(true);
        stripe.record_use(node, &self.core.budget, || self.core.time.now());
        Some(node)
    }

    /// Looks up, counts, records a use, and gives the node to `take`, with its stripe and the pin under which it was found:
    /// with a glance where that is enough. The functions that go on where it is not are called last, so that nothing is kept
    /// for when they come back.
    #[inline(never)]
    fn look_up<'c, Q, R>(&'c self, key: &Q, take: impl Take<'c, K, F::Stored, R>) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let at = self.locate(key);
        let stripe = &self.core.stripes[at.stripe];
        let Some(pin) = pin_briefly() else { return self.look_up_thoroughly(key, at, take) };
        match stripe.glance(&pin, at.hash, |candidate: &K| key.equivalent(candidate)) {
            Glance::Done(node) => take(stripe, node, &pin),
            Glance::Used(_, node) if self.core.try_count_lookup(true) => take(stripe, node, &pin),
            Glance::Used(place, _) => self.count_hit(stripe, pin, place, take),
            Glance::Found(place) => self.use_found(key, stripe, pin, place, take),
            Glance::Absent => {
                drop(pin);
                if self.core.try_count_lookup(false) { None } else { self.core.count_miss() }
            }
            Glance::Unclear => {
                drop(pin);
                self.look_up_anew(key, take)
            }
        }
    }

    /// Goes on where a use has been recorded.
    #[cold]
    #[inline(never)]
    fn count_hit<'c, R>(
        &self,
        stripe: &'c Stripe<K, F::Stored>,
        pin: BriefPin,
        place: u32,
        take: impl Take<'c, K, F::Stored, R>,
    ) -> Option<R> {
        self.core.count_lookup(true);
        take(stripe, stripe.node(place, &pin), &pin)
    }

    /// Goes on where the entry was found, but may have expired, or is to be renewed.
    #[inline(never)]
    fn use_found<'c, Q, R>(
        &'c self,
        key: &Q,
        stripe: &'c Stripe<K, F::Stored>,
        pin: BriefPin,
        place: u32,
        take: impl Take<'c, K, F::Stored, R>,
    ) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let node = stripe.node(place, &pin);
        let (deadline, time) = (node.deadline(), &self.core.time);
        // That it has expired is not said here, but by a time read before it was found.
        if deadline == 0 || time.is_surely_before(deadline) || time.now() < deadline {
            self.core.count_lookup(true);
            stripe.record_use(node, &self.core.budget, || self.core.time.now());
            return take(stripe, node, &pin);
        }
        drop(pin);
        self.look_up_anew(key, take)
    }

    // Hashes once more, which is less than to keep the hash in every look-up.
    #[inline(never)]
    fn look_up_anew<'c, Q, R>(&'c self, key: &Q, take: impl Take<'c, K, F::Stored, R>) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.look_up_thoroughly(key, self.locate(key), take)
    }

    #[inline(never)]
    fn look_up_thoroughly<'c, Q, R>(&'c self, key: &Q, at: Location, take: impl Take<'c, K, F::Stored, R>) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.core.prefetch_before_pin(at);
        let pin = pin();
        take(&self.core.stripes[at.stripe], self.find_and_use(key, at, &pin)?, &pin)
    }

    /// Looks up, counts, records a use, and lends the entry beyond the pin.
    #[inline]
    pub(crate) fn look_up_held<Q>(&self, key: &Q) -> Option<Held<'_, K, F::Stored>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.look_up(key, |stripe, node, pin| Some(stripe.hold(node, pin)))
    }

    /// Opens the value of a node, where doing that under the pin is no worse than cloning it would be.
    #[inline]
    pub(super) fn open_at_hand(&self, node: &Node<K, F::Stored>) -> Option<F::Opened> {
        if F::is_at_hand(node.value()) { self.form.open(node.key(), node.value()).ok() } else { None }
    }

    /// As [`Cache::open_at_hand`], for a caller who is to own the value.
    #[inline]
    pub(crate) fn at_hand(&self, node: &Node<K, F::Stored>) -> Option<V>
    where
        V: Clone,
    {
        self.open_at_hand(node).map(|opened| F::to_value(node.value(), opened))
    }

    /// Opens the value of an entry. Where it does not open the entry is taken out, and is as good as missing.
    pub(super) fn open<'c>(&self, held: Held<'c, K, F::Stored>) -> Option<Ref<'c, K, V, F>> {
        let opened = self.try_open(&held).ok()?;
        Some(Ref::new(held, opened))
    }

    /// As [`Cache::open`], for an entry that was counted as a hit.
    pub(crate) fn open_used<'c>(&self, held: Held<'c, K, F::Stored>) -> Option<Ref<'c, K, V, F>> {
        let opened = self.try_open_used(&held).ok()?;
        Some(Ref::new(held, opened))
    }

    /// As [`Cache::open_used`], and says why a value does not open.
    pub(crate) fn try_open_used(&self, held: &Held<'_, K, F::Stored>) -> Result<F::Opened, F::OpenError> {
        let opened = self.try_open(held);
        if opened.is_err() {
            self.core.recount_as_miss();
        }
        opened
    }

    /// Takes out an entry that was counted as a hit, and whose stored form makes no sense: it is as good as missing.
    #[cold]
    pub(crate) fn remove_used_damaged(&self, held: &Held<'_, K, F::Stored>) {
        self.core.remove_damaged(self.locate(held.key()).stripe, held);
        self.core.recount_as_miss();
    }

    /// The value of an entry that was counted as a hit.
    pub(crate) fn value_of(&self, held: &Held<'_, K, F::Stored>) -> Option<V>
    where
        V: Clone,
    {
        match self.try_open_used(held) {
            Ok(opened) => Some(F::to_value(held.value(), opened)),
            Err(_) => None,
        }
    }

    fn try_open(&self, held: &Held<'_, K, F::Stored>) -> Result<F::Opened, F::OpenError> {
        self.core.open(&self.form, held, || self.locate(held.key()).stripe)
    }

    /// The value of a key, cloned. A use; takes no lock.
    ///
    /// (In a cache that was built for at most 64 entries, where the order of use is exact, a hit does take the lock.)
    ///
    /// # Examples
    ///
    /// ```
    /// let cache = larder::Cache::new(100);
    /// cache.insert("user:42".to_owned(), vec![1, 2, 3]);
    /// assert_eq!(cache.get("user:42"), Some(vec![1, 2, 3]));
    /// assert_eq!(cache.get("user:43"), None);
    /// ```
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        V: Clone,
    {
        if F::ALL_AT_HAND {
            return self.look_up(key, |_, node, _| self.at_hand(node));
        }
        let found =
            self.look_up(key, |stripe, node, pin| Some(self.at_hand(node).ok_or_else(|| stripe.hold(node, pin))));
        match found? {
            Ok(value) => Some(value),
            Err(held) => self.value_of(&held),
        }
    }

    /// The value of a key, cloned. Not a use: leaves recency, time to idle and the counters of hits alone.
    pub fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        V: Clone,
    {
        let at = self.locate(key);
        let pin = pin();
        let (_, node) = self.find(key, at, &pin)?;
        if let Some(value) = self.at_hand(node) {
            return Some(value);
        }
        let held = self.core.stripes[at.stripe].hold(node, &pin);
        drop(pin);
        self.open(held).map(Ref::into_value)
    }

    /// Whether a key has a living entry. Not a use.
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let pin = pin();
        self.find(key, self.locate(key), &pin).is_some()
    }

    /// The values of many keys, in their order. As many calls of [`Cache::get`], but faster: in a
    /// large cache most of a look-up is waiting for memory, and here the look-ups wait together.
    ///
    /// # Examples
    ///
    /// ```
    /// let cache = larder::Cache::new(100);
    /// cache.insert_many([(1, "one"), (2, "two")]);
    /// assert_eq!(cache.get_many(&[2, 3, 1]), [Some("two"), None, Some("one")]);
    /// ```
    pub fn get_many<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<Option<V>>
    where
        Q: Hash + Equivalent<K> + ?Sized + 'q,
        V: Clone,
    {
        let mut keys = keys.into_iter();
        let mut values = Vec::with_capacity(keys.size_hint().0);
        let mut together = SmallVec::<[(&Q, Location); TOGETHER]>::new();
        loop {
            together.extend(keys.by_ref().take(TOGETHER).map(|key| (key, self.locate(key))));
            if together.is_empty() {
                return values;
            }
            for (_, at) in &together {
                self.core.stripes[at.stripe].prefetch_bucket(at.hash);
            }
            let pin = pin();
            for (_, at) in &together {
                self.core.stripes[at.stripe].prefetch_node(&pin, at.hash);
            }
            let first = values.len();
            let mut held = Vec::new();
            values.extend(together.drain(..).enumerate().map(|(index, (key, at))| {
                let node = self.find_and_use(key, at, &pin)?;
                let value = self.at_hand(node);
                if value.is_none() {
                    held.push((first + index, self.core.stripes[at.stripe].hold(node, &pin)));
                }
                value
            }));
            drop(pin);
            for (index, held) in held {
                values[index] = self.value_of(&held);
            }
        }
    }

    /// How long the entry of a key will live if nothing happens to it: `Duration::MAX` where it has no
    /// deadline, `None` where there is no entry. Not a use.
    pub fn time_left<Q>(&self, key: &Q) -> Option<Duration>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let at = self.locate(key);
        // Read first: what is found living at a later time has some left at this one.
        let now = self.core.time.now();
        let pin = pin();
        let (_, node) = self.find(key, at, &pin)?;
        match node.deadline() {
            0 => Some(Duration::MAX),
            deadline => Some(Duration::from_nanos(deadline.saturating_sub(now).max(1))),
        }
    }
}

impl<K: Hash + Eq, V, S: BuildHasher> Cache<K, V, S> {
    /// Calls `read` with the value of a key, without cloning it. A use; takes no lock.
    ///
    /// Nothing that is displaced in any cache of the program is dropped while `read` runs: keep it short, or
    /// use [`Cache::get_ref`]. It may use the cache.
    ///
    /// # Examples
    ///
    /// ```
    /// let cache = larder::Cache::new(100);
    /// cache.insert(1, "some text".to_owned());
    /// assert_eq!(cache.read(&1, |text| text.len()), Some(9));
    /// ```
    #[inline]
    pub fn read<Q, R>(&self, key: &Q, read: impl FnOnce(&V) -> R) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.look_up(key, |_, node, _| Some(read(node.value())))
    }

    /// Lends key and value for as long as the guard lives. A use; takes no lock.
    pub fn get_ref<Q>(&self, key: &Q) -> Option<Ref<'_, K, V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        Some(Ref::new(self.look_up_held(key)?, ()))
    }
}
