//! Zstandard (RFC 8878), with dictionaries or without.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use zstd::zstd_safe::{
    self, CCtx, CDict, CParameter, DCtx, DDict, compress_bound, get_dict_id_from_frame, get_error_name,
};

use super::{Codec, CodecError, make_room, state};

/// The most bytes that a byte of a frame opens to: a block of 128 KiB of one byte takes 4.
const MOST_PER_BYTE: usize = 32 << 10;
const DEFAULT_LEVEL: i32 = 3;
/// What a dictionary is trained to unless another size is asked for; more helps little.
const DEFAULT_DICTIONARY_SIZE: usize = 110 << 10;
/// The length of what the library compares when it trains. It takes for granted that the three quarters of the samples which
/// it trains on have so many bytes together, and reads far beyond their end where they have not.
const SHORTEST_SAMPLE: usize = 8;

/// Zstandard: smaller than DEFLATE and faster, and with a dictionary small where values are.
///
/// What it writes has a checksum, but where a dictionary is in use: there by themselves changed bytes may open to another
/// value of the same length.
#[derive(Clone)]
pub struct Zstd {
    level: i32,
    /// Prepared for writing: the latest.
    writing: Option<Arc<CDict<'static>>>,
    /// Prepared for reading: all that were given, the latest last.
    reading: Vec<ZstdDictionary>,
}

/// What values of one kind have in common, learned from samples of them.
///
/// Clones share the bytes.
#[derive(Clone)]
pub struct ZstdDictionary {
    id: u32,
    bytes: Arc<[u8]>,
    prepared: Arc<DDict<'static>>,
}

/// A compressor, and the level it is set to.
struct Compressor {
    context: CCtx<'static>,
    level: Option<i32>,
}

thread_local! {
    static COMPRESSOR: Cell<Option<Compressor>> = const { Cell::new(None) };
    static DECOMPRESSOR: Cell<Option<DCtx<'static>>> = const { Cell::new(None) };
}

impl Zstd {
    /// The codec with a level up to 22; those below 1 are faster and less small. [`Zstd::default`] has 3, and so has level 0.
    ///
    /// A value of several MiB makes a thread's compressor take memory by its level, which it keeps until some hundred small
    /// values later: about 36 MiB at level 12, 61 at 15, 79 at 19, and at 22 hundreds, the more the larger the value (390 have
    /// been seen).
    ///
    /// # Errors
    ///
    /// [`CodecError::Level`] if there is no such level.
    pub fn new(level: i32) -> Result<Self, CodecError> {
        let (min, max) = (zstd_safe::min_c_level(), zstd_safe::max_c_level());
        if !(min..=max).contains(&level) {
            return Err(CodecError::Level {
                codec: "zstd".into(),
                given: level.into(),
                min: min.into(),
                max: max.into(),
            });
        }
        Ok(Self { level, writing: None, reading: Vec::new() })
    }

    /// The same, writing with this dictionary from now on. Those that were given before are kept for reading.
    ///
    /// # Errors
    ///
    /// [`CodecError::Unsuitable`] if the library can't prepare it, or if another dictionary with the same id was given.
    pub fn with_dictionary(mut self, dictionary: &ZstdDictionary) -> Result<Self, CodecError> {
        if let Some(other) = self.find(dictionary.id) {
            if other.bytes != dictionary.bytes {
                let id = dictionary.id;
                return Err(CodecError::unsuitable("zstd", format_args!("two dictionaries have the id {id}")));
            }
            self.reading.retain(|kept| kept.id != dictionary.id);
        }
        let prepared = CDict::try_create(&dictionary.bytes, self.level);
        let prepared = prepared.ok_or_else(|| CodecError::unsuitable("zstd", "the dictionary can't be prepared"))?;
        self.writing = Some(Arc::new(prepared));
        self.reading.push(dictionary.clone());
        Ok(self)
    }

    fn find(&self, id: u32) -> Option<&ZstdDictionary> {
        self.reading.iter().rev().find(|dictionary| dictionary.id == id)
    }
}

