//! One item in one block of memory: header, key and value, behind a thin pointer.
//!
//! Knows how an item's bytes lie. Knows no time, no codec and no command.
//!
//! # What an item costs
//!
//! ```text
//! offset  0   last access and marks, 4 bytes, the only ones that change ([`State`])
//!         4   shape: how wide the fields below are, and which are there
//!         5   length of the key
//!         6   key
//!             length of the value, 1 to 4 bytes
//!             cas unique, 1 to 8 bytes
//!             client flags, 4 bytes, where they are not 0
//!             birth, 8 bytes, where it is not the cas unique
//!             value
//! ```
//!
//! A small item costs 10 or 11 bytes beside its key and value, and one cache miss: key comparison, flags and value are
//! neighbours. The crates that offer a thin pointer to a slice keep a length and a count of owners, eight bytes each;
//! here the cache's node is the only owner, it is lent by guards, and the length follows from the header.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::Weigh;

/// The longest key, as in memcached.
pub const MAX_KEY_LEN: usize = 250;

/// The longest value a block has a length for.
pub(super) const MAX_VALUE_LEN: usize = u32::MAX as usize;

const SHAPE: usize = 4;
const KEY: usize = 6;

/// The shape byte: bits 0 and 1 the width of the value's length less one, bits 2 to 4 that of the cas unique less one ...
const CAS_SHIFT: u8 = 2;
/// ... and whether there are flags ...
const HAS_FLAGS: u8 = 1 << 5;
/// ... and a birth.
const HAS_BIRTH: u8 = 1 << 6;

/// See the [module's documentation](self).
pub(super) struct Block(NonNull<u8>);

/// What a block is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    /// Client flags.
    pub(super) flags: u32,
    pub(super) cas: u64,
    /// The number of the change that made the item; they grow. Mostly the cas unique.
    pub(super) birth: u64,
    pub(super) state: State,
}

/// The part of an item that changes where it lies: four marks, and above them the second of the last access.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State(u32);

impl State {
    /// It was read since it was stored.
    pub(super) const FETCHED: u32 = 1;
    /// It was marked as old: whoever reads it next may make a new one.
    pub(super) const STALE: u32 = 2;
    /// Somebody was told to make a new one.
    pub(super) const TOKEN_SENT: u32 = 4;
    /// The key was in base64 when the item was stored.
    pub(super) const BINARY_KEY: u32 = 8;
    const MARKS: u32 = 0b1111;
    const SECOND_SHIFT: u32 = 4;

    pub(super) fn new(second: u32, marks: u32) -> Self {
        Self(second << Self::SECOND_SHIFT | marks)
    }

    pub(super) fn has(self, mark: u32) -> bool {
        self.0 & mark != 0
    }

    /// All marks.
    pub(super) fn marks(self) -> u32 {
        self.0 & Self::MARKS
    }

    /// The same second with these marks.
    pub(super) fn with_marks(self, marks: u32) -> Self {
        Self(self.0 & !Self::MARKS | marks)
    }

    /// Seconds from the last access to `second`.
    pub(super) fn idle_seconds(self, second: u32) -> u32 {
        // 28 bits, eight years: they may wrap.
        (second << Self::SECOND_SHIFT).wrapping_sub(self.0 & !Self::MARKS) >> Self::SECOND_SHIFT
    }
}

/// A block's header, read, and its value.
#[derive(Clone, Copy)]
pub(super) struct Parts<'b> {
    pub(super) flags: u32,
    pub(super) cas: u64,
    pub(super) birth: u64,
    pub(super) value: &'b [u8],
}

