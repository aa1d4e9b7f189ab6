//! What the settings of a cache cost, for those who tune one: a group for each question.
//!
//! ```text
//! cargo bench --bench tune                   all groups, a few minutes
//! cargo bench --bench tune -- stripes        one group; any part of a name
//! cargo bench --bench tune -- --test         each once, to see that they work
//! ```
//!
//! Every figure is the time of one operation as one thread sees it, with a nanosecond or two for choosing the key.
//! Knows the public API alone. How good a policy chooses is the question of `hit_ratio`, how other caches do that of
//! the package `compare`.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use larder::{Cache, Policy};

type Numbers = Cache<u64, u64>;
type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// Entries of most caches here: more than the processor's caches hold, few enough to be put in within a moment.
const ENTRIES: u64 = 100_000;

/// For the question of batches: nearly every look-up waits for memory.
const MANY_ENTRIES: u64 = 1_000_000;

/// Xorshift; each thread and each benchmark has its own.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// As `below`, and the lower the likelier: a tenth of the keys gets more than half of the requests.
    fn skewed(&mut self, end: u64) -> u64 {
        let part = self.next() as f64 / 2f64.powi(64);
        ((part * part * part * part) * end as f64) as u64
    }
}

/// One of ten operations is an insert, and half of the keys do not fit.
fn mixed(cache: &Numbers, random: &mut Random) {
    let key = random.skewed(2 * ENTRIES);
    if random.below(10) == 0 {
        cache.insert(key, key);
    } else {
        black_box(cache.get(&key));
    }
}

fn full(cache: Numbers) -> Numbers {
    (0..ENTRIES).for_each(|key| cache.insert(key, key));
    cache
}

/// Lets so many threads work at the same time, each on `operations`; the time that the slowest took.
fn together(threads: usize, operations: u64, work: impl Fn(&mut Random) + Sync) -> Duration {
    let start = Barrier::new(threads);
    let one = |number: usize| {
        let mut random = Random::new(number as u64);
        start.wait();
        let started = Instant::now();
        (0..operations).for_each(|_| work(&mut random));
        started.elapsed()
    };
    thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> = (0..threads).map(|number| scope.spawn(move || one(number))).collect();
        let times = threads.into_iter().map(|thread| thread.join().expect("no operation panics"));
        times.max().unwrap_or_default()
    })
}

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> Group<'a> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(20).warm_up_time(Duration::from_millis(400)).measurement_time(Duration::from_millis(1_600));
    group
}

/// How long a hit takes, and how long an insert of a new key into the full cache.
fn hit_and_insert(group: &mut Group<'_>, name: &str, cache: &Numbers) {
    let mut random = Random::new(0);
    group.bench_function(BenchmarkId::new("get", name), |bencher| {
        bencher.iter(|| cache.get(&random.below(ENTRIES)));
    });
    let mut next = ENTRIES;
    group.bench_function(BenchmarkId::new("insert", name), |bencher| {
        bencher.iter(|| {
            next += 1;
            cache.insert(next, next);
        });
    });
}

/// How many stripes are enough for one thread, for two that write?
fn stripes(criterion: &mut Criterion) {
    let mut group = group(criterion, "stripes");
    for stripes in [1, 2, 4, 8, 16, 32, 64] {
        let builder = Cache::builder().max_entries(ENTRIES as usize).stripes(stripes);
        let cache = full(builder.build().expect("valid settings"));
        for threads in [1, 2] {
            group.bench_function(BenchmarkId::new(format!("{threads} threads"), stripes), |bencher| {
                bencher.iter_custom(|operations| together(threads, operations, |random| mixed(&cache, random)));
            });
        }
    }
}

/// What do more threads cost each of them?
fn threads(criterion: &mut Criterion) {
    let mut group = group(criterion, "threads");
    let cache = full(Cache::new(ENTRIES as usize));
    for threads in [1, 2, 4, 8] {
        group.bench_function(BenchmarkId::new("get", threads), |bencher| {
            let get = |random: &mut Random| _ = black_box(cache.get(&random.below(ENTRIES)));
            bencher.iter_custom(|operations| together(threads, operations, get));
        });
    }
    for threads in [1, 2, 4, 8] {
        group.bench_function(BenchmarkId::new("mixed", threads), |bencher| {
            bencher.iter_custom(|operations| together(threads, operations, |random| mixed(&cache, random)));
        });
    }
}

