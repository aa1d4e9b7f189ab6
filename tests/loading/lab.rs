//! Keys, values, callers and tasks that the tests of loading share.

use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number that only grows, and that threads can wait for.
#[derive(Default)]
pub(crate) struct Count {
    reached: Mutex<usize>,
    changed: Condvar,
}

impl Count {
    pub(crate) fn add(&self) {
        *lock(&self.reached) += 1;
        self.changed.notify_all();
    }

    pub(crate) fn wait_for(&self, number: usize) {
        let (reached, waited) =
            self.changed.wait_timeout_while(lock(&self.reached), PATIENCE, |reached| *reached < number).unwrap();
        assert!(!waited.timed_out(), "waited for {number}, came to {}", *reached);
    }
}

/// A key that can't be cloned and says when it is compared, which happens under a lock: whoever takes the
/// same lock afterwards finds the caller waiting.
pub(crate) struct Key {
    pub(crate) id: u32,
    pub(crate) compared: Arc<Count>,
}

impl Key {
    pub(crate) fn new(id: u32) -> Self {
        Self { id, compared: Arc::default() }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.compared.add();
        self.id == other.id
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

/// Has so many threads ask for one key. Each is given its number, the key, and a function that returns when all
/// the others wait, for the loader that runs first.
pub(crate) fn crowd<R: Send>(callers: usize, call: impl Fn(usize, Key, &dyn Fn()) -> R + Sync) -> Vec<R> {
    let waiting = Arc::new(Count::default());
    thread::scope(|scope| {
        let callers = (0..callers).map(|number| {
            let (call, waiting) = (&call, Arc::clone(&waiting));
            let key = Key { id: 1, compared: Arc::clone(&waiting) };
            scope.spawn(move || call(number, key, &|| waiting.wait_for(callers - 1)))
        });
        let callers: Vec<_> = callers.collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    })
}

/// Whether this loader is the first of all.
pub(crate) fn is_first(loads: &AtomicUsize) -> bool {
    loads.fetch_add(1, SeqCst) == 0
}

/// A panic that prints nothing.
pub(crate) fn give_up() -> ! {
    resume_unwind(Box::new("gave up"))
}

pub(crate) fn message_of(call: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(call)).expect_err("panics");
    panic.downcast_ref::<&str>().map(ToString::to_string).or(panic.downcast_ref::<String>().cloned()).unwrap()
}

/// How often it was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// A future with a waker of its own, polled by hand.
pub(crate) struct Task<'t, R> {
    future: Pin<Box<dyn Future<Output = R> + 't>>,
    woken: Arc<Woken>,
}

impl<'t, R> Task<'t, R> {
    pub(crate) fn new(future: impl Future<Output = R> + 't) -> Self {
        Self { future: Box::pin(future), woken: Arc::default() }
    }

    pub(crate) fn poll(&mut self) -> Poll<R> {
        let waker = Waker::from(Arc::clone(&self.woken));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// As `poll`, for who only wants the result.
    pub(crate) fn step(&mut self) -> Option<R> {
        match self.poll() {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        }
    }

    pub(crate) fn wakes(&self) -> usize {
        self.woken.0.load(SeqCst)
    }
}

/// Wakes a thread that waits for a task.
impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.add();
    }
}

/// Blocks on a future, polls it only when it was woken.
pub(crate) fn block_on<R>(future: impl Future<Output = R>) -> R {
    let mut future = pin!(future);
    let bell = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&bell));
    for wakes in 1.. {
        if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return result;
        }
        bell.wait_for(wakes);
    }
    unreachable!("the loop above ends by returning")
}

/// Polls tasks in turn, each only when it was woken since, until all are done.
pub(crate) fn run_all<R>(mut tasks: Vec<Task<'_, R>>) -> Vec<R> {
    let mut results: Vec<_> = tasks.iter_mut().map(Task::step).collect();
    let mut seen = vec![0; tasks.len()];
    while results.iter().any(Option::is_none) {
        let mut any = false;
        for (number, task) in tasks.iter_mut().enumerate() {
            if results[number].is_none() && task.wakes() != seen[number] {
                any = true;
                seen[number] = task.wakes();
                results[number] = task.step();
            }
        }
        assert!(any, "not all are done and nobody was woken: a wake-up was lost");
    }
    results.into_iter().flatten().collect()
}

/// Is pending so many times, and has itself polled again.
pub(crate) async fn dawdle(times: usize) {
    let mut left = times;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Is never ready.
pub(crate) async fn never<R>() -> R {
    std::future::pending().await
}

#[derive(Clone, Copy)]
pub(crate) struct Constant;

impl BuildHasher for Constant {
    type Hasher = Constant;

    fn build_hasher(&self) -> Constant {
        Constant
    }
}

impl Hasher for Constant {
    fn write(&mut self, _: &[u8]) {}

    fn finish(&self) -> u64 {
        7
    }
}

/// A value that does something when it is cloned.
pub(crate) struct Fragile {
    pub(crate) id: u32,
    pub(crate) on_clone: fn(u32),
    pub(crate) alive: Arc<AtomicI64>,
}

impl Fragile {
    pub(crate) fn new(id: u32, on_clone: fn(u32), alive: &Arc<AtomicI64>) -> Self {
        alive.fetch_add(1, SeqCst);
        Self { id, on_clone, alive: Arc::clone(alive) }
    }
}

impl Clone for Fragile {
    fn clone(&self) -> Self {
        (self.on_clone)(self.id);
        Self::new(self.id, self.on_clone, &self.alive)
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, SeqCst);
    }
}

/// Numbers below the one that is asked with, the same for the same seed.
pub(crate) fn rng(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    move |end| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % end
    }
}
