//! What must add up, whoever wrote beside whom: increments, inserts, what listeners heard, limits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::sync::{Arc, Mutex};

use larder::{Cache, Change, Outcome, Policy, RemovalCause};

use crate::entries::Alive;
use crate::lab::{Entries, Random, Running, SHAPES, Shape, finish, look_up, one_at_a_time, race};

#[test]
fn no_increment_is_lost() {
    let _one = one_at_a_time();
    const KEYS: u64 = 3;
    const EACH: u64 = 3_000;
    for shape in SHAPES {
        let cache = shape.build_counters();
        let (inserted, taken) = (AtomicU64::new(0), AtomicU64::new(0));
        let add = |seed: u64| {
            let mut random = Random(seed);
            for _ in 0..EACH {
                let key = random.below(KEYS);
                let outcome = cache.compute(&key, |entry| {
                    let (key, count) = entry.map_or((key, 0), |(key, count)| (*key, *count));
                    Change::Put(key, count + 1)
                });
                match outcome {
                    Outcome::Inserted => drop(inserted.fetch_add(1, Relaxed)),
                    outcome => assert_eq!(outcome, Outcome::Updated),
                }
            }
        };
        // What somebody takes out is counted by just one.
        let take = || {
            let mut random = Random(23);
            for _ in 0..EACH / 4 {
                let key = random.below(KEYS);
                let found = if random.below(2) == 0 { cache.remove(&key) } else { cache.remove_if(&key, |_, _| true) };
                taken.fetch_add(found.unwrap_or(0), Relaxed);
            }
        };
        let disturb = |running: &Running| {
            for key in (KEYS..KEYS + 20).cycle().take_while(|_| running.goes_on()) {
                cache.insert(key, 0);
                cache.invalidate(&key);
            }
        };
        race(&[&|| add(1), &|| add(2), &|| add(3), &take], &[&disturb]);
        let left: u64 = (0..KEYS).filter_map(|key| cache.get(&key)).sum();
        assert_eq!(left + taken.load(Relaxed), 3 * EACH, "{shape:?}");
        assert!(cache.stats().inserts >= inserted.load(Relaxed));
        cache.validate();
    }
}

/// An insert if absent by many threads at once: one of them inserts.
#[test]
fn one_of_many_inserts_if_absent() {
    let _one = one_at_a_time();
    for shape in SHAPES {
        let cache = shape.build_counters();
        let keys = shape.others() / 3;
        let inserted = AtomicU64::new(0);
        let insert = |thread: u64| {
            for key in 0..keys {
                let outcome = cache.compute(&key, |entry| match entry {
                    None => Change::Put(key, thread),
                    Some(_) => Change::Keep,
                });
                if outcome == Outcome::Inserted {
                    assert_eq!(cache.get(&key), Some(thread));
                    inserted.fetch_add(1, Relaxed);
                } else {
                    assert!(cache.get(&key).is_some_and(|found| found != thread));
                }
            }
        };
        race(&[&|| insert(1), &|| insert(2), &|| insert(3)], &[]);
        assert_eq!(inserted.load(Relaxed), keys);
        assert_eq!(cache.len() as u64, keys);
        cache.validate();
    }
}

/// Every entry that was put in and is no longer there was told of once, with its own key.
#[test]
fn listeners_hear_of_every_entry_once() {
    let _one = one_at_a_time();
    for policy in [Policy::Lru, Policy::S3Fifo] {
        for max_entries in [40, 200] {
            let told = Arc::new(Mutex::new(HashMap::new()));
            let heard = Arc::clone(&told);
            let listener = move |key: &u64, value: &u64, cause: RemovalCause| {
                let before = heard.lock().unwrap().insert(*value, (*key, cause));
                assert!(before.is_none(), "{key} {value} {cause:?}, before: {before:?}");
            };
            let build = Cache::builder().max_entries(max_entries).policy(policy).on_removal(listener);
            let cache: Cache<u64, u64> = build.build().unwrap();
            let next = AtomicU64::new(0);
            let put = |key: u64| (key, next.fetch_add(1, Relaxed) * 1_000 + key);
            let write = |seed: u64| {
                let mut random = Random(seed);
                for _ in 0..3_000 {
                    let key = random.below(max_entries as u64 * 2);
                    match random.below(12) {
                        0 => drop(cache.invalidate(&key)),
                        1 => drop(cache.remove_if(&key, |key, _| key % 2 == 0)),
                        2 => cache.retain(|key, _| key % 16 != 0),
                        3 => cache.clear(),
                        4 | 5 => {
                            let (key, value) = put(key);
                            let outcome = cache.compute(&key, |_| Change::Put(key, value));
                            assert!(matches!(outcome, Outcome::Inserted | Outcome::Updated));
                        }
                        6 => cache.set_max_entries(max_entries - random.below(20) as usize).unwrap(),
                        _ => cache.insert_many([put(key)]),
                    }
                }
            };
            race(&[&|| write(1), &|| write(2), &|| write(3)], &[]);
            let told = told.lock().unwrap();
            let stats = cache.stats();
            let count = |cause| told.values().filter(|(_, told)| *told == cause).count() as u64;
            assert_eq!(count(RemovalCause::Evicted), stats.evictions);
            assert_eq!(count(RemovalCause::Replaced), stats.updates);
            assert_eq!(count(RemovalCause::Removed), stats.removals);
            assert!(told.iter().all(|(value, (key, _))| value % 1_000 == *key));
            let left = cache.iter().inspect(|entry| assert!(!told.contains_key(entry.value()))).count();
            assert_eq!((told.len() + left) as u64, next.load(Relaxed));
            cache.validate();
        }
    }
}

