//! The classic commands: a line of words, and after some of them a data block.
//!
//! After the rules of memcached 1.6.45. Knows no state but what a line says.

use crate::server::protocol::number::{self, small, unsigned};
use crate::server::protocol::{
    BAD_CHUNK, BAD_FORMAT, Count, Delete, Form, Keys, MAX_BLOCK, MAX_KEY, MAX_LINE, Mode, NON_NUMERIC, Outcome, Parsed,
    Request, Scratch, Store, TOO_LARGE, Words, Wrong, line, meta,
};

/// A command is at least two letters and the end of a line.
const LEAST: usize = 4;

const BAD_EXPTIME: &str = "CLIENT_ERROR invalid exptime argument";
const BAD_DELTA: &str = "CLIENT_ERROR invalid numeric delta argument";
const BAD_DELETE: &str = "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]";

/// The two commands whose keys are taken as they come, however many, and how long the word and its space are.
#[inline]
pub(crate) fn begins_keys(buffer: &[u8]) -> Option<(Keys, usize)> {
    if buffer.starts_with(b"get ") {
        Some((Keys::default(), 4))
    } else if buffer.starts_with(b"gets ") {
        Some((Keys { with_cas: true, touch: None }, 5))
    } else {
        None
    }
}

/// Says what the beginning of a buffer is that `begins_keys` says nothing of. Keys in base64 are decoded into `scratch`.
#[inline]
pub(crate) fn parse<'b>(buffer: &'b [u8], scratch: &'b mut Scratch) -> Parsed<'b> {
    let Some((line, used)) = line(buffer).filter(|(_, used)| *used <= MAX_LINE) else {
        return if buffer.len() < MAX_LINE { Parsed::Incomplete } else { Parsed::Wrong(Wrong::close(buffer.len())) };
    };
    if used < LEAST {
        return Parsed::Wrong(Wrong::line(BAD_FORMAT, used));
    }
    let end = memchr::memchr(b' ', line).unwrap_or(line.len());
    let (command, arguments) = line.split_at(end);
    match command {
        [b'm', b'g' | b's' | b'd' | b'a' | b'e' | b'n'] => meta::parse(command[1], arguments, used, scratch),
        _ => match parse_arguments(command, arguments, used) {
            Ok((request @ Request::Keys(_), block)) => Parsed::Complete { request, used: before_keys(line), block },
            Ok((request, block)) => Parsed::Complete { request, used, block },
            Err(wrong) => Parsed::Wrong(wrong),
        },
    }
}

fn parse_arguments<'b>(command: &[u8], arguments: &'b [u8], used: usize) -> Result<(Request<'b>, usize), Wrong> {
    let store = |mode, cas| parse_store(mode, cas, arguments, used);
    let request = match command {
        b"set" => return store(Mode::Set, false),
        b"add" => return store(Mode::Add, false),
        b"replace" => return store(Mode::Replace, false),
        b"append" => return store(Mode::Append, false),
        b"prepend" => return store(Mode::Prepend, false),
        b"cas" => return store(Mode::Set, true),
        b"gat" => return parse_get_and_touch(false, arguments, used),
        b"gats" => return parse_get_and_touch(true, arguments, used),
        b"get" | b"gets" => Err(BAD_FORMAT),
        b"incr" => parse_count(false, arguments),
        b"decr" => parse_count(true, arguments),
        b"delete" => parse_delete(arguments),
        b"touch" => parse_touch(arguments),
        b"flush_all" => parse_flush(arguments),
        b"verbosity" => parse_verbosity(arguments),
        b"version" => Ok(Request::Version(Form::Text { noreply: false })),
        b"stats" => Ok(Request::Stats(Words::new(arguments).rest(), Form::Text { noreply: false })),
        b"cache_memlimit" => parse_mem_limit(arguments),
        b"lru_crawler" => parse_crawler(arguments),
        b"quit" => Ok(Request::Quit(Form::Text { noreply: true })),
        b"shutdown" => parse_shutdown(arguments),
        // A browser, or somebody who has one send a form.
        _ if Words::new(arguments).last().is_some_and(|word| word.starts_with(b"HTTP/")) => {
            return Err(Wrong::close(used));
        }
        _ => return Err(Wrong::line("ERROR", used)),
    };
    request.map(|request| (request, 0)).map_err(|answer| Wrong::line(answer, used).quiet(noreply(arguments)))
}

