//! The nodes of one stripe, in chunks that never move, and the pointers that readers follow. With
//! the head of [`stripe`](super), the home of `unsafe` in the engine; `processor.rs` has the few instructions that only
//! intrinsics name, and the server's store has its items in blocks of their own.
//!
//! Knows nodes and places. Knows no queue, no deadline's meaning, no budget and no policy.
//!
//! # The life of a place
//!
//! A place is a number: the chunk's above, the offset in the chunk in the low
//! [`CHUNK_BITS`] bits. It goes round through these states, and only the
//! owner of the stripe's lock moves it on:
//!
//! ```text
//!  free --fill--> filled --published in the table--> living --unlinked--> retired --take--> free
//! ```
//!
//! Key and value are written once, by `fill`, and not touched again until `take`. In between there
//! are only shared references to the node. Readers get one by a place that they read from the table
//! while pinned; a retired place is not taken before everyone who was pinned when it was unlinked
//! has left, and not while its count of holders, raised by readers while pinned, is above zero.
//! Who waits for whom is kept in [`limbo`](super::limbo).
//!
//! # What a node costs
//!
//! The key, the value and 16 bytes: for `u64 -> u64` 32 bytes, so that with chunks aligned to cache
//! lines a look-up reads one line. What only writers need (position in a queue, weight,
//! links of the wheel) lies in [`columns`](super::column) beside it, and is allocated where it is used.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::ptr::{self, NonNull};

use super::column::{CHUNK_BITS, CHUNK_LEN, Column};
use super::free::FreePlaces;
use super::index::{HASH_BITS, Hash};
use super::processor::prefetch;
use crate::sync::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering::*, Pin};

/// The highest mark a node can hold.
pub(crate) const MAX_MARK: u32 = (1 << (32 - HASH_BITS)) - 1;

/// A key, its value, and what readers and eviction need to know of them.
pub(crate) struct Node<K, V> {
    /// Nanoseconds of the cache's clock; 0 where there is none.
    deadline: AtomicU64,
    /// The hash, which never changes, above the mark, a count of recent uses that stops at
    /// [`MAX_MARK`]. Readers raise the mark by a plain store: one that is lost does no harm.
    hash_and_mark: AtomicU32,
    /// Guards that outlive the pin under which they were made.
    holders: AtomicU32,
    entry: UnsafeCell<MaybeUninit<(K, V)>>,
}

impl<K, V> Node<K, V> {
    #[inline]
    fn entry(&self) -> &(K, V) {
        // SAFETY: a `&Node` is only ever made of a filled place, by `Slab::node`, whose caller
        // vouches that the place is not taken as long as the reference lives.
        unsafe { (*self.entry.get()).assume_init_ref() }
    }

    #[inline]
    pub(crate) fn key(&self) -> &K {
        &self.entry().0
    }

    #[inline]
    pub(crate) fn value(&self) -> &V {
        &self.entry().1
    }

    #[inline]
    pub(crate) fn hash(&self) -> Hash {
        self.mark_and_hash().1
    }

    #[inline]
    pub(crate) fn mark(&self) -> u32 {
        self.mark_and_hash().0
    }

    #[inline]
    pub(crate) fn mark_and_hash(&self) -> (u32, Hash) {
        let word = self.hash_and_mark.load(Relaxed);
        (word & MAX_MARK, Hash::from_bits(word >> (32 - HASH_BITS)))
    }

    /// Counts a use. Writes only where the mark is below `most`: a hot node's line stays shared.
    #[inline]
    pub(crate) fn raise_mark(&self, most: u32) {
        let word = self.hash_and_mark.load(Relaxed);
        if word & MAX_MARK < most {
            self.hash_and_mark.store(word + 1, Relaxed);
        }
    }

    #[inline]
    pub(crate) fn set_mark(&self, mark: u32) {
        let word = self.hash_and_mark.load(Relaxed);
        self.hash_and_mark.store(word & !MAX_MARK | mark.min(MAX_MARK), Relaxed);
    }

    /// Relaxed: a deadline is a number of its own. It is set before the node is published, or
    /// moved later by a `touch`, which a racing reader may or may not see.
    #[inline]
    pub(crate) fn deadline(&self) -> u64 {
        self.deadline.load(Relaxed)
    }

