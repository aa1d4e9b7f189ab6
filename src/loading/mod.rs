//! One load for many callers, sync and async, of what is missing and of what is old.
//!
//! Knows the cache's calls and a stripe's tickets for loads. Knows no runtime: a waiter is a [`Waker`](std::task::Waker), and a thread
//! that waits is one whose waker rings a bell.
//!
//! ```text
//! the calls      look, load, give the value          (here)
//!   registry     which keys are being loaded         (registry.rs)
//!   flight       one load, and its states            (flight.rs)
//!   leader       the caller that loads               (leader.rs)
//!   waiter       one that waits                      (waiter.rs)
//!   refresh      what is old is loaded anew          (refresh.rs)
//!   bell         waiting, for a thread               (bell.rs)
//! ```
//!
//! Whoever finds a key missing registers a *flight* for it and leads it; whoever comes while it is registered waits
//! for it, unless the key was written to since the load began: what that gives is outdated for him, so he takes the
//! flight out and registers another. A flight is registered and taken from the registry under its shard's lock, which
//! is taken before the flight's.
//!
//! # Why nothing is lost
//!
//! * A flight with waiters that is `loading` or `elected` has one who has to see to it, and who holds a guard,
//!   [`Leader`] or [`Waiter`](self::waiter::Waiter), whose `Drop` hands the flight on or ends it. So nobody waits for a flight that nobody
//!   sees to, as long as threads run and futures are polled or dropped.
//! * A waiter enters its waker under the same lock under which it found that it has to wait, and who changes the state
//!   wakes afterwards: either the waiter sees the new state, or its waker is there to be woken.
//! * A caller joins a flight under the shard's lock, so never one that has landed: that is done under the same lock,
//!   together with the store. Who comes later finds the value in the cache; a miss from before that does not help
//!   it to a second load either, since a leader asks for its ticket before it loads, and gets none where the key is
//!   there and not old.
//! * A value is stored only while the ticket holds, and every write to the key ends that, under the stripe's lock.
//!
//! What is the user's runs under no lock, but for `Eq` of keys: under a shard's to find the flight, and under a shard's
//! and a stripe's to store. Should it panic there, nothing is half done: the flight is over at worst, and its waiters
//! begin anew.

mod bell;
mod flight;
mod leader;
mod refresh;
mod registry;
mod waiter;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, Hash};
use std::pin::{Pin, pin};

pub(crate) use self::registry::Registry;

use self::bell::wait_for;
use self::flight::Turn;
use self::leader::Leader;
use self::refresh::Look;
use crate::cache::Cache;
use crate::form::Form;
use crate::iter::Ref;

/// A task's load that is under way: it is dropped with this, before the place where it lies.
struct UnderWay<'l, L>(Pin<&'l mut Option<L>>);

impl<L> Drop for UnderWay<'_, L> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

/// What a caller has to do that missed, or hit an entry that is old.
enum Next<'c, K, V, S, F: Form<K, V>> {
    Return(V),
    Load(Leader<'c, K, V, S, F>),
}

impl<K: Hash + Eq, V: Clone, S: BuildHasher, F: Form<K, V>> Cache<K, V, S, F> {
    /// The value of a key, cloned; where there is none it is loaded, and stored as by [`insert`](Cache::insert).
    ///
    /// However many callers ask for a missing key at once, one loads and the others wait for its value. If the loader
    /// panics the next one who waits runs its own.
    ///
    /// A hit is what a [`get`](Cache::get) is: a use, O(1), without a lock. Each call counts as one look-up. With
    /// [`refresh_after`](crate::Builder::refresh_after) a hit on an entry that is older than that has one caller load it
    /// anew: he waits for no one but his own `load`, and all others are given the old value meanwhile.
    ///
    /// A write to the key during the load, or a `clear`, wins: the loaded value is returned to all who wait for it by then,
    /// and not stored; who comes afterwards and misses, after a `remove`, loads anew. (A `retain` or a `remove_if` is such a
    /// write where it removes an entry.) Not stored either is an entry that is too large for the cache; it counts as rejected,
    /// and what it was to replace is removed.
    ///
    /// `load` runs under no lock and may use the cache, other keys' loads included. Loads in two threads that ask for
    /// each other's keys wait for each other for ever.
    ///
    /// # Panics
    ///
    /// If `load` panics, and if it asks for `key` itself: if one of the loading calls would wait for the end of `load`
    /// in the thread that runs it.
    ///
    /// # Examples
    ///
    /// ```
    /// let cache = larder::Cache::new(100);
    /// let square = |n: u64| cache.get_or_insert_with(n, || n * n);
    /// assert_eq!(square(12), 144);
    /// assert_eq!(cache.get(&12), Some(144));
    /// ```
    #[inline]
    pub fn get_or_insert_with(&self, key: K, load: impl FnOnce() -> V) -> V {
        let Ok(value) = self.try_get_or_insert_with(key, || Ok::<V, Infallible>(load()));
        value
    }

