//! The binary protocol: its opcodes, their quiet forms, and what each must and must not have.

use larder::server::Service;

use crate::lab::{Heard, service, talk};

/// A request, with an opaque that tells it from others.
pub(crate) fn request(opcode: u8, cas: u64, [extras, key, value]: [&[u8]; 3]) -> Vec<u8> {
    let mut bytes = vec![0x80, opcode];
    bytes.extend((key.len() as u16).to_be_bytes());
    bytes.extend([extras.len() as u8, 0, 0, 0]);
    bytes.extend(((extras.len() + key.len() + value.len()) as u32).to_be_bytes());
    bytes.extend([0xab, 0xcd, 0, opcode]);
    bytes.extend(cas.to_be_bytes());
    bytes.extend([extras, key, value].concat());
    bytes
}

/// An answer, taken apart.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) opcode: u8,
    pub(crate) status: u16,
    pub(crate) cas: u64,
    pub(crate) extras: Vec<u8>,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

pub(crate) fn answers(heard: &Heard) -> Vec<Answer> {
    let (mut rest, mut answers) = (heard.reply.as_slice(), Vec::new());
    while !rest.is_empty() {
        let (head, body) = rest.split_at(24);
        let number = |from: usize, to: usize| head[from..to].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        assert_eq!((head[0], head[5], &head[12..16]), (0x81, 0, [0xab, 0xcd, 0, head[1]].as_slice()), "{heard:?}");
        let (body, after) = body.split_at(number(8, 12) as usize);
        let (extras, body) = body.split_at(head[4].into());
        let (key, value) = body.split_at(number(2, 4) as usize);
        let (extras, key, value) = (extras.to_vec(), key.to_vec(), value.to_vec());
        answers.push(Answer { opcode: head[1], status: number(6, 8) as u16, cas: number(16, 24), extras, key, value });
        rest = after;
    }
    answers
}

/// Asks, whole and byte by byte, and gives what is answered: opcode, status and value of each.
#[track_caller]
fn ask(service: &Service, requests: &[Vec<u8>]) -> Vec<(u8, u16, String)> {
    let heard = talk(service, [requests.concat().as_slice()]);
    assert!(!heard.closed, "{heard:?}");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    answers(&heard).iter().map(|answer| (answer.opcode, answer.status, text(&answer.value))).collect()
}

fn set(opcode: u8, key: &str, value: &str) -> Vec<u8> {
    request(opcode, 0, [&[0, 0, 0, 7, 0, 0, 0, 0], key.as_bytes(), value.as_bytes()])
}

/// A time that is over: the Unix time of a day in 1970.
const OVER: u32 = 2_592_001;

fn keyed(opcode: u8, key: &str) -> Vec<u8> {
    request(opcode, 0, [b"", key.as_bytes(), b""])
}

fn count(opcode: u8, delta: u64, initial: u64, exptime: u32) -> Vec<u8> {
    let extras = [&delta.to_be_bytes()[..], &initial.to_be_bytes(), &exptime.to_be_bytes()].concat();
    request(opcode, 0, [&extras, b"n", b""])
}

const NOOP: u8 = 0x0a;

fn noop() -> Vec<u8> {
    request(NOOP, 0, [b"", b"", b""])
}

fn ok(opcode: u8, value: &str) -> (u8, u16, String) {
    (opcode, 0, value.to_owned())
}

#[test]
fn entries_are_stored_and_read() {
    let service = service();
    let heard = talk(&service, [[set(0x01, "a", "xy"), keyed(0x00, "a"), keyed(0x0c, "a")].concat().as_slice()]);
    let answers = answers(&heard);
    let cas = answers[0].cas;
    assert_ne!(cas, 0);
    let flags = vec![0, 0, 0, 7];
    let get = |opcode, key: &[u8]| Answer {
        opcode,
        status: 0,
        cas,
        extras: flags.clone(),
        key: key.to_vec(),
        value: b"xy".to_vec(),
    };
    assert_eq!(answers[1..], [get(0x00, b""), get(0x0c, b"a")]);
}

