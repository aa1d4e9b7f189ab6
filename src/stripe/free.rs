//! Which places of a stripe are free.
//!
//! Knows place numbers. Knows no node and no chunk.
//!
//! Some are at hand in a short list, or never were in use. All others are linked: each names the next one in its position,
//! which only what is in a queue has a use for. So it takes no memory when many become free at once, as after a `clear`,
//! which a cache that is full has not got.

use std::ops::Range;

use super::column::{CHUNK_BITS, Column};
use super::limbo::BATCH;

/// Places in the short list, at the most: a batch comes in beside what is left.
const AT_HAND: usize = 2 * BATCH;

// What every write changes comes first.
#[repr(C)]
pub(crate) struct FreePlaces {
    /// Places that were in use before; last out, first in, while they are warm. No longer than there is memory for.
    at_hand: Vec<u32>,
    /// Places of the newest chunk that were never in use.
    fresh: Range<u32>,
    /// The first of those that are linked, ...
    first: u32,
    /// ... and how many they are.
    linked: usize,
}

#[cfg(all(test, not(loom)))]
impl FreePlaces {
    /// A write of `fast.rs` changes nothing after this.
    pub(super) const CHANGED_TO: usize = std::mem::offset_of!(Self, first);
}

impl FreePlaces {
    pub(crate) fn new() -> Self {
        Self { at_hand: Vec::new(), fresh: 0..0, first: 0, linked: 0 }
    }

    /// Has the short list as long as is of use for so many places, free or not.
    pub(crate) fn fit(&mut self, places: usize) {
        let len = AT_HAND.min(places);
        self.at_hand.reserve_exact(len.saturating_sub(self.at_hand.len()));
        self.at_hand.shrink_to(len);
    }

    /// The heap memory. O(1).
    #[inline]
    pub(crate) fn allocated_bytes(&self) -> u64 {
        (self.at_hand.capacity() * size_of::<u32>()) as u64
    }

    /// A place, of those that can be had without a look at the links. O(1).
    #[inline(always)]
    pub(crate) fn take(&mut self) -> Option<u32> {
        match self.at_hand.pop() {
            None => self.take_fresh(),
            place => place,
        }
    }

    /// Out of line: a place that is fresh is a rare one, and writes have few registers to spare.
    #[cold]
    #[inline(never)]
    fn take_fresh(&mut self) -> Option<u32> {
        self.fresh.next()
    }

    /// The place that [`FreePlaces::take`] will give.
    #[inline]
    pub(crate) fn next(&self) -> Option<u32> {
        self.at_hand.last().copied().or_else(|| self.fresh.clone().next())
    }

    /// How many [`FreePlaces::take`] can give.
    #[inline]
    pub(crate) fn takeable(&self) -> usize {
        self.at_hand.len() + self.fresh.len()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.takeable() + self.linked
    }

    /// Gets linked places at hand, where none are. Whether there were any.
    pub(crate) fn unlink_some(&mut self, positions: &Column<u32>) -> bool {
        for _ in 0..self.linked.min(self.at_hand.capacity()) {
            self.at_hand.push(self.first);
            self.first = positions.get(self.first);
            self.linked -= 1;
        }
        self.at_hand.reverse();
        !self.at_hand.is_empty()
    }

    #[inline]
    pub(crate) fn add(&mut self, place: u32, positions: &mut Column<u32>) {
        if self.at_hand.len() < self.at_hand.capacity() {
            self.at_hand.push(place);
        } else {
            self.link(place, positions);
        }
    }

    pub(crate) fn add_all(&mut self, places: &[u32], positions: &mut Column<u32>) {
        let room = self.at_hand.capacity() - self.at_hand.len();
        let (at_hand, linked) = places.split_at(places.len().min(room));
        self.at_hand.extend_from_slice(at_hand);
        for &place in linked {
            self.link(place, positions);
        }
    }

    /// Adds places that were never in use.
    pub(crate) fn add_fresh(&mut self, places: Range<u32>, positions: &mut Column<u32>) {
        for place in std::mem::replace(&mut self.fresh, places) {
            self.add(place, positions);
        }
    }

