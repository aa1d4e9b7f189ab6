//! The stored form of values: which codec wrote each, and when a value is better left as it is.
//!
//! A stored value begins with a number, as a varint (LEB128): 0 if the value follows as it is, otherwise that of the
//! codec that wrote it. There the value's true length follows, as a varint as well, and then what the codec wrote. Where
//! that has no [check](Codec::is_checked) of its own, the last four bytes are a checksum of all before them, the lower half
//! of XXH3-64, lowest byte first. It is compared before anything is decoded, so that the codec is only given what it wrote,
//! or once in four billion times something else. (Of 2 KiB it takes half the time of CRC-32, which is certain to see a
//! single bit, and with that 40 ns of a read by LZ4 or Snappy, which takes one microsecond or two.) A value that is stored
//! as it is has none: nothing is decoded, and its bytes are as safe as any others in memory.
//!
//! Numbers are never used twice, so that a codec can be replaced at any time: values that the older ones wrote stay
//! readable as long as those are kept. Numbers of which one changed bit makes 0 are not given, or an encoded value could
//! turn into one that is stored as it is.

use std::borrow::Cow;
use std::ops::{Deref, Range};
use std::sync::Arc;

use arc_swap::ArcSwap;
use twox_hash::xxhash3_64;

use super::counts::{Counts, Direction, PackCounts, RawReason};
use super::{Before, Codec, CodecError, state};

/// Values of fewer bytes are stored as they are, unless another minimum is set.
const MIN_SIZE: usize = 256;
/// A value has to shrink by this part of it to be stored encoded.
const LEAST_SAVING: usize = 8;
/// Codecs that are kept: the one in use, and those before it.
const MOST_CODECS: usize = 64;
/// The number that says a value is stored as it is.
const RAW: u32 = 0;
/// The length of a checksum.
const SUM_LEN: usize = 4;

/// A codec and the number by which stored values name it.
#[derive(Clone)]
struct Numbered {
    id: u32,
    codec: Arc<dyn Codec>,
    // As the codec said when it came, whatever it says later:
    /// whether what it writes depends on the key,
    binds_key: bool,
    /// whether a checksum follows that,
    has_sum: bool,
    /// and whether it must not be left out.
    must_encode: bool,
}

/// Turns values into their stored form and back, by the codec in use or, back, by those before it.
///
/// Neither direction takes a lock, nor writes to what other threads write to.
pub struct Packer {
    /// Oldest first; the last is in use. Never empty.
    codecs: ArcSwap<Vec<Numbered>>,
    min_size: usize,
    counts: Counts,
}

/// What a stored value is made of, by [`Packer::inspect`].
#[derive(Clone)]
pub struct Stored<'a> {
    codec: Option<Arc<dyn Codec>>,
    len: usize,
    start: usize,
    body: &'a [u8],
}

impl Packer {
    /// A packer with this codec in use.
    pub fn new(codec: Arc<dyn Codec>) -> Self {
        Self {
            codecs: ArcSwap::from_pointee(vec![Numbered::after(RAW, codec)]),
            min_size: MIN_SIZE,
            counts: Counts::new(),
        }
    }

    /// The same, with values of fewer bytes than this stored as they are (256 if it isn't set).
    #[must_use]
    pub fn with_min_size(mut self, bytes: usize) -> Self {
        self.min_size = bytes;
        self
    }

    /// Puts another codec in use. What the older ones wrote stays readable; of those the 63 latest are kept.
    pub fn set_codec(&self, codec: Arc<dyn Codec>) {
        self.codecs.rcu(|codecs| {
            let forgotten = (codecs.len() + 1).saturating_sub(MOST_CODECS);
            let mut next = codecs[forgotten..].to_vec();
            next.push(Numbered::after(Self::in_use(codecs).id, Arc::clone(&codec)));
            next
        });
    }

    /// The codec in use.
    pub fn codec(&self) -> Arc<dyn Codec> {
        Arc::clone(&Self::in_use(&self.codecs.load()).codec)
    }

    /// Forgets all codecs but the one in use: what the others wrote can't be read any more.
    pub fn forget_older(&self) {
        self.codecs.rcu(|codecs| codecs.last().cloned().into_iter().collect::<Vec<_>>());
    }

    /// What has been packed and unpacked so far.
    pub fn counts(&self) -> PackCounts {
        self.counts.snapshot()
    }

