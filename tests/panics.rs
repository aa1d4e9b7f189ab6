//! User code that panics inside a call, or uses the cache from there, wherever a cache runs any.
//!
//! Knows the public calls only. Keys, values, weigher, listener and closures all report what they are about to
//! do; a test lays a fuse at one of these moments, after so many others of its kind, and something happens there.
//! Every combination of a call, a moment and an event is tried on a cache of its own, which afterwards
//! has to be valid, to count right, to work, and to have dropped everything once.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use larder::{Cache, Change, Outcome, Policy};

/// Where user code runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    Hash,
    Eq,
    Clone,
    Drop,
    Weigh,
    Listen,
    Read,
    Decide,
}

const MOMENTS: [Moment; 8] = [
    Moment::Hash,
    Moment::Eq,
    Moment::Clone,
    Moment::Drop,
    Moment::Weigh,
    Moment::Listen,
    Moment::Read,
    Moment::Decide,
];

struct Fuse {
    moment: Moment,
    /// How many of its kind pass first.
    after: u32,
    event: Box<dyn FnOnce()>,
}

thread_local! {
    static FUSE: RefCell<Option<Fuse>> = const { RefCell::new(None) };
}

/// Called at every moment.
fn reach(moment: Moment) {
    let reached = FUSE.try_with(|fuse| {
        let mut fuse = fuse.borrow_mut();
        let laid = fuse.as_mut().filter(|fuse| fuse.moment == moment)?;
        if laid.after > 0 {
            laid.after -= 1;
            return None;
        }
        fuse.take()
    });
    if let Ok(Some(fuse)) = reached {
        (fuse.event)();
    }
}

fn lay(moment: Moment, after: u32, event: impl FnOnce() + 'static) {
    FUSE.set(Some(Fuse { moment, after, event: Box::new(event) }));
}

/// Whether the fuse was still there.
fn take_fuse() -> bool {
    FUSE.take().is_some()
}

/// What a panic of ours carries. It is raised without a message: there are thousands.
struct Blown(Moment);

fn blow(moment: Moment) {
    resume_unwind(Box::new(Blown(moment)));
}

/// How many keys and values are alive.
#[derive(Clone, Debug, Default)]
struct Alive(Arc<AtomicI64>);

impl Alive {
    fn count(&self) -> i64 {
        self.0.load(Relaxed)
    }

    fn key(&self, id: u64) -> Key {
        self.0.fetch_add(1, Relaxed);
        Key { id, alive: self.clone() }
    }

    fn value(&self, id: u64, size: usize) -> Value {
        self.0.fetch_add(1, Relaxed);
        Value { id, bytes: vec![id as u8; size], alive: self.clone() }
    }
}

struct Key {
    id: u64,
    alive: Alive,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        reach(Moment::Hash);
        self.id.hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        reach(Moment::Eq);
        self.id == other.id
    }
}

impl Eq for Key {}

impl Clone for Key {
    fn clone(&self) -> Self {
        reach(Moment::Clone);
        self.alive.key(self.id)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.alive.0.fetch_sub(1, Relaxed);
        reach(Moment::Drop);
    }
}

struct Value {
    id: u64,
    bytes: Vec<u8>,
    alive: Alive,
}

impl Clone for Value {
    fn clone(&self) -> Self {
        reach(Moment::Clone);
        self.alive.value(self.id, self.bytes.len())
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.alive.0.fetch_sub(1, Relaxed);
        reach(Moment::Drop);
    }
}

/// A reader of any cache keeps what is retired in all of them: one test at a time.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static RUNS: Mutex<()> = Mutex::new(());
    RUNS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    Exact,
    S3Fifo,
    Bytes,
}

const SHAPES: [Shape; 3] = [Shape::Exact, Shape::S3Fifo, Shape::Bytes];

/// A full cache, with something retired and something expired in it.
struct Lab {
    shape: Shape,
    cache: Cache<Key, Value>,
    alive: Alive,
}

/// A key that is there, unless it was evicted.
const PRESENT: u64 = 29;
/// One that is not.
const ABSENT: u64 = 1_000;

