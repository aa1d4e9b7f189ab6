//! The first panic of the user's code, kept until all is done that has to be done whether it panics or not.
//!
//! Knows nothing of caches.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread::panicking;

#[derive(Default)]
pub(crate) struct FirstPanic(Option<Box<dyn Any + Send>>);

impl FirstPanic {
    /// Runs a step; whether it came to its end.
    pub(crate) fn catch(&mut self, step: impl FnOnce()) -> bool {
        let caught = catch_unwind(AssertUnwindSafe(step)).map_err(|panic| self.0.get_or_insert(panic));
        caught.is_ok()
    }

    /// Lets the panic go on, if there was one and no other is under way.
    pub(crate) fn resume(self) {
        if let Some(panic) = self.0.filter(|_| !panicking()) {
            resume_unwind(panic);
        }
    }
}
