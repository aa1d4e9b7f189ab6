//! Data blocks that are on their way, and how much memory all of them together may have.
//!
//! Knows bytes and lengths. What request a block belongs to is the conversation's business.
//!
//! Blocks that are not whole are outside the cache, and outside its limit. Without a bound of their own a thousand clients
//! that each send all but the last byte of a mebibyte would take a gibibyte. Who comes last is not to be turned away for
//! that: clients that send half and wait would keep all others out. So blocks are kept as items are: the one that has
//! grown least lately is given up for the one that grows now. Its client is told so when it goes on.
//!
//! What counts is the memory that a block has, not the length that was announced. While a block grows its thread alone has
//! it, so bytes are copied under no lock.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// All blocks that are on their way.
#[derive(Debug, Default)]
pub(crate) struct Blocks(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// By the turn in which each grew last.
    at_rest: BTreeMap<u64, Part>,
    turns: u64,
    /// What all blocks hold together, those that grow just now included.
    bytes: u64,
    given_up: u64,
}

/// What is there of a block.
#[derive(Debug, Default)]
struct Part {
    data: Vec<u8>,
    /// What it counts for.
    bytes: usize,
}

impl Blocks {
    /// The bytes that all blocks hold, and how many blocks have been given up.
    pub(crate) fn state(&self) -> (u64, u64) {
        let inner = self.0.lock();
        (inner.bytes, inner.given_up)
    }

    /// Takes out the part that came to rest in this turn, if it has not been given up, and lets it count for `more` bytes more
    /// than it does. The stalest parts are given up for that; or this one, where the others growing just now leave no room, or
    /// it would be too much by itself.
    fn grow(&self, turn: Option<u64>, more: impl FnOnce(&Part) -> usize, most: u64) -> Option<Part> {
        let mut given_up = Vec::new();
        let mut inner = self.0.lock();
        let mut part = match turn {
            Some(turn) => inner.at_rest.remove(&turn)?,
            None => Part::default(),
        };
        let more = more(&part);
        let can_fit = (part.bytes + more) as u64 <= most;
        while inner.bytes + more as u64 > most {
            let stalest = if can_fit { inner.at_rest.pop_first() } else { None };
            let is_lost = stalest.is_none();
            let part = stalest.map_or_else(|| std::mem::take(&mut part), |(_, stalest)| stalest);
            inner.bytes -= part.bytes as u64;
            inner.given_up += 1;
            // Freed when the lock has been.
            given_up.push(part);
            if is_lost {
                return None;
            }
        }
        inner.bytes += more as u64;
        part.bytes += more;
        Some(part)
    }

    /// Lets a part rest; gives the turn by which to find it.
    fn rest(&self, part: Part) -> u64 {
        let mut inner = self.0.lock();
        inner.turns += 1;
        let turn = inner.turns;
        inner.at_rest.insert(turn, part);
        turn
    }

    /// Forgets a part that is no longer held.
    fn forget(&self, part: &Part) {
        self.0.lock().bytes -= part.bytes as u64;
    }

    /// Takes out a part whose client has gone.
    fn abandon(&self, turn: u64) {
        let mut inner = self.0.lock();
        let part = inner.at_rest.remove(&turn);
        inner.bytes -= part.as_ref().map_or(0, |part| part.bytes as u64);
        drop(inner);
        drop(part);
    }
}

/// A request whose data block is not whole yet.
pub(super) struct Pending<'s> {
    /// The request itself, to be parsed again when the block is there.
    head: Vec<u8>,
    missing: usize,
    blocks: &'s Blocks,
    /// By which `blocks` have what is there, if anything is.
    turn: Option<u64>,
}

/// What became of a block.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It took so many bytes, and needs more.
    Some(usize),
    /// It took so many bytes, and here it is.
    Whole(usize, Vec<u8>),
    /// It was given up.
    Lost,
}

impl<'s> Pending<'s> {
    /// A block of `len` bytes, of which none is there.
    pub(super) fn new(head: &[u8], len: usize, blocks: &'s Blocks) -> Self {
        Self { head: head.to_vec(), missing: len, blocks, turn: None }
    }

