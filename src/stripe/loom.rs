//! The protocol of readers and writers under the model checker:
//! `RUSTFLAGS="--cfg loom --cfg crossbeam_loom" cargo test --release --lib loom`.
//!
//! Knows the stripe and its table from inside; sees to aftermaths as the cache does. Knows no cache.
//!
//! One thread reads while another one inserts, updates, removes, grows the table or the slab, and uses places again. The
//! checker interrupts them at every atomic access, a few times a run, and lets each load give every value that the memory
//! model allows. That nothing is read before it has been made or after it was dropped is seen by [`Tracked`] keys and
//! values, and by the atomics of nodes and tables: an access that is not ordered after their making, or before their end,
//! fails the test.
//!
//! # What is not checked
//!
//! * The barrier of all threads, `membarrier`, by which [`crate::epoch`] orders a pin: here each pin has a fence instead,
//!   the same code otherwise. That the one does for the other is argued there. Nor threads that end, and the words that
//!   they leave to others. Nor the brief pin, which does what the other one does where that needs no fence, and the
//!   instruction by which tags are compared.
//! * With `--cfg larder_portable_pin` the pin is crossbeam-epoch's. It takes so many steps that one interruption is all that
//!   can be gone through; a thread is registered beforehand, unseen.
//! * The checker takes sequentially consistent fences for a little stronger than they are, and remembers seven stores of a
//!   word. It tries no reordering of a store before a load that precedes it.
//! * Chunks that are given back, columns and queues: they are behind the lock, or reached by the same words.
//!
//! # What it would notice
//!
//! Each of these was tried, one at a time, and failed the tests named:
//!
//! | weakened | noticed by |
//! |---|---|
//! | the place's store in `insert`, the place's load in `find` | `a_key_is_found_while_others_come_and_go`, `a_place_used_again` |
//! | the tag's store, set or cleared; the tags' load; the tag set before the place | `a_tag_is_seen_with_its_place` |
//! | the place's store in `replace` | `an_updated_key`, `a_living_key` |
//! | the place's load of a walk | `a_walk_meets_each_key` |
//! | the overflow counted after the tag is set | `an_overflown_entry_that_was_seen_is_seen_again` |
//! | the overflow count's store, its load | `an_overflown_entry_that_was_seen_to_be_gone` |
//! | the table's store, its load; published before it is filled | `a_key_is_found_while_the_table_grows`, `a_walk_meets_each_key` |
//! | the directory's store, its load | `a_key_is_found_while_the_directory_of_chunks_grows` |
//! | a deadline believed at the first look | `a_living_key` |
//! | the count of holders: its last store, its load; not asked for | `what_is_lent` |
//! | a batch's flag: its store, its load | `what_the_reader_finds_free` |
//! | a batch's flag not waited for | `a_place_used_again`, `what_is_lent` |
//! | in the epoch: either fence, leaving, the look at who is inside or has left | `a_place_used_again` |
//!
//! Two orders are more than the tests ask for: a chunk's pointer is published by the place as well, and that a removal
//! clears the tag before it lowers the counts makes no difference to who loads these with Acquire.

use std::sync::Arc;

use loom::model::Builder;
use loom::sync::atomic::AtomicU32;
use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use loom::thread;

use super::index::{Elsewhere, Table};
use super::queues::Policy;
use super::slab::Chunk;
use super::{Aftermath, Context, Entry, Expect, Glance, Hash, Held, Need, RemovalCause, Settings, Stripe, Supply};
use crate::budget::{Budget, Unit};
use crate::sync::{Pin, flush, pin};

/// How often the two threads of a run are interrupted, at the most.
const INTERRUPTIONS: usize = if cfg!(larder_portable_pin) { 1 } else { 3 };

