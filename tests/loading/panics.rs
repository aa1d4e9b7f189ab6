//! Code of the user's that panics at any moment loses nothing and nobody.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use larder::{Cache, ManualClock, RemovalCause};

use crate::lab::{Constant, Fragile, Key, Task, crowd, dawdle, give_up, is_first};

#[test]
fn a_value_that_panics_when_cloned_hands_over() {
    let alive = Arc::new(AtomicI64::new(0));
    let cache: Cache<Key, Fragile> = Cache::new(100);
    let loads = AtomicUsize::new(0);
    let results = crowd(4, |_, key, all_wait| {
        let loaded = catch_unwind(AssertUnwindSafe(|| {
            cache.get_or_insert_with(key, || {
                if is_first(&loads) {
                    all_wait();
                    return Fragile::new(1, |_| give_up(), &alive);
                }
                Fragile::new(2, |_| (), &alive)
            })
        }));
        loaded.map_or(0, |value| value.id)
    });
    assert_eq!(results.iter().filter(|id| **id == 0).count(), 1, "{results:?}");
    assert_eq!(results.iter().filter(|id| **id == 2).count(), 3, "{results:?}");
    cache.validate();
    drop(cache);
    assert_eq!(alive.load(SeqCst), 0);
}

#[test]
fn a_weigher_or_listener_that_panics_loses_nobody() {
    // The weigher panics at the first entry that is odd; the listener at each that is replaced by expiry.
    let clock = ManualClock::new();
    let cache: Cache<Key, u32> = Cache::builder()
        .max_bytes(64 << 10)
        .weigher(|_, value: &u32| if *value == 1 { give_up() } else { 8 })
        .time_to_live(Duration::from_secs(1))
        .clock(clock.clone())
        .on_removal(|_, _, cause| {
            if cause == RemovalCause::Expired {
                give_up()
            }
        })
        .build()
        .unwrap();
    let ask = |key, value, all_wait: &dyn Fn(), loads: &AtomicUsize| {
        catch_unwind(AssertUnwindSafe(|| {
            cache.get_or_insert_with(key, || {
                if is_first(loads) {
                    all_wait();
                    return value;
                }
                2
            })
        }))
        .unwrap_or(0)
    };
    let loads = AtomicUsize::new(0);
    let mut results = crowd(4, |_, key, all_wait| ask(key, 1, all_wait, &loads));
    results.sort_unstable();
    assert_eq!((&*results, loads.into_inner()), (&[0, 2, 2, 2][..], 2), "the weigher panics, the next one loads");
    cache.validate();

    clock.advance(Duration::from_secs(1));
    let loads = AtomicUsize::new(0);
    let mut results = crowd(4, |_, key, all_wait| ask(key, 3, all_wait, &loads));
    results.sort_unstable();
    assert_eq!(loads.into_inner(), 1, "the value has been stored when the listener panics");
    assert!(matches!(results[..], [0 | 3, 3, 3, 3]), "{results:?}");
    assert_eq!(cache.peek(&Key::new(1)), Some(3));
    cache.validate();
}

/// Where user code runs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    Hash,
    Eq,
    Clone,
    Drop,
    Weigh,
    Listen,
}

thread_local! {
    /// The moment that panics, and how many of its kind pass first.
    static FUSE: Cell<Option<(Moment, u32)>> = const { Cell::new(None) };
}

/// Called at every moment.
fn reach(moment: Moment) {
    match FUSE.get() {
        Some((at, 0)) if at == moment && !thread::panicking() => {
            FUSE.set(None);
            give_up();
        }
        Some((at, left)) if at == moment => FUSE.set(Some((at, left.saturating_sub(1)))),
        _ => {}
    }
}

/// A key or value that counts its kind and reaches every moment.
struct Touchy {
    id: u32,
    alive: Arc<AtomicI64>,
}

impl Touchy {
    fn new(id: u32, alive: &Arc<AtomicI64>) -> Self {
        alive.fetch_add(1, SeqCst);
        Self { id, alive: Arc::clone(alive) }
    }
}

impl Clone for Touchy {
    fn clone(&self) -> Self {
        reach(Moment::Clone);
        Self::new(self.id, &self.alive)
    }
}

impl PartialEq for Touchy {
    fn eq(&self, other: &Self) -> bool {
        reach(Moment::Eq);
        self.id == other.id
    }
}

impl Eq for Touchy {}

impl Hash for Touchy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        reach(Moment::Hash);
        state.write_u32(self.id);
    }
}

