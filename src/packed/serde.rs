//! Values that serde can write.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Encoding;
use crate::codec::{CodecError, with_buffer};
use crate::form;

/// What the errors name.
const POSTCARD: &str = "postcard";

/// A cache's values are packed as `postcard` writes them: any that serde can write, and read back without being told what
/// comes next.
///
/// `postcard` writes no names and no types, only what a type's derived implementation expects in its order. A type that leaves
/// out fields when it is written, or has to look at what is there to know what it reads, does not come back: it is not stored,
/// or is removed when it is read, as if it were damaged, or **another value is read without an error**. Do not use it for
///
/// * `#[serde(skip_serializing_if = "…")]`, and any other field that is written at times only or by one side only;
/// * `#[serde(flatten)]`;
/// * enums with `#[serde(untagged)]` or `#[serde(tag = "…")]`;
/// * `serde_json::Value`, and what else is read by `deserialize_any`.
///
/// To store those, write them in a format that describes itself, JSON for example, and give the bytes to
/// [`Builder::codec`](crate::Builder::codec).
#[derive(Debug)]
pub struct BySerde(());

impl form::Sealed for BySerde {}

impl<V: Serialize + DeserializeOwned> Encoding<V> for BySerde {
    fn encode<R>(value: &V, keep: impl FnOnce(&[u8]) -> Result<R, CodecError>) -> Result<R, CodecError> {
        with_buffer(|buffer| {
            // A buffer that is lost to an error is made anew by the next call.
            let written = postcard::to_extend(value, std::mem::take(buffer));
            *buffer = written.map_err(|error| CodecError::refused(POSTCARD, error))?;
            keep(buffer)
        })
    }

    fn decode(bytes: Cow<'_, [u8]>) -> Result<V, CodecError> {
        match postcard::take_from_bytes(&bytes) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => Err(CodecError::damaged(POSTCARD, format_args!("{} bytes are left over", rest.len()))),
            Err(error) => Err(CodecError::damaged(POSTCARD, error)),
        }
    }
}
