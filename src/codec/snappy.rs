//! Snappy, in its raw format: a length, then literals and copies. See `format_description.txt` in Google's snappy.

use std::cell::Cell;

use super::{Codec, CodecError, make_room, state};

/// The most bytes that a byte of a Snappy stream opens to: a copy of 64 bytes is written in 3.
const MOST_PER_BYTE: usize = 22;

thread_local! {
    /// The hash tables of the compressor, the larger one made when the first value of more than 512 bytes comes.
    static ENCODER: Cell<Option<Box<snap::raw::Encoder>>> = const { Cell::new(None) };
}

/// Snappy: fast, and not small. Raw format, as `snappy.compress` of python-snappy writes it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snappy;

impl Snappy {
    /// The codec; it has no settings.
    pub fn new() -> Self {
        Self
    }
}

impl Codec for Snappy {
    fn name(&self) -> &str {
        "snappy"
    }

    fn encode(&self, _key: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        let start = out.len();
        // 0 says that the format can't count so many bytes; the compressor then says so itself.
        out.resize(start + snap::raw::max_compress_len(plain.len()), 0);
        let written = state::with(
            &ENCODER,
            || Box::new(snap::raw::Encoder::new()),
            |encoder| encoder.compress(plain, &mut out[start..]),
        )
        .map_err(|error| CodecError::refused("snappy", error))?;
        out.truncate(start + written);
        Ok(())
    }

    fn decode(&self, _key: &[u8], stored: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let damaged = |error| CodecError::damaged("snappy", error);
        let found = snap::raw::decompress_len(stored).map_err(damaged)?;
        if found != len {
            return Err(CodecError::length("snappy", len, found));
        }
        if len / MOST_PER_BYTE > stored.len() {
            let bytes = stored.len();
            return Err(CodecError::damaged("snappy", format_args!("{bytes} bytes can't open to {len}")));
        }
        let start = out.len();
        make_room("snappy", len, out)?;
        out.resize(start + len, 0);
        let written = snap::raw::Decoder::new().decompress(stored, &mut out[start..]).map_err(damaged)?;
        if written != len {
            return Err(CodecError::length("snappy", len, written));
        }
        Ok(())
    }
}
