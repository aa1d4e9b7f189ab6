//! The slot table of one stripe: from a hash to the places of the nodes that may have it.
//!
//! Knows hashes and place numbers. Knows no key, no node, no lock and no epoch: it is safe code on
//! atomic integers. Writers call it under the stripe's lock, readers without.
//!
//! # Layout
//!
//! A table is a row of buckets of one cache line. A bucket has twelve slots: a tag byte and a
//! 32-bit place number each. Tag 0 is an empty slot; a tag in use is the lowest eight bits of the hash,
//! which are never all zero. The tags lie side by side, so that a look-up compares them all at
//! once. An entry that finds its home bucket full goes on to the next one with a free slot, and
//! every bucket it passes counts it in `overflow`; a look-up goes on only where that count is not
//! zero, which at the usual load is in a few of a hundred buckets.
//!
//! Nothing ever moves and there are no tombstones, so a reader needs no sequence lock. It takes the
//! tags first, the place second, and leaves the last word to the caller's comparison of keys.
//!
//! # What readers may rely on
//!
//! * A place read from a slot was published there: place and tag words are stored with Release
//!   and loaded with Acquire, the place before its tag. A reader may pair an old tag word with a
//!   newer place, of a slot that was emptied and filled again in between; it is the Acquire load
//!   of the place itself that makes the new node's content visible then.
//! * An entry that is in the table during the whole of a look-up is found: it does not move; its
//!   overflow counts were raised before its tag was set and are lowered only after it is cleared.
//! * A look-up that starts after a removal has returned does not find the entry: the tag store is
//!   in its past.
//!
//! # Times beside the slots
//!
//! In a cache whose entries are loaded anew when they are old, a table has a word more for each slot: the time at which
//! its entry is due for that. It lies beside the buckets, where a look-up that does not ask for it does not meet it, and
//! here rather than in the node or in a column, so that readers may ask without the lock. It is stored before the place
//! that it belongs to; a reader may pair a place with the time of the one that has replaced it since, which is later.
//!
//! Home buckets are the hash's share of the row (multiply and shift), not a mask: a table may
//! have any number of buckets, and walking the row visits home buckets in the order of hashes.

use super::processor::{Tags, prefetch};
use crate::sync::{AtomicU32, AtomicU64, Ordering::*};

/// How many bits of a hash the stripe keeps.
pub(crate) const HASH_BITS: u32 = 30;

/// Slots in a bucket.
const SLOTS: usize = 12;

/// The stripe's part of a key's hash: 30 bits, the top ones choose the home bucket and the lowest
/// eight, which are never all zero, are the tag. (The bound of a walk may be a number that is nobody's hash.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hash(u32);

impl Hash {
    /// The lowest there is: where walks begin.
    pub(crate) const FIRST: Self = Self(1);

    /// Takes the low 30 bits; the last one is set where there would be no tag.
    #[inline]
    pub(crate) fn new(bits: u32) -> Self {
        let bits = bits & ((1 << HASH_BITS) - 1);
        Self(bits + u32::from(bits as u8 == 0))
    }

    /// Those that [`Hash::bits`] gave.
    #[inline]
    pub(crate) fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    #[inline]
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    #[inline]
    fn tag(self) -> u8 {
        self.0 as u8
    }
}

// The tags first, which have to be aligned.
#[repr(C, align(64))]
struct Bucket {
    /// With the overflow count beside them.
    tags: Tags,
    places: [AtomicU32; SLOTS],
}

impl Bucket {
    fn new() -> Self {
        Self {
            tags: Tags { low: AtomicU64::new(0), high: AtomicU32::new(0), beside: AtomicU32::new(0) },
            places: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }

    /// How many entries have passed this bucket for a later one.
    #[inline]
    fn overflow(&self) -> &AtomicU32 {
        &self.tags.beside
    }

    /// The slots with this tag.
    #[inline]
    fn tagged(&self, tag: u8) -> Slots {
        Slots(self.tags.equal_to(tag))
    }

    /// The first slot with this tag whose place the caller accepts, with what it makes of that.
    #[inline(always)]
    fn find_map<T>(&self, tag: u8, accept: impl Fn(u32) -> Option<T>) -> Option<(usize, u32, T)> {
        // Not by the iterator, which works out what is left before it is known that another one is asked for.
        let Slots(mut left) = self.tagged(tag);
        while left != 0 {
            let slot = left.trailing_zeros() as usize;
            let place = self.places[slot].load(Acquire);
            if let Some(accepted) = accept(place) {
                return Some((slot, place, accepted));
            }
            left &= left - 1;
        }
        None
    }

    /// Whether an entry that is not here may be in a later bucket. Asked after it was not found here.
    #[inline]
    fn is_passed(&self) -> bool {
        // Of an entry that was filed before this look-up began, the count is in our past. Acquire: who sees that an
        // entry is gone by a count that was lowered for it sees the tag cleared ever after.
        self.overflow().load(Acquire) != 0
    }

    /// The slots that are in use.
    fn used(&self) -> Slots {
        let Slots(free) = self.tagged(0);
        Slots(!free & ((1 << SLOTS) - 1))
    }

    #[inline]
    fn free_slot(&self) -> Option<usize> {
        self.tagged(0).next()
    }

    /// Gives an empty slot this tag, or takes it from the slot that has it. Only under the lock: nobody else stores tags.
    /// Stores both words, of which one stays as it is: which one it is no processor could foretell.
    #[inline]
    fn flip_tag(&self, slot: usize, tag: u8) {
        let flipped = u64::from(tag) << (slot % 8 * 8);
        let is_in_first = u64::from(slot < 8).wrapping_neg();
        self.tags.low.store(self.tags.low.load(Relaxed) ^ flipped & is_in_first, Release);
        self.tags.high.store(self.tags.high.load(Relaxed) ^ (flipped & !is_in_first) as u32, Release);
    }
}

/// A set of a bucket's slots, a bit each, to be gone through.
struct Slots(u32);

impl Iterator for Slots {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let slot = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(slot)
    }
}

