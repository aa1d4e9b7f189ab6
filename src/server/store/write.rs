//! Storing: `set add replace append prepend cas`, and `ms`.

use std::time::Duration;

use super::block::{Block, Fields, MAX_KEY_LEN, MAX_VALUE_LEN, State};
use super::counts::Counter;
use super::time::{Exptime, second};
use super::{ServerCache, Shared};
use crate::{Change, Outcome};

/// When a value is stored, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Always.
    #[default]
    Set,
    /// If there is no item.
    Add,
    /// If there is one.
    Replace,
    /// Behind the value of the item, which keeps its flags and its expiry time.
    Append,
    /// Before it, likewise.
    Prepend,
}

/// A value to be stored: what the commands that store say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Write<'a> {
    /// At most [`MAX_KEY_LEN`] bytes; a longer one is too large.
    pub key: &'a [u8],
    /// The value, or what is to be added to it.
    pub value: &'a [u8],
    /// Client flags.
    pub flags: u32,
    /// When it expires.
    pub exptime: Exptime,
    /// When it is stored.
    pub mode: Mode,
    /// Only if this is the item's cas unique: `cas`, and `C` of `ms`. Says nothing to [`Mode::Add`].
    pub compare: Option<u64>,
    /// The cas unique that it is to get, in place of the number of the change: `E`.
    pub cas: Option<u64>,
    /// If `compare` is lower than the item's cas unique it is stored all the same, as old, and keeps the expiry time: `I`.
    pub as_stale: bool,
    /// Where there is nothing to append or prepend to, an item that expires then is stored: `N`.
    pub vivify: Option<Exptime>,
    /// The key is one of bytes that clients write in base64, and are to be given so: `b`.
    pub binary_key: bool,
}

impl Write<'_> {
    /// Whether it is to be stored in any case.
    fn is_plain_set(&self) -> bool {
        self.mode == Mode::Set && self.compare.is_none()
    }
}

/// What became of a [`Write`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stored {
    /// It was stored, and has this cas unique.
    Stored {
        /// The cas unique.
        cas: u64,
    },
    /// Its [`Mode`] did not allow it.
    NotStored,
    /// The item has another cas unique.
    Exists,
    /// There is no item whose cas unique could be compared.
    NotFound,
    /// The item would be larger than [`max_item_bytes`](super::ServerCacheBuilder::max_item_bytes), or than the whole
    /// cache. Where it was to be stored in any case, what was there is gone.
    TooLarge,
    /// There is no room, and nothing may be evicted for it. Where it was to be stored in any case, what was there is gone.
    NoMemory,
    /// The codec can't encode the value, and must. Where it was to be stored in any case, what was there is gone.
    Refused,
}

impl Stored {
    /// Whether it was stored.
    pub fn is_stored(self) -> bool {
        matches!(self, Self::Stored { .. })
    }
}

impl ServerCache {
    /// Stores a value in any case.
    pub fn set(&self, key: &[u8], value: &[u8], flags: u32, exptime: Exptime) -> Stored {
        self.write(&Write { key, value, flags, exptime, ..Write::default() })
    }

    /// Stores a value, or not, as `write` says: one step. Takes a lock for a moment.
    pub fn write(&self, write: &Write<'_>) -> Stored {
        let Shared { counts, .. } = &*self.shared;
        counts.count(Counter::CmdSet);
        self.shared.sweep(self.shared.gone_below());
        let stored = match (write.mode, write.compare) {
            // Whether there is room may hang on what it replaces.
            (Mode::Set, None) if self.shared.evicts => self.store(write),
            _ => self.store_if(write, 0),
        };
        match stored {
            Stored::Stored { .. } => counts.count(Counter::TotalItems),
            Stored::TooLarge => counts.count(Counter::TooLarge),
            _ => {}
        }
        stored
    }

    /// Stores in any case.
    fn store(&self, write: &Write<'_>) -> Stored {
        let shared = &*self.shared;
        shared.gone_below();
        let (cas, block) = match shared.make(write, [write.value, &[]], 0, None) {
            Ok(made) => made,
            Err(refused) => {
                // What was to be replaced must not be served any more.
                shared.cache.invalidate(write.key);
                return refused;
            }
        };
        let is_refused = match shared.time_to_live(write.exptime) {
            None => shared.cache.try_insert(block, ()).is_err(),
            Some(ttl) => shared.cache.put_for(block, (), ttl).is_err(),
        };
        if is_refused { Stored::TooLarge } else { Stored::Stored { cas } }
    }

    /// Stores if what is there is as it should be; a new item gets these marks.
    pub(super) fn store_if(&self, write: &Write<'_>, marks: u32) -> Stored {
        let shared = &*self.shared;
        let gone_below = shared.gone_below();
        let mut stored = Stored::NotStored;
        let outcome = shared.cache.compute(write.key, |entry| {
            let old = entry.map(|(block, ())| block).filter(|block| block.parts().birth >= gone_below);
            let (decided, change) = shared.decide(write, marks, old);
            stored = decided;
            change
        });
        if write.compare.is_some() {
            self.count_cas(stored);
        }
        if outcome == Outcome::Rejected { Stored::TooLarge } else { stored }
    }

    fn count_cas(&self, stored: Stored) {
        self.shared.counts.count(match stored {
            Stored::Stored { .. } => Counter::CasHits,
            Stored::NotFound => Counter::CasMisses,
            Stored::Exists => Counter::CasBadval,
            _ => return,
        });
    }
}

