//! The binary protocol: a header of 24 bytes, extras, a key and a value.
//!
//! Source: memcached's "Binary Protocol", and what its servers answer. A request whose parts do not fit together is
//! answered and ends the conversation, since nothing can be trusted to be a header any more.

use crate::server::protocol::{
    Complaint, Count, Delete, Form, Lookup, MAX_BLOCK, MAX_KEY, Mode, Outcome, Parsed, Request, Store, Wrong,
};

/// The first byte of a request, by which the protocol is told apart.
pub(crate) const REQUEST: u8 = 0x80;
const RESPONSE: u8 = 0x81;

pub(crate) const HEADER: usize = 24;

/// In the place of an expiry time: don't make an entry where there is none.
const NOT_TO_BE_MADE: u32 = u32::MAX;

/// The names that opcodes have.
pub(crate) mod opcode {
    pub(crate) const GET: u8 = 0x00;
    pub(crate) const SET: u8 = 0x01;
    pub(crate) const ADD: u8 = 0x02;
    pub(crate) const REPLACE: u8 = 0x03;
    pub(crate) const DELETE: u8 = 0x04;
    pub(crate) const INCREMENT: u8 = 0x05;
    pub(crate) const DECREMENT: u8 = 0x06;
    pub(crate) const QUIT: u8 = 0x07;
    pub(crate) const FLUSH: u8 = 0x08;
    pub(crate) const GET_Q: u8 = 0x09;
    pub(crate) const NOOP: u8 = 0x0a;
    pub(crate) const VERSION: u8 = 0x0b;
    pub(crate) const GET_K: u8 = 0x0c;
    pub(crate) const GET_KQ: u8 = 0x0d;
    pub(crate) const APPEND: u8 = 0x0e;
    pub(crate) const PREPEND: u8 = 0x0f;
    pub(crate) const STAT: u8 = 0x10;
    pub(crate) const SET_Q: u8 = 0x11;
    pub(crate) const PREPEND_Q: u8 = 0x1a;
    pub(crate) const VERBOSITY: u8 = 0x1b;
    pub(crate) const TOUCH: u8 = 0x1c;
    pub(crate) const GAT: u8 = 0x1d;
    pub(crate) const GAT_Q: u8 = 0x1e;
    pub(crate) const SASL_LIST: u8 = 0x20;
    pub(crate) const SASL_AUTH: u8 = 0x21;
    pub(crate) const SASL_STEP: u8 = 0x22;
    pub(crate) const GAT_K: u8 = 0x23;
    pub(crate) const GAT_KQ: u8 = 0x24;
}

/// What an answer repeats of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) opcode: u8,
    opaque: [u8; 4],
}

impl Header {
    /// Whether an answer without news is left out.
    pub(crate) fn is_quiet(self) -> bool {
        matches!(self.opcode, opcode::GET_Q | opcode::GET_KQ | opcode::GAT_Q | opcode::GAT_KQ)
            || (opcode::SET_Q..=opcode::PREPEND_Q).contains(&self.opcode)
    }

    /// Whether an entry is to be given with its key.
    pub(crate) fn with_key(self) -> bool {
        matches!(self.opcode, opcode::GET_K | opcode::GET_KQ | opcode::GAT_K | opcode::GAT_KQ)
    }

    /// Whether it says to store in any case, or with a cas unique if that is the item's.
    pub(crate) fn is_set(self) -> bool {
        self.loud() == opcode::SET
    }

    /// The opcode of which this is the quiet form, if it is one.
    fn loud(self) -> u8 {
        match self.opcode {
            opcode::GET_Q | opcode::GET_K | opcode::GET_KQ => opcode::GET,
            opcode::GAT_Q | opcode::GAT_K | opcode::GAT_KQ => opcode::GAT,
            quiet @ opcode::SET_Q..=0x18 => quiet - opcode::SET_Q + opcode::SET,
            quiet @ 0x19..=opcode::PREPEND_Q => quiet - 0x19 + opcode::APPEND,
            other => other,
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Ok = 0x00,
    NotFound = 0x01,
    Exists = 0x02,
    TooLarge = 0x03,
    Invalid = 0x04,
    NotStored = 0x05,
    NonNumeric = 0x06,
    AuthError = 0x20,
    UnknownCommand = 0x81,
    NoMemory = 0x82,
}

impl Status {
    fn text(self) -> &'static str {
        match self {
            Self::Ok => "",
            Self::NotFound => "Not found",
            Self::Exists => "Data exists for key.",
            Self::TooLarge => "Too large.",
            Self::Invalid => "Invalid arguments",
            Self::NotStored => "Not stored.",
            Self::NonNumeric => "Non-numeric server-side value for incr or decr",
            Self::AuthError => "Auth failure.",
            Self::UnknownCommand => "Unknown command",
            Self::NoMemory => "Out of memory",
        }
    }
}

impl From<Outcome> for Status {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::Ok,
            Outcome::NotStored => Self::NotStored,
            Outcome::Exists => Self::Exists,
            Outcome::NotFound => Self::NotFound,
            Outcome::TooLarge => Self::TooLarge,
            Outcome::NoMemory => Self::NoMemory,
            Outcome::NonNumeric => Self::NonNumeric,
        }
    }
}