    /// Whether the value in `stored` is there as it is.
    pub(crate) fn is_raw(stored: &[u8]) -> bool {
        stored.first() == Some(&(RAW as u8))
    }

    /// The stored form of `plain`, in one allocation of its exact length.
    ///
    /// # Errors
    ///
    /// What the codec says, if it failed and must not be left out.
    pub fn pack(&self, key: &[u8], plain: &[u8]) -> Result<Box<[u8]>, CodecError> {
        self.pack_for(|| key, plain)
    }

    /// As [`pack`](Packer::pack), for a key that takes time to get: it is asked for if the codec depends on it.
    pub(crate) fn pack_for<B: Deref<Target = [u8]>>(
        &self,
        key: impl FnOnce() -> B,
        plain: &[u8],
    ) -> Result<Box<[u8]>, CodecError> {
        let codecs = self.codecs.load();
        let in_use = Self::in_use(&codecs);
        if let Some(len) = in_use.stored_len(plain.len()) {
            // If there is not so much, the codec was wrong, or says so itself.
            let mut stored = Vec::new();
            let _ = stored.try_reserve_exact(len);
            self.encode(in_use, key, plain, &mut stored)?;
            self.counts.packed(plain.len(), stored.len());
            return Ok(stored.into_boxed_slice());
        }
        self.pack_by_with(in_use, key, plain, |head, body| {
            let mut stored = Vec::with_capacity(head.len() + body.len());
            stored.extend_from_slice(head);
            stored.extend_from_slice(body);
            stored.into_boxed_slice()
        })
    }

    /// Gives the stored form of `plain` to `keep`, in two pieces that belong together in this order.
    ///
    /// # Errors
    ///
    /// What the codec says, if it failed and must not be left out.
    pub fn pack_with<R>(
        &self,
        key: &[u8],
        plain: &[u8],
        keep: impl FnOnce(&[u8], &[u8]) -> R,
    ) -> Result<R, CodecError> {
        let codecs = self.codecs.load();
        self.pack_by_with(Self::in_use(&codecs), || key, plain, keep)
    }

    fn pack_by_with<B: Deref<Target = [u8]>, R>(
        &self,
        in_use: &Numbered,
        key: impl FnOnce() -> B,
        plain: &[u8],
        keep: impl FnOnce(&[u8], &[u8]) -> R,
    ) -> Result<R, CodecError> {
        if plain.len() < self.min_size && !in_use.must_encode {
            self.counts.raw(plain.len(), RawReason::Small);
            return Ok(keep(&[RAW as u8], plain));
        }
        state::with_buffer(|buffer| match self.encode(in_use, key, plain, buffer)? {
            Some(reason) => {
                self.counts.raw(plain.len(), reason);
                Ok(keep(&[RAW as u8], plain))
            }
            None => {
                self.counts.packed(plain.len(), buffer.len());
                Ok(keep(buffer, &[]))
            }
        })
    }

