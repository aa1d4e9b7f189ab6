//! What readers and loans keep from being given back, and what that costs: themselves, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use larder::{Policy, Weigh};

use super::{Bytes, COLLECTOR, Meter, POLICIES, SIZES, alone, bytes, cache_of};

/// A value that is counted while it is alive.
struct Tracked {
    alive: Arc<AtomicI64>,
    bytes: Bytes,
}

impl Tracked {
    fn new(alive: &Arc<AtomicI64>, size: u64) -> Self {
        alive.fetch_add(1, Relaxed);
        Self { alive: Arc::clone(alive), bytes: bytes(size) }
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Relaxed);
    }
}

impl Weigh for Tracked {
    fn weigh(&self) -> u64 {
        self.bytes.weigh()
    }
}

#[test]
fn a_ref_keeps_its_value_alive_and_nothing_else() {
    alone(|| {
        let alive = Arc::new(AtomicI64::new(0));
        let before = Meter::start();
        let cache = cache_of(1 << 20, Policy::Lru);
        for key in 0..1_000 {
            cache.insert(key, Tracked::new(&alive, 4 << 10));
        }
        let (key, entry) = (0..1_000).find_map(|key| Some((key, cache.get_ref(&key)?))).unwrap();
        let other = entry.clone();
        cache.insert(key, Tracked::new(&alive, 10));
        for key in 1_000..2_000 {
            cache.insert(key, Tracked::new(&alive, 4 << 10));
        }
        cache.maintain();
        assert_eq!(alive.load(Relaxed), cache.len() as i64 + 1);
        cache.clear();
        cache.maintain();
        assert_eq!(alive.load(Relaxed), 1);
        assert!(before.read() < 64 << 10, "{} bytes are left", before.read());
        let retired = cache.stats().retired_bytes;
        let most = before.read() as u64;
        assert!(
            (4 << 10..(8 << 10).min(most)).contains(&retired),
            "{retired} bytes: the value, and nodes with its own"
        );
        assert_eq!((*entry.key(), entry.bytes.len()), (key, 4 << 10));
        cache.validate();

        drop(entry);
        cache.maintain();
        assert_eq!((alive.load(Relaxed), other.bytes.len()), (1, 4 << 10), "its clone holds it as well");
        drop(other);
        cache.maintain();
        assert_eq!(alive.load(Relaxed), 0);
        assert_eq!(cache.stats().retired_bytes, 0);
        cache.validate();
    });
}

#[test]
fn a_ref_that_is_forgotten_costs_its_entry_until_the_cache_is_dropped() {
    alone(|| {
        let alive = Arc::new(AtomicI64::new(0));
        let before = Meter::start();
        let cache = cache_of(256 << 10, Policy::S3Fifo);
        for key in 0..10 {
            cache.insert(key, Tracked::new(&alive, 1 << 10));
            std::mem::forget(cache.get_ref(&key).unwrap());
        }
        let mut iter = cache.iter();
        assert!(iter.next().is_some());
        std::mem::forget(iter);
        for round in 0..3_000 {
            cache.insert(round % 700, Tracked::new(&alive, 1 << 10));
            let held = before.read();
            assert!(held <= (256 << 10) + COLLECTOR, "{held} bytes after {round} rounds");
        }
        cache.clear();
        cache.maintain();
        assert_eq!(alive.load(Relaxed), 10);
        let retired = cache.stats().retired_bytes;
        // In chunks of 16 nodes at the least.
        assert!((10 << 10..12 << 10).contains(&retired), "{retired} bytes: ten values, and nodes with their own");
        assert!(cache.is_empty());
        cache.validate();

        let empty = Arc::clone(&alive);
        drop((cache, alive));
        assert_eq!(empty.load(Relaxed), 0);
        drop(empty);
        // The iterator is forgotten with what it had read ahead.
        assert!(before.settled() < 1 << 10, "{} bytes are not given back", before.settled());
    });
}

