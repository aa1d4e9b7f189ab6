//! Bytes that no codec wrote: cut, changed, random, with lengths that lie, and bombs. All are errors, or to a codec
//! alone whose format has no checksum a value of the noted length; nothing panics, and no more memory is taken than was noted.

use larder::codec::*;

use crate::lab::{KEY, Subject, subjects};
use crate::values::{self, Random};

/// A value of a kind that every codec encodes, short enough to try each of its bytes.
fn value() -> Vec<u8> {
    values::user_json(&mut Random::new(3)).repeat(3)
}

/// The stored form, or nothing where a codec leaves the value as it is.
fn stored_by_all() -> impl Iterator<Item = (Subject, Vec<u8>, Vec<u8>)> {
    let plain = value();
    subjects().into_iter().filter_map(move |subject| {
        let stored = subject.encode(&plain);
        (!stored.is_empty()).then(|| (subject, plain.clone(), stored))
    })
}

#[test]
fn cut_values_are_errors() {
    for (subject, plain, stored) in stored_by_all() {
        for end in 0..stored.len() {
            let result = subject.decode(&stored[..end], plain.len());
            assert!(result.is_err(), "{}: {end} of {} bytes were enough", subject.name, stored.len());
        }
    }
}

#[test]
fn what_follows_a_value_is_an_error() {
    for (subject, plain, mut stored) in stored_by_all() {
        stored.push(0);
        assert!(subject.decode(&stored, plain.len()).is_err(), "{}", subject.name);
    }
}

#[test]
fn changed_values_are_errors_or_of_the_noted_length() {
    for (subject, plain, stored) in stored_by_all() {
        for at in 0..stored.len() {
            for bit in 0..8 {
                let mut changed = stored.clone();
                changed[at] ^= 1 << bit;
                match subject.decode(&changed, plain.len()) {
                    // What gzip says about the time, the effort and the machine is not about the value.
                    Ok(back) if subject.checked => assert!(back == plain, "{}: byte {at}, bit {bit}", subject.name),
                    _ => {}
                }
            }
        }
    }
}

