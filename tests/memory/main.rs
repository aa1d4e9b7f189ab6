//! What a cache that is limited by bytes really takes, by the count of an allocator that sees every byte.
//!
//! Knows the public calls only. Each test has the collector of retired memory, which all caches of a program
//! share, to itself: one at a time, in a thread of its own, and only what that thread allocates is counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Debug;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use larder::{BuildError, Cache, PackedCache, Policy, Weigh};

#[path = "../packed/codecs.rs"]
mod codecs;
mod readers;

/// The system's allocator, which also counts what the running thread has in use.
struct Counting;

thread_local! {
    static IN_USE: Cell<i64> = const { Cell::new(0) };
}

fn count(bytes: i64) {
    IN_USE.with(|in_use| in_use.set(in_use.get() + bytes));
}

// SAFETY: every call is passed on to `System` as it is. The counter allocates nothing: it is
// initialized at compile time and needs no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise for `layout` is the one that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: `memory` came from `System` with this layout, as `alloc` passed it on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the collector, which all caches share, may have in use besides: a few blocks of its queue, of 2 KiB each.
const COLLECTOR: i64 = 12 << 10;

const SIZES: [u64; 3] = [256 << 10, 1 << 20, 16 << 20];
/// Some that are no power of two: chunks of nodes and tables are of other lengths then.
const LIMITS: [u64; 4] = [100_000, 166_912, 525_312, 1_000_000];
const POLICIES: [Policy; 2] = [Policy::Lru, Policy::S3Fifo];

/// The same in every run, so that a failure is not a matter of luck.
type Fixed = BuildHasherDefault<DefaultHasher>;

type Bytes = Vec<u8>;

fn bytes(len: u64) -> Bytes {
    vec![1; len as usize]
}

/// Runs a test alone, in a thread that has ended with all it registered before the next one begins.
fn alone(test: impl FnOnce() + Send) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let ended = thread::scope(|scope| scope.spawn(test).join());
    ended.unwrap_or_else(|panic| resume_unwind(panic));
}

/// How much more is in use than at the beginning.
struct Meter {
    /// Keeps the collector going.
    pump: Cache<u64, u64>,
    start: i64,
}

impl Meter {
    fn start() -> Self {
        let mut meter = Self { pump: Cache::new(1), start: 0 };
        // The first time round some memory comes that stays.
        meter.settled();
        meter.start = meter.settled();
        meter
    }

    fn read(&self) -> i64 {
        IN_USE.get() - self.start
    }

    /// What is in use but for what comes and goes: the collector's own blocks go round its queue as well, so that
    /// it has now one and now another number of them.
    fn settled(&self) -> i64 {
        let rounds = (0..256).map(|round| {
            self.pump.insert(0, round);
            // A thread's first look-up registers it.
            self.pump.get(&0);
            self.pump.maintain();
            self.read()
        });
        rounds.min().expect("there are rounds")
    }
}

/// Splitmix.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(mixed ^ (mixed >> 31)) * u128::from(end)) >> 64) as u64
    }
}

fn cache_of<V: Weigh>(max_bytes: u64, policy: Policy) -> Cache<u64, V, Fixed> {
    Cache::builder().max_bytes(max_bytes).policy(policy).hasher(Fixed::default()).build().unwrap()
}

fn percent(part: i64, whole: i64) -> f64 {
    part as f64 * 100.0 / whole as f64
}

#[track_caller]
fn assert_counted(used: u64, max_bytes: u64, meter: &Meter, of: &dyn Debug) {
    let held = meter.read();
    let off = held - used as i64;
    assert!(
        off.abs() <= max_bytes as i64 * 3 / 100 + COLLECTOR,
        "{of:?}: used_bytes() is {used}, the allocator says {held}"
    );
}