/// Checks the runs of a reader and a writer that share what `setup` makes, with [`INTERRUPTIONS`], unless
/// `LOOM_MAX_PREEMPTIONS` says otherwise; `finish` looks at what is left.
fn check<T: 'static>(
    setup: impl Fn() -> T + Copy + Send + Sync + 'static,
    reader: fn(&T),
    writer: fn(&T),
    finish: fn(T),
) {
    // The search starts from the run in which the first thread is not interrupted. Where a thread stores to what it has
    // loaded itself, it overlooks that another one had loaded it before; from the other end it does not.
    for [one, other] in [[writer, reader], [reader, writer]] {
        let mut builder = Builder::new();
        builder.max_branches = 20_000;
        builder.preemption_bound = builder.preemption_bound.or(Some(INTERRUPTIONS));
        builder.check(move || {
            register();
            let shared = Arc::new(setup());
            let lent = Arc::clone(&shared);
            let second = thread::spawn(move || {
                register();
                other(&lent);
            });
            one(&shared);
            second.join().expect("the checker ends with the first panic");
            loom::stop_exploring();
            finish(Arc::into_inner(shared).expect("the other thread has ended"));
        });
    }
}

/// Registers this thread with crossbeam-epoch. That and what a first pin does is checked there.
fn register() {
    if cfg!(larder_portable_pin) {
        loom::stop_exploring();
        drop(pin());
        loom::explore();
    }
}

/// What a number of the model becomes when it is dropped.
const DROPPED: u32 = u32::MAX;

/// A key or value. The checker sees to it that it is read only where it is certain to have been made, and dropped only
/// where it is certain that nobody reads it any more.
struct Tracked {
    number: AtomicU32,
    /// Has as many owners as there are numbers that were made and not dropped, and one more.
    _alive: Arc<()>,
}

impl Tracked {
    fn get(&self) -> u32 {
        let number = self.number.load(Relaxed);
        assert_ne!(number, DROPPED, "read after it was dropped");
        number
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        // When the checker has found something it is not to be asked again.
        if !std::thread::panicking() {
            let before = self.number.with_mut(|number| std::mem::replace(number, DROPPED));
            assert_ne!(before, DROPPED, "dropped twice");
        }
    }
}

/// Keys have three digits: the home bucket in a table of two, the tag, and one that tells those from each other which have
/// both in common.
fn hash_of(key: u32) -> Hash {
    Hash::new((key / 100) << 29 | (key / 10 % 10))
}

/// A stripe, and what the cache around it does for it. A value has its key's digits and one for the version.
struct Model {
    stripe: Stripe<Tracked, Tracked>,
    budget: Budget,
    alive: Arc<()>,
    /// By which the writer tells the reader something.
    signal: AtomicU32,
}

impl Model {
    /// With a table of one bucket for 11 entries, or one of two for 19, and batches of so many places.
    fn new(buckets: usize, batch: usize) -> Self {
        let settings = Settings {
            policy: Policy::Lru,
            exact: false,
            unit: Unit::Entries,
            entries: [0, 14][buckets - 1],
            timed: false,
            idle: 0,
            refresh: 0,
            batch,
            tell: false,
            counts_hits: false,
        };
        let stripe = Stripe::new(settings);
        Self { stripe, budget: Budget::new(Unit::Entries, 1000, 1), alive: Arc::default(), signal: AtomicU32::new(0) }
    }

    /// With version 1 of each of these.
    fn with(buckets: usize, keys: &[u32]) -> Self {
        Self::with_batches(1, buckets, keys)
    }

    fn with_batches(batch: usize, buckets: usize, keys: &[u32]) -> Self {
        let model = Self::new(buckets, batch);
        for &key in keys {
            model.insert(key, 1);
        }
        model
    }

