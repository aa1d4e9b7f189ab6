//! What was encoded comes back, from the codec itself and by way of the stored form.

use larder::codec::*;

use crate::lab::{KEY, subjects};
use crate::values::{self, Random};

/// Of these something is put together that shrinks but is not all the same.
const WORDS: [&[u8]; 4] = [b"0123456789abcdef", b"fedcba9876543210", b"................", b"A rather long 16"];

/// Values of all sizes and kinds.
fn plains() -> Vec<Vec<u8>> {
    let random = &mut Random::new(1);
    let mut all = vec![Vec::new(), vec![0], vec![255], b"ab".to_vec(), vec![b'x'; 1000]];
    for len in [1, 15, 16, 17, 31, 32, 33, 255, 256, 257, 511, 512, 513, 65_534, 65_535, 65_536, 65_537] {
        all.push(random.bytes(len));
        all.push((0..len).map(|at| (at / 7 % 5) as u8).collect());
    }
    all.extend([values::user_json(random), values::json(random), values::html(random), values::session(random)]);
    all.push(values::image(random));
    all
}

/// Values of 1 MiB.
fn large_plains() -> [Vec<u8>; 3] {
    let random = &mut Random::new(2);
    let words = (0..1 << 16).flat_map(|_| WORDS[random.below(4)]).copied().collect();
    [vec![0; 1 << 20], random.bytes(1 << 20), words]
}

#[test]
fn values_come_back() {
    let plains = [&plains()[..], &large_plains()].concat();
    for subject in subjects() {
        for plain in &plains {
            let stored = subject.encode(plain);
            // A codec that writes nothing leaves the value as it is.
            if !stored.is_empty() {
                let back = subject.decode(&stored, plain.len());
                assert!(back.as_ref() == Ok(plain), "{}, {} bytes: {:?}", subject.name, plain.len(), back.err());
            }
        }
    }
}

#[test]
fn stored_forms_come_back() {
    let plains = plains();
    for subject in subjects() {
        let packer = Packer::new(subject.codec.clone());
        for plain in &plains {
            let stored = packer.pack(KEY, plain).unwrap();
            assert!(stored.len() <= plain.len() + 96, "{}: {} of {}", subject.name, stored.len(), plain.len());
            assert!(*packer.unpack(KEY, &stored).unwrap() == *plain, "{}", subject.name);
            let inspected = packer.inspect(&stored).unwrap();
            assert_eq!(inspected.plain_len(), plain.len(), "{}", subject.name);
            // The checksum is no part of the format.
            let has_sum = inspected.format().is_some() && !subject.codec.is_checked();
            let written = &stored[..stored.len() - if has_sum { 4 } else { 0 }];
            assert!(written.ends_with(inspected.bytes()), "{}", subject.name);
        }
        let counts = packer.counts();
        assert_eq!(counts.bytes_before, plains.iter().map(|plain| plain.len() as u64).sum::<u64>(), "{}", subject.name);
        let stored = counts.encoded + counts.raw_small + counts.raw_unshrunk;
        assert_eq!((stored, counts.raw_failed), (plains.len() as u64, 0), "{}", subject.name);
        if subject.codec.must_encode() {
            assert_eq!(counts.encoded, stored, "{}", subject.name);
        }
    }
}

#[test]
fn threads_use_a_codec_at_once() {
    let plains = &plains();
    for subject in &subjects() {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for plain in plains {
                        let stored = subject.encode(plain);
                        assert!(stored.is_empty() || subject.decode(&stored, plain.len()).as_ref() == Ok(plain));
                    }
                });
            }
        });
    }
}

#[test]
fn pointers_to_codecs_are_codecs() {
    for subject in subjects() {
        let boxed: Box<dyn Codec> = Box::new(subject.codec.clone());
        let (mut stored, mut back) = (Vec::new(), Vec::new());
        boxed.encode(KEY, &[b'x'; 1000], &mut stored).unwrap();
        if !stored.is_empty() {
            boxed.decode(KEY, &stored, 1000, &mut back).unwrap();
            assert_eq!(back, [b'x'; 1000]);
        }
        assert_eq!(boxed.name(), subject.codec.name());
        assert_eq!(boxed.format_of(&stored), subject.codec.format_of(&stored));
        assert_eq!((boxed.binds_key(), boxed.must_encode()), (subject.codec.binds_key(), subject.codec.must_encode()));
    }
}

#[test]
#[cfg(feature = "deflate")]
fn levels_that_there_are_not_are_errors() {
    let error = Gzip::new(10).unwrap_err();
    assert_eq!(error, CodecError::Level { codec: "gzip".into(), given: 10, min: 0, max: 9 });
    assert_eq!(error.to_string(), "gzip has levels from 0 to 9, not 10");
    Zlib::new(10).unwrap_err();
    Deflate::new(u32::MAX).unwrap_err();
    assert!((0..=9).all(|level| Gzip::new(level).is_ok() && Zlib::new(level).is_ok() && Deflate::new(level).is_ok()));
}

#[test]
#[cfg(feature = "zstd")]
fn levels_that_zstandard_has_not_are_errors() {
    assert!(matches!(Zstd::new(23), Err(CodecError::Level { given: 23, max: 22, .. })));
    Zstd::new(i32::MIN).unwrap_err();
    Zstd::new(22).unwrap();
    Zstd::new(-7).unwrap();
}

#[test]
fn auto_takes_no_codec_that_must_encode() {
    struct Always;
    impl Codec for Always {
        fn name(&self) -> &str {
            "always"
        }
        fn encode(&self, _key: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
            out.extend_from_slice(plain);
            Ok(())
        }
        fn decode(&self, _key: &[u8], stored: &[u8], _len: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
            out.extend_from_slice(stored);
            Ok(())
        }
        fn must_encode(&self) -> bool {
            true
        }
    }
    let refused = Auto::with_candidates([std::sync::Arc::new(Always) as std::sync::Arc<dyn Codec>]);
    assert!(matches!(refused, Err(CodecError::Unsuitable { .. })));
    let chain = Chain::new(Auto::new()).then(Always);
    assert!(chain.must_encode());
    assert_eq!(chain.name(), "auto+always");
}
