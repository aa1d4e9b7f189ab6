//! Writes: put entries in and take them out.
//!
//! Knows what a write needs before it takes a lock: the value packed, the entry weighed, its deadline.

use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use hashbrown::Equivalent;

use super::{Cache, Location};
use crate::clock::nanos;
use crate::error::{NotStored, TooLarge};
use crate::first_panic::FirstPanic;
use crate::form::Form;
use crate::iter::Ref;
use crate::operation::Operation;
use crate::stripe::{self, Aftermath, Entry, Expect, Node, RemovalCause};
use crate::sync::Pin;

type Refusal<K, V, F> = NotStored<K, V, <F as Form<K, V>>::PackError>;

impl<K: Hash + Eq, V, S: BuildHasher, F: Form<K, V>> Cache<K, V, S, F> {
    /// Puts an entry in, in the place of the key's present one if there is one: the key is replaced as well
    /// as the value, and time starts anew.
    ///
    /// Where there is no room others are evicted. In a cache that is limited by bytes an entry larger than the
    /// whole limit is not put in, and the key's present entry is removed; [`Cache::try_insert`] says so. The same goes for
    /// one whose value the codec refuses, in a cache that has one.
    pub fn insert(&self, key: K, value: V) {
        // What is dropped here has been counted as rejected.
        let _ = self.put(key, value, self.core.time_to_live);
    }

    /// As [`Cache::insert`], with a time to live of its own; `Duration::MAX` is for ever, zero is over at once: then
    /// the key's present entry goes, as replaced, and is counted in `removals`. Time to idle, if set, holds as well.
    pub fn insert_with_ttl(&self, key: K, value: V, ttl: Duration) {
        let _ = self.put_for(key, value, ttl);
    }