impl Lab {
    fn new(shape: Shape) -> Self {
        let listener = |_: &Key, _: &Value, _| reach(Moment::Listen);
        let builder = Cache::builder().on_removal(listener).record_stats();
        let weigher = |_: &Key, value: &Value| {
            reach(Moment::Weigh);
            value.bytes.capacity() as u64
        };
        let cache = match shape {
            Shape::Exact => builder.max_entries(16).build(),
            Shape::S3Fifo => builder.max_entries(24).stripes(2).policy(Policy::S3Fifo).build(),
            Shape::Bytes => builder.max_bytes(16 << 10).stripes(1).weigher(weigher).build(),
        };
        let lab = Self { shape, cache: cache.unwrap(), alive: Alive::default() };
        (0..=PRESENT).for_each(|id| lab.insert(id));
        lab.cache.insert_with_ttl(lab.alive.key(500), lab.alive.value(500, 10), Duration::from_nanos(1));
        lab.insert(PRESENT);
        lab
    }

    fn insert(&self, id: u64) {
        self.cache.insert(self.alive.key(id), self.alive.value(id, 300));
    }

    fn contents(&self) -> BTreeMap<u64, *const Value> {
        self.cache.iter().map(|entry| (entry.key().id, std::ptr::from_ref(entry.value()))).collect()
    }

    /// Does a call in which nothing happens yet.
    fn call(&self, call: Call) {
        let key = self.alive.key(call.id);
        (call.run)(self, &key);
    }

    #[track_caller]
    fn assert_in_order(&self, after: &str) {
        self.cache.validate();
        let stats = self.cache.stats();
        let gone = stats.evictions + stats.expirations + stats.removals;
        assert_eq!(stats.inserts, stats.entries + gone, "{after}: {stats:?}");
        for entry in &self.cache {
            assert_eq!(entry.key().id, entry.value().id, "{after}");
            assert!(entry.bytes.iter().all(|&byte| byte == entry.id as u8), "{after}");
        }
    }

    /// The cache works: what is put in is there, and what is taken out is not.
    #[track_caller]
    fn assert_of_use(&self, after: &str) {
        for id in [PRESENT, ABSENT, 7] {
            self.insert(id);
            let key = self.alive.key(id);
            assert_eq!(self.cache.read(&key, |value| value.id), Some(id), "{after}");
            assert!(self.cache.invalidate(&key), "{after}");
            assert!(!self.cache.contains_key(&key), "{after}");
        }
        (0..100).for_each(|id| self.insert(id));
        let limit_holds = match self.shape {
            Shape::Exact => self.cache.len() == 16,
            Shape::S3Fifo => self.cache.len() == 24,
            Shape::Bytes => self.cache.used_bytes() <= 16 << 10,
        };
        assert!(limit_holds, "{after}: {:?}", self.cache.stats());
    }

    /// Nothing is lost and nothing is dropped twice.
    #[track_caller]
    fn finish(self, after: &str) {
        self.cache.maintain();
        self.assert_in_order(after);
        assert_eq!(self.alive.count(), 2 * self.cache.len() as i64, "{after}: keys and values alive");
        drop(self.cache);
        assert_eq!(self.alive.count(), 0, "{after}: keys and values alive after the cache was dropped");
    }
}

/// One call of the cache on one key.
#[derive(Clone, Copy)]
struct Call {
    name: &'static str,
    id: u64,
    run: Run,
}

type Run = fn(&Lab, &Key);

/// Whether this is user code of ours that runs within a call.
fn keep(moment: Moment) -> bool {
    reach(moment);
    true
}

