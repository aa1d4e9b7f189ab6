//! What is old is loaded anew by one caller, while all others are given what is there.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use larder::{BuildError, Builder, Cache, Change, ManualClock, Outcome, Policy, RemovalCause};

use crate::lab::{Count, Task, block_on, dawdle, give_up, never, rng};

/// The age at which entries are loaded anew in most of these tests.
const AGE: Duration = Duration::from_secs(10);

const TICK: Duration = Duration::from_nanos(1);

/// Settings for a cache whose entries are loaded anew at that age.
fn refreshing<V>(clock: &ManualClock) -> Builder<u32, V, ahash::RandomState, larder::ByCount> {
    Cache::builder().max_entries(100).refresh_after(AGE).clock(clock.clone())
}

/// A cache in which the entry 1 is 10, and old.
fn with_an_old_entry() -> (ManualClock, Cache<u32, u32>) {
    let clock = ManualClock::new();
    let cache = refreshing(&clock).record_stats().build().unwrap();
    cache.insert(1, 10);
    clock.advance(AGE);
    (clock, cache)
}

fn not_called<R>() -> R {
    panic!("it is not this caller's turn to load")
}

#[test]
fn settings_that_contradict_are_refused_with_numbers() {
    let build = |refresh_after, time_to_live| {
        let builder: Builder<u32, u32> = Cache::builder();
        builder.max_entries(10).refresh_after(refresh_after).time_to_live(time_to_live).build().map(drop)
    };
    assert_eq!(build(Duration::ZERO, AGE), Err(BuildError::ZeroRefreshAfter));
    for time_to_live in [AGE, AGE / 2] {
        let error = build(AGE, time_to_live).unwrap_err();
        assert_eq!(error, BuildError::RefreshNotBelowTimeToLive { refresh_after: AGE, time_to_live });
        let message = error.to_string();
        assert!(message.contains("10s") && message.contains(&format!("{time_to_live:?}")), "{message}");
    }
    assert_eq!(build(AGE, AGE + TICK), Ok(()));
    assert_eq!(build(AGE, Duration::MAX), Ok(()));
    assert_eq!(build(Duration::MAX, AGE), Ok(()), "never to be loaded anew");
}

#[test]
fn one_caller_reloads_and_the_others_are_served_what_is_there() {
    let (_, cache) = with_an_old_entry();
    let (loads, served) = (AtomicUsize::new(0), Count::default());
    let mut values = thread::scope(|scope| {
        let ask = |number: usize| {
            let load = || {
                loads.fetch_add(1, SeqCst);
                // The others wait for nothing, and least of all for this load.
                served.wait_for(7);
                assert_eq!((cache.get(&1), cache.peek(&1)), (Some(10), Some(10)));
                20
            };
            let value = match number % 2 {
                0 => cache.get_or_insert_with(1, load),
                _ => block_on(cache.get_or_insert_async(1, async { load() })),
            };
            served.add();
            value
        };
        let callers: Vec<_> = (0..8).map(|number| scope.spawn(move || ask(number))).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
    });
    values.sort_unstable();
    assert_eq!((&*values, loads.into_inner()), (&[10, 10, 10, 10, 10, 10, 10, 20][..], 1));
    assert_eq!(cache.get_or_insert_with(1, not_called), 20);
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.load_failures, stats.updates, stats.misses), (1, 0, 1, 0));
    assert_eq!(stats.hits, 8 + 1 + 1, "each call is one look-up");
    cache.validate();
}

/// How often a key was hashed since, and what happens then.
type Event = (u32, Box<dyn FnOnce()>);

thread_local! {
    /// What happens when a key is hashed for the second time from now.
    static AT_SECOND_HASH: RefCell<Option<Event>> = const { RefCell::new(None) };
}

#[derive(PartialEq, Eq)]
struct Eventful(u32);

