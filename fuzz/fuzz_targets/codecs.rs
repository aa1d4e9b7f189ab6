//! Every codec's decoder against any bytes, and round trips; by itself, and by way of the stored form.
//!
//! ```text
//! cargo +nightly fuzz run codecs -- -max_total_time=60
//! ```
//!
//! Whatever the bytes are: a decoder gives an error, or a value of exactly the noted length, and takes no more memory than
//! that. What was encoded comes back, and a bit that is changed in it is an error, where the format has a checksum. In the
//! stored form, which adds one where there is none, it never makes another value of any that is stored encoded.

#![no_main]

use std::sync::{Arc, LazyLock};

use arbitrary::Arbitrary;
use larder::codec::*;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    which: u8,
    /// The length that is noted beside the bytes.
    len: u16,
    key: Vec<u8>,
    /// The bit of what is stored that is changed.
    bit: u16,
    bytes: Vec<u8>,
}

struct Subject {
    codec: Arc<dyn Codec>,
    packer: Packer,
    /// To the codec alone changed bytes are an error, or mean nothing.
    checked: bool,
}

static SUBJECTS: LazyLock<Vec<Subject>> = LazyLock::new(|| {
    let key = || SealKey::new(1, &[7; 32]);
    let samples = (0..1000).map(|at| format!("{{\"id\":{at},\"name\":\"user {}\",\"tags\":[{}]}}", at * 7, at % 13));
    let dictionary = ZstdDictionary::train_to(samples, 4096).expect("the samples are alike");
    let with_dictionary = Zstd::default().with_dictionary(&dictionary).expect("it was just trained");
    let all: Vec<(bool, Arc<dyn Codec>)> = vec![
        (true, Arc::new(Gzip::default())),
        (true, Arc::new(Zlib::new(1).expect("there is a level 1"))),
        (false, Arc::new(Deflate::new(9).expect("there is a level 9"))),
        (false, Arc::new(Snappy)),
        (false, Arc::new(Lz4)),
        (true, Arc::new(Zstd::default())),
        (false, Arc::new(with_dictionary)),
        (true, Arc::new(Seal::aes_256_gcm(key()))),
        (true, Arc::new(Seal::xchacha20_poly1305(key()))),
        (true, Arc::new(Chain::new(Snappy).then(Seal::aes_256_gcm(key())))),
        (false, Arc::new(Chain::new(Lz4).then(Snappy).then(Deflate::default()))),
    ];
    let subject = |(checked, codec): (bool, Arc<dyn Codec>)| Subject {
        packer: Packer::new(Arc::clone(&codec)).with_min_size(0),
        codec,
        checked,
    };
    all.into_iter().map(subject).collect()
});

impl Subject {
    /// What comes of decoding any bytes.
    fn decode(&self, key: &[u8], stored: &[u8], len: usize) -> Option<Vec<u8>> {
        let mut plain = Vec::new();
        let result = self.codec.decode(key, stored, len, &mut plain);
        assert!(plain.capacity() <= len.max(8), "{} bytes were taken for {len}", plain.capacity());
        result.ok()?;
        assert_eq!(plain.len(), len, "another length than noted");
        Some(plain)
    }
}

fuzz_target!(|input: Input| {
    let Input { which, len, key, bit, bytes } = input;
    let subject = &SUBJECTS[usize::from(which) % SUBJECTS.len()];

    subject.decode(&key, &bytes, usize::from(len));
    let _ = subject.packer.unpack(&key, &bytes);
    let _ = subject.packer.inspect(&bytes).map(|stored| stored.bytes().len());

    let mut stored = Vec::new();
    subject.codec.encode(&key, &bytes, &mut stored).expect("it is a small value");
    assert_eq!(subject.decode(&key, &stored, bytes.len()).as_ref(), Some(&bytes), "it came back as another");
    assert_eq!(subject.decode(&key, &stored, bytes.len() + 1), None, "one more was noted");
    let at = usize::from(bit) % (8 * stored.len());
    stored[at / 8] ^= 1 << (at % 8);
    if let Some(changed) = subject.decode(&key, &stored, bytes.len()) {
        assert!(!subject.checked || changed == bytes, "a changed bit made another value");
    }

    let mut packed = subject.packer.pack(&key, &bytes).expect("it is a small value");
    assert_eq!(*subject.packer.unpack(&key, &packed).expect("it was just packed"), *bytes);
    assert!(subject.codec.must_encode() || packed.len() <= bytes.len() + 1);
    let was_raw = subject.packer.inspect(&packed).expect("it was just packed").format().is_none();
    let at = usize::from(bit) % (8 * packed.len());
    packed[at / 8] ^= 1 << (at % 8);
    match subject.packer.unpack(&key, &packed) {
        Ok(_) if subject.codec.must_encode() => panic!("a changed bit of what is sealed was not noticed"),
        Ok(changed) => assert!(was_raw || *changed == *bytes, "a changed bit of the stored form made another value"),
        Err(_) => {}
    }
});
