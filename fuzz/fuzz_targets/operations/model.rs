//! The naive cache: all that was put in and has not left, by key.
//!
//! Knows when entries end. Knows no limit, no order and no cache: what leaves by itself it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// The number of the write that brought it.
    pub(crate) write: u32,
    pub(crate) weight: u64,
    /// The last use that put its end off, in nanoseconds.
    used: u64,
    /// When it ends, however it is used.
    limit: Option<u64>,
}

pub(crate) struct Model {
    pub(crate) entries: BTreeMap<u8, Entry>,
    /// In nanoseconds.
    pub(crate) now: u64,
    /// The time to idle.
    idle: Option<u64>,
}

impl Model {
    pub(crate) fn new(idle: Option<Duration>) -> Self {
        Self { entries: BTreeMap::new(), now: 0, idle: idle.map(nanos) }
    }

    /// When an entry ends, if it is not used.
    pub(crate) fn end(&self, entry: &Entry) -> Option<u64> {
        let idle = self.idle.map(|idle| entry.used.saturating_add(idle));
        entry.limit.into_iter().chain(idle).min()
    }

    pub(crate) fn lives(&self, entry: &Entry) -> bool {
        self.end(entry).is_none_or(|end| self.now < end)
    }

    /// The living entry of a key.
    pub(crate) fn find(&self, id: u8) -> Option<&Entry> {
        self.entries.get(&id).filter(|entry| self.lives(entry))
    }

    /// The write that brought the living entry of a key.
    pub(crate) fn write(&self, id: u8) -> Option<u32> {
        self.find(id).map(|entry| entry.write)
    }

    /// Writes and keys of all living entries, in their order.
    pub(crate) fn living(&self) -> Vec<(u32, u8)> {
        let living = self.entries.iter().filter(|(_, entry)| self.lives(entry));
        let mut living: Vec<_> = living.map(|(&id, entry)| (entry.write, id)).collect();
        living.sort_unstable();
        living
    }

    pub(crate) fn put(&mut self, id: u8, write: u32, weight: u64, ttl: Option<Duration>) {
        let entry = Entry { write, weight, used: self.now, limit: self.limit(ttl) };
        let present = self.entries.insert(id, entry);
        assert!(present.is_none(), "{present:?} had neither been replaced nor left");
    }

    /// What a hit finds, and does: those closer together than a 64th of the time to idle count as one.
    pub(crate) fn look_up(&mut self, id: u8) -> Option<u32> {
        let write = self.write(id)?;
        let (now, idle) = (self.now, self.idle);
        let entry = self.entries.get_mut(&id)?;
        if idle.is_some_and(|idle| now.saturating_sub(entry.used) > idle / 64) {
            entry.used = now;
        }
        Some(write)
    }

    pub(crate) fn touch(&mut self, id: u8, ttl: Duration) {
        let (now, limit) = (self.now, self.limit(Some(ttl)));
        if let Some(entry) = self.entries.get_mut(&id) {
            (entry.used, entry.limit) = (now, limit);
        }
    }

    /// Leaves out what nobody says has left.
    pub(crate) fn forget_the_dead(&mut self) {
        let living: BTreeSet<_> = self.living().into_iter().collect();
        self.entries.retain(|&id, entry| living.contains(&(entry.write, id)));
    }

    fn limit(&self, ttl: Option<Duration>) -> Option<u64> {
        let ttl = ttl.filter(|&ttl| ttl != Duration::MAX)?;
        self.now.checked_add(nanos(ttl))
    }
}

fn nanos(span: Duration) -> u64 {
    span.as_nanos().try_into().unwrap_or(u64::MAX)
}