    pub(crate) fn set_deadline(&self, deadline: u64) {
        self.deadline.store(deadline, Relaxed);
    }

    #[inline]
    pub(crate) fn is_held(&self) -> bool {
        // Acquire pairs with the Release of the last holder: its reads are over.
        self.holders.load(Acquire) != 0
    }
}

/// A node that is lent beyond the pin under which it was found: it may be retired meanwhile, but it is
/// not taken.
pub(crate) struct Held<'s, K, V> {
    node: NonNull<Node<K, V>>,
    _slab: PhantomData<&'s Node<K, V>>,
}

// SAFETY: it is a shared reference to the node, and its drop is an atomic subtraction.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for Held<'_, K, V> {}
// SAFETY: as above.
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for Held<'_, K, V> {}

impl<K, V> Held<'_, K, V> {
    fn new(node: &Node<K, V>) -> Self {
        // Relaxed: the pin, or the guard this one is cloned from, is left later with Release, and
        // that shows it to the drain.
        let before = node.holders.fetch_add(1, Relaxed);
        if before >= u32::MAX / 2 {
            // Taken back, or callers who catch the panic could bring the count to its end.
            node.holders.fetch_sub(1, Relaxed);
            panic!("more than 2^31 guards on one entry at a time");
        }
        Self { node: NonNull::from(node), _slab: PhantomData }
    }
}

impl<K, V> Deref for Held<'_, K, V> {
    type Target = Node<K, V>;

    fn deref(&self) -> &Node<K, V> {
        // SAFETY: found under a pin and counted as held before that was left, so the place is not
        // taken while this lives; the slab outlives `'s`.
        unsafe { self.node.as_ref() }
    }
}

impl<K, V> Clone for Held<'_, K, V> {
    fn clone(&self) -> Self {
        Self::new(self)
    }
}

impl<K, V> Drop for Held<'_, K, V> {
    fn drop(&mut self) {
        // Release pairs with the Acquire of `is_held`. The node may be gone right after.
        self.holders.fetch_sub(1, Release);
    }
}

/// What a place is filled with.
pub(crate) struct NewNode<K, V> {
    pub(crate) hash: Hash,
    pub(crate) key: K,
    pub(crate) value: V,
    pub(crate) deadline: u64,
}

/// The memory of `len` nodes, none of them filled: allocated outside of the lock.
pub(crate) struct Chunk<K, V> {
    nodes: NonNull<Node<K, V>>,
    len: u32,
}

// SAFETY: a chunk that is not in a slab is memory without content.
unsafe impl<K, V> Send for Chunk<K, V> {}

impl<K, V> Chunk<K, V> {
    pub(crate) fn new(len: u32) -> Self {
        assert!(0 < len && len <= CHUNK_LEN, "a chunk of {len} nodes");
        let layout = Self::layout(len);
        // SAFETY: the layout is not of size zero, a node has at least its words.
        let memory = unsafe { alloc(layout) };
        let nodes = NonNull::new(memory.cast()).unwrap_or_else(|| handle_alloc_error(layout));
        Self { nodes, len }
    }

    pub(crate) fn bytes_for(len: u32) -> u64 {
        Self::layout(len).size() as u64
    }

    /// Aligned to a cache line, so that nodes of 16, 32 and 64 bytes never lie across two.
    fn layout(len: u32) -> Layout {
        Layout::array::<Node<K, V>>(len as usize)
            .and_then(|layout| layout.align_to(64))
            .expect("at most 1024 nodes are smaller than the address space")
    }
}

impl<K, V> Drop for Chunk<K, V> {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout. Content is the business of the stripe.
        unsafe { dealloc(self.nodes.as_ptr().cast(), Self::layout(self.len)) }
    }
}

/// The reader's way from a place to its node: an array of chunk pointers.
pub(crate) struct Slab<K, V> {
    directory: AtomicPtr<AtomicPtr<Node<K, V>>>,
    /// Whether a node was ever lent.
    has_lent: AtomicBool,
    _nodes: PhantomData<(K, V)>,
}

/// Pointers to chunks, by chunk number.
type Directory<K, V> = Box<[AtomicPtr<Node<K, V>>]>;

