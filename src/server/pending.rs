//! A data block that is on its way, and how much of such blocks all clients together may have the server hold.
//!
//! Knows bytes and lengths. What request a block belongs to is the conversation's business.
//!
//! Blocks that are not whole are outside the cache, and outside its limit. Without a bound of their own a thousand clients
//! that each send all but the last byte of a mebibyte would take a gibibyte. What counts is the memory that a block has,
//! not the length that was announced, so whoever announces and sends nothing keeps nobody out.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What all blocks together hold, in bytes.
#[derive(Debug, Default)]
pub(crate) struct PendingBytes(AtomicU64);

impl PendingBytes {
    /// Counts `more` bytes, unless they would be more than `most` then. Relaxed: a number that guards no other memory.
    fn claim(&self, more: usize, most: u64) -> bool {
        let sum = |held: u64| held.checked_add(more as u64).filter(|sum| *sum <= most);
        self.0.fetch_update(Relaxed, Relaxed, sum).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_sub(bytes as u64, Relaxed);
    }
}

/// A request whose data block is not whole yet.
pub(super) struct Pending<'s> {
    /// The request itself, to be parsed again when the block is there.
    head: Vec<u8>,
    data: Vec<u8>,
    len: usize,
    held: &'s PendingBytes,
    /// What of `held` is this one's.
    claimed: usize,
}

impl<'s> Pending<'s> {
    /// A block of `len` bytes, of which none is there.
    pub(super) fn new(head: &[u8], len: usize, held: &'s PendingBytes) -> Self {
        Self { head: head.to_vec(), data: Vec::new(), len, held, claimed: 0 }
    }

    /// The request without its block.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// What is there of the block.
    pub(super) fn data(&self) -> &[u8] {
        &self.data
    }

    /// How many bytes are still to come.
    pub(super) fn missing(&self) -> usize {
        self.len - self.data.len()
    }

    /// Takes what belongs to it from the beginning of `input`, and says how many bytes that is. `None`, and takes nothing, if
    /// all blocks together would then hold more than `most` bytes.
    pub(super) fn take(&mut self, input: &[u8], most: u64) -> Option<usize> {
        let piece = &input[..input.len().min(self.missing())];
        if piece.len() > self.data.capacity() - self.data.len() {
            // Twice as much as is there, and at last just what is needed.
            let more = self.missing().min(self.data.len().max(piece.len()));
            let claim = (self.data.len() + more).saturating_sub(self.claimed);
            if !self.held.claim(claim, most) {
                return None;
            }
            self.claimed += claim;
            self.data.reserve_exact(more);
        }
        self.data.extend_from_slice(piece);
        Some(piece.len())
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.held.give_back(self.claimed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_claimed_is_what_it_has_and_is_given_back() {
        let held = PendingBytes::default();
        let claimed = || held.0.load(Relaxed);
        let mut block = Pending::new(b"head", 100, &held);
        assert_eq!((block.take(&[1; 10], 100), claimed()), (Some(10), 10));
        assert_eq!((block.take(&[2; 5], 100), claimed()), (Some(5), 20));
        assert_eq!((block.take(&[3; 50], 100), claimed()), (Some(50), 65));
        assert_eq!((block.take(&[4; 50], 99), claimed()), (None, 65));
        assert_eq!((block.take(&[4; 50], 100), claimed(), block.missing()), (Some(35), 100, 0));
        assert!(block.data.capacity() <= 100);
        assert_eq!(block.data(), [&[1; 10][..], &[2; 5], &[3; 50], &[4; 35]].concat());
        let mut other = Pending::new(b"", 10, &held);
        assert_eq!((other.take(&[5; 1], 100), claimed()), (None, 100));
        drop(block);
        assert_eq!((other.take(&[5; 1], 100), claimed()), (Some(1), 1));
        drop(other);
        assert_eq!(claimed(), 0);
    }
}
