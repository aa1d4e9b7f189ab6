//! What writers change, and the steps that writes are made of, each under the lock.
//!
//! Knows the parts of a stripe and how they go together. Knows no write as a whole: see `writes.rs` and `upkeep.rs`. What it
//! costs of the budget is in `credit.rs`.
//!
//! Under the lock a write probes, links, unlinks, swaps and counts. It hashes nothing, reads no clock,
//! weighs nothing, allocates nothing in proportion to anything, drops no key or value and calls nobody
//! but key equality. What it lacks it asks for ([`Need`]) and is called again.

use std::collections::HashMap;

use super::aftermath::{Aftermath, RemovalCause};
use super::column::{CHUNK_BITS, Column};
use super::index::{Hash, Slot, Table};
use super::limbo::{HandedOver, Limbo};
use super::loads::Loads;
use super::queues::{Queues, SEARCH};
use super::slab::{NewNode, Node, Places};
use super::supply::{Columns, Need};
use super::wheel::Wheel;
use super::{Context, Settings, Stripe, idle_deadline, is_expired};
use crate::budget::Unit;
use crate::sync::MutexGuard;

/// Retired places freed, and due deadlines looked at, by one write: more than one write makes.
pub(super) const UPKEEP: usize = 4;

/// In an exact cache, of 64 entries at most, each of which the wheel moves down at most ten times, this finds what has
/// expired.
const EXACT_ROUNDS: usize = 64 * 11 / UPKEEP;

/// How often a search may come to the one entry that is to stay: each time the others have lost a mark, of three at
/// most. Then any other goes.
const KEEP_ROUNDS: usize = 8;

/// The places of the smallest chunk there is.
pub(super) const LEAST_CHUNK: u32 = 16;

/// What has happened in a stripe: to each entry that comes and goes, ...
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) inserts: u64,
    pub(crate) evictions: u64,
}

/// ... and what else.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OtherCounts {
    pub(crate) updates: u64,
    pub(crate) expirations: u64,
    pub(crate) removals: u64,
}

/// An entry to be put in.
pub(crate) struct Entry<K, V> {
    pub(crate) hash: Hash,
    pub(crate) key: K,
    pub(crate) value: V,
    /// Bytes behind key and value.
    pub(crate) weight: u64,
    /// When it expires; 0 for never.
    pub(crate) deadline: u64,
    /// Beyond what no hit may put that off; 0 where there is no limit.
    pub(crate) limit: u64,
    /// Whether it takes over both from the entry in whose place it is put, if there is one.
    pub(crate) keeps_time: bool,
}

impl<K, V> From<Entry<K, V>> for NewNode<K, V> {
    #[inline]
    fn from(Entry { hash, key, value, deadline, .. }: Entry<K, V>) -> Self {
        Self { hash, key, value, deadline }
    }
}

/// What the caller of a write has seen, and what has to be so still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    Anything,
    /// No living entry of this key.
    Absent,
    /// Nothing was written to the key since this load began.
    Load(u64),
    /// The entry at this place.
    Place(u32),
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Inserted,
    Updated,
    /// Nothing: it was not as expected.
    Outdated,
}

/// Bytes behind each entry, four bytes each; the few that need more have a map.
pub(super) struct Weights {
    pub(super) column: Option<Column<u32>>,
    pub(super) heavy: HashMap<u32, u64>,
}

impl Weights {
    #[inline]
    pub(super) fn get(&self, place: u32) -> u64 {
        let Some(column) = &self.column else { return 0 };
        match column.get(place) {
            u32::MAX => self.heavy[&place],
            weight => weight.into(),
        }
    }

    #[inline]
    fn set(&mut self, place: u32, weight: u64) {
        let Some(column) = &mut self.column else { return };
        let short = u32::try_from(weight).unwrap_or(u32::MAX);
        column.set(place, short);
        if short == u32::MAX {
            self.heavy.insert(place, weight);
        }
    }

