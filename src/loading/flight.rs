//! A load that several callers may be interested in, and what becomes of it.
//!
//! Knows states, the wakers of those who wait, and which loaders a thread is inside of. Knows no key, no cache and no
//! stripe.
//!
//! A flight is in one of these states:
//!
//! ```text
//!  state    who has to see to it     what may happen
//!  loading  its leader               gets a value: landed; gives up: elected, or over where nobody waits or
//!                                    another flight was registered
//!  elected  the waiter of a number   is polled: loading, and it leads; leaves: elected, or over
//!  landed   nobody                   waiters take the value
//!  over     nobody                   waiters begin anew, as if they had just come
//! ```
//!
//! To give up is to fail, to panic or to be cancelled, which are all one: the [`Leader`](super::leader::Leader) is
//! dropped before it has landed. The state changes under the flight's lock.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};

use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::first_panic::FirstPanic;

/// What became of a flight for one who waits.
pub(super) enum Turn {
    Landed,
    Lead,
    Over,
}

/// Who is to be woken when a leader has given up, or an elected waiter left.
pub(super) enum Handed {
    /// It is one waiter's turn, who may not have been polled yet.
    On(Option<Waker>),
    /// It is over, for all of them.
    Over(Waiters),
}

/// A load, from when the first caller misses the key until its value is there or nobody wants it any more.
pub(super) struct Flight<V> {
    state: Mutex<State>,
    /// Set on landing, if anybody waits then.
    value: OnceLock<V>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Loading,
    Elected(u64),
    Landed,
    Over,
}

/// The wakers of those who wait, by their numbers: in the order in which they came. There is none until the first poll.
pub(super) type Waiters = BTreeMap<u64, Option<Waker>>;

struct State {
    phase: Phase,
    /// Of the load that is under way.
    ticket: Option<u64>,
    waiters: Waiters,
    next_waiter: u64,
}

impl<V> Flight<V> {
    pub(super) fn new() -> Self {
        let state = State { phase: Phase::Loading, ticket: None, waiters: Waiters::new(), next_waiter: 0 };
        Self { state: Mutex::new(state), value: OnceLock::new() }
    }

    /// Adds a waiter and gives its number.
    pub(super) fn join(&self) -> u64 {
        let mut state = self.state.lock();
        let number = state.next_waiter;
        state.next_waiter += 1;
        state.waiters.insert(number, None);
        number
    }

    /// What a waiter has to do; enters its waker where that is to wait, and gives the one from the last time, to be
    /// dropped under no lock.
    pub(super) fn poll(&self, number: u64, waker: &mut Option<Waker>) -> Poll<Turn> {
        let mut state = self.state.lock();
        match state.phase {
            Phase::Landed => return Poll::Ready(Turn::Landed),
            Phase::Elected(elected) if elected == number => return Poll::Ready(Turn::Lead),
            Phase::Over => return Poll::Ready(Turn::Over),
            Phase::Loading | Phase::Elected(_) => {}
        }
        let entered = state.waiters.get_mut(&number).expect("a waiter is entered until its turn has come");
        std::mem::swap(entered, waker);
        Poll::Pending
    }

    /// A waiter leaves. Gives its waker, and whether it was its turn, which has to be handed on then.
    pub(super) fn leave(&self, number: u64) -> (Option<Waker>, bool) {
        let mut state = self.state.lock();
        let waker = state.waiters.remove(&number).flatten();
        let is_elected = state.phase == Phase::Elected(number);
        if is_elected {
            state.phase = Phase::Loading;
        }
        (waker, is_elected)
    }

    /// The elected waiter leads.
    pub(super) fn lead(&self) {
        self.state.lock().phase = Phase::Loading;
    }

    /// The ticket of the load that is under way.
    pub(super) fn ticket(&self) -> Option<u64> {
        self.state.lock().ticket
    }

    pub(super) fn set_ticket(&self, ticket: Option<u64>) {
        self.state.lock().ticket = ticket;
    }

    /// Hands over to the next who waits, if there is one and another may lead.
    pub(super) fn hand_over(&self, another_may_lead: bool) -> Handed {
        let mut state = self.state.lock();
        state.ticket = None;
        let next = if another_may_lead { state.waiters.pop_first() } else { None };
        match next {
            Some((number, waker)) => {
                state.phase = Phase::Elected(number);
                Handed::On(waker)
            }
            None => {
                state.phase = Phase::Over;
                Handed::Over(std::mem::take(&mut state.waiters))
            }
        }
    }

    /// The value of a flight that has landed while somebody waited. The last to ask gets it uncloned.
    pub(super) fn into_value(self: Arc<Self>) -> V
    where
        V: Clone,
    {
        const WAITED_FOR: &str = "landed while somebody waited";
        match Arc::try_unwrap(self) {
            Ok(flight) => flight.value.into_inner().expect(WAITED_FOR),
            Err(flight) => {
                let value = flight.value.get().expect(WAITED_FOR).clone();
                drop(flight);
                value
            }
        }
    }

    /// Lands; takes the value if anybody waits for it. Gives those who do, to be woken under no lock.
    pub(super) fn land(&self, value: &mut Option<V>) -> Waiters {
        let mut state = self.state.lock();
        state.phase = Phase::Landed;
        if !state.waiters.is_empty() {
            let value = value.take().expect("a flight lands once");
            assert!(self.value.set(value).is_ok(), "a flight lands once");
        }
        std::mem::take(&mut state.waiters)
    }
}

/// Wakes all who wait. A waker that panics does not keep the others asleep; its panic goes on when they are awake.
pub(super) fn wake_all(waiters: Waiters) {
    let mut panic = FirstPanic::default();
    for waker in waiters.into_values().flatten() {
        panic.catch(|| waker.wake());
    }
    panic.resume();
}

thread_local! {
    /// The addresses of the flights whose loaders this thread is inside of, the innermost last.
    static INSIDE: RefCell<SmallVec<[usize; 4]>> = RefCell::new(SmallVec::new());
}

/// Marks this thread as inside the loader of a flight.
pub(super) struct Inside;

impl Inside {
    pub(super) fn of<V>(flight: &Arc<Flight<V>>) -> Self {
        // A thread that is being torn down has lost its list: there a load that asks for itself is not noticed.
        let _ = INSIDE.try_with(|inside| inside.borrow_mut().push(Arc::as_ptr(flight).addr()));
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = INSIDE.try_with(|inside| inside.borrow_mut().pop());
    }
}

/// Whether waiting for this flight would be waiting for oneself.
pub(super) fn is_own<V>(flight: &Arc<Flight<V>>) -> bool {
    INSIDE.try_with(|inside| inside.borrow().contains(&Arc::as_ptr(flight).addr())).unwrap_or(false)
}