    /// Inserts one entry after the other.
    pub fn insert_many(&self, entries: impl IntoIterator<Item = (K, V)>) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }

    pub(crate) fn put_for(&self, key: K, value: V, ttl: Duration) -> Result<(), Refusal<K, V, F>> {
        match nanos(ttl) {
            u64::MAX => self.put(key, value, 0),
            // Over at once is over one nanosecond from before now.
            0 => {
                self.invalidate_entry(&key, RemovalCause::Replaced);
                Ok(())
            }
            ttl => self.put(key, value, ttl),
        }
    }

    #[inline]
    pub(crate) fn put(&self, key: K, value: V, ttl: u64) -> Result<(), Refusal<K, V, F>> {
        let at = self.locate(&key);
        let stripe = &self.core.stripes[at.stripe];
        stripe.prefetch_bucket(at.hash);
        let entry = match self.prepare(at, key, value, ttl) {
            Ok(entry) => entry,
            Err(not_stored) => return Err(self.refuse(not_stored)),
        };
        if let Err(entry) = stripe.write_fast(&self.core.budget, entry, K::eq) {
            self.write(at.stripe, entry);
        }
        Ok(())
    }

    /// The general way, apart so that the fast one has the registers to itself.
    #[inline(never)]
    fn write(&self, stripe: usize, entry: Entry<K, F::Stored>) {
        let mut entry = Some(entry);
        self.core.write(stripe, |context, aftermath| {
            let stripe = &self.core.stripes[stripe];
            stripe.write(context, &mut entry, K::eq, Expect::Anything, aftermath)
        });
    }

    /// Counts what can't be put in, and removes what it would have replaced.
    #[cold]
    fn refuse(&self, not_stored: Refusal<K, V, F>) -> Refusal<K, V, F> {
        self.core.reject();
        self.invalidate_entry(not_stored.key(), RemovalCause::Replaced);
        not_stored
    }

    /// Packs and weighs an entry, and says when it expires.
    #[inline]
    pub(super) fn prepare(
        &self,
        at: Location,
        key: K,
        value: V,
        ttl: u64,
    ) -> Result<Entry<K, F::Stored>, Refusal<K, V, F>> {
        let (stored, opened) = match self.form.pack(&key, value) {
            Ok(packed) => packed,
            Err((value, error)) => return Err(NotStored::Unpackable { key, value, error }),
        };
        let weight = self.core.weigh(&key, &stored);
        if let Some(max) = self.core.is_too_large(weight) {
            let value = F::unpack(stored, opened);
            return Err(NotStored::TooLarge(TooLarge { key, value, weight, max }));
        }
        drop(opened);
        let (deadline, limit) = self.core.deadline(ttl);
        Ok(Entry { hash: at.hash, key, value: stored, weight, deadline, limit, keeps_time: false })
    }

    /// Removes the entry of a key and gives its value, cloned since a reader may still hold it. What the cache
    /// held is dropped as soon as no reader can see it, usually before this returns.
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        V: Clone,
    {
        let at = self.locate(key);
        let stripe = &self.core.stripes[at.stripe];
        let read = |node: &_, pin: &_| self.at_hand(node).ok_or_else(|| stripe.hold(node, pin));
        let found = self.take(key, at, RemovalCause::Removed, read)?;
        found.map_or_else(|held| self.open(held).map(Ref::into_value), Some)
    }

    /// Removes the entry of a key; whether there was a living one. As [`Cache::remove`], for any value.
    pub fn invalidate<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.invalidate_entry(key, RemovalCause::Removed)
    }

    fn invalidate_entry<Q>(&self, key: &Q, cause: RemovalCause) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.take(key, self.locate(key), cause, |_, _| ()).is_some()
    }

    fn take<Q, R>(
        &self,
        key: &Q,
        at: Location,
        cause: RemovalCause,
        read: impl FnOnce(&Node<K, F::Stored>, &Pin) -> R,
    ) -> Option<R>
    where
        Q: Equivalent<K> + ?Sized,
    {
        let stripe = &self.core.stripes[at.stripe];
        let mut aftermath = Aftermath::new();
        let mut operation = Operation::pinned(&self.core, at.stripe, &mut aftermath);
        let removed = operation.run(|context, aftermath| {
            stripe.remove(context, at.hash, |candidate| key.equivalent(candidate), Expect::Anything, cause, aftermath)
        });
        let (place, alive) = removed?;
        let node = stripe.node(place, operation.pin());
        let value = alive.then(|| read(node, operation.pin()));
        // Before the value is returned: if a destructor panics in here, it is dropped and not forgotten.
        drop(operation);
        drop(aftermath);
        value
    }

    /// Keeps the entries for which `keep` holds and removes the others. O(entries); no lock is held while `keep` runs.
    ///
    /// Entries that are there during the whole of the call are asked for just once, unless they change
    /// meanwhile; others may be asked for or not. As while [`read`](Cache::read) runs, nothing that is displaced is dropped
    /// while `keep` runs.
    ///
    /// # Panics
    ///
    /// If `keep`, a listener or a destructor panics: then entries that come after are not asked for.
    pub fn retain(&self, mut keep: impl FnMut(&K, &V) -> bool) {
        for number in 0..self.core.stripes.len() {
            self.retain_in(number, &mut |node| self.is_kept(node, &mut keep));
        }
    }

    fn retain_in(&self, number: usize, keep: &mut impl FnMut(&Node<K, F::Stored>) -> bool) {
        let mut next = Some(stripe::Hash::FIRST);
        while next.is_some() {
            self.retain_some(number, &mut next, keep);
        }
    }

    /// As [`Cache::retain`], for the few entries that come next in a stripe; `next` is where to go on, also after a panic.
    fn retain_some(
        &self,
        number: usize,
        next: &mut Option<stripe::Hash>,
        keep: &mut impl FnMut(&Node<K, F::Stored>) -> bool,
    ) {
        let stripe = &self.core.stripes[number];
        let Some(from) = next.take() else { return };
        let mut aftermath = Aftermath::new();
        let mut operation = Operation::pinned(&self.core, number, &mut aftermath);
        let mut found = Vec::new();
        let now = operation.now();
        *next = stripe.visit(operation.pin(), from, |place, node| found.push((place, node.hash())));
        for (place, hash) in found {
            let node = stripe.node(place, operation.pin());
            if stripe::is_expired(node.deadline(), now) || !keep(node) {
                let (expect, cause) = (Expect::Place(place), RemovalCause::Removed);
                operation.run(|context, aftermath| {
                    stripe.remove(context, hash, |_| false, expect, cause, aftermath);
                });
            }
        }
    }

    /// Whether an entry is to be kept. One whose value does not open is not.
    fn is_kept(&self, node: &Node<K, F::Stored>, keep: &mut impl FnMut(&K, &V) -> bool) -> bool {
        match self.form.open(node.key(), node.value()) {
            Ok(opened) => keep(node.key(), F::value(node.value(), &opened)),
            Err(_) => {
                self.core.count_damaged();
                false
            }
        }
    }

    /// Removes all entries. O(entries); other calls go on meanwhile. What is inserted while it runs may stay
    /// or go. Loads that are under way are not stored.
    ///
    /// # Panics
    ///
    /// If a listener or a destructor panics: with the first such panic, when all entries have been removed.
    pub fn clear(&self) {
        let mut panic = FirstPanic::default();
        for number in 0..self.core.stripes.len() {
            panic.catch(|| self.end_loads_in(number));
        }
        for number in 0..self.core.stripes.len() {
            let mut next = Some(stripe::Hash::FIRST);
            while next.is_some() {
                panic.catch(|| self.retain_some(number, &mut next, &mut |_| false));
            }
        }
        panic.resume();
    }

    fn end_loads_in(&self, number: usize) {
        let mut aftermath = Aftermath::new();
        let mut operation = Operation::new(&self.core, number, &mut aftermath);
        operation.run(|context, aftermath| self.core.stripes[number].end_all_loads(context, aftermath));
    }

    /// Lets the entry of a key live for `ttl` from now, whatever it was to live before; `Duration::MAX` is for ever.
    /// Whether there is one. Time to idle, if set, starts anew and holds as well.
    ///
    /// The first entry of a stripe that gets a time makes it keep times: some 3 KB, and 8 bytes for each entry that it has
    /// place for. In a full cache that is limited by bytes others are evicted for that.
    pub fn touch<Q>(&self, key: &Q, ttl: Duration) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let ttl = match nanos(ttl) {
            0 => return self.invalidate_entry(key, RemovalCause::Expired),
            u64::MAX => 0,
            ttl => ttl,
        };
        let at = self.locate(key);
        let deadline = self.core.deadline(ttl);
        self.core.write(at.stripe, |context, aftermath| {
            let stripe = &self.core.stripes[at.stripe];
            stripe.touch(context, at.hash, |candidate| key.equivalent(candidate), deadline, aftermath)
        })
    }
}

impl<K: Hash + Eq, V, S: BuildHasher> Cache<K, V, S> {
    /// As [`Cache::insert`], and says when the entry is too large.
    ///
    /// # Errors
    ///
    /// If the entry weighs more than the whole cache may, it is handed back with both numbers; the key has no entry then.
    pub fn try_insert(&self, key: K, value: V) -> Result<(), TooLarge<K, V>> {
        let done = self.put(key, value, self.core.time_to_live);
        done.map_err(|NotStored::TooLarge(too_large)| too_large)
    }
}
