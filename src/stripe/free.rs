//! Which places of a stripe are free.
//!
//! Knows place numbers. Knows no node and no chunk.
//!
//! Some are at hand in a short list, or never were in use. All others are linked: each names the next one in its position,
//! which only what is in a queue has a use for. So it takes no memory when many become free at once, as after a `clear`,
//! which a cache that is full has not got.

use std::ops::Range;

use super::column::Column;
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

    /// Adds places where there are none, the last of which will be the first to be given.
    pub(crate) fn add_all_in_order(&mut self, places: &[u32], positions: &mut Column<u32>) {
        let (later, sooner) = places.split_at(places.len().saturating_sub(self.at_hand.capacity()));
        for &place in later {
            self.link(place, positions);
        }
        self.at_hand.extend_from_slice(sooner);
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

    /// Takes all out, in any order.
    pub(crate) fn take_all(&mut self, positions: &Column<u32>) -> Vec<u32> {
        let all = self.iter(positions).collect();
        self.at_hand.clear();
        (self.fresh, self.linked) = (0..0, 0);
        all
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
        let mut all = free.take_all(&positions);
        assert_eq!((all.len(), free.len()), (1000, 0));
        all.sort_unstable();
        free.fit(64);
        free.add_all_in_order(&all, &mut positions);
        assert_eq!((free.takeable(), free.len()), (64, 1000));
        assert!((0..1000).rev().all(|place| {
            let is_any = free.takeable() != 0 || free.unlink_some(&positions);
            is_any && free.take() == Some(place)
        }));
    }
}