/// What a cache keeps of a value: any one bit of it, the codec's number and the length included.
#[test]
fn one_changed_bit_of_a_stored_form_never_makes_another_value() {
    // With digits, which Adler-32 confuses, and with runs, which are matches at many distances.
    let plain = [&value()[..300], &b"131 212 131 212; ".repeat(4), &[b'0'; 800]].concat();
    let (subjects, mut tried) = (subjects(), Vec::new());
    for Subject { name, codec, .. } in &subjects {
        let packer = Packer::new(codec.clone());
        let stored = packer.pack(KEY, &plain).unwrap();
        let inspected = packer.inspect(&stored).unwrap();
        // Levels that store, and one of the two "auto" if its timings say so, leave the value as it is.
        let Some(_) = inspected.format() else { continue };
        tried.push(name.clone());
        let written = inspected.bytes().to_vec();
        for bit in 0..8 * stored.len() {
            let mut changed = stored.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Ok(inspected) = packer.inspect(&changed) {
                assert!(codec.is_checked() || inspected.bytes() == written, "{name}: bit {bit} was lent");
            }
            match packer.unpack(KEY, &changed) {
                Ok(back) => assert!(*back == plain, "{name}: bit {bit} made another value"),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    }
    assert!(tried.len() + 4 >= subjects.len(), "only {tried:?}");
}

#[test]
fn random_bytes_are_errors_or_of_the_noted_length() {
    let random = &mut Random::new(5);
    for (subject, plain, stored) in stored_by_all() {
        let mut opened = 0;
        for _ in 0..2000 {
            let (len, noted) = (random.below(300), random.below(2000));
            let bytes = random.bytes(len);
            opened += usize::from(subject.decode(&bytes, noted).is_ok());
            // A beginning that is right gets further.
            let keep = random.below(stored.len());
            let bytes = [&stored[..keep], &bytes].concat();
            let result = subject.decode(&bytes, plain.len());
            assert!(!subject.checked || result.is_err(), "{}", subject.name);
        }
        assert!(opened <= 20, "{} opened {opened} of 2000", subject.name);
    }
}

#[test]
fn lengths_that_lie_are_errors() {
    let huge = [plain_and_one, |len| len - 1, |_| 0, |len| 2 * len, |_| usize::MAX, |_| usize::MAX / 2, |_| 1 << 40];
    fn plain_and_one(len: usize) -> usize {
        len + 1
    }
    for (subject, plain, stored) in stored_by_all() {
        for lie in huge {
            let noted = lie(plain.len());
            assert!(subject.decode(&stored, noted).is_err(), "{}: {noted} noted of {}", subject.name, plain.len());
        }
    }
}

#[test]
#[cfg(feature = "zstd")]
fn nothing_is_reserved_for_a_length_that_zstd_did_not_note() {
    let random = &mut Random::new(3);
    let plain: Vec<u8> = (0..300).flat_map(|_| values::user_json(random)).collect();
    let dictionary = Zstd::default().with_dictionary(&crate::dictionaries::first()).unwrap();
    for codec in [Zstd::default(), Zstd::new(19).unwrap(), dictionary] {
        let mut stored = Vec::new();
        codec.encode(KEY, &plain, &mut stored).unwrap();
        let lies = [plain.len() - 1, plain.len() + 1, 64 << 20];
        // The last is what so many bytes could open to, and would be believed if the header were not.
        assert!(stored.len() > (64 << 20) / (32 << 10));
        for lie in lies {
            let mut out = Vec::new();
            let error = codec.decode(KEY, &stored, lie, &mut out).unwrap_err();
            assert_eq!(error, CodecError::length("zstd", lie, plain.len()));
            assert_eq!(out.capacity(), 0, "{lie} bytes noted");
        }
        for at in 0..4 {
            let mut changed = stored.clone();
            changed[at] ^= 0x10;
            for len in [plain.len(), 64 << 20] {
                let mut out = Vec::new();
                codec.decode(KEY, &changed, len, &mut out).unwrap_err();
                assert_eq!(out.capacity(), 0, "{len} bytes noted, byte {at} changed");
            }
        }
    }
}

#[test]
fn stored_forms_that_are_damaged_are_errors() {
    let random = &mut Random::new(7);
    for (subject, plain, _) in stored_by_all() {
        let packer = Packer::new(subject.codec.clone());
        let stored = packer.pack(KEY, &plain).unwrap();
        for end in 0..stored.len() {
            match packer.unpack(KEY, &stored[..end]) {
                // "Stored as it is", of which nothing says where it ends.
                Ok(_) => assert_eq!(stored[0], 0, "{}: cut at {end}", subject.name),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
        for _ in 0..500 {
            let len = random.below(100);
            let mut bytes = random.bytes(len);
            let head = random.below(4);
            bytes.splice(0..0, stored[..head].iter().copied());
            // Must not panic, nor give what is longer than noted.
            let _ = packer.unpack(KEY, &bytes);
            let _ = packer.inspect(&bytes).map(|inspected| (inspected.format().map(str::len), inspected.bytes().len()));
        }
    }
}

/// A MiB of DEFLATE that would open to a GiB of zeros.
#[cfg(feature = "deflate")]
fn bomb() -> Vec<u8> {
    use flate2::{Compress, Compression, FlushCompress};

    // After a full flush nothing refers to what was before: the same bytes open to the same again.
    let mut one = Vec::with_capacity(4096);
    let mut compress = Compress::new(Compression::best(), false);
    compress.compress_vec(&vec![0; 1 << 20], &mut one, FlushCompress::Full).unwrap();
    assert_eq!(compress.total_in(), 1 << 20);
    let mut bomb = one.repeat(1 << 10);
    // An empty block that says it is the last.
    bomb.extend_from_slice(&[3, 0]);
    assert!((900 << 10..1100 << 10).contains(&bomb.len()), "{}", bomb.len());
    bomb
}

/// The same as a gzip file. Nothing gets to the checksum.
#[cfg(feature = "deflate")]
fn gzip_bomb() -> Vec<u8> {
    [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255], &bomb()[..], &[0; 4], &(1_u32 << 30).to_le_bytes()].concat()
}

#[test]
#[cfg(feature = "deflate")]
fn a_bomb_stops_at_the_noted_length() {
    let codecs: [(&dyn Codec, Vec<u8>); 2] = [(&Gzip::default(), gzip_bomb()), (&Deflate::default(), bomb())];
    for (codec, bytes) in codecs {
        for len in [0, 1, 4096, 1 << 20] {
            let mut out = Vec::new();
            let error = codec.decode(KEY, &bytes, len, &mut out).unwrap_err();
            // A byte more, or what fits into the least that a Vec takes.
            assert!(
                matches!(error, CodecError::Length { expected, found, .. } if expected == len && found <= len.max(8) + 1),
                "{error:?}"
            );
            assert!(out.capacity() <= len.max(8), "{} bytes were taken", out.capacity());
        }
    }
}

#[test]
#[cfg(all(feature = "deflate", feature = "seal"))]
fn a_bomb_inside_a_chain_stops_as_well() {
    /// Gives the bomb out as what it wrote.
    struct Bomber(Vec<u8>);
    impl Codec for Bomber {
        fn name(&self) -> &str {
            "gzip"
        }
        fn encode(&self, _key: &[u8], _plain: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
            out.extend_from_slice(&self.0);
            Ok(())
        }
        fn decode(&self, key: &[u8], stored: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
            Gzip::default().decode(key, stored, len, out)
        }
    }
    let seal = || Seal::aes_256_gcm(SealKey::new(1, &[1; 32]));
    let mut stored = Vec::new();
    let plain = vec![1; 2 << 20];
    Chain::new(Bomber(gzip_bomb())).then(seal()).encode(KEY, &plain, &mut stored).unwrap();
    let chain = Chain::new(Gzip::default()).then(seal());
    let mut out = Vec::new();
    let error = chain.decode(KEY, &stored, plain.len(), &mut out).unwrap_err();
    assert_eq!(error, CodecError::length("gzip", plain.len(), plain.len() + 1));
    assert!(out.capacity() <= plain.len());
}
