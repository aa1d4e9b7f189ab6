//! Which entries make room, and when: policies, limits, weights.
//!
//! Knows the public calls only. Everything here is about one named behaviour; random sequences are in `model.rs`.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use larder::{BuildError, Builder, ByClosure, ByCount, Cache, Change, Outcome, Policy, RemovalCause};

/// Keys told to a listener, with the cause.
type Log = Arc<Mutex<Vec<(u32, RemovalCause)>>>;

/// A value that claims to hold so many bytes.
type Weight = u64;

const POLICIES: [Policy; 2] = [Policy::Lru, Policy::S3Fifo];

/// One test at a time: what a thread has displaced is dropped only when no thread is inside any cache.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take(log: &Log) -> Vec<(u32, RemovalCause)> {
    std::mem::take(&mut log.lock().unwrap())
}

/// The keys that were told, all of them evicted.
fn evicted(log: &Log) -> Vec<u32> {
    let told = take(log).into_iter();
    told.map(|(key, cause)| if cause == RemovalCause::Evicted { key } else { panic!("{key} {cause:?}") }).collect()
}

fn by_entries(max_entries: usize) -> (Builder<u32, u32, ahash::RandomState, ByCount>, Log) {
    let log = Log::default();
    let told = Arc::clone(&log);
    let builder = Cache::<u32, u32>::builder();
    let builder =
        builder.max_entries(max_entries).on_removal(move |&key, _, cause| told.lock().unwrap().push((key, cause)));
    (builder, log)
}

fn by_bytes(max_bytes: u64) -> (Builder<u32, Weight, ahash::RandomState, ByClosure<u32, Weight>>, Log) {
    let log = Log::default();
    let told = Arc::clone(&log);
    let builder = Cache::<u32, Weight>::builder().max_bytes(max_bytes).weigher(|_, &weight: &Weight| weight);
    (builder.on_removal(move |&key, _, cause| told.lock().unwrap().push((key, cause))), log)
}

/// All keys have the same hash, so they share a stripe.
#[derive(Clone, Copy)]
struct OneHash;

impl BuildHasher for OneHash {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self
    }
}

impl Hasher for OneHash {
    fn write(&mut self, _: &[u8]) {}

    fn finish(&self) -> u64 {
        7
    }
}

// Lru.

#[test]
fn up_to_64_entries_leave_in_the_order_of_insertion() {
    let _alone = alone();
    for limit in [1, 2, 3, 63, 64] {
        let (builder, log) = by_entries(limit);
        let cache = builder.build().unwrap();
        let limit = limit as u32;
        (0..3 * limit).for_each(|key| cache.insert(key, key));
        assert_eq!(evicted(&log), Vec::from_iter(0..2 * limit));
        assert_eq!(cache.len(), limit as usize);
    }
}

#[test]
fn uses_make_an_entry_the_youngest_and_other_calls_do_not() {
    type Call = fn(&Cache<u32, u32>);
    let uses: [(&str, Call); 7] = [
        ("get", |cache| assert_eq!(cache.get(&0), Some(0))),
        ("read", |cache| assert_eq!(cache.read(&0, |&value| value), Some(0))),
        ("get_ref", |cache| assert_eq!(*cache.get_ref(&0).unwrap(), 0)),
        ("get_many", |cache| assert_eq!(cache.get_many(&[9, 0]), [None, Some(0)])),
        ("insert", |cache| cache.insert(0, 1)),
        ("try_insert", |cache| cache.try_insert(0, 1).unwrap()),
        ("compute, put", |cache| assert_eq!(cache.compute(&0, |_| Change::Put(0, 1)), Outcome::Updated)),
    ];
    let others: [(&str, Call); 9] = [
        ("nothing", |_| {}),
        ("peek", |cache| assert_eq!(cache.peek(&0), Some(0))),
        ("contains_key", |cache| assert!(cache.contains_key(&0))),
        ("iter", |cache| assert_eq!(cache.iter().count(), 3)),
        ("keys", |cache| assert_eq!(cache.keys().count(), 3)),
        ("time_left", |cache| assert_eq!(cache.time_left(&0), Some(Duration::MAX))),
        ("compute, keep", |cache| assert_eq!(cache.compute(&0, |_| Change::Keep), Outcome::Unchanged)),
        ("remove_if", |cache| assert_eq!(cache.remove_if(&0, |_, _| false), None)),
        ("retain", |cache| cache.retain(|_, _| true)),
    ];
    let _alone = alone();
    let calls = uses.into_iter().zip([true; 7]).chain(others.into_iter().zip([false; 9]));
    for ((name, call), is_use) in calls {
        let (builder, log) = by_entries(3);
        let cache = builder.build().unwrap();
        cache.insert_many([(0, 0), (1, 1), (2, 2)]);
        call(&cache);
        take(&log);
        cache.insert_many([(3, 3), (4, 4), (5, 5)]);
        let order = if is_use { [1, 2, 0] } else { [0, 1, 2] };
        assert_eq!(evicted(&log), order, "{name}");
    }
}

