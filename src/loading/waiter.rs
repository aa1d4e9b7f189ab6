//! The caller that waits for a load.
//!
//! Knows its number in the flight. Leaving sees to it that nobody waits for one who has left.

use std::sync::Arc;
use std::task::{self, Poll};

use super::flight::{Flight, Turn, is_own};
use super::leader::Leader;
use crate::cache::{Cache, Location};
use crate::form::Form;

/// A caller that waits for a flight.
pub(super) struct Waiter<'c, K, V, S, F: Form<K, V>> {
    cache: &'c Cache<K, V, S, F>,
    at: Location,
    flight: Arc<Flight<V>>,
    number: u64,
}

impl<'c, K, V, S, F: Form<K, V>> Waiter<'c, K, V, S, F> {
    /// Has to be called under the lock of the shard in which the flight is registered.
    pub(super) fn join(cache: &'c Cache<K, V, S, F>, at: Location, flight: Arc<Flight<V>>) -> Self {
        let number = flight.join();
        Self { cache, at, flight, number }
    }

    pub(super) fn poll(&mut self, context: &mut task::Context<'_>) -> Poll<Turn> {
        // Cloned before the lock is taken, and dropped, as the one from the last time, after it is released.
        let mut waker = Some(context.waker().clone());
        if let Poll::Ready(turn) = self.flight.poll(self.number, &mut waker) {
            return Poll::Ready(turn);
        }
        if is_own(&self.flight) {
            panic!("the load of a key asked for this key itself, and would wait for its own end");
        }
        Poll::Pending
    }

    /// The value that this waiter waited for.
    pub(super) fn into_value(self) -> V
    where
        V: Clone,
    {
        let flight = Arc::clone(&self.flight);
        drop(self);
        flight.into_value()
    }

    /// Takes the lead that this waiter was elected for.
    pub(super) fn into_leader(self) -> Leader<'c, K, V, S, F> {
        let key = self.cache.registry.lock(self.at).key_of(self.at, &self.flight).cloned();
        let key = key.expect("only a load that has begun can be outdated");
        let leader = Leader::new(self.cache, self.at, Arc::clone(&self.flight), key);
        self.flight.lead();
        leader
    }
}

impl<K, V, S, F: Form<K, V>> Drop for Waiter<'_, K, V, S, F> {
    fn drop(&mut self) {
        let (waker, is_elected) = self.flight.leave(self.number);
        drop(waker);
        if is_elected {
            self.cache.hand_over(self.at, &self.flight);
        }
    }
}