/// One load on one cache: random keys, values made by `make` of the step, which is at most `largest` bytes each.
struct Load<'a, V> {
    name: &'a str,
    max_bytes: u64,
    policy: Policy,
    keys: u64,
    steps: u64,
    largest: u64,
    make: &'a dyn Fn(&mut Random, u64) -> V,
}

impl<V: Weigh> Load<'_, V> {
    fn run(&self) {
        let case = (self.name, self.max_bytes, self.policy);
        let before = Meter::start();
        let cache = cache_of(self.max_bytes, self.policy);
        cache.maintain();
        let empty = before.read();
        self.fill(&cache, &before);

        let stats = cache.stats();
        assert!(stats.evictions > 0, "{case:?}: full");
        assert_eq!(stats.rejected, 0, "{case:?}: everything fits in by itself");
        let unused = self.max_bytes as i64 - before.read();
        // There may be room for all but the next value.
        let granted = (self.max_bytes / 10 + self.largest) as i64;
        assert!(unused <= granted, "{case:?}: {} % are not used", percent(unused, self.max_bytes as i64));

        cache.validate();
        cache.maintain();
        assert_eq!(cache.stats().retired_bytes, 0, "{case:?}: retired after maintain()");
        assert_counted(cache.used_bytes(), self.max_bytes, &before, &case);
        cache.validate();

        cache.clear();
        cache.maintain();
        let left = before.read();
        let near = empty + self.max_bytes as i64 / 20 + COLLECTOR;
        assert!(left <= near, "{case:?}: {left} bytes are left after clear() and maintain(), {empty} when it was new");
        assert_counted(cache.used_bytes(), self.max_bytes, &before, &case);
        cache.validate();

        drop(cache);
        assert_eq!(before.settled(), 0, "{case:?}: given back");
    }

    fn fill(&self, cache: &Cache<u64, V, Fixed>, before: &Meter) {
        let mut random = Random(self.max_bytes);
        for step in 0..self.steps {
            let key = random.below(self.keys);
            if random.below(2) == 0 {
                cache.read(&key, |_| ());
            }
            let value = (self.make)(&mut random, step);
            cache.insert(key, value);
            let held = before.read();
            let over = held - self.max_bytes as i64;
            assert!(
                over <= COLLECTOR,
                "{}, {:?}, {}: {over} bytes over the limit after {step} inserts; used_bytes() is {}, {} of it retired",
                self.name,
                self.policy,
                self.max_bytes,
                cache.used_bytes(),
                cache.stats().retired_bytes,
            );
        }
    }
}

/// Values of one size.
fn uniform(size: u64) {
    alone(|| {
        for max_bytes in SIZES {
            for policy in POLICIES {
                let fit = max_bytes / (size + 64) + 1;
                let make = |_: &mut Random, _| bytes(size);
                Load {
                    name: "uniform",
                    max_bytes,
                    policy,
                    keys: 4 * fit,
                    steps: fit * 3 / 2,
                    largest: size,
                    make: &make,
                }
                .run();
            }
        }
    });
}

#[test]
fn a_full_cache_of_numbers() {
    alone(|| {
        for max_bytes in SIZES {
            for policy in POLICIES {
                let fit = max_bytes / 56;
                let make = |_: &mut Random, step| step;
                Load { name: "numbers", max_bytes, policy, keys: 4 * fit, steps: fit * 3 / 2, largest: 0, make: &make }
                    .run();
            }
        }
    });
}

#[test]
fn a_full_cache_of_numbers_that_are_loaded_anew() {
    alone(|| {
        for policy in POLICIES {
            let before = Meter::start();
            let max_bytes = 4 << 20;
            let build = Cache::builder().max_bytes(max_bytes).policy(policy).refresh_after(Duration::from_secs(60));
            let cache: Cache<u64, u64, Fixed> = build.hasher(Fixed::default()).build().unwrap();
            for key in 0..max_bytes / 50 {
                cache.insert(key, key);
                let over = before.read() - max_bytes as i64;
                assert!(over <= COLLECTOR, "{policy:?}: {over} bytes over the limit after {key} inserts");
            }
            assert!(cache.stats().evictions > 0, "{policy:?}: full");
            cache.maintain();
            assert_counted(cache.used_bytes(), max_bytes, &before, &policy);
            cache.validate();
            cache.retain(|key, _| key % 100 == 0);
            cache.maintain();
            assert_counted(cache.used_bytes(), max_bytes, &before, &policy);
            cache.validate();
            drop(cache);
            assert_eq!(before.settled(), 0, "{policy:?}: given back");
        }
    });
}

