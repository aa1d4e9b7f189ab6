//! The gzip format (RFC 1952): members of a header, a DEFLATE stream, and the value's CRC-32 and length.
//!
//! The header and the checksum are done here, since the library's own gzip decoder would be made anew for each value.

use flate2::Crc;

use super::deflate::{Level, Wrapper, compress, decompress};
use super::{Codec, CodecError};

const MAGIC: [u8; 2] = [0x1f, 0x8b];
const METHOD_DEFLATE: u8 = 8;
const OS_UNKNOWN: u8 = 255;
const HEADER_LEN: usize = 10;
const TRAILER_LEN: usize = 8;

/// The bits of a header's flags.
const HEADER_CRC: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

/// The format of the `gzip` program. Reads whatever that writes, several members and file names included; the name
/// and the time are left out of what it writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gzip {
    level: Level,
}

impl Gzip {
    /// The codec with a level from 0, which stores, over 1, which is fast, to 9, which is small. [`Gzip::default`] has 6.
    ///
    /// # Errors
    ///
    /// [`CodecError::Level`] if there is no such level.
    pub fn new(level: u32) -> Result<Self, CodecError> {
        Ok(Self { level: Level::new("gzip", level)? })
    }
}

impl Codec for Gzip {
    fn name(&self) -> &str {
        "gzip"
    }

    fn encode(&self, _key: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        // The format's hint on how hard was tried.
        let effort = match self.level.get() {
            1 => 4,
            9 => 2,
            _ => 0,
        };
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[METHOD_DEFLATE, 0, 0, 0, 0, 0, effort, OS_UNKNOWN]);
        compress("gzip", Wrapper::None, self.level, plain, out)?;
        out.extend_from_slice(&crc(plain).to_le_bytes());
        // Modulo 2^32, as the format has it.
        out.extend_from_slice(&(plain.len() as u32).to_le_bytes());
        Ok(())
    }

    fn decode(&self, _key: &[u8], stored: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let (start, mut rest) = (out.len(), stored);
        loop {
            let found = out.len() - start;
            rest = member(rest, len - found, out).map_err(|error| match error {
                // Of a member that is not the first, the length of all is meant.
                CodecError::Length { found: here, .. } => CodecError::length("gzip", len, found + here),
                other => other,
            })?;
            if rest.is_empty() {
                break;
            }
        }
        match out.len() - start {
            found if found == len => Ok(()),
            found => Err(CodecError::length("gzip", len, found)),
        }
    }

    fn is_checked(&self) -> bool {
        true
    }
}

/// Appends the value of the member with which `stored` begins, of at most `most` bytes, and returns what follows it.
fn member<'a>(stored: &'a [u8], most: usize, out: &mut Vec<u8>) -> Result<&'a [u8], CodecError> {
    let damaged = |reason| CodecError::damaged("gzip", reason);
    let stream = &stored[header_len(stored).map_err(damaged)?..];
    let start = out.len();
    let taken = decompress("gzip", Wrapper::None, stream, most, out)?;
    let (trailer, rest) =
        stream[taken..].split_first_chunk::<TRAILER_LEN>().ok_or_else(|| damaged("the checksum is cut"))?;
    let value = &out[start..];
    if trailer[..4] != crc(value).to_le_bytes() {
        return Err(damaged("the checksum is not the value's"));
    }
    if trailer[4..] != (value.len() as u32).to_le_bytes() {
        return Err(damaged("the length after the checksum is not the value's"));
    }
    Ok(rest)
}

/// The length of the header with which `member` begins.
fn header_len(member: &[u8]) -> Result<usize, &'static str> {
    const CUT: &str = "the header is cut";
    let fixed = member.first_chunk::<HEADER_LEN>().ok_or(CUT)?;
    if fixed[..2] != MAGIC {
        return Err("the first two bytes are not gzip's");
    }
    if fixed[2] != METHOD_DEFLATE {
        return Err("the method is not DEFLATE");
    }
    let flags = fixed[3];
    if flags & RESERVED != 0 {
        return Err("the header has flags that are not in use");
    }
    let mut at = HEADER_LEN;
    if flags & EXTRA != 0 {
        let len = member[at..].first_chunk().ok_or(CUT)?;
        at += 2 + usize::from(u16::from_le_bytes(*len));
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let rest = member.get(at..).ok_or(CUT)?;
            at += 1 + rest.iter().position(|&byte| byte == 0).ok_or(CUT)?;
        }
    }
    if flags & HEADER_CRC != 0 {
        let header = member.get(..at).ok_or(CUT)?;
        let noted = member[at..].first_chunk().ok_or(CUT)?;
        if u16::from_le_bytes(*noted) != crc(header) as u16 {
            return Err("the header's checksum is not the header's");
        }
        at += 2;
    }
    if at > member.len() {
        return Err(CUT);
    }
    Ok(at)
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}
