//! What Zstandard learns from samples.

use std::sync::LazyLock;

use larder::codec::*;

use crate::values::{Random, user_json};

/// A dictionary from 2000 user records.
fn of_users(seed: u64) -> ZstdDictionary {
    let mut random = Random::new(seed);
    ZstdDictionary::train((0..2000).map(|_| user_json(&mut random))).unwrap()
}

/// The same, trained once for all tests.
pub(crate) fn first() -> ZstdDictionary {
    static TRAINED: LazyLock<ZstdDictionary> = LazyLock::new(|| of_users(1));
    TRAINED.clone()
}

fn stored(codec: &dyn Codec, plain: &[u8]) -> Vec<u8> {
    let mut stored = Vec::new();
    codec.encode(b"", plain, &mut stored).unwrap();
    stored
}

fn read(codec: &dyn Codec, stored: &[u8], len: usize) -> Result<Vec<u8>, CodecError> {
    let mut plain = Vec::new();
    codec.decode(b"", stored, len, &mut plain).map(|()| plain)
}

#[test]
fn a_dictionary_halves_small_values() {
    let alone = Zstd::default();
    let trained = Zstd::default().with_dictionary(&first()).unwrap();
    // Others than those it was trained on.
    let mut random = Random::new(2);
    let (mut plain, mut without, mut with) = (0, 0, 0);
    for _ in 0..1000 {
        let value = user_json(&mut random);
        assert!((250..350).contains(&value.len()), "{}", value.len());
        plain += value.len();
        without += stored(&alone, &value).len();
        with += stored(&trained, &value).len();
    }
    println!("of {plain} bytes {without} are stored without a dictionary, {with} with one");
    assert!(with * 2 <= without, "{with} of {without}");
}

#[test]
fn old_values_stay_readable() {
    let (first, second) = (first(), of_users(5));
    assert_ne!(first.id(), second.id());
    let plain = user_json(&mut Random::new(9));
    let none = Zstd::default();
    let older = none.clone().with_dictionary(&first).unwrap();
    let newer = older.clone().with_dictionary(&second).unwrap();
    for codec in [&none, &older, &newer] {
        assert_eq!(read(&newer, &stored(codec, &plain), plain.len()).unwrap(), plain);
    }
    let error = read(&older, &stored(&newer, &plain), plain.len()).unwrap_err();
    assert!(error.to_string().contains(&second.id().to_string()), "{error}");
    // Back to the first: it writes again, and both still read.
    let back = newer.clone().with_dictionary(&first).unwrap();
    assert_eq!(stored(&back, &plain), stored(&older, &plain));
    assert_eq!(read(&back, &stored(&newer, &plain), plain.len()).unwrap(), plain);

    // The same where the codec is changed and knows nothing of the one before.
    let packer = Packer::new(std::sync::Arc::new(Zstd::default().with_dictionary(&first).unwrap()));
    let value = packer.pack(b"", &plain).unwrap();
    packer.set_codec(std::sync::Arc::new(Zstd::default().with_dictionary(&second).unwrap()));
    assert_eq!(*packer.unpack(b"", &value).unwrap(), plain);
}

#[test]
fn a_dictionary_can_be_kept() {
    let trained = first();
    let read_back = ZstdDictionary::from_bytes(trained.as_bytes().to_vec()).unwrap();
    assert_eq!(read_back.id(), trained.id());
    let plain = user_json(&mut Random::new(9));
    let [writer, reader] = [&trained, &read_back].map(|kept| Zstd::default().with_dictionary(kept).unwrap());
    assert_eq!(read(&reader, &stored(&writer, &plain), plain.len()).unwrap(), plain);
    let twice = writer.with_dictionary(&read_back).unwrap();
    assert_eq!(read(&reader, &stored(&twice, &plain), plain.len()).unwrap(), plain);
}

