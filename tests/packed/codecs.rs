//! Every codec there is, to be tried in a cache, and values to try it with.

use std::sync::Arc;
use std::time::Duration;

use larder::codec::*;

/// Every codec there is, by name.
pub(crate) fn codecs() -> Vec<(&'static str, Arc<dyn Codec>)> {
    vec![
        ("mirror", Arc::new(Mirror { must_encode: true })),
        // However slow the machine, it is to find that compressing is worth the time.
        ("auto", Arc::new(Auto::new().with_worth_per_kib(Duration::from_secs(10)))),
        #[cfg(feature = "snappy")]
        ("snappy", Arc::new(Snappy::new())),
        #[cfg(feature = "deflate")]
        ("gzip", Arc::new(Gzip::default())),
        #[cfg(feature = "deflate")]
        ("zlib", Arc::new(Zlib::default())),
        #[cfg(feature = "deflate")]
        ("deflate", Arc::new(Deflate::default())),
        #[cfg(feature = "lz4")]
        ("lz4", Arc::new(Lz4::new())),
        #[cfg(feature = "zstd")]
        ("zstd", Arc::new(Zstd::default())),
        #[cfg(feature = "seal")]
        ("aes-256-gcm", Arc::new(Seal::aes_256_gcm(SealKey::new(1, &[7; 32])))),
        #[cfg(feature = "seal")]
        ("xchacha20-poly1305", Arc::new(Seal::xchacha20_poly1305(SealKey::new(1, &[7; 32])))),
        #[cfg(all(feature = "seal", feature = "snappy"))]
        ("chain", Arc::new(Chain::new(Snappy::new()).then(Seal::aes_256_gcm(SealKey::new(1, &[7; 32]))))),
    ]
}

/// Text that shrinks, different for each number, of about so many bytes.
pub(crate) fn text(number: u64, len: usize) -> String {
    let mut text = String::with_capacity(len + 40);
    while text.len() < len {
        text.push_str(&format!("line {} of page {number}, as any other; ", text.len() / 40));
    }
    text.truncate(len);
    text
}

/// Bytes that don't shrink.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2) + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Writes a value backwards, after a copy of its key.
pub(crate) struct Mirror {
    pub(crate) must_encode: bool,
}

impl Codec for Mirror {
    fn name(&self) -> &str {
        "mirror"
    }

    fn encode(&self, key: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend(key);
        out.extend(plain.iter().rev());
        Ok(())
    }

    fn decode(&self, key: &[u8], stored: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let plain = stored.strip_prefix(key).ok_or_else(|| CodecError::damaged("mirror", "it has another key"))?;
        if plain.len() != len {
            return Err(CodecError::length("mirror", len, plain.len()));
        }
        out.extend(plain.iter().rev());
        Ok(())
    }

    fn binds_key(&self) -> bool {
        true
    }

    fn must_encode(&self) -> bool {
        self.must_encode
    }
}
