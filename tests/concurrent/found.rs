//! What readers find while others write: whole values, of their key, in the order of their versions, as long as
//! they are there and no longer.

use std::cell::{Cell, RefCell};
use std::hash::{Hash, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::time::Duration;

use larder::{Cache, Change, Equivalent, Outcome, Ref};

use crate::entries::{Alive, Keeping, Key, Value};
use crate::lab::{Entries, Random, Running, SHAPES, Shape, change, finish, look_up, one_at_a_time, race};

#[test]
fn every_value_found_is_whole_and_of_its_key() {
    let _one = one_at_a_time();
    for shape in SHAPES {
        let alive = Alive::default();
        let cache = shape.build();
        let keys = shape.others() / 4;
        let write = |seed: u64| {
            let mut random = Random(seed);
            for version in 0..3_000 {
                change(&cache, &alive, random.below(keys), version, random.below(24));
            }
        };
        let read = |running: &Running| {
            let mut random = Random(3);
            let mut held = Vec::new();
            while running.goes_on() {
                let id = random.below(keys);
                look_up(&cache, id, random.below(9));
                // Some are kept while others are written over them.
                held.extend(cache.get_ref(&id).map(|entry| (id, entry)));
                if held.len() > 20 {
                    held.drain(..).for_each(|(id, entry)| _ = entry.check(id));
                }
            }
        };
        let walk = |running: &Running| {
            while running.goes_on() {
                cache.iter().for_each(|entry| _ = entry.check(*entry.key().id));
                let ids: Vec<u64> = (0..keys).collect();
                let found = cache.get_many(&ids);
                assert_eq!(found.len(), ids.len());
                ids.iter().zip(found).for_each(|(&id, value)| _ = value.map(|value| value.check(id)));
            }
        };
        race(&[&|| write(1), &|| write(2)], &[&read, &walk]);
        finish(cache, &alive);
    }
}

/// One thread writes the versions of a key, in order; whoever reads must not see them in another.
#[test]
fn versions_never_go_back() {
    let _one = one_at_a_time();
    const KEYS: u64 = 30;
    for shape in SHAPES {
        for removes in [false, true] {
            let alive = Alive::default();
            let cache = shape.build_unlimited();
            // The version of each key whose insert has returned.
            let written: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
            let write = |first: u64| {
                let mut random = Random(first);
                for version in 1..4_000 {
                    let id = random.below(KEYS / 2) * 2 + first;
                    if removes && random.below(3) == 0 {
                        cache.invalidate(&id);
                    }
                    match random.below(3) {
                        0 => drop(cache.compute(&id, |_| Change::Put(alive.key(id), alive.value(id, version)))),
                        _ => cache.insert(alive.key(id), alive.value(id, version)),
                    }
                    assert_eq!(cache.peek(&id).map(|value| value.check(id)), Some(version), "its own insert");
                    written[id as usize].store(version, Release);
                }
            };
            let read = |running: &Running| {
                let mut random = Random(5);
                let mut seen = [0; KEYS as usize];
                while running.goes_on() {
                    let id = random.below(KEYS);
                    let at_least = written[id as usize].load(Acquire).max(seen[id as usize]);
                    match look_up(&cache, id, random.below(9)) {
                        Some(u64::MAX) => {}
                        Some(version) => {
                            assert!(version >= at_least, "{shape:?}: {version} of key {id} after {at_least}");
                            seen[id as usize] = version;
                        }
                        None => assert!(removes || at_least == 0, "{shape:?}: key {id} is gone"),
                    }
                }
            };
            race(&[&|| write(0), &|| write(1)], &[&read, &read]);
            finish(cache, &alive);
        }
    }
}

/// Keys that are there throughout, some of them updated all the time, while the table grows around them.
#[test]
fn a_key_that_is_there_throughout_is_always_found() {
    let _one = one_at_a_time();
    const KEPT: u64 = 8;
    for shape in SHAPES {
        for round in 0..6 {
            let alive = Alive::default();
            let cache = shape.build_unlimited();
            for id in 0..KEPT {
                cache.insert(alive.key(id), alive.value(id, 0));
            }
            let grow = || {
                let mut random = Random(round);
                for version in 0..shape.others() {
                    let id = KEPT + random.below(shape.others());
                    cache.insert(alive.key(id), alive.value(id, version));
                    if random.below(4) == 0 {
                        cache.invalidate(&(KEPT + random.below(shape.others())));
                    }
                }
            };
            let update = || {
                let mut random = Random(!round);
                for version in 1..shape.others() {
                    let id = random.below(KEPT / 2);
                    match random.below(4) {
                        0 => assert!(cache.touch(&id, Duration::MAX)),
                        1 => {
                            let outcome = cache.compute(&id, |_| Change::Put(alive.key(id), alive.value(id, version)));
                            assert_eq!(outcome, Outcome::Updated);
                        }
                        _ => cache.insert(alive.key(id), alive.value(id, version)),
                    }
                }
            };
            let read = |running: &Running| {
                let mut random = Random(7);
                while running.goes_on() {
                    let (id, way) = (random.below(KEPT), random.below(9));
                    let found = look_up(&cache, id, way);
                    assert!(found.is_some(), "{shape:?}: key {id} is not found, way {way}");
                }
            };
            race(&[&grow, &update], &[&read, &read]);
            assert_eq!(cache.stats().evictions, 0);
            finish(cache, &alive);
        }
    }
}

/// Both writers use the key before each insert, so that it is never what is to be evicted. (Of a few dozen kilobytes nearly all
/// may have to go at once, whatever is in use: when readers who were stopped inside have left, for whose sake nodes were added
/// that can only be given back a chunk at a time. So there is more room here than elsewhere.)
#[test]
fn a_key_in_use_outlives_all_evictions() {
    let _one = one_at_a_time();
    const KEPT: u64 = 0;
    for shape in [Shape::Exact, Shape::S3Fifo, Shape::Bytes, Shape::Colliding] {
        let alive = Alive::default();
        let cache = if shape == Shape::Bytes { Shape::build_bytes(256 << 10) } else { shape.build() };
        cache.insert(alive.key(KEPT), alive.value(KEPT, 0));
        let write = |first: u64| {
            for version in 0..4_000 {
                assert!(cache.read(&KEPT, |_| ()).is_some(), "{shape:?}: evicted before step {version}");
                let id = first + version;
                cache.insert(alive.key(id), alive.value(id, version));
            }
        };
        let read = |running: &Running| {
            let mut random = Random(9);
            while running.goes_on() {
                let way = random.below(9);
                assert!(look_up(&cache, KEPT, way).is_some(), "{shape:?}: evicted, way {way}");
            }
        };
        race(&[&|| write(1), &|| write(1 << 20)], &[&read, &read]);
        assert!(cache.stats().evictions > 1_000);
        finish(cache, &alive);
    }
}

#[test]
fn a_get_that_starts_after_a_removal_has_returned_finds_nothing() {
    let _one = one_at_a_time();
    const KEYS: u64 = 4;
    for shape in SHAPES {
        let alive = Alive::default();
        let cache = shape.build_unlimited();
        // The version of each key whose removal has returned.
        let removed: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
        let write = |first: u64| {
            let mut random = Random(first);
            for version in 1..4_000 {
                let id = random.below(KEYS / 2) * 2 + first;
                cache.insert(alive.key(id), alive.value(id, version));
                match random.below(8) {
                    0 => assert_eq!(cache.remove(&id).map(|value| value.check(id)), Some(version)),
                    1 => assert!(cache.remove_if(&id, |_, value| value.version == version).is_some()),
                    2 => assert_eq!(cache.compute(&id, |_| Change::Remove), Outcome::Removed),
                    3 => cache.insert_with_ttl(alive.key(id), alive.value(id, version), Duration::ZERO),
                    4 => assert!(cache.touch(&id, Duration::ZERO)),
                    5 => cache.retain(|key, _| *key.id != id),
                    _ => assert!(cache.invalidate(&id)),
                }
                assert!(cache.peek(&id).is_none());
                removed[id as usize].store(version, Release);
            }
        };
        let read = |running: &Running| {
            let mut random = Random(11);
            while running.goes_on() {
                let (id, way) = (random.below(KEYS), random.below(9));
                let gone = removed[id as usize].load(Acquire);
                let found = look_up(&cache, id, way);
                assert!(found.is_none_or(|version| version > gone), "{shape:?}: {found:?} of {id} after {gone}");
            }
        };
        let grow = || {
            for id in KEYS..KEYS + shape.others() / 3 {
                cache.insert(alive.key(id), alive.value(id, 0));
            }
        };
        race(&[&|| write(0), &|| write(1), &grow], &[&read]);
        finish(cache, &alive);
    }
}

#[test]
fn a_walk_neither_repeats_nor_skips_what_is_there_throughout() {
    let _one = one_at_a_time();
    const KEPT: u64 = 40;
    for shape in SHAPES {
        let kept = if shape == Shape::Exact { 20 } else { KEPT };
        for round in 0..4 {
            let alive = Alive::default();
            let cache = shape.build_unlimited();
            for id in 0..kept {
                cache.insert(alive.key(id), alive.value(id, 0));
            }
            let write = || {
                let mut random = Random(round);
                for version in 0..shape.others() {
                    let id = kept + random.below(shape.others());
                    cache.insert(alive.key(id), alive.value(id, version));
                    let id = random.below(kept / 2);
                    cache.insert(alive.key(id), alive.value(id, version));
                    if random.below(4) == 0 {
                        cache.invalidate(&(kept + random.below(shape.others())));
                    }
                }
            };
            let assert_once = |ids: &mut dyn Iterator<Item = u64>| {
                let mut met = [0; KEPT as usize];
                ids.filter(|&id| id < kept).for_each(|id| met[id as usize] += 1);
                assert!(met[..kept as usize].iter().all(|&times| times == 1), "{shape:?}: {met:?}");
            };
            let walk = |running: &Running| {
                while running.goes_on() {
                    assert_once(&mut cache.iter().map(|entry| {
                        entry.check(*entry.key().id);
                        *entry.key().id
                    }));
                    assert_once(&mut cache.keys().map(|key| *key.id));
                }
            };
            let ask = |running: &Running| {
                while running.goes_on() {
                    let mut met = [0; KEPT as usize];
                    cache.retain(|key, value| {
                        value.check(*key.id);
                        if *key.id < kept {
                            met[*key.id as usize] += 1;
                        }
                        true
                    });
                    let quiet = &met[kept as usize / 2..kept as usize];
                    assert!(quiet.iter().all(|&times| times == 1), "{shape:?}: retain asked {met:?} times");
                }
            };
            race(&[&write], &[&walk, &ask]);
            finish(cache, &alive);
        }
    }
}

/// A key to look up; each time it is compared with one of the cache something else happens first.
struct Interrupted<'a> {
    id: u64,
    before: RefCell<Box<dyn FnMut(usize) + 'a>>,
    compared: Cell<usize>,
}

