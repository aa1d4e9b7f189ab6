//! Codecs: values that cost fewer bytes, or that nobody else can read.
//!
//! A [`Codec`] turns a value's bytes into those that are stored, and back. The codecs of this module:
//!
//! | codec | feature | its bytes are |
//! |---|---|---|
//! | [`Gzip`], [`Zlib`], [`Deflate`] | `deflate` (default) | the formats of these names, readable by `gzip` and zlib |
//! | [`Snappy`] | `snappy` (default) | the raw Snappy format |
//! | [`Lz4`] | `lz4` | an LZ4 block |
//! | [`Zstd`], with a [`ZstdDictionary`] or without | `zstd` | a Zstandard frame |
//! | [`Seal`] | `seal` | a nonce, the ciphertext and its tag; the cache key is bound in |
//! | [`Auto`] | | those of the codec above that suits the values best |
//! | [`Chain`] | | several codecs one after the other |
//!
//! Stored bytes that have changed since are an error, never another value. Gzip, Zstandard without a dictionary and [`Seal`]
//! see to that themselves; with what the others write, and any codec that does not say [otherwise](Codec::is_checked),
//! a checksum of four bytes is stored, which is compared before anything is decoded. It is no part of the format:
//! [`Stored::bytes`] are those that the codec wrote. (A value that is stored as it is has no checksum, as it has none in a
//! cache without a codec. And whoever changes bytes on purpose can change a checksum with them: that is what `Seal` is
//! for.)
//!
//! Anything that implements [`Codec`] serves as well:
//!
//! ```
//! use larder::codec::{Codec, CodecError};
//!
//! /// Keeps runs of zeros as one number.
//! struct Sparse;
//!
//! impl Codec for Sparse {
//!     fn name(&self) -> &str {
//!         "sparse"
//!     }
//!
//!     fn encode(&self, _key: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
//!         for run in plain.chunk_by(|a, b| *a == 0 && *b == 0) {
//!             match run {
//!                 [0, ..] => run.chunks(255).for_each(|zeros| out.extend([0, zeros.len() as u8])),
//!                 [byte, ..] => out.push(*byte),
//!                 [] => {}
//!             }
//!         }
//!         Ok(())
//!     }
//!
//!     fn decode(&self, _key: &[u8], stored: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
//!         let (start, mut bytes) = (out.len(), stored.iter());
//!         while let Some(&byte) = bytes.next() {
//!             let count = match byte {
//!                 0 => *bytes.next().ok_or_else(|| CodecError::damaged("sparse", "a run has no length"))?,
//!                 _ => 1,
//!             };
//!             out.resize(out.len() + usize::from(count), byte);
//!             if out.len() - start > len {
//!                 return Err(CodecError::length("sparse", len, out.len() - start));
//!             }
//!         }
//!         Ok(())
//!     }
//! }
//!
//! let plain = [1, 0, 0, 0, 0, 2];
//! let (mut stored, mut back) = (Vec::new(), Vec::new());
//! Sparse.encode(&[], &plain, &mut stored)?;
//! assert_eq!(stored, [1, 0, 4, 2]);
//! Sparse.decode(&[], &stored, plain.len(), &mut back)?;
//! assert_eq!(back, plain);
//! # Ok::<(), CodecError>(())
//! ```
//!
//! This module knows nothing of caches.

mod auto;
mod chain;
mod counts;
#[cfg(feature = "deflate")]
mod deflate;
mod error;
#[cfg(feature = "deflate")]
mod gzip;
#[cfg(feature = "lz4")]
mod lz4;
mod packer;
#[cfg(feature = "seal")]
mod seal;
#[cfg(feature = "snappy")]
mod snappy;
mod state;
#[cfg(feature = "deflate")]
mod zlib;
#[cfg(feature = "zstd")]
mod zstd;

use std::sync::Arc;

pub use auto::Auto;
pub use chain::Chain;
pub use counts::PackCounts;
#[cfg(feature = "deflate")]
pub use deflate::Deflate;
pub use error::CodecError;
#[cfg(feature = "deflate")]
pub use gzip::Gzip;
#[cfg(feature = "lz4")]
pub use lz4::Lz4;
pub use packer::{Packer, Stored};
#[cfg(feature = "seal")]
pub use seal::{Seal, SealKey};
#[cfg(feature = "snappy")]
pub use snappy::Snappy;
#[cfg(feature = "serde")]
pub(crate) use state::with_buffer;
#[cfg(feature = "deflate")]
pub use zlib::Zlib;
#[cfg(feature = "zstd")]
pub use zstd::{Zstd, ZstdDictionary};

/// Turns a value's bytes into the bytes that are stored, and back.
///
/// Both directions run in the thread that stores or reads, under no lock, and may run in several threads at once. What
/// costs to make, a compressor's tables for example, should be made once per thread and kept.
pub trait Codec: Send + Sync {
    /// What the codec is called in errors and figures: `"gzip"`.
    fn name(&self) -> &str;

