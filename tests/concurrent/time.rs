//! Deadlines that come while others put them off.
//!
//! Knows the clock that a cache reads, and so can make things happen between two readings of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder::{Cache, Change, Clock, ManualClock, Policy};

use crate::entries::{Alive, Keeping};
use crate::lab::{Entries, Random, Running, SHAPES, Shape, finish, look_up, one_at_a_time, race};

/// One thread writes and moves the clock: what it refreshes in time is there, what it lets expire is not.
#[test]
fn what_is_refreshed_in_time_is_there_and_what_has_expired_is_not() {
    let _one = one_at_a_time();
    const TTL: u64 = 100;
    const REFRESHED: u64 = 6;
    for shape in SHAPES {
        let alive = Alive::default();
        let clock = ManualClock::new();
        let now = || clock.now().as_nanos() as u64;
        let build = Cache::builder().hasher(Keeping(if shape == Shape::Colliding { 0x700 } else { u64::MAX }));
        let build = build.clock(clock.clone()).time_to_live(Duration::from_nanos(TTL)).initial_entries(1);
        let cache: Entries = match shape {
            Shape::S3Fifo => build.policy(Policy::S3Fifo).max_entries(1 << 20).build().unwrap(),
            Shape::Bytes => build.max_bytes(1 << 30).build().unwrap(),
            Shape::Exact => build.max_entries(64).build().unwrap(),
            _ => build.max_entries(1 << 20).build().unwrap(),
        };
        (0..REFRESHED).for_each(|id| cache.insert(alive.key(id), alive.value(id, 0)));
        let time = || {
            let mut random = Random(1);
            for step in 0..3_000 {
                for id in 0..REFRESHED {
                    let (key, value) = (alive.key(id), alive.value(id, step));
                    match random.below(4) {
                        0 => assert!(cache.touch(&id, Duration::from_nanos(TTL)), "{shape:?}: touched in time"),
                        1 => cache.insert_with_ttl(key, value, Duration::from_nanos(TTL + random.below(50))),
                        2 => {
                            let mut entry = Some((key, value));
                            cache.compute(&id, |_| {
                                let (key, value) =
                                    entry.take().unwrap_or_else(|| (alive.key(id), alive.value(id, step)));
                                Change::PutWithTtl(key, value, Duration::from_nanos(TTL))
                            });
                        }
                        _ => cache.insert(key, value),
                    }
                }
                // The version of these is their deadline.
                let (id, ttl) = (REFRESHED + random.below(4), 1 + random.below(300));
                cache.insert_with_ttl(alive.key(id), alive.value(id, now() + ttl), Duration::from_nanos(ttl));
                clock.advance(Duration::from_nanos(random.below(TTL)));
            }
        };
        let read = |running: &Running| {
            let mut random = Random(13);
            while running.goes_on() {
                let way = random.below(9);
                let id = random.below(REFRESHED);
                assert!(look_up(&cache, id, way).is_some(), "{shape:?}: gone before its time, way {way}");
                let (id, before) = (REFRESHED + random.below(4), now());
                let deadline = look_up(&cache, id, way);
                assert!(deadline.is_none_or(|deadline| deadline > before), "{shape:?}: expired, way {way}");
            }
        };
        let others = |running: &Running| {
            let mut random = Random(17);
            while running.goes_on() {
                let id = 100 + random.below(30);
                let ttl = Duration::from_nanos(1 + random.below(1_000));
                cache.insert_with_ttl(alive.key(id), alive.value(id, 0), ttl);
                let walked = cache.iter().filter(|entry| *entry.key().id < REFRESHED).count();
                assert_eq!(walked as u64, REFRESHED, "{shape:?}: walked past what was refreshed in time");
            }
        };
        race(&[&time], &[&read, &others]);
        finish(cache, &alive);
    }
}

/// Hits within the time to idle keep an entry, whoever else hits it.
#[test]
fn what_is_used_in_time_does_not_become_idle() {
    let _one = one_at_a_time();
    const IDLE: u64 = 1_000;
    for max_entries in [8, 1_000] {
        let alive = Alive::default();
        let clock = ManualClock::new();
        let build = Cache::builder().hasher(Keeping(u64::MAX)).max_entries(max_entries);
        let cache: Entries = build.clock(clock.clone()).time_to_idle(Duration::from_nanos(IDLE)).build().unwrap();
        cache.insert(alive.key(1), alive.value(1, 0));
        let time = || {
            for step in 0..20_000 {
                assert!(cache.read(&1, |_| ()).is_some(), "step {step}: used {} before", IDLE * 9 / 10);
                clock.advance(Duration::from_nanos(IDLE * 9 / 10));
            }
        };
        let read = |running: &Running| {
            while running.goes_on() {
                assert!(look_up(&cache, 1, 1).is_some());
                let id = 2 + clock.now().subsec_nanos() as u64 % 4;
                cache.insert(alive.key(id), alive.value(id, 0));
            }
        };
        race(&[&time], &[&read, &read]);
        finish(cache, &alive);
    }
}

