//! The meta commands: `mg ms md ma me mn`, a key and flags of one letter, some with a token behind it.
//!
//! After the rules of memcached 1.6.45. One table says which flags there are and what their tokens must be; what an answer
//! gives back, it gives in the order in which it was asked for.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::server::protocol::number::{exptime, flags, small, unsigned};
use crate::server::protocol::{
    BAD_FORMAT, Count, Delete, Form, Lookup, MAX_BLOCK, MAX_KEY, Mode, NON_NUMERIC, Outcome, Parsed, Request, Scratch,
    Store, TOO_LARGE, Words, Wrong,
};

const BAD_TOKEN: &str = "CLIENT_ERROR bad token in command line format";
const BAD_FLAG: &str = "CLIENT_ERROR invalid or duplicate flag";
const LONG_OPAQUE: &str = "CLIENT_ERROR opaque token too long";
/// Its letter counts.
const MAX_OPAQUE: usize = 32;

/// The line of a meta command as far as its answer depends on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct MetaLine<'b> {
    /// The key as it was sent.
    token: &'b [u8],
    flags: &'b [u8],
    /// Which flags there are, by their letters.
    seen: u64,
}

impl<'b> MetaLine<'b> {
    /// Whether the line has this flag.
    #[inline]
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.seen & bit(flag) != 0
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.has(b'q')
    }

    /// Each flag with its token.
    fn each(&self) -> impl Iterator<Item = (u8, &'b [u8])> {
        Words::new(self.flags).map(|word| (word[0], &word[1..]))
    }
}

fn bit(flag: u8) -> u64 {
    1 << (flag - b'A')
}

/// What flags say, all of them.
#[derive(Default)]
struct Flags {
    touch: Option<i64>,
    /// The time of an item that comes to be: memcached goes through the flags in order, and a `T` after the `N` is the last
    /// that it is told.
    vivify: Option<i64>,
    recache: Option<i64>,
    client_flags: u32,
    cas: Option<u64>,
    new_cas: Option<u64>,
    mode: u8,
    initial: u64,
    delta: Option<u64>,
}

/// Parses what follows the two letters of a command, of which `verb` is the second.
pub(super) fn parse<'b>(verb: u8, arguments: &'b [u8], used: usize, scratch: &'b mut Scratch) -> Parsed<'b> {
    let mut words = Words::new(arguments);
    if verb == b'n' {
        let line = MetaLine { token: b"", flags: b"", seen: 0 };
        return Parsed::Complete { request: Request::Noop(Form::Meta(line)), used, block: 0 };
    }
    let token = words.next().unwrap_or_default();
    // A block whose length can be read is skipped whatever else is wrong.
    let (len, block) = match verb {
        b's' => match words.next().and_then(unsigned).filter(|len| *len <= MAX_BLOCK as u64) {
            Some(len) => (len as usize, len as usize + 2),
            None => return Parsed::Wrong(Wrong::line(BAD_FORMAT, used)),
        },
        _ => (0, 0),
    };
    match parse_key_and_flags(verb, token, words.rest(), len, scratch) {
        Ok(request) => Parsed::Complete { request, used, block },
        Err(answer) => Parsed::Wrong(Wrong::line(answer, used).skipping(block)),
    }
}

fn parse_key_and_flags<'b>(
    verb: u8,
    token: &'b [u8],
    flags: &'b [u8],
    len: usize,
    scratch: &'b mut Scratch,
) -> Result<Request<'b>, &'static str> {
    if token.is_empty() || token.len() > MAX_KEY {
        return Err(BAD_FORMAT);
    }
    if verb == b'e' {
        // It looks at no flag: the key is what it is.
        return Ok(Request::Inspect(token));
    }
    let mut line = MetaLine { token, flags, seen: 0 };
    let error = |error| match verb {
        b'd' | b'a' if error != BAD_FORMAT && error != LONG_OPAQUE => BAD_FLAG,
        _ => error,
    };
    let said = parse_flags(&mut line).map_err(error)?;
    let key = if line.has(b'b') { decode(token, scratch).map_err(error)? } else { token };
    let form = Form::Meta(line);
    Ok(match verb {
        b'g' => Request::Lookup(said.lookup(key, &line), form),
        b's' => Request::Store(said.store(key, &line, len)?, form),
        b'd' => Request::Delete(said.delete(key, &line), form),
        _ => Request::Count(said.count(key)?, form),
    })
}

