//! Settings that can't be, each with its own error that says the numbers.
//!
//! Knows the builder, and of the caches that it makes that they work.

use std::hash::BuildHasher;
use std::time::Duration;

use larder::{BuildError, Cache};

#[track_caller]
fn refuses<S: BuildHasher>(built: Result<Cache<u32, u32, S>, BuildError>, expected: BuildError, says: &[&str]) {
    let error = built.map(|_| ()).unwrap_err();
    assert_eq!(error, expected);
    let text = error.to_string();
    assert!(says.iter().all(|part| text.contains(part)), "{text}");
    assert!(std::error::Error::source(&error).is_none());
}

#[test]
fn a_cache_needs_one_limit() {
    let builder = Cache::<u32, u32>::builder;
    refuses(builder().build(), BuildError::NoLimit, &["max_entries", "max_bytes"]);
    refuses(builder().max_entries(1).max_bytes(1 << 20).build(), BuildError::TwoLimits, &["max_entries", "max_bytes"]);
    refuses(builder().max_bytes(1 << 20).max_entries(1).build(), BuildError::TwoLimits, &["not both"]);
    refuses(builder().max_entries(0).build(), BuildError::ZeroEntries, &["0"]);
    let weigher = |_: &u32, _: &u32| 1;
    refuses(builder().max_entries(5).weigher(weigher).build(), BuildError::WeigherWithoutBytes, &["max_bytes"]);
    refuses(builder().weigher(weigher).max_entries(5).build(), BuildError::WeigherWithoutBytes, &["weigher"]);
}

#[test]
fn limits_too_high_or_too_low_are_named_with_the_bound() {
    let builder = Cache::<u32, u32>::builder;
    let given = usize::MAX;
    let error = builder().max_entries(given).stripes(1).build().unwrap_err();
    let BuildError::TooManyEntries { max, .. } = error else { panic!("{error:?}") };
    let says = [&given.to_string()[..], &max.to_string()];
    let expected = BuildError::TooManyEntries { given, max };
    refuses(builder().max_entries(given).stripes(1).build(), expected.clone(), &says);
    refuses(builder().max_bytes(1 << 30).initial_entries(given).stripes(1).build(), expected, &says);

    let expected = BuildError::InitialAboveMax { initial: 11, max: 10 };
    refuses(builder().max_entries(10).initial_entries(11).build(), expected, &["11", "10"]);
    assert!(builder().max_entries(10).initial_entries(10).build().is_ok());

    for (given, stripes) in [(100, 1), (100, 64), (0, 1)] {
        let error = builder().max_bytes(given).stripes(stripes).build().unwrap_err();
        let BuildError::TooFewBytes { min, .. } = error else { panic!("{error:?}") };
        let says = [&given.to_string()[..], &min.to_string()];
        refuses(builder().max_bytes(given).stripes(stripes).build(), BuildError::TooFewBytes { given, min }, &says);
        let expected = BuildError::TooFewBytes { given: min - 1, min };
        refuses(builder().max_bytes(min - 1).stripes(stripes).build(), expected, &[]);
        let cache = builder().max_bytes(min).stripes(stripes).build().unwrap();
        cache.insert(1, 1);
        assert_eq!(cache.get(&1), Some(1), "with the least of bytes, {min}");
    }

    for stripes in [1, 4, 1 << 16] {
        let error = builder().max_bytes(u64::MAX).stripes(stripes).build().unwrap_err();
        let BuildError::TooManyBytes { max, .. } = error else { panic!("{error:?}") };
        let says = [&max.to_string()[..]];
        let given = max + 1;
        refuses(builder().max_bytes(given).stripes(stripes).build(), BuildError::TooManyBytes { given, max }, &says);
        if stripes <= 4 {
            assert!(builder().max_bytes(max).stripes(stripes).build().is_ok());
        }
    }
}

#[test]
fn stripes_and_times_have_bounds() {
    let builder = || Cache::<u32, u32>::builder().max_entries(10);
    for given in [0, (1 << 16) + 1, usize::MAX] {
        let max = 1 << 16;
        let expected = BuildError::Stripes { given, max };
        refuses(builder().stripes(given).build(), expected, &[&given.to_string(), &max.to_string()]);
    }
    assert!(builder().stripes(3).build().is_ok());
    refuses(builder().time_to_live(Duration::ZERO).build(), BuildError::ZeroTimeToLive, &["time_to_live", "zero"]);
    refuses(builder().time_to_idle(Duration::ZERO).build(), BuildError::ZeroTimeToIdle, &["time_to_idle", "zero"]);
    assert!(builder().time_to_live(Duration::MAX).time_to_idle(Duration::MAX).build().is_ok());
}

#[test]
fn new_takes_any_number() {
    let cache = Cache::new(0);
    cache.insert_many([(1, 1), (2, 2)]);
    assert_eq!((cache.len(), cache.get(&2)), (1, Some(2)));
    let cache = Cache::new(usize::MAX);
    cache.insert_many([(1, 1), (2, 2)]);
    assert_eq!(cache.len(), 2);
}

/// Values that lie in their nodes, of which a stripe has a few at the least.
#[test]
fn large_values_in_their_nodes_get_fewer_stripes_and_the_bound_of_the_error_is_enough() {
    fn build<const N: usize>(max_bytes: u64) -> Result<Cache<u32, [u8; N]>, BuildError> {
        Cache::builder().max_bytes(max_bytes).build()
    }

    fn is_enough<const N: usize>(max_bytes: u64) {
        let cache = match build::<N>(max_bytes) {
            Err(BuildError::TooFewBytes { min, .. }) => build::<N>(min),
            built => built,
        };
        let cache = cache.unwrap_or_else(|error| panic!("{N} in {max_bytes}: {error}"));
        cache.validate();
    }

    for max_bytes in [1 << 20, 2 << 20, 8 << 20, 64 << 20, 1 << 30] {
        is_enough::<4_096>(max_bytes);
        is_enough::<16_384>(max_bytes);
        is_enough::<65_536>(max_bytes);
        is_enough::<262_144>(max_bytes);
    }
    assert!(build::<16_384>(1 << 20).is_ok());
}

#[test]
fn more_initial_entries_than_can_fit_cost_no_more_than_what_can() {
    let cache: Cache<u32, u32> = Cache::builder().max_bytes(1 << 20).initial_entries(100_000_000).build().unwrap();
    assert!(cache.used_bytes() <= (1 << 20) / 2, "{} bytes", cache.used_bytes());
    (0..100_000).for_each(|key| cache.insert(key, key));
    assert!((900 << 10..=1 << 20).contains(&cache.used_bytes()), "{} bytes", cache.used_bytes());
    cache.validate();
}