/// Starts to fetch the home bucket of `hash` in the table that this [`Table::hint`] is of; if that is gone by now, no
/// harm is done.
#[inline]
pub(crate) fn prefetch_bucket((buckets, len): (*mut (), usize), hash: Hash) {
    let home = (u64::from(hash.0) * len as u64) >> HASH_BITS;
    prefetch(buckets.cast::<Bucket>().wrapping_add(home as usize));
}

/// Where an entry was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    bucket: usize,
    slot: usize,
    /// The place of its node.
    pub(crate) place: u32,
}

/// An entry may be in another bucket than its home.
pub(crate) struct Elsewhere;

/// A row of buckets. Its length never changes; a stripe that grows publishes a new one.
pub(crate) struct Table {
    buckets: Box<[Bucket]>,
    capacity: usize,
    /// As many as there are buckets, or none.
    dues: Box<[Dues]>,
}

/// For each slot of a bucket, when its entry is due to be loaded anew.
type Dues = [AtomicU64; SLOTS];

/// The buckets of a table, for one look-up or one write: where they are and how many is read from the table just once,
/// and what was worked out of that need not be worked out again after each store.
#[derive(Clone, Copy)]
pub(crate) struct Buckets<'t>(&'t [Bucket]);

/// The most entries of one table.
pub(crate) const MAX_TABLE_ENTRIES: usize = Table::capacity_of(Table::MAX_BUCKETS);

impl Table {
    /// The most buckets of one table: beyond it, home buckets would run out of hash bits.
    const MAX_BUCKETS: usize = 1 << 26;

    /// A table for `entries` at a load of 0.6, where overflow is rare; with times beside the slots if `dues`.
    pub(crate) fn for_entries(entries: usize, dues: bool) -> Self {
        let buckets = Self::buckets_for(entries);
        let capacity = Self::capacity_of(buckets).max(SLOTS - 1);
        let dues = (0..if dues { buckets } else { 0 }).map(|_| std::array::from_fn(|_| AtomicU64::new(0)));
        Self { dues: dues.collect(), buckets: (0..buckets).map(|_| Bucket::new()).collect(), capacity }
    }

    /// What [`Table::for_entries`] allocates.
    pub(crate) fn bytes_for(entries: usize, dues: bool) -> u64 {
        let each = size_of::<Bucket>() + if dues { size_of::<Dues>() } else { 0 };
        Self::buckets_for(entries) as u64 * each as u64 + size_of::<Self>() as u64
    }

    const fn capacity_of(buckets: usize) -> usize {
        buckets * SLOTS * 4 / 5
    }

    fn buckets_for(entries: usize) -> usize {
        (entries.saturating_mul(5) / 3).div_ceil(SLOTS).clamp(1, Self::MAX_BUCKETS)
    }

    /// Entries that this table takes before it should grow: a load of 0.8, above which look-ups
    /// and inserts spend most of their time in overflow.
    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn allocated_bytes(&self) -> u64 {
        (size_of_val(&*self.buckets) + size_of_val(&*self.dues) + size_of::<Self>()) as u64
    }