impl Hash for Eventful {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
        let event = AT_SECOND_HASH.with_borrow_mut(|event| match event {
            Some((hashed @ 0, _)) => {
                *hashed = 1;
                None
            }
            _ => event.take(),
        });
        if let Some((_, event)) = event {
            event();
        }
    }
}

#[test]
fn who_is_slow_from_the_look_to_the_reload_does_not_reload_again() {
    let clock = ManualClock::new();
    let builder = Cache::builder().max_entries(100).refresh_after(AGE).clock(clock.clone());
    let cache: Arc<Cache<Eventful, u32>> = Arc::new(builder.build().unwrap());
    cache.insert(Eventful(1), 10);
    clock.advance(AGE);
    // The key is hashed for the look, and again before the reload: then another caller has been faster.
    let other = Arc::clone(&cache);
    let event = Box::new(move || assert_eq!(other.get_or_insert_with(Eventful(1), || 20), 20));
    AT_SECOND_HASH.set(Some((0, event)));
    assert_eq!(cache.get_or_insert_with(Eventful(1), not_called), 20);
    assert!(AT_SECOND_HASH.take().is_none(), "it has happened");
    assert_eq!(cache.stats().loads, 1);
    cache.validate();
}

#[test]
fn age_is_counted_from_the_last_write_of_any_kind() {
    let clock = ManualClock::new();
    let cache: Cache<u32, u32> = refreshing(&clock).build().unwrap();
    type Write = (&'static str, fn(&Cache<u32, u32>));
    let writes: [Write; 6] = [
        ("a load", |cache| assert_eq!(cache.get_or_insert_with(1, || 10), 10)),
        ("insert", |cache| cache.insert(1, 10)),
        ("insert_with_ttl", |cache| cache.insert_with_ttl(1, 10, AGE * 100)),
        ("insert_many", |cache| cache.insert_many([(1, 10)])),
        ("compute", |cache| assert_eq!(cache.compute(&1, |_| Change::Put(1, 10)), Outcome::Updated)),
        ("a reload", |cache| assert_eq!(cache.get_or_insert_with(1, || 10), 10)),
    ];
    for (name, write) in writes {
        // Old, but for the first, which there is none of before.
        clock.advance(AGE);
        write(&cache);
        clock.advance(AGE - TICK);
        assert_eq!(cache.get_or_insert_with(1, not_called), 10, "{name}");
        clock.advance(TICK);
        assert_eq!(cache.get_or_insert_with(1, || 11), 11, "{name}");
        cache.validate();
    }
}

#[test]
fn uses_and_touches_make_nothing_younger_and_plain_look_ups_load_nothing() {
    let (clock, cache) = with_an_old_entry();
    assert!(cache.touch(&1, AGE * 100));
    assert_eq!((cache.get(&1), cache.get_many(&[1])), (Some(10), vec![Some(10)]));
    assert_eq!((cache.read(&1, |value| *value), cache.get_ref(&1).map(|value| *value)), (Some(10), Some(10)));
    assert_eq!(cache.compute(&1, |_| Change::Keep), Outcome::Unchanged);
    assert_eq!(cache.stats().loads, 0);
    assert_eq!(cache.get_or_insert_with(1, || 20), 20);
    // Without the setting nothing is ever old.
    let cache: Cache<u32, u32> = Cache::builder().max_entries(100).clock(clock.clone()).build().unwrap();
    cache.insert(1, 10);
    clock.advance(AGE * 1_000_000);
    assert_eq!(cache.get_or_insert_with(1, not_called), 10);
}

#[test]
fn a_failure_leaves_the_old_value_and_the_source_in_peace() {
    let (clock, cache) = with_an_old_entry();
    for _ in 0..3 {
        assert_eq!(cache.try_get_or_insert_with(1, || Err("down")), Ok(10), "the old value, not the error");
        assert_eq!(cache.try_get_or_insert_with(1, not_called::<Result<_, ()>>), Ok(10));
        clock.advance(AGE - TICK);
        assert_eq!(cache.try_get_or_insert_with(1, not_called::<Result<_, ()>>), Ok(10));
        clock.advance(TICK);
        assert_eq!(block_on(cache.try_get_or_insert_async(1, async { Err("down") })), Ok(10));
        clock.advance(AGE);
    }
    assert_eq!((cache.stats().loads, cache.stats().load_failures), (0, 6));
    assert_eq!(cache.try_get_or_insert_with(1, || Ok::<_, ()>(20)), Ok(20));
    cache.validate();
}

#[test]
fn a_failure_is_returned_where_the_old_value_has_expired_meanwhile() {
    let clock = ManualClock::new();
    let cache: Cache<u32, u32> = refreshing(&clock).time_to_live(AGE * 2).build().unwrap();
    cache.insert(1, 10);
    clock.advance(AGE);
    let outlive = |by: Duration| {
        clock.advance(by);
        Err("down")
    };
    assert_eq!(cache.try_get_or_insert_with(1, || outlive(AGE - TICK)), Ok(10));
    cache.insert(1, 10);
    clock.advance(AGE);
    assert_eq!(cache.try_get_or_insert_with(1, || outlive(AGE)), Err("down"));
    assert_eq!(cache.try_get_or_insert_with(1, || Ok::<_, ()>(20)), Ok(20));
    // What was replaced or removed was there when the call began.
    let writes: [fn(&Cache<u32, u32>); 2] = [|cache| cache.insert(1, 30), |cache| cache.clear()];
    for write in writes {
        clock.advance(AGE);
        let failed = || {
            write(&cache);
            Err("down")
        };
        assert_eq!(cache.try_get_or_insert_with(1, failed), Ok(20));
        cache.insert(1, 20);
    }
    cache.validate();
}

#[test]
fn a_panic_reaches_its_caller_and_leaves_the_old_value() {
    let (clock, cache) = with_an_old_entry();
    for form in 0..2 {
        let panicked = catch_unwind(AssertUnwindSafe(|| match form {
            0 => cache.get_or_insert_with(1, || give_up()),
            _ => block_on(cache.get_or_insert_async(1, async { give_up() })),
        }));
        assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&"gave up"));
        assert_eq!(cache.get_or_insert_with(1, not_called), 10);
        assert_eq!(cache.stats().load_failures, form + 1);
        cache.validate();
        clock.advance(AGE);
    }
    assert_eq!(cache.get_or_insert_with(1, || 20), 20);
}

