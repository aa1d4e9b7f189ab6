//! The trace that is measured when none is named: one popular set, one scan and one loop.
//!
//! The three parts are what real traces are made of and what tells policies apart: LRU is good at
//! the first, is flushed by the second, and has no hit at all in the third unless it holds the
//! whole loop.

use crate::trace::Trace;

pub(crate) const REQUESTS: usize = 1_000_000;
pub(crate) const DESCRIPTION: &str = "this one is generated (Zipf 0.99 over 100,000 keys, \
    a tenth of the requests from a loop over 5,000 keys, every 20,000 requests a scan of 2,000 \
    new keys), the same in every run.";

const ZIPF_KEYS: usize = 100_000;
const ZIPF_EXPONENT: f64 = 0.99;
const LOOP_KEYS: u64 = 5_000;
const SCAN_EVERY: usize = 20_000;
const SCAN_LENGTH: usize = 2_000;

/// Makes a trace of that many requests, with sizes.
pub(crate) fn trace(requests: usize) -> Trace {
    let mut random = Random(0x5EED);
    let popularity = Zipf::new(ZIPF_KEYS, ZIPF_EXPONENT);
    let (mut looped, mut scanned) = (0, 0);
    let ids: Vec<u64> = (0..requests)
        .map(|request| {
            if request % SCAN_EVERY >= SCAN_EVERY - SCAN_LENGTH {
                scanned += 1;
                2 << 32 | scanned
            } else if random.draw() % 10 == 0 {
                looped = (looped + 1) % LOOP_KEYS;
                1 << 32 | looped
            } else {
                popularity.draw(&mut random)
            }
        })
        .collect();
    let sizes = ids.iter().map(|&id| size_of(id)).collect();
    Trace::of_numbers("generated".into(), ids, Some(sizes))
}

/// A key's size, 32 bytes to 8 KiB, each power of two as frequent as the next.
fn size_of(id: u64) -> u32 {
    let bits = Random(id).draw();
    let floor = 32 << (bits % 8);
    floor + (bits >> 32) as u32 % floor
}

/// SplitMix64: a few lines, the same on every machine, and good enough to draw keys with.
struct Random(u64);

impl Random {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Evenly from 0 to below 1.
    fn fraction(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Draws rank `r` with a probability in proportion to `1 / (r + 1) ^ exponent`.
struct Zipf {
    /// For each rank, the weights up to and with it.
    cumulative: Vec<f64>,
    total: f64,
}

impl Zipf {
    fn new(keys: usize, exponent: f64) -> Self {
        let mut total = 0.0;
        let weigh = |rank| {
            total += f64::powf(rank as f64, -exponent);
            total
        };
        let cumulative = (1..=keys).map(weigh).collect();
        Zipf { cumulative, total }
    }

    fn draw(&self, random: &mut Random) -> u64 {
        let point = random.fraction() * self.total;
        self.cumulative.partition_point(|&sum| sum <= point) as u64
    }
}