impl Default for Zstd {
    fn default() -> Self {
        Self { level: DEFAULT_LEVEL, writing: None, reading: Vec::new() }
    }
}

impl fmt::Debug for Zstd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zstd").field("level", &self.level).field("dictionaries", &self.reading).finish()
    }
}

impl Codec for Zstd {
    fn name(&self) -> &str {
        "zstd"
    }

    /// What was written with a dictionary can only be read with it.
    fn format_of<'a>(&'a self, stored: &'a [u8]) -> (&'a str, &'a [u8]) {
        (if self.writing.is_some() { "zstd with dictionary" } else { "zstd" }, stored)
    }

    fn encode(&self, _key: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        let start = out.len();
        out.resize(start + compress_bound(plain.len()), 0);
        let frame = &mut out[start..];
        let written = state::with(&COMPRESSOR, Compressor::new, |compressor| match &self.writing {
            Some(dictionary) => compressor.context.compress_using_cdict(frame, plain, dictionary),
            None => compressor.compress(self.level, frame, plain),
        });
        out.truncate(start + written.map_err(|code| CodecError::refused("zstd", get_error_name(code)))?);
        Ok(())
    }

    fn decode(&self, _key: &[u8], stored: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        if len / MOST_PER_BYTE > stored.len() {
            return Err(CodecError::damaged("zstd", format_args!("{} bytes can't open to {len}", stored.len())));
        }
        // What `encode` writes always has the value's length in its header: one that differs is not to be reserved. (A frame
        // that another program wrote piece by piece may have none.)
        match zstd_safe::get_frame_content_size(stored) {
            Ok(None) => {}
            Ok(Some(noted)) if noted == len as u64 => {}
            Ok(Some(noted)) => {
                return Err(CodecError::length("zstd", len, usize::try_from(noted).unwrap_or(usize::MAX)));
            }
            Err(_) => return Err(CodecError::damaged("zstd", "its header can't be read")),
        }
        let dictionary = match get_dict_id_from_frame(stored) {
            Some(id) => Some(self.find(id.get()).ok_or_else(|| {
                CodecError::damaged("zstd", format_args!("it was written with dictionary {id}, which was not given"))
            })?),
            None => None,
        };
        let start = out.len();
        make_room("zstd", len, out)?;
        out.resize(start + len, 0);
        let value = &mut out[start..];
        let found = state::with(&DECOMPRESSOR, decompressor, |context| match dictionary {
            Some(dictionary) => context.decompress_using_ddict(value, stored, &dictionary.prepared),
            None => context.decompress(value, stored),
        });
        match found {
            Ok(found) if found == len => Ok(()),
            Ok(found) => Err(CodecError::length("zstd", len, found)),
            Err(code) => Err(CodecError::damaged("zstd", get_error_name(code))),
        }
    }

    fn is_checked(&self) -> bool {
        self.writing.is_none()
    }
}

impl Compressor {
    fn new() -> Self {
        #[cfg(test)]
        tests::COMPRESSORS.set(tests::COMPRESSORS.get() + 1);
        Self { context: CCtx::create(), level: None }
    }

    fn compress(&mut self, level: i32, frame: &mut [u8], plain: &[u8]) -> zstd_safe::SafeResult {
        if self.level != Some(level) {
            self.context.set_parameter(CParameter::CompressionLevel(level))?;
            self.context.set_parameter(CParameter::ChecksumFlag(true))?;
            self.level = Some(level);
        }
        self.context.compress2(frame, plain)
    }
}

fn decompressor() -> DCtx<'static> {
    #[cfg(test)]
    tests::DECOMPRESSORS.set(tests::DECOMPRESSORS.get() + 1);
    DCtx::create()
}

impl ZstdDictionary {
    /// Learns from samples, which should be like the values to come: a few thousand of them, or 100 times the dictionary's
    /// 110 KiB in all. Samples of fewer than 8 bytes teach nothing and are left out. Takes seconds where they are many.
    ///
    /// # Errors
    ///
    /// [`CodecError::Unsuitable`] if there are too few samples to learn from, or if they have nothing in common.
    pub fn train<S: AsRef<[u8]>>(samples: impl IntoIterator<Item = S>) -> Result<Self, CodecError> {
        Self::train_to(samples, DEFAULT_DICTIONARY_SIZE)
    }

