//! A trace through the cache: `get`, and `insert` when that misses.
//!
//! This is the only file that knows the crate, and it knows its public API alone.

use std::hash::Hash;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};

use larder::{BuildError, Cache, Policy};

use crate::measure::{Limit, Tally};
use crate::trace::{Keys, Trace};

/// Requests that a thread takes at a time: few enough that threads stay close together in the
/// trace.
const BATCH: usize = 64;

/// Replays the trace through a cache of that limit and policy, shared by so many threads.
pub(crate) fn replay(trace: &Trace, limit: Limit, policy: Policy, threads: usize) -> Result<Tally, BuildError> {
    match &trace.keys {
        Keys::Numbers(keys) => replay_keys(trace, keys, limit, policy, threads),
        Keys::Text(keys) => replay_keys(trace, keys, limit, policy, threads),
    }
}

fn replay_keys<K>(trace: &Trace, keys: &[K], limit: Limit, policy: Policy, threads: usize) -> Result<Tally, BuildError>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
{
    // The value is the size: all that a replay needs of the object.
    let builder = Cache::<K, u32>::builder().policy(policy);
    let cache = match limit {
        Limit::Entries(max) => builder.max_entries(max as usize).build()?,
        Limit::Bytes(max) => builder.max_bytes(max).weigher(|_: &K, size: &u32| u64::from(*size)).build()?,
    };
    let next = AtomicUsize::new(0);
    let work = || replay_share(&cache, trace, keys, &next);
    let mut tally = if threads == 1 {
        work()
    } else {
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
                .fold(Tally::default(), Tally::plus)
        })
    };
    tally.used = if limit.is_bytes() { cache.used_bytes() } else { cache.len() as u64 };
    Ok(tally)
}

/// Takes batches of requests until none is left.
fn replay_share<K: Hash + Eq + Clone>(cache: &Cache<K, u32>, trace: &Trace, keys: &[K], next: &AtomicUsize) -> Tally {
    let mut tally = Tally::default();
    loop {
        let start = next.fetch_add(BATCH, Ordering::Relaxed);
        let end = trace.requests.len().min(start + BATCH);
        if start >= end {
            return tally;
        }
        for request in start..end {
            let key = &keys[trace.requests[request] as usize];
            let size = trace.sizes.as_ref().map_or(0, |sizes| sizes[request]);
            let found = cache.get(key);
            if found.is_some() {
                tally.hit(size);
            }
            // A changed size is a changed object, which its user would store.
            if found != Some(size) {
                cache.insert(key.clone(), size);
            }
        }
    }
}
