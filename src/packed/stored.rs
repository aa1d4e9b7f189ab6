//! A value on loan as it is stored.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::Packet;
use crate::codec::{Codec, Packer};
use crate::stripe::Held;

/// A value on loan in its stored form, for a program that would pass it on as it is: to a client that accepts gzip, say.
///
/// Made by [`Cache::get_stored`](crate::Cache::get_stored). The entry may be updated, removed, evicted or expire meanwhile;
/// the loan keeps it from being dropped.
pub struct StoredRef<'c, K> {
    node: Held<'c, K, Packet>,
    /// The one that wrote the value.
    codec: Option<Arc<dyn Codec>>,
    /// Where its bytes are.
    body: Range<usize>,
    plain_len: usize,
}

impl<'c, K> StoredRef<'c, K> {
    /// Gives the node back where it does not say how the value is stored, or has another checksum.
    pub(super) fn new(node: Held<'c, K, Packet>, packer: &Packer) -> Result<Self, Held<'c, K, Packet>> {
        let Packet(packet) = node.value();
        let Ok(stored) = packer.inspect(packet) else { return Err(node) };
        let (plain_len, body) = (stored.plain_len(), stored.range());
        let codec = stored.into_codec();
        Ok(Self { node, codec, body, plain_len })
    }

    /// The key that was inserted with the value.
    pub fn key(&self) -> &K {
        self.node.key()
    }

    /// The name of the format that the bytes are in, `"gzip"` for example: that of the codec which wrote them. `None` if
    /// they are the value as it is.
    pub fn format(&self) -> Option<&str> {
        self.codec.as_ref().map(|codec| codec.format_of(self.body()).0)
    }

    /// The bytes, in that format.
    pub fn bytes(&self) -> &[u8] {
        self.codec.as_ref().map_or(self.body(), |codec| codec.format_of(self.body()).1)
    }

    /// The length of the value, opened.
    pub fn plain_len(&self) -> usize {
        self.plain_len
    }

    fn body(&self) -> &[u8] {
        let Packet(packet) = self.node.value();
        &packet[self.body.clone()]
    }
}

impl<K: fmt::Debug> fmt::Debug for StoredRef<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredRef")
            .field("key", self.key())
            .field("format", &self.format())
            .field("len", &self.bytes().len())
            .field("plain_len", &self.plain_len)
            .finish()
    }
}
