//! The naive cache: a list of entries in the order of use, searched from end to end.
//!
//! Knows no cache. Evicts nothing by itself.

use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) id: u32,
    pub(crate) serial: u64,
    pub(crate) weight: u64,
    /// The last use that put its end off.
    pub(crate) used: u64,
    /// When it ends, whatever use is made of it.
    pub(crate) limit: Option<u128>,
}

/// The naive cache: all that has been put in and was not reported to have left, the least recently used first.
pub(crate) struct Model {
    pub(crate) entries: Vec<Entry>,
    pub(crate) now: u64,
    pub(crate) idle: Option<u64>,
}

impl Model {
    pub(crate) fn end(&self, entry: &Entry) -> Option<u128> {
        let idle = self.idle.map(|idle| u128::from(entry.used) + u128::from(idle));
        entry.limit.into_iter().chain(idle).min()
    }

    pub(crate) fn lives(&self, entry: &Entry) -> bool {
        self.end(entry).is_none_or(|end| u128::from(self.now) < end)
    }

    /// Where the living entry of a key is.
    pub(crate) fn find(&self, id: u32) -> Option<usize> {
        self.entries.iter().position(|entry| entry.id == id && self.lives(entry))
    }

    pub(crate) fn serial(&self, id: u32) -> Option<u64> {
        self.find(id).map(|at| self.entries[at].serial)
    }

    pub(crate) fn living(&self) -> Vec<(u32, u64)> {
        let living = self.entries.iter().filter(|entry| self.lives(entry));
        let mut living: Vec<_> = living.map(|entry| (entry.id, entry.serial)).collect();
        living.sort_unstable();
        living
    }

    pub(crate) fn limit(&self, ttl: Option<Duration>) -> Option<u128> {
        let nanos = ttl?.as_nanos();
        (nanos < u128::from(u64::MAX)).then(|| u128::from(self.now) + nanos)
    }

    pub(crate) fn put(&mut self, id: u32, serial: u64, weight: u64, ttl: Option<Duration>) {
        let limit = self.limit(ttl);
        self.entries.push(Entry { id, serial, weight, used: self.now, limit });
    }

    /// A hit: those closer together than a 64th of the time to idle count as one.
    pub(crate) fn use_entry(&mut self, id: u32) -> Option<u64> {
        let at = self.find(id)?;
        let mut entry = self.entries.remove(at);
        if self.idle.is_some_and(|idle| self.now.saturating_sub(entry.used) > idle / 64) {
            entry.used = self.now;
        }
        self.entries.push(entry);
        Some(entry.serial)
    }
}
