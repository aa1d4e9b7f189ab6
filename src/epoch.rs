//! The pin of a thread that reads, without a fence, and the grace period after which nobody who was pinned still is.
//!
//! Knows threads and flags. Knows no cache and no memory: what a flag stands for is its owner's business.
//!
//! # Why not crossbeam-epoch's
//!
//! Its pin is one locked instruction, which waits for every load before it: two look-ups in a row can't overlap, and in a
//! large cache a look-up is mostly waiting for memory. Here a pin is a plain store to a word of the thread's own, and who
//! retires pays for the order instead, once for a batch of 64 entries or more, by `membarrier`: that has every other
//! running thread of the process execute a full barrier. (On a machine where a locked instruction takes 2.4 ns a look-up
//! among a million entries took three quarters of the time; `membarrier` took 0.1 microseconds alone, and 0.5 to 5 where
//! another thread ran, which it has to interrupt.) The more it costs the more batches wait for one: with one for each
//! batch two threads that inserted spent a third of their time there. Where the system has no such call, crossbeam-epoch
//! serves: see [`crate::sync`].
//!
//! # Why it is right
//!
//! A reader marks a word of its own, then loads what writers publish. A retiring thread has unlinked, goes through the
//! barrier, then looks at all words. The barrier falls somewhere between two instructions of the reader: if the mark is
//! before it, it is seen, and the retired entry waits until that word changes; if not, all loads of the reader come after
//! it, so they see the unlinking. A thread that does not run passes a full barrier before it does.
//!
//! What a reader did before it left is ordered before what is done to the entry afterwards: it leaves by a store with
//! Release, and the word is looked at with Acquire. (Who finds it inside again sees the plain store by which it came back.
//! That store follows the other one to the same word, and no processor shows it before what the other one waited for.)
//!
//! The model checker knows no such barrier. For it every pin is fenced, as where the system has none, and its statics and
//! what belongs to a thread are made anew for each of its runs.

use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::OnceLock;
use std::sync::atomic::compiler_fence;
use std::time::Instant;

use rustix::thread::{MembarrierCommand, membarrier};

use crate::sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering::*, fence, statics};

/// A barrier may cost so many nanoseconds for each batch that is waited for with it, ...
const NANOS_PER_BATCH: usize = 256;

/// ... but more batches than this are not made to wait for one another.
const MOST_TOGETHER: usize = 16;

/// Elements for which the lists here keep memory when they are empty.
const KEPT: usize = 64;

/// Batches that are waited for with one grace period where it needs no barrier.
const FENCED_TOGETHER: usize = 4;

/// Pins are counted in the lowest bits of a word ...
const DEPTH: u64 = BORROWED - 1;

/// ... beside a bit that is set while the word serves a thread that is being torn down ...
const BORROWED: u64 = 1 << 29;

/// ... and one that is set where a pin has to be fenced, since nobody can have this thread execute a barrier ...
const FENCED: u64 = 1 << 30;

/// ... and the bits above count how often the thread has left. Should it come round to the same number just when it is
/// looked at, the thread is taken to be inside still, which does no harm.
const LEFT: u64 = 1 << 31;

/// The words of a thread: one for its pins, which may be nested, and one for a pin that is brief. They outlive the thread,
/// and serve another one then: there are as many as there ever were threads at a time.
// On a line of their own.
#[repr(align(128))]
struct Participant {
    pins: AtomicU64,
    /// Beside the other, so that a brief pin is left by the same addition whatever was pinned since, and is still.
    brief: AtomicU64,
}

impl Participant {
    #[inline]
    fn enter(&'static self) -> Pin {
        // Relaxed: only this thread stores.
        let word = self.pins.load(Relaxed);
        if word & (LEFT - 1) != 0 {
            return self.enter_otherwise(word);
        }
        self.pins.store(word + 1, Relaxed);
        // What the processor may not do is up to the heavy barrier.
        compiler_fence(SeqCst);
        Pin { participant: self, _not_send: PhantomData }
    }

