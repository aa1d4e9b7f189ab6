//! One connection: reads, has its requests answered, writes.
//!
//! Knows when to read and when not: while the other side has not read what was written, nothing more is read from it, so
//! it can't make the server hold more than one turn's answers. Knows no command.

use std::io::{self, IoSlice};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use mio::event::Event;
use mio::{Registry, Token};

use crate::server::conversation::Conversation;
use crate::server::output::Output;
use crate::server::roster::Peer;
use crate::server::shared::Counters;
use crate::server::stream::Stream;

/// So much is read at once, with what is left from before.
const READ: usize = 64 << 10;

/// A thread's output keeps no more memory than this from one connection to the next.
const KEPT_OUTPUT: usize = 512 << 10;

/// Pieces that are written at once.
const SLICES: usize = 32;

/// The memory that all connections of a thread share, each for its turn.
pub(crate) struct Scratch<'s> {
    input: Box<[u8]>,
    output: Output<'s>,
}

impl Scratch<'_> {
    pub(crate) fn new() -> Self {
        Self { input: vec![0; READ].into(), output: Output::new() }
    }
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The next event decides.
    Wait,
    /// There is more to do, and others have their turn first.
    Yield,
    /// It is over.
    Close,
}

/// A connection. What it keeps between turns is empty while it is idle.
pub(crate) struct Connection<'s> {
    stream: Stream,
    peer: Arc<Peer>,
    conversation: Conversation<'s>,
    /// Read and not answered.
    input: Vec<u8>,
    /// Answered and not written.
    output: Output<'s>,
    /// Whether the socket may have something to read.
    unread: bool,
    /// Whether the other side has said that nothing more comes, so a short read does not mean that all is read.
    hung_up: bool,
    /// Closed when all is written.
    ending: bool,
    /// Whether something could not be written.
    blocked: bool,
    /// Whether the event loop tells when there is room to write.
    watches_room: bool,
    /// Whether it waits in the event loop's list for its next turn.
    pub(crate) queued: bool,
}

impl<'s> Connection<'s> {
    pub(crate) fn new(stream: Stream, peer: Arc<Peer>, conversation: Conversation<'s>) -> Self {
        Self {
            stream,
            peer,
            conversation,
            input: Vec::new(),
            output: Output::new(),
            // What came before it was registered may not be announced any more when the server stops.
            unread: true,
            hung_up: false,
            ending: false,
            blocked: false,
            watches_room: false,
            queued: false,
        }
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.stream.register(registry, token)
    }

    /// Has the event loop tell when there is room to write, if and only if that is waited for.
    pub(crate) fn watch_room(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        if self.watches_room != self.blocked {
            self.stream.watch_writable(registry, token, self.blocked)?;
            self.watches_room = self.blocked;
            self.peer.owes_reading.store(self.blocked, Relaxed);
        }
        Ok(())
    }

    /// Notes what the event loop has been told.
    pub(crate) fn note(&mut self, event: &Event, now: Instant) {
        self.hung_up |= event.is_read_closed() || event.is_error();
        self.unread |= event.is_readable() || self.hung_up;
        self.peer.note(now);
    }

    /// It, as others see it.
    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Whether nothing has been begun: no request half read, no answer half written.
    pub(crate) fn is_idle(&self) -> bool {
        self.input.is_empty() && !self.conversation.is_amid_request() && !self.blocked
    }

    /// Looks for what has not been announced: the server stops, and answers what it has been asked.
    pub(crate) fn look_once_more(&mut self) {
        self.unread = true;
    }

    /// Says goodbye.
    pub(crate) fn finish(&mut self) {
        self.stream.finish();
    }