    /// The request without its block.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// How many bytes are still to come.
    pub(super) fn missing(&self) -> usize {
        self.missing
    }

    /// Takes what belongs to it from the beginning of `input`, giving up others if all blocks would hold more than `most` bytes.
    /// Takes nothing where it is lost.
    pub(super) fn take(&mut self, input: &[u8], most: u64) -> Taken {
        let piece = &input[..input.len().min(self.missing)];
        if piece.is_empty() {
            return Taken::Some(0);
        }
        // Twice as much as is there, and at last just what is needed.
        let room = |data: &Vec<u8>| match piece.len() > data.capacity() - data.len() {
            true => self.missing.min(data.len().max(piece.len())),
            false => 0,
        };
        let more = |part: &Part| (part.data.len() + room(&part.data)).saturating_sub(part.bytes);
        let Some(mut part) = self.blocks.grow(self.turn, more, most) else {
            self.turn = None;
            return Taken::Lost;
        };
        part.data.reserve_exact(room(&part.data));
        part.data.extend_from_slice(piece);
        self.missing -= piece.len();
        if self.missing > 0 {
            self.turn = Some(self.blocks.rest(part));
            return Taken::Some(piece.len());
        }
        self.turn = None;
        self.blocks.forget(&part);
        Taken::Whole(piece.len(), part.data)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(turn) = self.turn {
            self.blocks.abandon(turn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_counts_for_what_it_has() {
        let blocks = Blocks::default();
        let held = || blocks.state().0;
        let mut block = Pending::new(b"head", 100, &blocks);
        assert_eq!((block.take(&[1; 10], 100), held()), (Taken::Some(10), 10));
        assert_eq!((block.take(&[2; 5], 100), held()), (Taken::Some(5), 20));
        assert_eq!((block.take(&[3; 50], 100), held()), (Taken::Some(50), 65));
        assert_eq!((block.take(&[], 100), block.missing()), (Taken::Some(0), 35));
        let whole = [&[1; 10][..], &[2; 5], &[3; 50], &[4; 35]].concat();
        assert_eq!((block.take(&[4; 50], 100), held()), (Taken::Whole(35, whole), 0));

        let mut block = Pending::new(b"head", 100, &blocks);
        assert_eq!((block.take(&[1; 10], 100), held()), (Taken::Some(10), 10));
        drop(block);
        assert_eq!(blocks.state(), (0, 0));
    }

    #[test]
    fn the_block_that_has_grown_least_lately_is_given_up() {
        let blocks = Blocks::default();
        let [mut a, mut b, mut c] = [0; 3].map(|_| Pending::new(b"head", 50, &blocks));
        for block in [&mut a, &mut b] {
            assert_eq!(block.take(&[0; 40], 100), Taken::Some(40));
        }
        assert_eq!(a.take(&[0; 1], 100), Taken::Some(1));
        assert_eq!(c.take(&[0; 40], 100), Taken::Some(40));
        assert_eq!(blocks.state(), (90, 1));
        assert_eq!((b.take(&[0; 1], 100), b.missing()), (Taken::Lost, 10));
        assert!(matches!(a.take(&[0; 9], 100), Taken::Whole(9, _)));
        assert!(matches!(c.take(&[0; 10], 100), Taken::Whole(10, _)));
    }

    #[test]
    fn what_is_too_much_by_itself_costs_nobody_else() {
        let blocks = Blocks::default();
        let [mut small, mut large] = [50, 200].map(|len| Pending::new(b"head", len, &blocks));
        assert_eq!(small.take(&[0; 10], 100), Taken::Some(10));
        assert_eq!((large.take(&[0; 60], 100), large.take(&[0; 60], 100)), (Taken::Some(60), Taken::Lost));
        assert_eq!(blocks.state(), (10, 1));
        assert!(matches!(small.take(&[0; 40], 100), Taken::Whole(40, _)));
    }
}
