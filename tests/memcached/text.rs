//! The classic commands: their rules, so that they are tested where memcached's own answers are not at hand.

use crate::lab::{check, closes, service, talk};

const BAD_FORMAT: &str = "CLIENT_ERROR bad command line format\r\n";
const KEY: [u8; 251] = [b'k'; 251];

fn key(len: usize) -> &'static str {
    std::str::from_utf8(&KEY[..len]).unwrap()
}

#[test]
fn what_was_stored_is_read() {
    let service = service();
    check(&service, "set a 7 0 2\r\nab\r\nget a\r\n", "STORED\r\nVALUE a 7 2\r\nab\r\nEND\r\n");
    check(&service, "get a b a\r\n", "VALUE a 7 2\r\nab\r\nVALUE a 7 2\r\nab\r\nEND\r\n");
    check(&service, "delete a\r\ndelete a\r\nget a\r\n", "DELETED\r\nNOT_FOUND\r\nEND\r\n");
}

#[test]
fn each_way_to_store_has_its_condition() {
    let service = service();
    check(
        &service,
        "replace a 0 0 1\r\nx\r\nappend a 0 0 1\r\nx\r\nprepend a 0 0 1\r\nx\r\n",
        &"NOT_STORED\r\n".repeat(3),
    );
    check(&service, "add a 5 0 1\r\nb\r\nadd a 0 0 1\r\nc\r\n", "STORED\r\nNOT_STORED\r\n");
    check(
        &service,
        "append a 9 0 1\r\nc\r\nprepend a 9 0 1\r\na\r\nget a\r\n",
        "STORED\r\nSTORED\r\nVALUE a 5 3\r\nabc\r\nEND\r\n",
    );
    check(&service, "replace a 4294967295 0 0\r\n\r\nget a\r\n", "STORED\r\nVALUE a 4294967295 0\r\n\r\nEND\r\n");
    check(&service, "cas b 0 0 1 1\r\nx\r\ncas a 0 0 1 18446744073709551615\r\nx\r\n", "NOT_FOUND\r\nEXISTS\r\n");
}

#[test]
fn cas_takes_what_gets_gave() {
    let service = service();
    let heard = talk(&service, [b"set a 0 0 1\r\nx\r\ngets a\r\n".as_slice()]);
    let reply = String::from_utf8(heard.reply).unwrap();
    let line = reply.lines().nth(1).unwrap().to_owned();
    let cas = line.strip_prefix("VALUE a 0 1 ").unwrap();
    check(&service, &format!("cas a 0 0 1 {cas}\r\ny\r\ncas a 0 0 1 {cas}\r\nz\r\n"), "STORED\r\nEXISTS\r\n");
    check(&service, "get a\r\n", "VALUE a 0 1\r\ny\r\nEND\r\n");
}

#[test]
fn noreply_is_the_last_word_and_silences_all_of_it() {
    let service = service();
    for silent in [
        "set a 0 0 1 noreply\r\nx\r\n",
        "add a 0 0 1 noreply\r\nx\r\n",
        "cas a 0 0 1 1 noreply\r\nx\r\n",
        "set a 0 0 1 noreply\r\nxyz",
        "set a x 0 1 noreply\r\nx\r\n",
        "set a 0 0 x noreply\r\n",
        "set a 0 0 99999999 noreply\r\n",
        "incr a 1 noreply\r\n",
        "incr a x noreply\r\n",
        "touch a 0 noreply\r\n",
        "delete a noreply\r\n",
        "delete a 0 noreply\r\n",
        "flush_all noreply\r\n",
        "flush_all 0 noreply\r\n",
        "verbosity 1 noreply\r\n",
        "cache_memlimit 32 noreply\r\n",
    ] {
        check(&service, silent, "");
    }
    check(&service, "set a 0 0 1 noreply x\r\nx\r\n", "STORED\r\n");
    check(&service, "delete noreply\r\n", "NOT_FOUND\r\n");
}

#[test]
fn keys_have_up_to_250_bytes_of_any_kind() {
    let service = service();
    let longest = key(250);
    check(&service, &format!("set {longest} 0 0 1\r\nx\r\n"), "STORED\r\n");
    check(&service, &format!("get {longest}\r\n"), &format!("VALUE {longest} 0 1\r\nx\r\nEND\r\n"));
    let too_long = key(251);
    for refused in ["set {} 0 0 1\r\nx\r\n", "incr {} 1\r\n", "touch {} 0\r\n", "delete {}\r\n", "me {}\r\n"] {
        check(&service, &refused.replace("{}", too_long), BAD_FORMAT);
    }
    check(&service, "set \t\u{1}é 0 0 1\r\nx\r\nget \t\u{1}é\r\n", "STORED\r\nVALUE \t\u{1}é 0 1\r\nx\r\nEND\r\n");
}