const CALLS: &[(&str, Run)] = &[
    ("insert", |lab, key| lab.insert(key.id)),
    ("insert large", |lab, key| lab.cache.insert(lab.alive.key(key.id), lab.alive.value(key.id, 2_000))),
    ("try_insert too large", |lab, key| {
        drop(lab.cache.try_insert(lab.alive.key(key.id), lab.alive.value(key.id, 40_000)));
    }),
    ("insert_with_ttl", |lab, key| {
        let ttl = Duration::from_secs(1);
        lab.cache.insert_with_ttl(lab.alive.key(key.id), lab.alive.value(key.id, 300), ttl);
    }),
    ("insert_with_ttl zero", |lab, key| {
        lab.cache.insert_with_ttl(lab.alive.key(key.id), lab.alive.value(key.id, 300), Duration::ZERO);
    }),
    ("insert_many", |lab, key| {
        lab.cache.insert_many((key.id..key.id + 3).map(|id| (lab.alive.key(id), lab.alive.value(id, 300))));
    }),
    ("get", |lab, key| drop(lab.cache.get(key))),
    ("read", |lab, key| _ = lab.cache.read(key, |_| keep(Moment::Read))),
    ("get_ref", |lab, key| drop(lab.cache.get_ref(key))),
    ("peek", |lab, key| drop(lab.cache.peek(key))),
    ("contains_key", |lab, key| _ = lab.cache.contains_key(key)),
    ("time_left", |lab, key| _ = lab.cache.time_left(key)),
    ("get_many", |lab, key| drop(lab.cache.get_many([key, &lab.alive.key(3), &lab.alive.key(27), key]))),
    ("get_ref, held", |lab, key| {
        let entry = lab.cache.get_ref(key);
        reach(Moment::Read);
        drop(entry);
    }),
    ("iter", |lab, _| lab.cache.iter().for_each(|_| _ = keep(Moment::Read))),
    ("keys", |lab, _| lab.cache.keys().for_each(drop)),
    ("remove", |lab, key| drop(lab.cache.remove(key))),
    ("invalidate", |lab, key| _ = lab.cache.invalidate(key)),
    ("remove_if", |lab, key| drop(lab.cache.remove_if(key, |_, _| keep(Moment::Decide)))),
    ("retain all", |lab, _| lab.cache.retain(|_, _| keep(Moment::Decide))),
    ("retain none", |lab, _| lab.cache.retain(|_, _| !keep(Moment::Decide))),
    ("retain half", |lab, _| lab.cache.retain(|key, _| keep(Moment::Decide) && key.id % 2 == 0)),
    ("clear", |lab, _| lab.cache.clear()),
    ("touch", |lab, key| _ = lab.cache.touch(key, Duration::from_secs(1))),
    ("touch zero", |lab, key| _ = lab.cache.touch(key, Duration::ZERO)),
    ("compute: put", |lab, key| {
        lab.cache.compute(key, |_| {
            let (key, value) = (lab.alive.key(key.id), lab.alive.value(key.id, 100));
            reach(Moment::Decide);
            Change::Put(key, value)
        });
    }),
    ("compute: put with ttl", |lab, key| {
        lab.cache.compute(key, |_| {
            reach(Moment::Decide);
            Change::PutWithTtl(lab.alive.key(key.id), lab.alive.value(key.id, 2_000), Duration::from_secs(9))
        });
    }),
    ("compute: remove", |lab, key| {
        lab.cache.compute(key, |_| {
            reach(Moment::Decide);
            Change::Remove
        });
    }),
    ("compute: keep", |lab, key| {
        lab.cache.compute(key, |_| {
            reach(Moment::Decide);
            Change::Keep
        });
    }),
    ("lower limit", |lab, _| match lab.shape {
        Shape::Exact => (4..=16).rev().step_by(12).for_each(|entries| lab.cache.set_max_entries(entries).unwrap()),
        Shape::S3Fifo => lab.cache.set_max_entries(4).unwrap(),
        Shape::Bytes => drop(lab.cache.set_max_bytes(8 << 10)),
    }),
    ("maintain", |lab, _| lab.cache.maintain()),
    ("stats", |lab, _| {
        // Both of one reading: other threads go on meanwhile.
        let stats = lab.cache.stats();
        assert!(stats.retired_bytes <= stats.bytes);
        assert!(lab.cache.len() <= 24 || lab.shape == Shape::Bytes);
    }),
];

/// Every call, on a key that is there and on one that is not.
fn calls() -> impl Iterator<Item = Call> {
    let calls = CALLS.iter().flat_map(|&(name, run)| [PRESENT, ABSENT].map(|id| Call { name, id, run }));
    calls.filter(|call| call.id == PRESENT || !["iter", "keys", "clear", "maintain", "stats"].contains(&call.name))
}

/// Sets the limit to what it was before "lower limit".
fn restore_limit(lab: &Lab) {
    match lab.shape {
        Shape::Exact => lab.cache.set_max_entries(16).unwrap(),
        Shape::S3Fifo => lab.cache.set_max_entries(24).unwrap(),
        Shape::Bytes => lab.cache.set_max_bytes(16 << 10).unwrap(),
    }
}