impl Hash for Interrupted<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl Equivalent<Key> for Interrupted<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        let step = self.compared.replace(self.compared.get() + 1);
        self.before.borrow_mut()(step);
        *key.id == self.id
    }
}

/// All keys have one hash. While a look-up of one of them goes from slot to slot, the cache changes around it.
#[test]
fn no_change_between_two_comparisons_hides_a_key() {
    let _one = one_at_a_time();
    const KEYS: u64 = 30;
    const EVENTS: usize = 6;
    for id in 0..KEYS {
        for (event, at) in (0..EVENTS).flat_map(|event| (0..KEYS as usize).map(move |at| (event, at))) {
            let alive = Alive::default();
            let build = Cache::builder().hasher(Keeping(0)).max_entries(1 << 10).initial_entries(1).stripes(1);
            let cache: Entries = build.build().unwrap();
            (0..KEYS).for_each(|id| cache.insert(alive.key(id), alive.value(id, 0)));
            let insert = |id, version| cache.insert(alive.key(id), alive.value(id, version));
            let before = |step| match event {
                _ if step != at => {}
                0 => insert(id, 1),
                1 => (KEYS..KEYS * 3).for_each(|other| insert(other, 1)),
                2 => cache.retain(|key, _| *key.id == id),
                3 => {
                    cache.retain(|key, _| *key.id == id);
                    cache.maintain();
                    (KEYS..KEYS * 2).for_each(|other| insert(other, 1));
                    insert(id, 1);
                }
                4 => (0..KEYS).for_each(|other| {
                    insert(other, 1);
                    cache.maintain();
                }),
                _ => {
                    (KEYS..KEYS * 3).for_each(|other| insert(other, 1));
                    insert(id, 1);
                    cache.retain(|key, _| *key.id == id);
                    cache.maintain();
                }
            };
            let key = Interrupted { id, before: RefCell::new(Box::new(before)), compared: Cell::new(0) };
            let found = cache.get(&key).map(|value| value.check(id));
            assert!(found.is_some(), "key {id}, event {event} at comparison {at}");
            drop(key);
            finish(cache, &alive);
        }
    }
}