#[test]
fn a_loan_that_is_still_out_does_not_keep_its_entry_in_the_cache() {
    let _alone = alone();
    let (builder, log) = by_entries(2);
    let cache = builder.build().unwrap();
    cache.insert_many([(0, 10), (1, 11)]);
    let loan = cache.get_ref(&0).unwrap();
    cache.insert_many([(2, 12), (3, 13)]);
    assert_eq!(evicted(&log), [1, 0], "lending was a use");
    assert_eq!(cache.get(&0), None);
    assert_eq!((*loan.key(), *loan), (0, 10));
}

#[test]
fn second_chance_spares_what_was_used_and_only_once() {
    let _alone = alone();
    let (builder, log) = by_entries(100);
    let cache = builder.build().unwrap();
    (0..100).for_each(|key| cache.insert(key, key));
    for _ in 0..5 {
        (0..10).for_each(|key| assert_eq!(cache.get(&key), Some(key)));
    }
    (100..190).for_each(|key| cache.insert(key, key));
    assert_eq!(evicted(&log), Vec::from_iter(10..100), "the used ones are spared, the others go in order");
    // When they were spared the first of the new ones was queued already.
    (190..201).for_each(|key| cache.insert(key, key));
    assert_eq!(evicted(&log), Vec::from_iter([100].into_iter().chain(0..10)), "not used since");
}

#[test]
fn an_update_is_a_use_for_second_chance_too() {
    let _alone = alone();
    let (builder, log) = by_entries(100);
    let cache = builder.build().unwrap();
    (0..100).for_each(|key| cache.insert(key, key));
    cache.insert(0, 1);
    assert_eq!(take(&log), [(0, RemovalCause::Replaced)]);
    cache.insert(100, 100);
    assert_eq!(evicted(&log), [1]);
}

#[test]
fn where_all_were_used_one_is_evicted_all_the_same() {
    let _alone = alone();
    for policy in POLICIES {
        let (builder, log) = by_entries(1_000);
        let cache = builder.policy(policy).build().unwrap();
        (0..1_000).for_each(|key| cache.insert(key, key));
        for key in 1_000..2_000 {
            (0..2_000).for_each(|key| assert!(cache.get(&key).is_none_or(|value| value == key)));
            cache.insert(key, key);
            assert_eq!(evicted(&log).len(), 1, "{policy:?}");
            assert!(cache.contains_key(&key), "{policy:?}");
            if key == 1_050 {
                break;
            }
        }
    }
}

// S3Fifo.

