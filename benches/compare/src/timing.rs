//! The timed loops, compiled once for each subject and workload.
//!
//! Knows no cache by name and prints nothing. A run goes on for a span of time, not a number of operations: threads
//! that started together then also end together, and none is left to run without the others' company. The clock is
//! read once per `CHUNK` operations. Even a single thread's run is a thread of its own, so that one and two differ in
//! nothing else.

use std::{
    borrow::Borrow,
    hint::black_box,
    ops::Range,
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{subject::Subject, workload::Workload};

const CHUNK: usize = 1024;
/// Look-ups in one batch call.
const BATCH: usize = 32;
/// The untimed lead of a run, as a share of the timed part.
const WARM_UP: u32 = 8;

/// What the threads of a run do over and over.
pub(crate) enum Work<'w, W: Workload> {
    Get(&'w W::Sequence),
    /// Gets in batches of 32.
    GetBatch(&'w W::Sequence),
    /// A get, and an insert if it missed.
    ReadThrough(&'w W::Sequence),
    /// Inserts of keys never seen before, whose ids start here.
    Insert(u64),
}

/// How one run goes.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) threads: usize,
    pub(crate) span: Duration,
    /// The length of the sequences: a multiple of `CHUNK` for each thread.
    pub(crate) accesses: usize,
}

/// What a run found.
#[derive(Clone, Copy)]
pub(crate) struct Rate {
    /// Nanoseconds per operation, as each thread sees them.
    pub(crate) ns: f64,
    /// The share of look-ups that found their key.
    pub(crate) hits: f64,
}

/// A subject that has been built, as the tables see it.
pub(crate) trait Bench<W: Workload> {
    /// Inserts the ids and lets the cache finish what it put off.
    fn fill(&self, ids: Range<u64>);
    /// How many of the ids are there.
    fn held(&self, ids: Range<u64>) -> usize;
    fn run(&self, work: &Work<'_, W>, pace: Pace) -> Rate;
    /// Inserts the ids one by one and returns how many nanoseconds each took.
    fn insert_times(&self, ids: Range<u64>) -> Vec<u32>;
}

impl<W: Workload, S: Subject<W>> Bench<W> for S {
    fn fill(&self, ids: Range<u64>) {
        for id in ids {
            self.insert(W::key(id), W::value(id));
        }
        self.settle();
    }

    fn held(&self, ids: Range<u64>) -> usize {
        ids.filter(|&id| {
            let key = W::key(id);
            self.holds(key.borrow())
        })
        .count()
    }

    fn run(&self, work: &Work<'_, W>, pace: Pace) -> Rate {
        let gate = Gate { barrier: Barrier::new(pace.threads), over: AtomicBool::new(false), span: pace.span };
        let tallies: Vec<Tally> = thread::scope(|scope| {
            let threads: Vec<_> = (0..pace.threads)
                .map(|thread| {
                    let gate = &gate;
                    scope.spawn(move || one_thread(self, work, pace, thread, gate))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("a subject panicked")).collect()
        });
        let mean = |figure: fn(&Tally) -> f64| tallies.iter().map(figure).sum::<f64>() / tallies.len() as f64;
        Rate {
            ns: mean(|tally| tally.elapsed.as_nanos() as f64 / tally.operations as f64),
            hits: mean(|tally| tally.hits as f64 / tally.operations as f64),
        }
    }

    fn insert_times(&self, ids: Range<u64>) -> Vec<u32> {
        // Written to here, so that the pages are there before the first reading.
        let mut times = vec![u32::MAX; (ids.end - ids.start) as usize];
        let entries = W::entries(ids);
        let mut before = Instant::now();
        for ((key, value), time) in entries.zip(&mut times) {
            self.insert(key, value);
            let now = Instant::now();
            *time = u32::try_from((now - before).as_nanos()).unwrap_or(u32::MAX);
            before = now;
        }
        times
    }
}

/// Where the threads of a run meet, and how the first to finish ends it for all.
struct Gate {
    barrier: Barrier,
    over: AtomicBool,
    span: Duration,
}

struct Tally {
    operations: usize,
    hits: usize,
    elapsed: Duration,
}

impl Gate {
    /// Warms up, waits for the other threads, and repeats `chunk` until the time is over. `chunk` does `CHUNK`
    /// operations and says how many of them hit, or that it has run out of things to do.
    fn pass(&self, mut chunk: impl FnMut() -> Option<usize>) -> Tally {
        let warm_up = Instant::now();
        while warm_up.elapsed() < self.span / WARM_UP && chunk().is_some() {}
        self.barrier.wait();

        let (mut operations, mut hits) = (0, 0);
        let start = Instant::now();
        while let Some(found) = chunk() {
            operations += CHUNK;
            hits += found;
            if self.over.load(Relaxed) || start.elapsed() >= self.span {
                break;
            }
        }
        let elapsed = start.elapsed();
        self.over.store(true, Relaxed);
        Tally { operations, hits, elapsed }
    }
}

fn one_thread<W: Workload, S: Subject<W>>(
    subject: &S,
    work: &Work<'_, W>,
    pace: Pace,
    thread: usize,
    gate: &Gate,
) -> Tally {
    // Each thread walks the sequence from a place of its own.
    let first = pace.accesses / pace.threads * thread;
    let mut chunks = (first..pace.accesses).chain(0..first).step_by(CHUNK).cycle();
    let mut chunk = move || {
        let start = chunks.next().unwrap_or_default();
        start..start + CHUNK
    };
    match *work {
        Work::Get(keys) => gate.pass(|| {
            let found = chunk().filter(|&at| black_box(subject.get(W::at(keys, at))).is_some());
            Some(found.count())
        }),
        Work::GetBatch(keys) => gate.pass(|| {
            let batches = chunk().step_by(BATCH);
            let found = batches.map(|at| subject.get_batch((at..at + BATCH).map(|at| W::at(keys, at))));
            Some(found.sum())
        }),
        Work::ReadThrough(keys) => gate.pass(|| {
            let found = chunk().filter(|&at| {
                let key = W::at(keys, at);
                let found = black_box(subject.get(key)).is_some();
                if !found {
                    subject.insert(key.to_owned(), W::value(at as u64));
                }
                found
            });
            Some(found.count())
        }),
        Work::Insert(first_id) => insert(subject, first_id, pace, thread, gate),
    }
}

fn insert<W: Workload, S: Subject<W>>(subject: &S, first_id: u64, pace: Pace, thread: usize, gate: &Gate) -> Tally {
    let room = insert_room::<W>(pace);
    let first = first_id + room * thread as u64;
    let mut entries = W::entries(first..first + room);
    let mut chunks = room / CHUNK as u64;
    gate.pass(|| {
        chunks = chunks.checked_sub(1)?;
        for (key, value) in entries.by_ref().take(CHUNK) {
            subject.insert(key, value);
        }
        Some(CHUNK)
    })
}

/// The ids that one thread of a run of inserts may use.
pub(crate) fn insert_room<W: Workload>(pace: Pace) -> u64 {
    let span = pace.span + pace.span / WARM_UP;
    span.as_nanos() as u64 / W::FASTEST_INSERT_NS + 2 * CHUNK as u64
}

/// What one reading of the clock costs, in nanoseconds: the least of several spans.
pub(crate) fn clock_reading() -> f64 {
    const READINGS: u32 = 200_000;
    let span = || {
        let start = Instant::now();
        for _ in 0..READINGS {
            black_box(Instant::now());
        }
        start.elapsed().as_nanos() as f64 / f64::from(READINGS)
    };
    (0..7).map(|_| span()).fold(f64::INFINITY, f64::min)
}
