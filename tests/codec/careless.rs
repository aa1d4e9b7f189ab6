//! A codec that changes what it finds in the buffer: it counts as one that failed, and no value is another afterwards.

use std::sync::Arc;

use larder::codec::*;

use crate::lab::KEY;

/// What a codec does to the bytes before its own.
type Harm = fn(&mut Vec<u8>);

const HARMS: [(&str, Harm); 6] = [
    ("clears", Vec::clear),
    ("cuts the last", |out| _ = out.pop()),
    ("changes the last", |out| out.iter_mut().last().into_iter().for_each(|byte| *byte ^= 1)),
    ("changes all", |out| out.iter_mut().for_each(|byte| *byte ^= 0x80)),
    ("puts one before", |out| out.insert(0, 0xee)),
    ("fills in zeros", |out| out.iter_mut().for_each(|byte| *byte = 0)),
];

/// Keeps every other byte, and harms what is there before.
#[derive(Clone, Copy)]
struct Careless {
    harm: Harm,
    must_encode: bool,
    is_checked: bool,
    keeps: bool,
}

impl Codec for Careless {
    fn name(&self) -> &str {
        "careless"
    }

    fn encode(&self, _key: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        (self.harm)(out);
        if self.keeps {
            out.extend(plain.iter().step_by(2));
        }
        Ok(())
    }

    fn decode(&self, _key: &[u8], stored: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend(stored.iter().flat_map(|byte| [*byte; 2]).take(len));
        Ok(())
    }

    fn must_encode(&self) -> bool {
        self.must_encode
    }

    fn is_checked(&self) -> bool {
        self.is_checked
    }
}

/// All of those that harm in some way.
fn careless() -> impl Iterator<Item = (String, Careless)> {
    HARMS.into_iter().flat_map(|(name, harm)| {
        (0..8).map(move |bits| {
            let [must_encode, is_checked, keeps] = [1, 2, 4].map(|bit| bits & bit != 0);
            (format!("{name}, {bits}"), Careless { harm, must_encode, is_checked, keeps })
        })
    })
}

/// Values that begin as no head ends, of lengths noted in one byte and in more.
fn plains() -> impl Iterator<Item = Vec<u8>> {
    filled(&[0x55, 0x80, 0xff])
}

fn filled(fills: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    fills.iter().flat_map(|fill| [256, 1000, 20_000, 0].map(|len| vec![*fill; len]))
}

fn is_harm(error: &CodecError) -> bool {
    matches!(error, CodecError::Refused { .. })
}

#[test]
fn what_it_can_not_encode_is_stored_as_it_is_or_not_at_all() {
    for (name, codec) in careless() {
        let packer = Packer::new(Arc::new(codec)).with_min_size(0);
        for plain in plains() {
            match packer.pack(KEY, &plain) {
                Ok(stored) => {
                    assert!(!codec.must_encode, "{name}: {} bytes", plain.len());
                    assert_eq!(packer.inspect(&stored).unwrap().format(), None, "{name}");
                    assert!(*packer.unpack(KEY, &stored).unwrap() == plain, "{name}: {} bytes", plain.len());
                }
                Err(error) => assert!(codec.must_encode && is_harm(&error), "{name}: {error}"),
            }
        }
    }
}

/// Where its own first byte is the last of what it cut, nobody can tell it from a codec that wrote one byte less.
#[test]
fn harm_that_does_not_show_is_an_error_later() {
    for (name, codec) in careless() {
        let packer = Packer::new(Arc::new(codec)).with_min_size(0);
        for plain in filled(&[0, 1, 2, 7]) {
            let Ok(stored) = packer.pack(KEY, &plain) else { continue };
            match packer.unpack(KEY, &stored) {
                Ok(back) => assert!(*back == plain, "{name}"),
                Err(error) => assert!(matches!(error, CodecError::Length { .. }), "{name}: {error}"),
            }
        }
    }
}

#[test]
fn a_chain_with_it_loses_nothing() {
    for (name, codec) in careless() {
        let chains = [Chain::new(codec), Chain::new(Auto::new()).then(codec), Chain::new(codec).then(Auto::new())];
        for (at, chain) in chains.into_iter().enumerate() {
            let packer = Packer::new(Arc::new(chain.clone())).with_min_size(0);
            for plain in plains() {
                let encoded = chain.encode(KEY, &plain, &mut b"before".to_vec());
                assert!(encoded.is_err_and(|error| is_harm(&error)), "{name}, {at}");
                match packer.pack(KEY, &plain) {
                    Ok(stored) => assert!(*packer.unpack(KEY, &stored).unwrap() == plain, "{name}, {at}"),
                    Err(error) => assert!(codec.must_encode && is_harm(&error), "{name}, {at}: {error}"),
                }
            }
        }
    }
}

#[test]
fn auto_does_not_use_it() {
    for (name, codec) in careless().filter(|(_, codec)| !codec.must_encode) {
        // Worth so much that it is chosen if it can be.
        let auto = Auto::with_candidates([Arc::new(codec) as Arc<dyn Codec>]).unwrap();
        let auto = Arc::new(auto.with_worth_per_kib(std::time::Duration::from_secs(10)));
        let packer = Packer::new(auto.clone()).with_min_size(0);
        for plain in plains() {
            let mut out = b"before".to_vec();
            match auto.encode(KEY, &plain, &mut out) {
                Ok(()) => assert_eq!(out, b"before", "{name}"),
                Err(error) => assert!(is_harm(&error), "{name}: {error}"),
            }
            let stored = packer.pack(KEY, &plain).unwrap();
            assert!(*packer.unpack(KEY, &stored).unwrap() == plain, "{name}");
        }
    }
}
