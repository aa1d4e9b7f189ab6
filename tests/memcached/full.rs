//! Full memory of which nothing may be evicted: what takes no more room than what it replaces is stored.

use larder::server::{Exptime, ServerCache, Service};

use crate::binary::{answers, request};
use crate::lab::{check, service, talk};
use crate::stats::stats;

const NO_MEMORY: &str = "SERVER_ERROR out of memory storing object\r\n";

/// A service that refuses one byte more, and has the numbers `n`, `m` and `one` among its items.
fn full() -> Service {
    let cache = ServerCache::builder().max_bytes(8 << 20).stripes(2).evictions(false).build().unwrap();
    for (key, number) in [("n", "100"), ("m", "100"), ("one", "9")] {
        assert!(cache.set(key.as_bytes(), number.as_bytes(), 0, Exptime::Never).is_stored());
    }
    let mut number = 0;
    for len in [1000, 100, 0] {
        let value = vec![b'v'; len];
        while cache.set(format!("key{number}").as_bytes(), &value, 0, Exptime::Never).is_stored() {
            number += 1;
        }
    }
    Service::new(cache, ())
}

#[test]
fn numbers_are_counted() {
    let service = full();
    check(&service, "incr n 1\r\ndecr n 99\r\nget n\r\n", "101\r\n2\r\nVALUE n 0 3\r\n2  \r\nEND\r\n");
    check(&service, "ma n D7 v\r\nma n MD T60 D4\r\n", "VA 1\r\n9\r\nHD\r\n");
    // A digit more finds room, as in memcached.
    check(&service, "incr one 1\r\n", "10\r\n");
    let extras = [&1_u64.to_be_bytes()[..], &[0; 12]].concat();
    let heard = talk(&service, [request(0x05, 0, [&extras, b"n", b""]).as_slice()]);
    assert_eq!((answers(&heard)[0].status, answers(&heard)[0].value.as_slice()), (0, 6_u64.to_be_bytes().as_slice()));
}

#[test]
fn a_number_that_does_not_fit_is_told_so() {
    let service = full();
    check(&service, "ma new N0 J5 v\r\nma new N0 J5 q\r\n", &"SERVER_ERROR out of memory\r\n".repeat(2));
    let extras = [&1_u64.to_be_bytes()[..], &[0; 12]].concat();
    let heard = talk(&service, [request(0x05, 0, [&extras, b"new", b""]).as_slice()]);
    assert_eq!(answers(&heard)[0].status, 0x82);
    check(&service, "incr new 1\r\n", "NOT_FOUND\r\n");
}

#[test]
fn values_no_longer_than_the_old_ones_are_stored_however_often() {
    let service = full();
    let before = stats(&service, "stats\r\n");
    for round in 0..600 {
        let letter = char::from(b'a' + (round % 26) as u8);
        let (long, short) = (letter.to_string().repeat(1000), letter.to_string().repeat(400));
        let key = round % 200;
        check(&service, &format!("set key{key} 0 0 1000\r\n{long}\r\n"), "STORED\r\n");
        check(&service, &format!("replace key{key} 9 0 1000\r\n{long}\r\n"), "STORED\r\n");
        check(&service, &format!("ms key{key} 1000\r\n{long}\r\n"), "HD\r\n");
        check(&service, &format!("get key{key}\r\n"), &format!("VALUE key{key} 0 1000\r\n{long}\r\nEND\r\n"));
        if round >= 400 {
            check(&service, &format!("set key{key} 0 0 400\r\n{short}\r\n"), "STORED\r\n");
        }
    }
    let after = stats(&service, "stats\r\n");
    assert_eq!((after["evictions"].as_str(), &after["curr_items"]), ("0", &before["curr_items"]));
}

#[test]
fn what_needs_more_room_is_refused() {
    let service = full();
    let items = stats(&service, "stats\r\n")["curr_items"].clone();
    let value = "w".repeat(2000);
    check(&service, &format!("add new 0 0 2000\r\n{value}\r\n"), NO_MEMORY);
    for command in ["replace", "append", "prepend"] {
        check(&service, &format!("{command} key1 0 0 2000\r\n{value}\r\n"), NO_MEMORY);
    }
    check(&service, "get key1\r\n", &format!("VALUE key1 0 1000\r\n{}\r\nEND\r\n", "v".repeat(1000)));
    let counted = stats(&service, "stats\r\n");
    assert_eq!((counted["evictions"].as_str(), &counted["curr_items"]), ("0", &items));
    // What is out of date is not served in place of what was refused.
    check(&service, &format!("set key1 0 0 2000\r\n{value}\r\nget key1\r\n"), &format!("{NO_MEMORY}END\r\n"));
}

#[test]
fn where_others_make_room_nothing_is_refused() {
    let service = service();
    let value = "v".repeat(100_000);
    for key in 0..500 {
        check(&service, &format!("set {key} 0 0 100000\r\n{value}\r\n"), "STORED\r\n");
    }
    check(&service, "set n 0 0 1\r\n9\r\nincr n 1\r\n", "STORED\r\n10\r\n");
}
