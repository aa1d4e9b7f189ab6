//! The libraries by themselves, with their state made once, as the cache has it.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, KeyInit, Nonce, Tag};
use flate2::{Compress, Compression, Crc, Decompress, FlushCompress, FlushDecompress};
use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};
use zstd::zstd_safe::{CCtx, CDict, CParameter, DCtx, DDict, compress_bound};

/// A library's own way of doing it. Both append to `out`, which is empty.
pub(crate) trait Bare {
    fn encode(&mut self, plain: &[u8], out: &mut Vec<u8>);
    fn decode(&mut self, stored: &[u8], len: usize, out: &mut Vec<u8>);
}

struct Deflate {
    /// Bytes before and after the stream, which the library writes but is not given to read.
    around: (usize, usize),
    compress: Compress,
    decompress: Decompress,
    zlib: bool,
}

pub(crate) fn gzip(level: u32) -> Box<dyn Bare> {
    let compress = Compress::new_gzip(Compression::new(level), 15);
    Box::new(Deflate { around: (10, 8), compress, decompress: Decompress::new(false), zlib: false })
}

pub(crate) fn zlib(level: u32) -> Box<dyn Bare> {
    let compress = Compress::new(Compression::new(level), true);
    Box::new(Deflate { around: (0, 0), compress, decompress: Decompress::new(true), zlib: true })
}

pub(crate) fn deflate(level: u32) -> Box<dyn Bare> {
    let compress = Compress::new(Compression::new(level), false);
    Box::new(Deflate { around: (0, 0), compress, decompress: Decompress::new(false), zlib: false })
}

impl Bare for Deflate {
    fn encode(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        self.compress.reset();
        out.reserve(plain.len() + plain.len() / 8 + 64);
        self.compress.compress_vec(plain, out, FlushCompress::Finish).expect("there is room");
    }

    fn decode(&mut self, stored: &[u8], len: usize, out: &mut Vec<u8>) {
        let (before, after) = self.around;
        self.decompress.reset(self.zlib);
        out.reserve(len);
        let stream = &stored[before..stored.len() - after];
        self.decompress.decompress_vec(stream, out, FlushDecompress::Finish).expect("it was just written");
        if after > 0 {
            let mut crc = Crc::new();
            crc.update(out);
            assert_eq!(stored[before + stream.len()..][..4], crc.sum().to_le_bytes());
        }
    }
}

struct Snappy(snap::raw::Encoder);

pub(crate) fn snappy() -> Box<dyn Bare> {
    Box::new(Snappy(snap::raw::Encoder::new()))
}

impl Bare for Snappy {
    fn encode(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        out.resize(snap::raw::max_compress_len(plain.len()), 0);
        let written = self.0.compress(plain, out).expect("there is room");
        out.truncate(written);
    }

    fn decode(&mut self, stored: &[u8], len: usize, out: &mut Vec<u8>) {
        out.resize(len, 0);
        snap::raw::Decoder::new().decompress(stored, out).expect("it was just written");
    }
}

struct Lz4(CompressTable);

pub(crate) fn lz4() -> Box<dyn Bare> {
    Box::new(Lz4(CompressTable::small()))
}

impl Bare for Lz4 {
    fn encode(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        out.resize(get_maximum_output_size(plain.len()), 0);
        let written = compress_into_with_table(plain, out, &mut self.0).expect("there is room");
        out.truncate(written);
    }

    fn decode(&mut self, stored: &[u8], len: usize, out: &mut Vec<u8>) {
        out.resize(len, 0);
        decompress_into(stored, out).expect("it was just written");
    }
}

struct Zstd {
    compress: CCtx<'static>,
    decompress: DCtx<'static>,
    dictionary: Option<(CDict<'static>, DDict<'static>)>,
}

pub(crate) fn zstd(level: i32) -> Box<dyn Bare> {
    let mut compress = CCtx::create();
    compress.set_parameter(CParameter::CompressionLevel(level)).expect("there is the level");
    compress.set_parameter(CParameter::ChecksumFlag(true)).expect("there is a checksum");
    Box::new(Zstd { compress, decompress: DCtx::create(), dictionary: None })
}

pub(crate) fn zstd_with(level: i32, dictionary: &[u8]) -> Box<dyn Bare> {
    let dictionary = Some((CDict::create(dictionary, level), DDict::create(dictionary)));
    Box::new(Zstd { compress: CCtx::create(), decompress: DCtx::create(), dictionary })
}

impl Bare for Zstd {
    fn encode(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        out.resize(compress_bound(plain.len()), 0);
        let out_slice = &mut out[..];
        let written = match &self.dictionary {
            Some((prepared, _)) => self.compress.compress_using_cdict(out_slice, plain, prepared),
            None => self.compress.compress2(out_slice, plain),
        };
        out.truncate(written.expect("there is room"));
    }

    fn decode(&mut self, stored: &[u8], len: usize, out: &mut Vec<u8>) {
        out.resize(len, 0);
        let found = match &self.dictionary {
            Some((_, prepared)) => self.decompress.decompress_using_ddict(&mut out[..], stored, prepared),
            None => self.decompress.decompress(&mut out[..], stored),
        };
        found.expect("it was just written");
    }
}

struct Aes(Aes256Gcm);

/// As much as the cache binds to a value of its: a head, a length, and a key of eight bytes.
const BOUND: [u8; 21] = [7; 21];

pub(crate) fn aes_256_gcm(key: [u8; 32]) -> Box<dyn Bare> {
    Box::new(Aes(Aes256Gcm::new(&key.into())))
}

impl Bare for Aes {
    fn encode(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        let mut nonce = Nonce::<Aes256Gcm>::default();
        getrandom::fill(&mut nonce).expect("there are random bytes");
        out.extend_from_slice(&nonce);
        out.extend_from_slice(plain);
        let tag = self.0.encrypt_inout_detached(&nonce, &BOUND, InOutBuf::from(&mut out[nonce.len()..]));
        out.extend_from_slice(&tag.expect("it is short"));
    }

    fn decode(&mut self, stored: &[u8], _len: usize, out: &mut Vec<u8>) {
        let (nonce, rest) = stored.split_at(12);
        let (ciphertext, tag) = rest.split_at(rest.len() - 16);
        let nonce = <&Nonce<Aes256Gcm>>::try_from(nonce).expect("12 bytes");
        let tag = <&Tag<Aes256Gcm>>::try_from(tag).expect("16 bytes");
        out.extend_from_slice(ciphertext);
        self.0.decrypt_inout_detached(nonce, &BOUND, InOutBuf::from(&mut out[..]), tag).expect("it was just written");
    }
}
