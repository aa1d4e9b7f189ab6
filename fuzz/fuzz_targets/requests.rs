//! Any bytes, in any pieces: the same requests are seen, nothing panics, and no more waits for a client than may.
//!
//! ```text
//! cargo +nightly fuzz run requests -- -max_total_time=60
//! ```
//!
//! Knows bytes and answers only. Each way of cutting the same bytes has a server of its own; what they answer must be the
//! same, since what a request is does not depend on where a packet ends. Pieces of requests are put together from a list,
//! so that most inputs get past the first word.

#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use larder::ManualClock;
use larder::server::{Conversation, Host, Output, ServerCache, Service};
use libfuzzer_sys::fuzz_target;

/// What requests are made of.
const PIECES: [&[u8]; 48] = [
    b"get ",
    b"gets ",
    b"gat ",
    b"gats ",
    b"set ",
    b"add ",
    b"replace ",
    b"append ",
    b"prepend ",
    b"cas ",
    b"incr ",
    b"decr ",
    b"delete ",
    b"touch ",
    b"flush_all",
    b"verbosity ",
    b"version",
    b"quit",
    b"shutdown",
    b"cache_memlimit ",
    b"mg ",
    b"ms ",
    b"md ",
    b"ma ",
    b"me ",
    b"mn",
    b"a ",
    b"b ",
    b"0 ",
    b"0 0 1",
    b"0 0 3",
    b" 1 ",
    b"noreply",
    b"-1 ",
    b"\r\n",
    b"\n",
    b"x\r\n",
    b"xyz\r\n",
    b"v ",
    b"c k q ",
    b"N5 ",
    b"O1 ",
    b"T9 ",
    b"b ",
    b"C1 ",
    b"I ",
    b"HTTP/1.1",
    b"YQ== ",
];

/// A part of what is sent.
#[derive(Arbitrary, Debug)]
enum Part {
    Piece(u8),
    Bytes(Vec<u8>),
    Spaces(u16),
    /// A key, or what is too long for one.
    Key(u16),
    /// A binary request with lengths that need not fit.
    Binary {
        opcode: u8,
        lens: [u8; 3],
        body_len: Option<u32>,
        cas: u8,
    },
}

#[derive(Debug)]
struct Input {
    guarded: bool,
    cuts: [u8; 8],
    parts: Vec<Part>,
}

impl<'a> Arbitrary<'a> for Input {
    /// As many parts as there are bytes for.
    fn arbitrary(bytes: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let (guarded, cuts, mut parts) = (bytes.ratio(1, 8)?, bytes.arbitrary()?, Vec::new());
        while !bytes.is_empty() {
            // Pieces of requests more often than anything else.
            parts.push(if bytes.ratio(3, 4)? { Part::Piece(bytes.arbitrary()?) } else { bytes.arbitrary()? });
        }
        Ok(Self { guarded, cuts, parts })
    }
}

/// Asks for credentials, and takes any that begin alike.
struct Guard(bool);

impl Host for Guard {
    fn asks_for_credentials(&self) -> bool {
        self.0
    }

    fn knows(&self, user: &[u8], password: &[u8]) -> bool {
        user.first() == password.first()
    }
}

fn bytes(parts: &[Part]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        match part {
            Part::Piece(number) => bytes.extend(PIECES[usize::from(*number) % PIECES.len()]),
            Part::Bytes(some) => bytes.extend(some),
            Part::Spaces(many) => bytes.resize(bytes.len() + usize::from(*many) % 3000, b' '),
            Part::Key(len) => bytes.resize(bytes.len() + usize::from(*len) % 300, b'k'),
            Part::Binary { opcode, lens, body_len, cas } => {
                let [extras, key, value] = lens.map(|len| usize::from(len) % 32);
                bytes.extend([0x80, opcode % 0x28, 0, key as u8, extras as u8, 0, 0, 0]);
                bytes.extend(body_len.unwrap_or((extras + key + value) as u32).to_be_bytes());
                bytes.extend([1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, *cas]);
                bytes.resize(bytes.len() + extras + key + value, 0);
            }
        }
    }
    bytes
}

/// What a client hears that sends these pieces and reads when it has to.
fn talk<'p>(pieces: impl Iterator<Item = &'p [u8]>, guarded: bool, max_output: usize) -> (Vec<u8>, bool) {
    let cache = ServerCache::builder().max_bytes(4 << 20).stripes(1).clock(ManualClock::new()).build().unwrap();
    let service = Service::new(cache, Guard(guarded)).max_output(max_output);
    let (mut conversation, mut output) = (Conversation::new(&service), Output::new());
    let (mut input, mut heard) = (Vec::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            let used = conversation.feed(&input, &mut output);
            input.drain(..used);
            if !conversation.is_paused() {
                break;
            }
            // One answer more than the limit: an entry, or the general statistics.
            assert!(output.len() < max_output + (16 << 10), "{} bytes wait", output.len());
            drain(&mut output, &mut heard);
        }
        assert!(conversation.is_over() || input.len() < larder::server::MIN_INPUT, "{} bytes are kept", input.len());
    }
    drain(&mut output, &mut heard);
    (heard, conversation.is_over())
}

fn drain(output: &mut Output<'_>, heard: &mut Vec<u8>) {
    while !output.is_empty() {
        let first = output.first();
        let len = first.len();
        heard.extend_from_slice(first);
        output.advance(len);
    }
}

/// Whether an answer depends on when it is given, or on the order in which a cache has its entries.
fn depends_on_more(heard: &[u8]) -> bool {
    [&b"rusage"[..], b" la=", b"STAT"].iter().any(|word| heard.windows(word.len()).any(|window| window == *word))
}

fuzz_target!(|input: Input| {
    let Input { guarded, cuts, parts } = input;
    let bytes = bytes(&parts);
    let whole = talk([bytes.as_slice()].into_iter(), guarded, usize::MAX);
    let single = talk(bytes.chunks(1), guarded, usize::MAX);
    let mut rest = bytes.as_slice();
    let cut = cuts.iter().map(|len| {
        let (piece, after) = rest.split_at(rest.len().min(usize::from(*len)));
        rest = after;
        piece
    });
    let mut pieces: Vec<_> = cut.collect();
    pieces.push(rest);
    let cut = talk(pieces.into_iter(), guarded, usize::MAX);
    let slow = talk([bytes.as_slice()].into_iter(), guarded, 64);
    if !depends_on_more(&whole.0) {
        assert_eq!(whole, single, "whole and byte by byte");
        assert_eq!(whole, cut, "whole and in pieces");
        // What is taken back can't be when it has been read.
        let takes_back = whole.0.windows(4).any(|window| window == b"\r\n\r\n");
        assert!(whole == slow || takes_back, "whole and read in between");
    }
});
