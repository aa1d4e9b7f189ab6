//! Keeps the process's memory near what the cache may hold.
//!
//! Knows the process and its allocator. The cache counts what it has in use; what was given back and lies between blocks in
//! use is the allocator's. glibc's returns memory of its own accord only from the end of its heap, so when the sizes of
//! values change altogether, from kilobytes to bytes and back, what is free there comes to as much as is in use. With a limit
//! of 256 MiB and phases of five seconds, from 50 bytes to 900 kilobytes, 547 MiB were resident at the most and 380 to 460 for
//! most of the time; with this, 441 for a second after one of the changes and 270 to 330 otherwise. To look through 100 MiB
//! of free blocks takes some 10 milliseconds.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use larder::server::ServerCache;

use crate::allocator;

/// How often the memory is looked at.
const PERIOD: Duration = Duration::from_millis(250);

/// How many looks after the memory was given back it may be again, though there is no more of it.
const AGAIN: u32 = 20;

/// Beyond the limit: what connections and threads take. What is mapped from files, some 8 MiB, comes on top.
const SPARE: u64 = 24 << 20;

/// Looks after the process's memory until the sender is dropped.
pub(crate) fn keep(cache: &ServerCache, end: &Receiver<()>) {
    let (mut floor, mut looks) = (0, 0);
    while end.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
        let (Some(resident), limit) = (resident(), cache.stats().limit_maxbytes) else { return };
        floor = resident.min(floor);
        looks += 1;
        // If it helped little the last time, not before there is more of it, or other blocks may have become free.
        if resident > limit + limit / 16 + SPARE && (resident > floor + limit / 32 || looks >= AGAIN) {
            allocator::give_back();
            (floor, looks) = (self::resident().unwrap_or(resident), 0);
        }
    }
}

/// The process's memory that is its own and not swapped out, in bytes.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes << 10)
}