#[test]
fn a_scan_does_not_push_out_what_is_hot() {
    let _alone = alone();
    let left = POLICIES.map(|policy| {
        let (builder, _) = by_entries(1_000);
        let cache = builder.policy(policy).build().unwrap();
        (0..1_000).for_each(|key| cache.insert(key, key));
        for _ in 0..3 {
            (0..500).for_each(|key| assert_eq!(cache.get(&key), Some(key)));
        }
        (1_000..21_000).for_each(|key| cache.insert(key, key));
        (0..500).filter(|key| cache.contains_key(key)).count()
    });
    assert_eq!(left[0], 0, "Lru lets go of what is not used during the scan");
    // The search for a victim is bounded, which now and then costs one that was used.
    assert!(left[1] >= 450, "S3Fifo kept {} of 500", left[1]);
}

#[test]
fn what_comes_back_while_its_ghost_is_there_survives_the_next_scan() {
    let _alone = alone();
    let (builder, _) = by_entries(1_000);
    // Always the same: one in 8,000 hashes is taken for another one's ghost.
    let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
    let cache = builder.policy(Policy::S3Fifo).hasher(hasher).build().unwrap();
    (0..2_000).for_each(|key| cache.insert(key, key));
    let back = 10_000..10_050;
    back.clone().for_each(|key| cache.insert(key, key));
    (2_000..2_500).for_each(|key| cache.insert(key, key));
    assert!(back.clone().all(|key| !cache.contains_key(&key)), "let go by the small queue");
    let new = 20_000..20_050;
    back.clone().chain(new.clone()).for_each(|key| cache.insert(key, key));
    (2_500..3_000).for_each(|key| cache.insert(key, key));
    let left = |keys: std::ops::Range<u32>| keys.filter(|key| cache.contains_key(key)).count();
    assert!(left(back.clone()) >= 45, "{} of 50 that came back", left(back));
    assert_eq!(left(new), 0, "new ones go with the scan");
}

#[test]
fn two_uses_take_an_entry_from_the_small_to_the_main_queue() {
    let _alone = alone();
    let (builder, _) = by_entries(1_000);
    let cache = builder.policy(Policy::S3Fifo).build().unwrap();
    (0..2_000).for_each(|key| cache.insert(key, key));
    let used = 10_000..10_030;
    used.clone().for_each(|key| cache.insert(key, key));
    for _ in 0..2 {
        used.clone().for_each(|key| assert!(cache.get(&key).is_some()));
    }
    (2_000..2_500).for_each(|key| cache.insert(key, key));
    assert!(used.clone().all(|key| cache.contains_key(&key)));
}

// Limits.

#[test]
fn there_are_never_more_than_max_entries() {
    let _alone = alone();
    for (policy, stripes) in POLICIES.into_iter().flat_map(|policy| [1, 2, 16, 64].map(|stripes| (policy, stripes))) {
        for limit in [1, 5, 64, 65, 700] {
            let (builder, log) = by_entries(limit);
            let cache = builder.policy(policy).stripes(stripes).build().unwrap();
            for key in 0..2_000 {
                cache.insert(key, key);
                assert!(cache.len() <= limit, "{} of {limit} entries, {stripes} stripes", cache.len());
                assert!(cache.contains_key(&key), "{key} of {limit}, {policy:?}, {stripes} stripes");
            }
            assert!(cache.len() * 10 >= limit * 9, "{} of {limit} entries, {stripes} stripes", cache.len());
            assert_eq!(evicted(&log).len() + cache.len(), 2_000);
            cache.validate();
        }
    }
}

#[test]
fn keys_that_gather_in_one_stripe_have_the_whole_budget() {
    let _alone = alone();
    for policy in POLICIES {
        let (builder, _) = by_entries(1_000);
        let cache = builder.policy(policy).stripes(16).hasher(OneHash).build().unwrap();
        (0..1_500).for_each(|key| cache.insert(key, key));
        assert!((900..=1_000).contains(&cache.len()), "{} of 1,000 entries", cache.len());
        cache.validate();

        let (builder, _) = by_bytes(1 << 20);
        let cache = builder.policy(policy).stripes(16).hasher(OneHash).build().unwrap();
        (0..1_500).for_each(|key| cache.insert(key, 1_000));
        let used = cache.used_bytes();
        assert!((900 << 10..=1 << 20).contains(&used), "{policy:?}: {used} bytes of a MiB");
        cache.validate();
    }
}