    /// Where it is nested, or the word is borrowed, or nobody can have this thread execute a barrier.
    #[cold]
    fn enter_otherwise(&'static self, word: u64) -> Pin {
        self.pins.store(word + 1, Relaxed);
        if word & (FENCED | DEPTH) == FENCED {
            fence(SeqCst);
        } else {
            compiler_fence(SeqCst);
        }
        Pin { participant: self, _not_send: PhantomData }
    }

    #[inline]
    fn leave(&'static self) {
        let word = self.pins.load(Relaxed);
        if word & (BORROWED | DEPTH) != 1 {
            return self.leave_otherwise(word);
        }
        // Release pairs with the Acquire of whoever waits for this.
        self.pins.store(word.wrapping_add(LEFT - 1), Release);
    }

    /// Leaves a nested pin, or gives borrowed words back with the last one.
    #[cold]
    fn leave_otherwise(&'static self, word: u64) {
        if word & DEPTH != 1 {
            return self.pins.store(word - 1, Relaxed);
        }
        self.pins.store((word & !BORROWED).wrapping_add(LEFT - 1), Release);
        self.brief.fetch_and(!BORROWED, Relaxed);
        set_participant(None);
        Participants::take_back(self);
    }

    /// Whether this thread is inside, by either word.
    fn is_inside(&self) -> bool {
        (self.pins.load(Relaxed) | self.brief.load(Relaxed)) & DEPTH != 0
    }
}

statics! {
    /// Whether other threads can be made to execute a barrier. Set before the first pin, and never again.
    static IS_ASYMMETRIC: AtomicBool = AtomicBool::new(false);

    static PARTICIPANTS: Mutex<Participants> = Mutex::new(Participants { all: Vec::new(), idle: Vec::new() });

    /// How many batches are to be waited for with the next barrier, by what the last one has cost. Relaxed: a guess.
    static TOGETHER: AtomicUsize = AtomicUsize::new(1);

    /// Flags for which no grace period has begun.
    static PENDING: Mutex<Vec<Arc<AtomicBool>>> = Mutex::new(Vec::new());

    /// The grace period that is under way; there is one at a time, since what would hold up the next holds up this one.
    static GRACE: Mutex<Grace> = Mutex::new(Grace { flags: Vec::new(), inside: Vec::new() });
}

/// Orders what this thread did before what it reads from now on, and does the same to all others that count on it. Whether
/// it could: a process may forbid itself the call later on; then nothing more is freed.
fn heavy_barrier() -> bool {
    fence(SeqCst);
    if !IS_ASYMMETRIC.load(Relaxed) {
        return true;
    }
    let start = Instant::now();
    let is_done = membarrier(MembarrierCommand::PrivateExpedited).is_ok();
    let nanos = usize::try_from(start.elapsed().as_nanos()).unwrap_or(usize::MAX);
    TOGETHER.store((nanos / NANOS_PER_BATCH).clamp(1, MOST_TOGETHER), Relaxed);
    is_done
}

struct Participants {
    all: Vec<&'static Participant>,
    idle: Vec<&'static Participant>,
}

impl Participants {
    /// Words for a thread. They stay allocated for good.
    fn assign() -> &'static Participant {
        static REGISTERED: OnceLock<()> = OnceLock::new();
        if !cfg!(loom) {
            REGISTERED.get_or_init(|| {
                let can = membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok();
                let is_asymmetric = can && membarrier(MembarrierCommand::PrivateExpedited).is_ok();
                IS_ASYMMETRIC.store(is_asymmetric, Relaxed);
                TOGETHER.store(if is_asymmetric { 1 } else { FENCED_TOGETHER }, Relaxed);
            });
        }
        let mut participants = PARTICIPANTS.lock();
        if let Some(participant) = participants.idle.pop() {
            return participant;
        }
        let fenced = if IS_ASYMMETRIC.load(Relaxed) { 0 } else { FENCED };
        let (pins, brief) = (AtomicU64::new(fenced), AtomicU64::new(fenced));
        let participant = Box::leak(Box::new(Participant { pins, brief }));
        participants.all.push(participant);
        participant
    }

    fn take_back(participant: &'static Participant) {
        PARTICIPANTS.lock().idle.push(participant);
    }
}

