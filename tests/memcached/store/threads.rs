//! Read-change-writes of many threads: none is lost, none is done twice.

use super::{cache, cas, value};
use larder::server::{Count, Counted, Exptime, Fetch, Mode, ServerCache, Stored, Write};
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

const THREADS: usize = 4;
const ROUNDS: usize = 3_000;

fn in_threads(work: impl Fn(usize) + Sync) {
    thread::scope(|scope| {
        for number in 0..THREADS {
            let work = &work;
            scope.spawn(move || work(number));
        }
    });
}

#[test]
fn additions_add_up() {
    let (cache, _) = cache();
    cache.set(b"n", b"0", 0, Exptime::Never);
    let numbers = std::sync::Mutex::new(HashSet::new());
    in_threads(|_| {
        for _ in 0..ROUNDS {
            let Counted::Number { number, .. } = cache.count(b"n", &Count::up(3)) else { panic!("it is there") };
            assert!(numbers.lock().unwrap().insert(number), "nobody else got {number}");
        }
    });
    assert_eq!(value(&cache, b"n").unwrap(), (3 * THREADS * ROUNDS).to_string().as_bytes());
}

#[test]
fn compared_writes_add_up() {
    let (cache, _) = cache();
    cache.set(b"n", b"0", 0, Exptime::Never);
    in_threads(|_| {
        for _ in 0..ROUNDS {
            loop {
                let item = cache.get(b"n").unwrap();
                let number: usize = String::from_utf8(item.value).unwrap().parse().unwrap();
                let next = (number + 1).to_string();
                let write = Write { key: b"n", value: next.as_bytes(), compare: Some(item.cas), ..Write::default() };
                match cache.write(&write) {
                    Stored::Stored { .. } => break,
                    other => assert_eq!(other, Stored::Exists),
                }
            }
        }
    });
    assert_eq!(value(&cache, b"n").unwrap(), (THREADS * ROUNDS).to_string().as_bytes());
}

#[test]
fn what_is_appended_is_all_there() {
    let (cache, _) = cache();
    cache.set(b"k", b"", 0, Exptime::Never);
    in_threads(|number| {
        for round in 0..ROUNDS / 10 {
            let mode = if round % 2 == 0 { Mode::Append } else { Mode::Prepend };
            let value = [b'a' + number as u8];
            assert!(cache.write(&Write { key: b"k", value: &value, mode, ..Write::default() }).is_stored());
        }
    });
    let value = value(&cache, b"k").unwrap();
    for number in 0..THREADS {
        assert_eq!(value.iter().filter(|&&byte| byte == b'a' + number as u8).count(), ROUNDS / 10);
    }
}

#[test]
fn one_adds_and_one_wins() {
    let (cache, _) = cache();
    let (added, won) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let keys = 500_usize;
    in_threads(|number| {
        for key in 0..keys {
            let key = key.to_be_bytes();
            if cache.write(&Write { key: &key, mode: Mode::Add, ..Write::default() }).is_stored() {
                added.fetch_add(1, Relaxed);
            }
            let other = [b"viv".as_slice(), &key].concat();
            let fetch = Fetch { vivify: Some(Exptime::In(30)), ..Fetch::default() };
            if cache.fetch(&other, &fetch, |hit| hit.won).expect("it is put in") {
                won.fetch_add(1, Relaxed);
            }
            // Whoever comes to it last touches it, and nobody takes it for gone.
            assert!(cache.touch(&other, Exptime::In(30 + number as u32)));
        }
    });
    assert_eq!((added.into_inner(), won.into_inner()), (keys, keys));
}

/// A key that is set again and again is never missed while others touch it, unless it is flushed; and what was flushed is
/// never seen after.
#[test]
fn a_flush_is_one_moment() {
    let (cache, _) = cache();
    let read_number = |cache: &ServerCache| cache.read(b"k", |hit| u64::from_be_bytes(hit.value.try_into().unwrap()));
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 0..20_000_u64 {
                cas(cache.set(b"k", &number.to_be_bytes(), 0, Exptime::In(60)));
                // Only a flush can come in between, so it is this one or none.
                assert!(read_number(&cache).is_none_or(|read| read == number));
            }
        });
        while !writer.is_finished() {
            cache.touch(b"k", Exptime::In(30));
            let before = read_number(&cache);
            cache.flush_all(Duration::ZERO);
            let after = read_number(&cache);
            assert!(before.is_none() || after.is_none_or(|after| Some(after) > before), "{before:?}, then {after:?}");
        }
    });
}

#[test]
fn who_looks_in_vain_takes_nothing_that_is_stored_meanwhile() {
    let (cache, _) = cache();
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..20 * ROUNDS {
                cache.delete(b"k");
                cache.set(b"k", b"v", 0, Exptime::Never);
                if value(&cache, b"k").is_none() {
                    done.store(1, Relaxed);
                    panic!("stored and gone in round {round}");
                }
            }
            done.store(1, Relaxed);
        });
        scope.spawn(|| {
            while done.load(Relaxed) == 0 {
                cache.get(b"k");
            }
        });
    });
    assert_eq!(cache.stats().get_flushed, 0);
}