#[test]
fn a_stripe_that_comes_late_gets_half_of_an_equal_share() {
    /// Hashes of even keys are all the same, and those of odd keys.
    #[derive(Clone, Copy, Default)]
    struct TwoHashes(u64);

    impl BuildHasher for TwoHashes {
        type Hasher = Self;

        fn build_hasher(&self) -> Self {
            Self(0)
        }
    }

    impl Hasher for TwoHashes {
        fn write(&mut self, _: &[u8]) {
            unreachable!("a u32 is hashed as such");
        }

        fn write_u32(&mut self, key: u32) {
            self.0 = u64::from(key % 2) << 63;
        }

        fn finish(&self) -> u64 {
            self.0
        }
    }

    let _alone = alone();
    let (builder, _) = by_entries(500);
    let cache = builder.stripes(16).hasher(TwoHashes::default()).build().unwrap();
    (0..1_000).for_each(|key| cache.insert(2 * key, key));
    (0..1_000).for_each(|key| cache.insert(2 * key + 1, key));
    let odd = cache.keys().filter(|key| key % 2 == 1).count();
    // The one that is being put in counts as well.
    assert!(odd >= 500 / 16 / 2 - 1, "{odd} of 500 in 16 stripes");
    assert!(cache.len() <= 500);
}

#[test]
fn a_lowered_limit_evicts_the_least_recently_used() {
    let _alone = alone();
    let (builder, log) = by_entries(50);
    let cache = builder.build().unwrap();
    (0..50).for_each(|key| cache.insert(key, key));
    (0..5).for_each(|key| assert!(cache.get(&key).is_some()));
    cache.set_max_entries(10).unwrap();
    assert_eq!(evicted(&log), Vec::from_iter(5..45));
    cache.insert(50, 50);
    assert_eq!(evicted(&log), [45]);
    cache.set_max_entries(12).unwrap();
    cache.insert_many([(51, 51), (52, 52)]);
    assert_eq!((cache.len(), evicted(&log)), (12, vec![]));
    cache.insert(53, 53);
    assert_eq!(evicted(&log), [46]);
}

#[test]
fn a_lowered_limit_keeps_as_many_as_it_allows_and_a_raised_one_is_used() {
    let _alone = alone();
    for policy in POLICIES {
        let (builder, _) = by_entries(20_000);
        let cache = builder.policy(policy).build().unwrap();
        (0..20_000).for_each(|key| cache.insert(key, key));
        for limit in [10_000, 100, 1, 40_000, 3_000] {
            cache.set_max_entries(limit).unwrap();
            assert!(cache.len() <= limit);
            if limit < 10_000 {
                assert!(cache.len() * 10 >= limit * 9, "{policy:?}: {} of {limit}", cache.len());
            }
            (100_000..150_000).for_each(|key| cache.insert(key, key));
            assert!((limit * 9 / 10..=limit).contains(&cache.len()), "{policy:?}: {} of {limit}", cache.len());
        }
        cache.validate();
    }
}

#[test]
fn a_lowered_limit_spares_what_is_used_in_all_stripes() {
    let _alone = alone();
    for policy in POLICIES {
        let (builder, _) = by_entries(10_000);
        let cache = builder.policy(policy).stripes(8).build().unwrap();
        (0..10_000).for_each(|key| cache.insert(key, key));
        let used = 5_000..6_000;
        (0..3).for_each(|_| used.clone().for_each(|key| assert!(cache.get(&key).is_some())));
        cache.set_max_entries(5_000).unwrap();
        let left = used.filter(|key| cache.contains_key(key)).count();
        assert!(left >= 900, "{policy:?}: {left} of 1,000 that are in use");
    }
}

