//! The caller that loads: its ticket, its loader, and the store of what that gave.
//!
//! Knows the stripe's tickets for loads. Where it is dropped before the flight has landed, it hands the flight on.

use std::sync::Arc;
use std::time::Instant;

use super::flight::{Flight, Inside, wake_all};
use crate::cache::{Cache, Location};
use crate::form::Form;
use crate::iter::Ref;
use crate::operation::Operation;
use crate::stripe::{Aftermath, Entry, Expect, RemovalCause, Written, is_expired};

/// The caller that loads. Where it is dropped before it has landed it has given up.
pub(super) struct Leader<'c, K, V, S, F: Form<K, V>> {
    cache: &'c Cache<K, V, S, F>,
    at: Location,
    flight: Arc<Flight<V>>,
    /// The registry's key, until the load begins: when it is to be stored it has to be the registry's alone.
    key: Option<Arc<K>>,
    /// The ticket of the load, as long as there is one, and when it began.
    load: Option<(u64, Instant)>,
    /// Whether the loader has been entered and has not come back.
    is_inside: bool,
    has_landed: bool,
}

impl<'c, K, V, S, F: Form<K, V>> Leader<'c, K, V, S, F> {
    pub(super) fn new(cache: &'c Cache<K, V, S, F>, at: Location, flight: Arc<Flight<V>>, key: Arc<K>) -> Self {
        Self { cache, at, flight, key: Some(key), load: None, is_inside: false, has_landed: false }
    }

    /// The key of a load that has not begun.
    pub(super) fn key(&self) -> &K {
        self.key.as_ref().expect("a load begins once")
    }

    /// Gets a ticket for the load, unless the key is there by now and not due to be loaded anew.
    pub(super) fn begin(&mut self) -> bool
    where
        K: Eq,
    {
        let stripe = &self.cache.core.stripes[self.at.stripe];
        let mut aftermath = Aftermath::new();
        let mut operation = Operation::new(&self.cache.core, self.at.stripe, &mut aftermath);
        let ticket = operation.run(|context, aftermath| {
            stripe.begin_load(context, self.at.hash, |candidate| candidate == self.key(), aftermath)
        });
        self.flight.set_ticket(ticket);
        self.load = ticket.map(|ticket| (ticket, Instant::now()));
        if ticket.is_some() {
            self.key = None;
        }
        ticket.is_some()
    }

    /// Runs the loader, or a step of it.
    pub(super) fn enter<R>(&mut self, step: impl FnOnce() -> R) -> R {
        self.is_inside = true;
        let inside = Inside::of(&self.flight);
        let result = step();
        drop(inside);
        self.is_inside = false;
        result
    }
}