    /// Forgets the weight of a place that becomes free.
    #[inline]
    pub(super) fn take(&mut self, place: u32) -> u64 {
        let weight = self.get(place);
        if weight >= u32::MAX.into() {
            self.heavy.remove(&place);
        }
        weight
    }
}

/// What writers change. When two cores write to the same stripes, the cache lines that every write changes travel between
/// them. So all that a write of `fast.rs` changes in here when it puts a new entry in a queue of `Lru` lies in two lines,
/// with the lock in the first: see the test there.
#[repr(C)]
pub(crate) struct Writer<K, V> {
    /// What of the budget this stripe may still spend.
    pub(super) credit: i64,
    /// How many writes may still go the fast way; see `fast.rs`.
    pub(super) ease: u16,
    /// How many might when that was asked last.
    pub(super) ease_given: u16,
    /// Whether this stripe evicts for what it puts in, and does not have others give; asked when `ease` was.
    pub(super) pays: bool,
    pub(super) counts: Counts,
    pub(super) queues: Queues,
    pub(super) limbo: Limbo,
    pub(super) places: Places<K, V>,
    pub(super) other_counts: OtherCounts,
    pub(super) loads: Loads,
    pub(super) weights: Weights,
    pub(super) wheel: Wheel,
    /// The deadlines that no hit may put off, where hits do.
    pub(super) limits: Option<Column<u64>>,
    /// The sum of the weights of living entries.
    pub(super) weight: u64,
    /// The sum of the weights of retired entries.
    pub(super) retired_weight: u64,
    /// Bytes of outgrown tables that are still there.
    pub(super) retired_tables: u64,
    /// Bytes of the current table.
    pub(super) table: u64,
    /// Bytes of table, queues, nodes and columns that the credit has paid for.
    pub(super) charged: u64,
    pub(super) columns: Columns,
    /// How many entries there are to be at the most, since readers keep retired nodes from use and others were added that the
    /// budget does not pay for: as many as there were then, less those that gave their place for the bytes behind another.
    /// Until the budget is in order again. What memory costs meanwhile is no affair of the living: see
    /// [`Locked::recharge`].
    pub(super) pace: Option<usize>,
    /// How many evictions there are to have been before nodes are given back that no entry uses.
    pub(super) dense_until: u64,
}

impl<K, V> Writer<K, V> {
    pub(super) fn new(settings: &Settings, queues: Queues, places: Places<K, V>, table: &Table) -> Self {
        let columns =
            Columns { weights: settings.unit == Unit::Bytes, links: settings.timed, limits: settings.idle != 0 };
        Self {
            credit: 0,
            ease: 0,
            ease_given: 0,
            pays: false,
            queues,
            places,
            limbo: Limbo::new(settings.batch),
            weights: Weights { column: columns.weights.then(Column::new), heavy: HashMap::new() },
            wheel: Wheel::new(),
            limits: columns.limits.then(Column::new),
            weight: 0,
            retired_weight: 0,
            retired_tables: 0,
            table: table.allocated_bytes(),
            charged: 0,
            counts: Counts::default(),
            other_counts: OtherCounts::default(),
            loads: Loads::new(),
            columns,
            pace: None,
            dense_until: 0,
        }
    }

    /// The bytes of everything but outgrown tables, and what keys and values hold.
    pub(super) fn structure_bytes(&self) -> u64 {
        size_of::<Stripe<K, V>>() as u64
            + self.table
            + self.queues.allocated_bytes()
            + Limbo::LASTING_BYTES
            + self.limbo.grown_bytes()
            + self.places.allocated_bytes()
            + self.weights.column.as_ref().map_or(0, Column::allocated_bytes)
            + self.limits.as_ref().map_or(0, Column::allocated_bytes)
            + self.wheel.allocated_bytes()
    }
}

