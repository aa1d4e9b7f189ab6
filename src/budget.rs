//! What the whole cache may hold, and what of it is not spoken for.
//!
//! Knows amounts. Knows no entry and no stripe: stripes draw credit from here, in amounts larger
//! than they need at once, and spend it under their own lock, so that the shared words are
//! touched once in many inserts.
//!
//! The budget counts either entries, one each, or bytes. In bytes a share of it,
//! [`Budget::reserve`], is never given to living entries: what has been displaced and waits for its
//! last readers is charged to it.

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicU64, Ordering::*};

/// What a budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Entries,
    Bytes,
}

/// The most that a budget can be: below this, sums of a few amounts can't overflow.
pub(crate) const MAX_LIMIT: u64 = 1 << 56;

/// One in so many bytes is kept for what has been displaced but not yet dropped.
const RESERVE_SHARE: u64 = 64;

/// The open batches of all stripes are at most one in so many bytes of that.
const OPEN_SHARE: u64 = 8;

pub(crate) struct Budget {
    pub(crate) unit: Unit,
    limit: AtomicU64,
    /// What nobody has drawn, as a two's complement number: below zero after the limit was lowered,
    /// or when an entry was put in before room was made for it.
    free: CachePadded<AtomicU64>,
    /// Bytes behind displaced entries, and of outgrown tables, that wait for their last readers, as far as they were reported.
    retired: CachePadded<AtomicU64>,
    /// How many entries of these there are.
    retired_entries: AtomicU64,
    /// Bytes of memory that was added, beyond the limit if need be, since readers kept what is retired from becoming free.
    /// It is forgotten when the budget is in order again.
    advanced: AtomicU64,
    /// See [`Budget::quantum`].
    quantum: AtomicU64,
    /// See [`Budget::batch_weight`].
    batch_weight: AtomicU64,
    /// See [`Budget::half_share`].
    half_share: AtomicU64,
    stripes: u64,
}

impl Budget {
    pub(crate) fn new(unit: Unit, limit: u64, stripes: usize) -> Self {
        let budget = Self {
            unit,
            limit: AtomicU64::new(limit),
            free: CachePadded::new(AtomicU64::new(0)),
            retired: CachePadded::new(AtomicU64::new(0)),
            retired_entries: AtomicU64::new(0),
            advanced: AtomicU64::new(0),
            quantum: AtomicU64::new(0),
            batch_weight: AtomicU64::new(0),
            half_share: AtomicU64::new(0),
            stripes: stripes as u64,
        };
        budget.free.store(limit - budget.reserve(), Relaxed);
        budget.set_shares();
        budget
    }