#[test]
fn a_key_of_get_that_is_too_long_takes_back_what_was_to_be_sent() {
    let service = service();
    let ask = format!("set a 0 0 1\r\nx\r\nget a {} a\r\nget a\r\n", key(251));
    check(&service, &ask, &format!("{BAD_FORMAT}\r\nVALUE a 0 1\r\nx\r\nEND\r\n"));
    check(&service, &format!("gat 0 {}\r\n", key(251)), &format!("{BAD_FORMAT}\r\n"));
    check(
        &service,
        &format!("get {}k\r\nget a\r\n", key(251)),
        &format!("{BAD_FORMAT}\r\nVALUE a 0 1\r\nx\r\nEND\r\n"),
    );
}

#[test]
fn a_wrong_line_with_a_length_skips_the_block() {
    let service = service();
    for wrong in ["set a x 0 2", "set a 0 x 2", "set a -1 0 2", "set a 4294967296 0 2", "cas a 0 0 2 x", "cas a 0 0 2"]
    {
        check(&service, &format!("{wrong}\r\nmn\r\nzz\r\n"), &format!("{BAD_FORMAT}ERROR\r\n"));
    }
    for unreadable in ["set a 0 0", "set a 0 0 -1", "set a 0 0 2x", "set a 0 0 2147483646", "set a", "set"] {
        check(&service, &format!("{unreadable}\r\nzz\r\n"), &format!("{BAD_FORMAT}ERROR\r\n"));
    }
}

#[test]
fn a_block_must_end_as_it_should() {
    let service = service();
    check(
        &service,
        "set a 0 0 1\r\n1\r\nset a 0 0 1\r\n22\r\n",
        "STORED\r\nCLIENT_ERROR bad data chunk\r\nCLIENT_ERROR bad command line format\r\n",
    );
    check(&service, "get a\r\n", "VALUE a 0 1\r\n1\r\nEND\r\n");
}

#[test]
fn what_is_too_large_is_skipped_and_takes_the_old_value() {
    let service = service();
    let large = "x".repeat(2 << 20);
    let refused = "SERVER_ERROR object too large for cache\r\n";
    for (command, kept) in [("set", false), ("add", true), ("append", true), ("replace", true), ("cas", true)] {
        check(&service, "set a 0 0 1\r\nx\r\n", "STORED\r\n");
        let cas = if command == "cas" { " 1" } else { "" };
        check(&service, &format!("{command} a 0 0 {}{cas}\r\n{large}\r\n", large.len()), refused);
        check(&service, "get a\r\n", if kept { "VALUE a 0 1\r\nx\r\nEND\r\n" } else { "END\r\n" });
    }
}