/// Of a chunk of which a node is lent nothing is gained by evicting the others.
#[test]
fn loans_all_over_the_cache_do_not_empty_it() {
    alone(|| {
        for policy in POLICIES {
            let cache = cache_of(1 << 20, policy);
            (0..14_000).for_each(|key| cache.insert(key, bytes(0)));
            let loans: Vec<_> = cache.iter().step_by(14).collect();
            assert!(loans.len() > 800);
            (0..3_000).for_each(|key| {
                cache.insert(key + (1 << 40), bytes(1_000));
                assert!(cache.len() >= 100, "{policy:?}: {} entries after {key}", cache.len());
            });
            drop(loans);
            (0..3_000).for_each(|key| cache.insert(key + (2 << 40), bytes(1_000)));
            assert!(cache.len() >= 700, "{policy:?}: {} entries when the loans have ended", cache.len());
            cache.validate();
        }
    });
}

/// What is retired beside a reader is not paid for by the living, and is given back when the reader has left.
#[test]
fn what_is_put_in_beside_a_reader() {
    alone(|| {
        for (max_bytes, policy) in SIZES.into_iter().flat_map(|size| POLICIES.map(|policy| (size, policy))) {
            for size in [0, 50, 1_000] {
                let case = (max_bytes, policy, size);
                let meter = Meter::start();
                let cache = cache_of(max_bytes, policy);
                let fit = max_bytes / (size + 64);
                (0..fit * 2).for_each(|key| cache.insert(key, bytes(size)));
                cache.insert(u64::MAX, bytes(size));
                let before = cache.len();
                let inserted =
                    cache.read(&u64::MAX, |_| (0..fit).for_each(|key| cache.insert(key + (1 << 40), bytes(size))));
                assert!(inserted.is_some(), "{case:?}");
                let (after, stats) = (cache.len(), cache.stats());
                assert!(after >= before / 10 * 9, "{case:?}: {before} entries before, {after} after");
                let living = stats.bytes - stats.retired_bytes;
                assert!(living <= max_bytes, "{case:?}: {living} bytes but for those that wait; {stats:?}");

                cache.insert(0, bytes(size));
                let over = meter.read() - max_bytes as i64;
                assert!(over <= COLLECTOR, "{case:?}: {over} bytes over after the reader has left");
                cache.validate();

                // And then there is room for as many of any size as ever.
                for next in [1_000, 50].into_iter().filter(|_| max_bytes <= 1 << 20) {
                    (0..max_bytes / (next + 64) * 2).for_each(|key| cache.insert(key + (2 << 40), bytes(next)));
                    let used = cache.used_bytes();
                    assert!((max_bytes / 10 * 9..=max_bytes).contains(&used), "{case:?}, then {next}: {used} bytes");
                }
                cache.validate();
            }
        }
    });
}

/// Though nothing is written any more.
#[test]
fn when_a_reader_has_left_maintain_is_enough_for_the_limit_to_hold() {
    alone(|| {
        let cases = POLICIES.into_iter().flat_map(|policy| [24 << 10, 64 << 10, 128 << 10].map(|max| (policy, max)));
        for (policy, max_bytes) in cases {
            for size in [0, 50, 400, 1_000] {
                let cache = cache_of(max_bytes, policy);
                (0..max_bytes / 16).for_each(|key| cache.insert(key, bytes(size)));
                cache.insert(u64::MAX, bytes(size));
                let before = cache.len();
                cache.read(&u64::MAX, |_| (0..3_000).for_each(|key| cache.insert(key + (1 << 40), bytes(size))));
                cache.maintain();
                let (used, after) = (cache.used_bytes(), cache.len());
                assert!(used <= max_bytes, "{policy:?}, {max_bytes}, {size}: {used} bytes");
                assert_eq!(cache.stats().retired_bytes, 0, "{policy:?}, {max_bytes}, {size}");
                assert!(after >= before / 4, "{policy:?}, {max_bytes}, {size}: {before} entries before, {after} after");
                cache.validate();
            }
        }
    });
}