#[test]
fn a_byte_limit_can_be_lowered_and_raised() {
    let _alone = alone();
    for policy in POLICIES {
        let (builder, log) = by_bytes(4 << 20);
        let cache = builder.policy(policy).build().unwrap();
        (0..8_000).for_each(|key| cache.insert(key, 1_000));
        for limit in [1 << 20, 8 << 20, 512 << 10] {
            let before = cache.len();
            take(&log);
            cache.set_max_bytes(limit).unwrap();
            assert!(cache.used_bytes() <= limit, "{} bytes of {limit}", cache.used_bytes());
            assert_eq!(evicted(&log).len(), before - cache.len());
            (10_000..18_000).for_each(|key| cache.insert(key, 1_000));
            let used = cache.used_bytes();
            assert!((limit / 10 * 9..=limit).contains(&used), "{policy:?}: {used} bytes of {limit}");
            cache.validate();
        }
    }
}

#[test]
fn a_limit_of_the_other_kind_is_an_error() {
    let _alone = alone();
    let entries = by_entries(10).0.build().unwrap();
    let error = entries.set_max_bytes(1 << 20).unwrap_err();
    assert_eq!(error, BuildError::OtherLimit { limited_by: "max_entries" });
    assert!(error.to_string().contains("max_entries"), "{error}");
    let bytes = by_bytes(1 << 20).0.build().unwrap();
    let error = bytes.set_max_entries(10).unwrap_err();
    assert_eq!(error, BuildError::OtherLimit { limited_by: "max_bytes" });
    assert!(error.to_string().contains("max_bytes"), "{error}");
}

#[test]
fn a_limit_that_cannot_be_leaves_the_present_one() {
    let _alone = alone();
    let cache = by_entries(10).0.build().unwrap();
    assert_eq!(cache.set_max_entries(0), Err(BuildError::ZeroEntries));
    for more_than_a_table_has in [1 << 29, usize::MAX] {
        let refused = cache.set_max_entries(more_than_a_table_has);
        assert!(matches!(refused, Err(BuildError::TooManyEntries { .. })), "{more_than_a_table_has}");
    }
    (0..20).for_each(|key| cache.insert(key, key));
    assert_eq!(cache.len(), 10);

    let cache = by_bytes(1 << 20).0.build().unwrap();
    (0..2_000).for_each(|key| cache.insert(key, 1_000));
    let len = cache.len();
    assert!(matches!(cache.set_max_bytes(100), Err(BuildError::TooFewBytes { given: 100, .. })));
    assert!(matches!(cache.set_max_bytes(u64::MAX), Err(BuildError::TooManyBytes { given: u64::MAX, .. })));
    assert_eq!(cache.len(), len);
}

// Weights.

/// The most that one entry may weigh, as the cache says when it refuses one.
fn most<S: BuildHasher>(cache: &Cache<u32, Weight, S>) -> u64 {
    cache.try_insert(u32::MAX, 1 << 55).unwrap_err().max
}

#[test]
fn an_entry_may_take_the_whole_budget() {
    let _alone = alone();
    for (policy, stripes) in POLICIES.into_iter().flat_map(|policy| [1, 16].map(|stripes| (policy, stripes))) {
        let limit = 1 << 20;
        let cache = by_bytes(limit).0.policy(policy).stripes(stripes).build().unwrap();
        let max = most(&cache);
        assert!(max >= limit / 10 * 9, "{max} of {limit} bytes with {stripes} stripes");
        for weight in [max, max - 1, max / 2, max / 3 * 2, max] {
            cache.try_insert(1, weight).unwrap();
            assert_eq!(cache.get(&1), Some(weight), "{weight} of {max}, {policy:?}, {stripes} stripes");
            assert!(cache.used_bytes() <= limit, "{} bytes", cache.used_bytes());
            cache.validate();
        }
        let refused = cache.try_insert(1, max + 1).unwrap_err();
        assert!(refused.weight > refused.max && refused.max <= limit);
    }
}

