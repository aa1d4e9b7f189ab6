//! Codecs that fail, and values that do not open.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Weak};

use larder::codec::{Codec, CodecError};
use larder::{Cache, Change, NotStored, Outcome, PackedCache};

use crate::lab::{Brittle, pairs};

type Bytes = PackedCache<u64, Vec<u8>>;

fn cache(codec: &Arc<Brittle>) -> Bytes {
    Cache::builder().max_bytes(1 << 20).record_stats().codec(Arc::clone(codec)).build().unwrap()
}

/// A cache of a few values that do not open.
fn damaged() -> (Arc<Brittle>, Bytes) {
    let codec = Arc::new(Brittle::default());
    let cache = cache(&codec);
    (0..10).for_each(|key| cache.insert(key, pairs(key as u8, 1000)));
    codec.is_broken.store(true, SeqCst);
    (codec, cache)
}

#[test]
fn a_value_that_does_not_open_is_a_miss_and_gone() {
    let (codec, cache) = damaged();
    assert_eq!(cache.get(&0), None);
    assert_eq!(cache.try_get(&1), Err(CodecError::damaged("brittle", "told to")));
    assert_eq!(cache.get_many(&[2, 100]), [None, None]);
    assert_eq!(cache.peek(&3), None);
    assert_eq!(cache.remove(&4), None);
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.damaged, stats.entries), (0, 4, 5, 5));
    let outcome = cache.compute(&5, |entry| {
        assert_eq!(entry, None);
        Change::Put(5, pairs(9, 1000))
    });
    assert_eq!(outcome, Outcome::Inserted);
    codec.is_broken.store(false, SeqCst);
    assert_eq!(cache.get(&5), Some(pairs(9, 1000)));
    codec.is_broken.store(true, SeqCst);
    assert_eq!(cache.iter().count(), 0);
    assert!(cache.is_empty());
    cache.validate();
}

#[test]
fn a_walk_and_retain_take_out_what_does_not_open() {
    let (_, cache) = damaged();
    cache.retain(|_, _| unreachable!("nothing opens"));
    assert_eq!((cache.len(), cache.stats().damaged), (0, 10));
    cache.validate();
}

#[test]
fn only_the_damaged_value_goes_and_not_the_one_that_took_its_place() {
    let codec = Arc::new(Brittle::default());
    let cache: Bytes =
        Cache::builder().max_bytes(1 << 20).stripes(1).record_stats().codec(Arc::clone(&codec)).build().unwrap();
    (0..10).for_each(|key| cache.insert(key, pairs(key as u8, 1000)));
    // A walk holds the values that it has come to, while all of them are replaced. It is those that it opens then.
    let mut walk = cache.iter();
    let first = *walk.next().unwrap().key();
    (0..10).for_each(|key| cache.insert(key, pairs(7, 2000)));
    codec.broken_len.store(1000, SeqCst);
    assert!(walk.all(|entry| *entry.key() != first && *entry.value() == pairs(7, 2000)));
    let damaged = cache.stats().damaged;
    assert!(damaged >= 5, "the walk held old values of {damaged} keys only");
    assert_eq!((cache.len(), cache.stats().removals), (10, 0));
    for key in 0..10 {
        assert_eq!(cache.get(&key), Some(pairs(7, 2000)));
    }
    cache.validate();
}

/// Reads a key while its value is replaced by one that opens, in the middle of opening the old one, which then fails.
#[test]
fn a_value_that_is_replaced_while_it_is_opened_stays() {
    struct Replacing(std::sync::OnceLock<Weak<Bytes>>);
    impl Codec for Replacing {
        fn name(&self) -> &str {
            "replacing"
        }
        fn encode(&self, _: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
            out.extend(plain.iter().step_by(2));
            Ok(())
        }
        fn decode(&self, _: &[u8], stored: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
            if len == 1000 {
                let cache = self.0.get().and_then(Weak::upgrade).unwrap();
                cache.insert(stored[0].into(), pairs(99, 2000));
                return Err(CodecError::damaged("replacing", "the old one"));
            }
            out.extend(stored.iter().flat_map(|byte| [byte; 2]).take(len));
            Ok(())
        }
    }
    let codec = Arc::new(Replacing(Default::default()));
    let cache: Arc<Bytes> =
        Arc::new(Cache::builder().max_bytes(1 << 20).record_stats().codec(Arc::clone(&codec)).build().unwrap());
    codec.0.set(Arc::downgrade(&cache)).unwrap();
    let reads: [fn(&Bytes, u64); 6] = [
        |cache, key| assert_eq!(cache.get(&key), None),
        |cache, key| assert_eq!(cache.peek(&key), None),
        |cache, key| _ = cache.try_get(&key).unwrap_err(),
        |cache, key| assert_eq!(cache.get_many(&[key]), [None]),
        |cache, _| assert_eq!(cache.iter().count(), 0),
        |cache, _| cache.retain(|_, _| unreachable!("it does not open")),
    ];
    for (key, read) in (1..).zip(reads) {
        cache.clear();
        cache.insert(key, pairs(key as u8, 1000));
        read(&cache, key);
        assert_eq!(cache.get(&key), Some(pairs(99, 2000)), "read number {key}");
        assert_eq!(cache.stats().damaged, key);
    }
    cache.validate();
}