/// Every panic in every call: it reaches the caller, and the cache is as good as before.
#[test]
fn a_panic_anywhere_does_no_harm() {
    let _one = one_at_a_time();
    let mut blown = BTreeMap::new();
    for shape in SHAPES {
        for (call, moment) in calls().flat_map(|call| MOMENTS.map(|moment| (call, moment))) {
            for after in 0.. {
                let what = format!("{shape:?}, {} of {}, {moment:?} after {after}", call.name, call.id);
                let lab = Lab::new(shape);
                lay(moment, after, move || blow(moment));
                let result = catch_unwind(AssertUnwindSafe(|| lab.call(call)));
                if take_fuse() {
                    assert!(result.is_ok());
                    lab.finish(&what);
                    break;
                }
                let panic = result.expect_err(&what);
                assert!(panic.downcast::<Blown>().is_ok_and(|blown| blown.0 == moment), "{what}: another panic");
                lab.assert_in_order(&what);
                restore_limit(&lab);
                lab.assert_of_use(&what);
                lab.finish(&what);
                *blown.entry(moment).or_insert(0) += 1;
            }
        }
    }
    let often = |moment| blown.get(moment).is_some_and(|&times| times > 10);
    assert!(MOMENTS.iter().all(often), "not tried: {blown:?}");
}

/// Whatever is done to the cache from within any call: nothing waits for itself, and all is well afterwards.
///
/// Of all combinations of two calls every eighth is tried, each call with each moment of the other among them.
#[test]
fn the_cache_can_be_used_wherever_user_code_runs() {
    let _one = one_at_a_time();
    let calls: Vec<Call> = calls().collect();
    let mut met = BTreeMap::new();
    // Keys are also compared while a lock is held.
    let moments = MOMENTS.into_iter().filter(|&moment| moment != Moment::Eq);
    for (shape, moment) in SHAPES.into_iter().flat_map(|shape| moments.clone().map(move |moment| (shape, moment))) {
        let outer = calls.iter().filter(|&&call| reaches(shape, call, moment));
        for (number, outer) in outer.enumerate() {
            for (inner, after) in calls.iter().skip(number % 8).step_by(8).flat_map(|&inner| [(inner, 0), (inner, 1)]) {
                let what = format!(
                    "{shape:?}, {} of {} in {} of {}, {moment:?} after {after}",
                    inner.name, inner.id, outer.name, outer.id
                );
                let lab = Rc::new(Lab::new(shape));
                let within = Rc::clone(&lab);
                lay(moment, after, move || within.call(inner));
                lab.call(*outer);
                if !take_fuse() {
                    *met.entry(moment).or_insert(0) += 1;
                }
                lab.assert_in_order(&what);
                restore_limit(&lab);
                Rc::into_inner(lab).expect("the fuse is gone").finish(&what);
            }
        }
    }
    assert!(met.len() == 7 && met.values().all(|&times| times > 50), "not tried: {met:?}");
}

/// Whether a call comes to such a moment at all.
fn reaches(shape: Shape, call: Call, moment: Moment) -> bool {
    let lab = Lab::new(shape);
    lay(moment, 0, || ());
    lab.call(call);
    !take_fuse()
}

/// What panics before anything was written leaves the entry of the key as it was.
#[test]
fn a_panic_before_the_write_changes_nothing() {
    let _one = one_at_a_time();
    let whole = ["insert_many", "clear", "lower limit", "maintain"];
    let calls: Vec<Call> = calls().filter(|call| !whole.contains(&call.name)).collect();
    for (shape, call) in SHAPES.into_iter().flat_map(|shape| calls.iter().map(move |&call| (shape, call))) {
        for moment in [Moment::Hash, Moment::Eq, Moment::Weigh, Moment::Decide] {
            let lab = Lab::new(shape);
            let before = lab.contents();
            lay(moment, 0, move || blow(moment));
            let panicked = catch_unwind(AssertUnwindSafe(|| lab.call(call))).is_err();
            if !take_fuse() {
                let what = format!("{shape:?}, {} of {}, {moment:?}", call.name, call.id);
                assert!(panicked, "{what}");
                // Some may have been evicted or have expired on the way.
                assert!(lab.contents().iter().all(|(id, entry)| before.get(id) == Some(entry)), "{what}");
                assert_eq!(before.get(&call.id), lab.contents().get(&call.id), "{what}");
            }
            lab.finish("afterwards");
        }
    }
}