/// What the reader holds up is not to be had by evicting others, whatever the limit becomes.
#[test]
fn another_limit_beside_a_reader_costs_no_more_than_its_share() {
    alone(|| {
        // What the reader holds up is there before the limit is lowered, or comes of that.
        let cases = POLICIES.into_iter().flat_map(|policy| [0, 50, 1_000].map(|size| (policy, size)));
        for (policy, size, is_held_up) in
            cases.flat_map(|(policy, size)| [true, false].map(|held| (policy, size, held)))
        {
            let case = (policy, size, is_held_up);
            let max_bytes = 1 << 20;
            let cache = cache_of(max_bytes, policy);
            let fill = || (0..max_bytes * 12 / (size + 64)).for_each(|key| cache.insert(key, bytes(size)));
            if !is_held_up {
                fill();
            }
            cache.insert(u64::MAX, bytes(0));
            cache.read(&u64::MAX, |_| {
                if is_held_up {
                    fill();
                }
                let before = cache.len();
                assert!(before as u64 >= max_bytes / (size + 100) * 9 / 10, "{case:?}: {before} entries");
                cache.set_max_bytes(max_bytes + max_bytes / 10).unwrap();
                assert_eq!(cache.len(), before, "{case:?}");
                cache.set_max_bytes(max_bytes / 10 * 9).unwrap();
                let after = cache.len();
                assert!((before / 10 * 8..before).contains(&after), "{case:?}: {before} entries before, {after} after");
            });
            cache.validate();
            cache.insert(0, bytes(size));
            assert!(cache.used_bytes() <= max_bytes / 10 * 9, "{case:?}: {} bytes", cache.used_bytes());
        }
    });
}

/// An entry goes for the bytes behind others, not one after the other since its place does not become free.
#[test]
fn values_that_become_larger_beside_a_reader_cost_what_they_weigh() {
    alone(|| {
        for (max_bytes, policy) in
            [256 << 10, 1 << 20].into_iter().flat_map(|size| POLICIES.map(|policy| (size, policy)))
        {
            let cache = cache_of(max_bytes, policy);
            (0..max_bytes / 32).for_each(|key| cache.insert(key, bytes(0)));
            cache.insert(u64::MAX, bytes(0));
            let large = max_bytes / 500;
            let counts = cache.read(&u64::MAX, |_| {
                [large / 2, large, large * 2].map(|end| {
                    (0..end).for_each(|key| cache.insert(key + (1 << 40), bytes(250)));
                    cache.len() as u64
                })
            });
            let Some(counts) = counts else { panic!("{max_bytes}, {policy:?}: the first entry has gone") };
            // With a node's some 70 bytes each, and tables and rings as long as they were for many more.
            let least = max_bytes / 800;
            assert!(counts.iter().all(|&count| count >= least), "{max_bytes}, {policy:?}: {counts:?} of {least}");
            let stats = cache.stats();
            assert!(stats.bytes - stats.retired_bytes <= max_bytes, "{max_bytes}, {policy:?}: {stats:?}");
            cache.validate();
        }
    });
}

/// What a reader kept from use is in use again when it has left, whatever comes then.
#[test]
fn values_that_become_smaller_after_a_reader_has_left_fill_the_cache() {
    alone(|| {
        for updates in [30, 300, 3_000] {
            for policy in POLICIES {
                let cache = cache_of(1 << 20, policy);
                (0..400).for_each(|key| cache.insert(key, bytes(8 << 10)));
                cache.insert(u64::MAX, bytes(8));
                let update = |key: u64| cache.insert(key % 50 + (1 << 40), bytes(8));
                cache.read(&u64::MAX, |_| (0..updates).for_each(update));
                (0..30_000).for_each(|key| cache.insert(key + (2 << 40), bytes(16)));
                let used = cache.used_bytes();
                assert!(used >= (1 << 20) / 10 * 9, "{updates}, {policy:?}: {used} bytes, {} entries", cache.len());
                cache.validate();
            }
        }
    });
}
