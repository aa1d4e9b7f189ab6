//! What once broke memcached, and what else a hostile client may send, or not read.

use larder::server::{Conversation, Exptime, MIN_INPUT, Output, ServerCache, Service};

use crate::binary::{answers, request};
use crate::lab::{check, closes, drain, service, talk};

const BAD_FORMAT: &str = "CLIENT_ERROR bad command line format\r\n";

#[test]
fn a_body_shorter_than_its_key_and_extras() {
    for opcode in 0..=0x24 {
        let mut bytes = request(opcode, 0, [&[0; 8], b"key", b"value"]);
        for shorter in [0_u32, 1, 10] {
            bytes[8..12].copy_from_slice(&shorter.to_be_bytes());
            let heard = talk(&service(), [bytes.as_slice()]);
            assert!(heard.closed, "opcode {opcode}, body {shorter}");
            assert_eq!(answers(&heard)[0].status, 0x81);
        }
    }
}

#[test]
fn bodies_of_gigabytes() {
    for len in [0x7fff_ffff_u32, 0x7fff_fffd, 0x8000_0000, u32::MAX, u32::MAX - 10] {
        for opcode in [0x01, 0x0e, 0x19, 0x21, 0x00, 0x05] {
            let extras: &[u8] = if opcode == 0x01 { &[0; 8] } else { b"" };
            let mut bytes = request(opcode, 0, [extras, b"key", b""]);
            bytes[8..12].copy_from_slice(&len.to_be_bytes());
            let (service, mut output) = (service(), Output::new());
            let mut conversation = Conversation::new(&service);
            conversation.feed(&bytes, &mut output);
            let answered = !output.is_empty();
            assert!(answered, "opcode {opcode}, {len} bytes");
            assert!(output.capacity() < 1 << 16);
        }
    }
}

#[test]
fn blocks_of_gigabytes() {
    let service = service();
    for len in [
        "2147483647",
        "2147483646",
        "2147483648",
        "4294967295",
        "4294967296",
        "18446744073709551615",
        "99999999999999999999",
    ] {
        check(&service, &format!("set a 0 0 {len}\r\nzz\r\n"), &format!("{BAD_FORMAT}ERROR\r\n"));
        check(&service, &format!("ms a {len}\r\nzz\r\n"), &format!("{BAD_FORMAT}ERROR\r\n"));
    }
    // A length that can be is skipped, however long that takes, and nothing is kept.
    check(&service, "set a 0 0 2147483645\r\nmn\r\n", "SERVER_ERROR object too large for cache\r\n");
}

#[test]
fn an_endless_line() {
    let service = service();
    for start in ["", "get", "set a 0 0 1 ", "mg a ", "delete ", "gat 0 a ", "gat 0 "] {
        let line = start.to_owned() + &"x".repeat(MIN_INPUT - start.len());
        assert!(!talk(&service, [&line.as_bytes()[1..]]).closed, "{start:?}");
        assert_eq!(closes(&service, &line), "", "{start:?}");
        assert_eq!(closes(&service, &format!("{line}\r\n")), "", "{start:?}");
    }
}

#[test]
fn keys_without_end() {
    let (service, mut output) = (service(), Output::new());
    check(&service, "set a 0 0 1\r\nx\r\n", "STORED\r\n");
    let mut conversation = Conversation::new(&service);
    conversation.feed(b"get ", &mut output);
    // Many keys are read as they come; one that is none is told at once, and the rest is not kept.
    for _ in 0..1000 {
        let keys = b"a b      c ".repeat(100);
        assert_eq!(conversation.feed(&keys, &mut output), keys.len());
        assert_eq!(drain(&mut output), b"VALUE a 0 1\r\nx\r\n".repeat(100));
    }
    for _ in 0..1000 {
        assert_eq!(conversation.feed(&[b'k'; 4096], &mut output), 4096);
    }
    assert_eq!(conversation.feed(b"k\r\nget a\r\n", &mut output), 10);
    assert_eq!(drain(&mut output), [BAD_FORMAT.as_bytes(), b"\r\nVALUE a 0 1\r\nx\r\nEND\r\n"].concat());
}

#[test]
fn one_key_hundreds_of_times() {
    let service = service();
    check(&service, "set a 0 0 1\r\nx\r\n", "STORED\r\n");
    check(&service, &format!("get{}\r\n", " a".repeat(900)), &("VALUE a 0 1\r\nx\r\n".repeat(900) + "END\r\n"));
}

#[test]
fn nothing_but_spaces() {
    let service = service();
    check(&service, &format!("get{}\r\nget  \n", " ".repeat(200)), &BAD_FORMAT.repeat(2));
    check(&service, &format!("{}\r\nset{}\r\n", " ".repeat(200), " ".repeat(200)), &format!("ERROR\r\n{BAD_FORMAT}"));
    check(&service, &format!("mg{}\r\nma{}v\r\n", " ".repeat(200), " ".repeat(200)), &format!("{BAD_FORMAT}NF\r\n"));
}

#[test]
fn requests_without_carriage_return() {
    let service = service();
    check(
        &service,
        "set a 0 0 1\nx\r\nget a\nmg a v\nincr a 1\n",
        "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\nVA 1\r\nx\r\nCLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
    );
    check(&service, "\n\r\n\r\r\n", &BAD_FORMAT.repeat(3));
}

