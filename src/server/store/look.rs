//! Looking at items without using them: `me`, and `lru_crawler metadump`.

use super::block::{Block, State};
use super::time::{second, seconds_until};
use super::{ServerCache, Shared};
use crate::stripe::{Hash, Node, is_expired};
use crate::sync::pin;

/// What is known of an item beside its value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Meta {
    /// The key.
    pub key: Vec<u8>,
    /// Client flags.
    pub flags: u32,
    /// The cas unique.
    pub cas: u64,
    /// When it expires, in Unix seconds; `None` for never.
    pub expires: Option<i64>,
    /// Seconds until then, rounded up.
    pub seconds_left: Option<u32>,
    /// When it was last read, or stored, in Unix seconds.
    pub accessed: i64,
    /// Seconds since then.
    pub idle_seconds: u32,
    /// Whether it was read since it was stored.
    pub fetched: bool,
    /// Whether the key was sent in base64 when it was stored.
    pub binary_key: bool,
    /// The bytes that it takes, key and header and the cache's node among them.
    pub size: usize,
}

/// Where a walk over all items goes on; see [`ServerCache::walk`].
#[derive(Clone, Copy, Debug)]
pub struct Cursor {
    stripe: usize,
    hash: Hash,
}

impl Default for Cursor {
    /// The start of a walk.
    fn default() -> Self {
        Self { stripe: 0, hash: Hash::FIRST }
    }
}

impl ServerCache {
    /// What is known of the item of a key. Not a use; takes no lock.
    pub fn peek(&self, key: &[u8]) -> Option<Meta> {
        let cache = &self.shared.cache;
        let gone_below = self.shared.gone_below();
        let pin = pin();
        let (_, node) = cache.find(key, cache.locate(key), &pin)?;
        self.shared.meta(node, gone_below)
    }

    /// Visits some items, at least `least` unless fewer are left, and says where to go on; `None` at the end. Not a use;
    /// takes no lock.
    ///
    /// An item that is there during the whole of the walk is visited just once, one that is stored or removed meanwhile
    /// may be or not. The cache may be used while the walk goes on, and a walk need not be ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use larder::server::{Cursor, Exptime, ServerCache};
    ///
    /// let cache = ServerCache::builder().build()?;
    /// cache.set(b"one", b"1", 0, Exptime::Never);
    /// let (mut keys, mut next) = (Vec::new(), Some(Cursor::default()));
    /// while let Some(cursor) = next {
    ///     next = cache.walk(cursor, 100, |item| keys.push(item.key));
    /// }
    /// assert_eq!(keys, [b"one"]);
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    pub fn walk(&self, from: Cursor, least: usize, mut visit: impl FnMut(Meta)) -> Option<Cursor> {
        let (mut next, mut visited) = (Some(from), 0);
        while let Some(cursor) = next.filter(|_| visited < least) {
            next = self.walk_bucket(cursor, |item| {
                visited += 1;
                visit(item);
            });
        }
        next
    }

    /// As [`walk`](Self::walk), of one bucket, which may be empty: O(1), however few items there are.
    pub(crate) fn walk_bucket(&self, from: Cursor, visit: impl FnMut(Meta)) -> Option<Cursor> {
        let gone_below = self.shared.gone_below();
        let mut found = Vec::new();
        let next = self.shared.step(from, |node| found.extend(self.shared.meta(node, gone_below)));
        found.into_iter().for_each(visit);
        next
    }
}

impl Shared {
    /// Visits the items of one bucket, over or not, and says where to go on. `visit` runs under a pin.
    pub(super) fn step(
        &self,
        Cursor { stripe, hash }: Cursor,
        mut visit: impl FnMut(&Node<Block, ()>),
    ) -> Option<Cursor> {
        let stripes = &self.cache.core.stripes;
        let next = stripes.get(stripe)?.visit(&pin(), hash, |_, node| visit(node));
        match next {
            Some(hash) => Some(Cursor { stripe, hash }),
            None => (stripe + 1 < stripes.len()).then_some(Cursor { stripe: stripe + 1, hash: Hash::FIRST }),
        }
    }

    fn meta(&self, node: &Node<Block, ()>, gone_below: u64) -> Option<Meta> {
        let (block, deadline, now) = (node.key(), node.deadline(), self.cache.core.time.now());
        let (parts, state) = (block.parts(), block.state());
        if is_expired(deadline, now) || parts.birth < gone_below {
            return None;
        }
        let idle_seconds = state.idle_seconds(second(now));
        Some(Meta {
            key: block.key().to_vec(),
            flags: parts.flags,
            cas: parts.cas,
            expires: (deadline != 0).then(|| self.calendar.unix_seconds(deadline)),
            seconds_left: (deadline != 0).then(|| seconds_until(deadline, now)),
            accessed: self.calendar.unix_seconds(now) - i64::from(idle_seconds),
            idle_seconds,
            fetched: state.has(State::FETCHED),
            binary_key: state.has(State::BINARY_KEY),
            size: block.len() + size_of::<Node<Block, ()>>(),
        })
    }
}