    /// As [`get_or_insert_with`](Cache::get_or_insert_with), with a loader that may fail.
    ///
    /// # Errors
    ///
    /// The error of the caller's own `load`. The others who wait for the key do not get it: the next of them runs its
    /// own loader.
    ///
    /// Where an old entry was to be loaded anew, as [`refresh_after`](crate::Builder::refresh_after) asks for, the old
    /// value is returned and not the error, if that has not expired meanwhile.
    ///
    /// # Panics
    ///
    /// If `load` panics or asks for `key` itself.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::num::ParseIntError;
    ///
    /// let cache: larder::Cache<String, u32> = larder::Cache::new(100);
    /// let parse = |text: &str| cache.try_get_or_insert_with(text.to_owned(), || text.parse());
    /// assert_eq!(parse("42")?, 42);
    /// assert!(parse("many").is_err());
    /// assert_eq!(cache.len(), 1);
    /// # Ok::<(), ParseIntError>(())
    /// ```
    #[inline]
    pub fn try_get_or_insert_with<E>(&self, key: K, load: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        match self.look(&key) {
            Look::Value(value) => {
                drop(key);
                Ok(value)
            }
            Look::Due(old) => self.load(key, Some(old), load),
            Look::Nothing => self.load(key, None, load),
        }
    }