#[test]
fn listeners_are_not_told_of_what_does_not_open() {
    let codec = Arc::new(Brittle::default());
    let told = Arc::new(AtomicUsize::new(0));
    let cache: Bytes = Cache::builder()
        .max_entries(64)
        .codec(Arc::clone(&codec))
        .on_removal({
            let told = Arc::clone(&told);
            move |_, _, _| _ = told.fetch_add(1, SeqCst)
        })
        .build()
        .unwrap();
    (0..64).for_each(|key| cache.insert(key, pairs(1, 1000)));
    cache.invalidate(&0);
    assert_eq!(told.load(SeqCst), 1);
    codec.is_broken.store(true, SeqCst);
    cache.invalidate(&1);
    assert_eq!(cache.get(&2), None);
    cache.clear();
    assert_eq!(told.load(SeqCst), 1);
    assert!(cache.is_empty());
}

#[test]
fn a_codec_that_must_not_be_left_out_stores_nothing_where_it_fails() {
    let codec = Arc::new(Brittle::strict());
    let cache = cache(&codec);
    cache.insert(1, pairs(1, 1000));
    cache.insert(2, pairs(2, 10));
    assert_eq!(cache.get_stored(&2).unwrap().format(), Some("brittle"), "however small");
    codec.refuses.store(true, SeqCst);
    match cache.try_insert(1, pairs(3, 1000)).unwrap_err() {
        NotStored::Unpackable { key, value, error } => {
            assert_eq!((key, value, error), (1, pairs(3, 1000), CodecError::refused("brittle", "told to")));
        }
        other => panic!("{other}"),
    }
    assert_eq!(cache.get(&1), None, "what was to be replaced is gone");
    cache.insert(2, pairs(4, 1000));
    assert_eq!(cache.get(&2), None);
    assert_eq!(cache.compute(&3, |_| Change::Put(3, pairs(5, 1000))), Outcome::Rejected);
    assert_eq!(cache.get_or_insert_with(4, || pairs(6, 1000)), pairs(6, 1000), "returned, and not stored");
    assert_eq!(cache.stats().rejected, 4);
    assert!(cache.is_empty());
    cache.validate();
}

#[test]
fn a_codec_that_panics_leaves_the_cache_valid() {
    let codec = Arc::new(Brittle::default());
    let cache = cache(&codec);
    (0..100).for_each(|key| cache.insert(key, pairs(key as u8, 1000)));
    codec.panics.store(true, SeqCst);
    let panics = |call: &dyn Fn()| {
        assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
        cache.validate();
    };
    panics(&|| cache.insert(1, pairs(200, 1000)));
    panics(&|| cache.insert(1000, pairs(200, 1000)));
    panics(&|| _ = cache.get(&2));
    panics(&|| _ = cache.get_many(&[3, 4, 5]));
    panics(&|| _ = cache.compute(&6, |_| Change::Remove));
    panics(&|| cache.retain(|_, _| true));
    panics(&|| _ = cache.iter().count());
    panics(&|| _ = cache.get_or_insert_with(2000, || pairs(1, 1000)));
    // Taken out before its value is opened.
    panics(&|| _ = cache.remove(&7));
    codec.panics.store(false, SeqCst);
    assert_eq!(cache.get_or_insert_with(2000, || pairs(1, 1000)), pairs(1, 1000));
    for key in (0..100).filter(|key| *key != 7) {
        assert_eq!(cache.get(&key), Some(pairs(key as u8, 1000)));
    }
    assert_eq!(cache.len(), 100);
    cache.maintain();
    cache.validate();
}