/// Gives a thread's words back when the thread ends.
struct Assigned(&'static Participant);

impl Drop for Assigned {
    fn drop(&mut self) {
        // The model checker ends a run, and frees its statics, while threads that were waited for are torn down.
        if !cfg!(loom) {
            set_participant(None);
            Participants::take_back(self.0);
        }
    }
}

#[cfg(not(loom))]
thread_local! {
    // Two, since a cell that needs no destructor is there until the very end, and is had for one load.
    static PARTICIPANT: Cell<Option<&'static Participant>> = const { Cell::new(None) };
    static ASSIGNED: Assigned = Assigned(Participants::assign());
}

#[cfg(loom)]
loom::thread_local! {
    static PARTICIPANT: Cell<Option<&'static Participant>> = Cell::new(None);
    static ASSIGNED: Assigned = Assigned(Participants::assign());
}

/// That of the current thread, if it has one yet.
#[inline]
fn participant() -> Option<&'static Participant> {
    PARTICIPANT.with(Cell::get)
}

fn set_participant(participant: Option<&'static Participant>) {
    PARTICIPANT.with(|own| own.set(participant));
}

/// A proof that this thread is pinned: whatever was reachable when the pin was taken stays allocated and unchanged until
/// it is dropped.
pub(crate) struct Pin {
    participant: &'static Participant,
    /// The words are this thread's alone to write.
    _not_send: PhantomData<*const ()>,
}

/// Pins the current thread. Costs a store to a line of its own.
#[inline]
pub(crate) fn pin() -> Pin {
    participant().unwrap_or_else(first_participant).enter()
}

#[cold]
fn first_participant() -> &'static Participant {
    // A thread that is being torn down has given its words back. It may still drop a value that uses a cache, and borrows
    // some for that.
    let own = ASSIGNED.try_with(|assigned| assigned.0).unwrap_or_else(|_| {
        let participant = Participants::assign();
        participant.pins.fetch_or(BORROWED, Relaxed);
        participant.brief.fetch_or(BORROWED, Relaxed);
        participant
    });
    set_participant(Some(own));
    own
}

impl Drop for Pin {
    #[inline]
    fn drop(&mut self) {
        self.participant.leave();
    }
}

/// The brief pin of a thread that has words of its own, and no other such pin.
pub(crate) struct BriefPin(ManuallyDrop<Pin>);

/// Pins the current thread for the length of one call, where that is a plain matter: it has words of its own, no brief pin
/// yet, and needs no fence. Then neither entering nor leaving calls a function, and leaving is one addition. Pins that are
/// taken meanwhile may be left earlier or later, by another coroutine of this thread: they are counted in another word.
#[inline]
pub(crate) fn pin_briefly() -> Option<BriefPin> {
    let participant = participant()?;
    let word = participant.brief.load(Relaxed);
    if word & (LEFT - 1) != 0 {
        return None;
    }
    // As in `enter`.
    participant.brief.store(word + 1, Relaxed);
    compiler_fence(SeqCst);
    Some(BriefPin(ManuallyDrop::new(Pin { participant, _not_send: PhantomData })))
}

impl Deref for BriefPin {
    type Target = Pin;

    #[inline]
    fn deref(&self) -> &Pin {
        &self.0
    }
}

impl Drop for BriefPin {
    #[inline]
    fn drop(&mut self) {
        // In place of the drop of the pin within. Release: as in `leave`.
        let word = &self.0.participant.brief;
        word.store(word.load(Relaxed).wrapping_add(LEFT - 1), Release);
    }
}

/// Whether the current thread is inside a pin.
pub(crate) fn is_pinned() -> bool {
    participant().is_some_and(Participant::is_inside)
}

struct Grace {
    /// To be set when it is over.
    flags: Vec<Arc<AtomicBool>>,
    /// The words of those who were inside when it began and have not been seen to leave, and what they were then.
    inside: Vec<(&'static AtomicU64, u64)>,
}

impl Grace {
    /// Begins with what is pending, if the last one is over. Whether that is so, and there was anything.
    fn begin(&mut self) -> bool {
        let mut pending = PENDING.lock();
        if pending.is_empty() {
            return false;
        }
        self.flags.reserve(KEPT);
        self.inside.reserve(KEPT);
        std::mem::swap(&mut *pending, &mut self.flags);
        drop(pending);
        // Before the barrier: who registered before this is known, and so is what kind of barrier he counts on. Who
        // registers later finds all that was unlinked before.
        let participants = PARTICIPANTS.lock();
        if !heavy_barrier() {
            PENDING.lock().append(&mut self.flags);
            return false;
        }
        for participant in &participants.all {
            for word in [&participant.pins, &participant.brief] {
                let seen = word.load(Acquire);
                if seen & DEPTH != 0 {
                    self.inside.push((word, seen));
                }
            }
        }
        true
    }

