//! What is counted, under memcached's names.
//!
//! Knows numbers only.

use crate::stats::ThreadCounts;

macro_rules! counters {
    ($($counter:ident $name:ident: $doc:literal,)*) => {
        /// What is counted here.
        #[derive(Clone, Copy)]
        pub(super) enum Counter {
            $($counter,)*
        }

        const COUNTERS: usize = [$(Counter::$counter,)*].len();

        /// What a [`ServerCache`](super::ServerCache) has done and what it holds, under memcached's names: a snapshot.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct StoreStats {
            $(#[doc = $doc] pub $name: u64,)*
            /// Items there are, those among them whose time is over and that have not been taken out yet.
            pub curr_items: u64,
            /// Bytes in use, of all that counts against the limit.
            pub bytes: u64,
            /// The limit.
            pub limit_maxbytes: u64,
            /// Living items that made room for others.
            pub evictions: u64,
            /// Items that were taken out since their time was over.
            pub reclaimed: u64,
        }

        impl StoreStats {
            fn counted(sums: [u64; COUNTERS]) -> Self {
                Self { $($name: sums[Counter::$counter as usize],)* ..Self::default() }
            }
        }
    };
}

counters! {
    CmdGet cmd_get: "Look-ups, those of `gat` among them.",
    CmdSet cmd_set: "Items that were to be stored, by whatever command but arithmetic.",
    CmdTouch cmd_touch: "Expiry times that were to be changed.",
    CmdFlush cmd_flush: "Calls of `flush_all`.",
    GetHits get_hits: "Look-ups that found an item and did not touch it.",
    GetMisses get_misses: "Look-ups that found none and were not to touch it.",
    GetExpired get_expired: "Misses whose item was still there, but over.",
    GetFlushed get_flushed: "Misses whose item was still there, but gone by `flush_all`.",
    DeleteHits delete_hits: "Deletions that found an item.",
    DeleteMisses delete_misses: "Deletions that found none, or one with another cas unique.",
    IncrHits incr_hits: "Additions that found an item.",
    IncrMisses incr_misses: "Additions that found none.",
    DecrHits decr_hits: "Subtractions that found an item.",
    DecrMisses decr_misses: "Subtractions that found none.",
    CasHits cas_hits: "Items stored on condition of a cas unique, which was the item's.",
    CasMisses cas_misses: "Items to be stored on condition of a cas unique where there was none.",
    CasBadval cas_badval: "Items not stored, since the cas unique was another.",
    TouchHits touch_hits: "Items that got another expiry time.",
    TouchMisses touch_misses: "Items that were to get one and were not there.",
    TooLarge store_too_large: "Items that were larger than may be.",
    TotalItems total_items: "Items that have been stored since the start.",
}

/// The counters of one cache.
pub(super) struct Counts(ThreadCounts<COUNTERS>);

impl Counts {
    pub(super) fn new() -> Self {
        Self(ThreadCounts::new())
    }

    #[inline]
    pub(super) fn count(&self, counter: Counter) {
        self.0.count(counter as usize);
    }

    pub(super) fn stats(&self) -> StoreStats {
        StoreStats::counted(self.0.sum())
    }
}
