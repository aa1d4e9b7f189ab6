//! One call that writes: the pin it holds, and what is to be done when its lock is released.
//!
//! Knows stripes, the budget and the listener. What a write displaced is handled here, in this order, whether the
//! write returned or panicked: the listener is told under the pin that was taken before the write, the pin is left,
//! batches go to the epoch, others make room where the budget is overdrawn, and at last keys and values are dropped.

use crate::budget::Unit;
use crate::cache::Core;
use crate::first_panic::FirstPanic;
use crate::stripe::{Aftermath, Context, End, Need, Slack, Stripe, Supply};
use crate::sync::{Pin, flush, is_pinned, pin};

/// Rounds of flushing in vain before a write takes it that a reader is inside.
const PATIENCE: usize = 2;

/// And before `maintain` does. The collector looks at a few of its batches a time, first in, first out, and those of other
/// caches may come first, thousands of them after a reader has stayed long.
const MUCH_PATIENCE: usize = 256;

/// No more than one in so many entries goes at once for nodes to be given back that are not lacking yet.
const CONDENSED_SHARE: usize = 16;

/// Steps of upkeep, or evictions, with the lock held at a time.
const AT_ONCE: usize = 64;

/// See the [module's documentation](self).
///
/// The aftermath lies with the caller, outside of this, so that making an operation moves no memory.
pub(crate) struct Operation<'c, K, V> {
    core: &'c Core<K, V>,
    stripe: usize,
    /// Where what is displaced will be looked at; it is there from before the write to the end then.
    pin: Option<Pin>,
    now: u64,
    attempts: u32,
    /// Whether it may start others to make room.
    is_outermost: bool,
    aftermath: &'c mut Aftermath<K, V>,
}

impl<'c, K, V> Operation<'c, K, V> {
    /// A write after which nobody but the listener looks at what it displaces.
    #[inline(always)]
    pub(crate) fn new(core: &'c Core<K, V>, stripe: usize, aftermath: &'c mut Aftermath<K, V>) -> Self {
        let pin = if core.listener.is_some() { Some(pin_for_listener()) } else { None };
        Self { core, stripe, pin, now: core.time_if_timed(), attempts: 0, is_outermost: true, aftermath }
    }

    /// A write after which the caller looks at what it displaces.
    pub(crate) fn pinned(core: &'c Core<K, V>, stripe: usize, aftermath: &'c mut Aftermath<K, V>) -> Self {
        let mut operation = Self::new(core, stripe, aftermath);
        operation.pin.get_or_insert_with(pin);
        operation
    }

    /// A write that another one needs, or whose caller is pinned: it leaves it to the caller to make room when that
    /// is done. See [`Core::settle`].
    pub(crate) fn inner(core: &'c Core<K, V>, stripe: usize, aftermath: &'c mut Aftermath<K, V>) -> Self {
        let mut operation = Self::new(core, stripe, aftermath);
        operation.is_outermost = false;
        operation
    }

    /// Says how often the write has lacked a place before.
    pub(crate) fn set_attempts(&mut self, attempts: u32) {
        self.attempts = attempts;
    }

    /// The pin from before the write, of an operation that was made `pinned`.
    pub(crate) fn pin(&self) -> &Pin {
        self.pin.as_ref().expect("made pinned, and left at the end only")
    }

    /// The time that was read before the write.
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// Lets `write` write, with what a write needs.
    #[inline]
    pub(crate) fn run<R>(&mut self, write: impl FnOnce(Context<'_>, &mut Aftermath<K, V>) -> R) -> R {
        let context = Context { budget: &self.core.budget, now: self.now, attempts: self.attempts };
        write(context, self.aftermath)
    }

    fn tell(&mut self) -> FirstPanic {
        let displaced = std::mem::take(&mut self.aftermath.displaced);
        let mut panic = FirstPanic::default();
        let Some(listener) = &self.core.listener else { return panic };
        for (place, cause) in displaced {
            let node = self.core.stripes[self.stripe].node(place, self.pin());
            panic.catch(|| listener(node.key(), node.value(), cause));
        }
        panic
    }
}

impl<K, V> Operation<'_, K, V> {
    #[cold]
    fn see_to_aftermath(&mut self) {
        let panic = if self.aftermath.displaced.is_empty() { FirstPanic::default() } else { self.tell() };
        self.pin = None;
        self.aftermath.wait_for_all();
        let rare = self.aftermath.rare();
        let (is_short, keep, is_sparse) = (rare.is_short, rare.keep, rare.is_sparse);
        if self.is_outermost && is_short {
            self.core.make_room(self.stripe, keep);
        }
        if self.is_outermost && is_sparse {
            self.core.condense(self.stripe, self.aftermath.written);
        }
        panic.resume();
    }
}

