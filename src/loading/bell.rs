//! How a thread waits for a future.
//!
//! Knows nothing of loads: a thread is a task whose waker rings a bell.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{self, Poll, Wake, Waker};

use parking_lot::{Condvar, Mutex};

/// What wakes a thread that waits.
#[derive(Default)]
pub(super) struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.rung.lock() = true;
        self.changed.notify_one();
    }
}

impl Bell {
    pub(super) fn wait(&self) {
        let mut rung = self.rung.lock();
        while !std::mem::take(&mut *rung) {
            self.changed.wait(&mut rung);
        }
    }
}

/// Blocks this thread until a future is ready.
pub(super) fn wait_for<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    // Most callers need not wait, and need no bell.
    if let Poll::Ready(result) = future.as_mut().poll(&mut task::Context::from_waker(Waker::noop())) {
        return result;
    }
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut task::Context::from_waker(&waker)) {
            return result;
        }
        bell.wait();
    }
}
