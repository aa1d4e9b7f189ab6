//! What the small queue of `S3Fifo` has let go of late: fingerprints of hashes, and nothing else.
//!
//! Knows hashes. Knows no queue and no place.

use super::index::{HASH_BITS, Hash};
use super::processor::prefetch;

/// Fingerprints of entries that the small queue let go, in buckets of eight; the oldest of a bucket
/// makes room for the next. Two bytes each: an entry that never was here is taken for a ghost once
/// in 8,000 times. (Against an exact queue of ghosts: no difference in hit ratio.)
pub(super) struct Ghosts {
    buckets: Box<[GhostBucket]>,
}

/// Eight fingerprints of two bytes, the youngest lowest; 0 where there is none.
pub(super) type GhostBucket = u128;

/// In each of a bucket's fingerprints the lowest bit, ...
const LOWEST: GhostBucket = GhostBucket::MAX / 0xffff;

/// ... and the highest.
const HIGHEST: GhostBucket = LOWEST << 15;

impl Ghosts {
    pub(super) fn new(ghosts: usize) -> Self {
        Self { buckets: vec![0; ghosts.div_ceil(8)].into() }
    }

    pub(super) fn capacity(&self) -> usize {
        self.buckets.len() * 8
    }

    pub(super) fn into_buckets(self) -> Box<[GhostBucket]> {
        self.buckets
    }

    /// Takes other, empty buckets, and gives those that it had.
    pub(super) fn replace(&mut self, buckets: Box<[GhostBucket]>) -> Box<[GhostBucket]> {
        std::mem::replace(&mut self.buckets, buckets)
    }

    #[inline]
    fn at(&self, hash: Hash) -> usize {
        ((u64::from(hash.bits()) * self.buckets.len() as u64) >> HASH_BITS) as usize
    }

    /// Not 0, since a hash's tag is not.
    #[inline]
    fn fingerprint(hash: Hash) -> u16 {
        hash.bits() as u16
    }

    /// Starts to fetch what letting go of this hash will write, or its coming back will read.
    #[inline]
    pub(super) fn prefetch(&self, hash: Hash) {
        prefetch(self.buckets.as_ptr().wrapping_add(self.at(hash)));
    }

    #[inline]
    pub(super) fn add(&mut self, hash: Hash) {
        let at = self.at(hash);
        if let Some(bucket) = self.buckets.get_mut(at) {
            *bucket = *bucket << 16 | GhostBucket::from(Self::fingerprint(hash));
        }
    }

    /// Whether this hash was let go lately; its ghost is gone then.
    #[inline]
    pub(super) fn take(&mut self, hash: Hash) -> bool {
        let at = self.at(hash);
        let Some(bucket) = self.buckets.get_mut(at) else { return false };
        let four = u64::from(Self::fingerprint(hash)) * LOWEST as u64;
        let difference = *bucket ^ (GhostBucket::from(four) << 64 | GhostBucket::from(four));
        // The lowest of these bits is where a fingerprint is the same; others may be where one is not, by a borrow.
        let same = difference.wrapping_sub(LOWEST) & !difference & HIGHEST;
        if same == 0 {
            return false;
        }
        let younger = (1 << (same.trailing_zeros() / 16 * 16)) - 1;
        *bucket = *bucket & younger | *bucket >> 16 & !younger;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ghosts_are_the_last_eight_of_a_bucket() {
        let mut ghosts = Ghosts::new(8);
        // The youngest first.
        let mut expected: Vec<Hash> = Vec::new();
        let mut state = 7_u32;
        let mut taken = 0;
        for _ in 0..10_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Few different ones, that differ by little, so that many come back and are here more than once.
            let hash = Hash::new(1 + (state >> 28));
            if state & 0x100_0000 == 0 {
                ghosts.add(hash);
                expected.insert(0, hash);
                expected.truncate(8);
            } else {
                let at = expected.iter().position(|&ghost| ghost == hash);
                assert_eq!(ghosts.take(hash), at.is_some());
                if let Some(at) = at {
                    expected.remove(at);
                    taken += 1;
                }
            }
        }
        assert!(taken > 1_000);
        assert!(!Ghosts::new(0).take(Hash::new(1)), "without ghosts nothing comes back");
    }
}