impl<K, V> Drop for Operation<'_, K, V> {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.aftermath.is_quiet() {
            self.see_to_aftermath();
        }
        if self.pin.is_some() {
            self.pin = None;
        }
        if self.is_outermost && self.core.budget.unit == Unit::Bytes {
            self.core.keep_limit(self.stripe, self.aftermath.written);
        }
    }
}

impl<K, V> Core<K, V> {
    /// Writes to a stripe, as often as it takes to supply what the write needs.
    pub(crate) fn write<R>(
        &self,
        stripe: usize,
        mut write: impl FnMut(Context<'_>, &mut Aftermath<K, V>) -> Result<R, Need>,
    ) -> R {
        let mut attempts = 0;
        loop {
            let mut aftermath = Aftermath::new();
            let mut operation = Operation::new(self, stripe, &mut aftermath);
            operation.set_attempts(attempts);
            match operation.run(&mut write) {
                Ok(done) => return done,
                Err(need) => {
                    // The budget is settled when the write is done.
                    operation.is_outermost = false;
                    drop(operation);
                    attempts += u32::from(need == Need::Places);
                    self.supply(stripe, need);
                }
            }
        }
    }

    /// Sees to the budget after an [`inner`](Operation::inner) write to `stripe`, when the caller's pin has been left.
    pub(crate) fn settle(&self, stripe: usize, aftermath: &mut Aftermath<K, V>) {
        if !aftermath.is_quiet() && aftermath.rare().is_short {
            let keep = aftermath.rare().keep;
            self.make_room(stripe, keep);
        }
        if self.budget.unit == Unit::Bytes {
            self.keep_limit(stripe, aftermath.written);
        }
    }

    /// Sees to it that what is in use, retired entries and all, is within the limit.
    #[inline]
    fn keep_limit(&self, stripe: usize, keep: Option<u32>) {
        if self.budget.is_overdrawn() || self.budget.is_clogged() {
            self.catch_up(stripe, keep);
        }
    }

    /// Frees what can be freed, and gives memory back where more is in use than may be. While readers who are inside are
    /// why, that is no more than a look at what they still hold up in this stripe.
    #[cold]
    fn catch_up(&self, stripe: usize, keep: Option<u32>) {
        flush();
        while self.upkeep(stripe) {}
        if self.stripes[stripe].is_held_up() {
            return;
        }
        self.drain_while(PATIENCE, || self.budget.is_clogged());
        // Only what puts an entry in, or gives it a time, makes others go for it.
        if keep.is_some() && self.budget.is_overdrawn() && !is_pinned() {
            for other in 0..self.stripes.len() {
                while self.upkeep(other) {}
            }
            if self.budget.is_exceeded(Stripe::<K, V>::PLACE_BYTES) {
                self.give_memory_back(stripe, keep);
            }
        }
    }

    /// Gets a stripe what it needs.
    #[cold]
    pub(crate) fn supply(&self, stripe: usize, need: Need) {
        match Supply::allocate(need) {
            Some(supply) => {
                let mut aftermath = Aftermath::new();
                let mut operation = Operation::inner(self, stripe, &mut aftermath);
                operation.run(|context, aftermath| self.stripes[stripe].install(context, supply, false, aftermath));
            }
            None => {
                flush();
                self.upkeep(stripe);
            }
        }
    }

    /// Frees what is ready in one stripe, a bounded part of it, and hands over the rest.
    fn upkeep(&self, stripe: usize) -> bool {
        let mut aftermath = Aftermath::new();
        let mut operation = Operation::inner(self, stripe, &mut aftermath);
        operation.run(|context, aftermath| self.stripes[stripe].maintain(context, AT_ONCE, aftermath))
    }

    /// Makes room for the entry at `keep` in the stripe `home`, until the budget is not overdrawn: evicts what
    /// pays, from all other stripes and from that one at last, and if that does not help, gives memory back.
    #[cold]
    pub(crate) fn make_room(&self, home: usize, keep: Option<u32>) {
        let stripes = self.stripes.len();
        let in_turn = || (1..=stripes).map(|step| (home + step) % stripes);
        let kept = |stripe| keep.filter(|_| stripe == home);
        let mut gave = true;
        while gave {
            gave = false;
            for stripe in in_turn() {
                if !self.is_short() {
                    return;
                }
                gave |= self.shed(stripe, AT_ONCE, true, kept(stripe)) == AT_ONCE;
            }
        }
        // Inside a pin nothing can be given back: a later write sees to it.
        if self.budget.unit == Unit::Bytes && !is_pinned() {
            self.give_memory_back(home, keep);
        }
    }

    /// Whether more is in use than may be.
    fn is_short(&self) -> bool {
        self.budget.shortage(Stripe::<K, V>::PLACE_BYTES, 0) != 0
    }

    /// Gives back memory that is not in use; and if that is not enough, evicts for the memory of nodes and tables, from
    /// one stripe after the other: a whole chunk of nodes, since it is given back only when all of it is free.
    #[cold]
    fn give_memory_back(&self, home: usize, keep: Option<u32>) {
        let stripes = self.stripes.len();
        let in_turn = || (1..=stripes).map(|step| (home + step) % stripes);
        // What would be evicted beside a reader that is inside can't be given back now, and the others are not to go for what
        // he holds up.
        let is_held_up = || self.stripes.iter().any(Stripe::is_held_up);
        let mut gave = true;
        while gave {
            gave = false;
            for stripe in in_turn().filter(|_| self.is_short()) {
                self.compact(stripe, Slack::Little);
            }
            if !self.is_short() || is_held_up() {
                break;
            }
            for stripe in in_turn() {
                if !self.is_short() || self.stripes[stripe].is_held_up() {
                    continue;
                }
                gave |= self.vacate_chunk(stripe, usize::MAX, End::Now, keep.filter(|_| stripe == home)) != 0;
                self.compact(stripe, Slack::Little);
            }
        }
        // At last all but the one entry go, where it needs so much.
        let all_may_go = self.is_short() && !is_held_up();
        for stripe in in_turn().filter(|_| all_may_go) {
            let kept = keep.filter(|_| stripe == home);
            while self.is_short() && !self.stripes[stripe].is_held_up() && self.shed(stripe, AT_ONCE, false, kept) != 0
            {
                self.compact(stripe, Slack::Little);
            }
        }
        self.budget.forget_advanced();
    }

    /// Gives back nodes of a stripe that has many more than entries, and evicts the few entries among them: there will be room
    /// for others, of which a chunk of nodes takes the place for good.
    #[cold]
    fn condense(&self, stripe: usize, keep: Option<u32>) {
        if is_pinned() {
            return;
        }
        let before = self.stripes[stripe].nodes();
        self.compact(stripe, Slack::Little);
        if self.stripes[stripe].should_condense() {
            let most = self.stripes[stripe].len() / CONDENSED_SHARE;
            self.vacate_chunk(stripe, most, End::Later, keep);
            self.compact(stripe, Slack::Little);
        }
        if self.stripes[stripe].nodes() >= before {
            self.stripes[stripe].put_off_condensing();
        }
    }

    /// Whether readers who are inside hold up much of what was retired.
    pub(crate) fn is_held_up(&self) -> bool {
        flush();
        for stripe in 0..self.stripes.len() {
            while self.upkeep(stripe) {}
        }
        self.stripes.iter().any(Stripe::is_held_up)
    }

    /// How many entries make this share of those that each stripe has.
    pub(crate) fn shares(&self, share: f64) -> Vec<usize> {
        self.stripes.iter().map(|stripe| (stripe.len() as f64 * share) as usize).collect()
    }

    /// Leaves so many entries in each stripe, if the limit asks for it: readers keep from becoming free what else there is.
    pub(crate) fn shed_to(&self, left: &[usize]) {
        for (index, (stripe, &left)) in self.stripes.iter().zip(left).enumerate() {
            loop {
                let more = stripe.len().saturating_sub(left);
                if more == 0 || self.shed(index, more.min(AT_ONCE), false, None) == 0 {
                    break;
                }
            }
        }
    }

    /// Leaves so many entries in each stripe, as the limit was lowered to this share of what was in use, where nodes would be
    /// a large part of what is left: chunk by chunk, since evictions in any other order would give hardly any nodes back, and
    /// would have to go on until there is nothing else.
    pub(crate) fn vacate_to(&self, left: &[usize], share: f64) {
        for (index, (stripe, &left)) in self.stripes.iter().zip(left).enumerate() {
            if stripe.is_mostly_nodes(share) {
                while self.vacate_chunk(index, stripe.len().saturating_sub(left), End::Fewer, None) != 0 {}
                self.compact(index, Slack::Little);
            }
        }
    }

    fn vacate_chunk(&self, stripe: usize, most: usize, end: End, keep: Option<u32>) -> usize {
        let mut aftermath = Aftermath::new();
        let mut operation = Operation::inner(self, stripe, &mut aftermath);
        operation.run(|context, aftermath| self.stripes[stripe].vacate_chunk(context, most, end, keep, aftermath))
    }

    fn shed(&self, stripe: usize, most: usize, paying: bool, keep: Option<u32>) -> usize {
        let mut aftermath = Aftermath::new();
        let mut operation = Operation::inner(self, stripe, &mut aftermath);
        operation.run(|context, aftermath| self.stripes[stripe].shed(context, most, paying, keep, aftermath))
    }

    /// Frees what can be freed in one stripe, and gives back memory that is much more than it needs.
    fn compact(&self, stripe: usize, slack: Slack) {
        flush();
        while self.upkeep(stripe) {}
        let mut shrunk = false;
        // A table, two rings and the ghosts, at the most.
        for _ in 0..4 {
            let Some(supply) = self.trim(stripe, slack).and_then(Supply::allocate) else { break };
            shrunk = true;
            let mut aftermath = Aftermath::new();
            let mut operation = Operation::inner(self, stripe, &mut aftermath);
            operation.run(|context, aftermath| self.stripes[stripe].install(context, supply, true, aftermath));
        }
        if shrunk {
            flush();
            while self.upkeep(stripe) {}
            self.trim(stripe, slack);
        }
    }

    /// Gets what has been retired dropped, as far as no reader holds it.
    #[cold]
    pub(crate) fn relieve(&self) {
        self.drain_while(PATIENCE, || self.budget.is_clogged());
    }

    /// How much has been retired and not freed yet.
    pub(crate) fn waiting(&self) -> usize {
        self.stripes.iter().map(Stripe::waiting).sum()
    }

    /// Flushes and frees while there is need and it helps.
    fn drain_while(&self, patience: usize, needed: impl Fn() -> bool) {
        let mut before = self.waiting();
        let mut idle_rounds = 0;
        while needed() && idle_rounds < patience {
            flush();
            for stripe in 0..self.stripes.len() {
                while self.upkeep(stripe) {}
            }
            let now = self.waiting();
            idle_rounds = if now < before { 0 } else { idle_rounds + 1 };
            before = now;
        }
    }

    /// All the upkeep there is; see [`Cache::maintain`](crate::Cache::maintain).
    pub(crate) fn maintain(&self) {
        for stripe in 0..self.stripes.len() {
            while self.upkeep(stripe) {}
        }
        let anything_waits = || self.waiting() != 0;
        self.drain_while(MUCH_PATIENCE, anything_waits);
        for stripe in 0..self.stripes.len() {
            self.compact(stripe, Slack::Much);
        }
        // Of what was added beyond the limit while readers stayed, entries use a part by now.
        if self.budget.unit == Unit::Bytes && self.budget.is_beyond_limit(Stripe::<K, V>::PLACE_BYTES) && !is_pinned() {
            self.give_memory_back(0, None);
        }
        self.drain_while(MUCH_PATIENCE, anything_waits);
    }

    /// Gives back the chunks of nodes of a stripe that hold nothing, and its credit; says what could be smaller.
    pub(crate) fn trim(&self, stripe: usize, slack: Slack) -> Option<Need> {
        let mut aftermath = Aftermath::new();
        let mut operation = Operation::inner(self, stripe, &mut aftermath);
        operation.run(|context, aftermath| self.stripes[stripe].trim(context, slack, aftermath))
    }
}

/// Out of line, so that the path without a listener stays short.
#[cold]
fn pin_for_listener() -> Pin {
    pin()
}
