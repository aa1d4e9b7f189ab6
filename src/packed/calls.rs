//! What only a cache with a codec can do.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use hashbrown::Equivalent;

use super::{Encoding, Packed, StoredRef};
use crate::cache::Cache;
use crate::codec::{Codec, CodecError};
use crate::error::NotStored;

impl<K: Hash + 'static, V: 'static, S, E: Encoding<V>> Cache<K, V, S, Packed<E>> {
    /// The codec by which values are packed now.
    pub fn codec(&self) -> Arc<dyn Codec> {
        self.form.packer.codec()
    }

    /// Packs values by another codec from now on; what is stored stays as it is. Each value says by which codec it was
    /// written, so all of them stay readable, as long as there are no more than 63 codecs before this one.
    ///
    /// That is so where the new codec seals, too: what was stored before it, as it is or by a codec that does not seal, is still
    /// read, so that whoever can write to the cache's memory can still put values there. From
    /// [`forget_older_codecs`](Cache::forget_older_codecs) on only sealed values are.
    pub fn set_codec(&self, codec: impl Codec + 'static) {
        self.form.packer.set_codec(Arc::new(codec));
    }

    /// Forgets all codecs but the one that is set: what others wrote can't be read any more, and counts as damaged when it
    /// is met. For when a key or a codec is not to be trusted any longer.
    pub fn forget_older_codecs(&self) {
        self.form.packer.forget_older();
    }
}

impl<K: Hash + Eq + 'static, V: 'static, S: BuildHasher, E: Encoding<V>> Cache<K, V, S, Packed<E>> {
    /// As [`get`](Cache::get), and says why a value does not open.
    ///
    /// # Errors
    ///
    /// If the stored bytes are damaged, or not to be opened by the codec that wrote them. The entry is removed, and the call
    /// counts as a miss.
    pub fn try_get<Q>(&self, key: &Q) -> Result<Option<V>, CodecError>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.look_up_held(key).map(|held| self.try_open_used(&held)).transpose()
    }

    /// Lends the value of a key as it is stored, with the name of its format. A use; takes no lock, and opens nothing.
    ///
    /// Nothing where there is no entry. Where it does not say how it is stored, by a codec that was forgotten for example, or
    /// has another checksum, the entry is removed, and the call counts as a miss, as [`try_get`](Cache::try_get) has it.
    ///
    /// The checksum is all that is compared. Where the codec's own format has a [check](Codec::is_checked), and none is stored
    /// beside it (gzip, Zstandard without a dictionary, sealed values), the bytes are lent unchecked: whoever opens them finds
    /// out. So are values that are stored as they are.
    pub fn get_stored<Q>(&self, key: &Q) -> Option<StoredRef<'_, K>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let lent = StoredRef::new(self.look_up_held(key)?, &self.form.packer);
        lent.inspect_err(|held| self.remove_used_damaged(held)).ok()
    }

    /// As [`insert`](Cache::insert), and says why an entry is not stored.
    ///
    /// # Errors
    ///
    /// If the entry is too large for the cache, or if its value can't be packed: since the codec failed and is one that
    /// must not be left out, such as one that seals. (A codec that only saves bytes is left out where it fails.) The entry
    /// is handed back; the key has no entry then.
    pub fn try_insert(&self, key: K, value: V) -> Result<(), NotStored<K, V, CodecError>> {
        self.put(key, value, self.core.time_to_live)
    }
}