#[test]
fn the_least_of_budgets_has_room_for_the_largest_entry_it_allows_and_all_that_is_kept_of_it() {
    let _alone = alone();
    for (policy, initial) in POLICIES.into_iter().flat_map(|policy| [0, 32, 255].map(|initial| (policy, initial))) {
        let build = |limit| {
            let builder = by_bytes(limit).0.policy(policy).stripes(1).initial_entries(initial);
            builder.time_to_live(Duration::from_secs(1)).time_to_idle(Duration::from_secs(1)).build()
        };
        let Err(BuildError::TooFewBytes { min, .. }) = build(1) else { panic!("a byte is not enough") };
        for small in 0..150 {
            let cache = build(min).unwrap();
            (0..small).for_each(|key| cache.insert(key, 0));
            let (max, case) = (most(&cache), format!("{policy:?}, laid out for {initial}, after {small} small ones"));
            cache.try_insert(1, max).unwrap();
            assert_eq!(cache.get(&1), Some(max), "{case}");
            assert!(cache.used_bytes() <= min, "{} bytes of {min}, {case}", cache.used_bytes());
            cache.validate();
        }
    }
}

#[test]
fn a_first_deadline_has_room_beside_the_largest_entry() {
    let _alone = alone();
    for (policy, stripes) in POLICIES.into_iter().flat_map(|policy| [1, 2].map(|stripes| (policy, stripes))) {
        let build = |limit| {
            let builder = by_bytes(limit).0.policy(policy).hasher(OneHash);
            builder.stripes(stripes).initial_entries(235).build()
        };
        let Err(BuildError::TooFewBytes { min, .. }) = build(1) else { panic!("a byte is not enough") };
        let cache = build(min).unwrap();
        cache.insert_many([(1, 0), (1, 0), (1, 0), (1, 0), (2, 0)]);
        cache.try_insert(3, most(&cache)).unwrap();
        assert!(cache.touch(&3, Duration::from_secs(1)), "{policy:?}, {stripes} stripes");
        assert!(cache.contains_key(&3), "{policy:?}, {stripes} stripes");
        assert!(cache.used_bytes() <= min, "{} bytes of {min}, {policy:?}, {stripes} stripes", cache.used_bytes());
        cache.validate();
    }
}

#[test]
fn a_large_entry_fits_among_many_small_ones_and_costs_no_more_than_its_size() {
    let _alone = alone();
    for (policy, share) in POLICIES.into_iter().flat_map(|policy| [64, 8, 3, 2].map(|share| (policy, share))) {
        let limit = 1 << 20;
        let cache = by_bytes(limit).0.policy(policy).stripes(4).build().unwrap();
        (0..50_000).for_each(|key| cache.insert(key, 0));
        let before = cache.len();
        assert!(cache.used_bytes() >= limit / 10 * 9, "{policy:?}: {} bytes of small entries", cache.used_bytes());
        let refused = cache.try_insert(u32::MAX, limit / share).err();
        assert!(refused.is_none(), "{policy:?}, 1/{share}: {refused:?}");
        assert_eq!(cache.get(&u32::MAX), Some(limit / share), "{policy:?}, 1/{share}");
        assert!(cache.used_bytes() <= limit, "{policy:?}, 1/{share}: {} bytes", cache.used_bytes());
        // Tables can't be given back by the entry, so more of the nodes have to go; and nodes are given back by
        // the chunk, for which one of the four stripes may lose all it has.
        let cost = (before as f64 - cache.len() as f64) / before as f64;
        let most = 2.0 / share as f64 + 0.25;
        assert!(cost <= most, "{policy:?}, 1/{share}: it costs {cost:.2} of the others");
        cache.validate();

        cache.invalidate(&u32::MAX);
        (0..50_000).for_each(|key| cache.insert(key, 0));
        assert!(cache.len() * 10 >= before * 9, "{policy:?}, 1/{share}: {} of {before} come back", cache.len());
    }
}