/// The writer's side of a slab: which places are free, and who owns the chunks.
// What every write changes comes first.
#[repr(C)]
pub(crate) struct Places<K, V> {
    pub(super) free: FreePlaces,
    /// By chunk number; a chunk that was given back leaves its number free.
    chunks: Vec<Option<Chunk<K, V>>>,
    /// The current directory last. Readers may still use the outgrown ones; together they are
    /// smaller than it, so they stay until the end.
    directories: Vec<Directory<K, V>>,
    /// How many places all chunks have.
    total: usize,
    /// The bytes of all chunks.
    chunk_bytes: u64,
}

// SAFETY: a slab owns keys and values and lends them to any thread that is pinned.
unsafe impl<K: Send, V: Send> Send for Slab<K, V> {}
// SAFETY: as above; shared references to keys and values reach other threads, and a value put in
// by one thread is dropped by another.
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for Slab<K, V> {}
// SAFETY: the pointers in it lead to memory that belongs to the slab it is kept beside.
unsafe impl<K: Send, V: Send> Send for Places<K, V> {}

impl<K, V> Slab<K, V> {
    pub(crate) fn new() -> (Self, Places<K, V>) {
        let places =
            Places { chunks: Vec::new(), directories: Vec::new(), free: FreePlaces::new(), total: 0, chunk_bytes: 0 };
        let directory = AtomicPtr::new(ptr::null_mut());
        let slab = Self { directory, has_lent: AtomicBool::new(false), _nodes: PhantomData };
        (slab, places)
    }

    #[inline]
    fn pointer(&self, place: u32) -> *mut Node<K, V> {
        // Acquire, both: what a place leads through was there before the place was published.
        let directory = self.directory.load(Acquire);
        // SAFETY: callers have a place of a chunk that is there (the contract of the functions
        // below), so a directory that reaches to its number has been published.
        let chunk = unsafe { (*directory.add((place >> CHUNK_BITS) as usize)).load(Acquire) };
        // SAFETY: a chunk has memory for all places that are made of its number.
        unsafe { chunk.add((place & (CHUNK_LEN - 1)) as usize) }
    }

    /// The node at `place`.
    ///
    /// # Safety
    ///
    /// `place` is filled, and is not taken while the reference is used: it was read from the stripe's table under a
    /// pin that is still held, or the lock is held and one of the stripe's lists has it, or it is held.
    #[inline]
    pub(crate) unsafe fn node(&self, place: u32) -> &Node<K, V> {
        // SAFETY: the caller's promise; a filled node is only referred to by `&`.
        unsafe { &*self.pointer(place) }
    }

    /// Lends a node of this slab beyond the pin under which it was found.
    pub(crate) fn hold<'s>(&'s self, node: &Node<K, V>, _pin: &Pin) -> Held<'s, K, V> {
        if !self.has_lent.load(Relaxed) {
            // Relaxed: as the count of holders.
            self.has_lent.store(true, Relaxed);
        }
        Held::new(node)
    }

    /// Whether a node may be held of which it is certain that nobody who could have found it is still pinned.
    #[inline]
    pub(crate) fn has_lent(&self) -> bool {
        // Relaxed: who held such a node said so before leaving the pin.
        self.has_lent.load(Relaxed)
    }

    /// Starts to fetch the node at `place`.
    ///
    /// # Safety
    ///
    /// `place` is of a chunk that is there.
    #[inline]
    pub(crate) unsafe fn prefetch(&self, place: u32) {
        prefetch(self.pointer(place));
    }

    /// Writes a node.
    ///
    /// # Safety
    ///
    /// `place` comes from [`FreePlaces::take`] of this slab and was not filled since.
    #[inline]
    pub(crate) unsafe fn fill(&self, place: u32, new: NewNode<K, V>) {
        let node = Node {
            deadline: AtomicU64::new(new.deadline),
            hash_and_mark: AtomicU32::new(new.hash.bits() << (32 - HASH_BITS)),
            holders: AtomicU32::new(0),
            entry: UnsafeCell::new(MaybeUninit::new((new.key, new.value))),
        };
        // SAFETY: the caller's promise: nobody else knows the place, and it holds nothing to drop.
        unsafe { self.pointer(place).write(node) };
    }

    /// Moves key and value out of a node, which makes its place free.
    ///
    /// # Safety
    ///
    /// `place` is retired (in no table), nobody who could have found it is still pinned, and it is
    /// not held. The caller hands it to [`FreePlaces::add`] or forgets it.
    #[inline]
    pub(crate) unsafe fn take(&self, place: u32) -> (K, V) {
        // SAFETY: filled, and by the caller's promise ours alone.
        unsafe { (*(*self.pointer(place)).entry.get()).assume_init_read() }
    }
}