#[test]
fn limits_hold_once_all_have_returned() {
    let _one = one_at_a_time();
    for round in 0..3 {
        for shape in SHAPES {
            let alive = Alive::default();
            let cache = shape.build();
            let write = |seed: u64| {
                let mut random = Random(seed);
                for version in 0..2_000 {
                    let id = random.below(4_000);
                    cache.insert(alive.key(id), alive.value(id, version));
                }
            };
            race(&[&|| write(round), &|| write(!round), &|| write(round << 9)], &[]);
            let max_entries = match shape {
                Shape::Exact => 48,
                Shape::Colliding => 100,
                Shape::SecondChance | Shape::S3Fifo => 300,
                Shape::Bytes => usize::MAX,
            };
            assert!(cache.len() <= max_entries, "{shape:?}: {} entries", cache.len());
            assert!(shape == Shape::Bytes || cache.len() == max_entries, "{shape:?}: only {}", cache.len());
            if shape == Shape::Bytes {
                let stats = cache.stats();
                assert!(stats.bytes - stats.retired_bytes <= 64 << 10, "{stats:?}");
                cache.insert(alive.key(0), alive.value(0, 0));
                assert!(cache.used_bytes() <= 64 << 10, "{:?}", cache.stats());
            }
            finish(cache, &alive);
        }
    }
}

#[test]
fn whole_cache_calls_beside_each_other() {
    let _one = one_at_a_time();
    for shape in SHAPES {
        let alive = Alive::default();
        let cache = shape.build();
        let write = |seed: u64| {
            let mut random = Random(seed);
            for version in 0..3_000 {
                let id = random.below(500);
                cache.insert(alive.key(id), alive.value(id, version));
            }
        };
        let resize = || {
            let mut random = Random(29);
            for _ in 0..300 {
                match shape {
                    Shape::Bytes => {
                        let limit = (32 << 10) + random.below(96 << 10);
                        cache.set_max_bytes(limit).unwrap();
                        assert!(cache.set_max_entries(10).is_err());
                    }
                    _ => cache.set_max_entries(1 + random.below(400) as usize).unwrap(),
                }
            }
        };
        let sweep = || {
            let mut random = Random(31);
            for round in 0..200 {
                match random.below(4) {
                    0 => cache.clear(),
                    1 => cache.maintain(),
                    _ => cache.retain(|key, value| (value.check(*key.id) + round) % 3 != 0),
                }
            }
        };
        let watch = |running: &Running| {
            while running.goes_on() {
                let stats = cache.stats();
                assert!(stats.retired_bytes <= stats.bytes);
                assert!(cache.used_bytes() > 0);
                cache.iter().for_each(|entry| _ = entry.check(*entry.key().id));
                assert!(cache.is_empty() || cache.len() < 1_000);
            }
        };
        race(&[&|| write(1), &|| write(2), &resize, &sweep], &[&watch]);
        match shape {
            Shape::Bytes => {
                cache.set_max_bytes(40 << 10).unwrap();
                assert!(cache.used_bytes() <= 40 << 10, "{:?}", cache.stats());
            }
            _ => {
                cache.set_max_entries(7).unwrap();
                assert!(cache.len() <= 7);
            }
        }
        finish(cache, &alive);
    }
}

/// Caches that are made, used and dropped beside others, and caches in caches.
#[test]
fn several_caches_at_once() {
    let _one = one_at_a_time();
    let alive = Alive::default();
    let shared = Shape::S3Fifo.build();
    let nested: Cache<u64, Arc<Entries>> = Cache::new(5);
    let make = |seed: u64| {
        let mut random = Random(seed);
        for version in 0..150 {
            let own = SHAPES[random.below(5) as usize].build();
            for id in 0..40 {
                own.insert(alive.key(id), alive.value(id, version));
                shared.insert(alive.key(id), alive.value(id, version));
                assert!(own.read(&id, |value| shared.read(&id, |other| other.check(id) + value.check(id))).is_some());
            }
            own.validate();
            let id = random.below(10);
            nested.insert(id, Arc::new(own));
        }
    };
    let read = |running: &Running| {
        let mut random = Random(37);
        while running.goes_on() {
            let (outer, inner) = (random.below(10), random.below(40));
            nested.read(&outer, |cache| look_up(cache, inner, random.below(9)));
            if let Some(cache) = nested.get(&outer) {
                nested.invalidate(&outer);
                cache.iter().for_each(|entry| _ = entry.check(*entry.key().id));
            }
            look_up(&shared, inner, random.below(9));
        }
    };
    race(&[&|| make(1), &|| make(2)], &[&read, &read]);
    nested.validate();
    drop(nested);
    finish(shared, &alive);
}