    #[inline]
    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Relaxed)
    }

    /// The part of the limit that living entries are not given.
    #[inline]
    pub(crate) fn reserve(&self) -> u64 {
        match self.unit {
            Unit::Entries => 0,
            Unit::Bytes => self.limit() / RESERVE_SHARE,
        }
    }

    /// How much a stripe draws beyond what it needs: small enough that the unused credit of
    /// all stripes is at most a 64th of the limit.
    #[inline]
    pub(crate) fn quantum(&self) -> u64 {
        self.quantum.load(Relaxed)
    }

    /// Works out what depends on the limit and is asked for in every write.
    fn set_shares(&self) {
        let most = match self.unit {
            Unit::Entries => 64,
            Unit::Bytes => 64 << 10,
        };
        self.quantum.store((self.limit() / (self.stripes * 128)).min(most), Relaxed);
        let batch_weight = match self.unit {
            Unit::Entries => u64::MAX,
            Unit::Bytes => (self.reserve() / (OPEN_SHARE * self.stripes)).max(1),
        };
        self.batch_weight.store(batch_weight, Relaxed);
        let half_share = if self.stripes == 1 { 0 } else { self.limit() / (2 * self.stripes) };
        self.half_share.store(half_share, Relaxed);
    }

    /// Half of what each stripe would have if all had the same; nothing where there is but one.
    #[inline]
    pub(crate) fn half_share(&self) -> u64 {
        self.half_share.load(Relaxed)
    }

    /// A batch of displaced entries that weighs so much is not kept open: what all stripes hold in open batches
    /// stays well within the reserve.
    #[inline]
    pub(crate) fn batch_weight(&self) -> u64 {
        self.batch_weight.load(Relaxed)
    }

    /// What nobody has drawn; below zero where too much was.
    #[inline]
    pub(crate) fn free(&self) -> i64 {
        // Relaxed, here and below: the words are sums, nothing is published through them.
        self.free.load(Relaxed) as i64
    }

    /// Takes up to `want` of what is free.
    #[inline]
    pub(crate) fn draw(&self, want: u64) -> u64 {
        let mut free = self.free.load(Relaxed);
        loop {
            let granted = want.min((free as i64).max(0) as u64);
            if granted == 0 {
                return 0;
            }
            match self.free.compare_exchange_weak(free, free - granted, Relaxed, Relaxed) {
                Ok(_) => return granted,
                Err(changed) => free = changed,
            }
        }
    }

    /// Takes `amount` whether it is there or not. The caller then makes room until
    /// [`Budget::free`] is no longer below zero.
    pub(crate) fn overdraw(&self, amount: u64) {
        self.free.fetch_sub(amount, Relaxed);
    }

    #[inline]
    pub(crate) fn give_back(&self, amount: u64) {
        if amount != 0 {
            self.free.fetch_add(amount, Relaxed);
        }
    }

    /// Takes `change`, whether it is there or not, or gives it back where it is below zero.
    pub(crate) fn charge(&self, change: i64) {
        self.free.fetch_sub(change as u64, Relaxed);
    }

    /// Changes the limit. After lowering it the caller makes room.
    pub(crate) fn set_limit(&self, limit: u64) {
        let spendable = |limit| match self.unit {
            Unit::Entries => limit,
            Unit::Bytes => limit - limit / RESERVE_SHARE,
        };
        let old = self.limit.swap(limit, Relaxed);
        self.free.fetch_add(spendable(limit).wrapping_sub(spendable(old)), Relaxed);
        self.set_shares();
    }

    /// Reports what waits for its last readers: the bytes behind entries and of outgrown tables, and how many entries.
    pub(crate) fn add_retired(&self, bytes: u64, entries: u64) {
        if self.unit == Unit::Bytes {
            self.retired.fetch_add(bytes, Relaxed);
            self.retired_entries.fetch_add(entries, Relaxed);
        }
    }

    /// Takes some of them back, which have been dropped.
    #[inline]
    pub(crate) fn remove_retired(&self, bytes: u64, entries: u64) {
        if self.unit == Unit::Bytes {
            self.retired.fetch_sub(bytes, Relaxed);
            self.retired_entries.fetch_sub(entries, Relaxed);
        }
    }

    /// What was reported and not taken back: bytes, and entries.
    pub(crate) fn retired(&self) -> (u64, u64) {
        (self.retired.load(Relaxed), self.retired_entries.load(Relaxed))
    }

    /// Whether so much waits to be dropped that it should be seen to before more is put in.
    #[inline]
    pub(crate) fn is_clogged(&self) -> bool {
        let retired = self.retired.load(Relaxed);
        retired != 0 && retired > self.reserve() / 2 + self.free().max(0) as u64
    }

    /// Reports memory that is added, beyond the limit if need be, for what readers hold up.
    pub(crate) fn add_advanced(&self, bytes: u64) {
        if bytes != 0 {
            self.advanced.fetch_add(bytes, Relaxed);
        }
    }

    /// Bytes that the budget may be overdrawn by without anything being evicted for it: of the memory that was added
    /// beyond the limit, what retired entries of `node_bytes` each have made necessary. The living are not to pay
    /// for what no eviction frees.
    #[inline]
    fn advance(&self, node_bytes: u64) -> i64 {
        let advanced = self.advanced.load(Relaxed);
        if advanced == 0 { 0 } else { advanced.min(self.retired_entries.load(Relaxed) * node_bytes) as i64 }
    }

    /// By how much more is in use than may be, not counting `credit` that the caller still has.
    #[inline]
    pub(crate) fn shortage(&self, node_bytes: u64, credit: i64) -> u64 {
        let balance = self.free() + credit;
        if balance >= 0 {
            return 0;
        }
        (balance + self.advance(node_bytes)).min(0).unsigned_abs()
    }

    /// Whether living entries and memory for them have taken so much of the reserve that what is retired does not fit in.
    #[inline]
    pub(crate) fn is_overdrawn(&self) -> bool {
        let free = self.free();
        free < 0 && free.unsigned_abs() + self.retired_in_reserve() > self.reserve()
    }

    /// Whether that is so, and not for what retired entries keep from use.
    pub(crate) fn is_exceeded(&self, node_bytes: u64) -> bool {
        let shortage = self.shortage(node_bytes, 0);
        shortage != 0 && shortage + self.retired_in_reserve() > self.reserve()
    }

    /// Whether more than the limit is in use where nothing is retired.
    pub(crate) fn is_beyond_limit(&self, node_bytes: u64) -> bool {
        self.shortage(node_bytes, 0) > self.reserve()
    }

    /// What has been retired, up to half of the reserve: with more than that the budget is clogged. With it what was not
    /// reported yet, since its batches are open.
    #[inline]
    fn retired_in_reserve(&self) -> u64 {
        let reserve = self.reserve();
        self.retired.load(Relaxed).min(reserve / 2) + reserve / OPEN_SHARE
    }

    /// Forgets what was added beyond the limit, if the budget is in order again.
    pub(crate) fn forget_advanced(&self) {
        if self.free() >= 0 {
            self.advanced.store(0, Relaxed);
        }
    }
}
