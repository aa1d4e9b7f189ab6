//! Tasks that load and wait: in turn, cancelled, and beside threads.

use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use larder::Cache;

use crate::lab::{Key, Task, block_on, crowd, dawdle, is_first, lock, never, run_all};

#[test]
fn tasks_on_one_thread_share_a_load() {
    let cache: Cache<u32, String> = Cache::new(100);
    let loads = Cell::new(0);
    let ask = |number: usize| {
        let (cache, loads) = (&cache, &loads);
        Task::new(async move {
            dawdle(number % 3).await;
            let load = async {
                loads.set(loads.get() + 1);
                dawdle(5).await;
                format!("by {number}")
            };
            cache.get_or_insert_async(number as u32 / 10, load).await
        })
    };
    let values = run_all((0..40).map(ask).collect());
    assert_eq!(loads.get(), 4);
    for tens in values.chunks(10) {
        assert!(tens.iter().all(|value| *value == tens[0]), "{tens:?}");
    }
    cache.validate();
}

#[test]
fn tasks_that_fail_panic_and_give_up_hand_over_in_turn() {
    let cache: Cache<u32, usize> = Cache::new(100);
    let order = Mutex::new(Vec::new());
    let ask = |number: usize| {
        let (cache, order) = (&cache, &order);
        Task::new(async move {
            let load = async {
                lock(order).push(number);
                dawdle(number).await;
                if number < 5 { Err(number) } else { Ok(number) }
            };
            cache.try_get_or_insert_async(1, load).await
        })
    };
    let results = run_all((0..9).map(ask).collect());
    assert_eq!(results, [Err(0), Err(1), Err(2), Err(3), Err(4), Ok(5), Ok(5), Ok(5), Ok(5)]);
    assert_eq!(*lock(&order), [0, 1, 2, 3, 4, 5], "in the order in which they came");
    cache.validate();
}

#[test]
fn dropping_a_future_that_loads_hands_over() {
    let cache: Cache<u32, u32> = Cache::new(100);
    let mut first = Task::new(cache.get_or_insert_async(1, never()));
    let mut second = Task::new(cache.get_or_insert_async(1, async { 2 }));
    let mut third = Task::new(cache.get_or_insert_async(1, async { unreachable!("the second gives a value") }));
    assert!(first.poll().is_pending() && second.poll().is_pending() && third.poll().is_pending());
    assert!(second.poll().is_pending() && third.poll().is_pending(), "however often they are polled");
    drop(first);
    assert_eq!((second.wakes(), third.wakes()), (1, 0), "only who is next is woken");
    assert!(third.poll().is_pending(), "it is not its turn");
    assert_eq!(second.poll(), Poll::Ready(2));
    assert_eq!((second.wakes(), third.wakes()), (1, 1));
    assert_eq!(third.poll(), Poll::Ready(2));
    assert_eq!(cache.get(&1), Some(2));
    assert_eq!(cache.stats().loads, 1);
    cache.validate();
}

#[test]
fn dropping_a_future_whose_turn_has_come_hands_over() {
    let cache: Cache<u32, u32> = Cache::new(100);
    let ask = |value| Task::new(cache.get_or_insert_async(1, async move { value }));
    let mut first = Task::new(cache.get_or_insert_async(1, never()));
    let (mut second, mut third, mut fourth, mut fifth) = (ask(2), ask(3), ask(4), ask(5));
    assert!(first.poll().is_pending() && second.poll().is_pending() && third.poll().is_pending());
    assert!(fourth.poll().is_pending() && fifth.poll().is_pending());
    drop(third);
    drop(first);
    assert_eq!((second.wakes(), fourth.wakes()), (1, 0));
    drop(second);
    assert_eq!((fourth.wakes(), fifth.wakes()), (1, 0), "the third has left before");
    drop(fourth);
    assert_eq!(fifth.wakes(), 1);
    let mut late = ask(6);
    assert!(late.poll().is_pending(), "the fifth is to load");
    drop(fifth);
    assert_eq!(late.poll(), Poll::Ready(6));
    assert_eq!(cache.stats().load_failures, 0);
    cache.validate();
}

#[test]
fn the_last_to_give_up_leaves_nothing_behind() {
    let cache: Cache<Arc<u32>, u32> = Cache::new(100);
    let key = Arc::new(1);
    let ask = || Task::new(cache.get_or_insert_async(Arc::clone(&key), never()));
    let (mut first, mut second) = (ask(), ask());
    assert!(first.poll().is_pending() && second.poll().is_pending());
    drop(second);
    drop(first);
    assert_eq!(Arc::strong_count(&key), 1);
    assert_eq!(cache.get_or_insert_with(Arc::clone(&key), || 3), 3);
    assert_eq!(Arc::strong_count(&key), 2);
}

#[test]
fn a_future_does_nothing_before_it_is_polled() {
    let cache: Cache<u32, u32> = Cache::builder().max_entries(100).record_stats().build().unwrap();
    drop(cache.get_or_insert_async(1, never()));
    let idle = cache.get_or_insert_async(1, never());
    assert_eq!(cache.get_or_insert_with(1, || 2), 2);
    assert_eq!(block_on(idle), 2);
    assert_eq!((cache.stats().hits, cache.stats().misses), (1, 1));
}

