//! The state of one client's dialogue: bytes in, bytes out, no socket.
//!
//! Knows where in a request the client is, whether it has said who it is, and when the dialogue is over. What requests
//! mean is [`answer`](super::answer)'s; what they look like is [`protocol`](super::protocol)'s.
//!
//! # For whoever carries the bytes
//!
//! ```text
//! let service = Service::new(cache, host);                  // one for all
//! let mut conversation = Conversation::new(&service);       // one for each client
//! let mut output = Output::new();                           // one for each thread will do; see below
//! loop {
//!     let used = conversation.feed(&input, &mut output);    // forget so many bytes of the input,
//!     ...                                                   // send what waits in the output,
//!     if conversation.is_over() { ... }                     // close when all of it is sent;
//!     if !conversation.is_paused() { ... }                  // only now wait for more input
//! }
//! ```
//!
//! * **`feed` consumes** every whole request, and of one that is not whole what it can do without: of a large data block all
//!   there is. The rest must be shown again, with more behind it. It is less than [`MIN_INPUT`] bytes as long as it isn't paused, so
//!   an input buffer of that many never gets stuck.
//! * **Output is ready** as soon as `feed` returns, whole answers, but for a request of many keys, which may be answered in
//!   pieces. The output may be shared by the clients of a thread, one after the other: where not all could be sent, leave it
//!   to that client and take a new one. Nothing else about a client refers to it.
//! * **A client that does not read:** when more waits than the service's `max_output`, `feed` stops, in the middle of the
//!   keys of a request if need be, and [`Conversation::is_paused`] says so. Send first, then call it again with what is left of the input, if only nothing.
//! * **A data block that is not whole** is kept here, and is not yet in the cache. For all conversations of a service it is a
//!   quarter of the cache's limit at the most, or two items of the largest size; beyond that the block that has grown least
//!   lately is given up, its client is told that there is no memory when it goes on, and the rest is passed over.
//! * **Large values** are not copied: [`Output`] has loans of them, which keep their memory, and no lock.
//! * **A listener's part**, credentials, counters of connections and so on, is asked of the service's
//!   [`Host`](super::Host), which all conversations share.

use std::fmt;

use crate::server::answer::Answer;
use crate::server::output::Output;
use crate::server::pending::{Pending, Taken};
use crate::server::protocol::{
    BAD_FORMAT, Complaint, Form, Keys, MAX_KEY, MAX_LINE, Outcome, Parsed, Request, Scratch, Wrong, binary, text,
};
use crate::server::service::Service;
use crate::server::sign_in::MAX_CREDENTIALS;
use crate::server::store::Cursor;

/// An input buffer of so many bytes is enough.
pub const MIN_INPUT: usize = MAX_LINE;

/// One client's dialogue with a [`Service`]: [`feed`](Self::feed) it what the client sends, and send what it answers. The
/// head of its source file says what whoever carries the bytes has to know.
pub struct Conversation<'s> {
    pub(super) service: &'s Service,
    state: State<'s>,
    protocol: Option<Protocol>,
    pub(super) is_known: bool,
    pub(super) is_over: bool,
    is_paused: bool,
    pub(super) refusals: u32,
}

/// What a client speaks. Told apart by the first byte it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The classic commands and the meta commands.
    Text,
    /// The binary protocol.
    Binary,
}

/// What the next bytes are.
enum State<'s> {
    /// A request.
    Ready,
    /// Keys of a `get`; `any` if there were some already.
    Keys { keys: Keys, any: bool },
    /// A data block, or the rest of it.
    Block(Box<Pending<'s>>),
    /// The rest of a line that is not looked at.
    Line,
    /// So many bytes that are not looked at.
    Skip(usize),
    /// Nothing: a walk over all keys goes on from here.
    Dump(Cursor),
}

impl<'s> Conversation<'s> {
    /// A new client.
    pub fn new(service: &'s Service) -> Self {
        Self {
            service,
            state: State::Ready,
            protocol: service.protocol,
            is_known: !service.host.asks_for_credentials(),
            is_over: false,
            is_paused: false,
            refusals: 0,
        }
    }