// SAFETY: a block owns its memory as a box does. Shared, its bytes are only read, but for the first four, which are only
// used as an atomic.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    /// A block of `key` and the value that the two pieces make together. The caller has seen to it that the key is at most
    /// [`MAX_KEY_LEN`] long and the value [`MAX_VALUE_LEN`].
    pub(super) fn new(fields: Fields, key: &[u8], value: [&[u8]; 2]) -> Self {
        let Fields { flags, cas, birth, state } = fields;
        let value_len = value[0].len() + value[1].len();
        assert!(key.len() <= MAX_KEY_LEN && value_len <= MAX_VALUE_LEN, "lengths are looked at before");
        let (len_width, cas_width) = (width(value_len as u64), width(cas));
        let has = |present: bool, bit: u8| if present { bit } else { 0 };
        let shape = (len_width - 1) as u8
            | (cas_width as u8 - 1) << CAS_SHIFT
            | has(flags != 0, HAS_FLAGS)
            | has(birth != cas, HAS_BIRTH);
        let total = total_len(shape, key.len(), value_len);
        let mut filler = Filler::new(total);
        filler.put(&state.0.to_ne_bytes());
        filler.put(&[shape, key.len() as u8]);
        filler.put(key);
        filler.put(&(value_len as u64).to_le_bytes()[..len_width]);
        filler.put(&cas.to_le_bytes()[..cas_width]);
        if flags != 0 {
            filler.put(&flags.to_le_bytes());
        }
        if birth != cas {
            filler.put(&birth.to_le_bytes());
        }
        filler.put(value[0]);
        filler.put(value[1]);
        filler.finish()
    }

    /// How long a block of these would be.
    pub(super) fn len_for(fields: &Fields, key_len: usize, value_len: usize) -> usize {
        let extras = if fields.flags != 0 { 4 } else { 0 } + if fields.birth != fields.cas { 8 } else { 0 };
        KEY + key_len + width(value_len as u64) + width(fields.cas) + extras + value_len
    }

    #[inline]
    fn shape(&self) -> u8 {
        // SAFETY: every block has this byte, and all its bytes are written before it is made.
        unsafe { *self.0.as_ptr().add(SHAPE) }
    }

    #[inline]
    pub(super) fn key(&self) -> &[u8] {
        // SAFETY: as above; the byte after the shape is the length of the key, which begins behind it.
        unsafe {
            let len = *self.0.as_ptr().add(SHAPE + 1);
            slice::from_raw_parts(self.0.as_ptr().add(KEY), len.into())
        }
    }

    #[inline]
    pub(super) fn parts(&self) -> Parts<'_> {
        let shape = self.shape();
        let (mut at, widths) = (KEY + self.key().len(), widths(shape));
        let len = self.number(&mut at, widths.0) as usize;
        let cas = self.number(&mut at, widths.1);
        let flags = if shape & HAS_FLAGS != 0 { self.number(&mut at, 4) as u32 } else { 0 };
        let birth = if shape & HAS_BIRTH != 0 { self.number(&mut at, 8) } else { cas };
        // SAFETY: `new` made the block this long, and wrote the value here.
        let value = unsafe { slice::from_raw_parts(self.0.as_ptr().add(at), len) };
        Parts { flags, cas, birth, value }
    }

    /// The number of `width` bytes at `at`, which moves past it.
    #[inline]
    fn number(&self, at: &mut usize, width: usize) -> u64 {
        let mut number = 0;
        for byte in 0..width {
            // SAFETY: called by `parts` and `len` only, for the fields that the shape says are there.
            number |= u64::from(unsafe { *self.0.as_ptr().add(*at + byte) }) << (8 * byte);
        }
        *at += width;
        number
    }

    /// The bytes of the block.
    pub(super) fn len(&self) -> usize {
        let (shape, key_len) = (self.shape(), self.key().len());
        let value_len = self.number(&mut (KEY + key_len), widths(shape).0);
        total_len(shape, key_len, value_len as usize)
    }

    #[inline]
    fn state_word(&self) -> &AtomicU32 {
        // SAFETY: the block is aligned for it, and begins with these four bytes, which are used in no other way.
        unsafe { self.0.cast().as_ref() }
    }

    /// Relaxed, here and below: the state says nothing about other memory.
    #[inline]
    pub(super) fn state(&self) -> State {
        State(self.state_word().load(Relaxed))
    }

    /// Notes an access in this second. Writes only what changes, so an item that is read often stays shared.
    #[inline]
    pub(super) fn note_access(&self, second: u32) {
        let before = self.state();
        let after = State::new(second, before.marks() | State::FETCHED);
        if before != after {
            // Should it fail, another access was noted just now, or the token handed out.
            let _ = self.state_word().compare_exchange(before.0, after.0, Relaxed, Relaxed);
        }
    }

    /// Hands out the token, of which there is one; whether it was still there.
    pub(super) fn take_token(&self) -> bool {
        self.state_word().fetch_or(State::TOKEN_SENT, Relaxed) & State::TOKEN_SENT == 0
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated by `Filler::new` with this layout.
        unsafe { dealloc(self.0.as_ptr(), layout(self.len())) }
    }
}

