//! Conversations with a server of their own.

use larder::server::{Conversation, Output, ServerCache, Service};

/// A service with an empty cache.
pub(crate) fn service() -> Service {
    Service::new(ServerCache::builder().max_bytes(16 << 20).stripes(2).build().unwrap(), ())
}

/// What one client gets to hear, and whether the conversation is over then.
#[derive(Debug, PartialEq)]
pub(crate) struct Heard {
    pub(crate) reply: Vec<u8>,
    pub(crate) closed: bool,
}

/// Takes what waits.
pub(crate) fn drain(output: &mut Output<'_>) -> Vec<u8> {
    let mut reply = Vec::new();
    while !output.is_empty() {
        let first = output.first().to_vec();
        output.advance(first.len());
        reply.extend(first);
    }
    reply
}

/// Feeds the pieces one after the other, as they would arrive, and collects all that is said.
pub(crate) fn talk<'p>(service: &Service, pieces: impl IntoIterator<Item = &'p [u8]>) -> Heard {
    let (mut conversation, mut output) = (Conversation::new(service), Output::new());
    let (mut input, mut reply) = (Vec::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            let used = conversation.feed(&input, &mut output);
            input.drain(..used);
            if !conversation.is_paused() {
                break;
            }
            reply.extend(drain(&mut output));
        }
    }
    reply.extend(drain(&mut output));
    Heard { reply, closed: conversation.is_over() }
}

/// Asks all at once, and compares.
#[track_caller]
pub(crate) fn check(service: &Service, ask: &str, expected: &str) {
    let heard = talk(service, [ask.as_bytes()]);
    assert_eq!(String::from_utf8_lossy(&heard.reply), expected, "to {ask:?}");
}

/// Asks all at once, and gives the reply if the conversation is over then.
#[track_caller]
pub(crate) fn closes(service: &Service, ask: &str) -> String {
    let heard = talk(service, [ask.as_bytes()]);
    assert!(heard.closed, "{ask:?} ends the conversation, but for {heard:?}");
    String::from_utf8(heard.reply).unwrap()
}
