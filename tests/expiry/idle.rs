//! Times to idle: what puts the end off, and how far.

use super::*;

#[test]
fn hits_put_the_end_off_and_other_calls_do_not() {
    type Call = fn(&Cache<u32, u32>);
    let hits: [(&str, Call); 6] = [
        ("get", |cache| assert_eq!(cache.get(&1), Some(1))),
        ("read", |cache| assert_eq!(cache.read(&1, |&value| value), Some(1))),
        ("get_ref", |cache| assert_eq!(*cache.get_ref(&1).unwrap(), 1)),
        ("get_many", |cache| assert_eq!(cache.get_many(&[1]), [Some(1)])),
        ("insert", |cache| cache.insert(1, 1)),
        ("touch", |cache| assert!(cache.touch(&1, Duration::MAX))),
    ];
    let others: [(&str, Call); 8] = [
        ("peek", |cache| assert_eq!(cache.peek(&1), Some(1))),
        ("contains_key", |cache| assert!(cache.contains_key(&1))),
        ("time_left", |cache| assert!(cache.time_left(&1).is_some())),
        ("iter", |cache| assert_eq!(cache.iter().count(), 1)),
        ("keys", |cache| assert_eq!(cache.keys().count(), 1)),
        ("compute, keep", |cache| assert_eq!(cache.compute(&1, |_| Change::Keep), Outcome::Unchanged)),
        ("remove_if", |cache| assert_eq!(cache.remove_if(&1, |_, _| false), None)),
        ("retain", |cache| cache.retain(|_, _| true)),
    ];
    let _alone = alone();
    for limit in [10, 1_000] {
        let calls = hits.into_iter().zip([true; 6]).chain(others.into_iter().zip([false; 8]));
        for ((name, call), puts_off) in calls {
            let timed = Timed::new(limit, |builder| builder.time_to_idle(seconds(10)));
            timed.cache.insert(1, 1);
            timed.advance(seconds(9));
            call(&timed.cache);
            timed.advance(seconds(9));
            timed.cache.maintain();
            assert_eq!(timed.cache.contains_key(&1), puts_off, "{name}");
            assert_eq!(timed.cache.len(), usize::from(puts_off), "{name}");
        }
    }
}

#[test]
fn an_entry_in_use_never_idles_out_and_one_that_is_not_does() {
    let _alone = alone();
    let timed = Timed::new(100, |builder| builder.time_to_idle(seconds(64)));
    timed.cache.insert_many([(1, 1), (2, 2)]);
    for step in 0..2_000_u64 {
        // Steps of all sizes below what is left of the time in the worst case.
        timed.advance(Duration::from_millis(step * 7_919 % 62_000));
        assert_eq!(timed.cache.get(&1), Some(1), "step {step}");
        if step % 100 == 50 {
            timed.cache.insert(3, 3);
            timed.cache.validate();
        }
    }
    timed.cache.maintain();
    assert_eq!(timed.cache.get(&2), None);
    timed.advance(seconds(64));
    assert_eq!(timed.cache.get(&1), None);
}

#[test]
fn hits_closer_together_than_a_64th_of_the_time_count_as_one() {
    let _alone = alone();
    let timed = Timed::new(100, |builder| builder.time_to_idle(seconds(64)));
    let cache = &timed.cache;
    let left = || cache.time_left(&1).unwrap().as_secs_f64();
    let near = |one: f64, other: f64| (one - other).abs() < 1e-8;
    cache.insert(1, 1);
    timed.advance(Duration::from_millis(900));
    cache.get(&1);
    assert!(near(left(), 63.1), "too soon to count: {}", left());
    timed.advance(Duration::from_millis(200));
    cache.get(&1);
    assert!(near(left(), 64.0), "{}", left());
    timed.advance(seconds(63));
    assert_eq!(cache.peek(&1), Some(1));
    timed.advance(seconds(1));
    assert_eq!(cache.peek(&1), None);
}

#[test]
fn time_to_idle_is_kept_to_the_nanosecond_and_never_exceeded() {
    let _alone = alone();
    for start in 0..4 {
        for idle in [1_000, 1_001] {
            let timed = Timed::new(10, |builder| builder.time_to_idle(Duration::from_nanos(idle)));
            timed.advance(Duration::from_nanos(start));
            timed.cache.insert(1, 1);
            timed.advance(Duration::from_nanos(idle - 2));
            assert!(timed.cache.contains_key(&1), "start {start}, idle {idle}");
            timed.advance(NANO * 2);
            assert!(!timed.cache.contains_key(&1), "start {start}, idle {idle}");
        }
        for ttl in [1_000, 1_001] {
            let timed = Timed::new(10, |builder| builder.time_to_idle(seconds(1)));
            timed.advance(Duration::from_nanos(start));
            timed.cache.insert_with_ttl(1, 1, Duration::from_nanos(ttl));
            timed.advance(Duration::from_nanos(ttl - 2));
            assert!(timed.cache.contains_key(&1), "start {start}, time to live {ttl}");
            timed.advance(NANO * 2);
            assert!(!timed.cache.contains_key(&1), "start {start}, time to live {ttl}");
        }
    }
}

#[test]
fn of_both_times_the_earlier_counts() {
    let _alone = alone();
    let timed = Timed::new(100, |builder| builder.time_to_live(seconds(100)).time_to_idle(seconds(30)));
    let cache = &timed.cache;
    cache.insert_many([(1, 1), (2, 2)]);
    cache.insert_with_ttl(3, 3, seconds(10));
    cache.insert_with_ttl(4, 4, Duration::MAX);
    timed.advance(seconds(9));
    assert_eq!(cache.get(&3), Some(3));
    timed.advance(seconds(1));
    assert_eq!(cache.get(&3), None, "a hit does not put off the end of its time to live");
    assert_eq!((cache.get(&1), cache.get(&4)), (Some(1), Some(4)));
    for _ in 0..4 {
        timed.advance(seconds(20));
        assert_eq!((cache.get(&1), cache.get(&4)), (Some(1), Some(4)));
    }
    assert_eq!(cache.get(&2), None, "idle since the beginning");
    assert!(cache.time_left(&1).unwrap() <= seconds(10));
    timed.advance(seconds(10));
    assert_eq!((cache.get(&1), cache.get(&4)), (None, Some(4)));
    timed.advance(seconds(30));
    assert_eq!(cache.get(&4), None, "for ever, but idle");
}

/// What the batch of displaced entries weighs that is open, is less than is handed over before the limit is lowered, and more
/// afterwards: then it is the hit that hands it over.
#[test]
fn a_hit_after_the_limit_was_lowered_holds_nothing_up() {
    const LIMIT: u64 = 512 << 10;
    let _alone = alone();
    let clock = ManualClock::new();
    let builder = Cache::<u32, Vec<u8>>::builder().max_bytes(2 * LIMIT).stripes(1);
    let cache = builder.time_to_idle(seconds(64)).clock(clock.clone()).build().unwrap();
    cache.insert(1, vec![0; 1_500]);
    cache.insert(1, vec![0; 10]);
    cache.set_max_bytes(LIMIT).unwrap();
    clock.advance(SECOND);
    assert!(cache.get(&1).is_some());
    for round in 0..3 {
        (0..2_000).for_each(|key| cache.insert(key % 1_000, vec![0; 1_000]));
        cache.maintain();
        let stats = cache.stats();
        assert!(stats.bytes <= LIMIT, "round {round}: {stats:?}");
        assert_eq!(stats.retired_bytes, 0, "round {round}");
    }
    cache.validate();
}
