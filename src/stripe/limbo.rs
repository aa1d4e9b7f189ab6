//! Where retired nodes and outgrown tables wait until no reader can hold them.
//!
//! Knows places and flags. Knows no node, no epoch: who hands a batch over gets a flag, and sees to
//! it that the flag is set when every thread that was pinned at that time has left.
//!
//! Retirement goes in batches, since a deferred call for each node would cost more than the whole
//! eviction. A place passes through
//!
//! ```text
//!  open batch --handed over--> waiting --flag set--> ready --> free
//!                                                      \-> held, where a guard lends it still
//! ```
//!
//! A batch is handed over when it is full, when it holds many bytes, or when the caller asks.

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::index::Table;
use super::slab::Unpublished;
use crate::sync::{Arc, AtomicBool, Ordering::*};

/// How many places make a full batch.
pub(super) const BATCH: usize = 64;

/// After so many writes one looks for what is ready.
const TURN: u32 = 4;

/// A batch stays open for so many writes, if it does not fill up: when many have expired and what is written afterwards
/// displaces nothing, they are not to wait for ever.
const OPEN_FOR: u32 = 4 * BATCH as u32;

/// Batches for which the list of those that wait keeps memory.
const FEW: usize = 4;

// What every write changes comes last.
#[repr(C)]
struct Batch {
    /// Writes since its first place came in, and some before that.
    writes: u32,
    tables: Vec<Unpublished<Table>>,
    left: Arc<AtomicBool>,
    weight: u64,
    places: Vec<u32>,
}

impl Batch {
    fn new() -> Self {
        Self { places: Vec::new(), weight: 0, writes: 0, tables: Vec::new(), left: Arc::new(AtomicBool::new(false)) }
    }

    fn is_empty(&self) -> bool {
        self.places.is_empty() && self.tables.is_empty()
    }

    /// Two counts of owners beside a flag, in whole words.
    const FLAG_BYTES: usize = 3 * size_of::<usize>();

    /// The heap memory of a batch of places.
    const FULL_BYTES: usize = BATCH * size_of::<u32>() + Self::FLAG_BYTES;

    /// The heap memory of this batch; it does not change while the batch waits.
    fn allocated_bytes(&self) -> u64 {
        let tables = self.tables.capacity() * size_of::<Unpublished<Table>>();
        (self.places.capacity() * size_of::<u32>() + tables + Self::FLAG_BYTES) as u64
    }
}

/// A batch that was closed.
pub(crate) struct HandedOver {
    /// To be set when everyone who was pinned then has left.
    pub(crate) flag: Arc<AtomicBool>,
    /// The bytes behind its entries, and of its tables.
    pub(crate) weight: u64,
    pub(crate) places: u64,
    /// What it adds to [`Limbo::grown_bytes`], as long as it waits.
    pub(crate) grown: u64,
}

/// What has been retired in one stripe and is not yet free.
// What every write changes comes last.
#[repr(C)]
pub(crate) struct Limbo {
    /// Writes since one looked for what is ready.
    since_turn: u32,
    waiting: VecDeque<Batch>,
    /// What the batches that wait have allocated.
    waiting_bytes: u64,
    held: VecDeque<u32>,
    /// An emptied batch, whose memory and flag serve again.
    spare: Option<Batch>,
    /// A batch of so many places or more is full.
    full_at: usize,
    open: Batch,
}

#[cfg(all(test, not(loom)))]
impl Limbo {
    /// A write of `fast.rs` changes nothing before this.
    pub(super) const CHANGED_FROM: usize = std::mem::offset_of!(Self, open.places);
}

impl Limbo {
    pub(crate) fn new(full_at: usize) -> Self {
        Self {
            open: Batch::new(),
            since_turn: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            held: VecDeque::new(),
            spare: None,
            full_at: full_at.clamp(1, BATCH),
        }
    }

    #[inline]
    pub(crate) fn retire(&mut self, place: u32, weight: u64) {
        self.open.places.push(place);
        self.open.weight = self.open.weight.saturating_add(weight);
    }

    /// It counts as much as entries with so many bytes behind them, until it is taken out.
    pub(crate) fn retire_table(&mut self, table: Unpublished<Table>, bytes: u64) {
        self.open.tables.push(table);
        self.open.weight = self.open.weight.saturating_add(bytes);
    }

    /// Closes the open batch where it is full, weighs `heavy_at` or has been open for long, or where it is not empty and
    /// `now` is asked for.
    /// The flag is to be set once everyone who is pinned at this time has left.
    #[inline]
    pub(crate) fn hand_over(&mut self, now: bool, heavy_at: u64) -> Option<HandedOver> {
        let open = &self.open;
        let full = open.places.len() >= self.full_at || open.weight >= heavy_at || !open.tables.is_empty();
        let old = open.writes >= OPEN_FOR;
        if !(full || old || now) || open.is_empty() { None } else { Some(self.close_batch()) }
    }

    fn close_batch(&mut self) -> HandedOver {
        let next = self.spare.take().unwrap_or_else(Batch::new);
        let batch = std::mem::replace(&mut self.open, next);
        let (flag, weight, places) = (Arc::clone(&batch.left), batch.weight, batch.places.len() as u64);
        let before = self.grown_bytes();
        self.waiting_bytes += batch.allocated_bytes();
        self.waiting.push_back(batch);
        HandedOver { flag, weight, places, grown: self.grown_bytes() - before }
    }

    /// Whether a place or table is free to go, if it is not lent.
    pub(crate) fn has_ready(&self) -> bool {
        self.waiting.front().is_some_and(|batch| batch.left.load(Acquire))
    }

    /// Counts writes.
    #[inline]
    pub(crate) fn count_writes(&mut self, writes: u32) {
        self.open.writes = if self.open.places.is_empty() { 0 } else { self.open.writes.saturating_add(writes) };
        self.since_turn = self.since_turn.saturating_add(writes);
    }

