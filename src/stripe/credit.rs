//! What writes cost of the budget, and what goes for it.
//!
//! Knows the parts of a stripe, and the cache's budget, of which the stripe holds some credit. Knows no write as a whole.
//!
//! An entry is paid for when it is put in: with one, or the bytes behind it. Memory for nodes, table and queues is paid for
//! when it is there. Where the credit does not reach, and the budget has no more, entries go; where that frees too little,
//! the budget is overdrawn, and the caller makes room when the lock is released.

use super::slab::{Node, Places};
use super::supply::{Columns, Need};
use super::writer::{LEAST_CHUNK, Locked};
use crate::budget::Unit;

/// After so many evictions it is looked at whether they free as much as they cost.
const PROBATION: usize = 16;

/// Entries that make room at once where places, not bytes, are what is lacking: no more than this, ...
const PLACES_AT_ONCE: usize = 64;

/// ... nor than one in so many, or small caches would swing between full and not, ...
const PLACES_SHARE: usize = 32;

/// ... but more where that many did not do: what is retired beside a reader makes up for nodes that are added then.
const PLACES_SHARE_AGAIN: usize = 8;

impl<K, V> Locked<'_, K, V> {
    /// What an entry costs of the budget. The memory of its node is paid for by the chunk.
    #[inline]
    pub(super) fn charge(&self, weight: u64) -> i64 {
        match self.context.budget.unit {
            Unit::Entries => 1,
            Unit::Bytes => weight as i64,
        }
    }

    /// Memory is not worth an entry's life: where there is no budget for more of it, an entry goes instead.
    pub(super) fn afford_or_evict(&mut self, need: Need, bytes: u64, keep: Option<u32>) -> Result<(), Need> {
        if self.can_afford(bytes) || !self.evict(keep) { Err(need) } else { Ok(()) }
    }

    pub(super) fn can_afford(&mut self, bytes: u64) -> bool {
        if self.context.budget.unit == Unit::Entries {
            return true;
        }
        let bytes = bytes as i64;
        if self.writer.credit < bytes {
            let missing = bytes - self.writer.credit;
            self.writer.credit += self.context.budget.draw(missing as u64) as i64;
        }
        self.writer.credit >= bytes
    }

    /// What gets free places: a chunk, if there is budget for it, or else evictions, as many as make for some time. If
    /// readers keep those from becoming free, a small chunk has to be added all the same, and then there are to be no more
    /// entries.
    #[cold]
    pub(super) fn need_places(&mut self, timed: bool, keep: Option<u32>) -> Need {
        let columns = Columns { links: self.writer.columns.links | timed, ..self.writer.columns };
        let bytes = |len| Places::<K, V>::bytes_for_chunk(len) + columns.bytes_per_place() * u64::from(len);
        let has_number = self.writer.places.next_chunk_number().is_some();
        let mut len = self.writer.places.next_chunk_len();
        if self.context.may_overdraw() {
            len = (len / 2).next_multiple_of(LEAST_CHUNK);
        }
        let wanted = len;
        // Rather a shorter one than none; but not so short that the lists that lead to it cost as much.
        let least = (len / 4).max(LEAST_CHUNK);
        let mut affordable = self.can_afford(bytes(len));
        while !affordable && len > least {
            len = (len / 2).next_multiple_of(LEAST_CHUNK);
            affordable = self.can_afford(bytes(len));
        }
        if has_number && affordable {
            return Need::Chunk { len, columns };
        }
        if has_number && self.context.may_overdraw() {
            // Not the shortest there are: where readers stay that would be many, and the lists that lead to them long for
            // good.
            let len = len.max(wanted.min(4 * LEAST_CHUNK));
            self.context.budget.add_advanced(bytes(len));
            let entries = self.writer.queues.len();
            self.writer.pace.get_or_insert(entries);
            return Need::Chunk { len, columns };
        }
        self.promptly = true;
        let share = if self.context.attempts == 0 { PLACES_SHARE } else { PLACES_SHARE_AGAIN };
        let some = PLACES_AT_ONCE.min(self.writer.queues.len() / share + 1);
        for _ in self.writer.limbo.len().0..some {
            if !self.evict(keep) {
                break;
            }
        }
        Need::Places
    }

    /// Evicts until what was put in is paid for. Where that takes more than this stripe has, or where what is
    /// evicted frees little but nodes, which don't pay before they have been given back, the budget is overdrawn,
    /// and [`Core::make_room`](crate::cache::Core) has to see to it.
    #[inline(always)]
    pub(super) fn settle(&mut self, keep: Option<u32>) {
        if self.writer.pace.is_some() {
            self.keep_pace(keep);
        }
        if self.writer.credit >= 0 {
            return;
        }
        let budget = self.context.budget;
        let missing = self.writer.credit.unsigned_abs();
        self.writer.credit += budget.draw(missing + budget.quantum()) as i64;
        let before = self.writer.credit;
        let mut evicted = 0;
        while self.writer.credit < 0 {
            if self.is_poor() || !self.is_worth_it(evicted, before) || !self.evict(keep) {
                budget.overdraw(self.writer.credit.unsigned_abs());
                self.writer.credit = 0;
                let rare = self.aftermath.rare();
                (rare.is_short, rare.keep) = (true, keep);
            } else if self.writer.pace.is_some() && self.writer.limbo.is_long() {
                self.trade_place();
            }
            evicted += 1;
        }
        if evicted != 0
            && self.writer.counts.evictions >= self.writer.dense_until
            && self.stripe.is_sparse(&self.writer)
        {
            self.condense_later();
        }
    }

    /// Has unused nodes given back when the lock is released; not again at the next write.
    #[cold]
    fn condense_later(&mut self) {
        let pause = (self.writer.queues.len() / 16).max(LEAST_CHUNK as usize);
        self.writer.dense_until = self.writer.counts.evictions + pause as u64;
        self.aftermath.rare().is_sparse = true;
    }

    /// Evicts an entry where there is one more than there is to be, since the place of that is not paid for. Not one for
    /// each that is put in: where the bytes behind them took more than one, there would be ever fewer.
    #[cold]
    pub(super) fn keep_pace(&mut self, keep: Option<u32>) {
        let is_more = self.writer.pace.is_some_and(|pace| self.writer.queues.len() > pace);
        if self.context.budget.free() + self.writer.credit >= 0 || (is_more && !self.evict(keep)) {
            self.writer.pace = None;
        }
    }

    /// Lets the place of an entry that was evicted pay for bytes behind another, beside readers who keep it from use: else
    /// entries without such bytes would all go, and free nothing. There is to be one entry less for it, and the budget is
    /// overdrawn by what only its readers hold.
    #[cold]
    fn trade_place(&mut self) {
        let place = size_of::<Node<K, V>>() as u64 + self.writer.columns.bytes_per_place();
        self.writer.pace = self.writer.pace.map(|pace| pace.saturating_sub(1));
        self.context.budget.overdraw(place);
        self.context.budget.add_advanced(place);
        self.writer.credit += place as i64;
    }

    /// Settles what memory cost that was added.
    #[cold]
    pub(super) fn settle_rest(&mut self) {
        self.settle(self.aftermath.written);
        if self.context.budget.unit == Unit::Bytes {
            self.recharge();
        }
    }

    /// Whether this stripe has less than half of an equal share of the budget: then others, which came first, give.
    #[inline]
    pub(super) fn is_poor(&self) -> bool {
        let has = match self.context.budget.unit {
            Unit::Entries => self.writer.queues.len() as u64,
            Unit::Bytes => self.writer.weight + self.writer.charged,
        };
        has < self.context.budget.half_share()
    }

    /// Whether evictions have freed as much in bytes behind entries as in nodes.
    #[inline]
    pub(super) fn is_worth_it(&self, evicted: usize, credit_before: i64) -> bool {
        evicted < PROBATION
            || self.context.budget.unit == Unit::Entries
            || self.writer.credit - credit_before >= (evicted * size_of::<Node<K, V>>()) as i64
    }

    /// Charges for memory that was added or given up since the last time. Entries are not evicted for it, since that
    /// does not free it: what this stripe can't pay the budget is overdrawn by. While readers keep memory from becoming free
    /// it pays nothing, or each of many batches that wait would cost it an entry.
    #[inline]
    pub(super) fn recharge(&mut self) {
        let bytes = self.writer.structure_bytes();
        let change = bytes as i64 - self.writer.charged as i64;
        self.writer.charged = bytes;
        if self.writer.pace.is_some() {
            self.context.budget.charge(change);
        } else if change > self.writer.credit && !self.can_afford(change as u64) {
            self.context.budget.overdraw((change - self.writer.credit) as u64);
            self.writer.credit = 0;
        } else {
            self.writer.credit -= change;
        }
    }

    /// Returns what of the credit is more than `keep`.
    pub(super) fn return_credit(&mut self, keep: u64) {
        let surplus = self.writer.credit - keep as i64;
        if surplus > 0 {
            self.context.budget.give_back(surplus as u64);
            self.writer.credit = keep as i64;
        }
    }
}
