//! Whole conversations, in all three forms of the protocol, beside a naive model of memcached.
//!
//! ```text
//! cargo +nightly fuzz run conversations -- -max_total_time=60
//! ```
//!
//! Knows bytes and what memcached's documents say. What is to be done is said by `step`, which also knows how each form asks
//! for it; what must be answered is said by `model`. Cas uniques are the server's to choose: the model learns them
//! by `me` after each step, and sees that every change has a new one.

#![no_main]

mod model;
mod step;

use arbitrary::{Arbitrary, Unstructured};
use larder::ManualClock;
use larder::server::{Conversation, Output, ServerCache, Service};
use libfuzzer_sys::fuzz_target;

use crate::model::Model;
use crate::step::{KEYS, Step};

#[derive(Debug)]
struct Input {
    steps: Vec<Step>,
}

impl<'a> Arbitrary<'a> for Input {
    /// As many steps as there are bytes for; a list of them would ask after each whether to go on, and mostly end soon.
    fn arbitrary(bytes: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let mut steps = Vec::new();
        while !bytes.is_empty() {
            steps.push(bytes.arbitrary()?);
        }
        Ok(Self { steps })
    }
}

/// What is answered to a request, of which the first `cut` bytes come first.
fn ask<'s>(conversation: &mut Conversation<'s>, output: &mut Output<'s>, request: &[u8], cut: usize) -> Vec<u8> {
    let mut used = conversation.feed(&request[..cut % request.len()], output);
    used += conversation.feed(&request[used..], output);
    assert_eq!(used, request.len(), "all of it is used");
    let mut answer = Vec::new();
    while !output.is_empty() {
        answer.extend_from_slice(output.first());
        output.advance(output.first().len());
    }
    answer
}

fuzz_target!(|input: Input| {
    let clock = ManualClock::new();
    let cache = ServerCache::builder().max_bytes(4 << 20).stripes(1).clock(clock.clone()).build().unwrap();
    let service = Service::new(cache, ());
    let (mut text, mut binary) = (Conversation::new(&service), Conversation::new(&service));
    let mut output = Output::new();
    let mut model = Model::default();
    for (number, step) in input.steps.iter().enumerate() {
        if let Step::Wait { seconds } = step {
            clock.advance(std::time::Duration::from_secs(u64::from(*seconds)));
            model.wait(u64::from(*seconds));
        } else {
            let request = step.request(&model);
            let expected = model.answer(step);
            let conversation = if step.is_binary() { &mut binary } else { &mut text };
            let answer = ask(conversation, &mut output, &request, number * 7);
            let show = String::from_utf8_lossy;
            assert!(
                step::matches(&expected, &answer),
                "{step:?}, {:?}: {:?} was expected, not {:?}",
                show(&request),
                show(&expected),
                show(&answer)
            );
        }
        for key in KEYS {
            let answer = ask(&mut text, &mut output, &[b"me ", key, b"\r\n"].concat(), 3);
            model.compare(key, &answer);
        }
    }
});
