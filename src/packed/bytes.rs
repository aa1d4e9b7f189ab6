//! Values that are bytes.

use std::any::type_name;
use std::borrow::Cow;
use std::sync::Arc;

use super::Encoding;
use crate::codec::CodecError;
use crate::form;

/// A value that can be seen as bytes and made of them again, so that a codec can pack it.
///
/// # Examples
///
/// ```
/// use larder::ByteValue;
/// use std::borrow::Cow;
///
/// /// An image, as it was uploaded.
/// struct Image(Vec<u8>);
///
/// impl ByteValue for Image {
///     fn as_bytes(&self) -> &[u8] {
///         &self.0
///     }
///
///     fn from_bytes(bytes: Cow<'_, [u8]>) -> Option<Self> {
///         Some(Self(bytes.into_owned()))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be seen as bytes",
    note = "implement `larder::ByteValue` for it, or use `codec_serde` of the cache's builder"
)]
pub trait ByteValue: Sized {
    /// The value as bytes. Must give the same bytes as long as the value is not changed.
    fn as_bytes(&self) -> &[u8];

    /// The value that was seen as these bytes, owned where a codec wrote them and borrowed where they are stored as they
    /// are. `None` if there is none: such bytes count as damaged.
    fn from_bytes(bytes: Cow<'_, [u8]>) -> Option<Self>;
}

/// A cache's values are packed as the bytes that they are: [`ByteValue`].
#[derive(Debug)]
pub struct ByBytes(());

impl form::Sealed for ByBytes {}

impl<V: ByteValue> Encoding<V> for ByBytes {
    fn encode<R>(value: &V, keep: impl FnOnce(&[u8]) -> Result<R, CodecError>) -> Result<R, CodecError> {
        keep(value.as_bytes())
    }

    fn decode(bytes: Cow<'_, [u8]>) -> Result<V, CodecError> {
        V::from_bytes(bytes).ok_or_else(|| CodecError::damaged("the cache", format_args!("no {}", type_name::<V>())))
    }
}

/// Types, what they are seen as, and how they are made of bytes.
macro_rules! byte_values {
    ($($type:ty: |$value:ident| $as_bytes:expr, |$bytes:ident| $from_bytes:expr;)*) => {$(
        impl ByteValue for $type {
            fn as_bytes(&self) -> &[u8] {
                let $value = self;
                $as_bytes
            }

            fn from_bytes($bytes: Cow<'_, [u8]>) -> Option<Self> {
                $from_bytes
            }
        }
    )*};
}

byte_values! {
    Vec<u8>: |vec| vec, |bytes| Some(bytes.into_owned());
    Box<[u8]>: |boxed| boxed, |bytes| Some(bytes.into());
    Arc<[u8]>: |shared| shared, |bytes| Some(bytes.into());
    String: |text| str::as_bytes(text), |bytes| String::from_utf8(bytes.into_owned()).ok();
    Box<str>: |text| str::as_bytes(text), |bytes| String::from_utf8(bytes.into_owned()).ok().map(Into::into);
    Arc<str>: |text| str::as_bytes(text), |bytes| std::str::from_utf8(&bytes).ok().map(Into::into);
}

#[cfg(feature = "bytes")]
byte_values! {
    bytes::Bytes: |shared| shared, |bytes| Some(bytes.into_owned().into());
}

impl<const N: usize> ByteValue for [u8; N] {
    fn as_bytes(&self) -> &[u8] {
        self
    }

    fn from_bytes(bytes: Cow<'_, [u8]>) -> Option<Self> {
        (*bytes).try_into().ok()
    }
}