/// A stripe with its lock held, until it is dropped; then credit and batches are seen to.
pub(super) struct Locked<'a, K, V> {
    pub(super) stripe: &'a Stripe<K, V>,
    pub(super) context: Context<'a>,
    pub(super) aftermath: &'a mut Aftermath<K, V>,
    /// What is retired by this write is to be dropped as soon as may be.
    pub(super) promptly: bool,
    pub(super) writer: MutexGuard<'a, Writer<K, V>>,
}

impl<'a, K, V> Locked<'a, K, V> {
    pub(super) fn new(
        stripe: &'a Stripe<K, V>,
        mut writer: MutexGuard<'a, Writer<K, V>>,
        context: Context<'a>,
        aftermath: &'a mut Aftermath<K, V>,
    ) -> Self {
        let fast = writer.ease_given - writer.ease;
        if fast != 0 {
            writer.ease_given = writer.ease;
            writer.limbo.count_writes(fast.into());
        }
        Self { stripe, context, aftermath, promptly: false, writer }
    }

    /// The slot that the expectation is about. The only step that runs the user's code.
    #[inline]
    pub(super) fn find(&self, hash: Hash, is_key: impl Fn(&K) -> bool, expect: Expect) -> Option<Slot> {
        match expect {
            Expect::Place(place) => self.buckets().find(hash, |candidate| candidate == place),
            _ => self.buckets().find(hash, |place| is_key(self.node(place).key())),
        }
    }

    /// Sees to it that one more entry can be linked, or says what for lack of it can't.
    #[inline(always)]
    pub(super) fn make_ready(&mut self, timed: bool, keep: Option<u32>) -> Result<(), Need> {
        if self.writer.limbo.is_turn() || self.writer.places.free.takeable() == 0 {
            self.drain(8 * UPKEEP);
        }
        let writer = &mut *self.writer;
        if writer.places.free.takeable() == 0 && !writer.places.free.unlink_some(writer.queues.positions()) {
            return Err(self.need_places(timed, keep));
        }
        let place = self.writer.places.free.next().expect("checked above");
        if timed && self.writer.wheel.needs_links(place) {
            return Err(Need::Links { chunk: place >> CHUNK_BITS, len: self.writer.places.chunk_len(place) });
        }
        let entries = self.writer.queues.len();
        if entries >= self.table().capacity() {
            let (entries, dues) = (entries + entries / 8 + 1, self.stripe.settings.refresh != 0);
            // The outgrown one goes when its readers have left, and is as little an affair of the living as an entry that is
            // retired.
            let more = Table::bytes_for(entries, dues).saturating_sub(self.writer.table);
            self.afford_or_evict(Need::Table { entries, dues }, more, keep)?;
        }
        if let Some(want) = self.writer.queues.want() {
            let bytes = Queues::bytes_for(want);
            if !want.can_wait() || self.can_afford(bytes) {
                self.afford_or_evict(Need::Queues(want), bytes, keep)?;
            }
        }
        Ok(())
    }

    /// Evicts one entry, an expired one where there is one, but not the one at `keep`.
    #[inline]
    pub(super) fn evict(&mut self, keep: Option<u32>) -> bool {
        if self.has_due() && self.evict_expired() {
            return true;
        }
        match self.pop_victim() {
            Some(place) if Some(place) != keep => {
                self.let_go(place);
                true
            }
            Some(kept) => self.evict_another(kept),
            None => false,
        }
    }

    /// Puts a victim back that is to stay, and evicts another one, if there is one.
    #[cold]
    pub(super) fn evict_another(&mut self, kept: u32) -> bool {
        let weight = self.queue_weight(kept);
        for _ in 1..KEEP_ROUNDS {
            self.writer.queues.put_back(kept, weight);
            match self.pop_victim() {
                Some(place) if place != kept => {
                    self.let_go(place);
                    return true;
                }
                _ => {}
            }
        }
        self.writer.queues.put_back(kept, weight);
        // Only where the queue that is next has no other, or the others are used all the time.
        let other = self.writer.queues.places().find(|&place| place != kept);
        if let Some(place) = other {
            let weight = self.queue_weight(place);
            self.writer.queues.remove(place, weight);
            self.let_go(place);
        }
        other.is_some()
    }

