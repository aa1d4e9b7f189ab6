//! Counts the bytes that are allocated while a count is under way.
//!
//! Knows nothing of caches. Outside of a count an allocation costs one load of a flag more than the system's own, so
//! that timings are not disturbed. Sizes are those that were asked for: what an allocator adds to them is its own
//! affair.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicIsize, Ordering::Relaxed},
};

static COUNTING: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicIsize = AtomicIsize::new(0);

/// The system's allocator, with a count that can be switched on.
pub(crate) struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(change: isize) {
    if COUNTING.load(Relaxed) {
        LIVE.fetch_add(change, Relaxed);
    }
}

/// The size as a signed number: no object is larger than `isize::MAX`.
fn signed(layout: Layout) -> isize {
    layout.size() as isize
}

// SAFETY: every call goes to `System` with the arguments it came with, and its result is handed back as it is; the
// counters allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout));
        // SAFETY: the caller keeps `GlobalAlloc::alloc`'s contract, which is also `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(signed(layout));
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-signed(layout));
        // SAFETY: the block came from `System` through this allocator, with this layout.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - signed(layout));
        // SAFETY: as in `dealloc`; the new size is the caller's to vouch for.
        unsafe { System.realloc(block, layout, size) }
    }
}

/// A count under way: what was allocated since it began, less what was freed. One at a time.
pub(crate) struct Count;

impl Count {
    /// Starts at zero.
    pub(crate) fn start() -> Self {
        LIVE.store(0, Relaxed);
        COUNTING.store(true, Relaxed);
        Count
    }

    /// The bytes now in use of those allocated since the start; below zero if older ones were freed meanwhile.
    pub(crate) fn live(&self) -> isize {
        LIVE.load(Relaxed)
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        COUNTING.store(false, Relaxed);
    }
}