/// A clock on which, at a given reading, something else happens first or right after.
#[derive(Clone, Default)]
struct Scripted {
    time: ManualClock,
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    readings: usize,
    late: bool,
    event: Option<Box<dyn FnOnce() + Send>>,
}

impl Clock for Scripted {
    fn now(&self) -> Duration {
        let mut script = self.script.lock().unwrap();
        let due = script.readings == 0;
        script.readings = script.readings.wrapping_sub(1);
        let (late, event) = (script.late, if due { script.event.take() } else { None });
        drop(script);
        let before = self.time.now();
        event.into_iter().for_each(|event| event());
        if late { before } else { self.time.now() }
    }
}

/// While a call waits at its n-th reading of the clock, the entry is refreshed in time by another, and its old
/// deadline passes.
#[test]
fn no_moment_between_two_readings_of_the_clock_makes_a_living_entry_gone() {
    let _one = one_at_a_time();
    let nanos = Duration::from_nanos;
    for (readings, late) in (0..6).flat_map(|readings| [(readings, false), (readings, true)]) {
        for way in 0..9 {
            for refresh in 0..3 {
                let alive = Alive::default();
                let clock = Scripted::default();
                let build = Cache::builder().hasher(Keeping(u64::MAX)).max_entries(100).clock(clock.clone());
                let cache: Arc<Entries> = Arc::new(build.build().unwrap());
                cache.insert_with_ttl(alive.key(1), alive.value(1, 0), nanos(100));
                let (other, made, time) = (Arc::clone(&cache), alive.clone(), clock.time.clone());
                let event = move || {
                    time.advance(nanos(50));
                    match refresh {
                        0 => assert!(other.touch(&1, nanos(100))),
                        1 => other.insert_with_ttl(made.key(1), made.value(1, 1), nanos(100)),
                        _ => other.insert(made.key(1), made.value(1, 1)),
                    }
                    time.advance(nanos(70));
                };
                *clock.script.lock().unwrap() = Script { readings, late, event: Some(Box::new(event)) };
                let found = look_up(&cache, 1, way);
                assert!(found.is_some(), "way {way}, refresh {refresh}, reading {readings}, late: {late}");
                *clock.script.lock().unwrap() = Script::default();
                finish(Arc::into_inner(cache).unwrap(), &alive);
            }
        }
    }
}

/// A hit that is held up after it has read the clock does not take back what later hits have put off.
#[test]
fn a_late_hit_does_not_make_an_entry_idle() {
    let _one = one_at_a_time();
    let nanos = Duration::from_nanos;
    for readings in 0..4 {
        let alive = Alive::default();
        let clock = Scripted::default();
        let build = Cache::builder().hasher(Keeping(u64::MAX)).max_entries(100).clock(clock.clone());
        let cache: Arc<Entries> = Arc::new(build.time_to_idle(nanos(1_000)).build().unwrap());
        cache.insert(alive.key(1), alive.value(1, 0));
        clock.time.advance(nanos(500));
        let (other, time) = (Arc::clone(&cache), clock.time.clone());
        let event = move || {
            for _ in 0..3 {
                assert!(other.read(&1, |_| ()).is_some());
                time.advance(nanos(900));
            }
        };
        *clock.script.lock().unwrap() = Script { readings, late: true, event: Some(Box::new(event)) };
        assert!(cache.get(&1).is_some());
        *clock.script.lock().unwrap() = Script::default();
        assert!(cache.get(&1).is_some(), "reading {readings}: used 900 ns ago, and idle after 1000");
        finish(Arc::into_inner(cache).unwrap(), &alive);
    }
}

/// An entry that is updated in time while a walk has just its bucket in hand is not past its old deadline then.
#[test]
fn a_walk_does_not_skip_what_was_refreshed_between_two_steps() {
    let _one = one_at_a_time();
    const KEYS: u64 = 6;
    let alive = Alive::default();
    let clock = ManualClock::new();
    let ttl = Duration::from_nanos(100);
    let build = Cache::builder().hasher(Keeping(u64::MAX)).max_entries(100).time_to_live(ttl).clock(clock.clone());
    let cache: Entries = build.build().unwrap();
    let insert_all = || (0..KEYS).for_each(|id| cache.insert(alive.key(id), alive.value(id, 0)));
    insert_all();
    let mut met = [0; KEYS as usize];
    for entry in &cache {
        met[*entry.key().id as usize] += 1;
        for _ in 0..2 {
            insert_all();
            clock.advance(ttl / 5 * 3);
        }
    }
    assert_eq!(met, [1; KEYS as usize]);
    insert_all();
    finish(cache, &alive);
}
