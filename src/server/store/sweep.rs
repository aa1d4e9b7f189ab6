//! Freeing what `flush_all` took: by the writes that follow, a bucket each.
//!
//! The call itself is O(1), and whoever meets such an item lets it go; this is for those that nobody asks for.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use super::Shared;
use super::look::Cursor;
use crate::Change;

/// How far it has come.
#[derive(Default)]
pub(super) struct Sweep {
    /// All items born before this change are taken out.
    done: AtomicU64,
    /// The change before which items are being taken out, and where to go on.
    under_way: Mutex<(u64, Cursor)>,
}

impl Shared {
    /// Goes on with the sweep, if items born before `gone_below` may still be there.
    #[inline]
    pub(super) fn sweep(&self, gone_below: u64) {
        // Relaxed: who does not see yet that it is over does a step in vain.
        if self.sweep.done.load(Relaxed) < gone_below {
            self.sweep_some(gone_below);
        }
    }

    #[cold]
    fn sweep_some(&self, gone_below: u64) {
        // Who has the lock is at it.
        let Some(mut under_way) = self.sweep.under_way.try_lock() else { return };
        if under_way.0 < gone_below {
            *under_way = (gone_below, Cursor::default());
        }
        let mut gone: Vec<Box<[u8]>> = Vec::new();
        let next = self.step(under_way.1, |node| {
            let block = node.key();
            if block.parts().birth < gone_below {
                gone.push(block.key().into());
            }
        });
        match next {
            Some(cursor) => under_way.1 = cursor,
            None => self.sweep.done.store(under_way.0, Relaxed),
        }
        drop(under_way);
        for key in gone {
            self.cache.compute(&*key, |entry| match entry {
                Some((block, ())) if block.parts().birth < gone_below => Change::Remove,
                _ => Change::Keep,
            });
        }
    }
}
