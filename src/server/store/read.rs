//! Reading: `get`, `gat`, and what `mg` does besides.
//!
//! A hit takes no lock and copies nothing: the value is lent to a closure, where it lies in the cache.

use std::ptr;

use super::block::{Block, State};
use super::counts::Counter;
use super::lend::Loan;
use super::time::{Exptime, second, seconds_until};
use super::write::{Mode, Stored, Write};
use super::{ServerCache, Shared};
use crate::Change;
use crate::cache::Location;
use crate::clock::{Time, nanos};
use crate::stripe::{Node, is_expired};
use crate::sync::{Pin, pin};

/// An item, copied out of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Item {
    /// The value.
    pub value: Vec<u8>,
    /// Whatever the client that stored it noted with it.
    pub flags: u32,
    /// The number of the item's last change, or what the client that stored it put in its place.
    pub cas: u64,
}

/// An item that was found, lent for the time of a call.
#[derive(Clone, Copy)]
pub struct Hit<'a> {
    /// The value.
    pub value: &'a [u8],
    /// Client flags.
    pub flags: u32,
    /// The cas unique.
    pub cas: u64,
    /// This caller is the one who is to make a new value: `W` of the meta commands.
    pub won: bool,
    /// Somebody else was told so before: `Z`.
    pub token_sent: bool,
    /// It was marked as old: `X`.
    pub is_stale: bool,
    key: &'a [u8],
    /// Before this look-up.
    state: State,
    birth: u64,
    second: u32,
    deadline: u64,
    time: &'a Time,
}

impl Hit<'_> {
    /// The key.
    pub fn key(&self) -> &[u8] {
        self.key
    }

    /// Seconds until it expires, rounded up; `None` for never.
    pub fn seconds_left(&self) -> Option<u32> {
        (self.deadline != 0).then(|| seconds_until(self.deadline, self.time.now()))
    }

    /// Seconds since it was last read, or stored.
    pub fn idle_seconds(&self) -> u32 {
        self.state.idle_seconds(self.second)
    }

    /// Whether its key was sent in base64 when it was stored.
    pub fn has_binary_key(&self) -> bool {
        self.state.has(State::BINARY_KEY)
    }

    /// Whether it had been read before.
    pub fn was_fetched(&self) -> bool {
        self.state.has(State::FETCHED)
    }
}

/// What a look-up is to do besides looking up: the flags of `mg`, and `gat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetch {
    /// The expiry time it is to get: `T`, and `gat`.
    pub touch: Option<Exptime>,
    /// Where there is none, an empty item is put in that expires then, and the caller is told to fill it: `N`.
    pub vivify: Option<Exptime>,
    /// The cas unique of that item: `E`.
    pub cas: Option<u64>,
    /// Where it has fewer seconds left than this, one caller is told to make a new one: `R`.
    pub recache: Option<u32>,
    /// This is no use of the item: `u`.
    pub unseen: bool,
    /// The caller could not be told to make a new one, so somebody else is: all but `mg`.
    pub leaves_token: bool,
    /// The key of an item that is put in is one of bytes: `b`.
    pub binary_key: bool,
}

impl ServerCache {
    /// The item of a key, copied. A use; takes no lock.
    pub fn get(&self, key: &[u8]) -> Option<Item> {
        self.read(key, |hit| Item { value: hit.value.to_vec(), flags: hit.flags, cas: hit.cas })
    }

