//! What only a holder of the key can read or make, and only under the cache key it was made for.

use larder::codec::*;

use crate::values::Random;

fn key(id: u32) -> SealKey {
    SealKey::new(id, &[id as u8; 32])
}

fn seals() -> [Seal; 2] {
    [Seal::aes_256_gcm(key(1)), Seal::xchacha20_poly1305(key(1))]
}

fn sealed(codec: &dyn Codec, key: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut stored = Vec::new();
    codec.encode(key, plain, &mut stored).unwrap();
    stored
}

fn opened(codec: &dyn Codec, key: &[u8], stored: &[u8], len: usize) -> Result<Vec<u8>, CodecError> {
    let mut plain = Vec::new();
    codec.decode(key, stored, len, &mut plain).map(|()| plain)
}

#[test]
fn a_value_moved_to_another_key_does_not_open() {
    for seal in seals() {
        let stored = sealed(&seal, b"user:1", b"secret");
        assert_eq!(opened(&seal, b"user:1", &stored, 6).unwrap(), b"secret");
        for other in [&b"user:2"[..], b"user:", b"user:11", b"", b"User:1"] {
            assert!(matches!(opened(&seal, other, &stored, 6), Err(CodecError::Damaged { .. })));
        }
    }
}

#[test]
fn no_bit_can_be_changed_and_none_cut_in_a_stored_form() {
    for seal in seals() {
        let packer = Packer::new(std::sync::Arc::new(seal));
        for plain in [&b""[..], b"s", b"secret", &[b's'; 1000]] {
            let stored = packer.pack(b"key", plain).unwrap();
            for at in 0..stored.len() {
                for bit in 0..8 {
                    let mut changed = stored.to_vec();
                    changed[at] ^= 1 << bit;
                    packer.unpack(b"key", &changed).unwrap_err();
                }
                packer.unpack(b"key", &stored[..at]).unwrap_err();
                packer.unpack(b"key", &stored[at + 1..]).unwrap_err();
            }
            packer.unpack(b"key", &[&stored, &[0][..]].concat()).unwrap_err();
        }
    }
}

#[test]
fn what_is_stored_does_not_show_the_value_and_never_repeats() {
    let plain = b"attack at dawn, attack at dawn";
    for seal in seals() {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            let stored = sealed(&seal, b"key", plain);
            assert!(!stored.windows(6).any(|window| window == b"attack"));
            // The nonce alone is new each time.
            assert!(seen.insert(stored[5..17].to_vec()));
        }
    }
}

#[test]
fn older_keys_open_until_they_are_forgotten() {
    for seal in seals() {
        let stored = [1, 2, 3].map(|id| {
            if id > 1 {
                seal.rotate(key(id)).unwrap();
            }
            sealed(&seal, b"key", b"secret")
        });
        for (stored, id) in stored.iter().zip(1_u32..) {
            assert_eq!(stored[1..5], id.to_le_bytes());
            assert_eq!(opened(&seal, b"key", stored, 6).unwrap(), b"secret");
        }
        assert!(matches!(seal.rotate(key(2)), Err(CodecError::Unsuitable { .. })));
        assert!(seal.forget(1));
        assert!(!seal.forget(1) && !seal.forget(3) && !seal.forget(9));
        let error = opened(&seal, b"key", &stored[0], 6).unwrap_err();
        assert!(error.to_string().contains("key 1 is not in the ring"), "{error}");
        assert_eq!(opened(&seal, b"key", &stored[1], 6).unwrap(), b"secret");
        assert_eq!(opened(&seal, b"key", &stored[2], 6).unwrap(), b"secret");
    }
}

#[test]
fn another_key_or_another_algorithm_does_not_open() {
    let [aes, xchacha] = seals();
    let stored = sealed(&aes, b"key", b"secret");
    assert!(opened(&xchacha, b"key", &stored, 6).is_err());
    let other = Seal::aes_256_gcm(SealKey::new(1, &[9; 32]));
    assert!(opened(&other, b"key", &stored, 6).is_err());
    assert_eq!(opened(&Seal::aes_256_gcm(key(1)), b"key", &stored, 6).unwrap(), b"secret");
    // A sealed value does not open as one of the other algorithm, even if it says that it is.
    let mut relabelled = stored;
    relabelled[0] = 2;
    assert!(opened(&xchacha, b"key", &relabelled, 6).is_err());
}

#[test]
fn keys_are_not_shown() {
    let key = SealKey::new(5, &[0xab; 32]);
    let shown = format!("{key:?} {key:#?} {:?} {:#?}", Seal::aes_256_gcm(SealKey::new(5, &[0xab; 32])), seals());
    assert!(shown.contains('5'));
    assert!(!shown.contains("171") && !shown.to_lowercase().contains("ab, ") && !shown.contains("abab"), "{shown}");
}

#[test]
fn generated_keys_differ() {
    let keys = [SealKey::generate(1).unwrap(), SealKey::generate(1).unwrap()];
    let [a, b] = keys.map(Seal::aes_256_gcm);
    let stored = sealed(&a, b"key", b"secret");
    assert_eq!(opened(&a, b"key", &stored, 6).unwrap(), b"secret");
    assert!(opened(&b, b"key", &stored, 6).is_err());
}

#[test]
fn threads_rotate_while_others_read() {
    for seal in &seals() {
        let stored = sealed(seal, b"key", b"secret");
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        assert_eq!(opened(seal, b"key", &stored, 6).unwrap(), b"secret");
                        let newer = sealed(seal, b"key", b"newer");
                        assert_eq!(opened(seal, b"key", &newer, 5).unwrap(), b"newer");
                    }
                });
            }
            scope.spawn(|| (2..50).for_each(|id| seal.rotate(key(id)).unwrap()));
        });
    }
}

/// Whoever can write to memory can't pass off bytes of theirs by claiming that a stage was left out.
#[test]
fn a_chain_can_not_be_told_that_nothing_is_sealed() {
    let packer = Packer::new(std::sync::Arc::new(Chain::new(Seal::aes_256_gcm(key(1)))));
    let stored = packer.pack(b"key", &[b's'; 300]).unwrap();
    // The packer's codec and length, then the chain's "left out", then what is forged.
    let forged = [&stored[..3], &[0], &[b'f'; 300]].concat();
    let error = packer.unpack(b"key", &forged).unwrap_err();
    assert!(error.to_string().contains("left out"), "{error}");
    let mut random = Random::new(11);
    for _ in 0..2000 {
        let mut changed = stored.to_vec();
        let at = random.below(changed.len());
        changed[at] ^= 1 << random.below(8);
        packer.unpack(b"key", &changed).unwrap_err();
    }
}

#[test]
#[cfg(feature = "deflate")]
fn what_does_not_shrink_is_sealed_as_it_is() {
    let chain = Chain::new(Gzip::default()).then(Seal::aes_256_gcm(key(1)));
    for plain in [Random::new(1).bytes(5000), Vec::new(), b"x".to_vec()] {
        let stored = sealed(&chain, b"key", &plain);
        assert!(stored.len() <= plain.len() + 40);
        assert_eq!(opened(&chain, b"key", &stored, plain.len()).unwrap(), plain);
    }
    let shrunk = sealed(&chain, b"key", &[b'x'; 5000]);
    assert!(shrunk.len() < 120, "{}", shrunk.len());
}
