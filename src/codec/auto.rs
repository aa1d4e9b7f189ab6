//! The choice among codecs by what they do for the user's own values.
//!
//! Now and then a value that is to be stored is also a sample: each candidate encodes and decodes it, several times over,
//! and what its saved bytes are worth, less the medians of the times it took, is its gain. The candidate whose gains over
//! the last samples sum up highest is in use; if none gains anything, values are left as they are. What is stored names
//! the candidate in its first byte, so that the choice may change at any time.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

use super::counts::{LINES, thread_line};
use super::packer::shrinks;
use super::{Before, Codec, CodecError};

/// What a saved KiB is worth unless it is set.
const WORTH_PER_KIB: Duration = Duration::from_micros(20);
/// Samples before it is looked at less often.
const FIRST_SAMPLES: usize = 16;
/// From then on a thread takes a sample of its 32nd value, its 64th and so on, and of each that this divides. A prime:
/// values that come in a pattern are all looked at in the end.
const PERIOD: u32 = 4093;
/// Samples that count for the choice: the latest.
const WINDOW: usize = 32;
/// Of a larger value so much of its beginning is looked at.
const LARGEST_SAMPLE: usize = 32 << 10;
/// Times that each candidate encodes and decodes a sample, and a smaller one.
const ROUNDS: usize = 3;
const ROUNDS_OF_SMALL: usize = 5;
const SMALL_SAMPLE: usize = 4 << 10;
/// The candidates, at most: one byte names them.
const MOST_CANDIDATES: usize = 255;

/// Reads the time; only differences count.
type Timer = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Chooses among codecs by samples of the values that are stored, looks again now and then, and leaves values alone where
/// none is worth its time.
///
/// A codec gains what its saved bytes are [worth](Auto::with_worth_per_kib), less the time to encode and to decode. While
/// it takes its first 16 samples, of the first values, and one in some 4,000 later, a call takes as long as all the
/// candidates together do a few times over: about 1 ms for a value of 4 KiB.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "snappy")] {
/// use larder::codec::{Auto, Codec};
/// use std::time::Duration;
///
/// // Memory is dear here: a saved KiB may take 100 microseconds of storing and reading.
/// let auto = Auto::new().with_worth_per_kib(Duration::from_micros(100));
/// let value = "all of them look like this; ".repeat(200);
/// let mut stored = Vec::new();
/// auto.encode(&[], value.as_bytes(), &mut stored)?;
/// assert!(auto.chosen().is_some());
/// # }
/// # Ok::<(), larder::codec::CodecError>(())
/// ```
pub struct Auto {
    candidates: Vec<Arc<dyn Codec>>,
    /// Nanoseconds for each byte that is saved.
    worth_per_byte: f64,
    timer: Timer,
    /// The place of the candidate in use plus 1, or 0 if values are left as they are.
    chosen: AtomicUsize,
    /// Samples taken so far, while they are few.
    taken: AtomicUsize,
    /// Values that threads have stored.
    ticks: Box<[CachePadded<AtomicU32>]>,
    /// The latest samples: for each candidate its gain in nanoseconds. Held while a sample is taken, by one thread; the
    /// others never wait for it, they take no sample then.
    samples: Mutex<VecDeque<Vec<f64>>>,
}

impl Auto {
    /// The choice among all codecs that the crate's features give: Snappy, LZ4, Zstandard, DEFLATE, each with settings that
    /// suit a cache.
    pub fn new() -> Self {
        Self::from_candidates(crate_candidates())
    }