/// Two blocks are equal, for the cache, if they have the same key.
impl PartialEq for Block {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Block {}

impl Hash for Block {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// So any `&[u8]` finds it.
impl Borrow<[u8]> for Block {
    fn borrow(&self) -> &[u8] {
        self.key()
    }
}

impl Weigh for Block {
    fn weigh(&self) -> u64 {
        self.len() as u64
    }
}

/// How many bytes a number takes, at least one.
#[inline]
fn width(number: u64) -> usize {
    (8 - number.leading_zeros() as usize / 8).max(1)
}

/// The widths of the value's length and of the cas unique.
#[inline]
fn widths(shape: u8) -> (usize, usize) {
    (usize::from(shape & 0b11) + 1, usize::from(shape >> CAS_SHIFT & 0b111) + 1)
}

#[inline]
fn total_len(shape: u8, key_len: usize, value_len: usize) -> usize {
    let (len_width, cas_width) = widths(shape);
    let flags = if shape & HAS_FLAGS != 0 { 4 } else { 0 };
    let birth = if shape & HAS_BIRTH != 0 { 8 } else { 0 };
    KEY + key_len + len_width + cas_width + flags + birth + value_len
}

fn layout(len: usize) -> Layout {
    Layout::from_size_align(len, align_of::<AtomicU32>()).expect("at most 4 GiB and a header")
}

/// A block that is being written.
struct Filler {
    memory: NonNull<u8>,
    filled: usize,
    total: usize,
}

impl Filler {
    fn new(total: usize) -> Self {
        let layout = layout(total);
        // SAFETY: the layout is not of size zero: a block has a header.
        let memory = unsafe { alloc(layout) };
        Self { memory: NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout)), filled: 0, total }
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.total - self.filled, "the length was computed from the same fields");
        // SAFETY: there is room, as was just seen, and nobody else knows the memory.
        unsafe { self.memory.as_ptr().add(self.filled).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        self.filled += bytes.len();
    }

    fn finish(self) -> Block {
        assert_eq!(self.filled, self.total, "the length was computed from the same fields");
        Block(self.memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(flags: u32, cas: u64, birth: u64) -> Fields {
        Fields { flags, cas, birth, state: State::new(7, State::STALE) }
    }

    #[test]
    fn gives_back_what_was_put_in() {
        let numbers = [0, 1, 255, 256, 65_535, 65_536, 1 << 24, u64::from(u32::MAX), 1 << 40, 1 << 56, u64::MAX];
        for (key_len, value_len) in [(0, 0), (1, 0), (14, 32), (250, 255), (250, 256), (3, 70_000)] {
            let (key, value) = (vec![b'k'; key_len], vec![b'v'; value_len]);
            for cas in numbers {
                for flags in [0, 1, u32::MAX] {
                    for birth in [cas, 77] {
                        let fields = fields(flags, cas, birth);
                        let (one, two) = value.split_at(value_len / 3);
                        let block = Block::new(fields, &key, [one, two]);
                        let parts = block.parts();
                        assert_eq!(block.key(), key);
                        assert_eq!((parts.flags, parts.cas, parts.birth), (flags, cas, birth));
                        assert_eq!(parts.value, value);
                        assert_eq!(block.len(), Block::len_for(&fields, key_len, value_len));
                        assert!(block.state().has(State::STALE));
                    }
                }
            }
        }
    }

    #[test]
    fn a_small_item_costs_ten_bytes_more_than_key_and_value() {
        let block = Block::new(fields(0, 1_000_000, 1_000_000), &[b'k'; 14], [&[b'v'; 32], &[]]);
        assert_eq!(block.len(), 14 + 32 + 10);
        assert_eq!(size_of::<Option<Block>>(), size_of::<usize>());
    }

    #[test]
    fn an_access_keeps_the_marks_and_the_token_is_given_once() {
        let block = Block::new(fields(0, 1, 1), b"k", [b"", b""]);
        assert!(!block.state().has(State::FETCHED));
        block.note_access(9);
        assert_eq!(block.state().idle_seconds(12), 3);
        assert!(block.state().has(State::FETCHED) && block.state().has(State::STALE));
        assert!(block.take_token());
        assert!(!block.take_token());
        block.note_access(10);
        assert_eq!(block.state().marks(), State::STALE | State::TOKEN_SENT | State::FETCHED);
    }

    #[test]
    fn seconds_wrap() {
        let last = (1 << 29) - 1;
        assert_eq!(State::new(last, 0).idle_seconds(2), 3);
    }
}