    /// Counts a write. Whether it is one of the few that look for what is ready: a flag that others write is not to be
    /// looked at each time.
    #[inline]
    pub(crate) fn is_turn(&mut self) -> bool {
        self.count_writes(1);
        let is_turn = self.since_turn >= TURN;
        if is_turn {
            self.since_turn = 0;
        }
        is_turn
    }

    /// How many places may be retired before a batch has to be handed over.
    pub(crate) fn room(&self) -> usize {
        if self.open.tables.is_empty() { (self.full_at - 1).saturating_sub(self.open.places.len()) } else { 0 }
    }

    /// Whether a place or table is free to go, or is lent and might be.
    #[inline]
    pub(crate) fn may_have_ready(&self) -> bool {
        // Acquire: as in `ready_batch`.
        !self.held.is_empty() || self.has_ready()
    }

    /// Takes out places that nobody who was pinned at their retirement can still hold, until there are `most`.
    #[inline]
    pub(crate) fn take_ready(&mut self, most: usize, taken: &mut SmallVec<[u32; BATCH]>) {
        while taken.len() < most {
            let Some(batch) = self.ready_batch() else { return };
            let kept = batch.places.len().saturating_sub(most - taken.len());
            taken.extend_from_slice(&batch.places[kept..]);
            batch.places.truncate(kept);
            if !batch.is_empty() {
                return;
            }
            self.put_by();
        }
    }

    /// The next table of a batch that is ready. It leaves the limbo.
    pub(crate) fn next_ready_table(&mut self) -> Option<Unpublished<Table>> {
        let batch = self.ready_batch()?;
        let table = batch.tables.pop();
        if batch.is_empty() {
            self.put_by();
        }
        table
    }

    #[inline]
    fn ready_batch(&mut self) -> Option<&mut Batch> {
        // Acquire pairs with the Release of whoever sets the flag.
        self.waiting.front_mut().filter(|batch| batch.left.load(Acquire))
    }

    /// Takes out the batch that was emptied, for use as the next one.
    #[cold]
    fn put_by(&mut self) {
        let Some(mut batch) = self.waiting.pop_front() else { return };
        self.waiting_bytes -= batch.allocated_bytes();
        if self.waiting.is_empty() {
            // After many evictions at once, or a reader that stayed, the list has been long.
            self.waiting.shrink_to(FEW);
        }
        // The deferred call may still own the flag: then it is not ours to lower.
        if self.spare.is_none() && Arc::strong_count(&batch.left) == 1 && batch.places.capacity() <= BATCH {
            batch.left.store(false, Relaxed);
            (batch.weight, batch.writes) = (0, 0);
            self.spare = Some(batch);
        }
    }

    /// Sets a place aside that is ready but lent.
    pub(crate) fn hold(&mut self, place: u32) {
        self.held.push_back(place);
    }

    /// The heap memory of the lists in here beyond [`Limbo::LASTING_BYTES`]: it is there for what waits. O(1).
    #[inline]
    pub(crate) fn grown_bytes(&self) -> u64 {
        let lists = self.waiting.capacity() * size_of::<Batch>() + self.held.capacity() * size_of::<u32>();
        let spare = self.spare.as_ref().map_or(0, Batch::allocated_bytes);
        let all = lists as u64 + self.waiting_bytes + self.open.allocated_bytes() + spare;
        all.saturating_sub(Self::LASTING_BYTES)
    }

    /// What an open and a spare batch take, and a short list.
    pub(crate) const LASTING_BYTES: u64 = (FEW * size_of::<Batch>() + 2 * Batch::FULL_BYTES) as u64;

    /// Whether more than a few batches wait for readers, or as much in fewer.
    pub(crate) fn is_long(&self) -> bool {
        self.waiting.len() >= FEW || self.waiting_bytes >= (FEW * Batch::FULL_BYTES) as u64
    }

    /// How many places wait, and how many tables. O(batches).
    pub(crate) fn len(&self) -> (usize, usize) {
        let batches = std::iter::once(&self.open).chain(&self.waiting);
        let (places, tables) =
            batches.fold((0, 0), |sum, batch| (sum.0 + batch.places.len(), sum.1 + batch.tables.len()));
        (places + self.held.len(), tables)
    }

    /// The bytes behind what is in the open batch, and its places.
    pub(crate) fn in_open_batch(&self) -> (u64, usize) {
        (self.open.weight, self.open.places.len())
    }

    /// The places that are set aside.
    pub(crate) fn lent(&self) -> impl Iterator<Item = u32> {
        self.held.iter().copied()
    }

    /// How many places are set aside.
    #[inline]
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// A place that was set aside, the longest waiting first; to be set aside again if still lent.
    pub(crate) fn next_held(&mut self) -> Option<u32> {
        let place = self.held.pop_front();
        if self.held.is_empty() {
            // After many guards this has been long.
            self.held.shrink_to(BATCH);
        }
        place
    }

    /// Every place in here.
    pub(crate) fn places(&self) -> impl Iterator<Item = u32> {
        let waiting = self.waiting.iter().flat_map(|batch| &batch.places);
        self.open.places.iter().chain(waiting).chain(&self.held).copied()
    }

    /// Takes out everything, ready or not: for a cache that is being dropped.
    pub(crate) fn take_all(&mut self) -> (Vec<u32>, Vec<Unpublished<Table>>) {
        let places = self.places().collect();
        let batches = std::iter::once(&mut self.open).chain(&mut self.waiting);
        let tables = batches.flat_map(|batch| std::mem::take(&mut batch.tables)).collect();
        self.open.places.clear();
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.held.clear();
        (places, tables)
    }
}
