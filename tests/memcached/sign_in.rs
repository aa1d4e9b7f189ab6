//! Saying who one is, in text and by SASL, and what is not done before.

use larder::server::{Host, ServerCache, Service};

use crate::binary::{answers, request};
use crate::lab::{check, closes, talk};

/// A server that knows one user.
struct Guarded;

impl Host for Guarded {
    fn asks_for_credentials(&self) -> bool {
        true
    }

    fn knows(&self, user: &[u8], password: &[u8]) -> bool {
        (user, password) == (b"user", b"secret")
    }
}

fn guarded() -> Service {
    Service::new(ServerCache::builder().max_bytes(16 << 20).stripes(2).build().unwrap(), Guarded)
}

const UNKNOWN: &str = "CLIENT_ERROR unauthenticated\r\n";
const FAILED: &str = "CLIENT_ERROR authentication failure\r\n";

#[test]
fn a_set_says_who_it_is() {
    let service = guarded();
    check(
        &service,
        "set a 0 0 11\r\nuser secret\r\nget a\r\nset a 0 0 1\r\nx\r\nget a\r\n",
        "STORED\r\nEND\r\nSTORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n",
    );
    let bytes = b"set a 0 0 11\r\nuser secret\r\nversion\r\n";
    assert!(talk(&service, bytes.chunks(1)).reply.starts_with(b"STORED\r\nVERSION"));
}

#[test]
fn before_that_nothing_is_done() {
    let service = guarded();
    for ask in [
        "get a\r\n",
        "version\r\n",
        "mn\r\n",
        "stats\r\n",
        "ms a 1\r\n",
        "add a 0 0 1\r\n",
        "cas a 0 0 1 1\r\n",
        "\r\n",
        "\n",
        "zz\r\n",
        "quit\r\n",
        "flush_all noreply\r\n",
        "get / HTTP/1.1\r\n",
    ] {
        check(&service, ask, UNKNOWN);
    }
    check(&service, "lru_crawler metadump all\r\n", UNKNOWN);
}

#[test]
fn retrying_is_possible_and_safe() {
    let service = guarded();
    check(
        &service,
        "set a 0 0 10\r\nuser wrong\r\r\nget a\r\n",
        "CLIENT_ERROR bad command line termination\r\nCLIENT_ERROR unauthenticated\r\nCLIENT_ERROR unauthenticated\r\n",
    );
    for wrong in ["user  wrong", "secret user", "users ecret", "user secre", "user secrets"] {
        let ask = format!("set a 0 0 {}\r\n{wrong}\r\nget a\r\nset a 0 0 11\r\nuser secret\r\nget a\r\n", wrong.len());
        check(&service, &ask, &format!("{FAILED}{UNKNOWN}STORED\r\nEND\r\n"));
    }
    check(
        &service,
        "set a 0 0 4\r\nuser\r\nget a\r\n",
        &format!("CLIENT_ERROR bad authentication token format\r\n{UNKNOWN}"),
    );
}

#[test]
fn some_day_it_is_enough() {
    let service = guarded().max_refusals(3);
    assert_eq!(closes(&service, &"\r\n".repeat(1000)), UNKNOWN.repeat(4));
    assert_eq!(closes(&service, &"set a 0 0 3\r\na b\r\n".repeat(1000)), FAILED.repeat(4));
    let heard = talk(&service, [plain(b"\0user\0wrong").repeat(1000).as_slice()]);
    assert!(heard.closed);
    assert_eq!(answers(&heard).len(), 4);
}

#[test]
fn tokens_without_end() {
    let service = guarded();
    for len in [2_147_483_646_u32, 2_147_483_645, 100_000, 1100] {
        let reply = closes_or_unknown(&service, &format!("set a 0 0 {len}\r\nuser secret\r\n"));
        assert!(reply.starts_with("CLIENT_ERROR"), "{len}: {reply}");
    }
    let mut bytes = plain(b"\0user\0secret");
    bytes[8..12].copy_from_slice(&2_147_483_645_u32.to_be_bytes());
    assert!(talk(&service, [bytes.as_slice()]).closed);
    assert_eq!(closes(&service, &"x".repeat(5000)), "");
}

fn closes_or_unknown(service: &Service, ask: &str) -> String {
    let heard = talk(service, [ask.as_bytes()]);
    let reply = String::from_utf8(heard.reply).unwrap();
    assert!(heard.closed || reply.contains(UNKNOWN), "{reply}");
    reply
}

fn plain(token: &[u8]) -> Vec<u8> {
    request(0x21, 0, [b"", b"PLAIN", token])
}

fn statuses(service: &Service, requests: &[Vec<u8>]) -> (Vec<u16>, bool) {
    let heard = talk(service, [requests.concat().as_slice()]);
    (answers(&heard).iter().map(|answer| answer.status).collect(), heard.closed)
}

#[test]
fn sasl_says_who_it_is() {
    let service = guarded();
    let (get, version) = (request(0x00, 0, [b"", b"a", b""]), request(0x0b, 0, [b"", b"", b""]));
    let list = request(0x20, 0, [b"", b"", b""]);
    assert_eq!(
        statuses(&service, &[version, list.clone(), plain(b"\0user\0secret"), get.clone()]),
        (vec![0, 0, 0, 1], false)
    );
    assert_eq!(answers(&talk(&service, [list.as_slice()]))[0].value, b"PLAIN");
    // On whose behalf does not matter.
    assert_eq!(statuses(&service, &[plain(b"other\0user\0secret"), get.clone()]), (vec![0, 1], false));
    assert_eq!(statuses(&service, std::slice::from_ref(&get)), (vec![0x20], true));
}

#[test]
fn sasl_can_be_retried_safely() {
    let service = guarded();
    let get = request(0x00, 0, [b"", b"a", b""]);
    let (right, wrong) = (plain(b"\0user\0secret"), plain(b"\0user\0wrong"));
    assert_eq!(statuses(&service, &[wrong.clone(), right.clone(), get.clone()]), (vec![0x20, 0, 1], false));
    // Who fails is unknown, whatever it was before.
    assert_eq!(statuses(&service, &[wrong.clone(), get.clone()]), (vec![0x20, 0x20], true));
    assert_eq!(statuses(&service, &[right.clone(), wrong, get.clone()]), (vec![0, 0x20, 0x20], true));
    for token in [&b""[..], b"user", b"user\0secret", b"\0user", b"\0user\0", b"\0\0"] {
        assert_eq!(statuses(&service, &[plain(token), get.clone()]), (vec![0x20, 0x20], true), "{token:?}");
    }
    for mechanism in [&b"CRAM-MD5"[..], b"plain", b"P"] {
        let other = request(0x21, 0, [b"", mechanism, b"\0user\0secret"]);
        assert_eq!(statuses(&service, &[other, get.clone()]), (vec![0x20, 0x20], true));
    }
    let step = request(0x22, 0, [b"", b"PLAIN", b"\0user\0secret"]);
    assert_eq!(statuses(&service, &[step, get]), (vec![0x20, 0x20], true));
}

#[test]
fn attempts_are_counted() {
    let service = guarded();
    check(&service, "set a 0 0 3\r\na b\r\nmn\r\n", &format!("{FAILED}{UNKNOWN}"));
    let heard = talk(&service, [b"set a 0 0 11\r\nuser secret\r\nstats\r\n".as_slice()]);
    let stats = String::from_utf8(heard.reply).unwrap();
    for line in ["STAT auth_cmds 2", "STAT auth_errors 1", "STAT unauthenticated_requests 2"] {
        assert!(stats.contains(line), "{line} in {stats}");
    }
}
