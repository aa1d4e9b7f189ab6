//! The loads that are under way in a stripe, as far as it has to know: whether their keys were written to since.
//!
//! Knows hashes and the numbers of loads. Knows no key: loads of two keys with one hash end together, which costs them no
//! more than that their results are not stored.

use hashbrown::HashTable;

use super::index::Hash;

/// The loads of keys that were absent, or due, when they began, and were not written to since. Allocates nothing until there
/// is one, and keeps nothing when they are over.
pub(super) struct Loads {
    under_way: HashTable<Load>,
    next: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Load {
    hash: Hash,
    number: u64,
}

/// The stripe's hash, spread over 64 bits.
fn spread(hash: Hash) -> u64 {
    u64::from(hash.bits()).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Loads {
    pub(super) fn new() -> Self {
        Self { under_way: HashTable::new(), next: 0 }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Remembers a load, and gives its number.
    pub(super) fn begin(&mut self, hash: Hash) -> u64 {
        let number = self.next;
        self.next += 1;
        self.under_way.insert_unique(spread(hash), Load { hash, number }, |load| spread(load.hash));
        number
    }

    pub(super) fn contains(&self, hash: Hash, number: u64) -> bool {
        self.under_way.find(spread(hash), |load| *load == Load { hash, number }).is_some()
    }

    /// Forgets a load, if it is still known.
    pub(super) fn end(&mut self, hash: Hash, number: u64) {
        self.remove(hash, |load| load.number == number);
    }

    /// Forgets those of a key that is written to.
    #[inline]
    pub(super) fn end_of(&mut self, hash: Hash) {
        if !self.is_empty() {
            while self.remove(hash, |_| true) {}
        }
    }

    pub(super) fn end_all(&mut self) {
        self.under_way = HashTable::new();
    }

    fn remove(&mut self, hash: Hash, is_it: impl Fn(&Load) -> bool) -> bool {
        let found = self.under_way.find_entry(spread(hash), |load| load.hash == hash && is_it(load));
        let Ok(found) = found else { return false };
        found.remove();
        // What many at once have made large is given back, a part of it at a time.
        if self.under_way.len() <= self.under_way.capacity() / 8 {
            self.under_way.shrink_to_fit(|load| spread(load.hash));
        }
        true
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_write_ends_the_loads_of_its_key_and_no_others() {
        let mut loads = Loads::new();
        let hash = |key: u32| Hash::new(key.wrapping_mul(0x9e37_79b9));
        let numbers: Vec<_> = (0..1_000).map(|key| loads.begin(hash(key % 500))).collect();
        let there =
            |loads: &Loads, key: u32| [key, key + 500].map(|at| loads.contains(hash(key), numbers[at as usize]));
        loads.end_of(hash(7));
        loads.end(hash(8), numbers[8]);
        assert!(!loads.contains(hash(9), numbers[10]), "a number of another key");
        for key in 0..500 {
            let expected = match key {
                7 => [false, false],
                8 => [false, true],
                _ => [true, true],
            };
            assert_eq!(there(&loads, key), expected, "{key}");
        }
        (0..500).for_each(|key| loads.end_of(hash(key)));
        assert!(loads.is_empty());
        assert_eq!(loads.under_way.capacity(), 0);
        let number = loads.begin(hash(1));
        loads.end_all();
        assert!(!loads.contains(hash(1), number));
        assert_eq!(loads.under_way.capacity(), 0);
    }
}
