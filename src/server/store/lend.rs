//! Items lent for longer than a call, so that large values can be sent from where they lie.

use std::fmt;

use super::ServerCache;
use super::block::Block;
use crate::Ref;
use crate::sync::pin;

/// An item on loan: it may be replaced, removed or evicted meanwhile, and its memory stays.
pub(crate) struct Lent<'c> {
    item: Ref<'c, Block, ()>,
}

impl Lent<'_> {
    /// The value.
    #[inline]
    pub(crate) fn value(&self) -> &[u8] {
        self.item.key().parts().value
    }

    /// Client flags.
    pub(crate) fn flags(&self) -> u32 {
        self.item.key().parts().flags
    }

    /// The cas unique.
    pub(crate) fn cas(&self) -> u64 {
        self.item.key().parts().cas
    }
}

impl fmt::Debug for Lent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent").field("len", &self.value().len()).finish_non_exhaustive()
    }
}

impl ServerCache {
    /// Whether values are kept as they are, and so can be lent.
    #[inline]
    pub(crate) fn lends(&self) -> bool {
        self.shared.packer.is_none()
    }

    /// Lends the item of a key that was just read, in a cache that [`lends`](Self::lends). No use of it, and not counted. Takes no lock.
    pub(crate) fn lend(&self, key: &[u8]) -> Option<Lent<'_>> {
        let cache = &self.shared.cache;
        let at = cache.locate(key);
        let gone_below = self.shared.gone_below();
        let pin = pin();
        let (_, node) = cache.find(key, at, &pin).filter(|(_, node)| node.key().parts().birth >= gone_below)?;
        let item = Ref::new(cache.core.stripes[at.stripe].hold(node, &pin), ());
        Some(Lent { item })
    }
}