impl Shared {
    /// What becomes of a write where `old` is there, and the change that it makes.
    fn decide(&self, write: &Write<'_>, marks: u32, old: Option<&Block>) -> Decision {
        let Some(old) = old else {
            return match (write.mode, write.compare, write.vivify) {
                (Mode::Add, ..) | (Mode::Set, None, _) => self.put(write, marks, None),
                (Mode::Append | Mode::Prepend, _, Some(exptime)) => self.put(&Write { exptime, ..*write }, marks, None),
                (Mode::Set | Mode::Replace, Some(_), _) => (Stored::NotFound, Change::Keep),
                _ => (Stored::NotStored, Change::Keep),
            };
        };
        let is_older = |compare| compare != 0 && compare < old.parts().cas;
        match (write.mode, write.compare) {
            (Mode::Add, _) => (Stored::NotStored, Change::Keep),
            (Mode::Set | Mode::Replace, Some(compare)) if compare != old.parts().cas => {
                if write.as_stale && is_older(compare) { self.put_stale(write, old) } else { EXISTS }
            }
            (Mode::Set | Mode::Replace, _) => self.put(write, marks, Some(old)),
            (_, Some(compare)) if compare != 0 && compare != old.parts().cas => EXISTS,
            (Mode::Append | Mode::Prepend, _) => self.put_longer(write, old),
        }
    }

    /// Stores as old what was made of an older item; the time stays, and whether somebody was told to make a newer one.
    fn put_stale(&self, write: &Write<'_>, old: &Block) -> Decision {
        let marks = State::STALE | old.state().marks() & State::TOKEN_SENT;
        decision(self.make(write, [write.value, &[]], marks, Some(old)), |block| Change::PutKeepingTime(block, ()))
    }

    fn put_longer(&self, write: &Write<'_>, old: &Block) -> Decision {
        let Some(plain) = self.unpack(old) else { return (Stored::NotStored, Change::Remove) };
        let pieces = if write.mode == Mode::Append { [&*plain, write.value] } else { [write.value, &*plain] };
        let (flags, marks) = (old.parts().flags, old.state().marks() & State::BINARY_KEY);
        let made = self.make(&Write { flags, ..*write }, pieces, marks, Some(old));
        decision(made, |block| Change::PutKeepingTime(block, ()))
    }

    fn put(&self, write: &Write<'_>, marks: u32, old: Option<&Block>) -> Decision {
        match self.make(write, [write.value, &[]], marks, old) {
            // What was to be replaced must not be served any more.
            Err(refused) if write.is_plain_set() => (refused, Change::Remove),
            made => decision(made, |block| self.put_for(block, write.exptime)),
        }
    }

    /// Puts a block in that expires then.
    pub(super) fn put_for(&self, block: Block, exptime: Exptime) -> Change<Block, ()> {
        match self.time_to_live(exptime) {
            None => Change::Put(block, ()),
            Some(ttl) => Change::PutWithTtl(block, (), ttl),
        }
    }

    /// Puts a block in that expires then, or when the present one does.
    pub(super) fn put_or_keep_time(&self, block: Block, exptime: Option<Exptime>) -> Change<Block, ()> {
        match exptime {
            None => Change::PutKeepingTime(block, ()),
            Some(exptime) => self.put_for(block, exptime),
        }
    }

    /// A block for a write with a value of these two pieces that takes the place of `old`, and its cas unique; or why there
    /// can be none.
    pub(super) fn make(
        &self,
        write: &Write<'_>,
        value: [&[u8]; 2],
        marks: u32,
        old: Option<&Block>,
    ) -> Result<(u64, Block), Stored> {
        let birth = self.next_change();
        let cas = write.cas.unwrap_or(birth);
        let marks = if write.binary_key { marks | State::BINARY_KEY } else { marks };
        let state = State::new(second(self.cache.core.time.rough()), marks);
        let fields = Fields { flags: write.flags, cas, birth, state };
        if !self.has_room(&fields, write.key.len(), value[0].len().saturating_add(value[1].len())) {
            return Err(Stored::TooLarge);
        }
        let block = self.pack(fields, write.key, value)?;
        if !self.evicts && self.would_evict(block.len(), old.map(Block::len)) {
            return Err(Stored::NoMemory);
        }
        Ok((cas, block))
    }

    fn has_room(&self, fields: &Fields, key_len: usize, value_len: usize) -> bool {
        key_len <= MAX_KEY_LEN
            && value_len <= MAX_VALUE_LEN
            && Block::len_for(fields, key_len, value_len) <= self.max_item_bytes
    }

    /// Whether a block so long might have others evicted: less is free than it takes beyond the one that it replaces, with
    /// what a stripe draws in advance and its tables grow by.
    fn would_evict(&self, len: usize, old: Option<usize>) -> bool {
        let more = len.saturating_sub(old.unwrap_or(0));
        if more == 0 {
            return false;
        }
        let budget = &self.cache.core.budget;
        let margin = budget.limit() / 64 + 2 * budget.quantum();
        // New items leave this margin as it is. It is there for what grows by no more than a header or a number can, so that
        // a value is not refused that is no longer than the old one; but for a part, as several may look at the same time.
        let margin = if old.is_some() && more <= FEW { margin / 16 } else { margin };
        budget.free() < (more as u64 + margin) as i64
    }

    pub(super) fn time_to_live(&self, exptime: Exptime) -> Option<Duration> {
        self.calendar.time_to_live(exptime, &self.cache.core.time)
    }
}

/// By so many bytes a header can grow, by wider numbers and flags, and a number that is counted up.
const FEW: usize = 20;

type Decision = (Stored, Change<Block, ()>);

const EXISTS: Decision = (Stored::Exists, Change::Keep);

/// The decision to put a block in, if it could be made.
fn decision(made: Result<(u64, Block), Stored>, put: impl FnOnce(Block) -> Change<Block, ()>) -> Decision {
    match made {
        Ok((cas, block)) => (Stored::Stored { cas }, put(block)),
        Err(refused) => (refused, Change::Keep),
    }
}