    /// Takes what has left its queue out of everything else.
    #[inline(always)]
    pub(super) fn let_go(&mut self, place: u32) {
        let node = self.node(place);
        self.unfile(place, node);
        if is_expired(node.deadline(), self.context.now) {
            self.retire(place, node, RemovalCause::Expired);
        } else {
            self.retire(place, node, RemovalCause::Evicted);
        }
    }

    /// Whether the time of some entry may be over.
    #[inline]
    pub(super) fn has_due(&self) -> bool {
        self.context.now != 0 && self.writer.wheel.next_due() <= self.context.now
    }

    /// Looks for an entry whose time is over: at all of an exact cache, at no more than a search looks at elsewhere.
    #[cold]
    pub(super) fn evict_expired(&mut self) -> bool {
        let before = self.writer.queues.len();
        let rounds = if self.stripe.settings.exact { EXACT_ROUNDS } else { SEARCH / UPKEEP };
        for _ in 0..rounds {
            if self.writer.wheel.next_due() > self.context.now || self.writer.queues.len() < before {
                break;
            }
            self.expire();
        }
        self.writer.queues.len() < before
    }

    #[inline]
    pub(super) fn queue_weight(&self, place: u32) -> u64 {
        self.stripe.queue_weight(|| self.writer.weights.get(place))
    }

    /// Takes an entry that left its queue out of the table.
    #[inline(always)]
    pub(super) fn unfile(&self, place: u32, node: &Node<K, V>) {
        self.buckets().take_out(node.hash(), place);
    }

    /// Lets go of an entry that is in no queue and no slot any more.
    #[inline(always)]
    pub(super) fn retire(&mut self, place: u32, node: &Node<K, V>, cause: RemovalCause) {
        let writer = &mut *self.writer;
        if node.deadline() != 0 {
            writer.wheel.cancel(place);
        }
        let mut weight = 0;
        if self.context.budget.unit == Unit::Bytes {
            weight = writer.weights.get(place);
            writer.weight -= weight;
            writer.retired_weight += weight;
        }
        writer.limbo.retire(place, weight);
        match cause {
            RemovalCause::Replaced => {}
            RemovalCause::Removed => writer.other_counts.removals += 1,
            RemovalCause::Evicted => writer.counts.evictions += 1,
            RemovalCause::Expired => writer.other_counts.expirations += 1,
        }
        let charge = self.charge(weight);
        self.writer.credit += charge;
        if self.stripe.settings.tell {
            self.aftermath.displaced.push((place, cause));
        }
    }

    /// Takes out entries whose time is over, a few of them.
    #[inline]
    pub(super) fn expire_due(&mut self) {
        if self.has_due() {
            self.expire();
        }
    }

    #[cold]
    pub(super) fn expire(&mut self) {
        for place in self.take_due() {
            let weight = self.queue_weight(place);
            self.writer.queues.remove(place, weight);
            let node = self.node(place);
            self.unfile(place, node);
            self.retire(place, node, RemovalCause::Expired);
        }
    }

    /// Gives an entry the time of the one at `old`, in whose place it will be put. As a use it puts off what hits put off.
    #[cold]
    pub(super) fn keep_time(&self, entry: &mut Entry<K, V>, old: Option<u32>) {
        let Some(old) = old else { return };
        entry.deadline = self.node(old).deadline();
        if let Some(limits) = &self.writer.limits {
            entry.limit = limits.get(old);
            entry.deadline = idle_deadline(self.context.now, self.stripe.settings.idle, entry.limit);
        }
    }

