//! memcached's semantics on an ordinary cache.
//!
//! Knows items, times and the cache, whose entries are [`Block`]s that are their own keys. Knows no socket and no syntax.
//!
//! # How it stays right
//!
//! *Every read-change-write is one step.* What a command decides by what is there goes through the cache's `compute`: it
//! is carried out only if the item it was decided by is still there, and decided anew if not. A new expiry time is set
//! only on the item that was looked at.
//!
//! *Every change has a number,* which is the item's cas unique, unless whoever stored it said another. `flush_all` takes a
//! number too: all items with a lower one are gone from then on. That is O(1); their memory comes free by the
//! writes that follow (`sweep.rs`).

mod block;
mod builder;
mod counts;
mod lend;
mod look;
mod number;
mod packing;
mod read;
mod remove;
mod sweep;
mod time;
mod write;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::AcqRel};
use std::time::Duration;

use crossbeam_utils::CachePadded;

pub use self::block::MAX_KEY_LEN;
pub use self::builder::ServerCacheBuilder;
pub use self::counts::StoreStats;
pub(crate) use self::lend::{Lent, Loan};
pub use self::look::{Cursor, Meta};
pub use self::number::{Count, Counted};
pub use self::read::{Fetch, Hit, Item};
pub use self::remove::{Removal, Removed};
pub use self::time::Exptime;
pub use self::write::{Mode, Stored, Write};

use self::block::Block;
use self::counts::{Counter, Counts};
use self::sweep::Sweep;
use self::time::{Calendar, Flushes};
use crate::codec::Packer;
use crate::{BuildError, Cache};

/// A cache of memcached's items, to be shared with a [`server`](crate::server) and used by the program as well.
///
/// A clone is another handle to the same items.
///
/// # Examples
///
/// ```
/// use larder::server::{Exptime, ServerCache};
///
/// let cache = ServerCache::builder().max_bytes(8 << 20).build()?;
/// cache.set(b"greeting", b"hello", 7, Exptime::In(60));
/// let item = cache.get(b"greeting").unwrap();
/// assert_eq!((item.value.as_slice(), item.flags), (b"hello".as_slice(), 7));
/// assert!(cache.delete(b"greeting"));
/// # Ok::<(), larder::BuildError>(())
/// ```
#[derive(Clone)]
pub struct ServerCache {
    shared: Arc<Shared>,
}

/// What all handles have in common. What reads look at and seldom changes lies apart from what every write changes.
struct Shared {
    cache: Cache<Block, ()>,
    calendar: Calendar,
    packer: Option<Arc<Packer>>,
    max_item_bytes: usize,
    evicts: bool,
    flushes: Flushes,
    sweep: Sweep,
    counts: Counts,
    /// How many there have been; the number of the last one.
    changes: CachePadded<AtomicU64>,
}

impl ServerCache {
    /// Settings for a cache.
    pub fn builder() -> ServerCacheBuilder {
        ServerCacheBuilder::new()
    }

    fn new(cache: Cache<Block, ()>, packer: Option<Arc<Packer>>, max_item_bytes: usize, evicts: bool) -> Self {
        let shared = Shared {
            calendar: Calendar::new(&cache.core.time),
            cache,
            packer,
            max_item_bytes,
            evicts,
            flushes: Flushes::new(),
            sweep: Sweep::default(),
            counts: Counts::new(),
            changes: CachePadded::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Makes all items go that are there in `delay` from now, which may be zero. O(1): the writes that follow free their
    /// memory, a few items each. A delay that has not passed yet is forgotten when this is called again.
    pub fn flush_all(&self, delay: Duration) {
        let Shared { flushes, cache, changes, counts, .. } = &*self.shared;
        counts.count(Counter::CmdFlush);
        // If the last one is due just now it is to be done, not forgotten.
        self.shared.gone_below();
        if delay.is_zero() { flushes.flush_now(changes) } else { flushes.flush_in(delay, &cache.core.time) }
    }

    /// The most bytes that one item may have, header and key among them.
    pub fn max_item_bytes(&self) -> usize {
        self.shared.max_item_bytes
    }

    /// Whether items make room for others.
    pub fn evicts(&self) -> bool {
        self.shared.evicts
    }

    /// Sets another limit, and evicts what is beyond it. See [`Cache::set_max_bytes`].
    ///
    /// # Errors
    ///
    /// If the limit is less than the cache's empty structures take, or more than it can count.
    pub fn set_max_bytes(&self, max_bytes: u64) -> Result<(), BuildError> {
        self.shared.cache.set_max_bytes(max_bytes)
    }

    /// The limit, in bytes.
    pub(crate) fn max_bytes(&self) -> u64 {
        self.shared.cache.core.budget.limit()
    }

    /// Counts a value that was too large to be taken, or for which there was no memory to take it, and removes the item that
    /// it was to replace, if it was to in any case.
    pub(crate) fn refuse(&self, key: &[u8], too_large: bool, replaces: bool) {
        self.shared.counts.count(Counter::CmdSet);
        if too_large {
            self.shared.counts.count(Counter::TooLarge);
        }
        if replaces {
            self.shared.cache.invalidate(key);
        }
    }

    /// What the cache has done and what it holds. O(stripes + threads).
    pub fn stats(&self) -> StoreStats {
        let stats = self.shared.cache.stats();
        StoreStats {
            curr_items: stats.entries,
            bytes: stats.bytes,
            limit_maxbytes: self.max_bytes(),
            evictions: stats.evictions,
            reclaimed: stats.expirations,
            ..self.shared.counts.stats()
        }
    }
}

impl Shared {
    /// The number of a new change. Acquires what those before it released, so that they are counted up in some order.
    fn next_change(&self) -> u64 {
        self.changes.fetch_add(1, AcqRel) + 1
    }

    /// The change before which items are gone.
    #[inline]
    fn gone_below(&self) -> u64 {
        self.flushes.below(&self.cache.core.time, &self.changes)
    }
}

impl fmt::Debug for ServerCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCache").field("cache", &self.shared.cache).finish_non_exhaustive()
    }
}