    #[cold]
    fn load<E>(&self, key: K, old: Option<Ref<'_, K, V, F>>, load: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        let next = match &old {
            Some(old) => self.refresh(key, old),
            None => wait_for(self.next(key)),
        };
        match next {
            Next::Return(value) => Ok(value),
            Next::Load(mut leader) => {
                let loaded = leader.enter(load);
                leader.finish(loaded, old)
            }
        }
    }

    /// As [`get_or_insert_with`](Cache::get_or_insert_with), for a task: `load` is a future, and waiting blocks no
    /// thread. Needs no runtime, and any will do.
    ///
    /// Callers of this and of the blocking form may wait for the same load. `load` is polled by this call only, and not
    /// at all where it is not this call's turn to load: it should do nothing before it is polled. Dropping the
    /// returned future cancels: if it was loading, `load` is dropped, and the next one who waits runs its own. Neither
    /// a success nor a failure is counted then.
    ///
    /// The future is `Send` where `K`, `V` and `S` are `Send` and `Sync`, and `load` is `Send`.
    ///
    /// A task that was handed a load has to be polled or dropped: while it is neither, the others who wait for the key
    /// wait for it. A blocking form in a task may block the very thread that the load it waits for needs.
    ///
    /// # Panics
    ///
    /// If `load` panics, or asks for `key` itself while it is polled. (If it waits for another task that asks for
    /// `key`, both wait for ever.)
    ///
    /// # Examples
    ///
    /// ```
    /// use larder::Cache;
    ///
    /// async fn fetch(url: &str) -> String {
    ///     format!("the page at {url}")
    /// }
    ///
    /// async fn page(cache: &Cache<String, String>, url: &str) -> String {
    ///     cache.get_or_insert_async(url.to_owned(), fetch(url)).await
    /// }
    /// ```
    pub async fn get_or_insert_async(&self, key: K, load: impl Future<Output = V>) -> V {
        let Ok(value) = self.load_async(key, pin!(Some(load)), Ok::<V, Infallible>).await;
        value
    }

    /// As [`get_or_insert_async`](Cache::get_or_insert_async), with a loader that may fail.
    ///
    /// # Errors
    ///
    /// The error of the caller's own `load`. The others who wait for the key do not get it: the next of them runs its
    /// own loader.
    ///
    /// Where an old entry was to be loaded anew, as [`refresh_after`](crate::Builder::refresh_after) asks for, the old
    /// value is returned and not the error, if that has not expired meanwhile.
    ///
    /// # Panics
    ///
    /// If `load` panics, or asks for `key` itself while it is polled. (If it waits for another task that asks for
    /// `key`, both wait for ever.)
    ///
    /// # Examples
    ///
    /// ```
    /// use larder::Cache;
    /// use std::io;
    ///
    /// async fn read(name: &str) -> io::Result<Vec<u8>> {
    ///     Err(io::Error::new(io::ErrorKind::NotFound, name))
    /// }
    ///
    /// async fn file(cache: &Cache<String, Vec<u8>>, name: &str) -> io::Result<Vec<u8>> {
    ///     cache.try_get_or_insert_async(name.to_owned(), read(name)).await
    /// }
    /// ```
    pub async fn try_get_or_insert_async<E>(&self, key: K, load: impl Future<Output = Result<V, E>>) -> Result<V, E> {
        self.load_async(key, pin!(Some(load)), |loaded| loaded).await
    }

    /// `load` stays where its caller has it, so that his future is not several times as large.
    async fn load_async<L, E>(
        &self,
        key: K,
        load: Pin<&mut Option<impl Future<Output = L>>>,
        result: impl Fn(L) -> Result<V, E>,
    ) -> Result<V, E> {
        let (next, old) = match self.look(&key) {
            Look::Value(value) => {
                drop(key);
                return Ok(value);
            }
            Look::Due(old) => (self.refresh(key, &old), Some(old)),
            Look::Nothing => (self.next(key).await, None),
        };
        match next {
            Next::Return(value) => Ok(value),
            Next::Load(mut leader) => {
                // Dropped before the leader: who comes next does not meet a load half done.
                let mut load = UnderWay(load);
                let loaded = poll_fn(|context| {
                    let load = load.0.as_mut().as_pin_mut().expect("taken out when it is done");
                    leader.enter(|| load.poll(context))
                });
                let loaded = loaded.await;
                drop(load);
                leader.finish(result(loaded), old)
            }
        }
    }

    /// Waits, after a miss, until the key's value is there or it is this caller's turn to load it.
    async fn next(&self, mut key: K) -> Next<'_, K, V, S, F> {
        let at = self.locate(&key);
        loop {
            let (mut waiter, own) = match self.board(at, key) {
                Ok(leader) => return self.lead(leader),
                Err(joined) => joined,
            };
            match poll_fn(|context| waiter.poll(context)).await {
                Turn::Landed => {
                    drop(own);
                    return Next::Return(waiter.into_value());
                }
                Turn::Lead => {
                    // The registry has its like. The waiter, who sees to the flight still, outlives its drop.
                    drop(own);
                    return self.lead(waiter.into_leader());
                }
                Turn::Over => key = own,
            }
            if let Some(value) = self.peek(&key) {
                drop(key);
                return Next::Return(value);
            }
        }
    }

    /// Loads, unless the key is there by now, and not old: the caller's look may lie long back.
    fn lead<'c>(&'c self, mut leader: Leader<'c, K, V, S, F>) -> Next<'c, K, V, S, F> {
        while !leader.begin() {
            if let Some(value) = self.peek(leader.key()) {
                // For this caller only: those who joined later are not to be given what may have been removed before they
                // came.
                drop(leader);
                return Next::Return(value);
            }
        }
        Next::Load(leader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Waker};

    /// Whether the registry has nothing allocated.
    fn is_bare(cache: &Cache<u32, u32>) -> bool {
        cache.registry.capacity() == 0
    }

    #[test]
    fn memory_for_flights_is_there_only_while_they_are_under_way() {
        let cache: Cache<u32, u32> = Cache::new(1_000);
        cache.insert(1, 1);
        assert_eq!(cache.get_or_insert_with(1, || 2), 1);
        assert!(is_bare(&cache), "a hit registers nothing");
        assert_eq!(cache.get_or_insert_with(2, || 2), 2);
        assert!(cache.try_get_or_insert_with(3, || Err(())).is_err());
        assert!(is_bare(&cache));

        let mut loads: Vec<_> =
            (0..500).map(|key| Box::pin(cache.get_or_insert_async(1_000 + key, std::future::pending()))).collect();
        for load in &mut loads {
            assert!(load.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        let capacity = || cache.registry.capacity();
        let at_most = capacity();
        assert!(at_most >= 500);
        loads.truncate(10);
        assert!(capacity() < at_most / 8, "{} of {at_most}", capacity());
        drop(loads);
        assert!(is_bare(&cache));
    }
}