#[cfg(all(test, not(loom)))]
impl<K, V> Places<K, V> {
    /// A write of `fast.rs` changes nothing after this.
    pub(super) const CHANGED_TO: usize = std::mem::offset_of!(Self, free) + FreePlaces::CHANGED_TO;
}

impl<K, V> Places<K, V> {
    /// How many places the chunk of this place has.
    pub(crate) fn chunk_len(&self, place: u32) -> u32 {
        self.chunks[(place >> CHUNK_BITS) as usize].as_ref().map_or(0, |chunk| chunk.len)
    }

    /// How long the next chunk should be: an eighth of what there is, so that a slab is never
    /// much larger than it needs to be and a small one stays small.
    pub(crate) fn next_chunk_len(&self) -> u32 {
        (self.total as u32 / 8).next_multiple_of(16).clamp(16, CHUNK_LEN)
    }

    /// The number that the next chunk will have, if place numbers have not run out.
    pub(crate) fn next_chunk_number(&self) -> Option<u32> {
        let number = self.chunks.iter().position(Option::is_none).unwrap_or(self.chunks.len());
        // The last number is left out: its places would be the queues' and the wheel's marks.
        (number < (1 << (32 - CHUNK_BITS)) - 1).then_some(number as u32)
    }

    /// Adds a chunk under the number that [`Places::next_chunk_number`] says.
    pub(crate) fn add_chunk(
        &mut self,
        slab: &Slab<K, V>,
        number: u32,
        chunk: Chunk<K, V>,
        positions: &mut Column<u32>,
    ) {
        let first = number << CHUNK_BITS;
        self.total += chunk.len as usize;
        self.free.fit(self.total);
        self.free.add_fresh(first..first + chunk.len, positions);
        self.chunk_bytes += Chunk::<K, V>::bytes_for(chunk.len);
        let number = number as usize;
        if self.directories.last().is_none_or(|directory| directory.len() <= number) {
            self.grow_directory(slab);
        }
        let directory = self.directories.last().expect("made above");
        directory[number].store(chunk.nodes.as_ptr(), Release);
        if number == self.chunks.len() {
            self.chunks.push(Some(chunk));
        } else {
            self.chunks[number] = Some(chunk);
        }
    }

    fn grow_directory(&mut self, slab: &Slab<K, V>) {
        let old = self.directories.last().map_or(&[][..], |directory| directory);
        let pointers = old.iter().map(|pointer| pointer.load(Relaxed));
        let len = (old.len() * 2).max(8);
        let new = pointers.chain(std::iter::repeat(ptr::null_mut())).take(len).map(AtomicPtr::new).collect();
        self.directories.push(new);
        let new = self.directories.last().expect("pushed above").as_ptr();
        // Release: a reader that finds a place through it finds the chunk pointers copied above.
        slab.directory.store(new.cast_mut(), Release);
    }

    /// Takes out the chunks without a used place and tells the caller their numbers. O(free places).
    pub(crate) fn take_empty_chunks(
        &mut self,
        positions: &mut Column<u32>,
        mut taken: impl FnMut(u32),
    ) -> Vec<Chunk<K, V>> {
        let mut free = vec![0; self.chunks.len()];
        for place in self.free.iter(positions) {
            free[(place >> CHUNK_BITS) as usize] += 1;
        }
        let mut empty = Vec::new();
        for (number, chunk) in self.chunks.iter_mut().enumerate() {
            // No reader can look at it: a place is free only after all who knew it have left.
            if let Some(chunk) = chunk.take_if(|chunk| chunk.len == free[number]) {
                taken(number as u32);
                self.total -= chunk.len as usize;
                self.chunk_bytes -= Chunk::<K, V>::bytes_for(chunk.len);
                empty.push(chunk);
            }
        }
        // The lowest are the first to be used again: so the upper chunks run empty.
        self.free.regroup(self.chunks.len(), |number| self.chunks[number].is_some(), positions);
        self.free.fit(self.total);
        let used = self.chunks.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        self.chunks.truncate(used);
        self.chunks.shrink_to_fit();
        empty
    }