    /// Lends the item of a key to `read`. A use; takes no lock, and copies nothing.
    ///
    /// Nothing that is displaced anywhere in the cache is freed while `read` runs: it should do no more than copy.
    #[inline]
    pub fn read<R>(&self, key: &[u8], read: impl FnOnce(Hit<'_>) -> R) -> Option<R> {
        self.read_lending(key, |hit, _| read(hit))
    }

    /// As [`read`](Self::read). What is found may be taken on loan if values are kept as they are.
    #[inline]
    pub(crate) fn read_lending<'c, R>(
        &'c self,
        key: &[u8],
        read: impl FnOnce(Hit<'_>, Option<Loan<'c, '_>>) -> R,
    ) -> Option<R> {
        let Shared { cache, counts, .. } = &*self.shared;
        let at = cache.locate(key);
        cache.core.prefetch_before_pin(at);
        let gone_below = self.shared.gone_below();
        counts.count(Counter::CmdGet);
        let pin = pin();
        let found = cache.find_and_use(key, at, &pin).map(|node| (node, self.shared.hit(node)));
        let Some((node, hit)) = found.filter(|(_, hit)| hit.birth >= gone_below) else {
            self.count_cause(at, key, &pin);
            counts.count(Counter::GetMisses);
            return None;
        };
        node.key().note_access(hit.second);
        let loan = Loan { stripe: &cache.core.stripes[at.stripe], node, pin: &pin };
        let read = self.shared.open(loan, hit, read);
        counts.count(if read.is_some() { Counter::GetHits } else { Counter::GetMisses });
        read
    }

    /// Looks up as `fetch` says, and lends the item that is found, or put in, to `read`. A use, unless it is to be unseen.
    /// Takes a lock only to change something.
    pub fn fetch<R>(&self, key: &[u8], fetch: &Fetch, read: impl FnOnce(Hit<'_>) -> R) -> Option<R> {
        self.fetch_lending(key, fetch, |hit, _| read(hit))
    }

    /// As [`fetch`](Self::fetch). What is found may be taken on loan if values are kept as they are.
    pub(crate) fn fetch_lending<'c, R>(
        &'c self,
        key: &[u8],
        fetch: &Fetch,
        read: impl FnOnce(Hit<'_>, Option<Loan<'c, '_>>) -> R,
    ) -> Option<R> {
        let Shared { cache, counts, .. } = &*self.shared;
        let at = cache.locate(key);
        counts.count(Counter::CmdGet);
        loop {
            let gone_below = self.shared.gone_below();
            let pin = pin();
            let found = if fetch.unseen {
                cache.find(key, at, &pin).map(|(_, node)| node)
            } else {
                cache.find_and_use(key, at, &pin)
            };
            let found = found.map(|node| (node, self.shared.hit(node)));
            if let Some((node, mut hit)) = found.filter(|(_, hit)| hit.birth >= gone_below) {
                let is_short = |recache| hit.deadline != 0 && hit.seconds_left() < Some(recache);
                let is_wanted = hit.is_stale || fetch.recache.is_some_and(is_short);
                if let Some(exptime) = fetch.touch {
                    let Some(deadline) = self.shared.touch(at, node, exptime) else {
                        // It was displaced meanwhile.
                        continue;
                    };
                    hit.deadline = deadline;
                }
                hit.won = is_wanted && !fetch.leaves_token && !hit.token_sent && node.key().take_token();
                hit.token_sent |= is_wanted && !hit.won;
                if !fetch.unseen {
                    node.key().note_access(hit.second);
                }
                let loan = Loan { stripe: &cache.core.stripes[at.stripe], node, pin: &pin };
                let read = self.shared.open(loan, hit, read);
                self.count_fetch(fetch, read.is_some());
                return read;
            }
            self.count_cause(at, key, &pin);
            drop(pin);
            let Some(exptime) = fetch.vivify else {
                self.count_fetch(fetch, false);
                return None;
            };
            let Fetch { cas, binary_key, .. } = *fetch;
            let write = Write { key, exptime, mode: Mode::Add, cas, binary_key, ..Write::default() };
            let is_use = if fetch.unseen { 0 } else { State::FETCHED };
            let stored = self.store_if(&write, State::TOKEN_SENT | is_use);
            if stored != Stored::NotStored {
                self.count_fetch(fetch, false);
                let Stored::Stored { cas } = stored else { return None };
                return Some(read(self.shared.vivified(&write, cas), None));
            }
        }
    }

    /// Gives the item of a key another expiry time; whether there is one. A use. Takes a lock for a moment.
    pub fn touch(&self, key: &[u8], exptime: Exptime) -> bool {
        self.touch_and_tell(key, exptime).is_some()
    }

    /// As [`touch`](Self::touch), and gives the item's client flags and its cas unique.
    pub(crate) fn touch_and_tell(&self, key: &[u8], exptime: Exptime) -> Option<(u32, u64)> {
        let cache = &self.shared.cache;
        let at = cache.locate(key);
        let gone_below = self.shared.gone_below();
        let touched = loop {
            let pin = pin();
            let found = cache.find_and_use(key, at, &pin);
            let Some(node) = found.filter(|node| node.key().parts().birth >= gone_below) else { break None };
            if self.shared.touch(at, node, exptime).is_some() {
                node.key().note_access(second(cache.core.time.rough()));
                let parts = node.key().parts();
                break Some((parts.flags, parts.cas));
            }
            // It was displaced meanwhile.
        };
        self.shared.counts.count(Counter::CmdTouch);
        self.shared.counts.count(if touched.is_some() { Counter::TouchHits } else { Counter::TouchMisses });
        touched
    }

    /// Counts why a look-up missed, if what it looked for is still there; and lets what `flush_all` took go.
    #[cold]
    fn count_cause(&self, at: Location, key: &[u8], pin: &Pin) {
        let cache = &self.shared.cache;
        let found = cache.core.stripes[at.stripe].find(pin, at.hash, |block| block.key() == key);
        let Some((_, node)) = found else { return };
        // It may be neither: somebody may have stored it since the look-up, and then it is to stay.
        if node.key().parts().birth < self.shared.gone_below() {
            self.shared.counts.count(Counter::GetFlushed);
            self.shared.let_go(node.key());
        } else if is_expired(node.deadline(), cache.core.time.now()) {
            self.shared.counts.count(Counter::GetExpired);
        }
    }

    fn count_fetch(&self, fetch: &Fetch, hit: bool) {
        let counts = &self.shared.counts;
        if fetch.touch.is_some() {
            counts.count(Counter::CmdTouch);
            counts.count(if hit { Counter::TouchHits } else { Counter::TouchMisses });
        } else {
            counts.count(if hit { Counter::GetHits } else { Counter::GetMisses });
        }
    }
}

impl Shared {
    #[inline]
    fn hit<'p>(&'p self, node: &'p Node<Block, ()>) -> Hit<'p> {
        let time = &self.cache.core.time;
        let (block, state) = (node.key(), node.key().state());
        let parts = block.parts();
        Hit {
            value: parts.value,
            flags: parts.flags,
            cas: parts.cas,
            won: false,
            token_sent: state.has(State::TOKEN_SENT),
            is_stale: state.has(State::STALE),
            key: block.key(),
            state,
            birth: parts.birth,
            second: second(time.rough()),
            deadline: node.deadline(),
            time,
        }
    }

    /// Gives an item another expiry time, if it is still there, and says when that is.
    fn touch(&self, at: Location, node: &Node<Block, ()>, exptime: Exptime) -> Option<u64> {
        let core = &self.cache.core;
        let ttl = match self.time_to_live(exptime).map(nanos) {
            // Over since the first moment there was.
            Some(0) => return self.let_go(node.key()).then_some(1),
            Some(u64::MAX) => 0,
            Some(ttl) => ttl,
            None => core.time_to_live,
        };
        let deadline = core.deadline(ttl);
        let was_there = core.write(at.stripe, |context, aftermath| {
            let is_it = |block: &Block| ptr::eq(block, node.key());
            core.stripes[at.stripe].touch(context, at.hash, is_it, deadline, aftermath)
        });
        was_there.then(|| node.deadline())
    }

    /// Removes this very item, whose node is lent; whether it was still there.
    fn let_go(&self, block: &Block) -> bool {
        let mut was_there = false;
        self.cache.compute(block.key(), |entry| {
            was_there = entry.is_some_and(|(other, ())| ptr::eq(other, block));
            if was_there { Change::Remove } else { Change::Keep }
        });
        was_there
    }

    /// Lends a hit with its value decoded; removes what is damaged.
    #[inline]
    fn open<'c, 'p, R>(
        &self,
        loan: Loan<'c, 'p>,
        hit: Hit<'_>,
        read: impl FnOnce(Hit<'_>, Option<Loan<'c, 'p>>) -> R,
    ) -> Option<R> {
        if self.packer.is_none() {
            return Some(read(hit, Some(loan)));
        }
        let block = loan.node.key();
        match self.unpack(block) {
            Some(value) => Some(read(Hit { value: &value, ..hit }, None)),
            None => {
                self.let_go(block);
                None
            }
        }
    }

    /// An item that was put in just now, for the caller to fill.
    fn vivified<'a>(&'a self, write: &Write<'a>, cas: u64) -> Hit<'a> {
        let time = &self.cache.core.time;
        let ttl = self.time_to_live(write.exptime).map_or(self.cache.core.time_to_live, nanos);
        let second = second(time.rough());
        Hit {
            value: &[],
            flags: 0,
            cas,
            won: true,
            token_sent: false,
            is_stale: false,
            key: write.key,
            state: State::new(second, if write.binary_key { State::BINARY_KEY } else { 0 }),
            birth: cas,
            second,
            deadline: if ttl == 0 { 0 } else { time.now().saturating_add(ttl) },
            time,
        }
    }
}