#[test]
fn every_byte_as_a_flag() {
    let service = service();
    for byte in (0..=255).filter(|byte| !b" \n".contains(byte)) {
        for command in [&b"mg a "[..], b"md a ", b"ma a ", b"ms a 1 ", b"me a ", b"mn "] {
            let ask = [command, &[byte], if command[1] == b's' { b"\r\nx\r\n" } else { b"\r\n" }, b"mn\r\n"].concat();
            let heard = talk(&service, [ask.as_slice()]);
            assert!(heard.reply.ends_with(b"MN\r\n") && !heard.closed, "{byte}: {heard:?}");
        }
    }
}

/// Feeds what asks for more than a client reads, and looks at what waits for it meanwhile.
fn unread(service: &Service, ask: &[u8], most: usize) -> usize {
    let (mut conversation, mut output) = (Conversation::new(service), Output::new());
    let (mut used, mut pauses) = (0, 0);
    loop {
        used += conversation.feed(&ask[used..], &mut output);
        assert!(output.len() <= most && output.capacity() <= 2 * most, "{output:?}");
        if !conversation.is_paused() {
            assert_eq!(used, ask.len());
            return pauses;
        }
        // As long as nothing is read, nothing happens.
        let waiting = output.len();
        assert_eq!(conversation.feed(&ask[used..], &mut output), 0);
        assert_eq!(output.len(), waiting);
        drain(&mut output);
        pauses += 1;
    }
}

#[test]
fn answers_that_are_not_read() {
    let service = service().max_output(10_000);
    check(&service, &format!("set a 0 0 1000\r\n{}\r\n", "x".repeat(1000)), "STORED\r\n");
    assert!(unread(&service, "get a\r\n".repeat(1000).as_bytes(), 12_000) >= 100);
    assert!(unread(&service, format!("get{}\r\n", " a".repeat(900)).as_bytes(), 12_000) >= 90);
    assert!(unread(&service, "mg a v\r\n".repeat(1000).as_bytes(), 12_000) >= 100);
    assert!(unread(&service, &request(0x00, 0, [b"", b"a", b""]).repeat(1000), 12_000) >= 100);
}

#[test]
fn large_values_are_lent_and_not_copied() {
    let service = service().max_output(10_000);
    let value = "x".repeat(900_000);
    check(&service, &format!("set a 3 0 900000\r\n{value}\r\n"), "STORED\r\n");
    let (mut conversation, mut output) = (Conversation::new(&service), Output::new());
    let asked = b"get a\r\nmg a v s k\r\nget b\r\n";
    let mut used = conversation.feed(asked, &mut output);
    assert!(conversation.is_paused() && output.capacity() < 1000 && output.len() > 900_000);
    // It is sent as it was, whatever becomes of it.
    check(&service, "flush_all\r\nset a 0 0 1\r\ny\r\n", "OK\r\nSTORED\r\n");
    assert_eq!(drain(&mut output), format!("VALUE a 3 900000\r\n{value}\r\nEND\r\n").as_bytes());
    used += conversation.feed(&asked[used..], &mut output);
    assert_eq!((used, drain(&mut output).as_slice()), (asked.len(), b"VA 1 s1 ka\r\ny\r\nEND\r\n".as_slice()));
}

#[test]
fn a_dump_that_is_not_read() {
    let service = service().max_output(10_000);
    for number in 0..10_000 {
        check(&service, &format!("set key-{number} 0 0 1000 noreply\r\n{}\r\n", "x".repeat(1000)), "");
    }
    let (mut conversation, mut output) = (Conversation::new(&service), Output::new());
    let used = conversation.feed(b"lru_crawler metadump all\r\nmn\r\n", &mut output);
    assert!(conversation.is_paused() && output.len() < 20_000 && output.capacity() < 40_000);
    // It holds nothing meanwhile: others write, and what they replace is freed.
    for number in 0..10_000 {
        check(&service, &format!("set key-{number} 0 0 1000 noreply\r\n{}\r\n", "y".repeat(1000)), "");
    }
    let mut lines = drain(&mut output);
    let mut rest = &b"lru_crawler metadump all\r\nmn\r\n"[used..];
    while conversation.is_paused() {
        rest = &rest[conversation.feed(rest, &mut output)..];
        assert!(output.len() < 20_000);
        lines.extend(drain(&mut output));
    }
    assert!(lines.ends_with(b"END\r\nMN\r\n"));
    assert!(lines.iter().filter(|&&byte| byte == b'\n').count() > 9_000);
}

#[test]
fn a_client_that_vanishes_in_a_block_changes_nothing() {
    let service = service();
    check(&service, "set a 0 0 1\r\nx\r\n", "STORED\r\n");
    assert!(talk(&service, [b"set a 0 0 100000\r\nyyyy".as_slice()]).reply.is_empty());
    check(&service, "get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
}

#[test]
fn a_dump_of_a_nearly_empty_table_lets_others_have_their_turn() {
    let cache = ServerCache::builder().max_bytes(64 << 20).initial_items(200_000).build().unwrap();
    cache.set(b"k", b"v", 0, Exptime::Never);
    let service = Service::new(cache, ()).requests_per_turn(100);
    let (mut conversation, mut output) = (Conversation::new(&service), Output::new());
    let mut turns = 0;
    let mut left: &[u8] = b"lru_crawler metadump all\r\n";
    let mut reply = Vec::new();
    loop {
        left = &left[conversation.feed(left, &mut output)..];
        reply.extend(drain(&mut output));
        turns += 1;
        if !conversation.is_paused() {
            break;
        }
    }
    assert!(turns > 10, "{turns}");
    let reply = String::from_utf8(reply).unwrap();
    assert!(reply.starts_with("key=k ") && reply.ends_with("END\r\n") && reply.lines().count() == 2, "{reply}");
}
