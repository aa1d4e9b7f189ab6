//! What codecs save and cost, on values of several kinds: bytes stored, and the time to store and to read a value through the
//! cache, beside the same library by itself on the same bytes.
//!
//! ```text
//! cargo bench --bench codec --features lz4,zstd,seal               all, a few minutes
//! cargo bench --bench codec --features lz4,zstd,seal -- json       one kind; any part of a name
//! cargo bench --bench codec --features lz4,zstd,seal -- --test     a glance at each, to see that they work
//! ```
//!
//! The library by itself has its state and its buffers ready as well, and keeps what it wrote in a box: what it does not
//! do is be a cache. Cache and library take turns, and each figure is the median of all turns. Below each table is what
//! `Auto` comes to, beside the best of its choices, leaving values as they are included: by 20 microseconds for
//! each KiB that is kept, plus the time to store and to read a value once.
//!
//! The values are made up (`tests/codec/values.rs`), from a seed. Knows the public API, and the libraries.

mod bare;
#[path = "../../tests/codec/values.rs"]
mod values;

use std::hint::black_box;
use std::time::Instant;

use larder::codec::*;
use larder::{Cache, PackedCache};

use bare::Bare;
use values::Random;

/// Values of each kind.
const VALUES: usize = 64;
/// Rounds of all contestants, and times that each plays in a round: of all of these the median counts.
const ROUNDS: usize = 41;
const PASSES: usize = 4;
/// What a kept KiB costs, in nanoseconds, as `Auto` has it unless it is set.
const WORTH_PER_KIB: f64 = 20_000.0;
/// `Auto` takes one sample in so many values.
const VALUES_PER_SAMPLE: f64 = 4093.0;

/// A codec, in the cache and by itself.
struct Contestant {
    name: &'static str,
    cache: PackedCache<u64, Vec<u8>>,
    bare: Option<Box<dyn Bare>>,
    kept: Vec<Box<[u8]>>,
    times: [Vec<f64>; 4],
}

/// Medians, in nanoseconds for a value.
struct Figures {
    name: &'static str,
    bytes: f64,
    store: f64,
    bare_store: Option<f64>,
    read: f64,
    bare_read: Option<f64>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let test = arguments.iter().any(|argument| argument == "--test");
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let rounds = if test { 1 } else { ROUNDS };
    type Make = fn(&mut Random) -> Vec<u8>;
    let kinds: [(&str, Make); 6] = [
        ("json documents of 4 KiB", values::json),
        ("html pages of 16 KiB", values::html),
        ("user records of 300 bytes", values::user_json),
        ("session blobs of 200 bytes", values::session),
        ("compressed images of 20 KiB", values::image),
        ("random bytes, 4 KiB", |random| random.bytes(4096)),
    ];
    for (kind, make) in kinds {
        if filter.is_none_or(|filter| kind.contains(&**filter)) {
            let mut random = Random::new(42);
            let values: Vec<_> = (0..VALUES).map(|_| make(&mut random)).collect();
            measure(kind, &values, rounds);
        }
    }
}

fn measure(kind: &str, values: &[Vec<u8>], rounds: usize) {
    let mut contestants = contestants(values);
    for _ in 0..rounds {
        contestants.iter_mut().for_each(|contestant| contestant.play(values));
    }
    let figures: Vec<Figures> = contestants.iter().map(|contestant| contestant.figures(values)).collect();
    let plain = values.iter().map(Vec::len).sum::<usize>() / values.len();
    println!("\n{kind}: {plain} bytes on average\n");
    println!("| codec | bytes stored | ns to store | library alone | | ns to read | library alone | |");
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for Figures { name, bytes, store, bare_store, read, bare_read } in &figures {
        let beside = |ours: f64, bare: &Option<f64>| match bare {
            Some(bare) => format!("{bare:.0} | {:+.0} %", (ours / bare - 1.0) * 100.0),
            None => " | ".to_owned(),
        };
        println!(
            "| {name} | {bytes:.0} | {store:.0} | {} | {read:.0} | {} |",
            beside(*store, bare_store),
            beside(*read, bare_read)
        );
    }
    print_auto(&figures, values);
}

/// `Auto` beside the best of those it may choose, by its own measure, with what its samples take.
fn print_auto(figures: &[Figures], values: &[Vec<u8>]) {
    let cost = |figures: &Figures| figures.bytes / 1024.0 * WORTH_PER_KIB + figures.store + figures.read;
    // What it may choose: nobody has trained a dictionary for it, and it does not seal.
    let is_choice = |name: &str| name != "auto" && !name.contains("gcm") && !name.contains("dictionary");
    let fixed = figures.iter().filter(|figures| is_choice(figures.name));
    let best = fixed.min_by(|a, b| cost(a).total_cmp(&cost(b)));
    let (Some(best), Some(auto)) = (best, figures.iter().find(|figures| figures.name == "auto")) else { return };
    let sample = median((0..5).map(|_| first_store(values)).collect());
    let mine = cost(auto) + (sample - auto.store).max(0.0) / VALUES_PER_SAMPLE;
    println!(
        "\nAuto: {:.1} us a value, its samples included; best is {} with {:.1} us: {:+.1} %",
        mine / 1000.0,
        best.name,
        cost(best) / 1000.0,
        (mine / cost(best) - 1.0) * 100.0
    );
}

