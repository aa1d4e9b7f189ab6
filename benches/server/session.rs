//! One client connection: writes requests, reads answers, and holds every byte against what it should be.
//!
//! Every value says which key it belongs to and which pattern it consists of, so that an answer can be verified without
//! knowing who stored it. Knows the text protocol and one socket; knows no clock.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use mio::net::TcpStream;

/// Bytes of a value before its pattern: the key's number and the pattern's.
const STAMP: usize = 10;
const PATTERNS: usize = 256;

/// How values and keys look.
pub(crate) struct Content {
    patterns: Vec<Vec<u8>>,
    value: usize,
}

impl Content {
    pub(crate) fn new(value: usize) -> Self {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let pattern = |_| (0..value.saturating_sub(STAMP)).map(|_| b'!' + (random(&mut state) % 90) as u8).collect();
        Self { patterns: (0..PATTERNS).map(pattern).collect(), value: value.max(STAMP) }
    }

    fn set(&self, key: usize, pattern: usize, into: &mut Vec<u8>) {
        // Writing to memory does not fail.
        let _ = write!(into, "set key:{key:010} 0 0 {}\r\n{key:08x}{pattern:02x}", self.value);
        into.extend_from_slice(&self.patterns[pattern]);
        into.extend_from_slice(b"\r\n");
    }
}

/// A cheap random number.
pub(crate) fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
}

#[derive(Clone, Copy)]
enum Expected {
    Stored,
    Value(usize),
}

/// What came of the answers that have arrived.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) answers: u64,
    pub(crate) misses: u64,
}

pub(crate) struct Session {
    pub(crate) socket: TcpStream,
    expected: VecDeque<Expected>,
    output: Vec<u8>,
    input: Vec<u8>,
    filled: usize,
    header: Vec<u8>,
}

impl Session {
    pub(crate) fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            expected: VecDeque::new(),
            output: Vec::new(),
            input: vec![0; 256 << 10],
            filled: 0,
            header: Vec::new(),
        }
    }

    /// Requests that have not been answered.
    pub(crate) fn outstanding(&self) -> usize {
        self.expected.len()
    }

    pub(crate) fn get(&mut self, key: usize) {
        let _ = write!(self.output, "get key:{key:010}\r\n");
        self.expected.push_back(Expected::Value(key));
    }

    pub(crate) fn set(&mut self, key: usize, pattern: usize, content: &Content) {
        content.set(key, pattern % PATTERNS, &mut self.output);
        self.expected.push_back(Expected::Stored);
    }

    /// Writes as much as there is room for.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        let mut written = 0;
        while written < self.output.len() {
            match self.socket.write(&self.output[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.output.drain(..written);
        Ok(())
    }

    /// Reads once and verifies what is whole. An error is a wrong answer, or a broken connection.
    pub(crate) fn receive(&mut self, content: &Content) -> io::Result<Tally> {
        if self.filled == self.input.len() {
            self.input.resize(2 * self.filled, 0);
        }
        let count = match self.socket.read(&mut self.input[self.filled..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Tally::default()),
            Err(error) => return Err(error),
        };
        self.filled += count;
        let mut tally = Tally::default();
        let mut used = 0;
        while let Some(&expected) = self.expected.front() {
            let Some((length, hit)) = verify(&self.input[used..self.filled], expected, content, &mut self.header)?
            else {
                break;
            };
            used += length;
            self.expected.pop_front();
            tally.answers += 1;
            tally.misses += u64::from(!hit);
        }
        self.input.copy_within(used..self.filled, 0);
        self.filled -= used;
        Ok(tally)
    }
}

/// The length of the answer at the beginning, and whether it is no miss; nothing while it is not whole.
fn verify(
    input: &[u8],
    expected: Expected,
    content: &Content,
    header: &mut Vec<u8>,
) -> io::Result<Option<(usize, bool)>> {
    let key = match expected {
        Expected::Stored => return whole(input, b"STORED\r\n"),
        Expected::Value(key) => key,
    };
    if input.starts_with(b"END\r\n") {
        return Ok(Some((5, false)));
    }
    header.clear();
    let _ = write!(header, "VALUE key:{key:010} 0 {}\r\n{key:08x}", content.value);
    let total = header.len() + 2 + content.value.saturating_sub(STAMP) + b"\r\nEND\r\n".len();
    if input.len() < total {
        return Ok(None);
    }
    let (head, rest) = input[..total].split_at(header.len());
    let number = std::str::from_utf8(&rest[..2]).ok().and_then(|digits| usize::from_str_radix(digits, 16).ok());
    let right = |number: usize| rest[2..].strip_prefix(&*content.patterns[number]) == Some(b"\r\nEND\r\n");
    if head == header.as_slice() && number.is_some_and(right) { Ok(Some((total, true))) } else { Err(wrong(input)) }
}

fn whole(input: &[u8], answer: &[u8]) -> io::Result<Option<(usize, bool)>> {
    if input.starts_with(answer) {
        Ok(Some((answer.len(), true)))
    } else if answer.starts_with(input) {
        Ok(None)
    } else {
        Err(wrong(input))
    }
}

fn wrong(input: &[u8]) -> io::Error {
    let shown = String::from_utf8_lossy(&input[..input.len().min(200)]).into_owned();
    io::Error::new(io::ErrorKind::InvalidData, format!("a wrong answer: {shown:?}"))
}
