//! What the standard library's types weigh, against what they really ask of the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, VecDeque};
use std::ffi::{CStr, CString, OsStr, OsString};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use larder::Weigh;

/// The system's allocator, which also counts what the running thread has in use.
struct Counting;

thread_local! {
    static IN_USE: Cell<u64> = const { Cell::new(0) };
}

/// Changes the thread's count: modulo 2^64, as it may free what another one has asked for.
fn count(change: impl FnOnce(u64) -> u64) {
    IN_USE.with(|in_use| in_use.set(change(in_use.get())));
}

// SAFETY: every call is passed on to `System` as it is. The counter allocates nothing: it is
// initialized at compile time and needs no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(|in_use| in_use.wrapping_add(layout.size() as u64));
        // SAFETY: the caller's promise for `layout` is the one that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(|in_use| in_use.wrapping_sub(layout.size() as u64));
        // SAFETY: `memory` came from `System` with this layout, as `alloc` passed it on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Makes a value and tells what it holds on the heap, and what it says that it weighs.
fn held_and_weighed<T: Weigh>(make: impl FnOnce() -> T) -> (u64, u64) {
    let before = IN_USE.get();
    let value = make();
    let held = IN_USE.get().wrapping_sub(before);
    (held, value.weigh())
}

/// Asserts that a value holds just what it weighs.
#[track_caller]
fn exact<T: Weigh>(make: impl FnOnce() -> T) {
    let (held, weight) = held_and_weighed(make);
    assert_eq!(weight, held, "{}", std::any::type_name::<T>());
}

/// Asserts that a value weighs what it holds, or up to two fifths more.
#[track_caller]
fn estimate<T: Weigh>(make: impl FnOnce() -> T) {
    let (held, weight) = held_and_weighed(make);
    let name = std::any::type_name::<T>();
    assert!(weight >= held && weight <= held + held * 2 / 5, "{name} weighs {weight}, holds {held}");
}

#[test]
fn plain_values() {
    exact(|| (1_u8, 2_i128, 'c', 4.0_f64));
    exact(|| Some([Ok::<u8, ()>(1), Err(())]));
    exact(std::time::Instant::now);
    exact(|| std::net::Ipv4Addr::LOCALHOST);
    exact(|| "borrowed");
}

#[test]
fn text() {
    exact(String::new);
    exact(|| String::from("twelve bytes"));
    exact(|| String::with_capacity(1000));
    exact(|| Box::<str>::from("boxed"));
    exact(|| Cow::<str>::Owned(String::with_capacity(50)));
    exact(|| OsString::from("os"));
    exact(|| PathBuf::from("/a/path"));
    exact(|| CString::new("c").unwrap());
    exact(|| Box::<OsStr>::from(OsStr::new("os")));
    exact(|| Box::<Path>::from(Path::new("/a/path")));
    exact(|| Box::<CStr>::from(c"boxed"));
}

#[test]
fn shared_values() {
    #[repr(align(64))]
    struct Aligned;
    impl Weigh for Aligned {
        fn weigh(&self) -> u64 {
            0
        }
    }

    for len in 0..70 {
        exact(|| Arc::<[u8]>::from(vec![1; len]));
        exact(|| Rc::<str>::from("x".repeat(len)));
        exact(|| Arc::<[u128]>::from(vec![1; len]));
    }
    exact(|| Arc::new(String::from("text")));
    exact(|| Rc::new(1_u8));
    exact(|| Arc::new(Aligned));
    exact(|| Arc::<Path>::from(Path::new("/a/path")));
    exact(|| Box::new(Box::new(Arc::new(7_u16))));
}

#[test]
fn sequences() {
    exact(Vec::<String>::new);
    exact(|| vec![(); 100]);
    exact(|| vec![String::from("a"), String::with_capacity(40)]);
    exact(|| {
        (0..100_u16).fold(Vec::new(), |mut numbers, number| {
            numbers.push(number);
            numbers
        })
    });
    exact(|| vec![vec![1_u32; 3]; 5].into_boxed_slice());
    exact(|| [Some(Box::new(1_u64)), None]);
    exact(|| (String::from("key"), vec![0_u8; 100]));
    exact(|| BinaryHeap::from(vec![String::from("a"), String::from("bcd")]));
    exact(|| {
        let mut ring = VecDeque::with_capacity(8);
        for turn in 0..100 {
            ring.push_back(turn.to_string());
            if ring.len() > 6 {
                ring.pop_front();
            }
        }
        ring
    });
}

#[test]
fn hash_tables() {
    for len in 0..300_u32 {
        exact(|| (0..len).map(|key| (key, u64::from(key))).collect::<HashMap<_, _>>());
        exact(|| (0..len).map(|key| key.to_string()).collect::<HashSet<_>>());
        exact(|| (0..len).map(|key| key as u8).collect::<HashSet<_>>());
    }
}

#[test]
fn trees() {
    // Inserted one by one: `collect` fills the nodes to the brim.
    fn map(keys: impl Iterator<Item = u32>) -> BTreeMap<u32, [String; 2]> {
        let mut map = BTreeMap::new();
        for key in keys {
            map.insert(key, [key.to_string(), String::new()]);
        }
        map
    }

    for len in (0..200).chain([1_000, 20_000]) {
        exact(|| map(0..len));
        estimate(|| map((0..len).rev()));
        estimate(|| map((0..len).map(|key| key.wrapping_mul(0x9E37_79B9))));
        let set = || {
            (0..len).fold(BTreeSet::new(), |mut set, key| {
                set.insert(key as u8);
                set
            })
        };
        estimate(set);
    }
}