    /// Writes the encoded form to `buffer`, which is empty, or says why the value is to be stored as it is.
    fn encode<B: Deref<Target = [u8]>>(
        &self,
        Numbered { id, codec, binds_key, has_sum, must_encode }: &Numbered,
        key: impl FnOnce() -> B,
        plain: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<Option<RawReason>, CodecError> {
        let key = binds_key.then(key);
        let key = key.as_deref().unwrap_or_default();
        put_varint(buffer, u64::from(*id));
        put_varint(buffer, plain.len() as u64);
        let (head, before) = (buffer.len(), Before::of(buffer));
        let result = self.counts.timed(Direction::Encode, plain.len(), || codec.encode(key, plain, buffer));
        let result = result.and_then(|()| before.check(&**codec, buffer));
        let nothing = buffer.len() <= head && !plain.is_empty();
        if *has_sum && result.is_ok() {
            let sum = checksum(buffer);
            buffer.extend_from_slice(&sum.to_le_bytes());
        }
        match (*must_encode, result) {
            (true, Ok(())) if nothing => Err(CodecError::refused(codec.name(), "it wrote nothing")),
            (true, result) => result.map(|()| None),
            (false, Err(_)) => Ok(Some(RawReason::Failed)),
            (false, Ok(())) => Ok((nothing || !shrinks(plain.len(), buffer.len())).then_some(RawReason::Unshrunk)),
        }
    }

    /// The value in `stored`: a part of it, where it was stored as it is.
    ///
    /// # Errors
    ///
    /// What the codec says, or that the bytes are not what [`pack`](Packer::pack) makes.
    pub fn unpack<'a>(&self, key: &[u8], stored: &'a [u8]) -> Result<Cow<'a, [u8]>, CodecError> {
        self.unpack_for(|| key, stored)
    }

    /// As [`unpack`](Packer::unpack), for a key that takes time to get: see [`pack_for`](Packer::pack_for).
    pub(crate) fn unpack_for<'a, B: Deref<Target = [u8]>>(
        &self,
        key: impl FnOnce() -> B,
        stored: &'a [u8],
    ) -> Result<Cow<'a, [u8]>, CodecError> {
        let head = Head::read(stored)?;
        if head.id == RAW {
            return self.check_raw().map(|()| Cow::Borrowed(head.body));
        }
        let mut plain = Vec::new();
        self.decode(key, stored, &head, &mut plain)?;
        Ok(Cow::Owned(plain))
    }

    /// Appends the value in `stored` to `out`, which after an error is as it was.
    ///
    /// # Errors
    ///
    /// As [`unpack`](Packer::unpack).
    pub fn unpack_into(&self, key: &[u8], stored: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        let head = Head::read(stored)?;
        if head.id == RAW {
            self.check_raw()?;
            out.extend_from_slice(head.body);
            return Ok(());
        }
        let start = out.len();
        self.decode(|| key, stored, &head, out).inspect_err(|_| out.truncate(start))
    }

    /// What `stored` is made of, without decoding it. The checksum is compared if there is one.
    ///
    /// # Errors
    ///
    /// That the bytes are not what [`pack`](Packer::pack) makes, or that their codec is not kept any more.
    pub fn inspect<'a>(&self, stored: &'a [u8]) -> Result<Stored<'a>, CodecError> {
        let head = Head::read(stored)?;
        let start = stored.len() - head.body.len();
        if head.id == RAW {
            self.check_raw()?;
            return Ok(Stored { codec: None, len: head.len, start, body: head.body });
        }
        let codecs = self.codecs.load();
        let numbered = Self::find(&codecs, head.id)?;
        let body = numbered.written(stored, &head)?;
        Ok(Stored { codec: Some(Arc::clone(&numbered.codec)), len: head.len, start, body })
    }

    /// Whether a value can have been stored as it is. Where all must be sealed it can't: it was put there by someone else.
    fn check_raw(&self) -> Result<(), CodecError> {
        let codecs = self.codecs.load();
        if codecs.iter().any(|numbered| !numbered.must_encode) {
            return Ok(());
        }
        Err(CodecError::damaged(Self::in_use(&codecs).codec.name(), "it is not encoded, and must be"))
    }

    fn decode<B: Deref<Target = [u8]>>(
        &self,
        key: impl FnOnce() -> B,
        stored: &[u8],
        head: &Head<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        let codecs = self.codecs.load();
        let numbered = Self::find(&codecs, head.id)?;
        let (codec, body, start) = (&numbered.codec, numbered.written(stored, head)?, out.len());
        let key = numbered.binds_key.then(key);
        let key = key.as_deref().unwrap_or_default();
        self.counts.timed(Direction::Decode, head.len, || codec.decode(key, body, head.len, out))?;
        match out.len().checked_sub(start) {
            Some(len) if len == head.len => Ok(()),
            other => Err(CodecError::length(codec.name(), head.len, other.unwrap_or(0))),
        }
    }

    fn in_use(codecs: &[Numbered]) -> &Numbered {
        codecs.last().expect("a packer always has a codec")
    }

    #[inline]
    fn find(codecs: &[Numbered], id: u32) -> Result<&Numbered, CodecError> {
        codecs.iter().rev().find(|numbered| numbered.id == id).ok_or(CodecError::UnknownCodec { id })
    }
}

impl Numbered {
    /// The codec under the next number after `last`.
    fn after(last: u32, codec: Arc<dyn Codec>) -> Self {
        // Of a power of two the bit itself, and of a multiple of 128 the one that says the varint goes on after its first byte.
        let is_near_raw = |id: u32| id.is_power_of_two() || id % 0x80 == 0;
        let id = (last.saturating_add(1)..u32::MAX).find(|&id| !is_near_raw(id)).unwrap_or(u32::MAX);
        let (binds_key, has_sum, must_encode) = (codec.binds_key(), !codec.is_checked(), codec.must_encode());
        Self { id, codec, binds_key, has_sum, must_encode }
    }

