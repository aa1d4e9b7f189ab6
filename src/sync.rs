//! The primitives of concurrency that the engine uses, named in one place, so that the model
//! checker can put its own in their stead, and the epoch's pin, so that another scheme can be tried.
//!
//! Knows nothing of caches.
//!
//! **The pin.** On Linux it is [`crate::epoch`]'s, which needs no fence. Elsewhere, and with `--cfg larder_portable_pin`,
//! it is crossbeam-epoch's. Either way all caches of a program share it, and a thread registers at its first pin.

#[cfg(not(loom))]
pub(crate) use parking_lot::{Mutex, MutexGuard};
#[cfg(not(loom))]
pub(crate) use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

#[cfg(loom)]
pub(crate) use loom::sync::{
    Arc, MutexGuard,
    atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

#[cfg(all(target_os = "linux", not(larder_portable_pin)))]
pub(crate) use crate::epoch::{BriefPin, Pin, flush, is_pinned, pin, pin_briefly, when_all_have_left};
#[cfg(any(not(target_os = "linux"), larder_portable_pin))]
pub(crate) use portable::{BriefPin, Pin, flush, is_pinned, pin, pin_briefly, when_all_have_left};

/// Whether a pin always waits for the loads before it, and holds up those after it: then it is worth the while to start
/// them first.
pub(crate) const PIN_IS_FENCED: bool = cfg!(any(not(target_os = "linux"), larder_portable_pin));

#[cfg(all(target_os = "linux", not(larder_portable_pin)))]
pub(crate) use for_own_pin::{fence, statics};

/// What only the crate's own pin needs.
#[cfg(all(target_os = "linux", not(larder_portable_pin)))]
mod for_own_pin {
    #[cfg(loom)]
    pub(crate) use loom::sync::atomic::fence;
    #[cfg(not(loom))]
    pub(crate) use std::sync::atomic::fence;

    /// Declares statics. The model checker starts each of its runs with new ones.
    macro_rules! statics {
        ($($(#[$attribute:meta])* static $name:ident: $type:ty = $value:expr;)*) => {
            $(
                #[cfg(not(loom))]
                $(#[$attribute])*
                static $name: $type = $value;
            )*
            #[cfg(loom)]
            loom::lazy_static! { $($(#[$attribute])* static ref $name: $type = $value;)* }
        };
    }
    pub(crate) use statics;
}

/// The pin by crossbeam-epoch.
#[cfg(any(not(target_os = "linux"), larder_portable_pin))]
mod portable {
    use super::{Arc, AtomicBool, Ordering};
    use crossbeam_epoch::Guard;

    /// A proof that this thread is pinned to an epoch of the crate's own collector: whatever was
    /// reachable when the pin was taken stays allocated and unchanged until it is dropped.
    pub(crate) struct Pin(Guard);

    #[cfg(not(loom))]
    mod registry {
        use super::Pin;
        use crossbeam_epoch::{Collector, LocalHandle};
        use std::sync::OnceLock;
        use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

        /// All caches of a program share one: its garbage is only ever a flag that this crate wants set, so a pin never
        /// runs another library's destructors, as it would in the process-wide default collector.
        static COLLECTOR: OnceLock<Collector> = OnceLock::new();

        /// Flags that were handed to the collector, and that it has not set. Relaxed: it orders nothing.
        static WAITING: AtomicUsize = AtomicUsize::new(0);

        thread_local! {
            static HANDLE: LocalHandle = register();
        }

        fn register() -> LocalHandle {
            COLLECTOR.get_or_init(Collector::new).register()
        }

        /// Pins the current thread. Costs one full fence, or next to nothing where it is pinned.
        #[inline]
        pub(crate) fn pin() -> Pin {
            // A thread that is being torn down has lost its handle; it may still drop a value that
            // uses a cache, so it gets a handle for this one pin.
            HANDLE.try_with(|handle| Pin(handle.pin())).unwrap_or_else(|_| Pin(register().pin()))
        }

        /// Whether the current thread is inside a pin.
        pub(crate) fn is_pinned() -> bool {
            HANDLE.try_with(LocalHandle::is_pinned).unwrap_or(false)
        }

        pub(crate) fn count_handed_over() {
            WAITING.fetch_add(1, Relaxed);
        }

        pub(crate) fn count_set() {
            WAITING.fetch_sub(1, Relaxed);
        }

        pub(crate) fn waiting() -> usize {
            WAITING.load(Relaxed)
        }
    }

    #[cfg(loom)]
    mod registry {
        use super::Pin;

        /// The model checker starts every execution anew, which only the default collector, made of
        /// the checker's own lazily set statics, follows.
        pub(crate) fn pin() -> Pin {
            Pin(crossbeam_epoch::pin())
        }

        pub(crate) fn is_pinned() -> bool {
            crossbeam_epoch::is_pinned()
        }

        /// There are so few in a run of the checker's that they need no count.
        pub(crate) fn count_handed_over() {}

        pub(crate) fn count_set() {}

        pub(crate) fn waiting() -> usize {
            1
        }
    }

    use registry::{count_handed_over, count_set, waiting};
    pub(crate) use registry::{is_pinned, pin};

    /// There is none: no pin is plainer than [`pin`] here.
    pub(crate) type BriefPin = Pin;

    #[inline]
    pub(crate) fn pin_briefly() -> Option<BriefPin> {
        None
    }

    /// Sets the flags when every thread that is pinned now has unpinned at least once.
    pub(crate) fn when_all_have_left(flags: impl IntoIterator<Item = Arc<AtomicBool>>, _urgent: bool) {
        let pin = pin();
        for flag in flags {
            count_handed_over();
            // Release pairs with the Acquire of whoever asks the flag: what the threads that were
            // pinned did before they left is seen by who finds it set.
            pin.0.defer(move || {
                flag.store(true, Ordering::Release);
                count_set();
            });
        }
        pin.0.flush();
    }

    /// The epoch advances by one at most each time, and after three what was retired before the first is free.
    const ROUNDS: usize = 4;

    /// Lets the collector set the flags that are due. Of no use inside a pin, which holds the epoch.
    pub(crate) fn flush() {
        // The collector looks at a few flags each time, so it is called for as long as there are fewer afterwards.
        let (mut left, mut in_vain) = (waiting(), 0);
        while left > 0 && in_vain < ROUNDS {
            pin().0.flush();
            if is_pinned() {
                break;
            }
            let now = waiting();
            in_vain = if now < left { 0 } else { in_vain + 1 };
            left = now;
        }
    }
}

/// The checker's lock, with the face of parking_lot's: it is never poisoned.
#[cfg(loom)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

#[cfg(loom)]
impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    #[cfg(not(larder_portable_pin))]
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
