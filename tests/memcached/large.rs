//! Values large enough to be lent by the cache rather than copied: they are answered as small ones are.

use std::sync::OnceLock;

use larder::server::{Mode, ServerCache, Service, Write};

use crate::binary::{answers, request};
use crate::lab::{check, service, talk};
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
