//! Codecs one after the other: compress, then seal.
//!
//! Each stage's output begins with a varint: 0 if the stage was left out and its input follows as it is, otherwise the
//! length of its input plus 1. That lies inside what the next stage encodes: the length of what a seal holds, and whether
//! it was compressed, is sealed with it.

use std::fmt;
use std::sync::Arc;

use super::packer::{put_varint, take_varint};
use super::{Before, Codec, CodecError, state};

/// Codecs one after the other, each encoding what the one before it wrote.
///
/// A stage under which a value does not shrink is left out for that value, unless it [must encode](Codec::must_encode).
/// What one stage hands to the next may be no longer than twice the value and 4 KiB.
///
/// ```
/// # #[cfg(all(feature = "snappy", feature = "seal"))] {
/// use larder::codec::{Chain, Codec, Seal, SealKey, Snappy};
///
/// let chain = Chain::new(Snappy).then(Seal::aes_256_gcm(SealKey::generate(1)?));
/// assert_eq!(chain.name(), "snappy+aes-256-gcm");
///
/// let (plain, mut stored, mut back) = ([7; 4096], Vec::new(), Vec::new());
/// chain.encode(b"key", &plain, &mut stored)?;
/// assert!(stored.len() < 400);
/// chain.decode(b"key", &stored, 4096, &mut back)?;
/// assert_eq!(back, plain);
/// # }
/// # Ok::<(), larder::codec::CodecError>(())
/// ```
#[derive(Clone)]
pub struct Chain {
    name: String,
    /// Never empty.
    stages: Vec<Arc<dyn Codec>>,
}

impl Chain {
    /// A chain of one codec so far.
    pub fn new(first: impl Codec + 'static) -> Self {
        Self { name: first.name().to_owned(), stages: vec![Arc::new(first)] }
    }

    /// The same, with `next` encoding what the chain so far wrote.
    #[must_use]
    pub fn then(mut self, next: impl Codec + 'static) -> Self {
        self.name = format!("{}+{}", self.name, next.name());
        self.stages.push(Arc::new(next));
        self
    }

    fn damaged(&self, reason: &str) -> CodecError {
        CodecError::damaged(&self.name, reason)
    }

    fn encode_by(
        &self,
        stages: &[Arc<dyn Codec>],
        key: &[u8],
        input: &[u8],
        most: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        let Some((stage, later)) = stages.split_first() else { return Ok(()) };
        if later.is_empty() {
            return encode_stage(stage, key, input, out);
        }
        state::with_buffer(|buffer| {
            encode_stage(stage, key, input, buffer)?;
            if buffer.len() > most {
                let (stage, len) = (stage.name(), buffer.len());
                return Err(CodecError::refused(
                    &self.name,
                    format_args!("{stage} wrote {len} bytes, more than {most}"),
                ));
            }
            self.encode_by(later, key, buffer, most, out)
        })
    }

    fn decode_by(
        &self,
        stages: &[Arc<dyn Codec>],
        key: &[u8],
        stored: &[u8],
        len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        let Some((stage, earlier)) = stages.split_last() else { return Ok(()) };
        let (noted, body) = take_varint(stored).ok_or_else(|| self.damaged("a stage notes no length"))?;
        let input_len = match noted.checked_sub(1) {
            Some(noted) => Some(usize::try_from(noted).map_err(|_| self.damaged("a noted length is too large"))?),
            // Or whoever can change what is stored could put anything in the place of what is sealed.
            None if stage.must_encode() => return Err(self.damaged("a stage was left out that must not be")),
            None => None,
        };
        match (input_len, earlier) {
            (found, []) if found.unwrap_or(body.len()) != len => {
                Err(CodecError::length(&self.name, len, found.unwrap_or(body.len())))
            }
            (None, []) => {
                out.extend_from_slice(body);
                Ok(())
            }
            (None, earlier) => self.decode_by(earlier, key, body, len, out),
            (Some(len), []) => stage.decode(key, body, len, out),
            (Some(input_len), _) if input_len > most_between(len) => {
                Err(CodecError::length(&self.name, most_between(len), input_len))
            }
            (Some(input_len), earlier) => state::with_buffer(|buffer| {
                stage.decode(key, body, input_len, buffer)?;
                if buffer.len() != input_len {
                    return Err(CodecError::length(stage.name(), input_len, buffer.len()));
                }
                self.decode_by(earlier, key, buffer, len, out)
            }),
        }
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Chain").field(&self.name).finish()
    }
}

impl Codec for Chain {
    fn name(&self) -> &str {
        &self.name
    }

    fn encode(&self, key: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        self.encode_by(&self.stages, key, plain, most_between(plain.len()), out)
    }

    fn decode(&self, key: &[u8], stored: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        self.decode_by(&self.stages, key, stored, len, out)
    }

    fn binds_key(&self) -> bool {
        self.stages.iter().any(|stage| stage.binds_key())
    }

    fn must_encode(&self) -> bool {
        self.stages.iter().any(|stage| stage.must_encode())
    }

    /// What a single stage wrote is in the format that has its name, behind a length.
    fn format_of<'a>(&'a self, stored: &'a [u8]) -> (&'a str, &'a [u8]) {
        match (&*self.stages, take_varint(stored)) {
            ([stage], Some((1.., written))) => stage.format_of(written),
            _ => (self.name(), stored),
        }
    }

    /// One stage that is never left out is enough: those after it have to give it just what it wrote, and those before it
    /// are given that back.
    fn is_checked(&self) -> bool {
        self.stages.iter().any(|stage| stage.must_encode() && stage.is_checked())
    }
}

/// The most that one stage may hand to the next, for a value of `len` bytes.
fn most_between(len: usize) -> usize {
    len.saturating_mul(2).saturating_add(4096)
}

/// Appends what `stage` makes of `input`, or `input` if it is to be left out.
fn encode_stage(stage: &dyn Codec, key: &[u8], input: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
    let start = out.len();
    put_varint(out, input.len() as u64 + 1);
    let (head, before) = (out.len(), Before::of(out));
    let result = stage.encode(key, input, out);
    let kept = before.check(stage, out);
    let nothing = out.len() <= head && !input.is_empty();
    if stage.must_encode() {
        result.and(kept)?;
        return if nothing { Err(CodecError::refused(stage.name(), "it wrote nothing")) } else { Ok(()) };
    }
    // Otherwise what the caller had in the buffer is lost: to leave the stage out would not bring it back.
    kept?;
    if result.is_err() || nothing || out.len() - head >= input.len() {
        out.truncate(start);
        put_varint(out, 0);
        out.extend_from_slice(input);
    }
    Ok(())
}