#[test]
fn what_is_too_large_is_handed_back_with_both_numbers_and_the_old_value_is_gone() {
    let _alone = alone();
    let (builder, log) = by_bytes(64 << 10);
    let cache = builder.build().unwrap();
    cache.insert_many([(1, 10), (2, 20)]);
    let refused = cache.try_insert(1, 70_000).unwrap_err();
    assert_eq!((refused.key, refused.value), (1, 70_000));
    assert!((70_000..70_200).contains(&refused.weight), "{refused:?}");
    assert!((32 << 10..64 << 10).contains(&refused.max), "{refused:?}");
    let text = refused.to_string();
    assert!(text.contains(&refused.weight.to_string()) && text.contains(&refused.max.to_string()), "{text}");
    assert_eq!((cache.get(&1), cache.get(&2), cache.len()), (None, Some(20), 1));
    assert_eq!(take(&log), [(1, RemovalCause::Replaced)]);
    assert_eq!(cache.stats().rejected, 1);

    cache.insert(2, u64::MAX);
    assert_eq!((cache.get(&2), cache.len()), (None, 0));
    assert_eq!(take(&log), [(2, RemovalCause::Replaced)]);
    cache.insert_with_ttl(3, 1 << 40, Duration::MAX);
    assert_eq!(cache.compute(&3, |_| Change::Put(3, 1 << 40)), Outcome::Rejected);
    assert_eq!((cache.stats().rejected, cache.len(), take(&log)), (4, 0, vec![]));
    cache.validate();
}

#[test]
fn entries_without_weight_are_limited_by_their_nodes() {
    let _alone = alone();
    for policy in POLICIES {
        let limit = 1 << 20;
        let cache = by_bytes(limit).0.policy(policy).build().unwrap();
        for key in 0..60_000 {
            cache.insert(key, 0);
            assert!(cache.contains_key(&key));
        }
        let (used, len) = (cache.used_bytes(), cache.len() as u64);
        assert!((limit / 10 * 9..=limit).contains(&used), "{policy:?}: {used} bytes");
        assert!(used / len < 100, "{policy:?}: {} bytes an entry", used / len);
        cache.validate();
    }
}

#[test]
fn weights_may_be_larger_than_32_bits() {
    const GIB: u64 = 1 << 30;
    let _alone = alone();
    for policy in POLICIES {
        let (builder, log) = by_bytes(100 * GIB);
        let cache = builder.policy(policy).stripes(8).build().unwrap();
        (0..100).for_each(|key| cache.insert(key, 5 * GIB));
        assert_eq!(cache.len(), 19, "of 5 GiB each in 100 GiB, of which a 32nd is kept for what is retired");
        assert!((95 * GIB..96 * GIB).contains(&cache.used_bytes()));
        assert_eq!(evicted(&log).len(), 81);
        cache.validate();

        let key = cache.keys().next().unwrap();
        for weight in [u32::MAX.into(), u64::from(u32::MAX) - 1, u64::from(u32::MAX) + 1, 0, 5 * GIB] {
            cache.insert(key, weight);
            cache.maintain();
            let used = cache.used_bytes();
            assert!((90 * GIB + weight..90 * GIB + weight + GIB).contains(&used), "{used} with one of {weight}");
            cache.validate();
        }
        cache.insert(key, 90 * GIB);
        assert_eq!(cache.get(&key), Some(90 * GIB));
        assert!(cache.used_bytes() <= 100 * GIB);
        cache.clear();
        cache.maintain();
        assert!(cache.used_bytes() < GIB, "{} bytes after clear", cache.used_bytes());
        cache.validate();
    }
}