    fn run<R>(&self, write: impl FnOnce(Context<'_>, &mut Aftermath<Tracked, Tracked>) -> R) -> R {
        let mut aftermath = Aftermath::new();
        let done = write(Context { budget: &self.budget, now: 0, attempts: 0 }, &mut aftermath);
        aftermath.wait_for_all();
        done
    }

    fn insert(&self, key: u32, version: u32) {
        self.insert_until(key, version, 0);
    }

    fn insert_until(&self, key: u32, version: u32, deadline: u64) {
        let mut entry = Some(self.entry(key, version, deadline));
        let mut write = || {
            self.run(|context, aftermath| self.stripe.write(context, &mut entry, is_same, Expect::Anything, aftermath))
        };
        while let Err(need) = write() {
            self.supply(Supply::allocate(need).expect("no lack of places"));
        }
    }

    /// The fast way, for which there is all it takes.
    fn insert_fast(&self, key: u32, version: u32) {
        let written = self.stripe.write_fast(&self.budget, self.entry(key, version, 0), is_same);
        assert!(written.is_ok(), "more is needed than is at hand");
    }

    fn entry(&self, key: u32, version: u32, deadline: u64) -> Entry<Tracked, Tracked> {
        let tracked = |number| Tracked { number: AtomicU32::new(number), _alive: Arc::clone(&self.alive) };
        let (hash, key, value) = (hash_of(key), tracked(key), tracked(key * 10 + version));
        Entry { hash, key, value, weight: 0, deadline, limit: 0, keeps_time: false }
    }

    fn supply(&self, supply: Supply<Tracked, Tracked>) {
        self.run(|context, aftermath| self.stripe.install(context, supply, false, aftermath));
    }

    /// Makes the table one of two buckets.
    fn grow(&self) {
        let need = Need::Table { entries: 14, dues: false };
        self.supply(Supply::allocate(need).expect("memory"));
    }

    fn remove(&self, key: u32) {
        let is_key = |candidate: &Tracked| candidate.get() == key;
        let removed = self.run(|context, aftermath| {
            self.stripe.remove(context, hash_of(key), is_key, Expect::Anything, RemovalCause::Removed, aftermath)
        });
        assert!(removed.is_some());
    }

    /// Drops and frees what no reader can hold any more.
    fn recycle(&self) {
        flush();
        self.maintain();
    }

    /// As far as that is known already.
    fn maintain(&self) {
        self.run(|context, aftermath| self.stripe.maintain(context, 64, aftermath));
    }

    /// The version of a key's value.
    fn get(&self, key: u32) -> Option<u32> {
        self.find(key, &pin())
    }

    fn find(&self, key: u32, pin: &Pin) -> Option<u32> {
        let (_, node) = self.stripe.find(pin, hash_of(key), |candidate| candidate.get() == key)?;
        Some(version(key, node.value()))
    }

    /// As [`Model::get`], if a glance tells.
    fn glance(&self, key: u32) -> Option<Option<u32>> {
        let pin = pin();
        match self.stripe.glance(&pin, hash_of(key), |candidate: &Tracked| candidate.get() == key) {
            Glance::Done(node) | Glance::Used(_, node) => Some(Some(version(key, node.value()))),
            Glance::Found(place) => Some(Some(version(key, self.stripe.node(place, &pin).value()))),
            Glance::Absent => Some(None),
            Glance::Unclear => None,
        }
    }

    fn hold(&self, key: u32) -> Option<Held<'_, Tracked, Tracked>> {
        let pin = pin();
        let (_, node) = self.stripe.find(&pin, hash_of(key), |candidate| candidate.get() == key)?;
        Some(self.stripe.hold(node, &pin))
    }

    /// How many keys and values there are, retired ones too.
    fn alive(&self) -> usize {
        Arc::strong_count(&self.alive) - 1
    }
}

fn is_same(one: &Tracked, other: &Tracked) -> bool {
    one.get() == other.get()
}

fn version(key: u32, value: &Tracked) -> u32 {
    let value = value.get();
    assert_eq!(value / 10, key, "the value of another key");
    value % 10
}

/// Checks a stripe, and that just what is in it at the end has not been dropped.
fn check_stripe(setup: fn() -> Model, reader: fn(&Model), writer: fn(&Model)) {
    check(setup, reader, writer, |model| {
        model.recycle();
        // What had been set aside before.
        model.recycle();
        // With crossbeam-epoch a thread that is just being torn down may be inside once more.
        if !cfg!(larder_portable_pin) {
            assert_eq!(model.alive(), 2 * model.stripe.len());
        }
        let alive = Arc::clone(&model.alive);
        drop(model);
        assert_eq!(Arc::strong_count(&alive), 1);
    });
}