/// Seals values, and opens one with the bytes that it made of another when it is told to.
#[cfg(feature = "seal")]
struct Exchanging {
    seal: larder::codec::Seal,
    sealed: std::sync::Mutex<Vec<Vec<u8>>>,
    exchanges: std::sync::atomic::AtomicBool,
}

#[cfg(feature = "seal")]
impl larder::codec::Codec for Exchanging {
    fn name(&self) -> &str {
        self.seal.name()
    }

    fn encode(&self, key: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        let start = out.len();
        self.seal.encode(key, plain, out)?;
        self.sealed.lock().unwrap().push(out[start..].to_vec());
        Ok(())
    }

    fn decode(&self, key: &[u8], stored: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let sealed = self.sealed.lock().unwrap();
        let other = sealed.iter().find(|other| **other != stored);
        let exchanged = other.filter(|_| self.exchanges.load(SeqCst));
        self.seal.decode(key, exchanged.map_or(stored, |other| other), len, out)
    }

    fn binds_key(&self) -> bool {
        true
    }

    fn must_encode(&self) -> bool {
        true
    }
}

#[cfg(feature = "seal")]
#[test]
fn a_sealed_value_does_not_open_under_another_key() {
    let codec = Arc::new(Exchanging {
        seal: larder::codec::Seal::aes_256_gcm(larder::codec::SealKey::new(1, &[7; 32])),
        sealed: Default::default(),
        exchanges: Default::default(),
    });
    let cache: PackedCache<String, String> =
        Cache::builder().max_entries(64).codec(Arc::clone(&codec)).build().unwrap();
    cache.insert("Ann".to_owned(), "her secret".to_owned());
    cache.insert("Ben".to_owned(), "his secret".to_owned());
    assert_eq!(cache.get("Ann").as_deref(), Some("her secret"));
    assert_eq!(cache.get("Ben").as_deref(), Some("his secret"));
    codec.exchanges.store(true, SeqCst);
    assert!(matches!(cache.try_get("Ann"), Err(CodecError::Damaged { .. })));
    assert_eq!(cache.get("Ben"), None);
    assert_eq!((cache.len(), cache.stats().damaged), (0, 2));
}

#[cfg(feature = "seal")]
#[test]
fn nothing_of_a_sealed_value_is_stored_as_it_is() {
    let seal = larder::codec::Seal::xchacha20_poly1305(larder::codec::SealKey::new(1, &[7; 32]));
    let cache: PackedCache<u64, Vec<u8>> = Cache::builder().max_entries(64).codec(seal).build().unwrap();
    for len in [1, 10, 255, 256, 5000] {
        let secret = pairs(b's', len);
        cache.insert(1, secret.clone());
        let stored = cache.get_stored(&1).unwrap();
        assert!(stored.format().is_some_and(|format| format.starts_with("xchacha20")));
        assert!(len < 10 || !stored.bytes().windows(10).any(|bytes| bytes == &secret[..10]));
        assert_eq!(cache.get(&1), Some(secret));
    }
    let codec = cache.stats().codec;
    assert_eq!((codec.encoded, codec.raw_small, codec.raw_unshrunk), (5, 0, 0));
}

#[test]
fn what_a_forgotten_codec_wrote_is_a_miss() {
    let cache = cache(&Arc::default());
    cache.insert(1, pairs(1, 1000));
    cache.set_codec(Brittle::default());
    cache.insert(2, pairs(2, 1000));
    assert_eq!(cache.get(&1), Some(pairs(1, 1000)));
    cache.forget_older_codecs();
    assert!(matches!(cache.try_get(&1), Err(CodecError::UnknownCodec { .. })));
    assert_eq!(cache.get(&2), Some(pairs(2, 1000)));
}

#[test]
fn what_can_not_be_lent_is_a_miss_and_gone() {
    let cache = cache(&Arc::default());
    (1..=5).for_each(|key| cache.insert(key, pairs(1, 1000)));
    cache.set_codec(Brittle::default());
    cache.insert(6, pairs(6, 1000));
    cache.forget_older_codecs();
    for key in 1..=5 {
        for _ in 0..5 {
            assert!(cache.get_stored(&key).is_none());
        }
        let stats = cache.stats();
        assert_eq!((stats.hits, stats.misses, stats.damaged), (0, 5 * key, key));
        assert_eq!((stats.entries, stats.removals), (6 - key, key));
    }
    assert_eq!(cache.get_stored(&6).unwrap().bytes(), pairs(6, 500));
    assert_eq!((cache.stats().hits, cache.stats().damaged), (1, 5));
    cache.validate();
}
