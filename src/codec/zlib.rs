//! The zlib format (RFC 1950): a DEFLATE stream, a header of two bytes and an Adler-32 of the value.

use super::deflate::{Level, Wrapper, compress, decompress_all};
use super::{Codec, CodecError};

/// zlib's format, as Python's `zlib.compress` writes it.
///
/// Its checksum alone is not relied on: Adler-32 takes "131" for "212", and such a change is what one bit of the distance
/// of a match may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Zlib {
    level: Level,
}

impl Zlib {
    /// The codec with a level from 0, which stores, over 1, which is fast, to 9, which is small. [`Zlib::default`] has 6.
    ///
    /// # Errors
    ///
    /// [`CodecError::Level`] if there is no such level.
    pub fn new(level: u32) -> Result<Self, CodecError> {
        Ok(Self { level: Level::new("zlib", level)? })
    }
}

impl Codec for Zlib {
    fn name(&self) -> &str {
        "zlib"
    }

    fn encode(&self, _key: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        compress("zlib", Wrapper::Zlib, self.level, plain, out)
    }

    fn decode(&self, _key: &[u8], stored: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        decompress_all("zlib", Wrapper::Zlib, stored, len, out)
    }
}