#[test]
fn a_full_cache_of_100_bytes_each() {
    uniform(100);
}

#[test]
fn a_full_cache_of_4_kib_each() {
    uniform(4 << 10);
}

#[test]
fn a_full_cache_of_100_kib_each() {
    uniform(100 << 10);
}

#[test]
fn a_full_cache_of_mixed_sizes() {
    alone(|| {
        for max_bytes in SIZES {
            for policy in POLICIES {
                // Many small ones, few large ones.
                let make = |random: &mut Random, _| {
                    let most = 1 << random.below(16);
                    let size = random.below(most);
                    bytes(size)
                };
                let fit = max_bytes / 4_000;
                Load {
                    name: "mixed",
                    max_bytes,
                    policy,
                    keys: 4 * fit,
                    steps: 6 * fit,
                    largest: 32 << 10,
                    make: &make,
                }
                .run();
            }
        }
    });
}

/// Nodes are given back by the chunk, and for that those go that are the least of a loss.
#[test]
fn larger_values_take_the_place_of_smaller_ones_a_few_at_a_time() {
    alone(|| {
        for (policy, max_bytes) in POLICIES.into_iter().flat_map(|policy| LIMITS.map(|limit| (policy, limit))) {
            let cache = cache_of(max_bytes, policy);
            let small = max_bytes / 20;
            (0..small).for_each(|key| cache.insert(key, bytes(0)));
            let mut before = cache.used_bytes();
            for key in 0..max_bytes / 500 {
                cache.insert(small + key, bytes(1_000));
                let used = cache.used_bytes();
                let case = format!("{policy:?}, insert {key}: {used} of {max_bytes} bytes, {before} before");
                assert!(used <= max_bytes && before <= used + max_bytes / 6, "{case}");
                before = used;
            }
            assert!(before >= max_bytes / 10 * 9, "{policy:?}: {before} of {max_bytes} bytes in the end");
        }
    });
}

/// What leaves frees nothing here but nodes, which stay for others; and what is noted of them takes no memory.
#[test]
fn what_leaves_a_full_cache_does_not_take_it_above_its_limit() {
    type Way = fn(&Cache<u64, (), Fixed>);
    let ways: [(&str, Way); 4] = [
        ("clear", |cache| cache.clear()),
        ("retain", |cache| cache.retain(|key, ()| key % 3 == 0)),
        ("one after the other", |cache| (0..40_000).for_each(|key| _ = cache.remove(&key))),
        ("expired", |cache| {
            (0..20_000).for_each(|key| _ = cache.touch(&key, Duration::from_nanos(1)));
            (40_000..40_010).for_each(|key| cache.insert(key, ()));
        }),
    ];
    alone(|| {
        for max_bytes in [15_000, 16_000, 30_000].into_iter().chain(LIMITS) {
            for policy in POLICIES {
                for (name, take_out) in ways {
                    let cache = cache_of(max_bytes, policy);
                    (0..40_000).for_each(|key| cache.insert(key, ()));
                    take_out(&cache);
                    let used = cache.used_bytes();
                    assert!(used <= max_bytes, "{name}, {policy:?}: {used} of {max_bytes} bytes");
                    cache.validate();
                }
            }
        }
    });
}