    /// The same, for a dictionary of so many bytes at most. Each thread that stores or reads has it in its processor's caches:
    /// for small values a smaller one may be faster and nearly as good.
    ///
    /// # Errors
    ///
    /// [`CodecError::Unsuitable`] if there are too few samples to learn from, or if they have nothing in common.
    pub fn train_to<S: AsRef<[u8]>>(
        samples: impl IntoIterator<Item = S>,
        max_bytes: usize,
    ) -> Result<Self, CodecError> {
        let (mut all, mut sizes, mut left_out) = (Vec::new(), Vec::new(), 0);
        for sample in samples {
            let sample = sample.as_ref();
            if sample.len() < SHORTEST_SAMPLE {
                left_out += 1;
                continue;
            }
            all.extend_from_slice(sample);
            sizes.push(sample.len());
        }
        // Where too few are left the library says so.
        let trained = zstd::dict::from_continuous(&all, &sizes, max_bytes).map_err(|error| {
            let (count, bytes) = (sizes.len(), all.len());
            CodecError::unsuitable(
                "zstd",
                format_args!(
                    "no dictionary can be trained from {count} samples of {bytes} bytes in all, {left_out} of fewer than \
                     {SHORTEST_SAMPLE} left out: {error}"
                ),
            )
        })?;
        Self::from_bytes(trained)
    }

    /// A dictionary that was trained before, by [`train`](ZstdDictionary::train) or by the `zstd` program.
    ///
    /// # Errors
    ///
    /// [`CodecError::Unsuitable`] if the bytes are not a dictionary with an id.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Result<Self, CodecError> {
        let bytes = bytes.into();
        let unsuitable = |reason| CodecError::unsuitable("zstd", reason);
        let id = zstd_safe::get_dict_id_from_dict(&bytes).ok_or_else(|| unsuitable("the dictionary has no id"))?;
        let prepared = DDict::try_create(&bytes).ok_or_else(|| unsuitable("the dictionary can't be prepared"))?;
        Ok(Self { id: id.get(), bytes, prepared: Arc::new(prepared) })
    }

    /// The dictionary's bytes, in Zstandard's format.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The number by which stored values name the dictionary.
    pub fn id(&self) -> u32 {
        self.id
    }
}

impl fmt::Debug for ZstdDictionary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZstdDictionary").field("id", &self.id).field("bytes", &self.bytes.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The library takes their memory from C, where no allocator of a test sees it.
    thread_local! {
        /// Compressors that this thread has made.
        pub(super) static COMPRESSORS: Cell<usize> = const { Cell::new(0) };
        /// Decompressors that this thread has made.
        pub(super) static DECOMPRESSORS: Cell<usize> = const { Cell::new(0) };
    }

    #[test]
    fn a_thread_makes_one_compressor_and_one_decompressor() {
        let samples = (0..2000).map(|number| format!("{{\"id\":{number},\"name\":\"user {number}\"}}"));
        let dictionary = ZstdDictionary::train_to(samples, 1024).unwrap();
        let levels = [-1, 1, 3, 9].map(|level| Zstd::new(level).unwrap());
        let trained = Zstd::default().with_dictionary(&dictionary).unwrap();
        let codecs: Vec<Zstd> = levels.into_iter().chain([trained]).collect();
        std::thread::scope(|scope| {
            let storing = scope.spawn(|| {
                for number in 0..200 {
                    let plain = format!("{{\"id\":{number},\"name\":\"another user\"}}").repeat(10).into_bytes();
                    for codec in &codecs {
                        let (mut stored, mut back) = (Vec::new(), Vec::new());
                        codec.encode(b"", &plain, &mut stored).unwrap();
                        codec.decode(b"", &stored, plain.len(), &mut back).unwrap();
                        assert_eq!(back, plain);
                    }
                }
                (COMPRESSORS.get(), DECOMPRESSORS.get())
            });
            assert_eq!(storing.join().unwrap(), (1, 1));
        });
    }
}
