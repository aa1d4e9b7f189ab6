//! A key is nowhere in memory once what held it is dropped. Linux only, where a process can read all of its memory; by itself,
//! so that no other test maps memory or takes it away meanwhile.

#![cfg(all(feature = "seal", target_os = "linux"))]

use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt;

use larder::codec::*;
use zeroize::Zeroize;

const KEY_LEN: usize = 32;
/// The key is only ever compared under this mask, so that the search does not find itself.
const MASK: u8 = 0x5a;
const CHUNK: usize = 1 << 16;
/// Mappings of more bytes are left out.
const LARGEST: u64 = 1 << 30;

/// The key under the mask.
fn masked() -> [u8; KEY_LEN] {
    std::array::from_fn(|at| (at as u8).wrapping_mul(37).wrapping_add(11) ^ 0xc3)
}

/// Gives the key to `work`, and wipes this copy of it.
#[inline(never)]
fn with_key(work: impl FnOnce(&[u8; KEY_LEN])) {
    let mut key = masked();
    key.iter_mut().for_each(|byte| *byte ^= MASK);
    work(black_box(&key));
    key.zeroize();
}

/// How many times the key is anywhere in memory that can be written to.
#[inline(never)]
fn copies() -> usize {
    let memory = File::open("/proc/self/mem").unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let (masked, mut chunk, mut found) = (masked(), vec![0; CHUNK], 0);
    // What is read is put here: that is left out, or it would be read into itself, and unmasked where it is masked already.
    let own = chunk.as_ptr() as u64..chunk.as_ptr() as u64 + CHUNK as u64;
    let writable = maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.starts_with("rw")));
    let ranges = writable.map(|line| line.split(' ').next().unwrap().split_once('-').unwrap());
    let ranges = ranges.map(|(start, end)| [start, end].map(|number| u64::from_str_radix(number, 16).unwrap()));
    // What tools reserve for themselves, terabytes under a sanitizer, is not memory of the program's.
    let ranges = ranges.filter(|[start, end]| end - start <= LARGEST);
    for [mut at, end] in ranges.flat_map(|[start, end]| [[start, end.min(own.start)], [start.max(own.end), end]]) {
        while at + KEY_LEN as u64 <= end {
            let len = CHUNK.min((end - at) as usize);
            // Some mappings can't be read, and some are gone by now.
            if memory.read_exact_at(&mut chunk[..len], at).is_err() {
                break;
            }
            chunk.iter_mut().for_each(|byte| *byte ^= MASK);
            found += chunk[..len].windows(KEY_LEN).filter(|bytes| bytes[0] == masked[0] && **bytes == masked).count();
            // What straddles two chunks is in the next one as a whole.
            at += if len == CHUNK { (CHUNK - KEY_LEN + 1) as u64 } else { len as u64 };
        }
    }
    chunk.zeroize();
    found
}

/// Uses a codec in both directions.
fn seal_and_open(codec: &dyn Codec) {
    let (plain, mut sealed, mut back) = ([7; 3000], Vec::new(), Vec::new());
    codec.encode(b"key", &plain, &mut sealed).unwrap();
    codec.decode(b"key", &sealed, plain.len(), &mut back).unwrap();
    assert!(back == plain);
}

#[test]
fn a_key_is_wiped_when_what_held_it_is_dropped() {
    assert_eq!(copies(), 0, "before there is a key");

    // The search does find one that lives: on the stack, on the heap, and where the codec keeps it.
    with_key(|key| assert!(copies() >= 1, "on the stack, {key:p}"));
    assert_eq!(copies(), 0, "wiped from the stack");
    with_key(|key| {
        let before = copies();
        let mut copy = Box::new([0; KEY_LEN]);
        copy.copy_from_slice(key);
        assert!(copies() > before, "on the heap, {copy:p}");
        copy.zeroize();
        let kept = SealKey::new(1, key);
        assert!(copies() > before, "in {kept:?}");
    });
    assert_eq!(copies(), 0, "a key was dropped");

    type Make = fn(SealKey) -> Seal;
    for (name, make) in [("AES", Seal::aes_256_gcm as Make), ("XChaCha20", Seal::xchacha20_poly1305)] {
        with_key(|key| drop(make(SealKey::new(1, key))));
        assert_eq!(copies(), 0, "{name}, not used");

        with_key(|key| {
            // Moved about, as programs do.
            let key = vec![SealKey::new(1, key)].pop().unwrap();
            let seal = Box::new(make(key));
            seal_and_open(&seal);
        });
        assert_eq!(copies(), 0, "{name}, used");

        let seal = make(SealKey::new(1, &[1; KEY_LEN]));
        with_key(|key| seal.rotate(SealKey::new(2, key)).unwrap());
        seal_and_open(&seal);
        seal.rotate(SealKey::new(3, &[3; KEY_LEN])).unwrap();
        seal_and_open(&seal);
        assert!(seal.forget(2));
        assert_eq!(copies(), 0, "{name}, out of the ring");

        with_key(|key| {
            seal.rotate(SealKey::new(4, key)).unwrap();
            // One that is in the ring already.
            seal.rotate(SealKey::new(4, key)).unwrap_err();
        });
        seal_and_open(&seal);
        drop(seal);
        assert_eq!(copies(), 0, "{name}, with others");
    }
}
