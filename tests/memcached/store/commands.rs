//! The classic commands.

use super::{cache, cas, seconds, value};
use larder::server::{Count, Counted, Exptime, Mode, ServerCache, Stored, Write};
use std::time::{Duration, SystemTime};

#[test]
fn add_and_replace_ask_first() {
    let (cache, _) = cache();
    let write = |mode, value| cache.write(&Write { key: b"k", value, mode, ..Write::default() });
    assert_eq!(write(Mode::Replace, b"a"), Stored::NotStored);
    assert!(write(Mode::Add, b"b").is_stored());
    assert_eq!(write(Mode::Add, b"c"), Stored::NotStored);
    assert!(write(Mode::Replace, b"d").is_stored());
    assert_eq!(value(&cache, b"k").unwrap(), b"d");
}

#[test]
fn append_and_prepend_keep_flags_and_time() {
    let (cache, clock) = cache();
    let longer = |mode, value| cache.write(&Write { key: b"k", value, flags: 9, mode, ..Write::default() });
    assert_eq!(longer(Mode::Append, b"x"), Stored::NotStored);
    cache.set(b"k", b"1", 7, Exptime::In(10));
    assert!(longer(Mode::Append, b"2").is_stored());
    assert!(longer(Mode::Prepend, b"0").is_stored());
    let item = cache.get(b"k").unwrap();
    assert_eq!((item.value.as_slice(), item.flags), (b"012".as_slice(), 7));
    clock.advance(seconds(10));
    assert_eq!(cache.get(b"k"), None);
}

#[test]
fn cas_compares() {
    let (cache, _) = cache();
    let compare = |cas| Write { key: b"k", value: b"new", compare: Some(cas), ..Write::default() };
    assert_eq!(cache.write(&compare(1)), Stored::NotFound);
    let first = cas(cache.set(b"k", b"old", 0, Exptime::Never));
    assert_eq!(cache.get(b"k").unwrap().cas, first);
    assert_eq!(cache.write(&compare(first + 1)), Stored::Exists);
    assert_eq!(cache.write(&compare(0)), Stored::Exists);
    let second = cas(cache.write(&compare(first)));
    assert!(second > first);
    assert_eq!(cache.write(&compare(first)), Stored::Exists);
}

#[test]
fn items_expire_and_are_touched() {
    let (cache, clock) = cache();
    cache.set(b"k", b"v", 0, Exptime::In(30));
    assert_eq!(cache.read(b"k", |hit| hit.seconds_left()), Some(Some(30)));
    clock.advance(seconds(29));
    assert_eq!(cache.read(b"k", |hit| (hit.seconds_left(), hit.idle_seconds())), Some((Some(1), 29)));
    assert!(cache.touch(b"k", Exptime::In(60)));
    clock.advance(seconds(59));
    assert!(value(&cache, b"k").is_some());
    clock.advance(seconds(1));
    assert_eq!(value(&cache, b"k"), None);
    assert!(!cache.touch(b"k", Exptime::Never));
    cache.set(b"k", b"v", 0, Exptime::Never);
    assert!(cache.set(b"k", b"w", 0, Exptime::AT_ONCE).is_stored());
    assert_eq!(value(&cache, b"k"), None);
}

#[test]
fn flush_all_takes_what_was_there() {
    let (cache, clock) = cache();
    cache.set(b"old", b"v", 0, Exptime::Never);
    cache.flush_all(Duration::ZERO);
    assert_eq!(value(&cache, b"old"), None);
    assert!(!cache.delete(b"old"));
    cache.set(b"new", b"v", 0, Exptime::Never);
    assert!(value(&cache, b"new").is_some());

    cache.flush_all(Duration::from_secs(10));
    clock.advance(seconds(9));
    cache.set(b"newer", b"v", 0, Exptime::Never);
    assert!(value(&cache, b"new").is_some());
    clock.advance(seconds(1));
    cache.set(b"newest", b"v", 0, Exptime::Never);
    assert_eq!([b"new".as_slice(), b"newer"].map(|key| value(&cache, key)), [None, None]);
    assert!(value(&cache, b"newest").is_some());
}

#[test]
fn exptimes_are_relative_or_unix() {
    let (cache, clock) = cache();
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i32;
    let left = |exptime| {
        cache.set(b"k", b"v", 0, Exptime::from_wire(exptime));
        cache.read(b"k", |hit| hit.seconds_left())
    };
    assert_eq!(left(0), Some(None));
    assert_eq!(left(-1), None);
    assert_eq!(left(2_592_000), Some(Some(2_592_000)));
    assert_eq!(left(2_592_001), None, "1970 is over");
    assert_eq!(left(unix - 10), None);
    let ahead = left(unix + 100).unwrap().unwrap();
    assert!((99..=101).contains(&ahead), "{ahead}");
    clock.advance(seconds(60));
    let ahead = left(unix + 100).unwrap().unwrap();
    assert!((39..=41).contains(&ahead), "the calendar goes with the clock: {ahead}");
}

fn counted(cache: &ServerCache, count: Count) -> Option<u64> {
    match cache.count(b"n", &count) {
        Counted::Number { number, cas } => {
            assert_eq!(cache.get(b"n").unwrap().cas, cas);
            Some(number)
        }
        _ => None,
    }
}

