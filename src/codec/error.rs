//! What goes wrong with codecs: the errors, with the facts in fields.

use std::error::Error;
use std::fmt;

/// A codec can't be set up as it was asked to, or can't make sense of what it was given.
///
/// A cache that meets one while it reads a value removes the entry and counts the call as a miss.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CodecError {
    /// There is no such level.
    Level {
        /// The codec's name.
        codec: Box<str>,
        /// What was asked for.
        given: i64,
        /// The lowest there is.
        min: i64,
        /// The highest there is.
        max: i64,
    },
    /// The codec can't be set up like this.
    Unsuitable {
        /// The codec's name.
        codec: Box<str>,
        /// Why.
        reason: Box<str>,
    },
    /// The stored bytes are not what the codec writes: cut, changed, or another's.
    Damaged {
        /// The codec's name.
        codec: Box<str>,
        /// What is wrong with them.
        reason: Box<str>,
    },
    /// The checksum that is stored with the bytes is not theirs: either has changed.
    Checksum {
        /// The codec's name.
        codec: Box<str>,
        /// The sum that is stored with them.
        noted: u32,
        /// The sum of the bytes as they are now.
        found: u32,
    },
    /// The stored bytes hold a value of another length than the one noted beside them.
    Length {
        /// The codec's name.
        codec: Box<str>,
        /// The length that was noted.
        expected: usize,
        /// The length of what was there; of a longer value only so much was decoded as tells it is longer.
        found: usize,
    },
    /// The value can't be encoded.
    Refused {
        /// The codec's name.
        codec: Box<str>,
        /// Why.
        reason: Box<str>,
    },
    /// The value was stored by a codec that is not kept any more.
    UnknownCodec {
        /// The number that it had.
        id: u32,
    },
}

impl CodecError {
    /// [`CodecError::Damaged`], with the codec's name and what is wrong with the bytes.
    pub fn damaged(codec: &str, reason: impl fmt::Display) -> Self {
        Self::Damaged { codec: codec.into(), reason: reason.to_string().into() }
    }

    /// [`CodecError::Refused`], with the codec's name and why the value can't be encoded.
    pub fn refused(codec: &str, reason: impl fmt::Display) -> Self {
        Self::Refused { codec: codec.into(), reason: reason.to_string().into() }
    }

    /// [`CodecError::Unsuitable`], with the codec's name and why it can't be set up like this.
    pub fn unsuitable(codec: &str, reason: impl fmt::Display) -> Self {
        Self::Unsuitable { codec: codec.into(), reason: reason.to_string().into() }
    }

    pub(super) fn checksum(codec: &str, noted: u32, found: u32) -> Self {
        Self::Checksum { codec: codec.into(), noted, found }
    }

    /// [`CodecError::Length`], with the codec's name, the length that was noted and the one that was found.
    pub fn length(codec: &str, expected: usize, found: usize) -> Self {
        Self::Length { codec: codec.into(), expected, found }
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Level { codec, given, min, max } => write!(f, "{codec} has levels from {min} to {max}, not {given}"),
            Self::Unsuitable { codec, reason } => write!(f, "{codec} can't be set up like this: {reason}"),
            Self::Damaged { codec, reason } => write!(f, "the stored bytes are not what {codec} wrote: {reason}"),
            Self::Checksum { codec, noted, found } => {
                write!(
                    f,
                    "the bytes stored by {codec} have changed: their checksum is {found:08x}, not {noted:08x} as noted"
                )
            }
            Self::Length { codec, expected, found } if found > expected => {
                write!(f, "the value stored by {codec} is {found} bytes or more, but {expected} were noted beside it")
            }
            Self::Length { codec, expected, found } => {
                write!(f, "the value stored by {codec} is {found} bytes, but {expected} were noted beside it")
            }
            Self::Refused { codec, reason } => write!(f, "{codec} can't encode the value: {reason}"),
            Self::UnknownCodec { id } => write!(f, "the value was stored by codec {id}, which is not kept any more"),
        }
    }
}

impl Error for CodecError {}