/// A listener that panics again and again: all entries are told all the same, and limits hold in the end.
#[test]
fn a_listener_that_panics_hears_of_every_entry() {
    let _one = one_at_a_time();
    let told = Rc::new(Cell::new(0_u64));
    let heard = Arc::new(AtomicI64::new(0));
    let count = Arc::clone(&heard);
    let listener = move |key: &u64, _: &u64, _| {
        count.fetch_add(1, Relaxed);
        if key % 3 == 0 {
            blow(Moment::Listen);
        }
    };
    let cache: Cache<u64, u64> = Cache::builder().max_entries(200).stripes(4).on_removal(listener).build().unwrap();
    let panics = Cell::new(0);
    let attempt = |call: &dyn Fn()| {
        let result = catch_unwind(AssertUnwindSafe(call));
        panics.set(panics.get() + u32::from(result.is_err()));
    };
    for key in 0..1_000 {
        attempt(&|| cache.insert(key, key));
        cache.validate();
        assert!(cache.len() <= 200);
        told.set(told.get() + 1);
    }
    for key in 0..1_000 {
        attempt(&|| _ = cache.invalidate(&key));
        attempt(&|| cache.insert(key, key));
        told.set(told.get() + 1);
    }
    attempt(&|| cache.set_max_entries(10).unwrap());
    attempt(&|| cache.insert(5, 5));
    told.set(told.get() + 1);
    attempt(&|| cache.set_max_entries(10).unwrap());
    while cache.len() > 10 {
        let before = cache.len();
        attempt(&|| cache.set_max_entries(10).unwrap());
        assert!(cache.len() < before, "{before} entries, and the limit is 10");
    }
    for _ in 0..20 {
        attempt(&|| cache.clear());
    }
    cache.validate();
    assert!(cache.is_empty());
    assert_eq!(heard.load(Relaxed) as u64, told.get());
    assert!(panics.get() > 100);
}

/// A cache that is dropped drops all of its entries, though some of them panic.
#[test]
fn a_hit_is_counted_before_its_closure_runs() {
    let hour = Duration::from_secs(3600);
    let builders = [Cache::builder().max_entries(1000), Cache::builder().max_entries(1000).time_to_live(hour)];
    for builder in builders {
        let cache: Cache<u32, u32> = builder.record_stats().build().expect("a valid choice");
        cache.insert(1, 10);
        // Twice in a thread that has counted nothing before.
        let looks = || {
            let panics = || cache.read(&1, |_| -> u32 { resume_unwind(Box::new(())) });
            assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
            assert_eq!(cache.read(&1, |_| cache.stats().hits), Some(2));
            assert_eq!(cache.get(&2), None);
        };
        thread::scope(|scope| scope.spawn(looks).join()).expect("its panic is caught");
        assert_eq!((cache.stats().hits, cache.stats().misses), (2, 1));
        cache.validate();
    }
}

#[test]
fn drops_that_panic_when_the_cache_is_dropped() {
    let _one = one_at_a_time();
    for shape in SHAPES {
        for after in 0..50 {
            let Lab { cache, alive, .. } = Lab::new(shape);
            lay(Moment::Drop, after, || blow(Moment::Drop));
            let result = catch_unwind(AssertUnwindSafe(|| drop(cache)));
            let blown = !take_fuse();
            assert_eq!(result.is_err(), blown, "{shape:?}, after {after}: the caller hears of it");
            assert_eq!(alive.count(), 0, "{shape:?}, after {after}");
        }
    }
}

/// All of them, not only the first: what a call drops after a panic may panic as well.
#[test]
fn all_that_one_call_drops_may_panic() {
    /// Panics when it is dropped, and is counted then.
    struct Blows<'a>(&'a AtomicI64);

    impl Drop for Blows<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
            blow(Moment::Drop);
        }
    }

    let _one = one_at_a_time();
    let dropped: &'static AtomicI64 = Box::leak(Box::default());
    let cache: Cache<u64, Blows> =
        Cache::builder().max_entries(1_000).on_removal(|_, _, _| blow(Moment::Listen)).build().unwrap();
    (0..300).for_each(|key| cache.insert(key, Blows(dropped)));
    for key in 0..100 {
        assert!(catch_unwind(AssertUnwindSafe(|| cache.invalidate(&key))).is_err(), "the listener panics");
    }
    let panics = (0..1_000).take_while(|_| catch_unwind(AssertUnwindSafe(|| cache.maintain())).is_err()).count();
    assert!(panics < 100, "{panics} calls panicked, for 100 values");
    assert_eq!((dropped.load(Relaxed), cache.len()), (100, 200));
    cache.validate();
    assert!(catch_unwind(AssertUnwindSafe(|| drop(cache))).is_err());
    assert_eq!(dropped.load(Relaxed), 300);
}

