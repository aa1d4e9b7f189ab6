//! The stored form of values: with a codec what it wrote, without one the value as it is.
//!
//! Nothing here runs under a lock.

use std::borrow::Cow;

use super::Shared;
use super::block::{Block, Fields};
use super::write::Stored;
use crate::codec::Packer;

impl Shared {
    /// A block of a value in two pieces.
    pub(super) fn pack(&self, fields: Fields, key: &[u8], [one, two]: [&[u8]; 2]) -> Result<Block, Stored> {
        let Some(packer) = &self.packer else { return Ok(Block::new(fields, key, [one, two])) };
        let plain = if two.is_empty() { Cow::Borrowed(one) } else { Cow::Owned([one, two].concat()) };
        packer.pack_with(key, &plain, |head, body| Block::new(fields, key, [head, body])).map_err(|_| Stored::Refused)
    }

    /// The value of a block; `None` where it is damaged.
    #[inline]
    pub(super) fn unpack<'b>(&self, block: &'b Block) -> Option<Cow<'b, [u8]>> {
        unpack(self.packer.as_deref(), block)
    }
}

/// See [`Shared::unpack`].
#[inline]
pub(super) fn unpack<'b>(packer: Option<&Packer>, block: &'b Block) -> Option<Cow<'b, [u8]>> {
    let stored = block.parts().value;
    match packer {
        None => Some(Cow::Borrowed(stored)),
        Some(packer) => packer.unpack(block.key(), stored).ok(),
    }
}