fn decode<'b>(token: &[u8], scratch: &'b mut Scratch) -> Result<&'b [u8], &'static str> {
    match BASE64_STANDARD.decode_slice(token, scratch) {
        Ok(len) if len > 0 => Ok(&scratch[..len]),
        _ => Err("CLIENT_ERROR error decoding key"),
    }
}

fn parse_flags(line: &mut MetaLine<'_>) -> Result<Flags, &'static str> {
    let mut said = Flags::default();
    if line.flags.is_empty() {
        return Ok(said);
    }
    if Words::new(line.flags).any(|word| !(b'A'..=b'z').contains(&word[0])) {
        return Err(BAD_FORMAT);
    }
    for word in Words::new(line.flags) {
        let (flag, token) = (word[0], &word[1..]);
        if line.has(flag) {
            return Err("CLIENT_ERROR duplicate flag");
        }
        line.seen |= bit(flag);
        let number = || unsigned(token).ok_or(BAD_TOKEN);
        let time = || exptime(token).ok_or(BAD_TOKEN);
        match flag {
            b'N' => said.vivify = Some(time()?),
            b'T' => {
                said.touch = Some(time()?);
                said.vivify = said.vivify.and(said.touch);
            }
            b'R' => said.recache = Some(small(token).ok_or(BAD_TOKEN)?),
            b'F' => said.client_flags = flags(token).ok_or(BAD_FORMAT)?,
            b'C' => said.cas = Some(number()?),
            b'E' => said.new_cas = Some(number()?),
            b'M' if token.len() == 1 => said.mode = token[0],
            b'M' => return Err("CLIENT_ERROR incorrect length for M token"),
            b'J' => said.initial = unsigned(token).ok_or("CLIENT_ERROR invalid numeric initial value")?,
            b'D' => said.delta = Some(unsigned(token).ok_or("CLIENT_ERROR invalid numeric delta value")?),
            b'O' if token.len() >= MAX_OPAQUE => return Err(LONG_OPAQUE),
            // L and P are a proxy's to read.
            b'O' | b'L' | b'P' | b'I' => {}
            b'b' | b'c' | b'f' | b'h' | b'k' | b'l' | b'q' | b's' | b't' | b'u' | b'v' | b'x' => {}
            _ => return Err("CLIENT_ERROR invalid flag"),
        }
    }
    Ok(said)
}

impl Flags {
    fn lookup<'b>(self, key: &'b [u8], line: &MetaLine<'_>) -> Lookup<'b> {
        let Self { touch, vivify, recache, cas, new_cas, .. } = self;
        Lookup { key, touch, vivify, recache, no_bump: line.has(b'u'), known_cas: cas, new_cas }
    }

    fn store<'b>(self, key: &'b [u8], line: &MetaLine<'_>, len: usize) -> Result<Store<'b>, &'static str> {
        let mode = match self.mode {
            0 | b'S' => Mode::Set,
            b'E' => Mode::Add,
            b'A' => Mode::Append,
            b'P' => Mode::Prepend,
            b'R' => Mode::Replace,
            _ => return Err("CLIENT_ERROR invalid mode for ms M token"),
        };
        let Self { client_flags: flags, cas, new_cas, vivify, .. } = self;
        let exptime = self.touch.unwrap_or(0);
        Ok(Store { key, mode, flags, exptime, len, cas, new_cas, vivify, invalidate: line.has(b'I') })
    }

    fn delete<'b>(self, key: &'b [u8], line: &MetaLine<'_>) -> Delete<'b> {
        let Self { cas, new_cas, touch, .. } = self;
        Delete { key, cas, new_cas, stale: line.has(b'I'), empty: line.has(b'x'), touch }
    }

    fn count(self, key: &[u8]) -> Result<Count<'_>, &'static str> {
        let decrement = match self.mode {
            0 | b'I' | b'+' => false,
            b'D' | b'-' => true,
            _ => return Err("CLIENT_ERROR invalid mode for ma M token"),
        };
        let Self { touch, cas, new_cas, initial, .. } = self;
        let vivify = self.vivify.map(|exptime| (initial, exptime));
        Ok(Count { key, decrement, delta: self.delta.unwrap_or(1), vivify, touch, cas, new_cas })
    }
}

/// What an answer may tell of an entry.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts<'a> {
    /// The flags that this command tells something for.
    pub(crate) told: &'static [u8],
    pub(crate) key: &'a [u8],
    /// Whether the key was in base64 when the entry was stored.
    pub(crate) key_is_binary: bool,
    pub(crate) flags: u32,
    pub(crate) cas: u64,
    pub(crate) size: usize,
    /// Seconds; none for ever.
    pub(crate) time_left: Option<u32>,
    /// Seconds.
    pub(crate) idle: u32,
    pub(crate) was_fetched: bool,
    pub(crate) won: bool,
    pub(crate) token_sent: bool,
    pub(crate) is_stale: bool,
}