/// Also where the limit is just too low for the next larger table, or for another chunk of nodes.
#[test]
fn of_whatever_limit_nine_tenths_are_used_all_the_time() {
    alone(|| {
        for policy in POLICIES {
            for size in [0, 8, 30, 250, 1000] {
                let limits = std::iter::successors(Some(40 * size.max(500)), |limit| Some(limit * 23 / 20));
                for max_bytes in limits.take_while(|&limit| limit < 1 << 20) {
                    let cache = cache_of(max_bytes, policy);
                    let fit = max_bytes / (size + 64) + 1;
                    for key in 0..3 * fit {
                        cache.insert(key, bytes(size));
                        let used = cache.used_bytes();
                        assert!(
                            key < 2 * fit || used + size >= max_bytes * 9 / 10,
                            "{policy:?}, {size} bytes each: {used} of {max_bytes} used after {key} inserts"
                        );
                    }
                    assert!(cache.stats().evictions > 0, "{policy:?}, {size} bytes each: {max_bytes} are full");
                }
            }
        }
    });
}

/// What comes in is much smaller, then much larger than what is there.
#[test]
fn a_full_cache_while_sizes_shift() {
    alone(|| {
        for max_bytes in SIZES {
            for policy in POLICIES {
                let sizes = [0, 100 << 10, 100, 4 << 10, 0, 4 << 10, 100 << 10, 30];
                // In the largest cache a round takes long, and two of them show what the others do.
                let stride = if max_bytes > 1 << 20 { 5 } else { 1 };
                for first in (0..sizes.len()).step_by(stride) {
                    let phase = (max_bytes / 40).min(100_000);
                    let make = |random: &mut Random, step| {
                        let size = sizes[(first + (step / phase) as usize) % sizes.len()];
                        bytes(random.below(size + 1))
                    };
                    let (keys, steps) = (max_bytes / 20, phase * 3);
                    Load { name: "shifting", max_bytes, policy, keys, steps, largest: 100 << 10, make: &make }.run();
                }
            }
        }
    });
}

/// Where entries become larger, and fewer, nodes that lie between those in use are no good to anyone. `S3Fifo` keeps old
/// entries as long as the new ones are not used.
#[test]
fn a_cache_whose_entries_become_larger_has_room_for_as_many_as_a_new_one() {
    alone(|| {
        for max_bytes in [64 << 10, 256 << 10, 1 << 20] {
            let fill = |cache: &Cache<u64, Bytes, Fixed>, size| {
                (0..max_bytes / (size + 64) * 2).for_each(|key| cache.insert(key, bytes(size)));
                assert!(cache.used_bytes() <= max_bytes);
                cache.validate();
                cache.len()
            };
            let cache = cache_of(max_bytes, Policy::Lru);
            fill(&cache, 0);
            for size in [200, 1_000, 5_000] {
                let (shifted, new) = (fill(&cache, size), fill(&cache_of(max_bytes, Policy::Lru), size));
                assert!(shifted >= new * 4 / 5, "{max_bytes}, {size} each: {shifted} entries, {new} in a new cache");
            }
        }
    });
}

#[test]
fn a_lower_limit_gives_memory_back() {
    alone(|| {
        for policy in POLICIES {
            for size in [0, 100, 4 << 10, 100 << 10] {
                let before = Meter::start();
                let cache = cache_of(16 << 20, policy);
                let fit = (16 << 20) / (size + 64);
                for key in 0..fit * 2 {
                    cache.insert(key, bytes(size));
                }
                for max_bytes in [8 << 20, 1 << 20] {
                    let case = (policy, size, max_bytes);
                    cache.set_max_bytes(max_bytes).unwrap_or_else(|error| panic!("{case:?}: {error}"));
                    let held = before.read();
                    assert!(held <= max_bytes as i64 + COLLECTOR, "{case:?}: {held} bytes");
                    assert_counted(cache.used_bytes(), max_bytes, &before, &case);
                    cache.validate();
                }
                let entries = cache.len() as u64;
                let some = (1 << 20) / (size + 64) / 2;
                assert!(entries >= some, "{policy:?}: {entries} entries of {size} bytes are left");
            }
        }
    });
}