#[test]
fn an_update_changes_the_weight() {
    let _alone = alone();
    let (builder, log) = by_bytes(1 << 20);
    let cache = builder.stripes(1).build().unwrap();
    cache.insert_many([(1, 1_000), (2, 1_000)]);
    cache.maintain();
    let base = cache.used_bytes() - 2_000;
    for weight in [0, 1, 5_000, 100_000, 3, 400_000] {
        cache.insert(1, weight);
        cache.maintain();
        assert!(cache.used_bytes().abs_diff(base + 1_000 + weight) < 100, "{} bytes", cache.used_bytes());
        assert_eq!(take(&log), [(1, RemovalCause::Replaced)]);
    }
    cache.remove(&1);
    cache.maintain();
    assert!(cache.used_bytes().abs_diff(base + 1_000) < 100, "{} bytes", cache.used_bytes());
}

#[test]
fn an_update_that_grows_evicts_others_and_not_itself() {
    let _alone = alone();
    for policy in POLICIES {
        let limit = 1 << 20;
        let cache = by_bytes(limit).0.policy(policy).build().unwrap();
        (0..900).for_each(|key| cache.insert(key, 1_000));
        for (turn, weight) in [10_000, 100_000, 500_000, 800_000].into_iter().enumerate() {
            cache.insert(899, weight);
            assert_eq!(cache.get(&899), Some(weight), "{policy:?}");
            assert!(cache.used_bytes() <= limit, "{policy:?}: {} bytes", cache.used_bytes());
            let fit = (limit / 10 * 9 - weight) / 1_100;
            assert!(cache.len() as u64 > fit.min(800), "{policy:?}, turn {turn}: {} entries left", cache.len());
        }
        cache.validate();
    }
}

#[test]
fn what_a_reader_holds_up_is_made_up_for_when_it_has_left() {
    let _alone = alone();
    for (policy, weight) in POLICIES.into_iter().flat_map(|policy| [0, 200].map(|weight| (policy, weight))) {
        let limit = 1 << 20;
        let cache = by_bytes(limit).0.policy(policy).build().unwrap();
        (0..30_000).for_each(|key| cache.insert(key, weight));
        let before = cache.len();
        cache.insert(0, weight);
        // All the while the reader is inside, nothing that is displaced can be dropped.
        cache.read(&0, |_| (30_000..40_000).for_each(|key| cache.insert(key, weight))).unwrap();
        (40_000..90_000).for_each(|key| cache.insert(key, weight));
        let (used, len) = (cache.used_bytes(), cache.len());
        assert!(used <= limit, "{policy:?}, weight {weight}: {used} bytes");
        assert!(len * 10 >= before * 8, "{policy:?}, weight {weight}: {len} entries, {before} before");
        cache.validate();
    }
}

#[test]
fn the_weigher_is_asked_once_a_write() {
    let _alone = alone();
    let asked = Arc::new(Mutex::new(HashMap::<u32, u32>::new()));
    let count = Arc::clone(&asked);
    let cache: Cache<u32, Weight> = Cache::builder()
        .max_bytes(1 << 16)
        .weigher(move |&key, &weight| {
            *count.lock().unwrap().entry(key).or_default() += 1;
            weight
        })
        .build()
        .unwrap();
    (0..500).for_each(|key| cache.insert(key, 1_000));
    assert!(asked.lock().unwrap().values().all(|&times| times == 1));
    assert_eq!(asked.lock().unwrap().len(), 500);
}

#[test]
fn what_was_evicted_does_not_wait_long_beside_a_busy_thread() {
    let _alone = alone();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        // Inside no cache: it only makes it dear to find that out. (Not for ever, should the test fail.)
        scope.spawn(|| {
            let began = Instant::now();
            while !over.load(Relaxed) && began.elapsed() < Duration::from_secs(20) {
                spin_loop();
            }
        });
        let cache = Cache::new(1_000);
        let value = Arc::new(());
        assert_eq!(cache.get(&0), None, "there has been a reader");
        let most_alive = (0..30_000).map(|key| {
            cache.insert(key, Arc::clone(&value));
            Arc::strong_count(&value) - 1
        });
        let most_alive = most_alive.max();
        over.store(true, Relaxed);
        assert!(most_alive < Some(1_500), "{most_alive:?} values alive of 1,000");
    });
}