#[test]
fn ways_to_store() {
    let service = service();
    let exists = (0x02, 2, "Data exists for key.".to_owned());
    assert_eq!(ask(&service, &[set(0x02, "a", "b"), set(0x02, "a", "c")]), [ok(0x02, ""), exists]);
    assert_eq!(
        ask(&service, &[set(0x03, "b", "b"), set(0x03, "a", "b")]),
        [(0x03, 1, "Not found".into()), ok(0x03, "")]
    );
    let longer = |opcode, key: &str, value: &str| request(opcode, 0, [b"", key.as_bytes(), value.as_bytes()]);
    let asked = [longer(0x0e, "a", "c"), longer(0x0f, "a", "a"), longer(0x0e, "b", "c"), keyed(0x00, "a")];
    assert_eq!(ask(&service, &asked), [ok(0x0e, ""), ok(0x0f, ""), (0x0e, 5, "Not stored.".into()), ok(0x00, "abc")]);
}

#[test]
fn cas_compares() {
    let service = service();
    let cas = answers(&talk(&service, [set(0x01, "a", "x").as_slice()]))[0].cas;
    let extras = [0; 8];
    let with = |opcode, key: &[u8], cas| request(opcode, cas, [&extras, key, b"y"]);
    let asked = [with(0x01, b"a", cas + 1), with(0x01, b"b", cas), with(0x01, b"a", cas), with(0x03, b"a", cas)];
    let statuses: Vec<_> = ask(&service, &asked).iter().map(|answer| answer.1).collect();
    assert_eq!(statuses, [2, 1, 0, 2]);
    let delete = |cas| request(0x04, cas, [b"", b"a", b""]);
    let statuses: Vec<_> = ask(&service, &[delete(1), delete(0), delete(0)]).iter().map(|answer| answer.1).collect();
    assert_eq!(statuses, [2, 0, 1]);
}

/// As memcached 1.6.18 answers it.
#[test]
fn add_with_a_cas_compares() {
    let service = service();
    let add = |opcode, cas, value: &[u8]| request(opcode, cas, [&[0; 8], b"a", value]);
    let missing = (0x02, 1, "Not found".to_owned());
    assert_eq!(ask(&service, &[add(0x02, 5, b"x"), keyed(0x09, "a"), noop()]), [missing, ok(NOOP, "")]);
    let cas = answers(&talk(&service, [set(0x01, "a", "x").as_slice()]))[0].cas;
    let exists = |opcode| (opcode, 2, "Data exists for key.".to_owned());
    assert_eq!(ask(&service, &[add(0x02, cas + 1, b"y"), keyed(0x00, "a")]), [exists(0x02), ok(0x00, "x")]);
    assert_eq!(ask(&service, &[add(0x02, cas, b"y"), keyed(0x00, "a")]), [ok(0x02, ""), ok(0x00, "y")]);
    assert_eq!(ask(&service, &[add(0x12, cas, b"z"), noop()]), [exists(0x12), ok(NOOP, "")]);
    // It is no set, which would take the old value away.
    let asked = [add(0x02, cas, &[b'x'; 2 << 20]), keyed(0x00, "a")];
    assert_eq!(ask(&service, &asked), [(0x02, 3, "Too large.".to_owned()), ok(0x00, "y")]);
}

#[test]
fn a_touch_tells_flags_and_cas() {
    let service = service();
    let cas = answers(&talk(&service, [set(0x01, "a", "x").as_slice()]))[0].cas;
    for time in [100, OVER] {
        let heard = talk(&service, [request(0x1c, 0, [&time.to_be_bytes(), b"a", b""]).as_slice()]);
        let (extras, key, value) = (vec![0, 0, 0, 7], vec![], vec![]);
        assert_eq!(answers(&heard), [Answer { opcode: 0x1c, status: 0, cas, extras, key, value }]);
    }
    let missing = (0x1c, 1, "Not found".to_owned());
    assert_eq!(ask(&service, &[request(0x1c, 0, [&[0; 4], b"a", b""])]), [missing]);
}

