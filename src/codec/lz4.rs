//! LZ4, in its block format. See `lz4_Block_format.md` of the reference implementation.

use std::cell::Cell;

use lz4_flex::block::{
    CompressTable, DecompressError, compress_into_with_table, decompress_into, get_maximum_output_size,
};

use super::{Codec, CodecError, make_room, state};

/// The most bytes that a byte of a block opens to: it adds 255 to a match's length.
const MOST_PER_BYTE: usize = 255;
/// The most that the reference implementation takes, `LZ4_MAX_INPUT_SIZE`.
const MOST_PLAIN: usize = 0x7E00_0000;
/// From here on positions take more than 16 bits.
const LARGE: usize = u16::MAX as usize;

thread_local! {
    static SMALL_TABLE: Cell<Option<CompressTable>> = const { Cell::new(None) };
    static LARGE_TABLE: Cell<Option<CompressTable>> = const { Cell::new(None) };
}

/// LZ4: fast, above all to read. Block format, which has no checksum: by themselves changed bytes may open to another value
/// of the same length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lz4;

impl Lz4 {
    /// The codec; it has no settings.
    pub fn new() -> Self {
        Self
    }
}

impl Codec for Lz4 {
    fn name(&self) -> &str {
        "lz4"
    }

    fn encode(&self, _key: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        if plain.len() > MOST_PLAIN {
            return Err(CodecError::refused("lz4", format_args!("{} bytes are more than {MOST_PLAIN}", plain.len())));
        }
        let start = out.len();
        out.resize(start + get_maximum_output_size(plain.len()), 0);
        let block = &mut out[start..];
        let written = if plain.len() < LARGE {
            state::with(&SMALL_TABLE, CompressTable::small, |table| compress_into_with_table(plain, block, table))
        } else {
            state::with(&LARGE_TABLE, CompressTable::large, |table| compress_into_with_table(plain, block, table))
        };
        out.truncate(start + written.map_err(|error| CodecError::refused("lz4", error))?);
        Ok(())
    }

    fn decode(&self, _key: &[u8], stored: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        if len / MOST_PER_BYTE > stored.len() {
            return Err(CodecError::damaged("lz4", format_args!("{} bytes can't open to {len}", stored.len())));
        }
        let start = out.len();
        make_room("lz4", len, out)?;
        out.resize(start + len, 0);
        match decompress(stored, &mut out[start..]) {
            Ok(found) if found == len => Ok(()),
            Ok(found) => Err(CodecError::length("lz4", len, found)),
            Err(DecompressError::OutputTooSmall { expected, .. }) if expected > len => {
                Err(CodecError::length("lz4", len, expected))
            }
            Err(error) => Err(CodecError::damaged("lz4", error)),
        }
    }
}

/// In a function of its own, so that nothing of its caller is in the way of the library's loop, which is inlined here.
#[inline(never)]
fn decompress(stored: &[u8], block: &mut [u8]) -> Result<usize, DecompressError> {
    decompress_into(stored, block)
}