/// A header's lengths, and what follows it up to the value.
struct Parts<'b> {
    header: Header,
    extras: &'b [u8],
    key: &'b [u8],
    value_len: usize,
    cas: Option<u64>,
}

/// What an answer to the request at the beginning of a buffer repeats of it.
pub(crate) fn header(buffer: &[u8]) -> Option<Header> {
    let header = buffer.first_chunk::<HEADER>()?;
    Some(Header { opcode: header[1], opaque: [header[12], header[13], header[14], header[15]] })
}

/// Whether somebody who is not known may ask for this.
pub(crate) fn is_for_all(opcode: u8) -> bool {
    matches!(opcode, opcode::VERSION | opcode::SASL_LIST | opcode::SASL_AUTH | opcode::SASL_STEP)
}

/// Says what the beginning of a buffer is.
pub(crate) fn parse(buffer: &[u8]) -> Parsed<'_> {
    let Some(header) = buffer.first_chunk::<HEADER>() else { return Parsed::Incomplete };
    let (key_len, extras_len) = (u16::from_be_bytes([header[2], header[3]]) as usize, header[4] as usize);
    let body_len = be32(&header[8..12]) as usize;
    let head = Header { opcode: header[1], opaque: [header[12], header[13], header[14], header[15]] };
    let wrong = |status| {
        let answer = Some(Complaint::Status(head, status));
        Parsed::Wrong(Wrong { answer, used: HEADER, skip: 0, close: true })
    };
    if header[0] != REQUEST {
        return Parsed::Wrong(Wrong::close(HEADER));
    }
    if key_len + extras_len > body_len || body_len > MAX_BLOCK {
        return wrong(Status::UnknownCommand);
    }
    if key_len > MAX_KEY || extras_len > 20 {
        return wrong(Status::Invalid);
    }
    let used = HEADER + extras_len + key_len;
    let Some(rest) = buffer.get(HEADER..used) else { return Parsed::Incomplete };
    let (extras, key) = rest.split_at(extras_len);
    let cas = Some(be64(&header[16..24])).filter(|cas| *cas != 0);
    let parts = Parts { header: head, extras, key, value_len: body_len - key_len - extras_len, cas };
    let block = parts.value_len;
    match parts.request() {
        Ok(request) => Parsed::Complete { request, used, block },
        Err(Status::UnknownCommand) => Parsed::Wrong(Wrong {
            answer: Some(Complaint::Status(head, Status::UnknownCommand)),
            used,
            skip: block,
            close: false,
        }),
        Err(status) => wrong(status),
    }
}

