//! Every codec that the features give, in the settings that differ, for suites that run on all of them.

use std::sync::Arc;

use larder::codec::*;

/// A codec, and what is promised of it.
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) codec: Arc<dyn Codec>,
    /// Changed bytes are an error, but where they mean nothing.
    pub(crate) checked: bool,
}

impl Subject {
    fn new(name: &str, checked: bool, codec: impl Codec + 'static) -> Self {
        Self { name: name.to_owned(), codec: Arc::new(codec), checked }
    }

    /// What the codec makes of `plain`.
    pub(crate) fn encode(&self, plain: &[u8]) -> Vec<u8> {
        let mut stored = b"before".to_vec();
        self.codec.encode(KEY, plain, &mut stored).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        assert!(stored.starts_with(b"before"), "{} changed what was there", self.name);
        stored.split_off(6)
    }

    /// The value in `stored`. Whatever comes of it, it is no longer than was noted.
    pub(crate) fn decode(&self, stored: &[u8], len: usize) -> Result<Vec<u8>, CodecError> {
        let mut plain = b"before".to_vec();
        self.codec.decode(KEY, stored, len, &mut plain)?;
        assert!(plain.starts_with(b"before"), "{} changed what was there", self.name);
        assert_eq!(plain.len(), 6 + len, "{} gave another length", self.name);
        Ok(plain.split_off(6))
    }
}

/// The key under which the suites' values are.
pub(crate) const KEY: &[u8] = b"user:42";

/// A user's own codec, which says nothing of itself and takes any bytes: keeps runs of a byte as their length.
struct Runs;

impl Codec for Runs {
    fn name(&self) -> &str {
        "runs"
    }

    fn encode(&self, _key: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        for run in plain.chunk_by(|a, b| a == b) {
            run.chunks(255).for_each(|run| out.extend([run.len() as u8, run[0]]));
        }
        Ok(())
    }

    fn decode(&self, _key: &[u8], stored: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let start = out.len();
        for run in stored.chunks(2) {
            let &[times, byte] = run else { return Err(CodecError::damaged("runs", "it is cut")) };
            out.resize(out.len() + usize::from(times), byte);
            if out.len() - start > len {
                break;
            }
        }
        match out.len() - start {
            found if found == len => Ok(()),
            found => Err(CodecError::length("runs", len, found)),
        }
    }
}

/// All of them.
pub(crate) fn subjects() -> Vec<Subject> {
    let mut all =
        vec![Subject::new("auto in a chain", false, Chain::new(Auto::new())), Subject::new("runs", false, Runs)];
    #[cfg(feature = "deflate")]
    for level in [0, 1, 6, 9] {
        all.push(Subject::new(&format!("gzip {level}"), true, Gzip::new(level).unwrap()));
        all.push(Subject::new(&format!("zlib {level}"), true, Zlib::new(level).unwrap()));
        all.push(Subject::new(&format!("deflate {level}"), false, Deflate::new(level).unwrap()));
    }
    #[cfg(feature = "snappy")]
    all.push(Subject::new("snappy", false, Snappy::new()));
    #[cfg(feature = "lz4")]
    all.push(Subject::new("lz4", false, Lz4::new()));
    #[cfg(feature = "zstd")]
    {
        for level in [-5, 1, 3, 19] {
            all.push(Subject::new(&format!("zstd {level}"), true, Zstd::new(level).unwrap()));
        }
        let zstd = Zstd::default().with_dictionary(&crate::dictionaries::first()).unwrap();
        all.push(Subject::new("zstd with a dictionary", false, zstd));
    }
    #[cfg(feature = "seal")]
    {
        let key = || SealKey::new(1, &[7; 32]);
        all.push(Subject::new("aes", true, Seal::aes_256_gcm(key())));
        all.push(Subject::new("xchacha20", true, Seal::xchacha20_poly1305(key())));
        all.push(Subject::new("aes alone in a chain", true, Chain::new(Seal::aes_256_gcm(key()))));
        #[cfg(feature = "snappy")]
        all.push(Subject::new("snappy, then aes", true, Chain::new(Snappy).then(Seal::aes_256_gcm(key()))));
        #[cfg(feature = "deflate")]
        {
            let sealed = Seal::xchacha20_poly1305(key());
            all.push(Subject::new(
                "three in a chain",
                true,
                Chain::new(Gzip::default()).then(sealed).then(Zlib::default()),
            ));
        }
    }
    // Bytes are worth so much here that its timings don't matter.
    let auto = Auto::new().with_worth_per_kib(std::time::Duration::from_secs(10));
    all.push(Subject::new("auto", false, auto));
    all
}
