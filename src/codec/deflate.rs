//! DEFLATE as it is (RFC 1951), and what the formats around it share: the compressors' state, and a bounded decoder.

use std::cell::Cell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::{Codec, CodecError, make_room, state};

/// The most bytes that a byte of a DEFLATE stream opens to: a match of 258 bytes takes two bits at least.
const MOST_PER_BYTE: usize = 1032;

/// Raw DEFLATE, without a header and without a checksum: by themselves changed bytes may open to another value of the same
/// length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deflate {
    level: Level,
}

impl Deflate {
    /// The codec with a level from 0, which stores, over 1, which is fast, to 9, which is small. [`Deflate::default`] has 6.
    ///
    /// # Errors
    ///
    /// [`CodecError::Level`] if there is no such level.
    pub fn new(level: u32) -> Result<Self, CodecError> {
        Ok(Self { level: Level::new("deflate", level)? })
    }
}

impl Codec for Deflate {
    fn name(&self) -> &str {
        "deflate"
    }

    fn encode(&self, _key: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        compress("deflate", Wrapper::None, self.level, plain, out)
    }

    fn decode(&self, _key: &[u8], stored: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        decompress_all("deflate", Wrapper::None, stored, len, out)
    }
}

/// A level of compression, from 0 to 9.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level(u32);

impl Level {
    pub(super) fn new(codec: &str, level: u32) -> Result<Self, CodecError> {
        match level {
            0..=9 => Ok(Self(level)),
            _ => Err(CodecError::Level { codec: codec.into(), given: level.into(), min: 0, max: 9 }),
        }
    }

    pub(super) fn get(self) -> u32 {
        self.0
    }
}

impl Default for Level {
    fn default() -> Self {
        Self(6)
    }
}

/// What is around the stream that the library reads and writes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrapper {
    None,
    Zlib,
}

/// A compressor, and what it was made for.
struct Compressor {
    wrapper: Wrapper,
    level: Level,
    state: Compress,
}

thread_local! {
    /// One compressor for each wrapper and level that the thread has used: some 300 KiB each.
    static COMPRESSORS: Cell<Option<Vec<Compressor>>> = const { Cell::new(None) };
    static DECOMPRESSOR: Cell<Option<Decompress>> = const { Cell::new(None) };
}

/// Appends `plain`, compressed, to `out`.
pub(super) fn compress(
    codec: &str,
    wrapper: Wrapper,
    level: Level,
    plain: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    // The library counts a call's bytes in 32 bits, and would end the stream where its count ends.
    if u32::try_from(plain.len()).is_err() {
        return Err(CodecError::refused(codec, format_args!("{} bytes are more than {}", plain.len(), u32::MAX)));
    }
    state::with(&COMPRESSORS, Vec::new, |compressors| {
        let found = compressors.iter().position(|made| made.wrapper == wrapper && made.level == level);
        let at = found.unwrap_or_else(|| {
            let state = Compress::new(Compression::new(level.0), wrapper == Wrapper::Zlib);
            compressors.push(Compressor { wrapper, level, state });
            compressors.len() - 1
        });
        let compressor = &mut compressors[at].state;
        compressor.reset();
        // Enough for what does not shrink, in one call.
        out.reserve(plain.len() + plain.len() / 8 + 64);
        loop {
            let taken = compressor.total_in() as usize;
            let status = compressor
                .compress_vec(&plain[taken..], out, FlushCompress::Finish)
                .map_err(|error| CodecError::refused(codec, error))?;
            if status == Status::StreamEnd {
                return Ok(());
            }
            out.reserve(plain.len() / 8 + 64);
        }
    })
}

/// Appends the value in `stored`, all of which must be one stream of exactly `len` bytes.
pub(super) fn decompress_all(
    codec: &str,
    wrapper: Wrapper,
    stored: &[u8],
    len: usize,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let start = out.len();
    let taken = decompress(codec, wrapper, stored, len, out)?;
    if taken != stored.len() {
        let more = stored.len() - taken;
        return Err(CodecError::damaged(codec, format_args!("{more} bytes follow the end of the stream")));
    }
    match out.len() - start {
        found if found == len => Ok(()),
        found => Err(CodecError::length(codec, len, found)),
    }
}

/// Appends the value of the stream with which `stored` begins, of at most `most` bytes, and returns the stream's length.
pub(super) fn decompress(
    codec: &str,
    wrapper: Wrapper,
    stored: &[u8],
    most: usize,
    out: &mut Vec<u8>,
) -> Result<usize, CodecError> {
    if most / MOST_PER_BYTE > stored.len() {
        return Err(CodecError::damaged(codec, format_args!("{} bytes can't open to {most}", stored.len())));
    }
    let start = out.len();
    make_room(codec, most, out)?;
    state::with(
        &DECOMPRESSOR,
        || Decompress::new(false),
        |decompressor| {
            decompressor.reset(wrapper == Wrapper::Zlib);
            let damaged = |error| CodecError::damaged(codec, error);
            let mut status = decompressor.decompress_vec(stored, out, FlushDecompress::Finish).map_err(damaged)?;
            if status != Status::StreamEnd && out.len() - start >= most {
                // The end of the stream, its checksum perhaps, may still be to be read. One byte more would be too many.
                let rest = &stored[decompressor.total_in() as usize..];
                status = decompressor.decompress(rest, &mut [0], FlushDecompress::Finish).map_err(damaged)?;
            }
            let found = decompressor.total_out() as usize;
            match status {
                _ if found > most => Err(CodecError::length(codec, most, found)),
                Status::StreamEnd => Ok(decompressor.total_in() as usize),
                _ => Err(CodecError::damaged(codec, format_args!("the stream of {} bytes is cut", stored.len()))),
            }
        },
    )
}
