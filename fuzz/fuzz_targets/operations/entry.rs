//! Keys and values that are counted as long as they live, and hashers from good to useless.
//!
//! Knows nothing of caches but what a key has to be.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use arbitrary::Arbitrary;
use larder::Equivalent;

/// How many keys and values of each write are alive: two, unless clones of them are, too.
#[derive(Clone, Default)]
pub(crate) struct Census(Arc<Mutex<BTreeMap<u32, u32>>>);

impl Census {
    /// What a write brings. Key and value share its number.
    pub(crate) fn entry(&self, id: u8, write: u32, weight: u64) -> (Key, Value) {
        let counted = Counted::new(self, write);
        (Key { id, counted: counted.clone() }, Value { weight, counted })
    }

    pub(crate) fn of(&self, write: u32) -> u32 {
        self.change(write, |count| *count)
    }

    /// All that is alive, by number of write.
    pub(crate) fn alive(&self) -> Vec<(u32, u32)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(&write, &count)| (write, count)).filter(|&(_, count)| count > 0).collect()
    }

    fn change<R>(&self, write: u32, change: impl FnOnce(&mut u32) -> R) -> R {
        change(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(write).or_default())
    }
}

struct Counted {
    census: Census,
    /// Boxed: the address sanitizer then sees it when it is read after it was dropped.
    write: Box<u32>,
}

impl Counted {
    fn new(census: &Census, write: u32) -> Self {
        census.change(write, |count| *count += 1);
        Self { census: census.clone(), write: Box::new(write) }
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::new(&self.census, *self.write)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.census.change(*self.write, |count| {
            *count = count.checked_sub(1).expect("dropped as often as made");
        });
    }
}

#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) id: u8,
    counted: Counted,
}

impl Key {
    pub(crate) fn write(&self) -> u32 {
        *self.counted.write
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Id(self.id).hash(state);
    }
}

/// What keys are looked up by.
#[derive(Clone, Copy)]
pub(crate) struct Id(pub(crate) u8);

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u8(self.0);
    }
}

impl Equivalent<Key> for Id {
    fn equivalent(&self, key: &Key) -> bool {
        self.0 == key.id
    }
}

#[derive(Clone)]
pub(crate) struct Value {
    pub(crate) weight: u64,
    counted: Counted,
}

impl Value {
    pub(crate) fn write(&self) -> u32 {
        *self.counted.write
    }
}

/// The write that brought an entry, and its key.
pub(crate) fn names(key: &Key, value: &Value) -> (u32, u8) {
    assert_eq!(key.write(), value.write(), "key and value are of one write");
    (key.write(), key.id)
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Hashing {
    /// Bits as good as random.
    Good(u8),
    Identity,
    /// The key in the highest bits only.
    Shifted,
    /// So many different hashes, and one more.
    Few(u8),
    Constant,
}

pub(crate) struct Collect {
    hashing: Hashing,
    id: u8,
}

impl BuildHasher for Hashing {
    type Hasher = Collect;

    fn build_hasher(&self) -> Collect {
        Collect { hashing: *self, id: 0 }
    }
}

impl Hasher for Collect {
    fn write(&mut self, bytes: &[u8]) {
        let [id] = bytes else { unreachable!("a key is hashed as one byte") };
        self.id = *id;
    }

    fn finish(&self) -> u64 {
        let id = u64::from(self.id);
        match self.hashing {
            Hashing::Good(seed) => {
                let mixed = (id | u64::from(seed) << 8 | 1 << 16).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                (mixed ^ mixed >> 29).wrapping_mul(0x94d0_49bb_1331_11eb)
            }
            Hashing::Identity => id,
            Hashing::Shifted => id << 56,
            Hashing::Few(hashes) => id % (u64::from(hashes) + 1),
            Hashing::Constant => 0,
        }
    }
}