    /// Reads, answers and writes, until there is nothing to do or others should have their turn.
    ///
    /// # Errors
    ///
    /// When the connection is broken, or a request has panicked.
    pub(crate) fn turn(&mut self, scratch: &mut Scratch<'s>, counters: &Counters) -> io::Result<Turn> {
        if !self.write_rest(counters)? {
            return Ok(Turn::Wait);
        }
        let mut came = 0;
        while !self.ending {
            let mut filled = self.input.len();
            scratch.input[..filled].copy_from_slice(&self.input);
            if !self.conversation.is_paused() {
                if !self.unread {
                    return Ok(Turn::Wait);
                }
                let count = self.read(&mut scratch.input[filled..], counters)?;
                (filled, came) = (filled + count, came + count);
            }
            let used = self.answer(&scratch.input[..filled], &mut scratch.output, counters)?;
            self.keep(&scratch.input[used..filled]);
            self.write(&mut scratch.output, counters)?;
            if self.blocked {
                return Ok(Turn::Wait);
            }
            // Large requests are few; who sends them one after the other is not to keep the others waiting either.
            if self.conversation.is_paused() || self.unread && came >= READ {
                counters.yields.add(1);
                return Ok(Turn::Yield);
            }
        }
        Ok(Turn::Close)
    }

    /// Reads once; what is not there now, or the end, is 0 bytes.
    fn read(&mut self, into: &mut [u8], counters: &Counters) -> io::Result<usize> {
        match self.stream.read(into) {
            Ok(count) => {
                self.ending = count == 0;
                self.unread = self.hung_up || count == into.len() || !self.stream.short_read_is_all();
                counters.bytes_read.add(count as u64);
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.unread = false;
                Ok(0)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Answers whole requests until there are no more, or enough; says how many bytes they had.
    fn answer(&mut self, input: &[u8], output: &mut Output<'s>, counters: &Counters) -> io::Result<usize> {
        let conversation = &mut self.conversation;
        // What a panic leaves behind is this conversation, which ends with it, and the output, which is not sent.
        match catch_unwind(AssertUnwindSafe(|| conversation.feed(input, output))) {
            Ok(used) => {
                self.ending |= self.conversation.is_over();
                Ok(used)
            }
            Err(_) => {
                *output = Output::new();
                counters.panics.add(1);
                Err(io::Error::other("a request has panicked"))
            }
        }
    }

    /// Keeps what has not been answered; an idle connection keeps no memory.
    fn keep(&mut self, rest: &[u8]) {
        if rest.is_empty() {
            self.input = Vec::new();
        } else {
            self.input.clear();
            self.input.extend_from_slice(rest);
        }
    }

    /// Writes the output; what there is no room for stays with the connection.
    fn write(&mut self, output: &mut Output<'s>, counters: &Counters) -> io::Result<()> {
        let written = write_some(&mut self.stream, output, counters);
        if written.is_err() {
            *output = Output::new();
            return written;
        }
        if output.is_empty() {
            output.shrink_to(KEPT_OUTPUT);
        } else {
            counters.output_stalls.add(1);
            self.output = mem::take(output);
        }
        self.settle()
    }

    /// Whether all that was answered is written.
    fn write_rest(&mut self, counters: &Counters) -> io::Result<bool> {
        if self.blocked {
            write_some(&mut self.stream, &mut self.output, counters)?;
            if self.output.is_empty() {
                self.output = Output::new();
            }
            self.settle()?;
        }
        Ok(!self.blocked)
    }

    /// Notes whether anything is left to be written, by encryption or by us.
    fn settle(&mut self) -> io::Result<()> {
        self.blocked = match self.stream.flush() {
            Ok(()) => !self.output.is_empty(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
            Err(error) => return Err(error),
        };
        Ok(())
    }
}

/// Writes as much as there is room for.
fn write_some(stream: &mut Stream, output: &mut Output<'_>, counters: &Counters) -> io::Result<()> {
    while !output.is_empty() {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let filled = output.slices(&mut slices);
        let written = match &slices[..filled] {
            [one] => stream.write(one),
            several => stream.write_vectored(several),
        };
        match written {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                counters.bytes_written.add(count as u64);
                output.advance(count);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
