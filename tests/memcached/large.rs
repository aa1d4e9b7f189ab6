//! Values large enough to be lent by the cache rather than copied: they are answered as small ones are.

use std::sync::OnceLock;

use larder::server::{Conversation, Mode, Output, ServerCache, Service, Write};

use crate::binary::{answers, request};
use crate::lab::{Heard, check, drain, service, talk};
use crate::stats::stats;

const LEN: usize = 70_000;

fn value(letter: &str) -> String {
    letter.repeat(LEN)
}

fn store(service: &Service) {
    check(service, &format!("set b 5 0 {LEN}\r\n{}\r\n", value("x")), "STORED\r\n");
}

#[test]
fn a_touch_that_ends_its_time_still_answers_with_it() {
    let service = service();
    let x = value("x");
    // Negative, and a Unix time long ago.
    for time in ["-1", "2592001"] {
        let asked = [
            (format!("gat {time} b"), format!("VALUE b 5 {LEN}\r\n{x}\r\nEND\r\n")),
            (format!("mg b T{time} s"), format!("HD s{LEN}\r\n")),
            (format!("mg b T{time} s v"), format!("VA {LEN} s{LEN}\r\n{x}\r\n")),
        ];
        for (ask, answer) in asked {
            store(&service);
            check(&service, &format!("{ask}\r\n"), &answer);
            check(&service, "get b\r\n", "END\r\n");
        }
        store(&service);
        let exptime = time.parse::<i32>().unwrap().max(2_592_001).to_be_bytes();
        let heard = talk(&service, [request(0x1d, 0, [&exptime, b"b", b""]).as_slice()]);
        assert!(answers(&heard)[0].status == 0 && answers(&heard)[0].value == x.as_bytes());
        check(&service, "get b\r\n", "END\r\n");
    }
    let counted = stats(&service, "stats\r\n");
    for (name, value) in [("touch_hits", "8"), ("touch_misses", "0"), ("get_hits", "0"), ("get_misses", "8")] {
        assert_eq!(counted[name], value, "{name}");
    }
}

#[test]
fn an_answer_is_of_the_item_that_was_found_whatever_takes_its_place() {
    static CACHE: OnceLock<ServerCache> = OnceLock::new();
    // As another client could, between the touch and the answer.
    let put_another = |key: &[u8], _: &[u8], _| {
        let cache = CACHE.get().expect("it is set before anything is stored");
        cache.write(&Write { key, value: value("y").as_bytes(), flags: 6, mode: Mode::Add, ..Write::default() });
    };
    let cache = ServerCache::builder().max_bytes(16 << 20).on_removal(put_another).build().unwrap();
    CACHE.set(cache.clone()).unwrap();
    let service = Service::new(cache, ());
    let (x, y) = (value("x"), value("y"));
    for (ask, answer) in [
        ("gat -1 b", format!("VALUE b 5 {LEN}\r\n{x}\r\nEND\r\n")),
        ("mg b T-1 f s v", format!("VA {LEN} f5 s{LEN}\r\n{x}\r\n")),
    ] {
        store(&service);
        check(&service, &format!("{ask}\r\nget b\r\n"), &format!("{answer}VALUE b 6 {LEN}\r\n{y}\r\nEND\r\n"));
    }
}

/// The length of values of which four are a quarter of the limit.
const HALF_SENT: usize = 1_000_000;

/// All of a request but the last byte.
fn send_half<'s>(service: &'s Service, ask: &[u8]) -> Conversation<'s> {
    let mut client = Conversation::new(service);
    assert_eq!(tell(&mut client, &ask[..ask.len() - 1]), b"");
    client
}

#[test]
fn clients_that_send_half_and_wait_keep_nobody_out() {
    let service = service();
    let value = "x".repeat(HALF_SENT);
    let set = |key: &str| format!("set {key} 0 0 {HALF_SENT}\r\n{value}\r\n").into_bytes();
    let mut waiting: Vec<_> = (0..20).map(|number| send_half(&service, &set(&format!("waits{number}")))).collect();
    let counted = stats(&service, "stats\r\n");
    let held: usize = counted["pending_bytes"].parse().unwrap();
    assert!((3 * HALF_SENT..=4 << 20).contains(&held) && counted["pending_given_up"] == "16", "{counted:?}");

    // Other clients are served, in however many pieces they send.
    let mut client = Conversation::new(&service);
    for piece in set("served").chunks(50_000) {
        assert!([&b""[..], b"STORED\r\n"].contains(&&*tell(&mut client, piece)));
    }
    check(&service, "mg served s\r\n", &format!("HD s{HALF_SENT}\r\n"));
    // Who has grown last still has what it sent.
    assert_eq!(tell(&mut waiting[19], b"\n"), b"STORED\r\n");
    waiting.clear();
    assert_eq!(stats(&service, "stats\r\n")["pending_bytes"], "0");
}

#[test]
fn who_was_given_up_is_told_and_replaces_nothing_but_what_a_set_would() {
    let service = service();
    let value = "x".repeat(HALF_SENT);
    let out_of_memory = "SERVER_ERROR out of memory storing object\r\n";
    let line = |line: &str| format!("{line}\r\n{value}\r\n").into_bytes();
    for (ask, answer, keeps) in [
        (line(&format!("set old 0 0 {HALF_SENT}")), out_of_memory, false),
        (line(&format!("set old 0 0 {HALF_SENT} noreply")), "", false),
        (line(&format!("append old 0 0 {HALF_SENT}")), out_of_memory, true),
        (line(&format!("cas old 0 0 {HALF_SENT} 1")), out_of_memory, true),
        (line(&format!("ms old {HALF_SENT} q")), out_of_memory, false),
        (line(&format!("ms old {HALF_SENT} ME")), out_of_memory, true),
        (line(&format!("ms old {HALF_SENT} C1")), out_of_memory, true),
    ] {
        check(&service, "set old 0 0 1\r\n1\r\n", "STORED\r\n");
        let mut client = send_half(&service, &ask);
        let others = [0; 4].map(|_| send_half(&service, &line(&format!("set other 0 0 {HALF_SENT}"))));
        assert_eq!(tell(&mut client, b"\nmn\r\n"), [answer, "MN\r\n"].concat().as_bytes());
        check(&service, "get old\r\n", if keeps { "VALUE old 0 1\r\n1\r\nEND\r\n" } else { "END\r\n" });
        drop(others);
    }
    // In the binary protocol, and with much of it still to come.
    let ask = request(0x01, 0, [&[0; 8], b"old", value.as_bytes()]);
    let mut client = Conversation::new(&service);
    let (first, second) = ask.split_at(HALF_SENT / 2);
    assert_eq!(tell(&mut client, first), b"");
    let _others = [0; 4].map(|_| send_half(&service, &line(&format!("set other 0 0 {HALF_SENT}"))));
    let reply = tell(&mut client, &[second, &request(0x0a, 0, [b"", b"", b""])].concat());
    let heard = answers(&Heard { reply, closed: false });
    assert_eq!([heard[0].status, heard[1].status], [0x82, 0]);
}

/// Sends a client's bytes as a socket would show them, and gives the answers.
fn tell(client: &mut Conversation<'_>, bytes: &[u8]) -> Vec<u8> {
    let mut output = Output::new();
    for piece in bytes.chunks(64 << 10) {
        let mut used = 0;
        while used < piece.len() {
            used += client.feed(&piece[used..], &mut output);
        }
    }
    drain(&mut output)
}
