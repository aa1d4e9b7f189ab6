//! Loading anew what is old, while it is served.
//!
//! Knows when an entry is due, which a stripe keeps beside its slots, and that a reload is a flight like any other: who
//! misses the key while it is under way, since the old entry has expired or was evicted, waits for it.
//!
//! * *Who reloads.* The caller that hits a due entry and finds no flight registered for it. It gets its ticket under the
//!   stripe's lock, where it is looked again whether the entry is due; so a caller that was slow to come from its look to
//!   its ticket does not reload what was reloaded in between.
//! * *Who does not.* With the ticket the entry's time is put off, as by a write. So whoever comes next finds an entry that
//!   is not due, in a look that takes no lock. Should the reload take so long that it is due again, he finds the flight.
//! * *What if it fails.* The time has been put off already: nothing has to be undone, whether the loader failed, panicked,
//!   or was cancelled or forgotten, and a source that is down is not asked by one caller after the other.
//! * *What if the key is written to.* That ends the ticket, as it does a load's.

use std::hash::{BuildHasher, Hash};

use super::{Cache, Next};
use crate::form::Form;
use crate::iter::Ref;
use crate::sync::pin;

/// What a look-up found.
pub(super) enum Look<'c, K, V, F: Form<K, V>> {
    Value(V),
    /// An entry that is due to be loaded anew. It has been opened: should the load fail, its value is served.
    Due(Ref<'c, K, V, F>),
    Nothing,
}

impl<K: Hash + Eq, V: Clone, S: BuildHasher, F: Form<K, V>> Cache<K, V, S, F> {
    /// As [`get`](Cache::get), and says if the entry is due.
    #[inline]
    pub(super) fn look(&self, key: &K) -> Look<'_, K, V, F> {
        if self.core.refresh_after != 0 {
            return self.look_at_age(key);
        }
        self.get(key).map_or(Look::Nothing, Look::Value)
    }

    fn look_at_age(&self, key: &K) -> Look<'_, K, V, F> {
        let (at, time) = (self.locate(key), &self.core.time);
        let stripe = &self.core.stripes[at.stripe];
        self.core.prefetch_before_pin(at);
        let pin = pin();
        let Some(node) = self.find_and_use(key, at, &pin) else { return Look::Nothing };
        let is_due = |due| !time.is_surely_before(due) && time.now() >= due;
        if stripe.due(node, &pin).is_some_and(is_due) {
            let held = stripe.hold(node, &pin);
            drop(pin);
            return self.open_used(held).map_or(Look::Nothing, Look::Due);
        }
        if let Some(value) = self.at_hand(node) {
            return Look::Value(value);
        }
        let held = stripe.hold(node, &pin);
        drop(pin);
        self.value_of(&held).map_or(Look::Nothing, Look::Value)
    }

    /// What a caller that hit a due entry has to do. Waits for nobody.
    pub(super) fn refresh<'c>(&'c self, key: K, old: &Ref<'_, K, V, F>) -> Next<'c, K, V, S, F> {
        match self.board_alone(self.locate(&key), key) {
            Some(leader) => self.lead(leader),
            None => Next::Return(old.value().clone()),
        }
    }
}