    /// The length of what is stored for a value of `len` bytes, where that is known before it is encoded: of a codec that
    /// must not be left out, since what another writes may not be kept.
    fn stored_len(&self, len: usize) -> Option<usize> {
        let encoded = self.must_encode.then(|| self.codec.encoded_len(len))??;
        let around = varint_len(self.id.into()) + varint_len(len as u64) + if self.has_sum { SUM_LEN } else { 0 };
        encoded.checked_add(around)
    }

    /// What the codec wrote of `stored`, whose checksum, if it has one, is compared.
    #[inline]
    fn written<'a>(&self, stored: &[u8], head: &Head<'a>) -> Result<&'a [u8], CodecError> {
        if !self.has_sum {
            return Ok(head.body);
        }
        let name = self.codec.name();
        let (written, noted) = head
            .body
            .split_last_chunk::<SUM_LEN>()
            .ok_or_else(|| CodecError::damaged(name, "the checksum after it is cut"))?;
        let (noted, found) = (u32::from_le_bytes(*noted), checksum(&stored[..stored.len() - SUM_LEN]));
        if noted == found { Ok(written) } else { Err(CodecError::checksum(name, noted, found)) }
    }
}

impl<'a> Stored<'a> {
    /// Where in what was inspected the bytes are that the codec wrote.
    pub(crate) fn range(&self) -> Range<usize> {
        self.start..self.start + self.body.len()
    }

    pub(crate) fn into_codec(self) -> Option<Arc<dyn Codec>> {
        self.codec
    }

    /// The name of the format that the bytes are in; `None` if they are the value as it is.
    pub fn format(&self) -> Option<&str> {
        self.codec.as_ref().map(|codec| codec.format_of(self.body).0)
    }

    /// The bytes, in that format.
    pub fn bytes(&self) -> &[u8] {
        self.codec.as_ref().map_or(self.body, |codec| codec.format_of(self.body).1)
    }

    /// The length of the value, decoded.
    pub fn plain_len(&self) -> usize {
        self.len
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    xxhash3_64::Hasher::oneshot(bytes) as u32
}

/// Whether a value of `len` bytes is better stored in `written` bytes than as it is.
pub(super) fn shrinks(len: usize, written: usize) -> bool {
    written <= len - len / LEAST_SAVING
}

/// A stored value, taken apart.
struct Head<'a> {
    id: u32,
    len: usize,
    body: &'a [u8],
}

impl<'a> Head<'a> {
    #[inline]
    fn read(stored: &'a [u8]) -> Result<Self, CodecError> {
        let damaged = |reason| CodecError::damaged("the cache", reason);
        let (id, rest) = take_varint(stored).ok_or_else(|| damaged("no codec is named"))?;
        let id = u32::try_from(id).map_err(|_| damaged("the codec's number is too large"))?;
        if id == RAW {
            return Ok(Self { id, len: rest.len(), body: rest });
        }
        let (len, body) = take_varint(rest).ok_or_else(|| damaged("no length is noted"))?;
        let len = usize::try_from(len).map_err(|_| damaged("the noted length is too large"))?;
        Ok(Self { id, len, body })
    }
}

/// Appends `number` as LEB128: seven bits a byte, lowest first, the eighth bit set on all but the last.
pub(super) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// How many bytes [`put_varint`] appends.
fn varint_len(number: u64) -> usize {
    (u64::BITS - (number | 1).leading_zeros()).div_ceil(7) as usize
}

/// Reads a number as [`put_varint`] writes it, and gives what follows. `None` if it is cut or more than 64 bits.
#[inline]
pub(super) fn take_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    match *bytes {
        // Nearly all are: a codec's number, and the length of a value of up to 16 KiB.
        [byte, ref rest @ ..] if byte < 0x80 => Some((byte.into(), rest)),
        [low, high, ref rest @ ..] if high < 0x80 => Some((u64::from(low & 0x7f) | u64::from(high) << 7, rest)),
        _ => take_long_varint(bytes),
    }
}