#[test]
fn a_key_is_found_while_others_come_and_go_in_its_bucket() {
    check_stripe(
        || Model::with(1, &[11, 12, 21]),
        |model| {
            assert_eq!(model.get(11), Some(1));
            // In the place and under the tag of another.
            assert!(matches!(model.get(13), None | Some(1)));
        },
        |model| {
            model.remove(12);
            model.insert(13, 1);
            model.remove(21);
        },
    );
}

#[test]
fn what_a_glance_tells_is_so() {
    check_stripe(
        || Model::with(1, &[11, 12, 21]),
        |model| {
            assert_eq!(model.glance(11), Some(Some(1)));
            assert!(matches!(model.glance(12), Some(None | Some(1))));
            assert!(matches!(model.glance(13), Some(None | Some(1))));
        },
        |model| {
            model.remove(12);
            model.insert(13, 1);
        },
    );
}

#[test]
fn a_tag_is_seen_with_its_place() {
    check_stripe(
        || {
            let model = Model::with(2, &[11, 21, 12, 112]);
            for key in [12, 112] {
                model.remove(key);
                model.recycle();
            }
            model
        },
        |model| assert!(matches!(model.get(13), None | Some(1))),
        |model| {
            // Takes the place that was freed last, and a slot that names the other one, which is still free.
            model.insert(13, 1);
            // Writes the tag once more.
            model.remove(21);
        },
    );
}

#[test]
fn an_updated_key_has_the_old_value_or_the_new() {
    check_stripe(
        || Model::with(1, &[11]),
        |model| {
            let first = model.get(11).expect("there throughout");
            let second = model.get(11).expect("there throughout");
            assert!(1 <= first && first <= second && second <= 2);
        },
        |model| model.insert(11, 2),
    );
}

#[test]
fn what_is_written_the_fast_way_is_whole() {
    check_stripe(
        || Model::with_batches(8, 1, &[11, 12]),
        |model| {
            assert!(matches!(model.get(13), None | Some(1)));
            let first = model.get(11).expect("there throughout");
            let second = model.get(11).expect("there throughout");
            assert!(1 <= first && first <= second && second <= 2);
        },
        |model| {
            model.insert_fast(11, 2);
            model.insert_fast(13, 1);
        },
    );
}

#[test]
fn a_key_is_found_while_the_table_grows() {
    check_stripe(
        || Model::with(1, &[11, 111]),
        |model| {
            assert_eq!(model.get(11), Some(1));
            assert!(matches!(model.get(111), Some(1 | 2)));
        },
        |model| {
            model.grow();
            model.insert(111, 2);
            model.recycle();
        },
    );
}

#[test]
fn a_walk_meets_each_key_once_while_the_table_grows() {
    check_stripe(
        || Model::with(1, &[11, 111]),
        |model| {
            let mut met = Vec::new();
            let mut next = Some(Hash::FIRST);
            while let Some(from) = next {
                next = model.stripe.visit(&pin(), from, |_, node| met.push(node.key().get()));
            }
            met.sort_unstable();
            assert_eq!(met, [11, 111]);
        },
        |model| {
            model.insert(11, 2);
            model.grow();
        },
    );
}

#[test]
fn a_key_is_found_while_the_directory_of_chunks_grows() {
    fn add_chunk(model: &Model) {
        let (chunk, positions) = (Chunk::new(1), [0].into());
        model.supply(Supply::Chunk { chunk, positions, weights: None, links: None, limits: None });
    }
    check_stripe(
        || {
            let model = Model::new(1, 1);
            (0..8).for_each(|_| add_chunk(&model));
            model.insert(11, 1);
            model
        },
        |model| assert_eq!(model.get(11), Some(1)),
        |model| add_chunk(model),
    );
}

#[test]
fn a_place_used_again_under_the_same_tag_is_not_mistaken() {
    check_stripe(
        || Model::with(1, &[11, 12]),
        |model| {
            let pin = pin();
            if let Some((_, node)) = model.stripe.find(&pin, hash_of(12), |key| key.get() == 12) {
                assert!(matches!(model.find(13, &pin), None | Some(1)));
                assert_eq!((node.key().get(), version(12, node.value())), (12, 1), "while it is pinned");
            }
        },
        |model| {
            model.remove(12);
            model.recycle();
            model.insert(13, 1);
        },
    );
}

