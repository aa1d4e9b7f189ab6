//! Read, decide, and change as one step.
//!
//! Knows that a decision runs under no lock: it is carried out only if what it was made on is still there. Until then the
//! entry's place must not be used again, which the pin sees to, or a hold where the value takes long to open.

use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use hashbrown::Equivalent;

use super::{Cache, Location};
use crate::clock::nanos;
use crate::form::Form;
use crate::operation::Operation;
use crate::stripe::{Aftermath, Entry, Expect, Need, RemovalCause, Written};
use crate::sync::pin;

/// What [`Cache::compute`] is to do with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change<K, V> {
    /// Leave everything as it is.
    Keep,
    /// Put this key and value in the place of what is there, or in; it lives as long as an inserted entry.
    Put(K, V),
    /// As `Put`, and it lives for so long.
    PutWithTtl(K, V, Duration),
    /// As `Put`, and it expires when what is there would have; a [`touch`](Cache::touch) that comes in between counts. Time
    /// to idle starts anew. Where there is nothing it is `Put`.
    PutKeepingTime(K, V),
    /// Remove what is there.
    Remove,
}

/// What [`Cache::compute`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Nothing.
    Unchanged,
    /// There was no entry, and now there is.
    Inserted,
    /// There was an entry, and now there is another.
    Updated,
    /// There was an entry, and now there is none.
    Removed,
    /// The entry to be put was larger than the whole cache may be, or its codec refused it; what was there is gone.
    Rejected,
}

impl<K: Hash + Eq, V, S: BuildHasher, F: Form<K, V>> Cache<K, V, S, F> {
    /// Removes the entry of a key if `condition` holds for it. The condition runs under no lock and may use the cache;
    /// if the entry changes meanwhile it is asked again. As while [`read`](Cache::read) runs, nothing that is displaced is
    /// dropped meanwhile.
    pub fn remove_if<Q>(&self, key: &Q, mut condition: impl FnMut(&K, &V) -> bool) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        V: Clone,
    {
        let mut removed = None;
        self.compute(key, |entry| match entry {
            Some((key, value)) if condition(key, value) => {
                removed = Some(value.clone());
                Change::Remove
            }
            _ => {
                removed = None;
                Change::Keep
            }
        });
        removed
    }

