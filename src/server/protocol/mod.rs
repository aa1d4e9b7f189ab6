//! Bytes in, requests out; replies in, bytes out.
//!
//! Knows the three forms in which memcached is spoken: [`text`], the classic commands; [`meta`], the two-letter commands;
//! [`binary`]. Knows no socket, no cache and no state: a parser is given the beginning of a buffer and says what it is, and
//! what it says points into the buffer. Nothing is copied but keys in base64, and nothing is allocated.

pub(crate) mod binary;
pub(crate) mod meta;
pub(crate) mod number;
pub(crate) mod text;

use binary::Header;
use meta::MetaLine;

/// The longest key.
pub(crate) const MAX_KEY: usize = 250;

/// A line ends within so many bytes, or it is none. Only the keys of `get` and `gets` may go on.
pub(crate) const MAX_LINE: usize = 2048;

/// The longest data block that a length can ask for.
pub(crate) const MAX_BLOCK: usize = i32::MAX as usize - 2;

/// Where a key in base64 is decoded to.
pub(crate) type Scratch = [u8; MAX_KEY];

pub(crate) const BAD_FORMAT: &str = "CLIENT_ERROR bad command line format";
pub(crate) const TOO_LARGE: &str = "SERVER_ERROR object too large for cache";
pub(crate) const BAD_CHUNK: &str = "CLIENT_ERROR bad data chunk";
pub(crate) const NON_NUMERIC: &str = "CLIENT_ERROR cannot increment or decrement non-numeric value";

/// What the beginning of a buffer is.
#[derive(Debug, PartialEq)]
pub(crate) enum Parsed<'b> {
    /// The beginning of a request.
    Incomplete,
    /// A request of `used` bytes, and a data block of `block` more, its end mark among them.
    Complete { request: Request<'b>, used: usize, block: usize },
    /// Something else.
    Wrong(Wrong),
}

/// A request that can't be carried out, and how to get past it.
#[derive(Debug, PartialEq)]
pub(crate) struct Wrong {
    /// What to answer: a line of text, or where there is a header a status; nothing if that was asked for.
    pub(crate) answer: Option<Complaint>,
    pub(crate) used: usize,
    /// Bytes behind those used that belong to it, too.
    pub(crate) skip: usize,
    /// Whether what follows can't be made sense of.
    pub(crate) close: bool,
}

/// A refusal, in the form that the request had.
#[derive(Debug, PartialEq)]
pub(crate) enum Complaint {
    Line(&'static str),
    Status(Header, binary::Status),
}

impl Wrong {
    fn line(answer: &'static str, used: usize) -> Self {
        Self { answer: Some(Complaint::Line(answer)), used, skip: 0, close: false }
    }

    fn skipping(self, skip: usize) -> Self {
        Self { skip, ..self }
    }

    fn quiet(self, quiet: bool) -> Self {
        let answer = self.answer.filter(|_| !quiet);
        Self { answer, ..self }
    }

    /// The end of the conversation, without a word.
    fn close(used: usize) -> Self {
        Self { answer: None, used, skip: 0, close: true }
    }
}

/// How the answer is to look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form<'b> {
    Text { noreply: bool },
    Meta(MetaLine<'b>),
    Binary(Header),
}

impl Form<'_> {
    /// Whether the key was sent in base64, and so is to be given back.
    pub(crate) fn has_binary_key(&self) -> bool {
        matches!(self, Self::Meta(line) if line.has(b'b'))
    }
}