    #[inline]
    pub(crate) fn buckets(&self) -> Buckets<'_> {
        Buckets(&self.buckets)
    }

    /// Where the buckets are and how many, for [`prefetch_bucket`].
    pub(crate) fn hint(&self) -> (*mut (), usize) {
        (self.buckets.as_ptr().cast_mut().cast(), self.buckets.len())
    }

    /// When the entry of a slot is due to be loaded anew; 0 in a table that does not keep it. At any time, by any thread.
    pub(crate) fn due(&self, slot: Slot) -> u64 {
        // Relaxed: a time that decides nothing by itself. Who acts on it asks again under the lock.
        self.dues.get(slot.bucket).map_or(0, |dues| dues[slot.slot].load(Relaxed))
    }

    /// Only under the lock.
    #[inline]
    pub(crate) fn set_due(&self, slot: Slot, due: u64) {
        if let Some(dues) = self.dues.get(slot.bucket) {
            dues[slot.slot].store(due, Relaxed);
        }
    }

    /// Files `place` under `hash`, due at a time. Only under the lock. The caller keeps the load below 1.
    #[inline(always)]
    pub(crate) fn insert(&self, hash: Hash, place: u32, due: u64) {
        self.buckets().insert(hash, place, |slot| self.set_due(slot, due));
    }

    /// Puts another node in an entry's slot, due at a time; readers find the one or the other. Only under the lock.
    #[inline]
    pub(crate) fn replace(&self, slot: Slot, place: u32, due: u64) {
        self.set_due(slot, due);
        self.buckets().replace(slot, place);
    }

    /// Files everything of `old` here. Only under the lock, before this table is published.
    pub(crate) fn fill_from(&self, old: &Table, hash_of: impl Fn(u32) -> Hash) {
        old.buckets().for_each(|slot| self.insert(hash_of(slot.place), slot.place, old.due(slot)));
    }

    /// Recomputes every overflow count and finds every entry again. Only under the lock.
    ///
    /// # Panics
    ///
    /// Where anything is not as it should be.
    pub(crate) fn validate(&self, entries: usize, hash_of: impl Fn(u32) -> Hash) {
        let mut overflow = vec![0u32; self.buckets.len()];
        let mut count = 0;
        for (at, bucket) in self.buckets.iter().enumerate() {
            for slot in bucket.used() {
                let place = bucket.places[slot].load(Relaxed);
                let hash = hash_of(place);
                assert!(bucket.tagged(hash.tag()).any(|tagged| tagged == slot), "tag of place {place}");
                let found = self.buckets().find(hash, |candidate| candidate == place);
                let found = found.unwrap_or_else(|| panic!("place {place} can't be found"));
                assert_eq!((found.bucket, found.slot), (at, slot), "place {place} is filed twice");
                assert_eq!(
                    self.due(found) == 0,
                    self.dues.is_empty(),
                    "place {place} is due at a time, if that is kept"
                );
                let mut passed = self.buckets().home(hash);
                while passed != at {
                    overflow[passed] += 1;
                    passed = self.buckets().after(passed);
                }
                count += 1;
            }
        }
        assert_eq!(count, entries, "entries in the table");
        for (bucket, overflow) in self.buckets.iter().zip(overflow) {
            assert_eq!(bucket.overflow().load(Relaxed), overflow, "overflow count");
        }
    }
}