/// Also where the nodes that there are take more than the new limit, or nearly as much.
#[test]
fn a_much_lower_limit_is_used() {
    alone(|| {
        for (policy, size) in POLICIES.into_iter().flat_map(|policy| [350, 600, 700].map(|size| (policy, size))) {
            for part in [2, 4, 6, 8, 10, 16] {
                let cache = cache_of(16 << 20, policy);
                (0..(16 << 20) / size).for_each(|key| cache.insert(key, bytes(size)));
                cache.set_max_bytes((16 << 20) / part).unwrap();
                let (used, max_bytes) = (cache.used_bytes(), (16 << 20) / part);
                let case = (policy, size, part);
                assert!((max_bytes / 10 * 8..=max_bytes).contains(&used), "{case:?}: {used} bytes of {max_bytes}");
            }
        }
    });
}

#[test]
fn a_higher_limit_is_used() {
    alone(|| {
        let before = Meter::start();
        let cache = cache_of(256 << 10, Policy::Lru);
        for max_bytes in [256 << 10, 1 << 20, 2 << 20_i64] {
            cache.set_max_bytes(max_bytes as u64).unwrap();
            for key in 0..3_000 {
                cache.insert(key, bytes(1 << 10));
                assert!(before.read() <= max_bytes + COLLECTOR);
            }
            assert!(before.read() >= max_bytes / 10 * 9, "{} of {max_bytes}", before.read());
        }
        let refused = cache.set_max_bytes(1);
        assert!(matches!(refused, Err(BuildError::TooFewBytes { given: 1, .. })), "{refused:?}");
        cache.validate();
    });
}

#[test]
fn an_entry_of_almost_the_whole_limit_fits_in_whatever_was_there() {
    alone(|| {
        for max_bytes in SIZES {
            for small in [0, 100, 4 << 10] {
                let before = Meter::start();
                let cache = cache_of(max_bytes, Policy::Lru);
                for key in 0..max_bytes / (small + 64) * 2 {
                    cache.insert(key, bytes(small));
                }
                let large = max_bytes / 10 * 8;
                let put = cache.try_insert(u64::MAX, bytes(large));
                assert!(put.is_ok(), "{max_bytes} after {small} bytes each: {put:?}");
                assert_eq!(
                    cache.read(&u64::MAX, Vec::len),
                    Some(large as usize),
                    "{max_bytes} after {small} bytes each"
                );
                let held = before.read();
                assert!(held <= max_bytes as i64 + COLLECTOR, "{max_bytes} after {small} bytes each: {held}");
                cache.validate();
            }
        }
    });
}

#[test]
fn an_entry_larger_than_the_limit_costs_nothing() {
    alone(|| {
        let before = Meter::start();
        let cache = cache_of(256 << 10, Policy::Lru);
        for key in 0..300 {
            cache.insert(key, bytes(1 << 10));
        }
        for key in 250..300 {
            let refused = cache.try_insert(key, bytes(300 << 10)).unwrap_err();
            assert_eq!((refused.key, refused.value.len()), (key, 300 << 10));
            assert!(refused.weight >= 300 << 10 && refused.max < 256 << 10);
            assert!(!cache.contains_key(&key), "what was to be replaced is gone");
            drop(refused);
            assert!(before.read() <= (256 << 10) + COLLECTOR);
        }
        cache.validate();
    });
}

