//! Removing: `delete`, and what `md` does in its place.

use super::block::{Block, Fields, State};
use super::counts::Counter;
use super::time::Exptime;
use super::{ServerCache, Shared};
use crate::Change;

/// How an item is to be removed, or marked: the flags of `md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// Only if this is the item's cas unique: `C`.
    pub compare: Option<u64>,
    /// It stays, marked as old, with another cas unique: whoever reads it next is told to make a new one. `I`.
    pub mark_stale: bool,
    /// It stays, with an empty value and without flags: `x`.
    pub empty: bool,
    /// If it stays, the expiry time that it is to get: `T`.
    pub touch: Option<Exptime>,
    /// If it is marked as old, its cas unique, in place of the number of the change: `E`.
    pub cas: Option<u64>,
}

/// What came of a [`Removal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Removed {
    /// It was done.
    Removed,
    /// There is no item.
    NotFound,
    /// The item has another cas unique.
    Exists,
}

impl ServerCache {
    /// Removes the item of a key; whether there was one. Takes a lock for a moment.
    pub fn delete(&self, key: &[u8]) -> bool {
        self.remove(key, &Removal::default()) == Removed::Removed
    }

    /// Removes the item of a key, or marks it, as `removal` says: one step. Takes a lock for a moment.
    pub fn remove(&self, key: &[u8], removal: &Removal) -> Removed {
        let shared = &*self.shared;
        let gone_below = shared.gone_below();
        let mut removed = Removed::NotFound;
        shared.cache.compute(key, |entry| {
            let old = entry.map(|(block, ())| block).filter(|block| block.parts().birth >= gone_below);
            let change;
            (removed, change) = match old {
                // What is gone already is taken out on the way.
                None => (Removed::NotFound, Change::Remove),
                Some(old) if removal.compare.is_some_and(|cas| cas != old.parts().cas) => {
                    (Removed::Exists, Change::Keep)
                }
                Some(old) => (Removed::Removed, shared.change_for(removal, old)),
            };
            change
        });
        let done = removed == Removed::Removed;
        shared.counts.count(if done { Counter::DeleteHits } else { Counter::DeleteMisses });
        removed
    }
}

impl Shared {
    fn change_for(&self, removal: &Removal, old: &Block) -> Change<Block, ()> {
        if !removal.mark_stale && !removal.empty {
            return Change::Remove;
        }
        let (parts, state) = (old.parts(), old.state());
        let birth = self.next_change();
        let mut fields = Fields { flags: parts.flags, cas: parts.cas, birth, state };
        if removal.mark_stale {
            fields.cas = removal.cas.unwrap_or(birth);
            let kept = State::FETCHED | State::BINARY_KEY;
            fields.state = state.with_marks(State::STALE | state.marks() & kept);
        }
        let block = if removal.empty {
            fields.flags = 0;
            match self.pack(fields, old.key(), [&[], &[]]) {
                Ok(block) => block,
                // Empty was what it was to be, and gone is next to it.
                Err(_) => return Change::Remove,
            }
        } else {
            Block::new(fields, old.key(), [parts.value, &[]])
        };
        self.put_or_keep_time(block, removal.touch)
    }
}