    /// Fills a place and gives it its weight and deadline; it is in no slot and no queue yet.
    #[inline(always)]
    pub(super) fn prepare(&mut self, entry: Entry<K, V>) -> u32 {
        let Entry { weight, deadline, limit, .. } = entry;
        let writer = &mut *self.writer;
        let place = self.stripe.fill(&mut writer.places, &writer.queues, entry.into());
        if self.context.budget.unit == Unit::Bytes {
            writer.weights.set(place, weight);
            writer.weight += weight;
        }
        if deadline != 0 {
            writer.wheel.schedule(place, deadline, self.context.now);
        }
        if self.stripe.settings.idle != 0 {
            writer.limits.as_mut().expect("kept with a time to idle").set(place, limit);
        }
        let charge = self.charge(weight);
        self.writer.credit -= charge;
        place
    }

    /// When an entry that is written now is due to be loaded anew; 0 for never.
    #[inline]
    pub(super) fn next_due(&self) -> u64 {
        match self.stripe.settings.refresh {
            0 => 0,
            refresh => self.context.now.saturating_add(refresh),
        }
    }

    #[inline(always)]
    pub(super) fn link_new(&mut self, entry: Entry<K, V>) -> u32 {
        let hash = entry.hash;
        let place = self.prepare(entry);
        let weight = self.queue_weight(place);
        self.writer.queues.add(place, hash, weight);
        self.table().insert(hash, place, self.next_due());
        self.writer.counts.inserts += 1;
        place
    }

    /// Puts a new node in the place of an entry. An update is a use.
    #[inline]
    pub(super) fn link_over(&mut self, slot: Slot, entry: Entry<K, V>, cause: RemovalCause) -> u32 {
        let old = slot.place;
        let place = self.prepare(entry);
        let (old_weight, weight) = (self.queue_weight(old), self.queue_weight(place));
        self.writer.queues.replace(old, place, old_weight, weight);
        if self.writer.queues.is_exact() {
            self.writer.queues.renew(place);
        }
        let mark = self.node(old).mark() + 1;
        self.node(place).set_mark(mark.min(self.stripe.most_marks));
        self.table().replace(slot, place, self.next_due());
        match cause {
            RemovalCause::Expired => self.writer.counts.inserts += 1,
            _ => self.writer.other_counts.updates += 1,
        }
        self.retire(old, self.node(old), cause);
        place
    }

    /// Does what a deadline that is about to be set needs.
    pub(super) fn need_links(&self, place: u32, deadline: u64) -> Result<(), Need> {
        if deadline != 0 && self.writer.wheel.needs_links(place) {
            return Err(Need::Links { chunk: place >> CHUNK_BITS, len: self.writer.places.chunk_len(place) });
        }
        Ok(())
    }
}

impl<K, V> Drop for Locked<'_, K, V> {
    #[inline]
    fn drop(&mut self) {
        let heavy_at = self.context.budget.batch_weight();
        if let Some(HandedOver { flag, weight, places, grown }) = self.writer.limbo.hand_over(self.promptly, heavy_at) {
            let rare = self.aftermath.rare();
            rare.handed_over.push(flag);
            // Where bytes count, what waits is soon lacking; and no stripe lets much of what it has wait for others.
            let is_much = self.writer.limbo.is_long() && !self.writer.limbo.has_ready();
            rare.is_urgent |= self.promptly || self.context.budget.unit == Unit::Bytes || is_much;
            self.context.budget.add_retired(weight, places);
            self.context.budget.add_advanced(grown);
        }
        if self.context.budget.unit == Unit::Bytes {
            self.recharge();
        }
        if self.writer.credit < 0 {
            self.settle_rest();
        }
        let quantum = self.context.budget.quantum();
        // While readers are why memory is not paid for, what is returned would pay for it, and be lost to the living.
        let is_held_up = self.writer.pace.is_some() && self.writer.limbo.is_long();
        if self.writer.credit > 2 * quantum as i64 && !is_held_up {
            self.return_credit(quantum);
        }
        if self.stripe.is_plain {
            self.writer.pays = !self.is_poor();
            self.writer.ease = self.stripe.ease(&self.writer);
        }
        self.writer.ease_given = self.writer.ease;
    }
}
