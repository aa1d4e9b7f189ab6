//! What is loaded, and what is stored of it.

use std::rc::Rc;
use std::sync::atomic::AtomicUsize;
use std::thread;
use std::time::Duration;

use larder::{Cache, ManualClock};

use crate::lab::{Constant, Key, block_on, crowd, is_first};

#[test]
fn a_value_that_is_too_large_is_returned_and_not_stored() {
    let cache: Cache<Key, Vec<u8>> =
        Cache::builder().max_bytes(64 << 10).weigher(|_, v: &Vec<u8>| v.len() as u64).build().unwrap();
    let loads = AtomicUsize::new(0);
    let values = crowd(4, |_, key, all_wait| {
        cache.get_or_insert_with(key, || {
            assert!(is_first(&loads));
            all_wait();
            vec![1; 1 << 20]
        })
    });
    assert!(values.iter().all(|value| value.len() == 1 << 20));
    let stats = cache.stats();
    assert_eq!((cache.len(), stats.rejected, stats.loads), (0, 1, 1));
    // What was inserted meanwhile is not the worse for it.
    cache.get_or_insert_with(Key::new(1), || {
        cache.insert(Key::new(1), vec![2]);
        vec![1; 1 << 20]
    });
    assert_eq!(cache.get(&Key::new(1)), Some(vec![2]));
    cache.validate();
}

#[test]
fn loaded_values_expire_and_are_loaded_again() {
    let clock = ManualClock::new();
    let ttl = Duration::from_secs(60);
    let cache: Cache<u32, u32> =
        Cache::builder().max_entries(100).time_to_live(ttl).clock(clock.clone()).build().unwrap();
    assert_eq!(cache.get_or_insert_with(1, || 1), 1);
    assert_eq!(cache.time_left(&1), Some(ttl));
    clock.advance(ttl - Duration::from_nanos(1));
    assert_eq!(cache.get_or_insert_with(1, || 2), 1);
    clock.advance(Duration::from_nanos(1));
    assert_eq!(cache.get_or_insert_with(1, || 3), 3);
    assert_eq!(cache.time_left(&1), Some(ttl), "from the end of the load");
    // A load that takes longer than entries live: what it gives lives from its end.
    clock.advance(ttl);
    let load = || {
        clock.advance(ttl * 2);
        4
    };
    assert_eq!(cache.get_or_insert_with(1, load), 4);
    assert_eq!(cache.time_left(&1), Some(ttl));
    assert_eq!(cache.stats().expirations, 2);
    cache.validate();
}

#[test]
fn keys_that_all_have_one_hash_are_told_apart() {
    let cache: Cache<u32, u32, _> = Cache::builder().max_entries(1_000).hasher(Constant).build().unwrap();
    thread::scope(|scope| {
        for thread in 0..4 {
            let cache = &cache;
            scope.spawn(move || {
                for step in 0..400 {
                    let key = (step * 7 + thread) % 50;
                    assert_eq!(cache.get_or_insert_with(key, || key + 1_000), key + 1_000);
                }
            });
        }
    });
    // A load inside another: the inner one's store keeps the outer one from being stored, no more.
    assert_eq!(cache.get_or_insert_with(100, || cache.get_or_insert_with(101, || 1) + 1), 2);
    assert_eq!(cache.get(&101), Some(1));
    cache.validate();
}

#[test]
fn keys_need_no_clone_and_nothing_needs_to_live_for_ever() {
    let text = String::from("a few words of text");
    let lengths: Cache<&str, &str> = Cache::new(100);
    for word in text.split(' ').chain(text.split(' ')) {
        assert_eq!(lengths.get_or_insert_with(word, || &word[..1]), &text[text.find(word).unwrap()..][..1]);
    }
    assert_eq!(lengths.stats().loads, 5);
    // Nor to be sent anywhere.
    let local: Cache<Rc<u32>, Rc<u32>> = Cache::new(100);
    let value = Rc::new(5);
    assert_eq!(block_on(local.get_or_insert_async(Rc::new(1), async { Rc::clone(&value) })), value);
    drop(local);
    assert_eq!(Rc::strong_count(&value), 1);
}