#[test]
fn quiet_forms_say_only_what_is_unexpected() {
    let service = service();
    let asked = [set(0x11, "a", "x"), set(0x12, "a", "x"), set(0x13, "b", "x"), keyed(0x09, "b"), keyed(0x0d, "b")];
    let answers = ask(&service, &[&asked[..], &[keyed(0x09, "a"), keyed(0x0d, "a"), noop()]].concat());
    let opcodes: Vec<_> = answers.iter().map(|answer| (answer.0, answer.1)).collect();
    assert_eq!(opcodes, [(0x12, 2), (0x13, 1), (0x09, 0), (0x0d, 0), (NOOP, 0)]);
    let asked = [
        request(0x19, 0, [b"", b"a", b"y"]),
        request(0x1a, 0, [b"", b"a", b"w"]),
        keyed(0x00, "a"),
        keyed(0x14, "a"),
        count(0x15, 1, 5, 0),
        count(0x16, 1, 5, 0),
        request(0x18, 0, [b"", b"", b""]),
        noop(),
    ];
    assert_eq!(ask(&service, &asked), [ok(0x00, "wxy"), ok(NOOP, "")]);
}

#[test]
fn a_miss_with_a_key_names_it() {
    let heard = talk(&service(), [keyed(0x0c, "a").as_slice()]);
    let answer = &answers(&heard)[0];
    assert_eq!((answer.status, answer.key.as_slice(), answer.value.as_slice()), (1, b"a".as_slice(), b"".as_slice()));
}

#[test]
fn numbers() {
    let service = service();
    let number = |number: u64| String::from_utf8_lossy(&number.to_be_bytes()).into_owned();
    let missing = (0x05, 1, "Not found".to_owned());
    assert_eq!(ask(&service, &[count(0x05, 1, 13, u32::MAX)]), [missing]);
    let asked = [count(0x05, 1, 13, 0), count(0x05, 7, 0, 0), count(0x06, 30, 0, 0)];
    assert_eq!(ask(&service, &asked), [ok(0x05, &number(13)), ok(0x05, &number(20)), ok(0x06, &number(0))]);
    let asked = [set(0x01, "n", "x"), count(0x05, 1, 0, 0)];
    assert_eq!(ask(&service, &asked)[1], (0x05, 6, "Non-numeric server-side value for incr or decr".to_owned()));
}

#[test]
fn touch_and_flush() {
    let service = service();
    let touch = |opcode, exptime: u32| request(opcode, 0, [&exptime.to_be_bytes(), b"a", b""]);
    let asked =
        [set(0x01, "a", "x"), touch(0x1c, 100), touch(0x1d, 100), touch(0x1e, OVER), touch(0x1d, 0), touch(0x1e, 0)];
    let answers = ask(&service, &asked);
    assert_eq!(answers[1..], [ok(0x1c, ""), ok(0x1d, "x"), ok(0x1e, "x"), (0x1d, 1, "Not found".into())]);
    let asked = [set(0x01, "a", "x"), request(0x08, 0, [&[0, 0, 0, 100], b"", b""]), keyed(0x00, "a")];
    assert_eq!(ask(&service, &asked)[1..], [ok(0x08, ""), ok(0x00, "x")]);
    let asked = [request(0x08, 0, [b"", b"", b""]), keyed(0x09, "a"), request(0x1b, 0, [&[0; 4], b"", b""])];
    assert_eq!(ask(&service, &asked), [ok(0x08, ""), ok(0x1b, "")]);
}

/// As memcached 1.6.18 answers it: the field has no sign.
#[test]
fn times_above_2_31_are_far_ahead() {
    let number = String::from_utf8(13_u64.to_be_bytes().to_vec()).unwrap();
    for exptime in [1 << 31, u32::MAX] {
        let (service, bytes) = (service(), exptime.to_be_bytes());
        let with_time = |opcode| request(opcode, 0, [&bytes, b"a", b""]);
        let set = request(0x01, 0, [&[[0; 4], bytes].concat(), b"a", b"x"]);
        let asked = [set, keyed(0x00, "a"), with_time(0x1c), with_time(0x1d), keyed(0x00, "a")];
        let answers = ask(&service, &asked);
        let statuses: Vec<_> = answers.iter().map(|answer| answer.1).collect();
        assert_eq!(statuses, [0; 5], "{exptime}");
        // The one that says not to make it is no time.
        let made = ask(&service, &[count(0x05, 1, 13, exptime), keyed(0x09, "n"), noop()]);
        if exptime == u32::MAX {
            assert_eq!(made, [(0x05, 1, "Not found".to_owned()), ok(NOOP, "")]);
        } else {
            assert_eq!(made, [ok(0x05, &number), ok(0x09, "13"), ok(NOOP, "")]);
        }
        let flush = request(0x08, 0, [&bytes, b"", b""]);
        assert_eq!(ask(&service, &[flush, keyed(0x00, "a")]), [ok(0x08, ""), ok(0x00, "x")], "{exptime}");
    }
}

