//! Entries lent beyond a call: the guard, and the iterators that yield it.

use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::ops::Deref;

use crate::cache::Core;
use crate::form::{Form, Plain};
use crate::stripe::{Hash, Held, is_expired};
use crate::sync::pin;

/// An entry on loan: key and value, as they were when it was found.
///
/// The entry may be updated, removed, evicted or expire meanwhile; the loan keeps key and value
/// from being dropped, and nothing else from going on: no lock is held. It points to the value,
/// with [`Deref`].
///
/// Made by [`Cache::get_ref`](crate::Cache::get_ref) and [`Cache::iter`](crate::Cache::iter). A loan
/// that is forgotten keeps its memory until the cache is dropped.
pub struct Ref<'c, K, V, F: Form<K, V> = Plain> {
    node: Held<'c, K, F::Stored>,
    opened: F::Opened,
}

impl<'c, K, V, F: Form<K, V>> Ref<'c, K, V, F> {
    pub(crate) fn new(node: Held<'c, K, F::Stored>, opened: F::Opened) -> Self {
        Self { node, opened }
    }

    /// The key that was inserted with the value.
    pub fn key(&self) -> &K {
        self.node.key()
    }

    /// The value.
    pub fn value(&self) -> &V {
        F::value(self.node.value(), &self.opened)
    }

    pub(crate) fn deadline(&self) -> u64 {
        self.node.deadline()
    }

    /// The value, for a caller who is to own it.
    pub(crate) fn into_value(self) -> V
    where
        V: Clone,
    {
        F::to_value(self.node.value(), self.opened)
    }
}

impl<K, V, F: Form<K, V, Opened: Clone>> Clone for Ref<'_, K, V, F> {
    /// Lends the same entry again. O(1), but that what had to be opened is cloned.
    fn clone(&self) -> Self {
        Self { node: self.node.clone(), opened: self.opened.clone() }
    }
}

impl<K, V, F: Form<K, V>> Deref for Ref<'_, K, V, F> {
    type Target = V;

    fn deref(&self) -> &V {
        self.value()
    }
}

impl<K: fmt::Debug, V: fmt::Debug, F: Form<K, V>> fmt::Debug for Ref<'_, K, V, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ref").field("key", self.key()).field("value", self.value()).finish()
    }
}

/// A walk over the entries of a cache, in no order, whatever their form.
struct Walk<'c, K, V> {
    core: &'c Core<K, V>,
    /// The stripe and the smallest hash in it that have not been looked at.
    next: Option<(usize, Hash)>,
    /// Entries with their stripes.
    found: VecDeque<(usize, Held<'c, K, V>)>,
}

impl<'c, K, V> Walk<'c, K, V> {
    fn new(core: &'c Core<K, V>) -> Self {
        Self { core, next: Some((0, Hash::FIRST)), found: VecDeque::new() }
    }

    /// Holds the living entries of one home bucket. The pin lasts for that only.
    fn look_at(&mut self, stripe: usize, from: Hash) {
        let now = self.core.time_if_timed();
        let pin = pin();
        let (stripes, found) = (&self.core.stripes, &mut self.found);
        let next = stripes[stripe].visit(&pin, from, |_, node| {
            if !is_expired(node.deadline(), now) {
                found.push_back((stripe, stripes[stripe].hold(node, &pin)));
            }
        });
        self.next = match next {
            Some(hash) => Some((stripe, hash)),
            None => (stripe + 1 < stripes.len()).then_some((stripe + 1, Hash::FIRST)),
        };
    }
}

impl<'c, K: Eq, V> Walk<'c, K, V> {
    /// The entry, or if its time is over the one that its key has now.
    fn living(&self, stripe: usize, entry: Held<'c, K, V>) -> Option<Held<'c, K, V>> {
        if !is_expired(entry.deadline(), self.core.time_if_timed()) {
            return Some(entry);
        }
        let pin = pin();
        let stripe = &self.core.stripes[stripe];
        let is_key = |key: &K| key == entry.key();
        let (_, node) = stripe.find_living(&pin, entry.hash(), is_key, |_| false, || self.core.time_if_timed())?;
        Some(stripe.hold(node, &pin))
    }
}

impl<'c, K: Eq, V> Iterator for Walk<'c, K, V> {
    type Item = (usize, Held<'c, K, V>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while self.found.is_empty() {
                let (stripe, from) = self.next?;
                self.look_at(stripe, from);
            }
            let (stripe, entry) = self.found.pop_front()?;
            // Time may have passed since the bucket was looked at; and the key may have got another entry meanwhile.
            if let Some(entry) = self.living(stripe, entry) {
                return Some((stripe, entry));
            }
        }
    }
}

/// A walk over the entries of a cache, in no order; see [`Cache::iter`](crate::Cache::iter).
pub struct Iter<'c, K, V, F: Form<K, V> = Plain> {
    walk: Walk<'c, K, F::Stored>,
    form: &'c F,
}

impl<'c, K, V, F: Form<K, V>> Iter<'c, K, V, F> {
    pub(crate) fn new(core: &'c Core<K, F::Stored>, form: &'c F) -> Self {
        Self { walk: Walk::new(core), form }
    }
}

impl<'c, K: Eq, V, F: Form<K, V>> Iterator for Iter<'c, K, V, F> {
    type Item = Ref<'c, K, V, F>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (stripe, entry) = self.walk.next()?;
            if let Ok(opened) = self.walk.core.open(self.form, &entry, || stripe) {
                return Some(Ref::new(entry, opened));
            }
        }
    }
}

impl<K: Eq, V, F: Form<K, V>> FusedIterator for Iter<'_, K, V, F> {}

impl<K, V, F: Form<K, V>> fmt::Debug for Iter<'_, K, V, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").finish_non_exhaustive()
    }
}

/// The keys of a cache, cloned, in no order; see [`Cache::keys`](crate::Cache::keys).
pub struct Keys<'c, K, V, F: Form<K, V> = Plain> {
    walk: Walk<'c, K, F::Stored>,
}

impl<'c, K, V, F: Form<K, V>> Keys<'c, K, V, F> {
    pub(crate) fn new(core: &'c Core<K, F::Stored>) -> Self {
        Self { walk: Walk::new(core) }
    }
}

impl<K: Clone + Eq, V, F: Form<K, V>> Iterator for Keys<'_, K, V, F> {
    type Item = K;

    fn next(&mut self) -> Option<K> {
        self.walk.next().map(|(_, entry)| entry.key().clone())
    }
}

impl<K: Clone + Eq, V, F: Form<K, V>> FusedIterator for Keys<'_, K, V, F> {}

impl<K, V, F: Form<K, V>> fmt::Debug for Keys<'_, K, V, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}