    /// The choice among these codecs.
    ///
    /// # Errors
    ///
    /// [`CodecError::Unsuitable`] if one of them [must encode](Codec::must_encode), since values may be left as they are, or if
    /// there are more than 255.
    pub fn with_candidates(candidates: impl IntoIterator<Item = Arc<dyn Codec>>) -> Result<Self, CodecError> {
        let candidates: Vec<_> = candidates.into_iter().collect();
        if let Some(sealing) = candidates.iter().find(|candidate| candidate.must_encode()) {
            let name = sealing.name();
            return Err(CodecError::unsuitable(
                "auto",
                format_args!("it leaves some values as they are, which {name} must not; chain {name} after it"),
            ));
        }
        if candidates.len() > MOST_CANDIDATES {
            let count = candidates.len();
            return Err(CodecError::unsuitable("auto", format_args!("{count} candidates are more than 255")));
        }
        Ok(Self::from_candidates(candidates))
    }

    fn from_candidates(candidates: Vec<Arc<dyn Codec>>) -> Self {
        let start = Instant::now();
        Self {
            candidates,
            worth_per_byte: per_byte(WORTH_PER_KIB),
            timer: Arc::new(move || start.elapsed()),
            chosen: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            ticks: (0..LINES).map(|_| CachePadded::default()).collect(),
            samples: Mutex::new(VecDeque::new()),
        }
    }

    /// Sets what a saved KiB is worth, in time to store and to read a value once (20 microseconds if it isn't set).
    #[must_use]
    pub fn with_worth_per_kib(mut self, worth: Duration) -> Self {
        self.worth_per_byte = per_byte(worth);
        self
    }

    /// Sets where the time is read from, for tests that must not depend on it. Only differences count.
    #[must_use]
    pub fn with_timer(mut self, timer: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        self.timer = Arc::new(timer);
        self
    }

    /// The name of the codec that is in use now; `None` if values are left as they are, and before the first sample.
    pub fn chosen(&self) -> Option<&str> {
        self.in_use().map(|(_, codec)| codec.name())
    }

    fn in_use(&self) -> Option<(u8, &dyn Codec)> {
        let at = self.chosen.load(Relaxed).checked_sub(1)?;
        Some((at as u8, &**self.candidates.get(at)?))
    }

    /// Whether the value that is about to be stored is to be a sample.
    fn is_due(&self) -> bool {
        let ticks = &self.ticks[thread_line()];
        // Two threads on one line may count two values for one.
        let tick = ticks.load(Relaxed).wrapping_add(1);
        ticks.store(tick, Relaxed);
        self.taken.load(Relaxed) < FIRST_SAMPLES
            || tick % PERIOD == 0
            || (tick.is_power_of_two() && tick as usize > FIRST_SAMPLES)
    }

    /// Lets each candidate have a go at the value, and chooses anew.
    fn look(&self, key: &[u8], plain: &[u8]) {
        let Some(mut samples) = self.samples.try_lock() else { return };
        let sample = &plain[..plain.len().min(LARGEST_SAMPLE)];
        // What the part of a large value gains, the whole gains as many times over.
        let parts = plain.len() as f64 / sample.len() as f64;
        let gains = self.gains(key, sample).into_iter().map(|gain| gain * parts).collect();
        if samples.len() == WINDOW {
            samples.pop_front();
        }
        samples.push_back(gains);
        let mut best = (0, 0.0);
        for at in 0..self.candidates.len() {
            let sum: f64 = samples.iter().map(|gains| gains[at]).sum();
            if sum > best.1 {
                best = (at + 1, sum);
            }
        }
        self.chosen.store(best.0, Relaxed);
        self.taken.fetch_add(1, Relaxed);
    }

    /// What each candidate gains on `sample`, in nanoseconds; nothing can make up for failing.
    fn gains(&self, key: &[u8], sample: &[u8]) -> Vec<f64> {
        let rounds = if sample.len() > SMALL_SAMPLE { ROUNDS } else { ROUNDS_OF_SMALL };
        let mut runs = vec![Vec::with_capacity(rounds); self.candidates.len()];
        for _ in 0..rounds {
            // One after the other, so that what disturbs the machine for a while disturbs all of them.
            for (candidate, runs) in self.candidates.iter().zip(&mut runs) {
                runs.push(self.run(&**candidate, key, sample));
            }
        }
        runs.into_iter().map(|runs| self.gain(sample.len(), runs)).collect()
    }