impl Drop for Touchy {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, SeqCst);
        reach(Moment::Drop);
    }
}

/// What happens to the key while its load is under way.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meanwhile {
    Nothing,
    Insert,
    Remove,
    /// A removal, and another load.
    Renew,
    Fail,
    Cancel,
}

#[test]
fn user_code_that_panics_at_any_moment_loses_nothing_and_nobody() {
    use Meanwhile::*;
    use Moment::*;
    for moment in [Hash, Eq, Clone, Drop, Weigh, Listen] {
        for meanwhile in [Nothing, Insert, Remove, Renew, Fail, Cancel] {
            for is_old in [false, true] {
                let mut passes = 0;
                while panics_after(moment, passes, meanwhile, is_old) {
                    passes += 1;
                    assert!(passes < 1_000, "{moment:?}, {meanwhile:?}, old: {is_old}: something else panics");
                }
                assert!(passes > 0 || meanwhile != Nothing, "{moment:?} is reached");
            }
        }
    }
}

/// Has three callers load a key that is missing, or old, the first through a moment that panics. Whether that was reached.
fn panics_after(moment: Moment, passes: u32, meanwhile: Meanwhile, is_old: bool) -> bool {
    let what = format!("{moment:?} after {passes}, {meanwhile:?}, old: {is_old}");
    let alive = Arc::new(AtomicI64::new(0));
    let touchy = |id| Touchy::new(id, &alive);
    let clock = ManualClock::new();
    // All keys have one hash, so that each look compares. One entry has expired, so that a write displaces it.
    let cache: Cache<Touchy, Touchy, _> = Cache::builder()
        .max_bytes(64 << 10)
        .hasher(Constant)
        .clock(clock.clone())
        .weigher(|_: &Touchy, _: &Touchy| {
            reach(Moment::Weigh);
            8
        })
        .on_removal(|_, _, _| reach(Moment::Listen))
        .refresh_after(Duration::from_secs(1))
        .build()
        .unwrap();
    cache.insert(touchy(9), touchy(9));
    if is_old {
        cache.insert(touchy(1), touchy(1));
    }
    cache.insert_with_ttl(touchy(8), touchy(8), Duration::from_secs(1));
    clock.advance(Duration::from_secs(1));

    let ask = |value| {
        let load = async move {
            dawdle(2).await;
            if value == 1 && meanwhile == Meanwhile::Fail { Err(()) } else { Ok(touchy(value)) }
        };
        Some(Task::new(cache.try_get_or_insert_async(touchy(1), load)))
    };
    let mut tasks = [ask(1), ask(2), ask(3)];
    let mut panicked = false;
    let mut attempt = |step: &mut dyn FnMut()| {
        let caught = catch_unwind(AssertUnwindSafe(step)).is_err();
        panicked |= caught;
        caught
    };
    FUSE.set(Some((moment, passes)));
    for task in &mut tasks {
        // A future that panicked is done with, as is one that was given the old value.
        let mut done = false;
        let broken = attempt(&mut || done = task.as_mut().is_some_and(|task| task.step().is_some()));
        if done || broken {
            attempt(&mut || drop(task.take()));
        }
    }
    attempt(&mut || match meanwhile {
        Meanwhile::Nothing | Meanwhile::Fail => {}
        Meanwhile::Insert => cache.insert(touchy(1), touchy(5)),
        Meanwhile::Remove | Meanwhile::Renew => drop(cache.invalidate(&touchy(1))),
        Meanwhile::Cancel => tasks[0] = None,
    });
    if meanwhile == Meanwhile::Renew {
        let mut renewed = ask(4);
        attempt(&mut || drop(renewed.as_mut().map(Task::step)));
        attempt(&mut || drop(renewed.take()));
    }
    for round in 0.. {
        assert!(round < 100, "{what}: somebody waits for ever");
        for task in &mut tasks {
            let mut done = false;
            let broken = attempt(&mut || done = task.as_mut().is_none_or(|task| task.step().is_some()));
            if done || broken {
                attempt(&mut || *task = None);
            }
        }
        if tasks.iter().all(Option::is_none) {
            break;
        }
    }
    FUSE.set(None);
    drop(tasks);
    cache.validate();
    assert!(Task::new(async { cache.get_or_insert_with(touchy(1), || touchy(6)).id }).poll().is_ready(), "{what}");
    assert_eq!(cache.get(&touchy(9)).map(|value| value.id), Some(9), "{what}");
    cache.validate();
    drop(cache);
    assert_eq!(alive.load(SeqCst), 0, "{what}: all was dropped once");
    panicked
}