#[test]
fn a_reload_that_is_cancelled_leaves_the_old_value() {
    let (clock, cache) = with_an_old_entry();
    let mut first = Task::new(cache.get_or_insert_async(1, never()));
    assert!(first.poll().is_pending());
    let mut second = Task::new(cache.get_or_insert_async(1, async { not_called() }));
    assert_eq!(second.poll(), Poll::Ready(10), "waits for nobody");
    drop(first);
    assert_eq!(cache.get_or_insert_with(1, not_called), 10);
    assert_eq!((cache.stats().loads, cache.stats().load_failures), (0, 0));
    clock.advance(AGE);
    assert_eq!(cache.get_or_insert_with(1, || 20), 20);
    cache.validate();
}

#[test]
fn what_is_written_during_a_reload_wins() {
    type Subject = Cache<u32, u32>;
    type Write = (&'static str, fn(&Subject), Option<u32>);
    let writes: [Write; 8] = [
        ("nothing", |_| (), Some(20)),
        ("a write of another key", |cache| cache.insert(2, 5), Some(20)),
        ("touch", |cache| assert!(cache.touch(&1, AGE)), Some(20)),
        ("insert", |cache| cache.insert(1, 5), Some(5)),
        ("compute", |cache| assert_eq!(cache.compute(&1, |_| Change::Put(1, 5)), Outcome::Updated), Some(5)),
        ("remove", |cache| assert_eq!(cache.remove(&1), Some(10)), None),
        ("retain", |cache| cache.retain(|_, _| false), None),
        ("clear", |cache| cache.clear(), None),
    ];
    for (name, write, left) in writes {
        for form in 0..2 {
            let (_, cache) = with_an_old_entry();
            let load = || {
                thread::scope(|scope| scope.spawn(|| write(&cache)).join().unwrap());
                20
            };
            let value = match form {
                0 => cache.get_or_insert_with(1, load),
                _ => block_on(cache.get_or_insert_async(1, async { load() })),
            };
            assert_eq!((value, cache.get(&1)), (20, left), "{name}");
            // Who comes afterwards is given what was written, or loads.
            assert_eq!(cache.get_or_insert_with(1, || 30), left.unwrap_or(30), "{name}");
            cache.validate();
        }
    }
}

#[test]
fn who_misses_after_a_removal_does_not_wait_for_the_reload_from_before() {
    let (_, cache) = with_an_old_entry();
    let old_load = async {
        dawdle(1).await;
        20
    };
    let mut reload = Task::new(cache.get_or_insert_async(1, old_load));
    assert!(reload.poll().is_pending());
    assert!(cache.invalidate(&1));
    assert_eq!(cache.get_or_insert_with(1, || 30), 30);
    assert_eq!(reload.poll(), Poll::Ready(20));
    assert_eq!(cache.get(&1), Some(30));
    cache.validate();
}

#[test]
fn who_misses_since_the_old_value_is_gone_waits_for_the_reload() {
    // The entry expires during the reload; or is evicted, by one that takes its room.
    type Loss = fn(&ManualClock, &Cache<u32, u32>);
    let losses: [Loss; 2] = [|clock, _| clock.advance(AGE), |_, cache| cache.insert(2, 2)];
    for lose in losses {
        for gives_up in [false, true] {
            let clock = ManualClock::new();
            let builder = Cache::builder().max_entries(1).refresh_after(AGE).time_to_live(AGE * 2);
            let cache: Cache<u32, u32> = builder.clock(clock.clone()).build().unwrap();
            cache.insert(1, 10);
            clock.advance(AGE);
            let load = async {
                dawdle(1).await;
                if gives_up { give_up() } else { 20 }
            };
            let mut reload = Task::new(cache.get_or_insert_async(1, load));
            assert!(reload.poll().is_pending());
            lose(&clock, &cache);
            assert_eq!(cache.get(&1), None);
            let mut waiter = Task::new(cache.get_or_insert_async(1, async { 30 }));
            assert!(waiter.poll().is_pending());
            let ended = catch_unwind(AssertUnwindSafe(|| reload.poll()));
            drop(reload);
            assert_eq!(ended.ok(), if gives_up { None } else { Some(Poll::Ready(20)) });
            let value = if gives_up { 30 } else { 20 };
            assert_eq!((waiter.wakes(), waiter.poll()), (1, Poll::Ready(value)));
            assert_eq!((cache.get(&1), cache.stats().loads), (Some(value), 1));
            cache.validate();
        }
    }
}

#[test]
fn a_reload_that_takes_longer_than_the_age_is_still_the_only_one() {
    let (clock, cache) = with_an_old_entry();
    let load = || {
        for _ in 0..3 {
            clock.advance(AGE);
            thread::scope(|scope| {
                let other = scope.spawn(|| cache.get_or_insert_with(1, not_called));
                assert_eq!(other.join().unwrap(), 10);
            });
        }
        20
    };
    assert_eq!(cache.get_or_insert_with(1, load), 20);
    assert_eq!(cache.get_or_insert_with(1, not_called), 20, "as old as its store");
    cache.validate();
}

#[test]
fn a_reload_may_ask_for_its_own_key() {
    let (clock, cache) = with_an_old_entry();
    let load = || {
        let before = cache.get_or_insert_with(1, not_called);
        clock.advance(AGE);
        assert_eq!(block_on(cache.get_or_insert_async(1, async { not_called() })), before, "due again meanwhile");
        before + 10
    };
    assert_eq!(cache.get_or_insert_with(1, load), 20);
    clock.advance(AGE);
    assert_eq!(block_on(cache.get_or_insert_async(1, async { load() })), 30);
    cache.validate();
}

#[test]
fn a_reload_starts_the_time_to_live_anew_and_is_told_as_replacement() {
    let (clock, told) = (ManualClock::new(), Arc::new(Mutex::new(Vec::new())));
    let notes = Arc::clone(&told);
    let cache: Cache<u32, u32> = refreshing(&clock)
        .time_to_live(AGE * 2)
        .on_removal(move |key, value, cause| notes.lock().unwrap().push((*key, *value, cause)))
        .build()
        .unwrap();
    cache.insert(1, 10);
    cache.insert_with_ttl(2, 20, AGE / 2);
    cache.insert_with_ttl(3, 30, AGE * 50);
    clock.advance(AGE / 2);
    assert_eq!(cache.get_or_insert_with(2, || 21), 21, "has expired before it was old");
    clock.advance(AGE / 2);
    assert_eq!((cache.get_or_insert_with(1, || 11), cache.time_left(&1)), (11, Some(AGE * 2)));
    assert_eq!((cache.get_or_insert_with(3, || 31), cache.time_left(&3)), (31, Some(AGE * 2)), "as inserted");
    clock.advance(AGE * 2 - TICK);
    assert_eq!(cache.get(&1), Some(11));
    clock.advance(TICK);
    assert_eq!((cache.get(&1), cache.get(&3)), (None, None));
    use RemovalCause::*;
    let told = told.lock().unwrap().clone();
    assert_eq!(told, [(2, 20, Expired), (1, 10, Replaced), (3, 30, Replaced)]);
    cache.validate();
}

#[test]
fn a_hit_that_finds_an_old_entry_is_a_use() {
    // Puts time to idle off.
    let clock = ManualClock::new();
    let cache: Cache<u32, u32> = refreshing(&clock).time_to_idle(AGE * 2).build().unwrap();
    cache.insert(1, 10);
    for value in 11..20 {
        clock.advance(AGE);
        assert_eq!(cache.try_get_or_insert_with(1, || Err(())), Ok(value - 1));
        clock.advance(AGE);
        assert_eq!(cache.get_or_insert_with(1, || value), value);
    }
    clock.advance(AGE * 2);
    assert_eq!(cache.get(&1), None);
    cache.validate();

    // Renews the order of use.
    let cache: Cache<u32, u32> =
        Cache::builder().max_entries(2).refresh_after(AGE).clock(clock.clone()).build().unwrap();
    cache.insert_many([(1, 10), (2, 20)]);
    clock.advance(AGE);
    assert_eq!(cache.try_get_or_insert_with(1, || Err(())), Ok(10));
    cache.insert(3, 30);
    assert_eq!((cache.get(&1), cache.get(&2)), (Some(10), None));
    cache.validate();
}

#[test]
fn what_is_too_large_to_be_stored_takes_what_it_was_to_replace_with_it() {
    let clock = ManualClock::new();
    let cache: Cache<u32, Vec<u8>> =
        Cache::builder().max_bytes(64 << 10).refresh_after(AGE).clock(clock.clone()).build().unwrap();
    cache.insert(1, vec![1]);
    clock.advance(AGE);
    assert_eq!(cache.get_or_insert_with(1, || vec![2; 1 << 20]).len(), 1 << 20);
    assert_eq!((cache.get(&1), cache.stats().rejected), (None, 1));
    // But not what was inserted meanwhile.
    cache.insert(1, vec![1]);
    clock.advance(AGE);
    let load = || {
        cache.insert(1, vec![3]);
        vec![2; 1 << 20]
    };
    assert_eq!(cache.get_or_insert_with(1, load).len(), 1 << 20);
    assert_eq!(cache.get(&1), Some(vec![3]));
    cache.validate();
}

/// Against a map of the times at which keys were written, or a reload was tried.
#[test]
fn exactly_what_is_missing_or_old_is_loaded() {
    for policy in [Policy::Lru, Policy::S3Fifo] {
        let clock = ManualClock::new();
        let builder = Cache::builder().max_bytes(64 << 20).policy(policy).refresh_after(AGE);
        let cache: Cache<u32, u32> = builder.clock(clock.clone()).build().unwrap();
        let mut model: HashMap<u32, (u32, Duration)> = HashMap::new();
        let (mut below, mut now) = (rng(7), Duration::ZERO);
        for step in 0..30_000 {
            // Ever more keys, so that tables grow on the way.
            let key = below(10 + step / 4) as u32;
            match below(16) {
                0 => {
                    let by = AGE * below(8) as u32 / 4;
                    clock.advance(by);
                    now += by;
                }
                1 => assert_eq!(cache.remove(&key), model.remove(&key).map(|(value, _)| value)),
                2..=5 => {
                    cache.insert(key, step as u32);
                    model.insert(key, (step as u32, now));
                }
                choice => {
                    let expected = model.get(&key).copied();
                    let (mut loaded, fails) = (false, choice < 8);
                    let got = cache.try_get_or_insert_with(key, || {
                        loaded = true;
                        if fails { Err(()) } else { Ok(step as u32) }
                    });
                    let loads = expected.is_none_or(|(_, since)| now - since >= AGE);
                    assert_eq!(loaded, loads, "step {step}, key {key}: {expected:?} at {now:?}");
                    let there = if loads && !fails { Some(step as u32) } else { expected.map(|(value, _)| value) };
                    assert_eq!(got.ok(), there, "step {step}, key {key}");
                    if let (true, Some(value)) = (loads, there) {
                        model.insert(key, (value, now));
                    }
                }
            }
            if step % 1_000 == 0 {
                cache.validate();
            }
        }
        assert_eq!(cache.len(), model.len());
        cache.validate();
    }
}

/// Each key's value counts its loads: no two at a time, and no caller sees fewer than had ended before it asked.
#[test]
fn all_at_once() {
    const KEYS: usize = 4;
    let clock = ManualClock::new();
    let cache: Cache<u32, u32> = refreshing(&clock).build().unwrap();
    let keys: Vec<_> = (0..KEYS).map(|_| (AtomicUsize::new(0), AtomicU32::new(0), AtomicU32::new(0))).collect();
    thread::scope(|scope| {
        for thread in 0..4 {
            let (cache, clock, keys) = (&cache, &clock, &keys);
            scope.spawn(move || {
                let mut below = rng(thread);
                for _ in 0..2_000 {
                    if below(4) == 0 {
                        clock.advance(AGE / 2);
                    }
                    let key = below(KEYS as u64) as usize;
                    let (inside, loads, seen) = &keys[key];
                    let (before, fails) = (seen.load(SeqCst), below(4) == 0);
                    let got = cache.try_get_or_insert_with(key as u32, || {
                        assert_eq!(inside.fetch_add(1, SeqCst), 0, "two loads of key {key}");
                        thread::yield_now();
                        let loaded = if fails { Err(()) } else { Ok(loads.fetch_add(1, SeqCst) + 1) };
                        inside.fetch_sub(1, SeqCst);
                        loaded
                    });
                    let Ok(value) = got else {
                        assert_eq!(before, 0, "a failure is returned only where there was no value");
                        continue;
                    };
                    assert!(value >= before, "key {key}: {value} after {before}");
                    seen.fetch_max(value, SeqCst);
                }
            });
        }
    });
    let loads: u32 = keys.iter().map(|(_, loads, _)| loads.load(SeqCst)).sum();
    assert_eq!(cache.stats().loads, loads.into());
    assert!(loads > KEYS as u32, "some were reloads");
    cache.validate();
}