    #[cold]
    fn link(&mut self, place: u32, positions: &mut Column<u32>) {
        positions.set(place, self.first);
        self.first = place;
        self.linked += 1;
    }

    /// Forgets the places of chunks, of which there are so many numbers, that are not to be kept, and has those of the lowest
    /// chunks given first; none is at hand then. O(places); takes memory for chunks only.
    pub(crate) fn regroup(&mut self, chunks: usize, keeps: impl Fn(usize) -> bool, positions: &mut Column<u32>) {
        // As the list of all, one for each chunk: its first place, and how many they are.
        let mut lists = vec![(0, 0); chunks];
        let mut link_to_chunk = |place: u32, positions: &mut Column<u32>| {
            let (first, len) = &mut lists[(place >> CHUNK_BITS) as usize];
            positions.set(place, std::mem::replace(first, place));
            *len += 1;
        };
        for place in self.at_hand.drain(..).chain(std::mem::take(&mut self.fresh)) {
            link_to_chunk(place, positions);
        }
        for _ in 0..std::mem::take(&mut self.linked) {
            let place = self.first;
            self.first = positions.get(place);
            link_to_chunk(place, positions);
        }
        for (_, (mut next, len)) in lists.into_iter().enumerate().filter(|(chunk, _)| keeps(*chunk)).rev() {
            for _ in 0..len {
                let place = next;
                next = positions.get(place);
                self.link(place, positions);
            }
        }
    }

    /// Every free place.
    pub(crate) fn iter(&self, positions: &Column<u32>) -> impl Iterator<Item = u32> {
        let linked = std::iter::successors(Some(self.first), |&place| Some(positions.get(place))).take(self.linked);
        self.at_hand.iter().copied().chain(self.fresh.clone()).chain(linked)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_given_once_whatever_becomes_free_at_once() {
        let mut positions = Column::new();
        positions.add_chunk(0, vec![0; 1000].into());
        let mut free = FreePlaces::new();
        free.fit(1000);
        free.add_fresh(0..10, &mut positions);
        free.add_fresh(10..1000, &mut positions);
        let mut taken = Vec::new();
        for round in 0..5 {
            while free.takeable() != 0 || free.unlink_some(&positions) {
                let next = free.next();
                taken.extend(free.take());
                assert_eq!(next, taken.last().copied(), "round {round}");
            }
            assert_eq!((taken.len(), free.len(), free.take()), (1000, 0, None), "round {round}");
            let (single, together) = taken.split_at(300);
            for &place in single {
                free.add(place, &mut positions);
            }
            together.chunks(64).for_each(|some| free.add_all(some, &mut positions));
            assert_eq!(free.len(), 1000);
            let mut all: Vec<_> = free.iter(&positions).collect();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..1000), "round {round}");
            taken.clear();
        }
    }

    #[test]
    fn the_lowest_chunks_are_given_first_and_those_that_are_gone_never() {
        const LEN: u32 = 100;
        let mut positions = Column::new();
        let mut free = FreePlaces::new();
        free.fit(4 * LEN as usize);
        let places = |chunk: u32| (chunk << CHUNK_BITS)..(chunk << CHUNK_BITS) + LEN;
        for chunk in 0..4 {
            positions.add_chunk(chunk, vec![0; LEN as usize].into());
            free.add_fresh(places(chunk), &mut positions);
        }
        free.regroup(4, |chunk| chunk != 1, &mut positions);
        for chunk in [0, 2, 3] {
            let mut given: Vec<_> = (0..LEN)
                .map(|_| {
                    let is_any = free.takeable() != 0 || free.unlink_some(&positions);
                    assert!(is_any, "chunk {chunk}");
                    free.take().unwrap()
                })
                .collect();
            given.sort_unstable();
            assert!(given.into_iter().eq(places(chunk)), "chunk {chunk}");
        }
        assert_eq!((free.len(), free.take()), (0, None));
        free.regroup(4, |_| true, &mut positions);
        assert_eq!(free.len(), 0);
    }
}