/// What do the policies cost?
fn policy(criterion: &mut Criterion) {
    let mut group = group(criterion, "policy");
    for (name, policy) in [("Lru", Policy::Lru), ("S3Fifo", Policy::S3Fifo)] {
        let builder = Cache::builder().max_entries(ENTRIES as usize).policy(policy);
        let cache = full(builder.build().expect("valid settings"));
        let mut random = Random::new(0);
        // In this order: what comes first leaves a cache that is as full.
        group.bench_function(BenchmarkId::new("read through", name), |bencher| {
            bencher.iter(|| {
                let key = random.skewed(10 * ENTRIES);
                if cache.get(&key).is_none() {
                    cache.insert(key, key);
                }
            });
        });
        hit_and_insert(&mut group, name, &full(cache));
    }
}

/// From which size on is a value better read in place than cloned?
fn values(criterion: &mut Criterion) {
    let mut group = group(criterion, "values");
    value_of(&mut group, "u64", |key| key);
    value_of(&mut group, "Vec of 100 B", |key| vec![key as u8; 100]);
    value_of(&mut group, "Vec of 4 KiB", |key| vec![key as u8; 4 << 10]);
}

fn value_of<V: Clone>(group: &mut Group<'_>, name: &str, value: impl Fn(u64) -> V) {
    const ENTRIES: u64 = 10_000;
    let cache = Cache::new(ENTRIES as usize);
    (0..ENTRIES).for_each(|key| cache.insert(key, value(key)));
    let mut random = Random::new(0);
    group.bench_function(BenchmarkId::new("get", name), |bencher| {
        bencher.iter(|| cache.get(&random.below(ENTRIES)));
    });
    group.bench_function(BenchmarkId::new("read", name), |bencher| {
        bencher.iter(|| cache.read(&random.below(ENTRIES), |value| black_box(std::ptr::from_ref(value))));
    });
    group.bench_function(BenchmarkId::new("get_ref", name), |bencher| {
        bencher.iter(|| cache.get_ref(&random.below(ENTRIES)));
    });
}

/// What does it cost that entries expire?
fn expiry(criterion: &mut Criterion) {
    const HOUR: Duration = Duration::from_secs(3_600);
    let mut group = group(criterion, "expiry");
    let builder = || Cache::builder().max_entries(ENTRIES as usize);
    for (name, builder) in [
        ("never", builder()),
        ("time to live", builder().time_to_live(HOUR)),
        ("time to idle", builder().time_to_idle(HOUR)),
        ("both", builder().time_to_live(HOUR).time_to_idle(HOUR)),
    ] {
        hit_and_insert(&mut group, name, &full(builder.build().expect("valid settings")));
    }
}

/// What do the other features cost?
fn features(criterion: &mut Criterion) {
    // Room for about as many entries, in bytes.
    const BYTES: u64 = ENTRIES * 64;
    let mut group = group(criterion, "features");
    let plain = || Cache::builder().max_entries(ENTRIES as usize);
    let weighing = Cache::builder().max_bytes(BYTES).weigher(|_, _| 0);
    for (name, cache) in [
        ("none", plain().build()),
        ("record_stats", plain().record_stats().build()),
        ("on_removal", plain().on_removal(|key, _, _| _ = black_box(*key)).build()),
        ("max_bytes", Cache::builder().max_bytes(BYTES).build()),
        ("weigher", weighing.build()),
    ] {
        hit_and_insert(&mut group, name, &full(cache.expect("valid settings")));
    }
}

/// How many keys are worth being looked up together? The time is that of a whole batch; per key see the throughput.
fn batches(criterion: &mut Criterion) {
    let mut group = group(criterion, "batches");
    let cache: Numbers = Cache::new(MANY_ENTRIES as usize);
    (0..MANY_ENTRIES).for_each(|key| cache.insert(key, key));
    let mut random = Random::new(0);
    group.throughput(Throughput::Elements(1));
    group.bench_function("get", |bencher| bencher.iter(|| cache.get(&random.below(MANY_ENTRIES))));
    for size in [2, 8, 32, 128, 512] {
        group.throughput(Throughput::Elements(size));
        let mut keys = Vec::new();
        group.bench_function(BenchmarkId::new("get_many", size), |bencher| {
            bencher.iter(|| {
                keys.clear();
                keys.extend((0..size).map(|_| random.below(MANY_ENTRIES)));
                cache.get_many(&keys)
            });
        });
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for group in [stripes, threads, policy, values, expiry, features, batches] {
        group(&mut criterion);
    }
    criterion.final_summary();
}