#[test]
fn refs_keep_what_they_lend() {
    let _one = one_at_a_time();
    for shape in SHAPES {
        let alive = Alive::default();
        let cache = shape.build();
        let keys = shape.others() / 4;
        let write = |seed: u64| {
            let mut random = Random(seed);
            for version in 0..3_000 {
                change(&cache, &alive, random.below(keys), version, random.below(24));
            }
        };
        let (sender, receiver) = std::sync::mpsc::sync_channel::<Vec<Ref<'_, Key, Value>>>(4);
        let receiver = Mutex::new(receiver);
        let lend = |running: &Running| {
            let mut random = Random(19);
            let sender = sender.clone();
            while running.goes_on() {
                let found = (0..8).filter_map(|_| cache.get_ref(&random.below(keys)));
                let refs: Vec<_> = found.chain(cache.iter().take(8)).collect();
                // Dropped by the other thread, or here if that has no time.
                drop(sender.try_send(refs.clone()));
                refs.iter().for_each(|entry| _ = entry.check(*entry.key().id));
            }
        };
        let take = |running: &Running| {
            let receiver = receiver.lock().unwrap();
            while running.goes_on() {
                let refs = receiver.try_iter().flatten();
                refs.for_each(|entry| _ = entry.check(*entry.key().id));
            }
        };
        race(&[&|| write(1), &|| write(2)], &[&lend, &take]);
        drop(receiver.into_inner().unwrap().try_iter().collect::<Vec<_>>());

        // What is lent is all that is left.
        let refs: Vec<_> = cache.iter().collect();
        cache.clear();
        cache.maintain();
        assert_eq!(alive.count(), 2 * refs.len() as i64);
        refs.iter().for_each(|entry| _ = entry.check(*entry.key().id));
        drop(refs);
        drop(sender);
        finish(cache, &alive);
    }
}