// Whatever may drop something of the user's does so before the value to be returned is made: a panic in there would
// leak it (rust-lang/rust#47949).
impl<K: Eq, V: Clone, S, F: Form<K, V>> Leader<'_, K, V, S, F> {
    /// Ends a load that came to its end. If it failed, `old`, which was to be loaded anew, is as good as it was.
    pub(super) fn finish<E>(self, loaded: Result<V, E>, old: Option<Ref<'_, K, V, F>>) -> Result<V, E> {
        let (ticket, started) = self.load.expect("begun before it ends");
        self.cache.core.loads.count(loaded.is_ok(), started.elapsed());
        match loaded {
            Ok(value) => Ok(self.land(value, ticket)),
            Err(error) => {
                let time = &self.cache.core.time;
                drop(self);
                match old.filter(|old| !is_expired(old.deadline(), time.now())) {
                    None => Err(error),
                    Some(old) => {
                        drop(error);
                        Ok(old.into_value())
                    }
                }
            }
        }
    }

    /// Stores a value that was loaded, if it fits and nothing was written to the key meanwhile; gives it to
    /// all who wait.
    fn land(mut self, value: V, ticket: u64) -> V {
        let (core, at) = (&self.cache.core, self.at);
        let Some((copy, weight)) = self.copy(&value) else { return self.land_unstored(value) };
        let (deadline, limit) = core.deadline(core.time_to_live);
        let (mut value, mut copy, mut entry) = (Some(value), Some(copy), None);
        let written = core.write(at.stripe, |context, aftermath| {
            // Held until the value is stored and the flight has landed, so that nobody finds neither.
            let mut shard = self.cache.registry.lock(at);
            let mut written = Written::Outdated;
            if let Some(key) = shard.take(at, &self.flight) {
                let key = Arc::into_inner(key).expect("borrowed by its leader only, and for moments");
                let value = copy.take().expect("handed back where nothing was written");
                entry = Some(Entry { hash: at.hash, key, value, weight, deadline, limit, keeps_time: false });
                let stripe = &core.stripes[at.stripe];
                match stripe.write(context, &mut entry, K::eq, Expect::Load(ticket), aftermath) {
                    Ok(done) => written = done,
                    Err(need) => {
                        let Entry { key, value, .. } = entry.take().expect("left where memory is needed first");
                        copy = Some(value);
                        shard.add(at, Arc::new(key), Arc::clone(&self.flight));
                        return Err(need);
                    }
                }
            }
            self.has_landed = true;
            let waiters = self.flight.land(&mut value);
            drop(shard);
            wake_all(waiters);
            Ok(written)
        });
        if written != Written::Outdated {
            self.load = None;
        }
        drop(entry);
        self.into_value(value)
    }

    /// What is to be stored and what the entry weighs, unless that is too much, or can't be, or the load is outdated.
    fn copy(&self, value: &V) -> Option<(F::Stored, u64)> {
        // The user's code that runs here is as much inside this load as the loader was.
        let _inside = Inside::of(&self.flight);
        let key = self.cache.registry.lock(self.at).key_of(self.at, &self.flight).cloned()?;
        let core = &self.cache.core;
        let packed = self.cache.form.pack_copy(&*key, value).ok().map(|copy| (core.weigh(&key, &copy), copy));
        drop(key);
        match packed {
            Some((weight, copy)) if core.is_too_large(weight).is_none() => Some((copy, weight)),
            _ => {
                core.reject();
                None
            }
        }
    }

    /// Takes out what was to be loaded anew, where what came of it is too large to be put in its place: a cache must not
    /// serve what its user replaced.
    fn remove_old(&self, key: &K, ticket: u64) {
        let (core, at) = (&self.cache.core, self.at);
        let mut aftermath = Aftermath::new();
        let mut operation = Operation::new(core, at.stripe, &mut aftermath);
        operation.run(|context, aftermath| {
            let (expect, cause) = (Expect::Load(ticket), RemovalCause::Replaced);
            core.stripes[at.stripe].remove(context, at.hash, |candidate| candidate == key, expect, cause, aftermath);
        });
    }

    /// Gives a value to all who wait.
    fn land_unstored(mut self, value: V) -> V {
        let mut value = Some(value);
        let mut shard = self.cache.registry.lock(self.at);
        let key = shard.take(self.at, &self.flight);
        self.has_landed = true;
        let waiters = self.flight.land(&mut value);
        drop(shard);
        wake_all(waiters);
        if let (Some(key), Some((ticket, _))) = (&key, self.load) {
            self.remove_old(key, ticket);
        }
        drop(key);
        self.into_value(value)
    }

    /// The value of a flight that has landed, where nobody waited as it was then.
    fn into_value(self, value: Option<V>) -> V {
        let flight = Arc::clone(&self.flight);
        drop(self);
        value.unwrap_or_else(|| flight.into_value())
    }
}

impl<K, V, S, F: Form<K, V>> Drop for Leader<'_, K, V, S, F> {
    fn drop(&mut self) {
        if let Some((_, started)) = self.load.filter(|_| self.is_inside) {
            self.cache.core.loads.count(false, started.elapsed());
        }
        // Before another leads: where one may, this is not the last of its like, and nothing of the user's runs.
        self.key = None;
        // Waiters first: what follows may run a listener, which may panic.
        let _key = if self.has_landed { None } else { self.cache.hand_over(self.at, &self.flight) };
        if let Some((ticket, _)) = self.load {
            let mut aftermath = Aftermath::new();
            let mut operation = Operation::new(&self.cache.core, self.at.stripe, &mut aftermath);
            let stripe = &self.cache.core.stripes[self.at.stripe];
            operation.run(|context, aftermath| stripe.end_load(context, self.at.hash, ticket, aftermath));
        }
    }
}
