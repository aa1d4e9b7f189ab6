//! memcached's semantics, by plain calls on the store and a clock that is moved by hand.

mod commands;
mod keeping;
mod marks;
mod model;
mod threads;

use larder::ManualClock;
use larder::server::{ServerCache, ServerCacheBuilder, Stored};
use std::time::Duration;

fn builder() -> (ServerCacheBuilder, ManualClock) {
    let clock = ManualClock::new();
    clock.advance(Duration::from_secs(1_000));
    (ServerCache::builder().max_bytes(8 << 20).clock(clock.clone()), clock)
}

fn cache() -> (ServerCache, ManualClock) {
    let (builder, clock) = builder();
    (builder.build().unwrap(), clock)
}

fn value(cache: &ServerCache, key: &[u8]) -> Option<Vec<u8>> {
    cache.get(key).map(|item| item.value)
}

fn cas(stored: Stored) -> u64 {
    match stored {
        Stored::Stored { cas } => cas,
        other => panic!("not stored: {other:?}"),
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
