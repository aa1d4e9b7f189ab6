//! A column: one small value per node, kept beside the nodes instead of in them, so that a cache
//! that does not need the value does not pay for it.
//!
//! Knows how a place number splits into a chunk and an offset. Must not know what the values mean,
//! and allocates no chunk itself: a writer does so before it takes the stripe's lock, and hands it
//! in. Only the directory grows under the lock, by 16 bytes for every 1,024 places.

use std::mem;

use super::processor::prefetch;

/// How many low bits of a place number are its offset within a chunk.
pub(crate) const CHUNK_BITS: u32 = 10;

/// The most places a chunk can have; the first chunks of a slab are shorter.
pub(crate) const CHUNK_LEN: u32 = 1 << CHUNK_BITS;

/// One `T` for each place whose chunk was added, `T::default()` for all others.
pub(crate) struct Column<T> {
    /// By chunk number; an empty box where there is none.
    chunks: Vec<Box<[T]>>,
    /// The sizes of all chunks added up, so that asking for them walks nothing.
    chunk_bytes: u64,
}

impl<T: Copy + Default> Column<T> {
    /// A column without chunks, which has allocated nothing.
    pub(crate) const fn new() -> Self {
        Self { chunks: Vec::new(), chunk_bytes: 0 }
    }

    /// The value of a place: the one last set, or the default if its chunk is absent.
    #[inline]
    pub(crate) fn get(&self, place: u32) -> T {
        let (chunk, offset) = split(place);
        match self.chunks.get(chunk).and_then(|values| values.get(offset)) {
            Some(&value) => value,
            None => {
                debug_assert!(!self.has_chunk(place >> CHUNK_BITS), "place {place} lies past the end of its chunk");
                T::default()
            }
        }
    }

    /// Changes the value of a place.
    ///
    /// # Panics
    ///
    /// If the place's chunk is absent or too short.
    #[inline]
    pub(crate) fn set(&mut self, place: u32, value: T) {
        let (chunk, offset) = split(place);
        self.chunks[chunk][offset] = value;
    }

    /// Starts to fetch the value of a place.
    #[inline]
    pub(crate) fn prefetch(&self, place: u32) {
        let (chunk, offset) = split(place);
        if let Some(value) = self.chunks.get(chunk).and_then(|values| values.get(offset)) {
            prefetch(value);
        }
    }

    /// Whether the chunk of this number was added.
    pub(crate) fn has_chunk(&self, chunk: u32) -> bool {
        self.chunks.get(chunk as usize).is_some_and(|values| !values.is_empty())
    }

    /// Adds a chunk with the first values of its places.
    ///
    /// # Panics
    ///
    /// If the chunk is there already, or `values` is empty or longer than [`CHUNK_LEN`].
    pub(crate) fn add_chunk(&mut self, chunk: u32, values: Box<[T]>) {
        assert!(!self.has_chunk(chunk), "chunk {chunk} was added twice");
        assert!(!values.is_empty() && values.len() <= CHUNK_LEN as usize, "a chunk of {} places", values.len());
        let index = chunk as usize;
        if self.chunks.len() <= index {
            self.chunks.resize_with(index + 1, Box::default);
        }
        self.chunk_bytes += size_of_val::<[T]>(&values) as u64;
        self.chunks[index] = values;
    }

    /// Takes a chunk out, for the caller to free once it has unlocked; `None` if it is absent.
    pub(crate) fn remove_chunk(&mut self, chunk: u32) -> Option<Box<[T]>> {
        if !self.has_chunk(chunk) {
            return None;
        }
        let values = mem::take(&mut self.chunks[chunk as usize]);
        self.chunk_bytes -= size_of_val::<[T]>(&values) as u64;
        while self.chunks.last().is_some_and(|last| last.is_empty()) {
            self.chunks.pop();
        }
        self.chunks.shrink_to_fit();
        Some(values)
    }

    /// The heap memory of the column: its chunks and their directory. O(1).
    pub(crate) fn allocated_bytes(&self) -> u64 {
        self.chunk_bytes + (self.chunks.capacity() * size_of::<Box<[T]>>()) as u64
    }

    /// All values of all chunks, in order of place.
    pub(crate) fn values(&self) -> impl Iterator<Item = T> + '_ {
        self.chunks.iter().flat_map(|values| values.iter().copied())
    }
}

/// A place number's chunk and its offset in there.
#[inline]
fn split(place: u32) -> (usize, usize) {
    ((place >> CHUNK_BITS) as usize, (place & (CHUNK_LEN - 1)) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(len: usize, value: u16) -> Box<[u16]> {
        vec![value; len].into_boxed_slice()
    }

    #[test]
    fn an_empty_column_has_defaults_and_no_memory() {
        let column = Column::<u16>::new();
        assert_eq!((column.get(0), column.get(u32::MAX)), (0, 0));
        assert!(!column.has_chunk(0));
        assert_eq!(column.allocated_bytes(), 0);
    }

    #[test]
    fn a_place_keeps_its_own_value() {
        let mut column = Column::new();
        column.add_chunk(0, chunk(64, 0));
        column.add_chunk(2, chunk(1024, 7));
        for place in (0..64).chain(2 * CHUNK_LEN..3 * CHUNK_LEN) {
            column.set(place, place as u16 ^ 0x55);
        }
        for place in (0..64).chain(2 * CHUNK_LEN..3 * CHUNK_LEN) {
            assert_eq!(column.get(place), place as u16 ^ 0x55);
        }
        assert_eq!(column.get(CHUNK_LEN), 0, "between two chunks there is none");
        assert_eq!(column.values().count(), 64 + 1024);
    }

    #[test]
    fn chunks_come_and_go_and_their_bytes_with_them() {
        let mut column = Column::new();
        column.add_chunk(1, chunk(100, 1));
        column.add_chunk(3, chunk(1024, 3));
        assert!(column.allocated_bytes() - 2 * (100 + 1024) >= 4 * 16);
        assert_eq!(column.remove_chunk(0), None);
        assert_eq!(column.remove_chunk(9), None);
        assert_eq!(column.remove_chunk(3), Some(chunk(1024, 3)));
        assert_eq!(column.allocated_bytes(), 2 * 16 + 200, "the directory ends with the last chunk");
        assert_eq!((column.get(3 * CHUNK_LEN), column.get(CHUNK_LEN)), (0, 1));
        assert_eq!(column.remove_chunk(1), Some(chunk(100, 1)));
        assert_eq!(column.allocated_bytes(), 0);
    }

    #[test]
    #[should_panic(expected = "added twice")]
    fn a_chunk_is_not_replaced() {
        let mut column = Column::new();
        column.add_chunk(0, chunk(1, 1));
        column.add_chunk(0, chunk(1, 1));
    }

    #[test]
    #[should_panic(expected = "out of bounds")]
    fn a_place_without_a_chunk_is_not_set() {
        Column::new().set(0, 1_u16);
    }
}