#[test]
fn times() {
    let service = service();
    let gone = ["-1", "-2147483648", "2147483648", "2592001", "1000000000"];
    for exptime in gone {
        check(&service, &format!("set a 0 {exptime} 1\r\nx\r\nget a\r\n"), "STORED\r\nEND\r\n");
    }
    for exptime in ["0", "1000", "2592000", "2147483647"] {
        check(&service, &format!("set a 0 {exptime} 1\r\nx\r\nget a\r\n"), "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
    }
    check(
        &service,
        "touch a 100\r\nmg a t\r\ngat 200 a b\r\nmg a t\r\n",
        "TOUCHED\r\nHD t100\r\nVALUE a 0 1\r\nx\r\nEND\r\nHD t200\r\n",
    );
    check(
        &service,
        "touch a -1\r\ntouch a 0\r\ntouch a\r\ntouch a x\r\n",
        &format!("TOUCHED\r\nNOT_FOUND\r\n{BAD_FORMAT}CLIENT_ERROR invalid exptime argument\r\n"),
    );
    check(
        &service,
        "gat x a\r\ngat 1\r\ngats\r\n",
        &format!("CLIENT_ERROR invalid exptime argument\r\n{BAD_FORMAT}{BAD_FORMAT}"),
    );
    // What 32 bits can't hold is over, whichever command says it; what 64 can't is no time.
    for exptime in ["2147483648", "4294967296", "-2147483649", "9223372036854775807"] {
        for (ask, answer) in [
            ("touch a {}", "TOUCHED\r\n"),
            ("gat {} a", "VALUE a 0 1\r\nx\r\nEND\r\n"),
            ("mg a T{} v", "VA 1\r\nx\r\n"),
            ("ms a 1 T{}\r\ny", "HD\r\n"),
            ("ma a T{} D0 v", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"),
            ("md a I T{}", "HD\r\n"),
        ] {
            let left = if ask.starts_with("ma") { "VALUE a 0 1\r\nx\r\nEND\r\n" } else { "END\r\n" };
            let ask = ask.replace("{}", exptime);
            check(&service, &format!("set a 0 0 1\r\nx\r\n{ask}\r\nget a\r\n"), &format!("STORED\r\n{answer}{left}"));
        }
    }
    check(
        &service,
        "touch a 9223372036854775808\r\nmg a T9223372036854775808\r\n",
        "CLIENT_ERROR invalid exptime argument\r\nCLIENT_ERROR bad token in command line format\r\n",
    );
}

#[test]
fn numbers() {
    let service = service();
    check(
        &service,
        "incr n 1\r\nset n 0 0 2\r\n98\r\nincr n 1\r\nincr n 1\r\ndecr n 1\r\n",
        "NOT_FOUND\r\nSTORED\r\n99\r\n100\r\n99\r\n",
    );
    check(&service, "get n\r\ndecr n 18446744073709551615\r\n", "VALUE n 0 3\r\n99 \r\nEND\r\n0\r\n");
    check(
        &service,
        "incr n 18446744073709551616\r\nincr n -1\r\nincr n\r\n",
        &format!("{0}{0}{BAD_FORMAT}", "CLIENT_ERROR invalid numeric delta argument\r\n"),
    );
}

#[test]
fn flush_all_takes_everything_at_once_or_later() {
    let service = service();
    check(&service, "set a 0 0 1\r\nx\r\nflush_all 100\r\nget a\r\n", "STORED\r\nOK\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
    check(
        &service,
        "flush_all\r\nget a\r\nset a 0 0 1\r\nx\r\nget a\r\n",
        "OK\r\nEND\r\nSTORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n",
    );
    check(&service, "flush_all -1\r\nget a\r\n", "OK\r\nEND\r\n");
}

#[test]
fn what_steers_memcacheds_inside_is_unknown() {
    for unknown in [
        "watch",
        "stats detail",
        "stats sizes",
        "lru tune",
        "slabs reassign 1 2",
        "extstore free_memchunks",
        "lru_crawler crawl all",
    ] {
        check(&service(), &format!("{unknown}\r\n"), "ERROR\r\n");
    }
    check(&service(), "lru_crawler\r\nmisbehave\r\nGET a\r\n", "ERROR\r\nERROR\r\nERROR\r\n");
}

#[test]
fn the_version_begins_as_memcacheds() {
    let heard = talk(&service(), [b"version\r\n".as_slice()]);
    assert!(heard.reply.starts_with(b"VERSION 1.6.45-larder-"), "{heard:?}");
}

#[test]
fn some_lines_end_the_conversation() {
    let service = service();
    assert_eq!(closes(&service, "quit\r\nget a\r\n"), "");
    assert_eq!(closes(&service, "get a\r\nquit\r\n"), "END\r\n");
    assert_eq!(closes(&service, "POST / HTTP/1.1\r\nHost: a\r\n"), "");
    check(&service, "get / HTTP/1.1\r\nshutdown\r\n", "END\r\nSERVER_ERROR: shutdown not enabled\r\n");
}

#[test]
fn a_dump_shows_every_key() {
    let service = service();
    let mut keys: Vec<String> = (0..1000).map(|number| format!("key-{number}")).collect();
    for key in &keys {
        check(&service, &format!("set {key} 0 0 1\r\nx\r\n"), "STORED\r\n");
    }
    check(&service, "set %é 3 100 1\r\nx\r\n", "STORED\r\n");
    keys.push("%25%C3%A9".to_owned());
    let heard = talk(&service, [b"lru_crawler metadump all\r\nmn\r\n".as_slice()]);
    let text = String::from_utf8(heard.reply).unwrap();
    let (lines, end) = text.split_at(text.len() - "END\r\nMN\r\n".len());
    assert_eq!(end, "END\r\nMN\r\n");
    let mut found: Vec<String> =
        lines.lines().map(|line| line["key=".len()..].split(' ').next().unwrap().to_owned()).collect();
    found.sort();
    keys.sort();
    assert_eq!(found, keys);
    let timed = lines.lines().find(|line| line.contains("%25")).unwrap();
    let words: Vec<_> = timed.split(' ').map(|word| word.split_once('=').unwrap()).collect();
    assert_eq!(
        words.iter().map(|word| word.0).collect::<Vec<_>>(),
        ["key", "exp", "la", "cas", "fetch", "cls", "size"]
    );
    let seconds = |at: usize| words[at].1.parse::<i64>().unwrap();
    assert!((98..=102).contains(&(seconds(1) - seconds(2))), "{timed}");
}

/// Without a codec large values are lent, with one they are decoded into the answer.
#[cfg(feature = "snappy")]
#[test]
fn large_values_arrive_whole_with_a_codec_and_without() {
    use larder::codec::Snappy;
    use larder::server::{ServerCache, Service};

    let value = "0123456789".repeat(20_000);
    let packed = ServerCache::builder().max_bytes(16 << 20).codec(Snappy::new()).build().unwrap();
    for service in [service(), Service::new(packed, ())] {
        check(&service, &format!("set a 7 0 200000\r\n{value}\r\n"), "STORED\r\n");
        check(&service, "get a b\r\n", &format!("VALUE a 7 200000\r\n{value}\r\nEND\r\n"));
        check(&service, "mg a v f\r\nmg a s\r\n", &format!("VA 200000 f7\r\n{value}\r\nHD s200000\r\n"));
    }
}
