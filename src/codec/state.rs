//! State that is made once per thread and kept: compressors' tables, buffers.

use std::cell::Cell;
#[cfg(any(feature = "deflate", feature = "lz4", feature = "snappy", feature = "zstd"))]
use std::thread::LocalKey;

/// The place where a thread keeps a `T` while it doesn't use it.
#[cfg(any(feature = "deflate", feature = "lz4", feature = "snappy", feature = "zstd"))]
pub(super) type Kept<T> = LocalKey<Cell<Option<T>>>;

/// Runs `work` with the thread's own `T`, made anew if there is none: at the first call, inside another call's `work`, after
/// one that panicked, and while the thread is being torn down.
#[cfg(any(feature = "deflate", feature = "lz4", feature = "snappy", feature = "zstd"))]
pub(super) fn with<T, R>(kept: &'static Kept<T>, make: fn() -> T, work: impl FnOnce(&mut T) -> R) -> R {
    let mut state = kept.try_with(Cell::take).ok().flatten().unwrap_or_else(make);
    let result = work(&mut state);
    // A thread that is being torn down keeps nothing.
    let _ = kept.try_with(|cell| cell.set(Some(state)));
    result
}

/// Buffers that a thread keeps: one for each call inside another that uses one.
const MOST_BUFFERS: usize = 4;
/// What a buffer may keep between two calls, in bytes.
const MOST_RETAINED: usize = 256 << 10;

thread_local! {
    static BUFFERS: Cell<Vec<Vec<u8>>> = const { Cell::new(Vec::new()) };
}

/// Runs `work` with an empty buffer of the thread's own.
pub(crate) fn with_buffer<R>(work: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let mut buffer = change_buffers(|buffers| buffers.pop()).flatten().unwrap_or_default();
    let result = work(&mut buffer);
    if buffer.capacity() <= MOST_RETAINED {
        buffer.clear();
        change_buffers(|buffers| {
            if buffers.len() < MOST_BUFFERS {
                buffers.push(buffer);
            }
        });
    }
    result
}

/// `None` in a thread that is being torn down: it keeps nothing.
fn change_buffers<R>(change: impl FnOnce(&mut Vec<Vec<u8>>) -> R) -> Option<R> {
    let changed = BUFFERS.try_with(|cell| {
        let mut buffers = cell.take();
        let result = change(&mut buffers);
        cell.set(buffers);
        result
    });
    changed.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_is_not_kept() {
        with_buffer(|buffer| buffer.reserve(4 << 20));
        assert!(with_buffer(|buffer| buffer.capacity()) <= MOST_RETAINED);
        with_buffer(|buffer| buffer.reserve(4 << 10));
        assert!(with_buffer(|buffer| buffer.capacity()) >= 4 << 10);
    }

    #[test]
    fn buffers_inside_one_another_are_different_and_all_kept() {
        let addresses = || {
            with_buffer(|outer| {
                outer.extend_from_slice(b"outer");
                let inner = with_buffer(|inner| {
                    assert!(inner.is_empty());
                    inner.extend_from_slice(b"inner");
                    inner.as_ptr()
                });
                assert_eq!(outer, b"outer");
                [outer.as_ptr(), inner]
            })
        };
        assert_eq!(addresses(), addresses());
    }
}