    /// Takes what the client sent, puts answers into `output`, and says how many bytes of the input it is done with.
    pub fn feed(&mut self, input: &[u8], output: &mut Output<'s>) -> usize {
        let mut scratch = [0; MAX_KEY];
        let mut used = 0;
        let mut left = self.service.requests_per_turn;
        self.is_paused = false;
        while !self.is_over {
            if output.len() >= self.service.max_output || left == 0 {
                self.is_paused = true;
                break;
            }
            match self.step(&input[used..], &mut scratch, output) {
                Some(step) => {
                    used += step;
                    left -= 1;
                }
                None => break,
            }
        }
        used
    }

    /// Whether nothing more will be said: close when all output is sent.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether [`feed`](Self::feed) could go on without new input, once some of the output is sent.
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Whether the client is in the middle of a request as far as `feed` has consumed it.
    pub fn is_amid_request(&self) -> bool {
        !matches!(self.state, State::Ready)
    }

    /// Does one thing, and says how much of the input it used; `None` where it needs more.
    #[inline]
    fn step(&mut self, input: &[u8], scratch: &mut Scratch, output: &mut Output<'s>) -> Option<usize> {
        match &mut self.state {
            State::Ready => self.request(input, scratch, output),
            State::Keys { keys, any } => {
                let (keys, any) = (*keys, *any);
                self.keys(keys, any, input, output)
            }
            State::Block(_) => self.block(input, scratch, output),
            State::Line => {
                let end = memchr::memchr(b'\n', input);
                if end.is_some() {
                    self.state = State::Ready;
                }
                end.map(|end| end + 1).or(Some(input.len())).filter(|used| *used > 0)
            }
            State::Skip(0) => {
                self.state = State::Ready;
                Some(0)
            }
            State::Skip(left) => {
                let skipped = input.len().min(*left);
                *left -= skipped;
                (skipped > 0).then_some(skipped)
            }
            State::Dump(cursor) => {
                self.state = match Answer::new(self.service, output).dump(*cursor) {
                    Some(next) => State::Dump(next),
                    None => State::Ready,
                };
                Some(0)
            }
        }
    }

    /// The beginning of a request.
    #[inline]
    fn request(&mut self, input: &[u8], scratch: &mut Scratch, output: &mut Output<'s>) -> Option<usize> {
        let first = input.first()?;
        let protocol =
            *self.protocol.get_or_insert(if *first == binary::REQUEST { Protocol::Binary } else { Protocol::Text });
        let parsed = match protocol {
            Protocol::Text if !self.is_known => return self.introduction(input, scratch, output),
            Protocol::Text => {
                if let Some((keys, used)) = text::begins_keys(input) {
                    // There may be none yet.
                    return Some(used + self.keys(keys, false, &input[used..], output).unwrap_or(0));
                }
                text::parse(input, scratch)
            }
            Protocol::Binary if !self.is_known && input.get(1).is_some_and(|&opcode| !binary::is_for_all(opcode)) => {
                binary::put_status(output.bytes(), binary::header(input)?, binary::Status::AuthError);
                self.is_over = true;
                return Some(binary::HEADER);
            }
            Protocol::Binary => binary::parse(input),
        };
        match parsed {
            Parsed::Incomplete => None,
            Parsed::Complete { request: Request::Keys(keys), used, .. } => {
                Some(used + self.keys(keys, false, &input[used..], output).unwrap_or(0))
            }
            Parsed::Complete { request, used, block: 0 } => {
                self.carry_out(request, b"", output);
                Some(used)
            }
            Parsed::Complete { request, used, block } => {
                if self.refuse_block(&request, block, output) {
                    return Some(used);
                }
                let Some(data) = input[used..].get(..block) else { return self.await_block(input, used, block) };
                self.carry_out(request, data, output);
                Some(used + block)
            }
            Parsed::Wrong(wrong) => Some(self.complain(wrong, output)),
        }
    }

    /// Refuses a request for its data block's length, before any of it is taken.
    #[inline]
    fn refuse_block(&mut self, request: &Request<'_>, block: usize, output: &mut Output<'s>) -> bool {
        match request {
            Request::Store(store, form) if store.len > self.service.cache.max_item_bytes() => {
                Answer::new(self.service, output).refuse(Outcome::TooLarge, store, form);
                self.state = State::Skip(block);
            }
            Request::Authenticate { form, .. } if block > MAX_CREDENTIALS => {
                binary::put_status(output.bytes(), *form, binary::Status::TooLarge);
                self.is_over = true;
            }
            _ => return false,
        }
        true
    }