/// What is asked for.
#[derive(Debug, PartialEq)]
pub(crate) enum Request<'b> {
    /// Some entries by their keys, which follow in the buffer. Text only.
    Keys(Keys),
    Lookup(Lookup<'b>, Form<'b>),
    Store(Store<'b>, Form<'b>),
    Count(Count<'b>, Form<'b>),
    Delete(Delete<'b>, Form<'b>),
    Touch {
        key: &'b [u8],
        exptime: i64,
        form: Form<'b>,
    },
    /// Everything about an entry but its value.
    Inspect(&'b [u8]),
    Flush {
        delay: i64,
        form: Form<'b>,
    },
    Version(Form<'b>),
    /// Nothing but an answer.
    Noop(Form<'b>),
    /// Accepted, and without effect.
    Verbosity(Form<'b>),
    Stats(&'b [u8], Form<'b>),
    /// A line for each key there is.
    Dump,
    /// A new limit, in MiB.
    MemLimit {
        mebibytes: u64,
        noreply: bool,
    },
    Mechanisms(Header),
    /// A step of SASL; the data block is what the mechanism exchanges.
    Authenticate {
        mechanism: &'b [u8],
        form: Header,
    },
    Quit(Form<'b>),
    Shutdown {
        graceful: bool,
    },
}

/// The line of a `get`, up to its keys.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Keys {
    pub(crate) with_cas: bool,
    /// The new deadline, of `gat` and `gats`.
    pub(crate) touch: Option<i64>,
}

/// To read an entry, and what this does to it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Lookup<'b> {
    pub(crate) key: &'b [u8],
    /// A new deadline.
    pub(crate) touch: Option<i64>,
    /// The deadline of an empty entry that is made where there is none.
    pub(crate) vivify: Option<i64>,
    /// Whoever finds less time left than this may make a new one.
    pub(crate) recache: Option<i64>,
    /// Leaves recency and the time of the last access as they are.
    pub(crate) no_bump: bool,
    /// The cas unique of a value that the client has already, and need not be given.
    pub(crate) known_cas: Option<u64>,
    /// The cas unique of an entry that is made.
    pub(crate) new_cas: Option<u64>,
}

/// Under which condition an entry is stored, and what of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    #[default]
    Set,
    Add,
    Replace,
    Append,
    Prepend,
}

/// To store a data block.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Store<'b> {
    pub(crate) key: &'b [u8],
    pub(crate) mode: Mode,
    pub(crate) flags: u32,
    pub(crate) exptime: i64,
    /// The length of the block without its end mark.
    pub(crate) len: usize,
    /// The cas unique that the present entry must have.
    pub(crate) cas: Option<u64>,
    /// The one that it is to get.
    pub(crate) new_cas: Option<u64>,
    /// The deadline of an entry that `append` or `prepend` makes where there is none.
    pub(crate) vivify: Option<i64>,
    /// An older cas unique than the present one will do, and makes the entry stale.
    pub(crate) invalidate: bool,
}

impl Store<'_> {
    /// Whether it stores in any case.
    pub(crate) fn is_plain_set(&self) -> bool {
        self.mode == Mode::Set && self.cas.is_none()
    }
}

/// To add to a number, or to take from it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Count<'b> {
    pub(crate) key: &'b [u8],
    pub(crate) decrement: bool,
    pub(crate) delta: u64,
    /// The number, and its deadline, where there is none.
    pub(crate) vivify: Option<(u64, i64)>,
    pub(crate) touch: Option<i64>,
    pub(crate) cas: Option<u64>,
    pub(crate) new_cas: Option<u64>,
}

/// To remove an entry, or to mark it as stale, or to empty it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Delete<'b> {
    pub(crate) key: &'b [u8],
    pub(crate) cas: Option<u64>,
    pub(crate) new_cas: Option<u64>,
    pub(crate) stale: bool,
    pub(crate) empty: bool,
    /// The deadline of what is marked.
    pub(crate) touch: Option<i64>,
}

/// What came of a request that changes an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    NotStored,
    Exists,
    NotFound,
    TooLarge,
    NoMemory,
    NonNumeric,
}

/// The words of a line, which only spaces separate.
pub(crate) struct Words<'b>(&'b [u8]);

impl<'b> Words<'b> {
    pub(crate) fn new(line: &'b [u8]) -> Self {
        Self(line)
    }

    /// The rest of the line, from the next word on.
    fn rest(&self) -> &'b [u8] {
        let start = self.0.iter().position(|&byte| byte != b' ').unwrap_or(self.0.len());
        &self.0[start..]
    }
}

impl<'b> Iterator for Words<'b> {
    type Item = &'b [u8];

    #[inline]
    fn next(&mut self) -> Option<&'b [u8]> {
        let rest = self.rest();
        let end = rest.iter().position(|&byte| byte == b' ').unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.0 = rest;
        (!word.is_empty()).then_some(word)
    }
}

/// The line at the beginning of a buffer without its end, and its length with it.
#[inline]
pub(crate) fn line(buffer: &[u8]) -> Option<(&[u8], usize)> {
    let end = memchr::memchr(b'\n', buffer)?;
    let line = &buffer[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), end + 1))
}