fn take_long_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    for (at, &byte) in bytes.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        if at == 9 && bits > 1 {
            return None;
        }
        number |= bits << (7 * at);
        if byte < 0x80 {
            return Some((number, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Halves a value by keeping every other byte, and appends what its key is.
    struct Half {
        must: bool,
    }

    impl Codec for Half {
        fn name(&self) -> &str {
            "half"
        }

        fn encode(&self, key: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
            if plain.first() == Some(&b'!') {
                return Err(CodecError::refused("half", "it does not like it"));
            }
            if plain.first() != Some(&b'-') {
                out.extend(plain.iter().step_by(2));
                out.extend(key);
            }
            Ok(())
        }

        fn decode(&self, key: &[u8], stored: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
            let half = stored.strip_suffix(key).ok_or_else(|| CodecError::damaged("half", "another key"))?;
            out.extend(half.iter().flat_map(|byte| [byte; 2]).take(len));
            Ok(())
        }

        fn binds_key(&self) -> bool {
            true
        }

        fn must_encode(&self) -> bool {
            self.must
        }
    }

    /// The same bytes, and their checksum.
    fn summed(stored: &[u8]) -> Vec<u8> {
        [stored, &checksum(stored).to_le_bytes()].concat()
    }

    #[test]
    fn values_come_back() {
        let packer = Packer::new(Arc::new(Half { must: false }));
        for len in [0, 1, 255, 256, 257, 100_000] {
            let plain = vec![b'x'; len];
            let stored = packer.pack(b"key", &plain).unwrap();
            let unpacked = packer.unpack(b"key", &stored).unwrap();
            assert_eq!(*unpacked, plain);
            assert_eq!(matches!(unpacked, Cow::Borrowed(_)), len < 256);
            let mut out = b"before".to_vec();
            packer.unpack_into(b"key", &stored, &mut out).unwrap();
            assert_eq!(out, [b"before", &plain[..]].concat());
        }
    }

    #[test]
    fn what_does_not_shrink_is_stored_as_it_is() {
        let packer = Packer::new(Arc::new(Half { must: false })).with_min_size(10);
        let value = |first: u8, len: usize| [vec![first], vec![b'x'; len - 1]].concat();
        // Half of 100, 2 bytes before it and 4 after it are within 88; with a key of 33 they are not.
        for (key_len, first, len, raw) in [
            (0, b'x', 9, true),
            (0, b'x', 100, false),
            (32, b'x', 100, false),
            (33, b'x', 100, true),
            (0, b'!', 100, true),
            (0, b'-', 100, true),
        ] {
            let (key, plain) = (vec![7; key_len], value(first, len));
            let stored = packer.pack(&key, &plain).unwrap();
            assert_eq!(stored[0] == 0, raw, "{key_len} {first} {len}");
            assert_eq!(packer.inspect(&stored).unwrap().format(), (!raw).then_some("half"));
            assert_eq!(stored.len(), if raw { 1 + len } else { 2 + len / 2 + key_len + SUM_LEN });
        }
        let counts = packer.counts();
        assert_eq!((counts.encoded, counts.raw_small, counts.raw_unshrunk, counts.raw_failed), (2, 1, 2, 1));
        assert_eq!((counts.bytes_before, counts.bytes_after), (509, 10 + 56 + 88 + 3 * 101));
    }

    #[test]
    fn a_codec_that_must_encode_is_never_left_out() {
        let packer = Packer::new(Arc::new(Half { must: true }));
        let stored = packer.pack(b"a long key", b"x").unwrap();
        assert_eq!(stored[..], summed(b"\x03\x01xa long key"));
        assert_eq!(&*packer.unpack(b"a long key", &stored).unwrap(), b"x");
        assert!(matches!(packer.pack(b"", b"!"), Err(CodecError::Refused { .. })));
        assert!(matches!(packer.pack(b"", b"-"), Err(CodecError::Refused { .. })));
        // Nobody stores a value as it is, so nobody reads one.
        assert!(matches!(packer.unpack(b"", b"\x00forged"), Err(CodecError::Damaged { .. })));
        assert!(matches!(packer.unpack_into(b"", b"\x00forged", &mut Vec::new()), Err(CodecError::Damaged { .. })));
    }

    #[test]
    fn older_codecs_can_be_forgotten() {
        let packer = Packer::new(Arc::new(Half { must: false }));
        let older = packer.pack(b"", &[b'x'; 1000]).unwrap();
        let raw = packer.pack(b"", b"x").unwrap();
        packer.set_codec(Arc::new(Half { must: true }));
        assert_eq!(*packer.unpack(b"", &older).unwrap(), [b'x'; 1000]);
        assert_eq!(*packer.unpack(b"", &raw).unwrap(), *b"x");
        packer.forget_older();
        assert_eq!(packer.unpack(b"", &older).unwrap_err(), CodecError::UnknownCodec { id: 3 });
        assert!(matches!(packer.unpack(b"", &raw), Err(CodecError::Damaged { .. })));
        let newer = packer.pack(b"", b"x").unwrap();
        assert_eq!(*packer.unpack(b"", &newer).unwrap(), *b"x");
    }

    #[test]
    fn older_codecs_serve_until_there_are_too_many() {
        let packer = Packer::new(Arc::new(Half { must: false }));
        let plain = [b'x'; 1000];
        let mut stored = Vec::new();
        for _ in 0..200 {
            stored.push(packer.pack(b"", &plain).unwrap());
            packer.set_codec(Arc::new(Half { must: false }));
        }
        let (old, kept) = stored.split_at(200 - (MOST_CODECS - 1));
        assert!(kept.iter().all(|stored| *packer.unpack(b"", stored).unwrap() == plain));
        assert!(old.iter().all(|stored| matches!(packer.unpack(b"", stored), Err(CodecError::UnknownCodec { .. }))));
    }

    #[test]
    fn damaged_values_are_errors() {
        let packer = Packer::new(Arc::new(Half { must: false }));
        let damaged: [&[u8]; 8] = [
            b"",
            b"\x80",
            b"\x03",
            b"\x03\x80",
            b"\x02\x01x",
            b"\xff\xff\xff\xff\x10\x01x",
            b"\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02x",
            b"\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x",
        ];
        for stored in damaged {
            // Four zeros, the sum of nothing, are a value that is stored as it is.
            let summed = (!stored.is_empty()).then(|| summed(stored));
            for stored in [Some(stored.to_vec()), summed].into_iter().flatten() {
                let mut out = b"before".to_vec();
                packer.unpack_into(b"", &stored, &mut out).unwrap_err();
                packer.unpack(b"", &stored).unwrap_err();
                assert_eq!(out, b"before", "{stored:?}");
            }
        }
        assert_eq!(packer.unpack(b"", &summed(b"\x03\x05xy")).unwrap_err(), CodecError::length("half", 5, 4));
        assert!(matches!(packer.unpack(b"k", &summed(b"\x03\x05xyz")), Err(CodecError::Damaged { .. })));
        assert!(matches!(packer.unpack(b"", b"\x03\x05xyz"), Err(CodecError::Damaged { .. })), "no room for a sum");
    }

    #[test]
    fn a_checksum_that_is_not_the_bytes_names_the_codec_and_both_sums() {
        let packer = Packer::new(Arc::new(Half { must: false }));
        let mut stored = packer.pack(b"", &[b'x'; 1000]).unwrap();
        let noted = checksum(&stored[..stored.len() - SUM_LEN]);
        // "Half" itself would take it for another value.
        stored[100] ^= 1;
        let found = checksum(&stored[..stored.len() - SUM_LEN]);
        let error = CodecError::checksum("half", noted, found);
        assert_eq!(packer.unpack(b"", &stored).unwrap_err(), error);
        assert_eq!(packer.inspect(&stored).map(|_| ()).unwrap_err(), error);
        let text = error.to_string();
        for part in ["half".to_owned(), format!("{noted:08x}"), format!("{found:08x}")] {
            assert!(text.contains(&part), "{text}");
        }
    }

    #[test]
    fn no_number_is_one_bit_from_that_of_values_stored_as_they_are() {
        let mut last = RAW;
        for _ in 0..40_000 {
            last = Numbered::after(last, Arc::new(Half { must: false })).id;
            let mut bytes = Vec::new();
            put_varint(&mut bytes, last.into());
            for bit in 0..8 * bytes.len() {
                let mut changed = [&bytes[..], &[1, 1]].concat();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(take_varint(&changed).is_none_or(|(id, _)| id != u64::from(RAW)), "{last}: bit {bit}");
            }
        }
        assert_eq!(Numbered::after(u32::MAX, Arc::new(Half { must: false })).id, u32::MAX);
    }

    #[test]
    fn varints_come_back() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX >> 1, u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            assert_eq!(bytes.len(), varint_len(number));
            bytes.push(9);
            assert_eq!(take_varint(&bytes), Some((number, &[9][..])));
            assert_eq!(take_varint(&bytes[..bytes.len() - 2]), None);
        }
    }
}