#[test]
fn what_is_no_dictionary_is_refused() {
    let refused = |result: Result<ZstdDictionary, CodecError>| matches!(result, Err(CodecError::Unsuitable { .. }));
    assert!(refused(ZstdDictionary::from_bytes(Vec::new())));
    assert!(refused(ZstdDictionary::from_bytes(b"just some bytes, without a header".to_vec())));
    let trained = first();
    assert!(refused(ZstdDictionary::from_bytes(trained.as_bytes()[..20].to_vec())));
    assert!(refused(ZstdDictionary::train([b"one sample"])));
    assert!(refused(ZstdDictionary::train::<&[u8]>([])));
    assert!(refused(ZstdDictionary::train_to(vec![[1; 100]; 100], 0)));
    // Two that differ under one id: values would be read with the wrong one.
    let mut bytes = trained.as_bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let other = ZstdDictionary::from_bytes(bytes).unwrap();
    let both = Zstd::default().with_dictionary(&trained).unwrap().with_dictionary(&other);
    assert!(matches!(both, Err(CodecError::Unsuitable { .. })));
}

/// Samples of these lengths, in each of which something is repeated.
fn of_lengths(lengths: &[usize]) -> Vec<Vec<u8>> {
    lengths.iter().map(|&len| b"some text".iter().copied().cycle().take(len).collect()).collect()
}

#[test]
fn short_samples_are_left_out() {
    let lengths: [&[usize]; 8] = [
        &[0, 0, 0, 0, 0, 10, 10],
        &[1, 1, 1, 1, 1, 10, 10],
        &[2, 2, 2, 1, 1, 10, 10],
        &[0, 0, 0, 0, 0, 300, 300],
        &[7; 100],
        &[0; 1000],
        &[],
        &[8, 8, 8, 8, 8, 8],
    ];
    for lengths in lengths {
        let error = ZstdDictionary::train(of_lengths(lengths)).unwrap_err().to_string();
        let kept: Vec<usize> = lengths.iter().copied().filter(|len| *len >= 8).collect();
        let (count, bytes, left_out) = (kept.len(), kept.iter().sum::<usize>(), lengths.len() - kept.len());
        assert!(error.contains(&format!("{count} samples of {bytes} bytes")), "{lengths:?}: {error}");
        assert!(error.contains(&format!("{left_out} of fewer than 8 left out")), "{lengths:?}: {error}");
    }

    // What is left is enough, and short samples among the others change nothing.
    let mut random = Random::new(11);
    let records: Vec<Vec<u8>> = (0..200).map(|_| user_json(&mut random)).collect();
    let alone = ZstdDictionary::train(&records).unwrap();
    let mixed = records.iter().flat_map(|record| [&b""[..], b"1234567", record]);
    assert_eq!(ZstdDictionary::train(mixed).unwrap().as_bytes(), alone.as_bytes());
    let after_many: Vec<&[u8]> = [b"".as_slice(); 600].into_iter().chain(records.iter().map(Vec::as_slice)).collect();
    assert_eq!(ZstdDictionary::train(after_many).unwrap().as_bytes(), alone.as_bytes());
}

#[test]
fn samples_of_any_lengths_are_an_error_or_teach_something() {
    let mut lengths = vec![0; 75];
    lengths.extend([300; 25]);
    let _ = ZstdDictionary::train(of_lengths(&lengths));
    for seed in 0..500 {
        let random = &mut Random::new(seed);
        let (count, longest) = (random.below(40), random.below(30) + 1);
        let samples: Vec<Vec<u8>> =
            (0..count).map(|_| (0..random.below(longest)).map(|_| b'a' + random.below(3) as u8).collect()).collect();
        match ZstdDictionary::train_to(&samples, 1024) {
            Ok(dictionary) => assert!(dictionary.as_bytes().len() <= 1024),
            Err(error) => assert!(matches!(error, CodecError::Unsuitable { .. }), "{error}"),
        }
    }
}
