//! The codecs as such, without a cache: one suite that every codec has to pass, and what only some can do.
//!
//! Where values are stored in a cache is tested elsewhere.

mod careless;
mod damage;
#[cfg(feature = "zstd")]
mod dictionaries;
#[cfg(any(feature = "deflate", feature = "lz4", feature = "snappy", feature = "zstd"))]
mod interop;
mod lab;
mod round_trips;
#[cfg(feature = "seal")]
mod sealing;
mod values;
