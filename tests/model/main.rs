//! Random operations on a cache and on a naive model of it, a list of entries in the order of use.
//!
//! Knows the public calls, what their documentation promises, and `validate()`; nothing of how the cache does it. The
//! model says what every call has to answer. Which entries leave the cache by themselves it learns from the listener,
//! and judges: each was in there, had this value, and had cause to go. Where the order of use is exact (up to 64
//! entries) it also says which.
//!
//! `LARDER_SEEDS=n` runs so many seeds of each test instead of a few; `LARDER_SEED=n` runs just that one. What fails
//! prints its seed and the last steps.

mod naive;
mod run;
mod subject;

use std::sync::Mutex;

use larder::{BuildError, Cache, Change, Policy};

use crate::run::Run;
use crate::subject::{Config, Limit, Outside, Rng, build, lock};

/// One test at a time: what a thread has displaced is dropped only when no thread is inside any cache.
static ALONE: Mutex<()> = Mutex::new(());

fn seeds(count: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().map(|value| value.parse().expect("a number"));
    match number("LARDER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("LARDER_SEEDS").unwrap_or(count),
    }
}

/// Runs a few seeds, each with settings of its own.
fn check(count: u64, configure: impl Fn(&mut Rng) -> Config) {
    let _alone = lock(&ALONE);
    for seed in seeds(count) {
        let mut rng = Rng::new(seed);
        let mut config = configure(&mut rng);
        let outside = Outside::default();
        let mut built = build(&config, &outside);
        if let Err(BuildError::TooFewBytes { min, .. }) = built {
            config.limit = Limit::Bytes(min);
            built = build(&config, &outside);
        }
        let cache = built.unwrap_or_else(|error| panic!("seed {seed}: {config:?}: {error}"));
        let mut run = Run::new(&cache, seed, rng, &config, outside.clone());
        run.check();
        if config.filled {
            run.fill();
        }
        for _ in 0..config.steps {
            run.step();
        }
        drop(run);
        drop(cache);
        assert_eq!(outside.census.all(), [], "seed {seed}: alive after the cache was dropped");
    }
}

fn policy(rng: &mut Rng) -> Policy {
    rng.pick(&[Policy::Lru, Policy::S3Fifo])
}

#[test]
fn up_to_64_entries_in_exact_order() {
    check(30, |rng| {
        let most = rng.pick(&[4, 64]);
        let limit = 1 + rng.below(most);
        let ids = 1 + rng.below(3 * limit);
        Config { steps: 1_000, ..Config::random(rng, Policy::Lru, Limit::Entries(limit as usize), ids as u32) }
    });
}

#[test]
fn hundreds_of_entries() {
    check(15, |rng| {
        let (policy, limit) = (policy(rng), 1 + rng.below(400));
        let ids = 1 + rng.below(3 * limit);
        let stripes = rng.pick(&[None, Some(1), Some(4), Some(64)]);
        Config { stripes, ..Config::random(rng, policy, Limit::Entries(limit as usize), ids as u32) }
    });
}

#[test]
fn thousands_of_entries() {
    check(2, |rng| {
        let (policy, limit) = (policy(rng), 1_500 + rng.below(3_000));
        let common = Config::random(rng, policy, Limit::Entries(limit as usize), 2 * limit as u32);
        Config { filled: true, steps: 100, ..common }
    });
}

#[test]
fn kilobytes() {
    check(30, |rng| {
        let (policy, limit) = (policy(rng), 4_096 << rng.below(8));
        let stripes = rng.pick(&[None, Some(1), Some(4)]);
        let most = rng.pick(&[30, 300, 3_000]);
        let weight = 1 + rng.below(most);
        let ids = (2 * limit / (weight / 2 + 60)).clamp(4, 1_500);
        Config { stripes, weight, ..Config::random(rng, policy, Limit::Bytes(limit), ids as u32) }
    });
}

#[test]
fn gigabytes_of_claimed_weight() {
    // The 49th has an entry that all others have to go for, and most of them are in the other queue.
    check(50, |rng| {
        let policy = policy(rng);
        let stripes = Some(rng.pick(&[4, 8]));
        Config { stripes, weight: 10 << 30, ..Config::random(rng, policy, Limit::Bytes(100 << 30), 60) }
    });
}

#[test]
#[should_panic(expected = "not equal")]
fn compute_puts_the_key_that_was_asked_for() {
    let _alone = lock(&ALONE);
    let cache = Cache::<u32, u32>::new(10);
    cache.compute(&1, |_| Change::Put(2, 2));
}
