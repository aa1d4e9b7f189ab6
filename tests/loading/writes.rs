//! What is written to a key while it is loaded wins over the load.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use larder::{Cache, Change, Outcome};

use crate::lab::{Count, Key, Task, block_on, crowd, dawdle, run_all};

#[test]
fn what_is_written_during_a_load_wins() {
    type Subject = Cache<Key, u32>;
    type Write = (&'static str, fn(&Subject), Option<u32>);
    let writes: [Write; 10] = [
        ("insert", |cache| cache.insert(Key::new(1), 5), Some(5)),
        ("insert_with_ttl", |cache| cache.insert_with_ttl(Key::new(1), 5, Duration::from_secs(9)), Some(5)),
        ("insert that is over at once", |cache| cache.insert_with_ttl(Key::new(1), 5, Duration::ZERO), None),
        ("try_insert", |cache| cache.try_insert(Key::new(1), 5).unwrap(), Some(5)),
        ("remove", |cache| assert_eq!(cache.remove(&Key::new(1)), None), None),
        ("invalidate", |cache| assert!(!cache.invalidate(&Key::new(1))), None),
        ("clear", |cache| cache.clear(), None),
        (
            "compute",
            |cache| assert_eq!(cache.compute(&Key::new(1), |_| Change::Put(Key::new(1), 5)), Outcome::Inserted),
            Some(5),
        ),
        (
            "insert and remove",
            |cache| {
                cache.insert(Key::new(1), 5);
                assert!(cache.invalidate(&Key::new(1)));
            },
            None,
        ),
        ("a write of another key", |cache| cache.insert(Key::new(2), 5), Some(7)),
    ];
    for (name, write, left) in writes {
        let cache = Subject::new(100);
        let values = crowd(3, |_, key, all_wait| {
            cache.get_or_insert_with(key, || {
                all_wait();
                // Takes the lock under which the others have compared, and joined.
                cache.get_or_insert_with(Key::new(3), || 3);
                write(&cache);
                7
            })
        });
        assert_eq!(values, [7; 3], "{name}: who waits gets what was loaded");
        assert_eq!(cache.get(&Key::new(1)), left, "{name}");
        assert_eq!(cache.get_or_insert_with(Key::new(1), || 8), left.unwrap_or(8), "{name}: afterwards");
        cache.validate();
    }
}

#[test]
fn who_comes_after_a_removal_is_not_given_what_was_loaded_before() {
    type Write = (&'static str, fn(&Cache<u32, u32>));
    let writes: [Write; 3] = [
        ("remove", |cache| assert!(!cache.invalidate(&1))),
        ("clear", |cache| cache.clear()),
        ("insert and remove", |cache| {
            cache.insert(1, 5);
            cache.remove(&1);
        }),
    ];
    for (name, write) in writes {
        // The old load gives a value before the new one does, or after it, or gives up.
        for (old_pauses, gives_up) in [(1, false), (4, false), (4, true)] {
            let cache: Cache<u32, u32> = Cache::new(100);
            let loads = Cell::new(0);
            let ask = |value, pauses| {
                let (cache, loads) = (&cache, &loads);
                let load = async move {
                    loads.set(loads.get() + 1);
                    dawdle(pauses).await;
                    if gives_up && value == 10 { Err(()) } else { Ok(value) }
                };
                Task::new(async move { cache.try_get_or_insert_async(1, load).await })
            };
            let (mut old, mut waiter) = (ask(10, old_pauses), ask(11, 0));
            assert!(old.poll().is_pending() && waiter.poll().is_pending());
            write(&cache);
            let (mut new, mut second) = (ask(20, 2), ask(21, 0));
            assert!(new.poll().is_pending() && second.poll().is_pending());
            assert_eq!(loads.get(), 2, "{name}: the new one loads, the second waits for it");
            let results = run_all(vec![old, waiter, new, second]);
            let old = if gives_up { [Err(()), Ok(20)] } else { [Ok(10); 2] };
            assert_eq!(results, [old[0], old[1], Ok(20), Ok(20)], "{name}");
            assert_eq!((cache.get(&1), loads.get()), (Some(20), 2), "{name}");
            cache.validate();
        }
    }
}

#[test]
fn writes_by_another_thread_win_in_both_forms() {
    let cache: Cache<u32, u32> = Cache::new(100);
    let load = || {
        thread::scope(|scope| scope.spawn(|| cache.insert(1, 5)).join().unwrap());
        7
    };
    assert_eq!((cache.get_or_insert_with(1, load), cache.remove(&1)), (7, Some(5)));
    assert_eq!((block_on(cache.get_or_insert_async(1, async { load() })), cache.remove(&1)), (7, Some(5)));
    cache.validate();
}

#[test]
fn an_entry_of_compute_and_a_load_see_each_other() {
    let cache: Cache<u32, u32> = Cache::new(100);
    // Inside the decision of `compute` no lock is held: a load may run, and then it is decided again.
    let outcome = cache.compute(&1, |entry| match entry {
        None => {
            cache.get_or_insert_with(1, || 10);
            Change::Put(1, 0)
        }
        Some((_, value)) => Change::Put(1, value + 1),
    });
    assert_eq!((outcome, cache.get(&1)), (Outcome::Updated, Some(11)));
    // Nor inside `read`.
    assert_eq!(cache.read(&1, |value| value + cache.get_or_insert_with(2, || 20)), Some(31));
    cache.validate();
}

/// A key that comes into the cache while a caller who missed it is about to load it: when it is hashed once more.
struct Late {
    hashed: AtomicU32,
    compared: Arc<Count>,
}

/// A value of which the first clone takes until another asks for the key.
struct Found {
    text: &'static str,
    is_slow: AtomicBool,
}

static LATE: OnceLock<Cache<Late, Found>> = OnceLock::new();
static IS_CLONED: OnceLock<(Count, Arc<Count>)> = OnceLock::new();

impl Late {
    fn new() -> Self {
        // Past the one hash at which something happens.
        Self { hashed: AtomicU32::new(2), compared: Arc::default() }
    }
}

impl Hash for Late {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if self.hashed.fetch_add(1, SeqCst) == 1 {
            let value = Found { text: "old", is_slow: AtomicBool::new(true) };
            LATE.get().unwrap().insert(Late::new(), value);
        }
        state.write_u32(1);
    }
}

impl PartialEq for Late {
    fn eq(&self, _: &Self) -> bool {
        self.compared.add();
        true
    }
}

impl Eq for Late {}

impl Clone for Found {
    fn clone(&self) -> Self {
        if self.is_slow.swap(false, SeqCst) {
            let (is_cloned, compared) = IS_CLONED.get().unwrap();
            is_cloned.add();
            // Once with the entry that is being cloned, and once more under the lock under which the other joins.
            compared.wait_for(2);
        }
        Self { text: self.text, is_slow: AtomicBool::new(false) }
    }
}

#[test]
fn who_comes_after_a_removal_is_not_given_what_another_caller_found_before() {
    let cache = LATE.get_or_init(|| Cache::new(100));
    let key = Late { hashed: AtomicU32::new(0), compared: Arc::default() };
    let (is_cloned, _) = IS_CLONED.get_or_init(|| (Count::default(), Arc::clone(&key.compared)));
    let value = |text| Found { text, is_slow: AtomicBool::new(false) };
    thread::scope(|scope| {
        let first = scope.spawn(|| cache.get_or_insert_with(key, || value("the first caller's")).text);
        is_cloned.wait_for(1);
        assert!(cache.invalidate(&Late::new()));
        assert_eq!(cache.get_or_insert_with(Late::new(), || value("new")).text, "new");
        assert_eq!(first.join().unwrap(), "old");
    });
    assert_eq!(cache.get(&Late::new()).map(|value| value.text), Some("new"));
    cache.validate();
}
