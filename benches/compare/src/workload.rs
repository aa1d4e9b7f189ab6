//! What is cached and in which order it is asked for: the key and value types, and the access patterns over their ids.
//!
//! Knows nothing of the caches. An entry is named by an id; a workload turns ids into keys and values, always outside
//! of the timed part. Everything is derived from fixed seeds, so every subject and every run sees the same accesses.

use std::{borrow::Borrow, hash::Hash, ops::Range, sync::Arc};

/// One choice of key and value types.
pub(crate) trait Workload: 'static {
    /// What the cache owns.
    type Key: Hash + Eq + Clone + Send + Sync + Borrow<Self::Query> + 'static;
    /// What a look-up is made with.
    type Query: Hash + Eq + ToOwned<Owned = Self::Key> + Sync + ?Sized + 'static;
    type Value: Clone + Send + Sync + 'static;
    /// Keys in the order of their use, side by side in memory: reading the next one should cost as little as having it
    /// at hand, as the caller of a cache would.
    type Sequence: Send + Sync + 'static;

    const TITLE: &'static str;
    /// No subject inserts faster than this; says how many entries a timed run of inserts can use up.
    const FASTEST_INSERT_NS: u64;

    fn key(id: u64) -> Self::Key;
    fn value(id: u64) -> Self::Value;
    /// Entries for the timed inserts: whatever takes longer to make than to read from memory has been made on return.
    fn entries(ids: Range<u64>) -> impl Iterator<Item = (Self::Key, Self::Value)>;
    fn sequence(ids: &[u64]) -> Self::Sequence;
    fn at(sequence: &Self::Sequence, position: usize) -> &Self::Query;
}

/// Spreads ids over all 64 bits, each to a number of its own, so that no subject gains from keys that lie densely.
fn scramble(id: u64) -> u64 {
    id.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// `u64 -> u64`: what is left is the cache's own cost.
pub(crate) struct Ints;

impl Workload for Ints {
    type Key = u64;
    type Query = u64;
    type Value = u64;
    type Sequence = Vec<u64>;

    const TITLE: &'static str = "u64 -> u64";
    const FASTEST_INSERT_NS: u64 = 40;

    fn key(id: u64) -> u64 {
        scramble(id)
    }

    fn value(id: u64) -> u64 {
        id
    }

    /// Made as they are asked for, by one multiplication each: a list of them would be read from memory that the cache
    /// under test could use.
    fn entries(ids: Range<u64>) -> impl Iterator<Item = (u64, u64)> {
        ids.map(|id| (Self::key(id), Self::value(id)))
    }

    fn sequence(ids: &[u64]) -> Vec<u64> {
        ids.iter().copied().map(scramble).collect()
    }

    fn at(sequence: &Vec<u64>, position: usize) -> &u64 {
        &sequence[position]
    }
}

/// `String -> Arc<[u8]>`: keys of 24 bytes looked up by `&str`, values of 100 bytes.
pub(crate) struct Texts;

const TEXT_LEN: usize = 24;

impl Workload for Texts {
    type Key = String;
    type Query = str;
    type Value = Arc<[u8]>;
    type Sequence = String;

    const TITLE: &'static str = "String (24 bytes) -> Arc<[u8]> (100 bytes)";
    const FASTEST_INSERT_NS: u64 = 150;

    fn key(id: u64) -> String {
        format!("key:{:020}", scramble(id))
    }

    fn value(id: u64) -> Arc<[u8]> {
        Arc::from([id as u8; 100])
    }

    fn entries(ids: Range<u64>) -> impl Iterator<Item = (String, Arc<[u8]>)> {
        let entries: Vec<_> = ids.map(|id| (Self::key(id), Self::value(id))).collect();
        entries.into_iter()
    }

    fn sequence(ids: &[u64]) -> String {
        let mut keys = String::with_capacity(ids.len() * TEXT_LEN);
        for &id in ids {
            keys.push_str(&Self::key(id));
        }
        keys
    }

    fn at(sequence: &String, position: usize) -> &str {
        &sequence[position * TEXT_LEN..][..TEXT_LEN]
    }
}

/// How many entries "10k", "100k" and "1M" stand for; a quick run has less of each.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) small: usize,
    pub(crate) middle: usize,
    pub(crate) large: usize,
    /// Accesses in a sequence before it starts over: a power of two.
    pub(crate) accesses: usize,
}

impl Scale {
    pub(crate) const FULL: Scale = Scale { small: 10_000, middle: 100_000, large: 1_000_000, accesses: 1 << 21 };
    pub(crate) const QUICK: Scale = Scale { small: 2_000, middle: 10_000, large: 50_000, accesses: 1 << 16 };
}

/// The access patterns over one workload's keys.
pub(crate) struct Sequences<W: Workload> {
    pub(crate) uniform_small: W::Sequence,
    pub(crate) uniform_large: W::Sequence,
    pub(crate) zipf: W::Sequence,
    /// One key, over and over.
    pub(crate) hot: W::Sequence,
    pub(crate) accesses: usize,
}

impl<W: Workload> Sequences<W> {
    pub(crate) fn new(scale: &Scale) -> Self {
        let uniform = |ids: usize| {
            let mut random = Random(0x5EED + ids as u64);
            let ids: Vec<u64> = (0..scale.accesses).map(|_| random.below(ids as u64)).collect();
            W::sequence(&ids)
        };
        Sequences {
            uniform_small: uniform(scale.small),
            uniform_large: uniform(scale.large),
            zipf: W::sequence(&zipf(scale.large, scale.accesses)),
            hot: W::sequence(&vec![7; scale.accesses]),
            accesses: scale.accesses,
        }
    }
}

/// Accesses over `ids` ids whose frequency falls with rank to the power of 0.99.
fn zipf(ids: usize, accesses: usize) -> Vec<u64> {
    const EXPONENT: f64 = 0.99;
    // Coprime to every number of ids in use, so that ranks fall on ids one to one. Without it the popular entries
    // would have been inserted first and lie side by side in those caches that keep entries in an array.
    const STRIDE: u64 = 7_368_787;

    let mut sum = 0.0;
    let cumulated: Vec<f64> = (1..=ids)
        .map(|rank| {
            sum += (rank as f64).powf(-EXPONENT);
            sum
        })
        .collect();
    let mut random = Random(0x21FF);
    (0..accesses)
        .map(|_| {
            let point = random.unit() * sum;
            let rank = cumulated.partition_point(|&upper| upper < point) as u64;
            rank * STRIDE % ids as u64
        })
        .collect()
}

/// SplitMix64: small, fast, and good enough to choose keys with.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below `limit`, by multiplying and keeping the upper half: the bias is far below one access in a sequence.
    fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    /// In [0, 1).
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}