impl Buckets<'_> {
    #[inline]
    fn home(self, hash: Hash) -> usize {
        ((u64::from(hash.0) * self.0.len() as u64) >> HASH_BITS) as usize
    }

    #[inline]
    fn after(self, bucket: usize) -> usize {
        if bucket + 1 == self.0.len() { 0 } else { bucket + 1 }
    }

    /// The first place filed under this hash that the caller accepts. O(1) at usual loads; may be
    /// called at any time by any thread.
    #[inline(always)]
    pub(crate) fn find(self, hash: Hash, accept: impl Fn(u32) -> bool) -> Option<Slot> {
        self.find_map(hash, |place| accept(place).then_some(())).map(|(slot, ())| slot)
    }

    /// As [`Buckets::find`], with what the caller makes of the place.
    #[inline(always)]
    pub(crate) fn find_map<T>(self, hash: Hash, accept: impl Fn(u32) -> Option<T>) -> Option<(Slot, T)> {
        let home = self.home(hash);
        let mut at = home;
        loop {
            let bucket = &self.0[at];
            if let Some((slot, place, accepted)) = bucket.find_map(hash.tag(), &accept) {
                return Some((Slot { bucket: at, slot, place }, accepted));
            }
            if !bucket.is_passed() {
                return None;
            }
            at = self.after(at);
            // Every bucket may have overflowed (one hash for all keys): then the walk ends after a round.
            if at == home {
                return None;
            }
        }
    }

    /// As [`Buckets::find_map`], but looks at the home bucket only, where nearly all entries are, and gives the place.
    #[inline(always)]
    pub(crate) fn find_at_home<T>(
        self,
        hash: Hash,
        accept: impl Fn(u32) -> Option<T>,
    ) -> Result<Option<(u32, T)>, Elsewhere> {
        // Not by an index that might panic, which would be a call: see `Stripe::glance`.
        let bucket = self.0.get(self.home(hash)).ok_or(Elsewhere)?;
        match bucket.find_map(hash.tag(), accept) {
            None if bucket.is_passed() => Err(Elsewhere),
            found => Ok(found.map(|(_, place, accepted)| (place, accepted))),
        }
    }

    /// The first place of the home bucket with this hash's tag, compared with nothing: a guess of
    /// where a look-up will go, for fetching ahead.
    #[inline]
    pub(crate) fn guess(self, hash: Hash) -> Option<u32> {
        let bucket = &self.0[self.home(hash)];
        let slot = bucket.tagged(hash.tag()).next()?;
        Some(bucket.places[slot].load(Acquire))
    }

    /// Starts to fetch the home bucket of `hash`.
    #[inline]
    pub(crate) fn prefetch(self, hash: Hash) {
        prefetch(&self.0[self.home(hash)]);
    }

    /// Files `place` under `hash`, after `mark_slot` has seen where. Only under the lock. The caller keeps the load below 1.
    #[inline(always)]
    pub(crate) fn insert(self, hash: Hash, place: u32, mark_slot: impl FnOnce(Slot)) {
        let home = self.home(hash);
        let mut at = home;
        let slot = loop {
            match self.0[at].free_slot() {
                Some(slot) => break slot,
                None => at = self.after(at),
            }
        };
        if at != home {
            // Raised before the tag is set, so that who is to find the entry finds the way to it.
            self.count_overflow(home, at, 1);
        }
        mark_slot(Slot { bucket: at, slot, place });
        self.0[at].places[slot].store(place, Release);
        self.0[at].flip_tag(slot, hash.tag());
    }

    /// Puts another node in an entry's slot; readers find the one or the other. Only under the lock.
    #[inline]
    pub(crate) fn replace(self, slot: Slot, place: u32) {
        self.0[slot.bucket].places[slot.slot].store(place, Release);
    }

    /// Empties a slot. Only under the lock.
    #[inline(always)]
    pub(crate) fn remove(self, hash: Hash, slot: Slot) {
        self.0[slot.bucket].flip_tag(slot.slot, hash.tag());
        let home = self.home(hash);
        if slot.bucket != home {
            self.count_overflow(home, slot.bucket, u32::MAX);
        }
    }

    /// Empties the slot of a place that is filed under this hash. Only under the lock.
    #[inline(always)]
    pub(crate) fn take_out(self, hash: Hash, place: u32) {
        let slot = self.find(hash, |candidate| candidate == place);
        self.remove(hash, slot.expect("what is queued is in the table"));
    }

    /// Adds `change`, one or minus one, to the overflow counts from `home` up to but without `end`.
    #[inline(never)]
    fn count_overflow(self, home: usize, end: usize, change: u32) {
        let mut at = home;
        while at != end {
            let overflow = self.0[at].overflow();
            // Only the lock's owner stores. Release: a removal has cleared the tag before.
            overflow.store(overflow.load(Relaxed).wrapping_add(change), Release);
            at = self.after(at);
        }
    }

    /// Every slot in use, in no order a caller may rely on. Only under the lock.
    fn for_each(self, mut visit: impl FnMut(Slot)) {
        for (at, bucket) in self.0.iter().enumerate() {
            for slot in bucket.used() {
                visit(Slot { bucket: at, slot, place: bucket.places[slot].load(Relaxed) });
            }
        }
    }

    /// Every place that may belong to the home bucket of `from`, others among them, and the
    /// smallest hash of the next home bucket, if there is one. At any time, by any thread.
    pub(crate) fn visit_home(self, from: Hash, mut visit: impl FnMut(u32)) -> Option<Hash> {
        let home = self.home(from);
        let mut at = home;
        for _ in 0..self.0.len() {
            let bucket = &self.0[at];
            for slot in bucket.used() {
                visit(bucket.places[slot].load(Acquire));
            }
            if bucket.overflow().load(Relaxed) == 0 {
                break;
            }
            at = self.after(at);
        }
        self.first_hash_of(home + 1)
    }

    /// Whether two hashes share a home bucket.
    #[inline]
    pub(crate) fn same_home(self, one: Hash, other: Hash) -> bool {
        self.home(one) == self.home(other)
    }

    fn first_hash_of(self, bucket: usize) -> Option<Hash> {
        let buckets = self.0.len() as u64;
        let hash = ((bucket as u64) << HASH_BITS).div_ceil(buckets);
        (hash < 1 << HASH_BITS).then_some(Hash(hash as u32))
    }
}

/// Has the model checker see to it that nobody reads a table when it is freed.
#[cfg(loom)]
impl Drop for Table {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.buckets.iter_mut().for_each(|bucket| bucket.tags.low.with_mut(|_| ()));
        }
    }
}