/// What is to leave has left, even if a listener or a destructor panics at one of the first, or at every entry.
#[test]
fn a_call_that_makes_many_entries_go_is_not_ended_by_a_panic() {
    /// Panics when it is dropped, if a fuse says so.
    #[derive(Clone)]
    struct Value;

    impl Drop for Value {
        fn drop(&mut self) {
            reach(Moment::Drop);
        }
    }

    let _one = one_at_a_time();
    let builder = || Cache::<u64, Value>::builder().on_removal(|_, _, _| reach(Moment::Listen));
    let entries = |stripes| builder().max_entries(1_000).stripes(stripes).build().unwrap();
    let bytes = |stripes| builder().max_bytes(1_000_000).weigher(|_, _| 200).stripes(stripes).build().unwrap();
    fn lay_all(moment: Moment) {
        lay(moment, 0, move || {
            lay_all(moment);
            blow(moment);
        });
    }
    type Lay = fn(Moment);
    let lays: [Lay; 2] = [|moment| lay(moment, 3, move || blow(moment)), lay_all];
    for (moment, lay) in [Moment::Drop, Moment::Listen].into_iter().flat_map(|moment| lays.map(|lay| (moment, lay))) {
        for cache in [entries(1), entries(8), bytes(1), bytes(8)] {
            for key in 0..5_000 {
                cache.insert(key, Value);
            }
            let before = cache.len();
            let lower = || match before {
                1_000 => cache.set_max_entries(10).unwrap(),
                _ => cache.set_max_bytes(400_000).unwrap(),
            };
            lay(moment);
            let lowered = catch_unwind(AssertUnwindSafe(lower));
            take_fuse();
            assert!(lowered.is_err(), "{moment:?} {cache:?} of {before}");
            assert!(if before == 1_000 { cache.len() <= 10 } else { cache.used_bytes() <= 400_000 }, "{cache:?}");
            assert!(!cache.is_empty(), "{cache:?}");
            lay(moment);
            let cleared = catch_unwind(AssertUnwindSafe(|| cache.clear()));
            take_fuse();
            assert!(cleared.is_err() || moment == Moment::Drop, "{moment:?}");
            assert!(cache.is_empty(), "{cache:?}");
            cache.validate();
        }
    }
}

/// Threads that panic at random moments beside each other, or do something else there.
#[test]
fn panics_in_many_threads_at_once() {
    let _one = one_at_a_time();
    for shape in SHAPES {
        let lab = Lab::new(shape);
        thread::scope(|scope| {
            for seed in 0..3_u64 {
                let lab = &lab;
                scope.spawn(move || {
                    let calls: Vec<Call> = calls().collect();
                    for step in 0..3_000 {
                        let mixed = (seed << 32 | step).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
                        let call = Call { id: mixed % 40, ..calls[(mixed >> 8) as usize % calls.len()] };
                        let moment = MOMENTS[(mixed >> 20) as usize % MOMENTS.len()];
                        lay(moment, (mixed >> 30) as u32 % 4, move || blow(moment));
                        let result = catch_unwind(AssertUnwindSafe(|| lab.call(call)));
                        assert_eq!(result.is_err(), !take_fuse());
                    }
                });
            }
        });
        lab.assert_in_order("many threads");
        restore_limit(&lab);
        lab.assert_of_use("many threads");
        lab.finish("many threads");
    }
}

/// `compute` sees what its own closure did.
#[test]
fn compute_asks_again_when_its_closure_has_changed_the_entry() {
    let _one = one_at_a_time();
    let cache: Cache<u64, u64> = Cache::new(100);
    let mut seen = Vec::new();
    let outcome = cache.compute(&1, |entry| {
        seen.push(entry.map(|(_, value)| *value));
        if seen.len() < 4 {
            cache.insert(1, seen.len() as u64);
        }
        Change::Put(1, 100)
    });
    assert_eq!(outcome, Outcome::Updated);
    assert_eq!(seen, [None, Some(1), Some(2), Some(3)]);
    assert_eq!(cache.get(&1), Some(100));

    let mut asked = 0;
    let removed = cache.remove_if(&1, |_, value| {
        asked += 1;
        if asked == 1 {
            cache.compute(&1, |_| Change::Put(1, 101));
        }
        *value >= 100
    });
    assert_eq!((removed, asked), (Some(101), 2));
    cache.validate();
}