#[test]
fn the_version_and_statistics() {
    let service = service();
    assert!(ask(&service, &[request(0x0b, 0, [b"", b"", b""])])[0].2.starts_with("1.6.45-larder-"));
    let stats = answers(&talk(&service, [request(0x10, 0, [b"", b"", b""]).as_slice()]));
    assert!(stats.iter().any(|stat| stat.key == b"cmd_get" && stat.value == b"0"));
    let (last, others) = stats.split_last().unwrap();
    assert!(last.key.is_empty() && last.value.is_empty() && others.iter().all(|stat| !stat.key.is_empty()));
    assert_eq!(ask(&service, &[keyed(0x10, "nothing")]), [(0x10, 1, "Not found".to_owned())]);
}

#[test]
fn quit_is_answered_unless_quiet() {
    for (opcode, answered) in [(0x07, 1), (0x17, 0)] {
        let heard = talk(&service(), [[request(opcode, 0, [b"", b"", b""]), noop()].concat().as_slice()]);
        assert!(heard.closed);
        assert_eq!(answers(&heard).len(), answered);
    }
}

#[test]
fn what_is_unknown_is_skipped() {
    let asked = [request(0x42, 0, [b"1", b"2", b"3456"]), request(0x20, 0, [b"", b"", b""]), noop()];
    let unknown = |opcode| (opcode, 0x81, "Unknown command".to_owned());
    assert_eq!(ask(&service(), &asked), [unknown(0x42), unknown(0x20), ok(NOOP, "")]);
}

#[test]
fn what_does_not_fit_is_answered_and_ends_the_conversation() {
    let wrong = [
        request(0x00, 0, [b"1", b"a", b""]),
        request(0x00, 0, [b"", b"", b""]),
        request(0x00, 0, [b"", b"a", b"x"]),
        request(0x01, 0, [b"1234", b"a", b"x"]),
        request(0x01, 0, [b"12345678", b"", b"x"]),
        request(0x05, 0, [b"12345678", b"a", b""]),
        request(0x08, 0, [b"12", b"", b""]),
        request(0x0a, 0, [b"", b"a", b""]),
        request(0x0e, 0, [b"1234", b"a", b"x"]),
        request(0x1c, 0, [b"", b"a", b""]),
        request(0x00, 0, [b"", &[b'k'; 251], b""]),
        request(0x00, 0, [&[0; 21], b"k", b""]),
    ];
    for wrong in wrong {
        let heard = talk(&service(), [[wrong.clone(), noop()].concat().as_slice()]);
        assert!(heard.closed, "{wrong:?}");
        assert_eq!(answers(&heard).iter().map(|answer| answer.status).collect::<Vec<_>>(), [4], "{wrong:?}");
    }
    let heard = talk(&service(), [[noop(), b"get a\r\n                 \r\n".to_vec()].concat().as_slice()]);
    assert!(heard.closed);
    assert_eq!(answers(&heard).len(), 1);
}

#[test]
fn the_longest_key_and_a_value_too_large() {
    let service = service();
    let longest = "k".repeat(250);
    assert_eq!(ask(&service, &[set(0x01, &longest, "x"), keyed(0x00, &longest)])[1], ok(0x00, "x"));
    let asked = [set(0x01, "a", "x"), set(0x01, "a", &"x".repeat(2 << 20)), keyed(0x09, "a"), noop()];
    assert_eq!(ask(&service, &asked)[1..], [(0x01, 3, "Too large.".to_owned()), ok(NOOP, "")]);
}

#[test]
fn any_split_gives_the_same() {
    let requests = [set(0x01, "a", "xyz"), keyed(0x0c, "a"), count(0x05, 1, 5, 0), keyed(0x00, "b"), noop()].concat();
    let expected = talk(&service(), [requests.as_slice()]);
    assert_eq!(talk(&service(), requests.chunks(1)), expected);
    for at in 1..requests.len() {
        assert_eq!(talk(&service(), [&requests[..at], &requests[at..]]), expected, "split at {at}");
    }
}