/// The first line of an answer that has a value.
pub(crate) fn put_value_line(out: &mut Vec<u8>, line: &MetaLine<'_>, facts: &Facts<'_>) {
    out.extend_from_slice(b"VA ");
    put_number(out, facts.size as u64);
    put_facts(out, line, facts);
}

/// An answer without a value, about an entry.
pub(crate) fn put_facts_line(out: &mut Vec<u8>, code: &str, line: &MetaLine<'_>, facts: &Facts<'_>) {
    out.extend_from_slice(code.as_bytes());
    put_facts(out, line, facts);
}

/// An answer about no entry.
pub(crate) fn put_code(out: &mut Vec<u8>, code: &str, line: &MetaLine<'_>) {
    out.extend_from_slice(code.as_bytes());
    for (flag, token) in line.each() {
        match flag {
            b'O' => put(out, flag, token),
            b'k' => {
                put(out, flag, line.token);
                put_binary_mark(out, line.has(b'b'));
            }
            _ => {}
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn put_facts(out: &mut Vec<u8>, line: &MetaLine<'_>, facts: &Facts<'_>) {
    for (flag, token) in line.each() {
        match flag {
            b'O' => put(out, flag, token),
            b'k' => {
                put(out, flag, b"");
                put_key(out, facts.key, facts.key_is_binary);
                put_binary_mark(out, facts.key_is_binary);
            }
            _ if !facts.told.contains(&flag) => {}
            b'c' => put_flag(out, flag, facts.cas),
            b'f' => put_flag(out, flag, facts.flags.into()),
            b'h' => put_flag(out, flag, facts.was_fetched.into()),
            b'l' => put_flag(out, flag, facts.idle.into()),
            b's' => put_flag(out, flag, facts.size as u64),
            b't' => match facts.time_left {
                Some(seconds) => put_flag(out, flag, seconds.into()),
                None => put(out, flag, b"-1"),
            },
            _ => {}
        }
    }
    for (mark, is_set) in [(b'Z', facts.token_sent), (b'X', facts.is_stale), (b'W', facts.won)] {
        if is_set {
            put(out, mark, b"");
        }
    }
    out.extend_from_slice(b"\r\n");
}

#[inline]
fn put(out: &mut Vec<u8>, flag: u8, token: &[u8]) {
    out.extend_from_slice(&[b' ', flag]);
    out.extend_from_slice(token);
}

fn put_flag(out: &mut Vec<u8>, flag: u8, number: u64) {
    put(out, flag, itoa::Buffer::new().format(number).as_bytes());
}

fn put_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// A key as whoever stored it would write it.
fn put_key(out: &mut Vec<u8>, key: &[u8], is_binary: bool) {
    if is_binary {
        out.extend_from_slice(BASE64_STANDARD.encode(key).as_bytes());
    } else {
        out.extend_from_slice(key);
    }
}

/// Says behind a key that it is in base64.
fn put_binary_mark(out: &mut Vec<u8>, is_binary: bool) {
    if is_binary {
        put(out, b'b', b"");
    }
}

/// Everything about an entry, as `me` has it. There is one class of sizes.
pub(crate) fn put_inspection(out: &mut Vec<u8>, facts: &Facts<'_>) {
    let time_left = facts.time_left.map_or(-1, i64::from);
    let fetched = if facts.was_fetched { "yes" } else { "no" };
    let Facts { idle, cas, size, .. } = facts;
    out.extend_from_slice(b"ME ");
    put_key(out, facts.key, facts.key_is_binary);
    let rest = format!(" exp={time_left} la={idle} cas={cas} fetch={fetched} cls=1 size={size}\r\n");
    out.extend_from_slice(rest.as_bytes());
}

/// The code of an outcome, or a line that has no flags.
pub(crate) fn code(outcome: Outcome) -> Result<&'static str, &'static str> {
    match outcome {
        Outcome::Done => Ok("HD"),
        Outcome::NotStored => Ok("NS"),
        Outcome::Exists => Ok("EX"),
        Outcome::NotFound => Ok("NF"),
        Outcome::TooLarge => Err(TOO_LARGE),
        Outcome::NoMemory => Err("SERVER_ERROR out of memory storing object"),
        Outcome::NonNumeric => Err(NON_NUMERIC),
    }
}