    fn gain(&self, len: usize, runs: Vec<Option<Run>>) -> f64 {
        let Some(runs) = runs.into_iter().collect::<Option<Vec<Run>>>() else { return f64::NEG_INFINITY };
        let encode = median(runs.iter().map(|run| run.encode));
        let Some(written) = runs.last().map(|run| run.written).filter(|&written| shrinks(len, written)) else {
            // It is tried, and what it wrote is thrown away.
            return -encode;
        };
        (len - written) as f64 * self.worth_per_byte - encode - median(runs.iter().map(|run| run.decode))
    }

    /// `None` if the codec fails, or doesn't give back what it was given.
    fn run(&self, codec: &dyn Codec, key: &[u8], sample: &[u8]) -> Option<Run> {
        let (mut stored, mut back) = (Vec::with_capacity(2 * sample.len()), Vec::with_capacity(sample.len()));
        let begin = (self.timer)();
        codec.encode(key, sample, &mut stored).ok()?;
        let encoded = (self.timer)();
        if !stored.is_empty() {
            codec.decode(key, &stored, sample.len(), &mut back).ok()?;
        }
        let decoded = (self.timer)();
        let nanos = |duration: Duration| duration.as_nanos() as f64;
        let run = Run {
            // A codec that writes nothing leaves the value as it is.
            written: if stored.is_empty() { sample.len() } else { stored.len() },
            encode: nanos(encoded.saturating_sub(begin)),
            decode: nanos(decoded.saturating_sub(encoded)),
        };
        (stored.is_empty() || back == sample).then_some(run)
    }
}

/// What a codec did to a sample once: bytes written, and nanoseconds.
#[derive(Clone)]
struct Run {
    written: usize,
    encode: f64,
    decode: f64,
}

impl Default for Auto {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Auto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let candidates: Vec<&str> = self.candidates.iter().map(|candidate| candidate.name()).collect();
        let (candidates, chosen) = (&candidates, &self.chosen());
        f.debug_struct("Auto").field("candidates", candidates).field("chosen", chosen).finish_non_exhaustive()
    }
}

impl Codec for Auto {
    fn name(&self) -> &str {
        "auto"
    }

    fn encode(&self, key: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        if self.is_due() && !plain.is_empty() {
            self.look(key, plain);
        }
        let Some((tag, codec)) = self.in_use() else { return Ok(()) };
        let start = out.len();
        out.push(tag);
        let before = Before::of(out);
        codec.encode(key, plain, out)?;
        before.check(codec, out)?;
        if !shrinks(plain.len(), out.len() - start) {
            out.truncate(start);
        }
        Ok(())
    }

    fn decode(&self, key: &[u8], stored: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        match self.open(stored) {
            Some((codec, body)) => codec.decode(key, body, len, out),
            None => Err(CodecError::damaged("auto", "no codec of it is named")),
        }
    }

    fn binds_key(&self) -> bool {
        self.candidates.iter().any(|candidate| candidate.binds_key())
    }

    fn is_checked(&self) -> bool {
        self.candidates.iter().all(|candidate| candidate.is_checked())
    }

    fn format_of<'a>(&'a self, stored: &'a [u8]) -> (&'a str, &'a [u8]) {
        match self.open(stored) {
            Some((codec, body)) => codec.format_of(body),
            None => ("auto", stored),
        }
    }
}

impl Auto {
    /// The codec that a stored value names, and what that wrote.
    fn open<'a>(&'a self, stored: &'a [u8]) -> Option<(&'a dyn Codec, &'a [u8])> {
        let (&tag, body) = stored.split_first()?;
        Some((&**self.candidates.get(usize::from(tag))?, body))
    }
}

fn per_byte(worth_per_kib: Duration) -> f64 {
    worth_per_kib.as_nanos() as f64 / 1024.0
}

fn median(times: impl Iterator<Item = f64>) -> f64 {
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(0.0)
}

