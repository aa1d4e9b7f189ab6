//! Values that serde can write.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Encoding;
use crate::codec::{CodecError, with_buffer};
use crate::form;

/// What the errors name.
const POSTCARD: &str = "postcard";

/// A cache's values are packed as `postcard` writes them: any that serde can write and read.
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
