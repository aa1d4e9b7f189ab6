//! What a write leaves to be done when the lock is released.
//!
//! Knows what was displaced. Does little itself: [`crate::operation`] sees to it.

use std::thread::panicking;

use smallvec::SmallVec;

use super::supply::Supply;
use crate::first_panic::FirstPanic;
use crate::sync::{Arc, AtomicBool, when_all_have_left};

/// Why an entry left the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemovalCause {
    /// Another value was put in for the same key.
    Replaced,
    /// The caller removed it.
    Removed,
    /// It made room.
    Evicted,
    /// Its time was over.
    Expired,
}

/// See the [module's documentation](self). A write may be followed by another with the same aftermath.
///
/// Most writes leave nothing, or a few places and values: what is rare is behind a pointer, so that an empty
/// aftermath costs a few words.
pub(crate) struct Aftermath<K, V> {
    /// What was displaced and why, where anybody wants to know: still readable under the pin of the write.
    pub(crate) displaced: SmallVec<[(u32, RemovalCause); 4]>,
    pub(crate) garbage: Garbage<K, V>,
    /// Where the entry is that was put in: it is not to make room for itself.
    pub(crate) written: Option<u32>,
    rare: Option<Box<Rare<K, V>>>,
}

/// Keys and values that are nobody's any more, to be dropped. One that panics does not keep the others from being dropped.
pub(crate) struct Garbage<K, V>(SmallVec<[(K, V); 4]>);

/// What few writes leave.
pub(crate) struct Rare<K, V> {
    /// Flags of batches, each to be set when all who are pinned now have left.
    pub(crate) handed_over: Vec<Arc<AtomicBool>>,
    /// Which is not to wait for more of them.
    pub(crate) is_urgent: bool,
    /// Supplies that came too late, what others took the place of, and outgrown tables that nobody reads any more.
    pub(crate) unused: Vec<Supply<K, V>>,
    /// The budget is overdrawn: others have to make room.
    pub(crate) is_short: bool,
    /// And that is for the entry at this place.
    pub(crate) keep: Option<u32>,
    /// Entries went where memory might have gone: nodes that no entry uses have much of what the stripe has.
    pub(crate) is_sparse: bool,
}

impl<K, V> Aftermath<K, V> {
    #[inline]
    pub(crate) fn new() -> Self {
        Self { displaced: SmallVec::new(), garbage: Garbage(SmallVec::new()), written: None, rare: None }
    }

    /// What few writes leave, to be added to.
    #[cold]
    pub(crate) fn rare(&mut self) -> &mut Rare<K, V> {
        self.rare.get_or_insert_with(|| {
            Box::new(Rare {
                handed_over: Vec::new(),
                is_urgent: false,
                unused: Vec::new(),
                is_short: false,
                keep: None,
                is_sparse: false,
            })
        })
    }

    /// Has the batches that were handed over wait until all have left who are pinned now. Whoever made an aftermath has to
    /// call this: what comes after such a batch would wait for ever.
    #[inline]
    pub(crate) fn wait_for_all(&mut self) {
        if let Some(rare) = self.rare.as_mut().filter(|rare| !rare.handed_over.is_empty()) {
            when_all_have_left(std::mem::take(&mut rare.handed_over), rare.is_urgent);
        }
    }

    /// Whether there is nothing to be done but to drop it.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        self.rare.is_none() && self.displaced.is_empty()
    }
}

impl<K, V> Drop for Rare<K, V> {
    fn drop(&mut self) {
        debug_assert!(self.handed_over.is_empty(), "batches for which nobody waits");
    }
}

impl<K, V> Garbage<K, V> {
    #[inline(always)]
    pub(crate) fn add(&mut self, entry: (K, V)) {
        self.0.push(entry);
    }
}

impl<K, V> Drop for Garbage<K, V> {
    #[inline]
    fn drop(&mut self) {
        if !self.0.is_empty() {
            drop_garbage(&mut self.0);
        }
    }
}

fn drop_garbage<K, V>(garbage: &mut SmallVec<[(K, V); 4]>) {
    /// Drops what is left when one of them has panicked. To catch a panic of each would cost where none does.
    struct Rest<'a, K, V>(&'a mut SmallVec<[(K, V); 4]>);

    impl<K, V> Drop for Rest<'_, K, V> {
        fn drop(&mut self) {
            drop_each(self.0.drain(..));
        }
    }

    let rest = Rest(garbage);
    if !panicking() {
        while let Some(entry) = rest.0.pop() {
            drop(entry);
        }
    }
}

/// Drops keys and values. One that panics does not keep the others from being dropped; the first panic goes on afterwards,
/// unless another is under way.
pub(super) fn drop_each<K, V>(entries: impl Iterator<Item = (K, V)>) {
    let mut panic = FirstPanic::default();
    for (key, value) in entries {
        panic.catch(|| drop(key));
        panic.catch(|| drop(value));
    }
    panic.resume();
}
