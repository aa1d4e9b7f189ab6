//! In which form a cache keeps its values.
//!
//! Knows how a value becomes what is stored and how that is opened again. Knows no stripe, no lock and no pin: the cache
//! sees to it that nothing is packed or opened under a lock, and calls these with the key that is stored with the value.

use std::convert::Infallible;

use crate::cache::Listener;
use crate::stats::Stats;

/// How a cache keeps values of type `V`: the last type parameter of a [`Cache`](crate::Cache).
///
/// Not meant for other types than this crate's. What needs the value in memory as it is, such as
/// [`read`](crate::Cache::read), is there for [`Plain`] only; all else is there for every form.
pub trait Form<K, V>: Sealed {
    /// What lies in the cache for a `V`.
    #[doc(hidden)]
    type Stored;

    /// An opened value, where it is not the stored one itself.
    #[doc(hidden)]
    type Opened;

    /// Why a value can't be packed.
    #[doc(hidden)]
    type PackError;

    /// Why what is stored can't be opened.
    #[doc(hidden)]
    type OpenError;

    /// Turns a value into what is stored. With [`Form::unpack`] both parts give the value back.
    #[doc(hidden)]
    #[expect(clippy::type_complexity, reason = "two pairs, which nobody names")]
    fn pack(&self, key: &K, value: V) -> Result<(Self::Stored, Self::Opened), (V, Self::PackError)>;

    /// As [`Form::pack`], for a value that is wanted elsewhere as well.
    #[doc(hidden)]
    fn pack_copy(&self, key: &K, value: &V) -> Result<Self::Stored, Self::PackError>
    where
        V: Clone;

    /// The value that was packed a moment ago.
    #[doc(hidden)]
    fn unpack(stored: Self::Stored, opened: Self::Opened) -> V;

    /// Whether opening costs no more than cloning the value would.
    #[doc(hidden)]
    fn is_at_hand(stored: &Self::Stored) -> bool;

    /// Whether [`Form::is_at_hand`] is true of everything, and opening never fails.
    #[doc(hidden)]
    const ALL_AT_HAND: bool;

    #[doc(hidden)]
    fn open(&self, key: &K, stored: &Self::Stored) -> Result<Self::Opened, Self::OpenError>;

    /// The value of what has been opened.
    #[doc(hidden)]
    fn value<'a>(stored: &'a Self::Stored, opened: &'a Self::Opened) -> &'a V;

    /// The same for a caller who is to own it.
    #[doc(hidden)]
    fn to_value(stored: &Self::Stored, opened: Self::Opened) -> V
    where
        V: Clone;

    /// A listener to what is stored, made of one to values.
    #[doc(hidden)]
    fn listener(&self, listener: Listener<K, V>) -> Listener<K, Self::Stored>;

    #[doc(hidden)]
    fn add_to(&self, stats: &mut Stats);
}

mod sealed {
    pub trait Sealed {}
}

pub(crate) use self::sealed::Sealed;

impl Sealed for Plain {}

/// The form of a cache that keeps its values as they are. Costs nothing.
///
/// Where values are kept in another form, what lends them out of the cache is not there:
///
/// ```
/// use larder::{Cache, Form};
/// use std::hash::{BuildHasher, Hash};
///
/// fn in_any_form<K: Hash + Eq, S: BuildHasher, F: Form<K, String>>(cache: &Cache<K, String, S, F>, key: &K) -> usize {
///     cache.get(key).map_or(0, |value| value.len())
/// }
///
/// fn in_plain_form<K: Hash + Eq, S: BuildHasher>(cache: &Cache<K, String, S>, key: &K) -> usize {
///     cache.read(key, |value| value.len()).unwrap_or(0)
/// }
/// ```
///
/// ```compile_fail,E0599
/// use larder::{Cache, Form};
/// use std::hash::{BuildHasher, Hash};
///
/// fn in_any_form<K: Hash + Eq, S: BuildHasher, F: Form<K, String>>(cache: &Cache<K, String, S, F>, key: &K) -> usize {
///     cache.read(key, |value| value.len()).unwrap_or(0)
/// }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl<K, V> Form<K, V> for Plain {
    type Stored = V;
    type Opened = ();
    type PackError = Infallible;
    type OpenError = Infallible;

    #[inline(always)]
    fn pack(&self, _: &K, value: V) -> Result<(V, ()), (V, Infallible)> {
        Ok((value, ()))
    }

    #[inline(always)]
    fn pack_copy(&self, _: &K, value: &V) -> Result<V, Infallible>
    where
        V: Clone,
    {
        Ok(value.clone())
    }

    #[inline(always)]
    fn unpack(value: V, (): ()) -> V {
        value
    }

    #[inline(always)]
    fn is_at_hand(_: &V) -> bool {
        true
    }

    const ALL_AT_HAND: bool = true;

    #[inline(always)]
    fn open(&self, _: &K, _: &V) -> Result<(), Infallible> {
        Ok(())
    }

    #[inline(always)]
    fn value<'a>(value: &'a V, (): &'a ()) -> &'a V {
        value
    }

    #[inline(always)]
    fn to_value(value: &V, (): ()) -> V
    where
        V: Clone,
    {
        value.clone()
    }

    fn listener(&self, listener: Listener<K, V>) -> Listener<K, V> {
        listener
    }

    fn add_to(&self, _: &mut Stats) {}
}
