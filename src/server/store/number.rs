//! Arithmetic on values that are numbers: `incr decr`, and `ma`.

use super::block::Block;
use super::counts::Counter;
use super::time::Exptime;
use super::write::{Mode, Stored, Write};
use super::{ServerCache, Shared};
use crate::{Change, Outcome};

/// What is to be counted, and how: what the arithmetic commands say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// By how much.
    pub delta: u64,
    /// Whether it is taken away, which stops at 0, and not added, which wraps at 2^64.
    pub down: bool,
    /// Only if this is the item's cas unique: `C`. 0 says nothing.
    pub compare: Option<u64>,
    /// The cas unique that the item is to get, in place of the number of the change: `E`.
    pub cas: Option<u64>,
    /// The expiry time that it is to get; the present one stays where nothing is said: `T`.
    pub touch: Option<Exptime>,
    /// Where there is none, an item with this number is put in that expires then: `N` and `J`.
    pub vivify: Option<(u64, Exptime)>,
    /// The key of that item is one of bytes: `b`.
    pub binary_key: bool,
}

impl Count {
    /// Adds `delta`.
    pub fn up(delta: u64) -> Self {
        Self { delta, down: false, compare: None, cas: None, touch: None, vivify: None, binary_key: false }
    }

    /// Takes `delta` away.
    pub fn down(delta: u64) -> Self {
        Self { down: true, ..Self::up(delta) }
    }

    fn of(&self, number: u64) -> u64 {
        if self.down { number.saturating_sub(self.delta) } else { number.wrapping_add(self.delta) }
    }
}

/// What came of a [`Count`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Counted {
    /// The item holds this number now.
    Number {
        /// The number.
        number: u64,
        /// The item's cas unique.
        cas: u64,
    },
    /// There is no item.
    NotFound,
    /// The value is not a number of 64 bits.
    NotANumber,
    /// The item has another cas unique.
    Exists,
    /// There is no room for the number, and nothing may be evicted for it.
    NoMemory,
    /// The number can't be stored, for whatever other reason a value can't.
    NotStored,
}

impl Counted {
    fn refused(stored: Stored) -> Self {
        if stored == Stored::NoMemory { Self::NoMemory } else { Self::NotStored }
    }
}

impl ServerCache {
    /// Adds to or takes from the number that the value of a key is, in decimal digits: one step. Takes a lock for a moment.
    ///
    /// A result of fewer digits than the value had is filled up with spaces, as memcached does. Flags stay.
    ///
    /// # Examples
    ///
    /// ```
    /// use larder::server::{Count, Counted, Exptime, ServerCache};
    ///
    /// let cache = ServerCache::builder().build()?;
    /// let visits = |key: &[u8]| match cache.count(key, &Count { vivify: Some((1, Exptime::Never)), ..Count::up(1) }) {
    ///     Counted::Number { number, .. } => Some(number),
    ///     _ => None,
    /// };
    /// assert_eq!([visits(b"Ann"), visits(b"Ann")], [Some(1), Some(2)]);
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    pub fn count(&self, key: &[u8], count: &Count) -> Counted {
        let counted = loop {
            match (self.count_if_there(key, count), count.vivify) {
                (Counted::NotFound, Some((number, exptime))) => {
                    let digits = number.to_string();
                    let new = Write { key, value: digits.as_bytes(), exptime, mode: Mode::Add, ..Write::default() };
                    match self.store_if(&Write { cas: count.cas, binary_key: count.binary_key, ..new }, 0) {
                        Stored::Stored { cas } => {
                            self.shared.counts.count(Counter::TotalItems);
                            self.count_number(count, false);
                            return Counted::Number { number, cas };
                        }
                        // Somebody else was faster.
                        Stored::NotStored => {}
                        refused => return Counted::refused(refused),
                    }
                }
                (counted, _) => break counted,
            }
        };
        self.count_number(count, counted != Counted::NotFound);
        counted
    }

    fn count_number(&self, count: &Count, found: bool) {
        self.shared.counts.count(match (count.down, found) {
            (false, true) => Counter::IncrHits,
            (false, false) => Counter::IncrMisses,
            (true, true) => Counter::DecrHits,
            (true, false) => Counter::DecrMisses,
        });
    }

    fn count_if_there(&self, key: &[u8], count: &Count) -> Counted {
        let shared = &*self.shared;
        let gone_below = shared.gone_below();
        let mut counted = Counted::NotFound;
        let outcome = shared.cache.compute(key, |entry| {
            let old = entry.map(|(block, ())| block).filter(|block| block.parts().birth >= gone_below);
            let (decided, change) = match old {
                None => (Counted::NotFound, Change::Keep),
                Some(old) => shared.decide_number(count, old),
            };
            counted = decided;
            change
        });
        if outcome == Outcome::Rejected { Counted::NotStored } else { counted }
    }
}

impl Shared {
    fn decide_number(&self, count: &Count, old: &Block) -> (Counted, Change<Block, ()>) {
        let parts = old.parts();
        if count.compare.is_some_and(|compare| compare != 0 && compare != parts.cas) {
            return (Counted::Exists, Change::Keep);
        }
        let Some(plain) = self.unpack(old) else { return (Counted::NotFound, Change::Remove) };
        let Some(number) = parse_number(&plain) else { return (Counted::NotANumber, Change::Keep) };
        let number = count.of(number);
        // Not by a width in a format, which ends at 65,535.
        let mut digits = number.to_string().into_bytes();
        digits.resize(digits.len().max(plain.len()), b' ');
        let write = Write { key: old.key(), flags: parts.flags, cas: count.cas, ..Write::default() };
        match self.make(&write, [&*digits, &[]], old.state().marks(), Some(old)) {
            Ok((cas, block)) => (Counted::Number { number, cas }, self.put_or_keep_time(block, count.touch)),
            Err(refused) => (Counted::refused(refused), Change::Keep),
        }
    }
}

/// The number in a value: decimal digits, a plus sign and white space before them, and white space and whatever else after
/// that, as C's `strtoull` and memcached have it.
fn parse_number(value: &[u8]) -> Option<u64> {
    let value = value.trim_ascii_start();
    let value = value.strip_prefix(b"+").unwrap_or(value);
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = value.split_at(digits);
    if digits.is_empty() || rest.first().is_some_and(|byte| !byte.is_ascii_whitespace() && *byte != 0) {
        return None;
    }
    let add = |number: u64, digit: &u8| number.checked_mul(10)?.checked_add((digit - b'0').into());
    digits.iter().try_fold(0, add)
}

#[cfg(test)]
mod tests {
    use super::parse_number;

    #[test]
    fn numbers_are_read_as_memcached_reads_them() {
        let read = [
            ("0", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("000000000000000000012", Some(12)),
            ("12  ", Some(12)),
            ("  12", Some(12)),
            ("+12", Some(12)),
            ("12 ab", Some(12)),
            ("12ab", None),
            ("-1", None),
            ("", None),
            (" ", None),
            ("abc", None),
            ("12\0", Some(12)),
        ];
        for (text, number) in read {
            assert_eq!(parse_number(text.as_bytes()), number, "{text:?}");
        }
    }
}