impl<'b> Parts<'b> {
    /// Which parts a request must have and may not have, and what it asks for.
    fn request(self) -> Result<Request<'b>, Status> {
        let Self { header, extras, key, value_len, cas } = self;
        let form = Form::Binary(header);
        let fits = |extras_len: usize, has_key: bool, may_have_value: bool| {
            let fits = extras.len() == extras_len && key.is_empty() != has_key && (value_len == 0 || may_have_value);
            if fits { Ok(()) } else { Err(Status::Invalid) }
        };
        // Without a sign, unlike in text: nothing is over at once, and above 2^31 are Unix times far ahead.
        let time = |at: usize| i64::from(be32(&extras[at..at + 4]));
        match header.loud() {
            opcode::GET => {
                fits(0, true, false)?;
                Ok(Request::Lookup(Lookup { key, ..Lookup::default() }, form))
            }
            opcode::GAT => {
                fits(4, true, false)?;
                Ok(Request::Lookup(Lookup { key, touch: Some(time(0)), ..Lookup::default() }, form))
            }
            opcode::SET | opcode::ADD | opcode::REPLACE => {
                fits(8, true, true)?;
                let mode = match header.loud() {
                    opcode::SET => Mode::Set,
                    // With a cas it is not to add but to compare, as memcached has it.
                    opcode::ADD if cas.is_some() => Mode::Set,
                    opcode::ADD => Mode::Add,
                    _ => Mode::Replace,
                };
                let (flags, exptime) = (be32(&extras[..4]), time(4));
                let store = Store { key, mode, flags, exptime, len: value_len, cas, ..Store::default() };
                Ok(Request::Store(store, form))
            }
            opcode::APPEND | opcode::PREPEND => {
                fits(0, true, true)?;
                let mode = if header.loud() == opcode::APPEND { Mode::Append } else { Mode::Prepend };
                Ok(Request::Store(Store { key, mode, len: value_len, cas, ..Store::default() }, form))
            }
            opcode::DELETE => {
                fits(0, true, false)?;
                Ok(Request::Delete(Delete { key, cas, ..Delete::default() }, form))
            }
            opcode::INCREMENT | opcode::DECREMENT => {
                fits(20, true, false)?;
                Ok(Request::Count(self.count(), form))
            }
            opcode::TOUCH => {
                fits(4, true, false)?;
                Ok(Request::Touch { key, exptime: time(0), form })
            }
            opcode::FLUSH => {
                fits(extras.len() & 4, false, false)?;
                Ok(Request::Flush { delay: if extras.is_empty() { 0 } else { time(0) }, form })
            }
            opcode::STAT => fits(0, !key.is_empty(), false).map(|()| Request::Stats(key, form)),
            opcode::NOOP => fits(0, false, false).map(|()| Request::Noop(form)),
            opcode::VERSION => fits(0, false, false).map(|()| Request::Version(form)),
            opcode::VERBOSITY => fits(4, false, false).map(|()| Request::Verbosity(form)),
            opcode::QUIT => fits(0, false, false).map(|()| Request::Quit(form)),
            opcode::SASL_LIST => fits(0, false, false).map(|()| Request::Mechanisms(header)),
            opcode::SASL_AUTH | opcode::SASL_STEP => {
                fits(0, true, true)?;
                Ok(Request::Authenticate { mechanism: key, form: header })
            }
            _ => Err(Status::UnknownCommand),
        }
    }

    fn count(&self) -> Count<'b> {
        let Self { extras, key, cas, .. } = *self;
        let (delta, initial, exptime) = (be64(&extras[..8]), be64(&extras[8..16]), be32(&extras[16..20]));
        let vivify = (exptime != NOT_TO_BE_MADE).then_some((initial, i64::from(exptime)));
        let decrement = self.header.loud() == opcode::DECREMENT;
        Count { key, decrement, delta, vivify, cas, ..Count::default() }
    }
}

fn be32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn be64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// An answer up to its value, which has `value_len` bytes.
pub(crate) fn put_head(
    out: &mut Vec<u8>,
    header: Header,
    status: Status,
    cas: u64,
    [extras, key]: [&[u8]; 2],
    value_len: usize,
) {
    let body_len = extras.len() + key.len() + value_len;
    let mut head = [0; HEADER];
    head[0] = RESPONSE;
    head[1] = header.opcode;
    head[2..4].copy_from_slice(&(key.len() as u16).to_be_bytes());
    head[4] = extras.len() as u8;
    head[6..8].copy_from_slice(&(status as u16).to_be_bytes());
    head[8..12].copy_from_slice(&(body_len as u32).to_be_bytes());
    head[12..16].copy_from_slice(&header.opaque);
    head[16..24].copy_from_slice(&cas.to_be_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(extras);
    out.extend_from_slice(key);
}

/// An answer of a value, or of none.
pub(crate) fn put_value(out: &mut Vec<u8>, header: Header, cas: u64, value: &[u8]) {
    put_head(out, header, Status::Ok, cas, [b"", b""], value.len());
    out.extend_from_slice(value);
}

/// The answer to a touch, which gives the item's client flags.
pub(crate) fn put_touched(out: &mut Vec<u8>, header: Header, flags: u32, cas: u64) {
    put_head(out, header, Status::Ok, cas, [&flags.to_be_bytes(), b""], 0);
}

/// An answer that says what is wrong.
pub(crate) fn put_status(out: &mut Vec<u8>, header: Header, status: Status) {
    put_head(out, header, status, 0, [b"", b""], status.text().len());
    out.extend_from_slice(status.text().as_bytes());
}
