//! What the store keeps: bytes, codecs, listeners, and the walk over all of it.

use super::{builder, cache, seconds, value};
use larder::RemovalCause;
use larder::codec::{Codec, CodecError};
use larder::server::{Count, Counted, Cursor, Exptime, Mode, ServerCache, Write};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Drops every other byte of values, whose bytes come in pairs; refuses those that begin with `!`; and finds those damaged
/// that begin with `?`.
struct Pairs;

impl Codec for Pairs {
    fn name(&self) -> &str {
        "pairs"
    }

    fn encode(&self, _: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        if plain.first() == Some(&b'!') {
            return Err(CodecError::refused("pairs", "it does not like it"));
        }
        out.extend(plain.iter().step_by(2));
        Ok(())
    }

    fn decode(&self, _: &[u8], stored: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        if stored.first() == Some(&b'?') {
            return Err(CodecError::damaged("pairs", "it begins so"));
        }
        out.extend(stored.iter().flat_map(|byte| [byte; 2]).take(len));
        Ok(())
    }

    fn must_encode(&self) -> bool {
        true
    }
}

#[test]
fn commands_see_what_a_codec_hides() {
    let (builder, clock) = builder();
    let cache = builder.codec(Pairs).build().unwrap();
    cache.set(b"k", b"aabb", 7, Exptime::In(10));
    assert!(cache.write(&Write { key: b"k", value: b"cc", mode: Mode::Append, ..Write::default() }).is_stored());
    assert!(cache.write(&Write { key: b"k", value: b"00", mode: Mode::Prepend, ..Write::default() }).is_stored());
    let item = cache.get(b"k").unwrap();
    assert_eq!((item.value.as_slice(), item.flags), (b"00aabbcc".as_slice(), 7));
    clock.advance(seconds(10));
    assert_eq!(cache.get(b"k"), None);

    cache.set(b"n", b"11", 0, Exptime::Never);
    assert!(matches!(cache.count(b"n", &Count::up(22)), Counted::Number { number: 33, .. }));
    assert_eq!(value(&cache, b"n").unwrap(), b"33");
}

#[test]
fn what_can_not_be_encoded_or_decoded_is_gone() {
    let (builder, _) = builder();
    let cache = builder.codec(Pairs).build().unwrap();
    cache.set(b"k", b"aa", 0, Exptime::Never);
    assert!(!cache.set(b"k", b"!!", 0, Exptime::Never).is_stored());
    assert_eq!(cache.get(b"k"), None);

    cache.set(b"k", b"??", 0, Exptime::Never);
    assert_eq!(cache.stats().curr_items, 1);
    assert_eq!(cache.get(b"k"), None);
    assert_eq!((cache.stats().curr_items, cache.stats().get_misses), (0, 2));
    cache.set(b"k", b"??", 0, Exptime::Never);
    assert_eq!(cache.count(b"k", &Count::up(1)), Counted::NotFound);
    assert_eq!(cache.stats().curr_items, 0);
}

#[test]
fn a_listener_is_told_what_leaves() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let cache = builder().0.codec(Pairs).on_removal(move |key, value, cause| {
        log.lock().unwrap().push((key.to_vec(), value.to_vec(), cause));
    });
    let cache = cache.build().unwrap();
    cache.set(b"k", b"aa", 0, Exptime::Never);
    cache.set(b"k", b"bb", 0, Exptime::Never);
    cache.delete(b"k");
    let expected = [(b"aa", RemovalCause::Replaced), (b"bb", RemovalCause::Removed)];
    let expected = expected.map(|(value, cause)| (b"k".to_vec(), value.to_vec(), cause));
    assert_eq!(*told.lock().unwrap(), expected);
}

#[test]
fn a_walk_visits_every_item_once() {
    let (cache, clock) = cache();
    for number in 0..5_000_u32 {
        let exptime = if number % 2 == 0 { Exptime::Never } else { Exptime::In(60) };
        cache.set(&number.to_be_bytes(), b"value", number, exptime);
    }
    cache.set(b"over", b"", 0, Exptime::In(5));
    clock.advance(seconds(10));
    cache.get(&7_u32.to_be_bytes());
    let (mut seen, mut next, mut steps) = (BTreeMap::new(), Some(Cursor::default()), 0);
    while let Some(cursor) = next {
        next = cache.walk(cursor, 100, |meta| {
            assert_eq!(seen.insert(meta.key.clone(), meta), None);
        });
        steps += 1;
        cache.set(format!("more {steps}").as_bytes(), b"", u32::MAX, Exptime::Never);
    }
    seen.retain(|_, meta| meta.flags != u32::MAX);
    assert_eq!(seen.len(), 5_000);
    assert!(steps <= 60, "{steps} steps");
    for (number, (key, meta)) in (0..5_000_u32).zip(&seen) {
        assert_eq!((key.as_slice(), meta.flags), (number.to_be_bytes().as_slice(), number));
        assert_eq!(meta.seconds_left, (number % 2 == 1).then_some(50));
        assert_eq!(
            meta.expires.map(|expires| expires - meta.accessed - i64::from(meta.idle_seconds)),
            meta.seconds_left.map(i64::from)
        );
        assert_eq!((meta.fetched, meta.idle_seconds), (number == 7, if number == 7 { 0 } else { 10 }));
        assert!((9..100).contains(&meta.size));
    }
}

#[test]
fn a_full_cache_keeps_its_limit() {
    let limit = 1 << 20;
    let cache = ServerCache::builder().max_bytes(limit).build().unwrap();
    let set = |number: u32| {
        let value = vec![b'v'; (number * 7919 % 600) as usize];
        assert!(cache.set(&number.to_be_bytes(), &value, 0, Exptime::Never).is_stored());
    };
    (0..20_000).for_each(set);
    assert_eq!(value(&cache, &19_999_u32.to_be_bytes()).unwrap().len(), 19_999 * 7919 % 600);
    // Other tests' threads may be inside a read: for a moment that holds up what was evicted, and when it is freed all at
    // once there is room to be filled again.
    let (end, mut numbers) = (Instant::now() + seconds(20), 20_000..);
    while !(limit * 9 / 10..=limit).contains(&cache.stats().bytes) {
        assert!(Instant::now() < end, "{:?}", cache.stats());
        numbers.by_ref().take(10).for_each(set);
    }
    let stats = cache.stats();
    assert!(stats.curr_items + stats.evictions >= 20_000, "{stats:?}");
}

#[test]
fn writes_free_what_was_flushed() {
    let (cache, _) = cache();
    for number in 0..5_000_u32 {
        cache.set(&number.to_be_bytes(), &[b'v'; 200], 0, Exptime::Never);
    }
    let full = cache.stats();
    cache.flush_all(seconds(0));
    for number in 0..5_000_u32 {
        cache.set(&(number % 10).to_be_bytes(), b"new", 0, Exptime::Never);
    }
    let stats = cache.stats();
    assert_eq!((full.curr_items, stats.curr_items), (5_000, 10));
    assert_eq!((0..10_u32).filter(|number| value(&cache, &number.to_be_bytes()).is_some()).count(), 10);
}
