//! What all conversations of a server share: the cache, limits, and the server around them.
//!
//! Knows no socket: what it needs to know of connections, credentials and threads it asks its [`Host`].

use std::collections::HashMap;
use std::fmt;
use std::time::Instant;

use parking_lot::Mutex;

use crate::server::conversation::Protocol;
use crate::server::pending::Blocks;
use crate::server::store::ServerCache;
use crate::stats::ThreadCounts;

/// What a server, or whatever else carries conversations, tells and does for them. Each has a default that fits a
/// transport without any of it; `()` is one.
pub trait Host: Send + Sync {
    /// Whether a client has to say who it is before anything else.
    fn asks_for_credentials(&self) -> bool {
        false
    }

    /// Whether there is such a user with that password. Should take as long whatever is given.
    fn knows(&self, user: &[u8], password: &[u8]) -> bool {
        let _ = (user, password);
        false
    }

    /// Counters of connections and threads for `stats`, under memcached's names.
    fn counters(&self, show: &mut dyn FnMut(&'static str, u64)) {
        let _ = show;
    }

    /// Settings for `stats settings`, under memcached's names.
    fn settings(&self, show: &mut dyn FnMut(&str, &str)) {
        let _ = show;
    }

    /// Connections for `stats conns`: number, name and value.
    fn connections(&self, show: &mut dyn FnMut(u64, &str, &str)) {
        let _ = show;
    }

    /// Asked by a client to end, `gracefully` or not. Whether it will; by default it is not allowed.
    fn shut_down(&self, gracefully: bool) -> bool {
        let _ = gracefully;
        false
    }
}

impl Host for () {}

/// What is counted of conversations; the cache counts what becomes of items.
#[derive(Clone, Copy)]
pub(crate) enum Event {
    MetaCommand,
    Authentication,
    AuthenticationError,
    Refused,
}

/// What all conversations of a server share: the cache, limits, and the server around them.
pub struct Service {
    pub(crate) cache: ServerCache,
    pub(crate) host: Box<dyn Host>,
    pub(crate) max_output: usize,
    pub(crate) max_refusals: u32,
    pub(crate) requests_per_turn: usize,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) allow_flush: bool,
    pub(crate) allow_dump: bool,
    pub(crate) started: Instant,
    pub(crate) counts: ThreadCounts<4>,
    /// Data blocks that are on their way.
    pub(crate) blocks: Blocks,
    /// What counters showed when they were last set back.
    pub(crate) since: Mutex<HashMap<&'static str, u64>>,
}

impl Service {
    /// What conversations about `cache` need.
    pub fn new(cache: ServerCache, host: impl Host + 'static) -> Self {
        Self {
            cache,
            host: Box::new(host),
            max_output: 256 << 10,
            max_refusals: 16,
            requests_per_turn: usize::MAX,
            protocol: None,
            allow_flush: true,
            allow_dump: true,
            started: Instant::now(),
            counts: ThreadCounts::new(),
            blocks: Blocks::default(),
            since: Mutex::default(),
        }
    }

    /// Lets so many bytes wait for a client, or one answer more, before its next request is looked at; 256 KiB where
    /// nothing is said.
    #[must_use]
    pub fn max_output(mut self, bytes: usize) -> Self {
        self.max_output = bytes.max(1);
        self
    }

    /// Pauses after so many requests in one call of [`feed`](super::Conversation::feed), so that other clients have their
    /// turn; after none where nothing is said.
    #[must_use]
    pub fn requests_per_turn(mut self, requests: usize) -> Self {
        self.requests_per_turn = requests.max(1);
        self
    }

    /// Speaks only this protocol; either, as the client's first byte says, where nothing is said.
    #[must_use]
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = Some(protocol);
        self
    }

    /// Whether clients may remove all items by `flush_all`; they may where nothing is said.
    #[must_use]
    pub fn allow_flush(mut self, allow: bool) -> Self {
        self.allow_flush = allow;
        self
    }

    /// Whether clients may list all keys by `lru_crawler metadump`; they may where nothing is said.
    #[must_use]
    pub fn allow_dump(mut self, allow: bool) -> Self {
        self.allow_dump = allow;
        self
    }

    /// Lets a client who has to say who it is try to do so, or anything else, so often in vain; 16 where nothing is said.
    #[must_use]
    pub fn max_refusals(mut self, refusals: u32) -> Self {
        self.max_refusals = refusals;
        self
    }

    /// How many bytes of data blocks that are on their way may be held for all clients together: a quarter of the cache's
    /// limit, or enough for two items if these are large, and no more than the limit.
    pub(crate) fn most_pending(&self) -> u64 {
        let max_bytes = self.cache.max_bytes();
        (max_bytes / 4).max(2 * self.cache.max_item_bytes() as u64).min(max_bytes)
    }

    pub(crate) fn count(&self, event: Event) {
        self.counts.count(event as usize);
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("cache", &self.cache).finish_non_exhaustive()
    }
}
