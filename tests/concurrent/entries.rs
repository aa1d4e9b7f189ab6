//! Keys and values that are counted, and that say whose they are.
//!
//! Knows how to tell a value that is foreign, torn or dropped from a good one, and makes keys collide.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash, Hasher};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use larder::Weigh;

/// How many keys and values of a test are alive.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alive(Arc<AtomicI64>);

impl Alive {
    pub(crate) fn key(&self, id: u64) -> Key {
        self.0.fetch_add(1, Relaxed);
        Key { id: Box::new(id), alive: self.clone() }
    }

    pub(crate) fn value(&self, id: u64, version: u64) -> Value {
        self.0.fetch_add(1, Relaxed);
        let len = 2 + (id ^ version) as usize % 16;
        Value { id, version, seals: vec![seal(id, version); len].into(), alive: self.clone() }
    }

    pub(crate) fn count(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// What nobody writes by accident.
pub(crate) fn seal(id: u64, version: u64) -> u64 {
    (id << 32 ^ version).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

/// A key that is on the heap, so that tools see a use after it was freed, and counted.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) id: Box<u64>,
    alive: Alive,
}

impl Borrow<u64> for Key {
    fn borrow(&self) -> &u64 {
        &self.id
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Key {}

impl Clone for Key {
    fn clone(&self) -> Self {
        self.alive.key(*self.id)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        *self.id = u64::MAX;
        black_box(&mut self.id);
        self.alive.0.fetch_sub(1, Relaxed);
    }
}

impl Weigh for Key {
    fn weigh(&self) -> u64 {
        8
    }
}

/// A value of some key and version.
#[derive(Debug)]
pub(crate) struct Value {
    pub(crate) id: u64,
    pub(crate) version: u64,
    seals: Box<[u64]>,
    alive: Alive,
}

impl Value {
    /// The version, if this is all of a living value of key `id`.
    #[track_caller]
    pub(crate) fn check(&self, id: u64) -> u64 {
        assert_eq!(self.id, id, "the value of another key");
        let seal = seal(id, self.version);
        assert!(self.seals.iter().all(|&found| found == seal), "a value that was dropped or is torn");
        self.version
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        self.check(self.id);
        self.alive.value(self.id, self.version)
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.check(self.id);
        self.seals.fill(0);
        black_box(&mut self.seals);
        self.alive.0.fetch_sub(1, Relaxed);
    }
}

impl Weigh for Value {
    fn weigh(&self) -> u64 {
        self.seals.len() as u64 * 8
    }
}

/// Hashes numbers, and keeps only some bits of it, so that keys collide.
#[derive(Clone, Copy)]
pub(crate) struct Keeping(pub(crate) u64);

pub(crate) struct KeepingHasher {
    mask: u64,
    hash: u64,
}

impl BuildHasher for Keeping {
    type Hasher = KeepingHasher;

    fn build_hasher(&self) -> KeepingHasher {
        KeepingHasher { mask: self.0, hash: 0 }
    }
}

impl Hasher for KeepingHasher {
    fn finish(&self) -> u64 {
        self.hash & self.mask
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.hash = (self.hash.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }
}