    /// Keeps a request until its data block is there.
    pub(super) fn await_block(&mut self, input: &[u8], used: usize, len: usize) -> Option<usize> {
        if used + len <= MIN_INPUT {
            // Little enough to be left in the input.
            return None;
        }
        self.state = State::Block(Box::new(Pending::new(&input[..used], len, &self.service.blocks)));
        Some(used)
    }

    /// A piece of a data block.
    fn block(&mut self, input: &[u8], scratch: &mut Scratch, output: &mut Output<'s>) -> Option<usize> {
        let State::Block(block) = &mut self.state else { return None };
        let (used, data) = match block.take(input, self.service.most_pending()) {
            Taken::Some(used) => return (used > 0).then_some(used),
            Taken::Whole(used, data) => (used, Some(data)),
            Taken::Lost => (0, None),
        };
        let State::Block(block) = std::mem::replace(&mut self.state, State::Ready) else { return None };
        let parsed = match self.protocol {
            Some(Protocol::Binary) => binary::parse(block.head()),
            _ => text::parse(block.head(), scratch),
        };
        match (parsed, data) {
            (Parsed::Complete { request, .. }, Some(data)) => self.carry_out(request, &data, output),
            (Parsed::Complete { request: Request::Store(store, form), .. }, None) if self.is_known => {
                Answer::new(self.service, output).refuse(Outcome::NoMemory, &store, &form);
                self.state = State::Skip(block.missing());
            }
            // Credentials that nobody can look at.
            _ => self.is_over = true,
        }
        Some(used)
    }

    /// The keys of a `get`, as many as are there and may be answered now; the state says how it goes on.
    #[inline]
    fn keys(&mut self, keys: Keys, mut any: bool, input: &[u8], output: &mut Output<'s>) -> Option<usize> {
        let mut answer = Answer::new(self.service, output);
        let mut used = 0;
        loop {
            while input.get(used) == Some(&b' ') {
                used += 1;
            }
            let rest = &input[used..];
            let Some(end) = memchr::memchr2(b' ', b'\n', &rest[..rest.len().min(MAX_KEY + 2)]) else {
                if rest.len() > MAX_KEY + 1 {
                    answer.key_too_long();
                    self.state = State::Line;
                    return Some(used);
                }
                self.state = State::Keys { keys, any };
                return (used > 0).then_some(used);
            };
            let is_last = rest[end] == b'\n';
            let key = &rest[..end];
            let key = if is_last { key.strip_suffix(b"\r").unwrap_or(key) } else { key };
            if key.len() > MAX_KEY {
                answer.key_too_long();
                self.state = if is_last { State::Ready } else { State::Line };
                return Some(used + end + 1);
            }
            if !key.is_empty() {
                any = true;
                answer.key(key, &keys);
            }
            used += end + 1;
            if is_last {
                answer.line(if any { "END" } else { BAD_FORMAT });
                self.state = State::Ready;
                return Some(used);
            }
            if answer.is_much() {
                self.state = State::Keys { keys, any };
                return Some(used);
            }
        }
    }

    /// Answers a request that is whole.
    #[inline]
    fn carry_out(&mut self, request: Request<'_>, block: &[u8], output: &mut Output<'s>) {
        if !self.is_known {
            return self.carry_out_unknown(request, block, output);
        }
        match request {
            Request::Authenticate { mechanism, form } => self.authenticate(mechanism, form, block, output),
            Request::Dump if !self.service.allow_dump => output.put_line("ERROR metadump not allowed"),
            Request::Dump => self.state = State::Dump(Cursor::default()),
            Request::Quit(form) => {
                if matches!(form, Form::Binary(_)) {
                    Answer::new(self.service, output).done(Outcome::Done, &form, "");
                }
                self.is_over = true;
            }
            Request::Shutdown { graceful } => {
                self.is_over = self.service.host.shut_down(graceful);
                if !self.is_over {
                    output.put_line("SERVER_ERROR: shutdown not enabled");
                }
            }
            request => Answer::new(self.service, output).request(request, block),
        }
    }

    fn complain(&mut self, wrong: Wrong, output: &mut Output<'s>) -> usize {
        match wrong.answer {
            Some(Complaint::Line(line)) => output.put_line(line),
            Some(Complaint::Status(header, status)) => binary::put_status(output.bytes(), header, status),
            None => {}
        }
        self.is_over = wrong.close;
        if wrong.skip > 0 {
            self.state = State::Skip(wrong.skip);
        }
        wrong.used
    }
}

impl fmt::Debug for Conversation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conversation").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}
