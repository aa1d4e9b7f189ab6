//! What memcached 1.6.45 really answers, byte for byte: whole, in two pieces split anywhere, byte by byte, and many
//! requests in one packet. The recordings are not part of the package; where they are not there, this says so.

use std::fs;

use serde_json::Value;

use crate::lab::{Heard, service, talk};

const RECORDINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/memcached/transcripts.json");

struct Case {
    name: String,
    send: Vec<Vec<u8>>,
    /// With `{n}` for some number.
    reply: Vec<u8>,
    closed: bool,
}

/// Characters are bytes.
fn latin1(text: &Value) -> Vec<u8> {
    text.as_str().unwrap().chars().map(|char| u8::try_from(u32::from(char)).unwrap()).collect()
}

fn cases() -> Vec<Case> {
    let Ok(text) = fs::read_to_string(RECORDINGS) else {
        println!("LEFT OUT: memcached's own answers, since there is no {RECORDINGS}");
        return Vec::new();
    };
    let recordings: Value = serde_json::from_str(&text).unwrap();
    let cases = recordings["cases"].as_array().unwrap().iter().map(|case| Case {
        name: case["name"].as_str().unwrap().to_owned(),
        send: case["send"].as_array().unwrap().iter().map(latin1).collect(),
        reply: latin1(&case["reply"]),
        closed: case["closed"].as_bool().unwrap(),
    });
    cases.collect()
}

/// Whether `reply` is what is expected, with a number wherever `{n}` is.
fn matches(mut expected: &[u8], mut reply: &[u8]) -> bool {
    while let Some((&first, rest)) = expected.split_first() {
        if let Some(after) = expected.strip_prefix(b"{n}") {
            let digits = reply.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return false;
            }
            (expected, reply) = (after, &reply[digits..]);
        } else {
            if reply.first() != Some(&first) {
                return false;
            }
            (expected, reply) = (rest, &reply[1..]);
        }
    }
    reply.is_empty()
}

#[track_caller]
fn compare(case: &Case, how: &str, heard: &Heard) {
    let (expected, reply) = (String::from_utf8_lossy(&case.reply), String::from_utf8_lossy(&heard.reply));
    if !matches(&case.reply, &heard.reply) {
        let differ = expected
            .lines()
            .zip(reply.lines())
            .find(|(expected, reply)| !matches(expected.as_bytes(), reply.as_bytes()));
        panic!("{}, {how}: {differ:?} differ; {} and {} bytes", case.name, expected.len(), reply.len());
    }
    assert_eq!(heard.closed, case.closed, "{}, {how}: closed", case.name);
}

#[test]
fn whole() {
    for case in cases() {
        compare(&case, "whole", &talk(&service(), case.send.iter().map(Vec::as_slice)));
    }
}

#[test]
fn split_anywhere() {
    for case in cases() {
        let bytes = case.send.concat();
        for at in 1..bytes.len() {
            let heard = talk(&service(), [&bytes[..at], &bytes[at..]]);
            compare(&case, &format!("split at {at}"), &heard);
        }
    }
}

#[test]
fn byte_by_byte() {
    for case in cases() {
        compare(&case, "byte by byte", &talk(&service(), case.send.concat().chunks(1)));
    }
}

/// Where a key of a `get` is too long, memcached forgets what it was to send of the requests before, as its
/// own recording shows.
fn forgets_what_was_before(case: &Case) -> bool {
    case.name.ends_with("251") && case.name.starts_with("get")
}

#[test]
fn many_in_one_packet() {
    let cases = cases();
    let together: Vec<_> = cases.iter().filter(|case| !case.closed).collect();
    for from in 0..together.len() {
        for many in [2, 5, together.len()] {
            let (mut bytes, mut expected) = (Vec::new(), Vec::new());
            for case in together.iter().cycle().skip(from).take(many) {
                if forgets_what_was_before(case) {
                    expected.clear();
                }
                bytes.extend(b"flush_all noreply\r\n");
                bytes.extend(case.send.concat());
                expected.extend(&case.reply);
            }
            let all = Case { name: together[from].name.clone(), send: Vec::new(), reply: expected, closed: false };
            compare(&all, &format!("and others, {many} in one packet"), &talk(&service(), [bytes.as_slice()]));
        }
    }
}
