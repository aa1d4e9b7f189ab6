//! Deadlines: times to live and to touch, and what becomes of entries whose time is over. Times to idle are in `idle.rs`.
//!
//! Knows the public calls, and a clock that it moves by hand: no test sleeps. Random sequences are in `model.rs`.

mod idle;

use std::cell::Cell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use larder::{Builder, ByCount, Cache, Change, ManualClock, Outcome, Policy, RemovalCause};

const SECOND: Duration = Duration::from_secs(1);
const NANO: Duration = Duration::from_nanos(1);
const POLICIES: [Policy; 2] = [Policy::Lru, Policy::S3Fifo];

/// One test at a time: what a thread has displaced is dropped only when no thread is inside any cache.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

type Settings = Builder<u32, u32, ahash::RandomState, ByCount>;

/// A cache, its clock, and what its listener was told.
struct Timed {
    cache: Cache<u32, u32>,
    clock: ManualClock,
    told: Arc<Mutex<Vec<(u32, RemovalCause)>>>,
}

impl Timed {
    fn new(max_entries: usize, settings: impl FnOnce(Settings) -> Settings) -> Self {
        let clock = ManualClock::new();
        let told = Arc::<Mutex<Vec<_>>>::default();
        let log = Arc::clone(&told);
        let builder = Cache::<u32, u32>::builder().max_entries(max_entries).clock(clock.clone());
        let builder = builder.on_removal(move |&key, _, cause| log.lock().unwrap().push((key, cause)));
        Self { cache: settings(builder).build().unwrap(), clock, told }
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// What the listener was told since the last time, in the order of keys.
    fn told(&self) -> Vec<(u32, RemovalCause)> {
        let mut told = std::mem::take(&mut *self.told.lock().unwrap());
        told.sort_unstable_by_key(|entry| entry.0);
        told
    }

    #[track_caller]
    fn assert_expired(&self, keys: impl IntoIterator<Item = u32>) {
        let expected: Vec<_> = keys.into_iter().map(|key| (key, RemovalCause::Expired)).collect();
        assert_eq!(self.told(), expected);
    }
}

// Times to live.

#[test]
fn an_entry_lives_up_to_its_last_nanosecond() {
    let _alone = alone();
    for (start, ttl) in [(0, 1), (0, 2), (1, 1), (7, 1_000), (1 << 40, 3_600_000_000_000), (12, 1 << 62)] {
        let timed = Timed::new(10, |builder| builder);
        timed.advance(Duration::from_nanos(start));
        timed.cache.insert_with_ttl(1, 10, Duration::from_nanos(ttl));
        timed.advance(Duration::from_nanos(ttl - 1));
        assert_eq!(timed.cache.get(&1), Some(10), "a nanosecond before");
        assert_eq!(timed.cache.time_left(&1), Some(NANO));
        timed.advance(NANO);
        assert_eq!((timed.cache.get(&1), timed.cache.time_left(&1)), (None, None));
    }
}

#[test]
fn the_default_time_to_live_is_for_entries_without_their_own() {
    let _alone = alone();
    let timed = Timed::new(100, |builder| builder.time_to_live(seconds(10)));
    let cache = &timed.cache;
    cache.insert(0, 0);
    cache.insert_many([(1, 1)]);
    cache.try_insert(2, 2).unwrap();
    cache.compute(&3, |_| Change::Put(3, 3));
    cache.insert_with_ttl(4, 4, seconds(5));
    cache.compute(&5, |_| Change::PutWithTtl(5, 5, seconds(5)));
    cache.insert_with_ttl(6, 6, seconds(20));
    cache.insert_with_ttl(7, 7, Duration::MAX);
    let living = || {
        let mut keys = Vec::from_iter(cache.keys());
        keys.sort_unstable();
        keys
    };
    for (at, expected) in [(4, 0..8), (5, 0..8), (9, 0..8), (10, 6..8), (19, 6..8), (20, 7..8), (1 << 33, 7..8)] {
        timed.clock.set(seconds(at));
        let expected = Vec::from_iter(expected.filter(|key| at < 5 || !(4..6).contains(key)));
        assert_eq!(living(), expected, "after {at} seconds");
    }
    assert_eq!(cache.time_left(&7), Some(Duration::MAX));
}

#[test]
fn an_update_starts_time_anew() {
    let _alone = alone();
    let timed = Timed::new(100, |builder| builder.time_to_live(seconds(10)));
    let cache = &timed.cache;
    cache.insert_many((0..4).map(|key| (key, 0)));
    timed.advance(seconds(9));
    cache.insert(0, 1);
    cache.insert_with_ttl(1, 1, seconds(3));
    cache.insert_with_ttl(2, 1, Duration::MAX);
    assert_eq!(cache.get(&3), Some(0), "a hit changes nothing");
    let left = [0, 1, 2, 3].map(|key| cache.time_left(&key).unwrap());
    assert_eq!(left, [seconds(10), seconds(3), Duration::MAX, seconds(1)]);
    cache.insert(2, 2);
    assert_eq!(cache.time_left(&2), Some(seconds(10)), "no longer for ever");
}

#[test]
fn a_time_to_live_of_zero_is_over_at_once() {
    let _alone = alone();
    let timed = Timed::new(100, |builder| builder);
    let cache = &timed.cache;
    cache.insert_with_ttl(1, 1, Duration::ZERO);
    assert_eq!((cache.get(&1), cache.len()), (None, 0));
    cache.insert(1, 1);
    cache.insert_with_ttl(1, 2, Duration::ZERO);
    assert_eq!((cache.get(&1), cache.len(), timed.told()), (None, 0, vec![(1, RemovalCause::Replaced)]));
    assert_eq!(cache.compute(&1, |_| Change::PutWithTtl(1, 3, Duration::ZERO)), Outcome::Unchanged);
    cache.insert(1, 1);
    assert_eq!(cache.compute(&1, |_| Change::PutWithTtl(1, 3, Duration::ZERO)), Outcome::Removed);
    assert_eq!((cache.get(&1), cache.len(), timed.told()), (None, 0, vec![(1, RemovalCause::Replaced)]));
    cache.validate();
}

#[test]
fn durations_may_be_of_any_length() {
    let _alone = alone();
    let years = |years: u64| seconds(years * 365 * 86_400);
    let timed = Timed::new(100, |builder| builder);
    let cache = &timed.cache;
    timed.advance(years(1));
    let ttls = [years(500), years(583), years(584), years(585), seconds(u64::MAX), Duration::MAX];
    (0..).zip(ttls).for_each(|(key, ttl)| cache.insert_with_ttl(key, key, ttl));
    assert_eq!(cache.time_left(&0), Some(years(500)));
    timed.advance(years(500));
    timed.cache.maintain();
    assert_eq!(cache.get(&0), None);
    assert_eq!(cache.len(), 5);
    // The clock stops at the end of what it can show, after 584 years.
    timed.advance(Duration::MAX);
    cache.maintain();
    (2..6).for_each(|key| assert!(cache.contains_key(&key), "{:?} from a year on", ttls[key as usize]));
    cache.insert_with_ttl(9, 9, SECOND);
    assert_eq!(cache.get(&9), Some(9), "beyond any time there is");
    cache.validate();
}

// Touch.

#[test]
fn touch_sets_the_time_to_live_whatever_it_was() {
    let _alone = alone();
    let timed = Timed::new(100, |builder| builder.time_to_live(seconds(10)));
    let cache = &timed.cache;
    cache.insert_many((0..5).map(|key| (key, key)));
    timed.advance(seconds(5));
    assert!(cache.touch(&0, seconds(100)));
    assert!(cache.touch(&1, seconds(1)));
    assert!(cache.touch(&2, Duration::MAX));
    assert!(cache.touch(&3, Duration::ZERO));
    assert!(!cache.touch(&9, seconds(1)), "not there");
    let left = [0, 1, 2, 3, 4].map(|key| cache.time_left(&key));
    assert_eq!(left, [Some(seconds(100)), Some(SECOND), Some(Duration::MAX), None, Some(seconds(5))]);
    timed.assert_expired([3]);
    timed.advance(seconds(1));
    assert!(!cache.touch(&1, seconds(100)), "too late");
    cache.maintain();
    timed.assert_expired([1]);
    assert!(cache.touch(&2, seconds(1)), "no longer for ever");
    timed.advance(seconds(1));
    assert_eq!(cache.get(&2), None);
    timed.advance(seconds(97));
    assert_eq!(cache.get(&0), Some(0));
    cache.validate();
}

#[test]
fn touch_gives_deadlines_to_entries_that_never_had_any() {
    let _alone = alone();
    for policy in POLICIES {
        let timed = Timed::new(10_000, |builder| builder.policy(policy));
        timed.cache.insert_many((0..5_000).map(|key| (key, key)));
        (0..5_000).for_each(|key| assert!(timed.cache.touch(&key, seconds(1 + u64::from(key % 3)))));
        timed.cache.validate();
        timed.advance(seconds(2));
        timed.cache.maintain();
        timed.assert_expired((0..5_000).filter(|key| key % 3 < 2));
        assert_eq!(timed.cache.len(), 5_000 / 3);
        timed.cache.validate();
    }
}

#[test]
fn touch_with_a_time_to_idle_starts_that_anew_and_hits_go_on_putting_it_off() {
    let _alone = alone();
    let timed = Timed::new(100, |builder| builder.time_to_idle(seconds(10)).time_to_live(seconds(15)));
    let cache = &timed.cache;
    cache.insert(1, 1);
    timed.advance(seconds(9));
    assert!(cache.touch(&1, seconds(60)));
    for _ in 0..6 {
        timed.advance(seconds(9));
        assert_eq!(cache.get(&1), Some(1));
    }
    timed.advance(seconds(6));
    assert_eq!(cache.get(&1), None, "60 seconds after the touch");
}

#[test]
fn time_left_is_that_of_the_earlier_end() {
    let _alone = alone();
    let timed = Timed::new(100, |builder| builder);
    timed.cache.insert(1, 1);
    assert_eq!(timed.cache.time_left(&1), Some(Duration::MAX));
    assert_eq!(timed.cache.time_left(&2), None);
    timed.cache.insert_with_ttl(2, 2, Duration::from_nanos(12_345));
    timed.advance(Duration::from_nanos(345));
    assert_eq!(timed.cache.time_left(&2), Some(Duration::from_nanos(12_000)));

    let timed = Timed::new(100, |builder| builder.time_to_idle(seconds(10)));
    timed.cache.insert_with_ttl(1, 1, seconds(5));
    timed.cache.insert_with_ttl(2, 2, seconds(50));
    let whole = |key| timed.cache.time_left(&key).map(|left: Duration| left.as_secs_f64().round());
    assert_eq!((whole(1), whole(2)), (Some(5.0), Some(10.0)));
}

#[test]
fn the_system_clock_is_the_default() {
    let cache: Cache<u32, u32> = Cache::builder().max_entries(10).time_to_live(seconds(3_600)).build().unwrap();
    cache.insert(1, 1);
    let left = cache.time_left(&1).unwrap();
    assert!(left <= seconds(3_600) && left > seconds(3_000), "{left:?}");
    assert_eq!(cache.get(&1), Some(1));
}

// A clock that goes back.

#[test]
fn a_clock_that_goes_back_loses_nothing() {
    let _alone = alone();
    for limit in [10, 1_000] {
        let timed = Timed::new(limit, |builder| builder);
        let cache = &timed.cache;
        timed.clock.set(seconds(1_000));
        cache.insert_with_ttl(1, 1, seconds(10));
        timed.clock.set(seconds(100));
        cache.insert_with_ttl(2, 2, seconds(10));
        assert_eq!(cache.time_left(&1), Some(seconds(910)));
        cache.maintain();
        timed.clock.set(seconds(110));
        cache.maintain();
        assert_eq!((cache.get(&1), cache.get(&2)), (Some(1), None));
        timed.assert_expired([2]);
        timed.clock.set(seconds(1_009));
        assert_eq!(cache.get(&1), Some(1));
        timed.clock.set(seconds(1_010));
        assert_eq!(cache.get(&1), None);
        timed.clock.set(seconds(1_009));
        assert_eq!(cache.get(&1), Some(1), "back to life, as nothing has taken it out");
        timed.clock.set(Duration::ZERO);
        assert_eq!(cache.get(&1), Some(1));
        cache.validate();
    }
}

#[test]
fn a_hit_after_the_clock_went_back_does_not_shorten_time_to_idle() {
    let _alone = alone();
    let timed = Timed::new(100, |builder| builder.time_to_idle(seconds(10)));
    timed.clock.set(seconds(100));
    timed.cache.insert(1, 1);
    timed.clock.set(seconds(50));
    assert_eq!(timed.cache.get(&1), Some(1));
    timed.clock.set(seconds(109));
    assert_eq!(timed.cache.get(&1), Some(1));
    timed.clock.set(seconds(118));
    assert_eq!(timed.cache.get(&1), Some(1));
    timed.cache.validate();
}

// What has expired is not there.

/// Caches with one expired entry, key 1, and one that lives, key 2; the expired one has not been taken out.
fn with_an_expired_entry() -> Vec<Timed> {
    let exact_and_not = [10, 1_000].into_iter();
    let all = exact_and_not.flat_map(|limit| POLICIES.map(|policy| (limit, policy)));
    let idle = all.clone().map(|(limit, policy)| {
        let timed = Timed::new(limit, |builder| builder.policy(policy).time_to_idle(seconds(10)).record_stats());
        timed.cache.insert_many([(1, 1), (2, 2)]);
        timed.advance(seconds(9));
        timed.cache.get(&2);
        timed.advance(seconds(1));
        timed
    });
    let live = all.clone().map(|(limit, policy)| {
        let timed = Timed::new(limit, |builder| builder.policy(policy).record_stats());
        timed.cache.insert(2, 2);
        timed.cache.insert_with_ttl(1, 1, seconds(10));
        timed.advance(seconds(10));
        timed
    });
    idle.chain(live).collect()
}

#[test]
fn no_look_up_finds_what_has_expired() {
    let _alone = alone();
    for timed in with_an_expired_entry() {
        let cache = &timed.cache;
        let before = cache.stats();
        assert_eq!(cache.get(&1), None);
        assert_eq!(cache.read(&1, |_| unreachable!("expired")), None::<()>);
        assert!(cache.get_ref(&1).is_none());
        assert_eq!(cache.get_many(&[1, 2, 1]), [None, Some(2), None]);
        let lookups = cache.stats() - before;
        assert_eq!((lookups.hits, lookups.misses), (1, 5));
        assert_eq!((cache.peek(&1), cache.contains_key(&1), cache.time_left(&1)), (None, false, None));
        assert_eq!(Vec::from_iter(cache.iter().map(|entry| *entry.key())), [2]);
        assert_eq!(Vec::from_iter(cache.keys()), [2]);
        assert_eq!(timed.told(), [], "looking takes nothing out");
        assert_eq!(cache.len(), 2, "not taken out yet, and counted");
        cache.validate();
    }
}

#[test]
fn no_write_finds_what_has_expired() {
    type Call = fn(&Cache<u32, u32>);
    let calls: [(&str, Call); 10] = [
        ("remove", |cache| assert_eq!(cache.remove(&1), None)),
        ("invalidate", |cache| assert!(!cache.invalidate(&1))),
        ("remove_if", |cache| assert_eq!(cache.remove_if(&1, |_, _| unreachable!("expired")), None)),
        ("touch", |cache| assert!(!cache.touch(&1, seconds(10)))),
        ("touch, zero", |cache| assert!(!cache.touch(&1, Duration::ZERO))),
        ("retain", |cache| {
            cache.retain(|&key, _| {
                assert_eq!(key, 2, "expired");
                true
            });
        }),
        ("compute, keep", |cache| {
            assert_eq!(cache.compute(&1, |entry| keep_if_absent(entry, Change::Keep)), Outcome::Unchanged)
        }),
        ("compute, remove", |cache| {
            assert_eq!(cache.compute(&1, |entry| keep_if_absent(entry, Change::Remove)), Outcome::Unchanged)
        }),
        ("insert_with_ttl, zero", |cache| cache.insert_with_ttl(1, 7, Duration::ZERO)),
        ("maintain", |cache| cache.maintain()),
    ];
    let _alone = alone();
    for (name, call) in calls {
        for timed in with_an_expired_entry() {
            call(&timed.cache);
            assert_eq!(timed.cache.get(&1), None, "{name}");
            assert_eq!(timed.cache.get(&2), Some(2), "{name}");
            timed.cache.maintain();
            timed.assert_expired([1]);
            let stats = timed.cache.stats();
            assert_eq!((stats.expirations, stats.removals, stats.evictions), (1, 0, 0), "{name}");
            timed.cache.validate();
        }
    }
}

fn keep_if_absent(entry: Option<(&u32, &u32)>, change: Change<u32, u32>) -> Change<u32, u32> {
    assert_eq!(entry, None, "expired");
    change
}

#[test]
fn a_write_over_what_has_expired_is_an_insert() {
    let _alone = alone();
    for by_compute in [false, true] {
        for timed in with_an_expired_entry() {
            if by_compute {
                let outcome = timed.cache.compute(&1, |entry| keep_if_absent(entry, Change::Put(1, 5)));
                assert_eq!(outcome, Outcome::Inserted);
            } else {
                timed.cache.insert(1, 5);
            }
            assert_eq!(timed.cache.get(&1), Some(5));
            timed.assert_expired([1]);
            let stats = timed.cache.stats();
            assert_eq!((stats.inserts, stats.updates, stats.expirations, stats.entries), (3, 0, 1, 2));
            timed.cache.validate();
        }
    }
}

#[test]
fn clear_tells_what_had_expired_from_what_was_removed() {
    let _alone = alone();
    for timed in with_an_expired_entry() {
        timed.cache.clear();
        assert_eq!(timed.told(), [(1, RemovalCause::Expired), (2, RemovalCause::Removed)]);
        assert!(timed.cache.is_empty());
    }
}

#[test]
fn a_walk_does_not_show_what_expires_on_the_way() {
    let _alone = alone();
    let timed = Timed::new(1_000, |builder| builder);
    (0..500).for_each(|key| timed.cache.insert_with_ttl(key, key, seconds(if key % 2 == 0 { 10 } else { 20 })));
    let mut walk = timed.cache.iter();
    let first = walk.next().unwrap();
    timed.advance(seconds(10));
    assert!(walk.all(|entry| entry.key() % 2 == 1));
    assert_eq!(*first.key(), *first, "on loan, expired or not");
}

#[test]
fn a_closure_that_moves_the_clock_sees_what_was_there() {
    let _alone = alone();
    let timed = Timed::new(100, |builder| builder);
    timed.cache.insert_with_ttl(1, 1, seconds(10));
    let calls = Cell::new(0);
    let outcome = timed.cache.compute(&1, |entry| {
        calls.set(calls.get() + 1);
        timed.advance(seconds(6));
        entry.map_or(Change::Keep, |(&key, &value)| Change::PutWithTtl(key, value + 1, seconds(10)))
    });
    assert_eq!((outcome, calls.get()), (Outcome::Updated, 1));
    assert_eq!(timed.cache.get(&1), Some(2));
}

// What has expired makes room, and goes.

#[test]
fn what_has_expired_goes_before_what_lives() {
    let _alone = alone();
    for (limit, policy) in [50, 64, 100, 800].into_iter().flat_map(|limit| POLICIES.map(|policy| (limit, policy))) {
        let timed = Timed::new(limit as usize, |builder| builder.policy(policy));
        let half = limit / 2;
        // The younger half expires, though it was used more.
        (0..half).for_each(|key| timed.cache.insert(key, key));
        (half..limit).for_each(|key| timed.cache.insert_with_ttl(key, key, seconds(1 + u64::from(key % 7))));
        (half..limit).for_each(|key| (0..3).for_each(|_| assert!(timed.cache.get(&key).is_some())));
        timed.advance(seconds(10));
        (limit..limit + half).for_each(|key| timed.cache.insert(key, key));
        timed.assert_expired(half..limit);
        assert_eq!(timed.cache.len() as u32, half + half);
        timed.cache.insert(9_999, 0);
        let told = timed.told();
        assert_eq!((told.len(), told[0].1), (1, RemovalCause::Evicted), "now a living one, {policy:?}, {limit}");
    }
}

/// Puts other keys in until what has expired is told; how many that takes.
fn inserts_until_expired(limit: u32, policy: Policy, first: u32) -> u32 {
    let timed = Timed::new(limit as usize, |builder| builder.policy(policy));
    let ttl = |key| Duration::from_nanos((1 << 36) + if key == first { 0 } else { 1_000 + u64::from(key) });
    (0..limit).for_each(|key| timed.cache.insert_with_ttl(key, key, ttl(key)));
    timed.advance(ttl(first));
    for insert in 1..limit {
        timed.cache.insert(limit + insert, insert);
        match timed.told()[..] {
            [(key, RemovalCause::Expired)] => assert_eq!(key, first),
            [(_, RemovalCause::Evicted)] => continue,
            ref told => panic!("{told:?}"),
        }
        assert_eq!(timed.cache.len() as u32, limit);
        return insert;
    }
    panic!("evicted all that live, and {first} of {limit} has expired");
}

#[test]
fn one_that_has_expired_is_found_among_many_that_are_due_soon() {
    let _alone = alone();
    for first in [0, 1, 32, 63] {
        assert_eq!(inserts_until_expired(64, Policy::Lru, first), 1, "where the order is exact");
    }
    // Elsewhere an insert looks at a bounded number of entries, and the next one goes on from there.
    for (limit, policy) in [64, 100, 900].into_iter().flat_map(|limit| POLICIES.map(|policy| (limit, policy))) {
        for first in [1, limit / 2, limit - 1] {
            let inserts = inserts_until_expired(limit, policy, first);
            assert!(inserts <= limit / 8, "{policy:?}: {inserts} inserts, {first} of {limit}");
        }
    }
}

/// Counts its drops.
#[derive(Clone)]
struct Dropped(Arc<()>);

#[test]
fn later_writes_drop_what_has_expired() {
    let _alone = alone();
    type Write = fn(&Cache<u32, Dropped>, u32, &Dropped);
    let writes: [(&str, Write); 4] = [
        ("insert", |cache, key, value| cache.insert(100_000 + key, value.clone())),
        ("update", |cache, key, value| cache.insert(100_000 + key % 500, value.clone())),
        ("remove", |cache, key, _| drop(cache.remove(&key))),
        ("compute", |cache, key, value| {
            cache.compute(&(100_000 + key), |_| Change::Put(100_000 + key, value.clone()));
        }),
    ];
    for (name, write) in writes {
        let clock = ManualClock::new();
        let cache = Cache::<u32, Dropped>::builder().max_entries(30_000).clock(clock.clone()).build().unwrap();
        let (counted, other) = (Dropped(Arc::default()), Dropped(Arc::default()));
        (50_000..59_000).for_each(|key| cache.insert(key, other.clone()));
        let ttl = |key: u32| Duration::from_micros(1 + u64::from(key) * 997 % 1_000_000);
        (0..10_000).for_each(|key| cache.insert_with_ttl(key, counted.clone(), ttl(key)));
        assert_eq!(Arc::strong_count(&counted.0), 10_001);
        clock.advance(SECOND);
        (0..9_000).for_each(|key| write(&cache, 50_000 + key, &other));
        let left = Arc::strong_count(&counted.0) - 1;
        assert!(left < 1_000, "{name}: {left} of 10,000 are left after 9,000 writes");
        cache.validate();
    }
}

#[test]
fn maintain_takes_out_and_drops_all_that_has_expired() {
    let _alone = alone();
    for policy in POLICIES {
        let clock = ManualClock::new();
        let counted = Dropped(Arc::default());
        let builder = Cache::<u32, Dropped>::builder().max_bytes(16 << 20).weigher(|_, _| 100);
        let cache = builder.policy(policy).clock(clock.clone()).build().unwrap();
        let ttl = |key: u32| Duration::from_millis(1 << (key % 40));
        (0..20_000).for_each(|key| cache.insert_with_ttl(key, counted.clone(), ttl(key)));
        let full = cache.used_bytes();
        for days in [0, 1, 100, 5_000] {
            clock.set(seconds(days * 86_400));
            cache.maintain();
            let left = (0..20_000).filter(|&key| ttl(key) > seconds(days * 86_400)).count();
            assert_eq!((cache.len(), Arc::strong_count(&counted.0)), (left, left + 1), "{days} days");
            cache.validate();
        }
        let stats = cache.stats();
        assert_eq!((stats.entries, stats.expirations, stats.retired_bytes), (500, 19_500, 0));
        clock.set(Duration::MAX);
        cache.maintain();
        assert_eq!(cache.len(), 0);
        assert!(cache.used_bytes() < full / 4, "{} of {full} bytes", cache.used_bytes());
    }
}

#[test]
fn each_expiration_is_told_and_counted_once() {
    let _alone = alone();
    for (limit, policy) in [40, 600].into_iter().flat_map(|limit| POLICIES.map(|policy| (limit, policy))) {
        let timed = Timed::new(limit, |builder| builder.policy(policy).time_to_live(seconds(50)));
        let mut told = 0;
        for round in 0..40 {
            for key in 0..limit as u32 {
                let key = key * 7 % 701 + round % 3 * 200;
                match key % 11 {
                    0..5 => timed.cache.insert(key, round),
                    5..7 => timed.cache.insert_with_ttl(key, round, seconds(1 + u64::from(key) % 100)),
                    7 => drop(timed.cache.remove(&key)),
                    8 => drop(timed.cache.touch(&key, seconds(10))),
                    _ => assert!(timed.cache.get(&key).is_none_or(|value| value <= round)),
                }
            }
            timed.advance(seconds(23));
            if round % 5 == 0 {
                timed.cache.maintain();
            }
            told += timed.told().iter().filter(|entry| entry.1 == RemovalCause::Expired).count() as u64;
            let stats = timed.cache.stats();
            assert_eq!(stats.expirations, told);
            assert_eq!(stats.inserts, stats.entries + stats.expirations + stats.evictions + stats.removals);
        }
        assert!(told > 100, "{told} expirations");
    }
}