/// Whether a line asks for no answer: by its last word, and by no other.
fn noreply(arguments: &[u8]) -> bool {
    arguments.ends_with(b"noreply") && Words::new(arguments).last() == Some(b"noreply")
}

fn key(word: Option<&[u8]>) -> Result<&[u8], &'static str> {
    word.filter(|key| key.len() <= MAX_KEY).ok_or(BAD_FORMAT)
}

/// `<key> <flags> <exptime> <bytes> [<cas>] [noreply]`
fn parse_store(mode: Mode, with_cas: bool, arguments: &[u8], used: usize) -> Result<(Request<'_>, usize), Wrong> {
    let mut words = Words::new(arguments);
    let mut next = || words.next().unwrap_or_default();
    let (key, flags, exptime, len, cas) = (next(), next(), next(), next(), next());
    let noreply = noreply(arguments);
    let wrong = || Wrong::line(BAD_FORMAT, used).quiet(noreply);
    let len = unsigned(len).map(|len| usize::try_from(len).unwrap_or(usize::MAX)).filter(|len| *len <= MAX_BLOCK);
    let len = len.ok_or_else(wrong)?;
    let block = len + 2;
    // The length is known, so the block can be skipped whatever else is wrong.
    let skip = || wrong().skipping(block);
    let flags = number::flags(flags).ok_or_else(skip)?;
    let exptime = number::exptime(exptime).ok_or_else(skip)?;
    let cas = if with_cas { Some(unsigned(cas).ok_or_else(skip)?) } else { None };
    if key.len() > MAX_KEY {
        return Err(skip());
    }
    let store = Store { key, mode, flags, exptime, len, cas, ..Store::default() };
    Ok((Request::Store(store, Form::Text { noreply }), block))
}

/// `<exptime> <key>*`: only the first is looked at here.
fn parse_get_and_touch(with_cas: bool, arguments: &[u8], used: usize) -> Result<(Request<'_>, usize), Wrong> {
    let mut words = Words::new(arguments);
    let Some(exptime) = words.next().filter(|_| !words.rest().is_empty()) else {
        return Err(Wrong::line(BAD_FORMAT, used));
    };
    let touch = number::exptime(exptime).ok_or(Wrong::line(BAD_EXPTIME, used))?;
    Ok((Request::Keys(Keys { with_cas, touch: Some(touch) }), 0))
}

/// Where in the line of a `gat` its keys begin.
fn before_keys(line: &[u8]) -> usize {
    let mut words = Words::new(line);
    words.nth(1);
    line.len() - words.rest().len()
}

/// `<key> <delta> [noreply]`
fn parse_count(decrement: bool, arguments: &[u8]) -> Result<Request<'_>, &'static str> {
    let mut words = Words::new(arguments);
    let key = key(words.next())?;
    let delta = unsigned(words.next().ok_or(BAD_FORMAT)?).ok_or(BAD_DELTA)?;
    let form = Form::Text { noreply: noreply(arguments) };
    Ok(Request::Count(Count { key, decrement, delta, ..Count::default() }, form))
}

/// `<key> [<number>] [noreply]`: the number once was a time to hold the key for, and is ignored.
fn parse_delete(arguments: &[u8]) -> Result<Request<'_>, &'static str> {
    let mut words = Words::new(arguments);
    let key = key(words.next())?;
    // A key may be this word.
    let noreply = noreply(words.rest());
    match words.next() {
        Some(word) if number::signed(word).is_none() && !noreply => return Err(BAD_DELETE),
        _ => {}
    }
    Ok(Request::Delete(Delete { key, ..Delete::default() }, Form::Text { noreply }))
}

