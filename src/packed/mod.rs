//! The form of a cache whose values are kept as a codec writes them.
//!
//! Knows how a value is seen as bytes ([`Encoding`]), and the packer, which chooses the stored bytes. Knows no codec, and
//! of the cache what a look-up and an insert are. No lock is held while bytes are packed or opened, and a
//! pin only in `retain`, for a few values at a time, and for the listener.
//!
//! What lies in a node is a box of the stored bytes, exactly as long as they are: no counter of holders, no capacity. A
//! reader needs none, since the node itself can be held beyond the pin ([`Held`](crate::stripe::Held)), for one addition and
//! one subtraction on a line that the look-up has read anyway; a counted pointer costs the same two and 16 bytes a value.
//! Copying the bytes out under the pin instead would need neither, but costs more from a few hundred bytes on.

mod bytes;
mod calls;
mod key;
#[cfg(feature = "serde")]
mod serde;
mod stored;

use std::borrow::Cow;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;

pub use self::bytes::{ByBytes, ByteValue};
#[cfg(feature = "serde")]
pub use self::serde::BySerde;
pub use self::stored::StoredRef;

use self::key::KeyBytes;
use crate::cache::{Cache, Listener};
use crate::codec::{Codec, CodecError, Packer};
use crate::form::{self, Form};
use crate::stats::Stats;
use crate::weigh::Weigh;

/// Up to so many bytes a value that is stored as it is, is copied under the pin: that takes no longer than to hold its node.
const COPIED: usize = 4 << 10;

/// A [`Cache`] whose values are kept as a codec writes them, with the standard hasher: see
/// [`Builder::codec`](crate::Builder::codec).
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "snappy")] {
/// use larder::codec::Snappy;
/// use larder::{Cache, PackedCache};
///
/// struct Site {
///     pages: PackedCache<String, String>,
/// }
///
/// let site = Site { pages: Cache::builder().max_bytes(64 << 20).codec(Snappy::new()).build()? };
/// site.pages.insert("/".to_owned(), "<p>Hello</p>".repeat(100));
/// assert_eq!(site.pages.get("/").map(|page| page.len()), Some(1200));
/// assert!(site.pages.stats().codec.bytes_after < 200);
/// # }
/// # Ok::<(), larder::BuildError>(())
/// ```
pub type PackedCache<K, V, E = ByBytes> = Cache<K, V, ahash::RandomState, Packed<E>>;

/// The form of a cache that keeps what a [codec](crate::codec::Codec) makes of its values. `E` is how a value becomes bytes:
/// [`ByBytes`] for those that are bytes, and with the feature `serde` `BySerde` for all that serde can write.
///
/// What lends values as they lie in the cache is not there for it:
///
/// ```compile_fail,E0599
/// fn length(cache: &larder::PackedCache<u64, String>) -> Option<usize> {
///     cache.read(&1, |text| text.len())
/// }
/// ```
///
/// ```compile_fail,E0599
/// fn is_there(cache: &larder::PackedCache<u64, String>) -> bool {
///     cache.get_ref(&1).is_some()
/// }
/// ```
///
/// Neither are values that are no bytes:
///
/// ```compile_fail,E0277
/// # use larder::{Cache, codec::Codec};
/// fn build(codec: impl Codec + 'static) {
///     let builder = Cache::<u64, f64>::builder().max_entries(100).codec(codec);
/// }
/// ```
pub struct Packed<E = ByBytes> {
    /// Shared with the listener, which is told of values.
    packer: Arc<Packer>,
    _encoding: PhantomData<fn() -> E>,
}

/// How a value becomes bytes and is made of them again. Not meant for other types than this crate's.
pub trait Encoding<V>: form::Sealed {
    #[doc(hidden)]
    fn encode<R>(value: &V, keep: impl FnOnce(&[u8]) -> Result<R, CodecError>) -> Result<R, CodecError>;

    #[doc(hidden)]
    fn decode(bytes: Cow<'_, [u8]>) -> Result<V, CodecError>;
}

/// The stored bytes of a value.
pub struct Packet(Box<[u8]>);

impl Weigh for Packet {
    fn weigh(&self) -> u64 {
        self.0.len() as u64
    }
}

impl<E> Packed<E> {
    pub(crate) fn new(codec: impl Codec + 'static) -> Self {
        Self { packer: Arc::new(Packer::new(Arc::new(codec))), _encoding: PhantomData }
    }

    pub(crate) fn with_min_size(self, bytes: usize) -> Self {
        let packer = Arc::into_inner(self.packer).expect("shared only when a cache is made of it");
        Self { packer: Arc::new(packer.with_min_size(bytes)), _encoding: PhantomData }
    }

    fn pack_bytes<K: Hash>(&self, key: &K, plain: &[u8]) -> Result<Packet, CodecError> {
        self.packer.pack_for(|| KeyBytes::of(key), plain).map(Packet)
    }

    fn open_packet<K: Hash, V>(packer: &Packer, key: &K, Packet(stored): &Packet) -> Result<V, CodecError>
    where
        E: Encoding<V>,
    {
        E::decode(packer.unpack_for(|| KeyBytes::of(key), stored)?)
    }
}

impl<E> fmt::Debug for Packed<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packed").field("codec", &self.packer.codec().name()).finish_non_exhaustive()
    }
}

impl<E> form::Sealed for Packed<E> {}

impl<K: Hash + 'static, V: 'static, E: Encoding<V>> Form<K, V> for Packed<E> {
    type Stored = Packet;
    type Opened = V;
    type PackError = CodecError;
    type OpenError = CodecError;

    fn pack(&self, key: &K, value: V) -> Result<(Packet, V), (V, CodecError)> {
        match E::encode(&value, |plain| self.pack_bytes(key, plain)) {
            Ok(packet) => Ok((packet, value)),
            Err(error) => Err((value, error)),
        }
    }

    fn pack_copy(&self, key: &K, value: &V) -> Result<Packet, CodecError>
    where
        V: Clone,
    {
        E::encode(value, |plain| self.pack_bytes(key, plain))
    }

    fn unpack(_: Packet, value: V) -> V {
        value
    }

    fn is_at_hand(Packet(stored): &Packet) -> bool {
        stored.len() <= COPIED && Packer::is_raw(stored)
    }

    const ALL_AT_HAND: bool = false;

    fn open(&self, key: &K, packet: &Packet) -> Result<V, CodecError> {
        Self::open_packet(&self.packer, key, packet)
    }

    fn value<'a>(_: &'a Packet, value: &'a V) -> &'a V {
        value
    }

    fn to_value(_: &Packet, value: V) -> V
    where
        V: Clone,
    {
        value
    }

    fn listener(&self, listener: Listener<K, V>) -> Listener<K, Packet> {
        let packer = Arc::clone(&self.packer);
        Box::new(move |key, packet, cause| {
            if let Ok(value) = Self::open_packet(&packer, key, packet) {
                listener(key, &value, cause);
            }
        })
    }

    fn add_to(&self, stats: &mut Stats) {
        stats.codec = self.packer.counts();
    }
}
