//! Which keys are being loaded: joining a flight, registering one, and handing one on.
//!
//! Knows keys and flights, and asks a stripe whether a load is outdated. Runs no loader and stores no value.

use std::sync::Arc;

use hashbrown::HashTable;
use parking_lot::{Mutex, MutexGuard};

use super::flight::{Flight, Handed, is_own, wake_all};
use super::leader::Leader;
use super::waiter::Waiter;
use crate::cache::{Cache, Location};
use crate::form::Form;

/// Parts of a registry. Flights of keys of different stripes seldom share one; as long as nobody loads a part is a few
/// words.
const SHARDS: usize = 16;

/// The loads that are under way in a cache. Allocates nothing until there is one, and keeps nothing when it is over.
pub(crate) struct Registry<K, V> {
    shards: [Mutex<Shard<K, V>>; SHARDS],
}

impl<K, V> Registry<K, V> {
    pub(crate) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::new(Shard { flights: HashTable::new() })) }
    }

    /// The flights for which memory is allocated.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().flights.capacity()).sum()
    }

    pub(super) fn lock(&self, at: Location) -> Locked<'_, K, V> {
        self.shards[at.stripe % SHARDS].lock()
    }
}

type Locked<'c, K, V> = MutexGuard<'c, Shard<K, V>>;

/// A flight that is registered, with the lock under which it was found, and the key that was to be loaded.
type UnderWay<'c, K, V> = (Locked<'c, K, V>, Arc<Flight<V>>, K);

pub(super) struct Shard<K, V> {
    flights: HashTable<Registered<K, V>>,
}

/// A flight with its key. The key is the registry's; the leader borrows it for moments.
struct Registered<K, V> {
    hash: u64,
    key: Arc<K>,
    flight: Arc<Flight<V>>,
}

/// The stripe's hash, spread over 64 bits.
fn hash_of(at: Location) -> u64 {
    u64::from(at.hash.bits()).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl<K, V> Shard<K, V> {
    fn find(&self, at: Location, key: &K) -> Option<&Arc<Flight<V>>>
    where
        K: Eq,
    {
        let hash = hash_of(at);
        let found = self.flights.find(hash, |candidate| candidate.hash == hash && *candidate.key == *key);
        found.map(|registered| &registered.flight)
    }

    pub(super) fn add(&mut self, at: Location, key: Arc<K>, flight: Arc<Flight<V>>) {
        let hash = hash_of(at);
        self.flights.insert_unique(hash, Registered { hash, key, flight }, |registered| registered.hash);
    }

    pub(super) fn key_of(&self, at: Location, flight: &Arc<Flight<V>>) -> Option<&Arc<K>> {
        let found = self.flights.find(hash_of(at), |candidate| Arc::ptr_eq(&candidate.flight, flight));
        found.map(|registered| &registered.key)
    }

    /// Takes a flight out, if it is there, and gives its key.
    pub(super) fn take(&mut self, at: Location, flight: &Arc<Flight<V>>) -> Option<Arc<K>> {
        let found = self.flights.find_entry(hash_of(at), |candidate| Arc::ptr_eq(&candidate.flight, flight));
        let (registered, _) = found.ok()?.remove();
        // What many loads at once have made large is given back; a part of it at a time, so that this is no more
        // work than adding was.
        if self.flights.len() <= self.flights.capacity() / 8 {
            self.flights.shrink_to_fit(|registered| registered.hash);
        }
        Some(registered.key)
    }
}

impl<K, V, S, F: Form<K, V>> Cache<K, V, S, F> {
    /// Joins the flight of a key, and then gives the key back, or registers one.
    #[expect(clippy::type_complexity, reason = "a waiter with the key that was not needed")]
    pub(super) fn board(&self, at: Location, key: K) -> Result<Leader<'_, K, V, S, F>, (Waiter<'_, K, V, S, F>, K)>
    where
        K: Eq,
    {
        self.register(at, key).map_err(|(shard, flight, key)| {
            let waiter = Waiter::join(self, at, flight);
            drop(shard);
            (waiter, key)
        })
    }

    /// Registers a flight of a key, unless there is one.
    pub(super) fn board_alone(&self, at: Location, key: K) -> Option<Leader<'_, K, V, S, F>>
    where
        K: Eq,
    {
        // Nothing of the user's is dropped under the lock.
        let under_way = |(shard, flight, key)| {
            drop(shard);
            drop((flight, key));
        };
        self.register(at, key).map_err(under_way).ok()
    }

    /// Registers a flight of a key, unless there is one that is not outdated: then gives that, its shard still locked.
    fn register(&self, at: Location, key: K) -> Result<Leader<'_, K, V, S, F>, UnderWay<'_, K, V>>
    where
        K: Eq,
    {
        let mut shard = self.registry.lock(at);
        let mut outdated = None;
        if let Some(flight) = shard.find(at, &key).cloned() {
            if is_own(&flight) || !self.is_outdated(at, &flight) {
                return Err((shard, flight, key));
            }
            outdated = shard.take(at, &flight);
        }
        let (key, flight) = (Arc::new(key), Arc::new(Flight::new()));
        shard.add(at, Arc::clone(&key), Arc::clone(&flight));
        drop(shard);
        let leader = Leader::new(self, at, flight, key);
        drop(outdated);
        Ok(leader)
    }

    /// Whether the key was written to since the load that is under way began.
    fn is_outdated(&self, at: Location, flight: &Arc<Flight<V>>) -> bool {
        flight.ticket().is_some_and(|ticket| !self.core.stripes[at.stripe].is_loading(at.hash, ticket))
    }

    /// Sees to a flight whose leader gave up, or whose elected waiter left: it is the next one's turn. Gives the key
    /// where there is none.
    pub(super) fn hand_over(&self, at: Location, flight: &Arc<Flight<V>>) -> Option<Arc<K>> {
        let mut shard = self.registry.lock(at);
        let is_registered = shard.key_of(at, flight).is_some();
        match flight.hand_over(is_registered) {
            Handed::On(waker) => {
                drop(shard);
                if let Some(waker) = waker {
                    waker.wake();
                }
                None
            }
            Handed::Over(waiters) => {
                let key = shard.take(at, flight);
                drop(shard);
                wake_all(waiters);
                key
            }
        }
    }
}