/// `<key> <exptime> [noreply]`
fn parse_touch(arguments: &[u8]) -> Result<Request<'_>, &'static str> {
    let mut words = Words::new(arguments);
    let key = key(words.next())?;
    let exptime = number::exptime(words.next().ok_or(BAD_FORMAT)?).ok_or(BAD_EXPTIME)?;
    Ok(Request::Touch { key, exptime, form: Form::Text { noreply: noreply(arguments) } })
}

/// `[<delay>] [noreply]`
fn parse_flush(arguments: &[u8]) -> Result<Request<'_>, &'static str> {
    let delay = match Words::new(arguments).next() {
        None | Some(b"noreply") => 0,
        Some(delay) => small(delay).ok_or(BAD_EXPTIME)?,
    };
    Ok(Request::Flush { delay, form: Form::Text { noreply: noreply(arguments) } })
}

/// `<level> [noreply]`: there is nothing that it would change.
fn parse_verbosity(arguments: &[u8]) -> Result<Request<'_>, &'static str> {
    let noreply = noreply(arguments);
    let level = Words::new(arguments).next().ok_or(BAD_FORMAT)?;
    unsigned(level).ok_or(BAD_FORMAT)?;
    Ok(Request::Verbosity(Form::Text { noreply }))
}

/// `<mebibytes> [noreply]`
fn parse_mem_limit(arguments: &[u8]) -> Result<Request<'_>, &'static str> {
    let mebibytes = unsigned(Words::new(arguments).next().ok_or(BAD_FORMAT)?).ok_or("ERROR")?;
    Ok(Request::MemLimit { mebibytes, noreply: noreply(arguments) })
}

/// `metadump all`: what else memcached's crawler does, larder does without one.
fn parse_crawler(arguments: &[u8]) -> Result<Request<'_>, &'static str> {
    let mut words = Words::new(arguments);
    match (words.next(), words.next()) {
        (Some(b"metadump"), Some(b"all")) => Ok(Request::Dump),
        _ => Err("ERROR"),
    }
}

/// `[graceful]`
fn parse_shutdown(arguments: &[u8]) -> Result<Request<'_>, &'static str> {
    match Words::new(arguments).next() {
        None => Ok(Request::Shutdown { graceful: false }),
        Some(b"graceful") => Ok(Request::Shutdown { graceful: true }),
        Some(_) => Err("CLIENT_ERROR invalid shutdown mode"),
    }
}

/// Begins the answer with an entry: its first line.
#[inline]
pub(crate) fn value_line(out: &mut Vec<u8>, key: &[u8], flags: u32, len: usize, cas: Option<u64>) {
    out.extend_from_slice(b"VALUE ");
    out.extend_from_slice(key);
    if flags == 0 {
        out.extend_from_slice(b" 0 ");
    } else {
        out.push(b' ');
        out.extend_from_slice(itoa::Buffer::new().format(flags).as_bytes());
        out.push(b' ');
    }
    out.extend_from_slice(itoa::Buffer::new().format(len).as_bytes());
    if let Some(cas) = cas {
        out.push(b' ');
        out.extend_from_slice(itoa::Buffer::new().format(cas).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// The answer with what came of a request; `done` is the word for success.
pub(crate) fn outcome_line(outcome: Outcome, done: &'static str) -> &'static str {
    match outcome {
        Outcome::Done => done,
        Outcome::NotStored => "NOT_STORED",
        Outcome::Exists => "EXISTS",
        Outcome::NotFound => "NOT_FOUND",
        Outcome::TooLarge => TOO_LARGE,
        Outcome::NoMemory => "SERVER_ERROR out of memory storing object",
        Outcome::NonNumeric => NON_NUMERIC,
    }
}

/// A key as a dump shows it: everything but letters, digits and `-._~` as `%` and two digits, as in a URI.
pub(crate) fn put_escaped(out: &mut Vec<u8>, key: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in key {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte),
            _ => out.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
        }
    }
}

/// What is wrong with a data block that does not end as one must, if anything.
pub(crate) fn check_block(block: &[u8]) -> Result<&[u8], &'static str> {
    block.strip_suffix(b"\r\n").ok_or(BAD_CHUNK)
}