    /// Appends to `out` what is to be stored for `plain`. `out` may hold bytes already, which have to stay: a codec that
    /// changes them counts as one that failed. What it holds after an error does not matter.
    ///
    /// A codec that appends nothing for a value which is not empty says that the value is best stored as it is.
    ///
    /// # Errors
    ///
    /// [`CodecError::Refused`] if it can't. The value is then stored as it is, unless the codec
    /// [must encode](Codec::must_encode).
    fn encode(&self, key: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// Appends to `out` the value from which [`encode`](Codec::encode) made `stored`; it had `len` bytes. What `out`
    /// holds after an error does not matter.
    ///
    /// Must neither panic nor allocate much more than `len` bytes, whatever `stored` and `len` are: a stream that grows
    /// past `len` bytes is to stop there. `len` itself may be wrong; it is better not to reserve more than `stored` could
    /// possibly open to.
    ///
    /// # Errors
    ///
    /// [`CodecError::Damaged`] if `stored` is not what `encode` writes, [`CodecError::Length`] if it holds a value of
    /// another length.
    fn decode(&self, key: &[u8], stored: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// Whether what is stored depends on the key. If it does not, which is what a codec says unless it is told
    /// otherwise, `key` may be empty in both directions. Asked once, when the codec is put in use.
    fn binds_key(&self) -> bool {
        false
    }

    /// Whether a value must not be stored as it is: neither because it is small, nor because it would not shrink, nor
    /// because the codec failed. `false` unless it is told otherwise. Asked once, when the codec is put in use.
    fn must_encode(&self) -> bool {
        false
    }

    /// Whether [`decode`](Codec::decode) itself notices that what is stored, or the length, was changed, and gives an error
    /// then or the true value. Where it does not, which is what a codec says unless it is told otherwise, a checksum is stored
    /// beside what it wrote. Asked once, when the codec is put in use.
    fn is_checked(&self) -> bool {
        false
    }

    /// How many bytes [`encode`](Codec::encode) appends for a value of `len` bytes, where that is known beforehand; `None`
    /// where it depends on the value, which is what a codec says unless it is told otherwise. What a codec that
    /// [must encode](Codec::must_encode) writes need not be copied then. A wrong number costs time and nothing else.
    fn encoded_len(&self, _len: usize) -> Option<usize> {
        None
    }

    /// The name of the format in which `stored` was written, and its bytes without what only this codec understands: what
    /// a program can pass on to another that knows the format. All of it under [`name`](Codec::name) unless it is told
    /// otherwise.
    fn format_of<'a>(&'a self, stored: &'a [u8]) -> (&'a str, &'a [u8]) {
        (self.name(), stored)
    }
}

/// A pointer to a codec is a codec.
macro_rules! pointers {
    ($($pointer:ident),*) => {$(
        impl<C: Codec + ?Sized> Codec for $pointer<C> {
            fn name(&self) -> &str {
                (**self).name()
            }

            fn encode(&self, key: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
                (**self).encode(key, plain, out)
            }

            fn decode(&self, key: &[u8], stored: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
                (**self).decode(key, stored, len, out)
            }

            fn binds_key(&self) -> bool {
                (**self).binds_key()
            }

            fn must_encode(&self) -> bool {
                (**self).must_encode()
            }

            fn is_checked(&self) -> bool {
                (**self).is_checked()
            }

            fn encoded_len(&self, len: usize) -> Option<usize> {
                (**self).encoded_len(len)
            }

            fn format_of<'a>(&'a self, stored: &'a [u8]) -> (&'a str, &'a [u8]) {
                (**self).format_of(stored)
            }
        }
    )*};
}

pointers!(Box, Arc);

/// The end of what a codec finds in a buffer, to see afterwards that it is still there. A codec that clears the buffer, which
/// is easily written, would leave its own bytes in the place of a head.
struct Before {
    len: usize,
    /// As many of the last bytes as a head may have, with zeros before them.
    end: [u8; HEAD_LEN],
}

/// The most bytes that a head has: two varints, of 32 and of 64 bits.
const HEAD_LEN: usize = 15;

impl Before {
    fn of(buffer: &[u8]) -> Self {
        let mut end = [0; HEAD_LEN];
        let last = &buffer[buffer.len().saturating_sub(HEAD_LEN)..];
        end[HEAD_LEN - last.len()..].copy_from_slice(last);
        Self { len: buffer.len(), end }
    }

    /// Says that `codec` can't encode if it has changed what was in the buffer.
    fn check(&self, codec: &dyn Codec, buffer: &[u8]) -> Result<(), CodecError> {
        match buffer.get(..self.len) {
            Some(kept) if Self::of(kept).end == self.end => Ok(()),
            _ => Err(CodecError::refused(codec.name(), "it changed what was in the buffer before")),
        }
    }
}

/// Makes room for the `len` bytes of a value that is to be decoded. The length may be wrong, and what is stored be such that
/// it could be right: where there is no memory for so much, that is an error and not the end of the program.
#[cfg(any(feature = "deflate", feature = "lz4", feature = "snappy", feature = "zstd"))]
fn make_room(codec: &str, len: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
    out.try_reserve_exact(len)
        .map_err(|_| CodecError::damaged(codec, format_args!("there is no memory for the {len} bytes that were noted")))
}