#[test]
fn what_the_reader_finds_free_is_dropped_after_it_was_read() {
    check_stripe(
        || Model::with(1, &[12]),
        |model| {
            model.get(12);
            flush();
        },
        |model| {
            model.remove(12);
            model.maintain();
        },
    );
}

#[test]
fn what_is_lent_is_not_dropped() {
    check_stripe(
        || Model::with(1, &[12]),
        |model| {
            if let Some(held) = model.hold(12) {
                assert_eq!(version(12, held.value()), 1);
            }
        },
        |model| {
            model.remove(12);
            model.recycle();
            model.recycle();
            model.insert(13, 1);
        },
    );
}

#[test]
fn what_was_removed_before_is_not_found() {
    check_stripe(
        || Model::with(1, &[11, 12]),
        |model| {
            if model.signal.load(Acquire) == 12 {
                assert_eq!((model.get(12), model.get(11)), (None, Some(1)));
            }
        },
        |model| {
            model.grow();
            model.remove(12);
            model.signal.store(12, Release);
            model.recycle();
        },
    );
}

#[test]
fn a_living_key_is_not_taken_for_expired() {
    check_stripe(
        || {
            let model = Model::new(1, 1);
            model.insert_until(11, 1, 10);
            model
        },
        |model| {
            let is_key = |candidate: &Tracked| candidate.get() == 11;
            let now = || 5 + u64::from(model.signal.load(Acquire));
            assert!(model.stripe.find_living(&pin(), hash_of(11), is_key, |_| false, now).is_some());
        },
        |model| {
            model.insert_until(11, 2, 20);
            model.signal.store(10, Release);
        },
    );
}

/// A table whose first bucket is full, and some that went on to the second, with these as their places.
fn overflown(entries: &[u32]) -> Table {
    let table = Table::for_entries(14, false);
    (0..12).for_each(|place| table.insert(hash_of(90), place, 0));
    entries.iter().for_each(|&place| table.insert(hash_of(place), place, 0));
    table
}

fn remove(table: &Table, entry: u32) {
    let slot = table.buckets().find(hash_of(entry), |place| place == entry).expect("filed before");
    table.buckets().remove(hash_of(entry), slot);
}

fn is_filed(table: &Table, entry: u32) -> bool {
    table.buckets().find(hash_of(entry), |place| place == entry).is_some()
}

fn check_table(entries: &'static [u32], reader: fn(&Table), writer: fn(&Table)) {
    check(move || overflown(entries), reader, writer, drop);
}

#[test]
fn an_overflown_entry_is_found_while_others_come_and_go() {
    check_table(
        &[20, 30],
        |table| assert!(is_filed(table, 20)),
        |table| {
            remove(table, 30);
            table.insert(hash_of(40), 40, 0);
        },
    );
}

#[test]
fn a_glance_sees_that_an_entry_may_be_elsewhere() {
    check_table(
        &[20, 30],
        |table| {
            let found = table.buckets().find_at_home(hash_of(20), |place| (place == 20).then_some(()));
            assert!(matches!(found, Err(Elsewhere)));
        },
        |table| {
            remove(table, 30);
            table.insert(hash_of(40), 40, 0);
        },
    );
}

#[test]
fn an_overflown_entry_that_was_seen_is_seen_again() {
    check_table(
        &[20],
        |table| assert!(!is_filed(table, 30) || is_filed(table, 30)),
        |table| {
            remove(table, 20);
            table.insert(hash_of(30), 30, 0);
        },
    );
}

#[test]
fn an_overflown_entry_that_was_seen_to_be_gone_stays_so() {
    check_table(
        &[20],
        |table| assert!(is_filed(table, 20) || !is_filed(table, 20)),
        |table| {
            remove(table, 20);
            table.insert(hash_of(30), 30, 0);
        },
    );
}
