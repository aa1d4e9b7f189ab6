//! A key as bytes, for codecs that bind it to its value.

use std::hash::{Hash, Hasher};
use std::ops::Deref;

use smallvec::SmallVec;

/// What a key writes to a hasher. Equal keys write the same, whatever their form, as `Hash` asks of them. It only recommends
/// that keys which are not equal do not, and all of the standard library's keep to that; a key of the user's whose `Hash` is
/// coarser than its `Eq` shares its bytes with others, which the docs of `Builder::codec` and `Seal` say.
#[derive(Default)]
pub(super) struct KeyBytes(SmallVec<[u8; 64]>);

impl KeyBytes {
    pub(super) fn of<K: Hash>(key: &K) -> Self {
        let mut bytes = Self::default();
        key.hash(&mut bytes);
        bytes
    }
}

impl Hasher for KeyBytes {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// There is nothing to finish: it is the bytes that are wanted.
    fn finish(&self) -> u64 {
        0
    }
}

impl Deref for KeyBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
