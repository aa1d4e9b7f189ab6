//! Settings of a [`ServerCache`], set once, checked once.

use std::sync::Arc;
use std::time::Duration;

use super::ServerCache;
use super::block::Block;
use super::packing::unpack;
use crate::codec::{Codec, Packer};
use crate::{BuildError, Builder, Cache, Clock, Policy, RemovalCause};

/// Settings of a [`ServerCache`] to be; made by [`ServerCache::builder`].
///
/// Those that are not here have the names and the meaning of the [`Cache`]'s own.
#[must_use = "a builder makes a cache only when build() is called"]
pub struct ServerCacheBuilder {
    cache: Builder<Block, ()>,
    max_bytes: u64,
    max_item_bytes: usize,
    evicts: bool,
    packer: Option<Arc<Packer>>,
    listener: Option<Listener>,
}

type Listener = Box<dyn Fn(&[u8], &[u8], RemovalCause) + Send + Sync>;

impl ServerCacheBuilder {
    pub(super) fn new() -> Self {
        Self {
            cache: Cache::builder(),
            max_bytes: 64 << 20,
            max_item_bytes: 1 << 20,
            evicts: true,
            packer: None,
            listener: None,
        }
    }

    /// Limits the cache to so many bytes; 64 MiB where nothing is said. See [`Builder::max_bytes`].
    pub fn max_bytes(mut self, max_bytes: u64) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// The most bytes that one item may have, key, value and header together; 1 MiB where nothing is said.
    pub fn max_item_bytes(mut self, max_item_bytes: usize) -> Self {
        self.max_item_bytes = max_item_bytes;
        self
    }

    /// Whether items make room for others when the limit is reached: they do where nothing is said. If not, what would need
    /// room is refused ([`Stored::NoMemory`](super::Stored::NoMemory)), a few hundredths below the limit. What takes the
    /// place of an item that is as long needs none.
    pub fn evictions(mut self, evicts: bool) -> Self {
        self.evicts = evicts;
        self
    }

    /// Chooses how items are evicted. See [`Builder::policy`].
    pub fn policy(mut self, policy: Policy) -> Self {
        self.cache = self.cache.policy(policy);
        self
    }

    /// Lets items expire so long after they were stored, where whoever stored them said that they should never. See
    /// [`Builder::time_to_live`].
    pub fn time_to_live(mut self, time_to_live: Duration) -> Self {
        self.cache = self.cache.time_to_live(time_to_live);
        self
    }

    /// Sets the number of stripes. See [`Builder::stripes`].
    pub fn stripes(mut self, stripes: usize) -> Self {
        self.cache = self.cache.stripes(stripes);
        self
    }

    /// Lays out memory for so many items at once. See [`Builder::initial_entries`].
    pub fn initial_items(mut self, initial_items: usize) -> Self {
        self.cache = self.cache.initial_entries(initial_items);
        self
    }

    /// Takes the time from `clock` instead of the system's monotonic clock.
    pub fn clock<C: Clock + 'static>(mut self, clock: C) -> Self {
        self.cache = self.cache.clock(clock);
        self
    }

    /// Has values stored as `codec` writes them, where that is shorter. Keys, flags and numbers of changes stay as they are.
    ///
    /// Values are encoded and decoded by the thread that stores or reads, under no lock. One that turns out to be damaged is
    /// removed, and a miss.
    pub fn codec<C: Codec + 'static>(self, codec: C) -> Self {
        self.packer(Packer::new(Arc::new(codec)))
    }

    /// As [`codec`](ServerCacheBuilder::codec), with a packer's own settings.
    pub fn packer(mut self, packer: Packer) -> Self {
        self.packer = Some(Arc::new(packer));
        self
    }

    /// Tells `listener` the key, the value and the cause of each item that leaves the cache, or is replaced. It is called
    /// by the thread that displaced it, under no lock, and may use the cache. A value that turns out to be damaged
    /// is shown as empty.
    pub fn on_removal<F>(mut self, listener: F) -> Self
    where
        F: Fn(&[u8], &[u8], RemovalCause) + Send + Sync + 'static,
    {
        self.listener = Some(Box::new(listener));
        self
    }

    /// Makes the cache.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] that says which setting can't be, and why.
    pub fn build(self) -> Result<ServerCache, BuildError> {
        let Self { mut cache, max_bytes, max_item_bytes, evicts, packer, listener } = self;
        if let Some(listener) = listener {
            let packer = packer.clone();
            cache = cache.on_removal(move |block, (), cause| {
                let plain = unpack(packer.as_deref(), block).unwrap_or_default();
                listener(block.key(), &plain, cause);
            });
        }
        Ok(ServerCache::new(cache.max_bytes(max_bytes).build()?, packer, max_item_bytes, evicts))
    }
}
