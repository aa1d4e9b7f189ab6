//! Values large enough to be lent by the cache rather than copied: they are answered as small ones are.

use std::sync::OnceLock;

use larder::server::{Conversation, Mode, Output, ServerCache, Service, Write};

use crate::binary::{answers, request};
use crate::lab::{check, drain, service, talk};
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

#[test]
fn values_that_are_half_sent_hold_no_more_than_their_part_of_memory() {
    const LEN: usize = 1_000_000;
    // Four of them are a quarter of the limit.
    let service = Service::new(ServerCache::builder().max_bytes(16 << 20).build().unwrap(), ());
    check(&service, "set old 0 0 1\r\nx\r\nset kept 0 0 1\r\nx\r\n", "STORED\r\nSTORED\r\n");
    let value = "x".repeat(LEN);
    let text = |command: &str, key: &str| format!("{command} {key} 0 0 {LEN}\r\n{value}\r\n").into_bytes();
    let mut half: Vec<Conversation<'_>> = Vec::new();
    for key in ["a", "b", "c", "d"] {
        let (mut client, ask) = (Conversation::new(&service), text("set", key));
        assert_eq!(tell(&mut client, &ask[..ask.len() - 1]), "");
        half.push(client);
    }
    // What is announced, and not sent, takes nothing.
    let mut announcer = Conversation::new(&service);
    assert_eq!(tell(&mut announcer, format!("set z 0 0 {LEN}\r\n").as_bytes()), "");

    let out_of_memory = "SERVER_ERROR out of memory storing object\r\n";
    for (ask, answer) in [
        (text("set", "old"), out_of_memory),
        (text("append", "kept"), out_of_memory),
        (format!("set old 0 0 {LEN} noreply\r\n{value}\r\n").into_bytes(), ""),
        (format!("ms old {LEN} q\r\n{value}\r\n").into_bytes(), out_of_memory),
    ] {
        // The rest of it is passed over, and the client goes on.
        let [first, second] = ask.split_at(LEN / 2).into();
        let mut client = Conversation::new(&service);
        assert_eq!(tell(&mut client, first), answer);
        assert_eq!(tell(&mut client, second), "");
        assert_eq!(tell(&mut client, b"get kept\r\n"), "VALUE kept 0 1\r\nx\r\nEND\r\n");
    }
    let heard = talk(&service, request(0x01, 0, [&[0; 8], b"old", value.as_bytes()]).chunks(LEN / 3));
    assert_eq!(answers(&heard)[0].status, 0x82);
    check(&service, "get old\r\n", "END\r\n"); // memcached serves no value that was to be replaced

    for client in &mut half {
        assert_eq!(tell(client, b"\n"), "STORED\r\n");
    }
    assert_eq!(tell(&mut announcer, format!("{value}\r\n").as_bytes()), "STORED\r\n");
    let mut client = Conversation::new(&service);
    let [first, second] = [&text("set", "old")[..], b"get kept\r\n"];
    assert_eq!(tell(&mut client, first), "STORED\r\n");
    assert_eq!(tell(&mut client, second), "VALUE kept 0 1\r\nx\r\nEND\r\n");
    // One that goes away in the middle gives back what it had.
    for _ in 0..100 {
        let ask = text("set", "gone");
        assert_eq!(tell(&mut Conversation::new(&service), &ask[..LEN]), "");
    }
}

/// Sends a client's bytes as a socket would show them, and gives the answers.
fn tell(client: &mut Conversation<'_>, bytes: &[u8]) -> String {
    let mut output = Output::new();
    for piece in bytes.chunks(64 << 10) {
        let mut used = 0;
        while used < piece.len() {
            used += client.feed(&piece[used..], &mut output);
        }
    }
    String::from_utf8(drain(&mut output)).unwrap()
}