/// One of each kind and pace; none where no feature gives any.
fn crate_candidates() -> Vec<Arc<dyn Codec>> {
    let candidates: &[Result<Arc<dyn Codec>, CodecError>] = &[
        #[cfg(feature = "snappy")]
        Ok(Arc::new(super::Snappy)),
        #[cfg(feature = "lz4")]
        Ok(Arc::new(super::Lz4)),
        #[cfg(feature = "zstd")]
        super::Zstd::new(1).map(|codec| Arc::new(codec) as _),
        #[cfg(feature = "zstd")]
        super::Zstd::new(3).map(|codec| Arc::new(codec) as _),
        #[cfg(feature = "deflate")]
        super::Deflate::new(1).map(|codec| Arc::new(codec) as _),
        #[cfg(feature = "deflate")]
        super::Deflate::new(6).map(|codec| Arc::new(codec) as _),
    ];
    // There are these levels.
    candidates.iter().flatten().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    /// Time that stands still unless a codec spends some.
    #[derive(Clone, Default)]
    struct Hands(Arc<AtomicU64>);

    impl Hands {
        fn spend(&self, micros: u64) {
            self.0.fetch_add(micros, Relaxed);
        }

        fn timer(&self) -> impl Fn() -> Duration + Send + Sync + 'static {
            let hands = self.clone();
            move || Duration::from_micros(hands.0.load(Relaxed))
        }
    }

    /// Keeps the first 1/`part` of values that begin with a letter of `likes`, and all of others.
    struct Fake {
        name: &'static str,
        part: usize,
        micros_per_kib: u64,
        likes: &'static str,
        hands: Hands,
    }

    impl Codec for Fake {
        fn name(&self) -> &str {
            self.name
        }

        fn encode(&self, _key: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
            self.hands.spend(self.micros_per_kib * plain.len() as u64 / 1024);
            let part = if self.likes.as_bytes().contains(&plain[0]) { self.part } else { 1 };
            out.extend_from_slice(&plain[..plain.len() / part]);
            Ok(())
        }

        fn decode(&self, _key: &[u8], stored: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
            self.hands.spend(self.micros_per_kib * len as u64 / 1024);
            out.resize(out.len() + len, stored[0]);
            Ok(())
        }
    }

    fn auto(hands: &Hands) -> Auto {
        let fake = |name, part, micros_per_kib, likes| -> Arc<dyn Codec> {
            Arc::new(Fake { name, part, micros_per_kib, likes, hands: hands.clone() })
        };
        // Of 4 KiB "fast" saves 2 at 8 microseconds in both directions, "small" 3 at 80.
        let candidates = [fake("fast", 2, 1, "tj"), fake("small", 4, 10, "t")];
        Auto::with_candidates(candidates).unwrap().with_timer(hands.timer())
    }

    fn store(auto: &Auto, first: u8, len: usize, times: usize) {
        let plain = vec![first; len];
        for _ in 0..times {
            let (mut stored, mut back) = (Vec::new(), Vec::new());
            auto.encode(b"", &plain, &mut stored).unwrap();
            if stored.is_empty() {
                continue;
            }
            auto.decode(b"", &stored, len, &mut back).unwrap();
            assert_eq!(back, plain);
        }
    }

    #[test]
    fn what_a_saved_kib_is_worth_decides() {
        let hands = Hands::default();
        // 2 KiB less 8 us against 3 KiB less 80 us: the same at 72 us for a KiB; "fast" is worth it from 4 us on.
        for (worth, chosen) in
            [(3, None), (5, Some("fast")), (20, Some("fast")), (70, Some("fast")), (74, Some("small"))]
        {
            let auto = auto(&hands).with_worth_per_kib(Duration::from_micros(worth));
            store(&auto, b't', 4096, 20);
            assert_eq!(auto.chosen(), chosen, "at {worth} us");
        }
    }

    #[test]
    fn what_does_not_shrink_is_left_alone() {
        let auto = auto(&Hands::default());
        store(&auto, b'x', 4096, 20);
        assert_eq!(auto.chosen(), None);
        let mut stored = b"before".to_vec();
        auto.encode(b"", &[b'x'; 4096], &mut stored).unwrap();
        assert_eq!(stored, b"before");
    }

    #[test]
    fn one_value_that_does_not_shrink_among_others_is_left_alone() {
        let auto = auto(&Hands::default());
        store(&auto, b't', 4096, 20);
        assert_eq!(auto.chosen(), Some("fast"));
        let mut stored = b"before".to_vec();
        auto.encode(b"", &[b'x'; 4096], &mut stored).unwrap();
        assert_eq!(stored, b"before");
    }

    #[test]
    fn it_looks_again_when_the_values_change() {
        let auto = auto(&Hands::default()).with_worth_per_kib(Duration::from_micros(100));
        store(&auto, b't', 4096, 20);
        assert_eq!(auto.chosen(), Some("small"));
        let mut old = Vec::new();
        auto.encode(b"", &[b't'; 4096], &mut old).unwrap();
        assert_eq!(auto.format_of(&old), ("small", &[b't'; 1024][..]));

        let look = |first| (0..WINDOW).for_each(|_| auto.look(b"", &[first; 4096]));
        look(b'j');
        assert_eq!(auto.chosen(), Some("fast"));
        look(b'x');
        assert_eq!(auto.chosen(), None);
        let mut back = Vec::new();
        auto.decode(b"", &old, 4096, &mut back).unwrap();
        assert_eq!(back, [b't'; 4096]);
    }

    #[test]
    fn one_slow_run_changes_nothing() {
        // Of 13 readings of the time one comes 50 ms late.
        let hands = Hands::default();
        let (late, calls) = (hands.clone(), AtomicU64::new(0));
        let timer = hands.timer();
        let auto = auto(&hands).with_timer(move || {
            if calls.fetch_add(1, Relaxed) % 13 == 12 {
                late.spend(50_000);
            }
            timer()
        });
        store(&auto, b't', 4096, 20);
        assert_eq!(auto.chosen(), Some("fast"));
    }

    #[test]
    fn large_values_count_for_more() {
        let hands = Hands::default();
        let auto = auto(&hands).with_worth_per_kib(Duration::from_micros(100));
        // "small" does nothing for the eight, for which "fast" gains 192 us each; on the last it gains 7 ms more.
        store(&auto, b'j', 4096, 8);
        store(&auto, b't', 1 << 20, 1);
        assert_eq!(auto.chosen(), Some("small"));
    }

    #[test]
    fn few_values_are_samples() {
        let hands = Hands::default();
        let auto = auto(&hands);
        store(&auto, b't', 4096, 20_000);
        let spent = hands.0.load(Relaxed);
        // 8 us for each value that "fast" stores and reads; a sample takes both codecs 5 times: 440 us.
        let samples = (spent - 20_000 * 8) / 440;
        assert!((16..=32).contains(&samples), "{samples}");
    }

    #[test]
    fn a_codec_that_fails_is_never_chosen() {
        struct Liar;
        impl Codec for Liar {
            fn name(&self) -> &str {
                "liar"
            }
            fn encode(&self, _key: &[u8], _plain: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
                out.push(1);
                Ok(())
            }
            fn decode(&self, _: &[u8], _: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
                out.resize(out.len() + len, 0);
                Ok(())
            }
        }
        let auto = Auto::with_candidates([Arc::new(Liar) as Arc<dyn Codec>]).unwrap();
        store(&auto, b't', 4096, 20);
        assert_eq!(auto.chosen(), None);
    }

    #[test]
    fn damaged_values_are_errors() {
        let auto = auto(&Hands::default());
        for stored in [&b""[..], b"\x02x", b"\xffx"] {
            auto.decode(b"", stored, 10, &mut Vec::new()).unwrap_err();
            assert_eq!(auto.format_of(stored), ("auto", stored));
        }
    }
}