#[test]
fn numbers_wrap_stop_and_are_padded() {
    let (cache, clock) = cache();
    assert_eq!(cache.count(b"n", &Count::up(1)), Counted::NotFound);
    cache.set(b"n", b"18446744073709551615", 3, Exptime::In(10));
    assert_eq!(counted(&cache, Count::up(2)), Some(1));
    assert_eq!(value(&cache, b"n").unwrap(), b"1                   ");
    assert_eq!(counted(&cache, Count::down(5)), Some(0));
    cache.set(b"n", b"9", 3, Exptime::In(10));
    assert_eq!(counted(&cache, Count::up(1)), Some(10));
    let item = cache.get(b"n").unwrap();
    assert_eq!((item.value.as_slice(), item.flags), (b"10".as_slice(), 3));
    assert_eq!(counted(&cache, Count::down(1)), Some(9));
    assert_eq!(value(&cache, b"n").unwrap(), b"9 ");
    assert_eq!(cache.count(b"n", &Count { compare: Some(1), ..Count::up(1) }), Counted::Exists);
    clock.advance(seconds(10));
    assert_eq!(cache.count(b"n", &Count::up(1)), Counted::NotFound, "it kept its time");
    cache.set(b"n", b"12ab", 0, Exptime::Never);
    assert_eq!(cache.count(b"n", &Count::up(1)), Counted::NotANumber);
    assert_eq!(value(&cache, b"n").unwrap(), b"12ab");
}

#[test]
fn a_number_in_a_long_value_is_padded_to_its_length() {
    let (cache, _) = cache();
    let value = |number: &str| format!("{number:<60000}{:40000}", "").into_bytes();
    cache.set(b"n", &value("41"), 0, Exptime::Never);
    assert_eq!(counted(&cache, Count::up(1)), Some(42));
    assert_eq!(cache.get(b"n").unwrap().value, value("42"));
}

#[test]
fn numbers_begin_where_told_and_can_be_touched() {
    let (cache, clock) = cache();
    let count = Count { vivify: Some((13, Exptime::In(5))), ..Count::up(2) };
    assert_eq!(counted(&cache, count), Some(13));
    assert_eq!(counted(&cache, count), Some(15));
    assert_eq!(counted(&cache, Count { touch: Some(Exptime::In(60)), cas: Some(99), ..count }), Some(17));
    assert_eq!(cache.read(b"n", |hit| (hit.cas, hit.seconds_left())), Some((99, Some(60))));
    clock.advance(seconds(60));
    assert_eq!(counted(&cache, count), Some(13));
}

#[test]
fn what_is_too_large_takes_the_old_value_with_it() {
    let cache = ServerCache::builder().max_item_bytes(1_000).build().unwrap();
    cache.set(b"k", b"v", 0, Exptime::Never);
    let longer = Write { key: b"k", value: &[b'x'; 1_000], mode: Mode::Append, ..Write::default() };
    assert_eq!(cache.write(&longer), Stored::TooLarge);
    assert_eq!(value(&cache, b"k").unwrap(), b"v");
    assert_eq!(cache.set(b"k", &[b'x'; 1_000], 0, Exptime::Never), Stored::TooLarge);
    assert_eq!(value(&cache, b"k"), None);
    assert_eq!(cache.set(&[b'k'; 251], b"v", 0, Exptime::Never), Stored::TooLarge);
    assert_eq!(value(&cache, &[b'k'; 251]), None);
    assert!(cache.set(&[b'k'; 250], b"v", 0, Exptime::Never).is_stored());
    assert!(cache.set(b"", b"", 0, Exptime::Never).is_stored());
    assert_eq!(value(&cache, b"").unwrap(), b"");
    assert_eq!(cache.stats().store_too_large, 3);
}

#[test]
fn every_change_has_another_number() {
    let (cache, _) = cache();
    let mut numbers = vec![cas(cache.set(b"k", b"1", 0, Exptime::Never))];
    numbers.push(cas(cache.set(b"other", b"1", 0, Exptime::Never)));
    numbers.push(cas(cache.write(&Write { key: b"k", value: b"2", mode: Mode::Append, ..Write::default() })));
    let Counted::Number { cas, .. } = cache.count(b"k", &Count::up(1)) else { panic!("12 is a number") };
    numbers.push(cas);
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    cache.touch(b"k", Exptime::In(9));
    assert_eq!(cache.get(b"k").unwrap().cas, cas, "a touch is no change");
}

#[test]
fn what_is_done_is_counted() {
    let (cache, clock) = cache();
    cache.set(b"k", b"1", 0, Exptime::In(5));
    cache.get(b"k");
    cache.get(b"none");
    clock.advance(seconds(5));
    cache.get(b"k");
    cache.set(b"k", b"1", 0, Exptime::Never);
    cache.flush_all(Duration::ZERO);
    cache.get(b"k");
    cache.count(b"none", &Count::up(1));
    cache.delete(b"none");
    cache.touch(b"none", Exptime::Never);
    cache.write(&Write { key: b"none", compare: Some(1), ..Write::default() });
    let stats = cache.stats();
    assert_eq!((stats.cmd_get, stats.get_hits, stats.get_misses), (4, 1, 3));
    assert_eq!((stats.get_expired, stats.get_flushed, stats.cmd_flush), (1, 1, 1));
    assert_eq!((stats.cmd_set, stats.total_items, stats.curr_items), (3, 2, 0));
    assert_eq!((stats.incr_misses, stats.delete_misses, stats.touch_misses, stats.cas_misses), (1, 1, 1, 1));
    assert_eq!(stats.limit_maxbytes, 8 << 20);
    assert!(0 < stats.bytes && stats.bytes < 1 << 20, "{}", stats.bytes);
}