/// The time of the first store, in which `Auto` takes a sample.
fn first_store(values: &[Vec<u8>]) -> f64 {
    let cache = cache(Auto::new());
    let value = values[0].clone();
    let began = Instant::now();
    cache.insert(0, value);
    began.elapsed().as_nanos() as f64
}

/// Everything is packed that the codec shrinks, small values too: they are what the question is about.
fn cache(codec: impl Codec + 'static) -> PackedCache<u64, Vec<u8>> {
    let built = Cache::builder().max_entries(4 * VALUES).codec(codec).codec_min_size(0).build();
    built.expect("the settings are sound")
}

fn contestants(values: &[Vec<u8>]) -> Vec<Contestant> {
    let gzip = |level| Gzip::new(level).expect("there is the level");
    let zstd = |level| Zstd::new(level).expect("there is the level");
    let deflate = |level| Deflate::new(level).expect("there is the level");
    let zlib = Zlib::new(6).expect("there is the level");
    let mut all = vec![
        // No candidates: as it is.
        Contestant::new("as it is", Auto::with_candidates([]).expect("none seals"), None),
        Contestant::new("gzip 6", gzip(6), Some(bare::gzip(6))),
        Contestant::new("zlib 6", zlib, Some(bare::zlib(6))),
        Contestant::new("deflate 1", deflate(1), Some(bare::deflate(1))),
        Contestant::new("deflate 6", deflate(6), Some(bare::deflate(6))),
        Contestant::new("snappy", Snappy, Some(bare::snappy())),
        Contestant::new("lz4", Lz4, Some(bare::lz4())),
        Contestant::new("zstd 1", zstd(1), Some(bare::zstd(1))),
        Contestant::new("zstd 3", zstd(3), Some(bare::zstd(3))),
    ];
    if values[0].starts_with(b"{\"id\"") {
        // Trained on others than those that are stored.
        let mut random = Random::new(7);
        let samples = (0..4000).map(|_| values::user_json(&mut random));
        let dictionary = ZstdDictionary::train(samples).expect("they are alike");
        let codec = zstd(3).with_dictionary(&dictionary).expect("it was just trained");
        all.push(Contestant::new("zstd 3, dictionary", codec, Some(bare::zstd_with(3, dictionary.as_bytes()))));
    }
    let key = || SealKey::new(1, &[7; 32]);
    all.push(Contestant::new("aes-256-gcm", Seal::aes_256_gcm(key()), Some(bare::aes_256_gcm([7; 32]))));
    all.push(Contestant::new("lz4+aes-256-gcm", Chain::new(Lz4).then(Seal::aes_256_gcm(key())), None));
    all.push(Contestant::new("auto", Auto::new(), None));
    all
}

impl Contestant {
    fn new(name: &'static str, codec: impl Codec + 'static, bare: Option<Box<dyn Bare>>) -> Self {
        let kept = vec![Box::default(); VALUES];
        Self { name, cache: cache(codec), bare, kept, times: Default::default() }
    }

    /// Stores and reads all values, by the cache and by the library alone, some times one after the other. The first time
    /// does not count: what comes first finds the processor's caches as the contestant before has left them.
    fn play(&mut self, values: &[Vec<u8>]) {
        for pass in 0..=PASSES {
            let [cache, bare] = [self.play_cache(values), self.play_bare(values)];
            if pass > 0 {
                cache.into_iter().chain(bare).zip(&mut self.times).for_each(|(time, times)| times.push(time));
            }
        }
    }

    /// Nanoseconds for a value, to store and to read.
    fn play_cache(&mut self, values: &[Vec<u8>]) -> [f64; 2] {
        let mut owned = values.to_vec();
        let store = time(values, || {
            for (key, value) in owned.drain(..).enumerate() {
                self.cache.insert(key as u64, value);
            }
        });
        let read = time(values, || {
            for key in 0..values.len() as u64 {
                black_box(self.cache.get(&key));
            }
        });
        [store, read]
    }

    fn play_bare(&mut self, values: &[Vec<u8>]) -> [f64; 2] {
        let Some(bare) = &mut self.bare else { return [f64::NAN; 2] };
        let (mut owned, mut buffer) = (values.to_vec(), Vec::new());
        let store = time(values, || {
            for (kept, value) in self.kept.iter_mut().zip(owned.drain(..)) {
                buffer.clear();
                bare.encode(&value, &mut buffer);
                *kept = buffer.as_slice().into();
            }
        });
        let read = time(values, || {
            for (kept, value) in self.kept.iter().zip(values) {
                let mut plain = Vec::new();
                bare.decode(kept, value.len(), &mut plain);
                black_box(plain);
            }
        });
        [store, read]
    }

    fn figures(&self, values: &[Vec<u8>]) -> Figures {
        // All that is stored: with the head that says who wrote the value, and the checksum where there is one.
        let before = self.cache.stats();
        for (key, value) in (0..).zip(values) {
            self.cache.insert(key, value.clone());
            assert!(self.cache.get(&key).as_ref() == Some(value), "{}: another value", self.name);
        }
        let bytes = (self.cache.stats() - before).codec.bytes_after as f64 / values.len() as f64;
        let [store, read, bare_store, bare_read] = self.times.clone().map(median);
        let bare = |time: f64| self.bare.is_some().then_some(time);
        Figures { name: self.name, bytes, store, read, bare_store: bare(bare_store), bare_read: bare(bare_read) }
    }
}

/// The time of `work`, in nanoseconds for each of the values.
fn time(values: &[Vec<u8>], work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_nanos() as f64 / values.len() as f64
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}
