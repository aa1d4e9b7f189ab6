//! What storing allocates: compressors are made once per thread, and a value takes one allocation, of what is stored for it.
//! And what reading does where there is no memory.
//!
//! Zstandard's state is not seen here, since its library takes memory from C: it is counted where it is made.

#![cfg(any(feature = "deflate", feature = "lz4", feature = "seal", feature = "snappy", feature = "zstd"))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::thread;

use larder::codec::*;

/// An allocation of this size or more is some state or buffer, not a stored value: those here are below it.
const LARGE: usize = 6 << 10;

thread_local! {
    /// Allocations of this thread, and the large ones of them.
    static COUNTS: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
    /// This thread gets no more at once.
    static MOST: Cell<usize> = const { Cell::new(usize::MAX) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count(size: usize) {
    let _ = COUNTS.try_with(|counts| {
        let (all, large) = counts.get();
        counts.set((all + 1, large + usize::from(size >= LARGE)));
    });
}

fn is_refused(size: usize) -> bool {
    MOST.try_with(|most| size > most.get()).unwrap_or(false)
}

// SAFETY: what it does not refuse it hands to the system's allocator, and allocates nothing itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        if is_refused(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        if is_refused(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        if is_refused(size) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promises are the same.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// A value of 4 KiB that shrinks, different for each number.
fn value(number: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(4096 + 64);
    while value.len() < 4096 {
        let at = value.len();
        value.extend_from_slice(format!("{{\"id\":{},\"place\":{at},\"title\":\"a title\"}}", number * at).as_bytes());
    }
    value.truncate(4096);
    value
}

/// Stores `count` values in a thread of its own, reads them back, and checks what that allocated.
fn check(name: &str, codec: Arc<dyn Codec>, count: usize) {
    let packer = Packer::new(codec);
    let values: Vec<_> = (1..=16).map(value).collect();
    let (first, rest, reading) = thread::scope(|scope| {
        let storing = scope.spawn(|| {
            let counts = || COUNTS.get();
            let since = |(all, large): (usize, usize)| (counts().0 - all, counts().1 - large);
            let mut stored = Vec::with_capacity(16);
            let start = counts();
            packer.pack(b"key", &values[0]).unwrap();
            let first = since(start);
            let start = counts();
            for at in 0..count {
                let bytes = packer.pack(b"key", &values[at % 16]).unwrap();
                assert!(bytes.len() < LARGE);
                if at < 16 {
                    stored.push(bytes);
                }
            }
            let rest = since(start);
            let mut plain = Vec::with_capacity(4096);
            packer.unpack_into(b"key", &stored[0], &mut plain).unwrap();
            let start = counts();
            for at in 0..count {
                plain.clear();
                packer.unpack_into(b"key", &stored[at % 16], &mut plain).unwrap();
                assert!(plain == values[at % 16]);
            }
            (first, rest, since(start))
        });
        storing.join().unwrap()
    });
    println!("{name}: {first:?} for the first value, {rest:?} for {count} more, {reading:?} for reading them");
    assert!(first.0 <= 32, "{name}: {} allocations for the first value", first.0);
    // The stored value's own, and nothing else.
    assert!(rest.0 <= count + 4, "{name}: {} allocations for {count} values", rest.0);
    assert!(rest.1 <= 2, "{name}: {} large allocations for {count} values", rest.1);
    assert!(reading.0 <= 4, "{name}: {} allocations for reading {count} values", reading.0);
}

#[test]
#[cfg(feature = "deflate")]
fn a_thread_makes_one_deflate_compressor() {
    check("gzip", Arc::new(Gzip::new(1).unwrap()), 100_000);
    check("zlib", Arc::new(Zlib::default()), 2_000);
    check("deflate", Arc::new(Deflate::new(9).unwrap()), 2_000);
}

#[test]
#[cfg(feature = "snappy")]
fn a_thread_makes_one_snappy_compressor() {
    check("snappy", Arc::new(Snappy), 20_000);
}

#[test]
#[cfg(feature = "lz4")]
fn a_thread_makes_one_lz4_table() {
    check("lz4", Arc::new(Lz4), 20_000);
}

#[test]
#[cfg(feature = "seal")]
fn sealing_allocates_nothing() {
    check("aes", Arc::new(Seal::aes_256_gcm(SealKey::new(1, &[1; 32]))), 2_000);
}

#[test]
#[cfg(all(feature = "seal", feature = "snappy"))]
fn a_chain_reuses_what_is_between() {
    let seal = Seal::xchacha20_poly1305(SealKey::new(1, &[1; 32]));
    check("chain", Arc::new(Chain::new(Snappy).then(seal)), 2_000);
}

#[test]
#[cfg(feature = "zstd")]
fn zstandard_takes_nothing_else_from_here() {
    check("zstd", Arc::new(Zstd::default()), 2_000);
}

#[test]
fn a_value_that_there_is_no_memory_for_is_an_error() {
    let codecs: Vec<Box<dyn Codec>> = vec![
        #[cfg(feature = "deflate")]
        Box::new(Gzip::default()),
        #[cfg(feature = "deflate")]
        Box::new(Zlib::default()),
        #[cfg(feature = "deflate")]
        Box::new(Deflate::default()),
        #[cfg(feature = "lz4")]
        Box::new(Lz4),
        #[cfg(feature = "snappy")]
        Box::new(Snappy),
        #[cfg(feature = "zstd")]
        Box::new(Zstd::default()),
    ];
    let plain: Vec<u8> = (1..=1000).flat_map(value).collect();
    for codec in codecs {
        let mut stored = Vec::new();
        codec.encode(b"key", &plain, &mut stored).unwrap();
        let mut back = Vec::new();
        MOST.set(plain.len() - 1);
        let refused = codec.decode(b"key", &stored, plain.len(), &mut back);
        MOST.set(usize::MAX);
        match refused {
            Err(CodecError::Damaged { reason, .. }) => assert!(reason.contains(&plain.len().to_string()), "{reason}"),
            other => panic!("{}: {other:?}", codec.name()),
        }
        codec.decode(b"key", &stored, plain.len(), &mut back).unwrap();
        assert!(back == plain, "{}", codec.name());
    }
}
