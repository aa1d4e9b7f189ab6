//! What a packer counts, on lines that threads do not share while there are few of them.

use std::ops::Sub;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

/// Lines to count on, each for a sixteenth of the threads.
pub(super) const LINES: usize = 16;
/// Of calls with small values one in so many is timed: asking the clock twice takes longer than some of them.
const TIMED_ONE_IN: u64 = 1 << TIMED_BITS;
const TIMED_BITS: u32 = 4;
/// Of calls with values of so many bytes or more, each is timed.
const ALWAYS_TIMED: usize = 16 << 10;

/// What has been packed by codecs, and opened: a snapshot.
///
/// A value counts when it is packed, before it is known whether it gets into the cache: also one that is too large for it,
/// one that a `compute` packs anew since the entry has changed meanwhile, and one that was loaded while another was inserted.
/// One that can't be packed, by a codec that must not be left out, does not count here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PackCounts {
    /// Bytes of all values that were packed.
    pub bytes_before: u64,
    /// Bytes of what they were packed to.
    pub bytes_after: u64,
    /// Values that were encoded.
    pub encoded: u64,
    /// Values left as they are because they are small.
    pub raw_small: u64,
    /// Values left as they are because they would not have shrunk by an eighth.
    pub raw_unshrunk: u64,
    /// Values left as they are because the codec failed.
    pub raw_failed: u64,
    /// Time spent encoding, by all threads together. An estimate from some of the calls: those with values from 16 KiB on,
    /// and one in 16 of the others, chosen as if at random and counted sixteenfold. Of few calls, or of some that differ
    /// much, it tells little.
    pub encode_time: Duration,
    /// Time spent decoding, by all threads together. An estimate, likewise.
    pub decode_time: Duration,
}

impl Sub for PackCounts {
    type Output = PackCounts;

    /// What happened between the snapshot `earlier` and this one.
    fn sub(self, earlier: PackCounts) -> PackCounts {
        PackCounts {
            bytes_before: self.bytes_before.saturating_sub(earlier.bytes_before),
            bytes_after: self.bytes_after.saturating_sub(earlier.bytes_after),
            encoded: self.encoded.saturating_sub(earlier.encoded),
            raw_small: self.raw_small.saturating_sub(earlier.raw_small),
            raw_unshrunk: self.raw_unshrunk.saturating_sub(earlier.raw_unshrunk),
            raw_failed: self.raw_failed.saturating_sub(earlier.raw_failed),
            encode_time: self.encode_time.saturating_sub(earlier.encode_time),
            decode_time: self.decode_time.saturating_sub(earlier.decode_time),
        }
    }
}

/// Why a value is stored as it is.
#[derive(Clone, Copy)]
pub(super) enum RawReason {
    Small,
    Unshrunk,
    Failed,
}

#[derive(Clone, Copy)]
pub(super) enum Direction {
    Encode,
    Decode,
}

/// Calls in one direction, and the time they took.
#[derive(Default)]
struct Spent {
    calls: AtomicU64,
    nanos: AtomicU64,
}

#[derive(Default)]
struct Line {
    before: AtomicU64,
    after: AtomicU64,
    encoded: AtomicU64,
    raw: [AtomicU64; 3],
    spent: [Spent; 2],
}

pub(super) struct Counts {
    lines: Box<[CachePadded<Line>]>,
}

thread_local! {
    static LINE: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Relaxed) % LINES
    };
}

/// The number of the line on which this thread counts.
pub(super) fn thread_line() -> usize {
    // A thread that is being torn down may still drop a value that uses a cache.
    LINE.try_with(|line| *line).unwrap_or(0)
}

/// Whether a line's call with this number, the first being 0, is one that is timed.
///
/// Not every sixteenth: callers have periods of their own, such as a small value and a large one in turn, and would have
/// always the same of them timed. What is timed depends on the number's hash, which has no period that a caller could
/// meet. Of the first two calls the second is timed: the first makes the codec's state.
fn is_timed(number: u64) -> bool {
    const fn hash(number: u64) -> u64 {
        // A product's upper bits depend on all bits of the number, but evenly spaced numbers give evenly spaced products;
        // folded and multiplied again they don't. (The constant is 2^64 by the golden ratio.)
        const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
        let product = number.wrapping_mul(FACTOR);
        (product ^ (product >> 32)).wrapping_mul(FACTOR) >> (u64::BITS - TIMED_BITS)
    }
    const TIMED: u64 = hash(1);
    const { assert!(hash(0) != TIMED) };
    hash(number) == TIMED
}

