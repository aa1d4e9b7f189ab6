//! The run under `cargo test --benches`: does this program still do what it says, on a trace of a
//! moment's length?

use std::io::Cursor;
use std::path::Path;

use larder::Policy;

use crate::args::{Capacity, PolicyChoice};
use crate::error::Error;
use crate::measure::{self, Limit, Plan, Tally};
use crate::reference::{self, Order};
use crate::trace::{self, Trace};
use crate::{bars, generate, plot, replay, table};

/// Checks the references, the parser and the cache, and goes through every kind of output; panics
/// if one is wrong.
pub(crate) fn run() -> Result<bool, Error> {
    let trace = generate::trace(4_000);
    references_agree_with_a_naive_one(&trace);
    wrong_lines_are_named();
    keys_of_both_kinds_hit_alike(&trace);
    a_small_cache_is_exact(&trace);
    for (by_bytes, threads) in [(false, 1), (false, 2), (true, 1), (true, 2)] {
        let capacities = vec![Capacity::Share(1.0), Capacity::Share(30.0), Capacity::Absolute(100_000)];
        let plan = Plan { capacities, methods: PolicyChoice::All.methods(), by_bytes, threads };
        let reports = measure::all(&[generate::trace(4_000), generate::trace(2_000)], &plan)?;
        assert!(table::text(&reports, &plan).contains("mean over 2 traces"));
        assert!(table::csv(&reports, &plan).lines().count() > 8);
        assert!(plot::svg(&reports, &plan)?.contains("</svg>"));
        assert!(bars::check(&reports).text.contains("S3Fifo"));
    }
    println!("hit_ratio: a short run without --bench, as a test: all is well");
    Ok(true)
}

fn references_agree_with_a_naive_one(trace: &Trace) {
    for limit in [1, 2, 50, 700].map(Limit::Entries).into_iter().chain([40, 9_000, 200_000].map(Limit::Bytes)) {
        for order in [Order::Lru, Order::Fifo] {
            let (tally, naive) = (reference::replay(trace, limit, order), naive(trace, limit, order));
            assert_eq!((tally.hits, tally.bytes, tally.used), (naive.hits, naive.bytes, naive.used));
        }
    }
}

/// [`reference::replay`] with a `Vec` in the order of eviction.
fn naive(trace: &Trace, limit: Limit, order: Order) -> Tally {
    let mut queue: Vec<(u32, u64)> = Vec::new();
    let mut tally = Tally::default();
    for (&key, &size) in trace.requests.iter().zip(trace.sizes.iter().flatten()) {
        let charge = if limit.is_bytes() { u64::from(size) } else { 1 };
        let place = queue.iter().position(|&(held, _)| held == key);
        if let Some(place) = place {
            tally.hit(size);
            if order == Order::Lru {
                let entry = queue.remove(place);
                queue.push(entry);
            }
        } else if charge <= limit.max() {
            queue.push((key, charge));
        }
        while queue.iter().map(|entry| entry.1).sum::<u64>() > limit.max() {
            queue.remove(0);
        }
    }
    tally.used = queue.iter().map(|entry| entry.1).sum();
    tally
}

fn wrong_lines_are_named() {
    let read = |text: &'static [u8]| trace::read_text(Path::new("t"), "t".into(), Cursor::new(text));
    let error = |text| read(text).err().map(|error| error.to_string()).unwrap_or_default();
    assert_eq!(error(b""), "t: no request in it");
    assert_eq!(error(b"a,1\n,2\n"), "t, line 2: no key");
    assert_eq!(error(b"a,1\nb,-2\n"), "t, line 2: the size `-2` is no whole number from 0 to 4294967295");
    assert_eq!(error(b"a\nb,2\n"), "t, line 2: a size, though the first line has none");
    assert_eq!(error(b"a,1\nb\n"), "t, line 2: no size, though the first line has one");
    assert_eq!(error(b"a\n\xff\n"), "t, line 2: not UTF-8");
    let read = read(b"a,1\r\nb, 20\na,3").map(|trace| (trace.requests.clone(), trace.unique_bytes()));
    assert_eq!(read.ok(), Some((vec![0, 1, 0], 23)));
}

/// The same requests as numbers and as text are the same to a cache that holds them all.
fn keys_of_both_kinds_hit_alike(trace: &Trace) {
    let text: String = trace.requests.iter().map(|key| format!("key {key}\n")).collect();
    let Ok(text) = trace::read_text(Path::new("t"), "t".into(), Cursor::new(text)) else {
        panic!("lines of keys are a trace");
    };
    let keys = trace.keys.len() as u64;
    for trace in [trace, &text] {
        let hits = replay::replay(trace, Limit::Entries(2 * keys), Policy::Lru, 1).map(|tally| tally.hits);
        assert_eq!(hits.ok(), Some(trace.requests.len() as u64 - keys));
    }
}

/// Up to 64 entries, `Policy::Lru` promises to be exact.
fn a_small_cache_is_exact(trace: &Trace) {
    let limit = Limit::Entries(64);
    let exact = reference::replay(trace, limit, Order::Lru);
    let ours = replay::replay(trace, limit, Policy::Lru, 1).map(|tally| (tally.hits, tally.used));
    assert_eq!(ours.ok(), Some((exact.hits, exact.used)));
}