    /// The bytes of all chunks, and of the lists that lead to them. O(1).
    #[inline]
    pub(crate) fn allocated_bytes(&self) -> u64 {
        let chunks = self.chunks.capacity() * size_of::<Option<Chunk<K, V>>>();
        self.chunk_bytes + self.free.allocated_bytes() + chunks as u64 + self.lasting_bytes()
    }

    /// The list of chunks takes so many bytes for each number that was given.
    pub(crate) const LIST_BYTES_PER_CHUNK: u64 = size_of::<Option<Chunk<K, V>>>() as u64;

    /// The numbers of chunks that were given, up to the last one in use.
    pub(crate) fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    /// The bytes of the lists that stay when chunks are given back.
    pub(crate) fn lasting_bytes(&self) -> u64 {
        self.directories.last().map_or(0, |last| 2 * size_of_val(&**last)) as u64
    }

    /// What [`Places::allocated_bytes`] grows by with another chunk of this length.
    pub(crate) fn bytes_for_chunk(len: u32) -> u64 {
        Chunk::<K, V>::bytes_for(len)
    }

    /// The numbers and lengths of all chunks.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = (u32, u32)> {
        let chunks = self.chunks.iter().enumerate();
        chunks.filter_map(|(number, chunk)| Some((number as u32, chunk.as_ref()?.len)))
    }

    /// How many places all chunks have.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// How many places are not free.
    pub(crate) fn in_use(&self) -> usize {
        self.total - self.free.len()
    }
}

/// A pointer that readers follow while a writer may put another object in its place.
pub(crate) struct Published<T>(AtomicPtr<T>);

/// An object that was published and no longer is. Leaks where it is not reclaimed.
pub(crate) struct Unpublished<T>(NonNull<T>);

// SAFETY: both own a `T` as a box does, and lend it to other threads as `&T`.
unsafe impl<T: Send + Sync> Send for Unpublished<T> {}

impl<T> Published<T> {
    pub(crate) fn new(object: Box<T>) -> Self {
        Self(AtomicPtr::new(Box::into_raw(object)))
    }

    #[inline]
    pub(crate) fn load<'p>(&'p self, _pin: &'p Pin) -> &'p T {
        // SAFETY: from a box, and reclaimed only when everyone who was pinned at its replacement
        // has left (`Unpublished::reclaim`). Acquire pairs with the Release of `replace`.
        unsafe { &*self.0.load(Acquire) }
    }

    /// The current object, for the one who replaces it: the owner of the stripe's lock.
    ///
    /// # Safety
    ///
    /// It is not replaced while the reference is used.
    #[inline]
    pub(crate) unsafe fn current(&self) -> &T {
        // SAFETY: as in `load`; that it is not reclaimed yet follows from that it is not replaced.
        unsafe { &*self.0.load(Relaxed) }
    }

    /// Publishes another object. Readers that are pinned may go on reading the old one.
    pub(crate) fn replace(&self, object: Box<T>) -> Unpublished<T> {
        let old = self.0.swap(Box::into_raw(object), AcqRel);
        Unpublished(NonNull::new(old).expect("made of a box"))
    }
}

impl<T> Unpublished<T> {
    /// Takes the object back.
    ///
    /// # Safety
    ///
    /// Everyone who was pinned when it was replaced has left since.
    pub(crate) unsafe fn reclaim(self) -> Box<T> {
        // SAFETY: made of a box by `Published`, whose pointer no longer leads here; by the
        // caller's promise no reader does either.
        unsafe { Box::from_raw(self.0.as_ptr()) }
    }
}

impl<T> Drop for Published<T> {
    fn drop(&mut self) {
        let current = self.0.load(Relaxed);
        // SAFETY: `&mut self` says that no reader is left; made of a box.
        drop(unsafe { Box::from_raw(current) });
    }
}
