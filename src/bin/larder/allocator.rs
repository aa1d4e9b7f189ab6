//! The program's allocator: mimalloc for what is small, the system's for the rest.
//!
//! An item is one block of memory, so what the allocator adds to each block is part of what an item costs. mimalloc adds
//! nothing of its own and rounds up to one of four sizes between two powers of two: little for a block of a hundred bytes,
//! and up to a quarter of one of a thousand. glibc's adds eight bytes and rounds up to sixteen, whatever the size. Resident
//! bytes for each of a million blocks of 57, 125 and 1,049 bytes (values of 32, 100 and 1,024): mimalloc 64, 128 and 1,280,
//! glibc 80, 144 and 1,056. With blocks of random sizes up to 100 KB, replaced at random for a long time, 256 MiB of them
//! kept 313 to 370 MiB resident with mimalloc, and 276 MiB with glibc or with both as here.
//!
//! glibc is told to do with one arena, and to map blocks from 128 KiB on alone. Left to itself it gives threads arenas of
//! their own, and what one thread frees is of no use to the others: 256 MiB of items of random sizes, overwritten 24 times by
//! two threads, kept 319 to 403 MiB resident, and 256 to 265 MiB so.
//!
//! Both are told the size when something is given back, so which of them it came from need not be written down.

use std::alloc::{GlobalAlloc, Layout, System};

use mimalloc::MiMalloc;

/// The largest block that is small: beyond it, to round up costs more than eight bytes and the rounding to sixteen.
const SMALL: usize = 256;

/// Blocks of so many bytes and more have pages of their own, and leave no holes.
#[cfg(target_env = "gnu")]
const MAPPED: libc::c_int = 128 << 10;

/// mimalloc's option for how long memory that is not in use stays with the process; it has no name in the bindings.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// A second, unless it is told otherwise, while glibc's part may grow by all that was freed.
const PURGE_AFTER_MILLIS: libc::c_long = 50;

/// Sets both allocators up. To be called before there is a second thread.
pub(crate) fn set_up() {
    // SAFETY: options are numbers, known or not, and no other thread allocates meanwhile.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_AFTER_MILLIS) };
    #[cfg(target_env = "gnu")]
    // SAFETY: `mallopt` takes any two numbers, and no other thread allocates meanwhile.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED);
    }
}

/// Returns what is free to the system, wherever it lies. Takes some 10 milliseconds for each 100 MiB, in which nobody else
/// allocates what is not small.
pub(crate) fn give_back() {
    // What is of other threads' heaps stays there; memory that nobody has any more goes.
    // SAFETY: it may be called by any thread at any time.
    unsafe { libmimalloc_sys::mi_collect(true) };
    #[cfg(target_env = "gnu")]
    // SAFETY: as above.
    unsafe {
        libc::malloc_trim(0);
    }
}

pub(crate) struct BySize;

fn is_small(size: usize) -> bool {
    size <= SMALL
}

// SAFETY: every call is passed on, with the caller's own promises, to one of two allocators that keep the contract. A block
// is given back to the one that it came from, since that follows from its layout, which the caller gives back unchanged.
unsafe impl GlobalAlloc for BySize {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, passed on.
        unsafe { if is_small(layout.size()) { MiMalloc.alloc(layout) } else { System.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, passed on.
        unsafe { if is_small(layout.size()) { MiMalloc.alloc_zeroed(layout) } else { System.alloc_zeroed(layout) } }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on to the allocator that has given this block: it was asked by this layout.
        unsafe { if is_small(layout.size()) { MiMalloc.dealloc(block, layout) } else { System.dealloc(block, layout) } }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as in `dealloc`, where block and new size belong to the same allocator. Where they do not, the new block
        // is as large as was asked for, with the same alignment, a size that the caller has promised to be right; what is
        // copied is in both blocks, which are different ones; and the old one is given back only if there is a new one.
        unsafe {
            match (is_small(layout.size()), is_small(size)) {
                (true, true) => MiMalloc.realloc(block, layout, size),
                (false, false) => System.realloc(block, layout, size),
                _ => {
                    let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                    if !moved.is_null() {
                        moved.copy_from_nonoverlapping(block, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                    moved
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The option has the number that it had.
    #[test]
    fn memory_is_purged_after_a_second_unless_it_is_told_otherwise() {
        let delay = || {
            // SAFETY: options are numbers, known or not.
            unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) }
        };
        assert_eq!(delay(), 1000);
        set_up();
        assert_eq!(delay(), PURGE_AFTER_MILLIS);
    }
}