    /// Looks who has left; sets the flags when all have. Whether it is over.
    fn end(&mut self) -> bool {
        // A nested pin changes the word, but not that count.
        let has_left = |(word, seen): &(&AtomicU64, u64)| (word.load(Acquire) ^ seen) >= LEFT;
        while self.inside.last().is_some_and(has_left) {
            self.inside.pop();
        }
        if !self.inside.is_empty() {
            return false;
        }
        for flag in self.flags.drain(..) {
            // Release pairs with the Acquire of whoever asks the flag: what those who have left did before is seen by
            // who finds it set.
            flag.store(true, Release);
        }
        // After a reader has stayed these have been long.
        self.flags.shrink_to(KEPT);
        self.inside.shrink_to(KEPT);
        true
    }

    fn advance(mut grace: MutexGuard<'_, Self>) {
        if grace.end() && grace.begin() {
            grace.end();
        }
    }
}

/// Sets the flags when every thread that is pinned now has left: later, when this is called again or by [`flush`]; at once
/// where it is `urgent` and nobody is inside.
pub(crate) fn when_all_have_left(flags: impl IntoIterator<Item = Arc<AtomicBool>>, urgent: bool) {
    let mut pending = PENDING.lock();
    pending.extend(flags);
    let is_time = urgent || pending.len() >= TOGETHER.load(Relaxed);
    drop(pending);
    if is_time {
        // Who holds the lock is at it.
        if let Some(grace) = GRACE.try_lock() {
            Grace::advance(grace);
        }
    }
}

/// Sets all flags that are due. Of no use inside a pin, which holds up the next grace period.
pub(crate) fn flush() {
    Grace::advance(GRACE.lock());
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_brief_pin_is_waited_for_like_any_other() {
        drop(pin());
        let Some(brief) = pin_briefly() else {
            assert!(!IS_ASYMMETRIC.load(Relaxed), "this thread has a word and is not pinned");
            return eprintln!("not tested: this system has no membarrier, so there are no brief pins");
        };
        assert!(is_pinned());
        assert!(pin_briefly().is_none(), "there is one brief pin at a time");
        drop(pin());
        assert!(is_pinned(), "what was nested has been left, and nothing else");

        let flag = Arc::new(AtomicBool::new(false));
        let retire = || {
            when_all_have_left([Arc::clone(&flag)], true);
            flush();
        };
        thread::scope(|scope| scope.spawn(retire).join()).expect("does not panic");
        assert!(!flag.load(Acquire), "this thread is still inside");

        drop(brief);
        assert!(!is_pinned());
        until_set(&flag);
    }

    #[test]
    fn pins_are_left_in_any_order() {
        drop(pin());
        let Some(brief) = pin_briefly() else {
            return assert!(!IS_ASYMMETRIC.load(Relaxed), "this thread has a word and is not pinned");
        };
        let nested = pin();
        let flag = Arc::new(AtomicBool::new(false));
        let retire = || when_all_have_left([Arc::clone(&flag)], true);
        thread::scope(|scope| scope.spawn(retire).join()).expect("does not panic");
        drop(brief);
        assert!(is_pinned());
        thread::scope(|scope| scope.spawn(flush).join()).expect("does not panic");
        assert!(!flag.load(Acquire), "the nested pin is still there");

        drop(nested);
        assert!(!is_pinned());
        until_set(&flag);
    }

    fn until_set(flag: &AtomicBool) {
        let start = Instant::now();
        while !flag.load(Acquire) {
            // Threads of other tests come and go.
            assert!(start.elapsed() < Duration::from_secs(30), "nobody stays inside");
            flush();
        }
    }
}