impl Counts {
    pub(super) fn new() -> Self {
        Self { lines: (0..LINES).map(|_| CachePadded::default()).collect() }
    }

    /// A value of `len` bytes was stored as it is, after a byte that says so.
    pub(super) fn raw(&self, len: usize, reason: RawReason) {
        let line = self.line();
        line.raw[reason as usize].fetch_add(1, Relaxed);
        line.before.fetch_add(len as u64, Relaxed);
        line.after.fetch_add(len as u64 + 1, Relaxed);
    }

    /// A value of `before` bytes was stored encoded, in `after` bytes.
    pub(super) fn packed(&self, before: usize, after: usize) {
        let line = self.line();
        line.encoded.fetch_add(1, Relaxed);
        line.before.fetch_add(before as u64, Relaxed);
        line.after.fetch_add(after as u64, Relaxed);
    }

    /// Runs `call`, on a value of `len` bytes, and counts the time it takes.
    pub(super) fn timed<R>(&self, direction: Direction, len: usize, call: impl FnOnce() -> R) -> R {
        let Spent { calls, nanos } = &self.line().spent[direction as usize];
        let weight = if len >= ALWAYS_TIMED {
            1
        } else {
            // Two threads on one line may count one call for two; then a little more is timed.
            let before = calls.load(Relaxed);
            calls.store(before.wrapping_add(1), Relaxed);
            if !is_timed(before) {
                return call();
            }
            TIMED_ONE_IN
        };
        let began = Instant::now();
        let result = call();
        nanos.fetch_add(began.elapsed().as_nanos() as u64 * weight, Relaxed);
        result
    }

    pub(super) fn snapshot(&self) -> PackCounts {
        let sum = |count: fn(&Line) -> &AtomicU64| -> u64 {
            self.lines.iter().map(|line| count(line).load(Relaxed)).fold(0, u64::wrapping_add)
        };
        PackCounts {
            bytes_before: sum(|line| &line.before),
            bytes_after: sum(|line| &line.after),
            encoded: sum(|line| &line.encoded),
            raw_small: sum(|line| &line.raw[RawReason::Small as usize]),
            raw_unshrunk: sum(|line| &line.raw[RawReason::Unshrunk as usize]),
            raw_failed: sum(|line| &line.raw[RawReason::Failed as usize]),
            encode_time: Duration::from_nanos(sum(|line| &line.spent[Direction::Encode as usize].nanos)),
            decode_time: Duration::from_nanos(sum(|line| &line.spent[Direction::Decode as usize].nanos)),
        }
    }

    fn line(&self) -> &Line {
        &self.lines[thread_line()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_first_two_calls_the_second_is_timed() {
        assert_eq!([is_timed(0), is_timed(1)], [false, true]);
    }

    #[test]
    fn one_call_in_16_is_timed_whatever_its_place_in_a_period() {
        const CALLS: u64 = 1 << 20;
        // Of Fibonacci's numbers too, on which a product with the golden ratio nearly repeats.
        for period in (1..=64).chain([89, 100, 128, 144, 233, 256]) {
            for place in 0..period {
                let calls = (place..CALLS).step_by(period as usize);
                let of_all = calls.clone().count() as f64 / TIMED_ONE_IN as f64;
                let timed = calls.filter(|&number| is_timed(number)).count() as f64;
                assert!((timed - of_all).abs() < 5.0 * of_all.sqrt(), "{timed} of {of_all} at {place} of {period}");
            }
        }
    }

    #[test]
    fn none_waits_long_to_be_timed() {
        let timed: Vec<u64> = (0..1 << 20).filter(|&number| is_timed(number)).collect();
        let longest = timed.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(longest < Some(300), "{longest:?}");
    }
}