    /// Reads the entry of a key, decides, and changes it, as one step: `decide` is given key and value, or `None`
    /// where there is no living entry, and says what is to be there. It runs under no lock and may use the cache; if
    /// the entry changes before the decision is carried out, `decide` is called again with what is there then.
    ///
    /// To insert if absent, or to replace if present, is a matter of the answer. An entry that is put takes the place
    /// of the present one, key and all; its key has to be equal to `key`.
    ///
    /// Not a use in itself; what is put is as good as inserted. `touch` and hits do not count as changes. As while
    /// [`read`](Cache::read) runs, nothing that is displaced is dropped while `decide` looks at an entry.
    ///
    /// # Panics
    ///
    /// If the key that is put is not equal to `key`.
    ///
    /// # Examples
    ///
    /// ```
    /// use larder::{Cache, Change, Outcome};
    ///
    /// let visits: Cache<String, u64> = Cache::new(1_000);
    /// let count = |name: &str| visits.compute(name, |entry| {
    ///     let visits = entry.map_or(0, |(_, visits)| *visits);
    ///     Change::Put(name.to_owned(), visits + 1)
    /// });
    /// assert_eq!(count("Ann"), Outcome::Inserted);
    /// assert_eq!(count("Ann"), Outcome::Updated);
    /// assert_eq!(visits.get("Ann"), Some(2));
    /// ```
    pub fn compute<Q>(&self, key: &Q, mut decide: impl FnMut(Option<(&K, &V)>) -> Change<K, V>) -> Outcome
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let at = self.locate(key);
        let mut attempts = 0;
        loop {
            let mut aftermath = Aftermath::new();
            let done = self.try_compute(key, at, &mut decide, attempts, &mut aftermath);
            match done {
                // The budget is settled last: before that it might cost the very entry.
                Ok(Some(outcome)) => {
                    self.core.settle(at.stripe, &mut aftermath);
                    return outcome;
                }
                Ok(None) => {}
                Err(need) => {
                    attempts += 1;
                    self.core.supply(at.stripe, need);
                }
            }
        }
    }

    /// One look, decision and change; `None` if what was seen was no longer there.
    fn try_compute<Q>(
        &self,
        key: &Q,
        at: Location,
        decide: &mut impl FnMut(Option<(&K, &V)>) -> Change<K, V>,
        attempts: u32,
        aftermath: &mut Aftermath<K, F::Stored>,
    ) -> Result<Option<Outcome>, Need>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        // Pinned, or held, from the look to the change, so that the place that was seen is not used again in between.
        let pin = pin();
        let held;
        let (seen, change) = match self.find(key, at, &pin) {
            None => {
                drop(pin);
                (None, decide(None))
            }
            Some((place, node)) => match self.open_at_hand(node) {
                Some(opened) => (Some(place), decide(Some((node.key(), F::value(node.value(), &opened))))),
                None => {
                    held = self.core.stripes[at.stripe].hold(node, &pin);
                    drop(pin);
                    let Ok(opened) = self.core.open(&self.form, &held, || at.stripe) else { return Ok(None) };
                    (Some(place), decide(Some((held.key(), F::value(held.value(), &opened)))))
                }
            },
        };
        let keeps_time = matches!(change, Change::PutKeepingTime(..));
        let (new_key, value, ttl) = match change {
            Change::Keep => return Ok(Some(Outcome::Unchanged)),
            Change::Remove => return Ok(self.remove_expected(at, seen, RemovalCause::Removed)),
            Change::Put(key, value) | Change::PutKeepingTime(key, value) => (key, value, self.core.time_to_live),
            Change::PutWithTtl(key, value, ttl) => match nanos(ttl) {
                0 => return Ok(self.remove_expected(at, seen, RemovalCause::Replaced)),
                u64::MAX => (key, value, 0),
                ttl => (key, value, ttl),
            },
        };
        assert!(key.equivalent(&new_key), "compute: the key that was put is not equal to the one that was asked for");
        let Ok(mut entry) = self.prepare(at, new_key, value, ttl) else {
            let removed = self.remove_expected(at, seen, RemovalCause::Replaced);
            return Ok(removed.map(|_| self.core.reject()));
        };
        // Nothing was seen where the time of what is there was over.
        entry.keeps_time = keeps_time && seen.is_some();
        let expect = seen.map_or(Expect::Absent, Expect::Place);
        Ok(match self.write_expected(at, &mut Some(entry), expect, attempts, aftermath)? {
            Written::Inserted => Some(Outcome::Inserted),
            Written::Updated => Some(Outcome::Updated),
            Written::Outdated => None,
        })
    }

    /// `None` if what is there is not what was seen.
    fn remove_expected(&self, at: Location, seen: Option<u32>, cause: RemovalCause) -> Option<Outcome> {
        let stripe = &self.core.stripes[at.stripe];
        let Some(place) = seen else {
            // As with any removal, a load that began before it is not stored after it.
            stripe.end_loads(at.hash);
            return Some(Outcome::Unchanged);
        };
        let mut aftermath = Aftermath::new();
        let mut operation = Operation::new(&self.core, at.stripe, &mut aftermath);
        let expect = Expect::Place(place);
        let removed =
            operation.run(|context, aftermath| stripe.remove(context, at.hash, |_| false, expect, cause, aftermath));
        removed.map(|_| Outcome::Removed)
    }

    /// Writes if what is there is what was seen. Memory is supplied on the way, but for places, which nobody can
    /// supply while the caller is pinned; likewise the caller settles the budget.
    fn write_expected(
        &self,
        at: Location,
        entry: &mut Option<Entry<K, F::Stored>>,
        expect: Expect,
        attempts: u32,
        aftermath: &mut Aftermath<K, F::Stored>,
    ) -> Result<Written, Need> {
        loop {
            let mut operation = Operation::inner(&self.core, at.stripe, aftermath);
            operation.set_attempts(attempts);
            let stripe = &self.core.stripes[at.stripe];
            match operation.run(|context, aftermath| stripe.write(context, entry, K::eq, expect, aftermath)) {
                Err(need) if need != Need::Places => {
                    drop(operation);
                    self.core.supply(at.stripe, need);
                }
                done => return done,
            }
        }
    }
}