/// Expired entries are not just hidden.
#[test]
fn what_has_expired_is_given_back() {
    alone(|| {
        let clock = larder::ManualClock::new();
        let before = Meter::start();
        let build = Cache::builder().max_bytes(4 << 20).time_to_live(Duration::from_secs(60)).clock(clock.clone());
        let cache: Cache<u64, Bytes> = build.build().unwrap();
        for key in 0..3_000 {
            cache.insert(key, bytes(1 << 10));
        }
        assert!(before.read() > 3 << 20);
        assert_counted(cache.used_bytes(), 4 << 20, &before, &"timed");
        clock.advance(Duration::from_secs(61));
        for key in 10_000..11_000 {
            cache.insert(key, bytes(10));
        }
        assert!(before.read() < 1 << 20, "{} bytes after as many writes as it takes", before.read());
        clock.advance(Duration::from_secs(61));
        cache.maintain();
        assert_eq!((cache.len(), cache.stats().retired_bytes), (0, 0));
        cache.validate();
    });
}

/// The bytes per entry of a cache of a million, keys and values of 8 bytes each included.
fn bytes_per_entry(policy: Policy, ttl: Option<Duration>) -> f64 {
    const ENTRIES: u64 = 1_000_000;
    let before = Meter::start();
    let build = Cache::builder().max_entries(ENTRIES as usize).policy(policy).hasher(Fixed::default());
    let cache: Cache<u64, u64, Fixed> = build.build().unwrap();
    // More than fit: every queue and ghost is in use.
    for key in 0..ENTRIES + ENTRIES / 16 {
        match ttl {
            Some(ttl) => cache.insert_with_ttl(key, key, ttl),
            None => cache.insert(key, key),
        }
    }
    assert_eq!(cache.len() as u64, ENTRIES);
    let per_entry = before.read() as f64 / ENTRIES as f64;
    let counted = cache.used_bytes() as f64 / ENTRIES as f64;
    let off = (per_entry - counted).abs() / per_entry;
    assert!(off < 0.1, "used_bytes() says {counted:.1} bytes per entry, the allocator {per_entry:.1}");
    per_entry
}

#[test]
fn a_million_numbers_take_56_bytes_each_at_most() {
    alone(|| {
        for policy in POLICIES {
            let per_entry = bytes_per_entry(policy, None);
            assert!(per_entry <= 56.0, "{policy:?}: {per_entry:.1}");
        }
    });
}

#[test]
fn a_million_numbers_that_expire_take_less_than_64_bytes_each() {
    alone(|| {
        for policy in POLICIES {
            let per_entry = bytes_per_entry(policy, Some(Duration::from_secs(3_600)));
            assert!(per_entry < 64.0, "{policy:?}: {per_entry:.1}");
        }
    });
}

#[test]
fn values_that_are_packed_count_as_what_is_stored() {
    const LIMIT: u64 = 1 << 20;
    let value = |number: u64| match number % 4 {
        0 => codecs::noise(number, 1000),
        1 => codecs::noise(number, 100),
        _ => codecs::text(number, 500 + number as usize % 3000).into_bytes(),
    };
    // What `Auto` makes of samples now and then comes and goes, and is none of the cache's.
    for (name, codec) in codecs::codecs().into_iter().filter(|(name, _)| *name != "auto") {
        alone(|| {
            let cache = || -> PackedCache<u64, Bytes> {
                Cache::builder().max_bytes(LIMIT).stripes(2).codec(Arc::clone(&codec)).build().unwrap()
            };
            // What the thread keeps for the codec is made first.
            let warm = cache();
            for number in (0..3_000).step_by(7) {
                warm.insert(number, value(number));
                drop(warm.get(&number));
            }
            drop(warm);
            let meter = Meter::start();
            let cache = cache();
            for number in 0..4_000 {
                cache.insert(number % 3_000, value(number));
                drop(cache.get(&(number / 2)));
                let held = meter.read();
                assert!(held <= LIMIT as i64 + COLLECTOR, "{name}: {held} bytes after {number} inserts");
            }
            assert!(cache.used_bytes() > LIMIT / 10 * 8, "{name}: {} bytes are used", cache.used_bytes());
            assert_counted(cache.used_bytes(), LIMIT, &meter, &name);
        });
    }
}