/// Notes what happens, one after the other.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<&'static str>>>);

struct NoteOnDrop(Notes, &'static str);

impl Drop for NoteOnDrop {
    fn drop(&mut self) {
        lock(&self.0.0).push(self.1);
    }
}

impl Wake for NoteOnDrop {
    fn wake(self: Arc<Self>) {
        lock(&self.0.0).push(self.1);
    }
}

#[test]
fn a_load_that_is_cancelled_is_dropped_before_the_next_one_is_woken() {
    let cache: Cache<u32, u32> = Cache::new(100);
    let notes = Notes::default();
    let mut first = Task::new(cache.get_or_insert_async(1, async {
        let _held = NoteOnDrop(notes.clone(), "dropped");
        never().await
    }));
    assert!(first.poll().is_pending());
    let waker = Arc::new(NoteOnDrop(notes.clone(), "woken")).into();
    let mut second = pin!(cache.get_or_insert_async(1, async { 2 }));
    assert!(second.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(first);
    assert_eq!(*lock(&notes.0), ["dropped", "woken"]);
    assert_eq!(second.poll(&mut Context::from_waker(&waker)), Poll::Ready(2));
}

#[test]
fn threads_and_tasks_wait_for_one_another() {
    // A thread loads, or a task does; it gives a value, or gives up.
    for (leader_blocks, gives_up) in [(true, false), (true, true), (false, false), (false, true)] {
        let cache: Cache<Key, usize> = Cache::new(100);
        let loads = AtomicUsize::new(0);
        let results = crowd(8, |number, key, all_wait| {
            let load = || {
                // Whoever is the first; the next are given the key only when it has begun.
                if is_first(&loads) {
                    all_wait();
                    if gives_up {
                        return Err(());
                    }
                }
                Ok(number)
            };
            if (number % 2 == 0) == leader_blocks {
                cache.try_get_or_insert_with(key, load)
            } else {
                block_on(cache.try_get_or_insert_async(key, async { load() }))
            }
        });
        let value = cache.get(&Key::new(1)).unwrap();
        assert_eq!(results.iter().filter(|result| **result == Ok(value)).count(), if gives_up { 7 } else { 8 });
        assert_eq!(loads.into_inner(), if gives_up { 2 } else { 1 });
        cache.validate();
    }
}

#[test]
fn futures_can_be_sent() {
    fn assert_send<T: Send>(_: &T) {}
    let cache: Cache<String, Vec<u8>> = Cache::new(100);
    assert_send(&cache.get_or_insert_async(String::new(), async { Vec::new() }));
    assert_send(&cache.try_get_or_insert_async(String::new(), async { Err::<_, String>(String::new()) }));
    fn assert_shared<T: Send + Sync>() {}
    assert_shared::<Cache<String, Vec<u8>>>();
}

#[test]
fn a_waker_that_panics_keeps_nobody_asleep() {
    /// Panics when it is to wake.
    struct Blows;

    impl Wake for Blows {
        fn wake(self: Arc<Self>) {
            panic!("this waker wakes nobody");
        }
    }

    let cache: Cache<u32, u32> = Cache::new(100);
    let (blows, woken) = (Arc::new(Blows).into(), Arc::new(Woken::default()));
    let waker = Arc::clone(&woken).into();
    let mut leader = pin!(cache.get_or_insert_async(1, async {
        dawdle(1).await;
        5
    }));
    let mut first = pin!(cache.get_or_insert_async(1, async { unreachable!("another has loaded") }));
    let mut second = pin!(cache.get_or_insert_async(1, async { unreachable!("another has loaded") }));
    assert!(leader.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(first.as_mut().poll(&mut Context::from_waker(&blows)).is_pending());
    assert!(second.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let loaded = catch_unwind(AssertUnwindSafe(|| leader.as_mut().poll(&mut Context::from_waker(Waker::noop()))));
    assert!(loaded.is_err(), "who loads hears of it");
    assert!(woken.0.load(SeqCst));
    assert_eq!(second.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Ready(5));
    assert_eq!(first.as_mut().poll(&mut Context::from_waker(&blows)), Poll::Ready(5));
    cache.validate();
}

/// Notes that it was to wake.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

#[test]
fn a_call_takes_little_more_room_than_its_loader() {
    let cache: Cache<u32, u32> = Cache::new(100);
    let load = || async {
        let held = [7_u8; 4096];
        dawdle(1).await;
        u32::from(held[usize::from(held[0])])
    };
    let most = 2 * size_of_val(&load()) + 1024;
    assert!(size_of_val(&cache.get_or_insert_async(1, load())) <= most);
    let fallible = || async { Ok::<u32, ()>(load().await) };
    assert!(size_of_val(&cache.try_get_or_insert_async(1, fallible())) <= most + 16);
}
