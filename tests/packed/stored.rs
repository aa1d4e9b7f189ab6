//! What is stored: how many bytes, in which format, and what is counted.

use std::sync::Arc;

use larder::codec::{Chain, Codec, Gzip, Snappy, Zstd, ZstdDictionary};
use larder::{Cache, PackedCache, Stats, Weigh};

use crate::codecs::{Mirror, codecs, noise, text};
use crate::lab::{Brittle, pairs};

#[test]
fn stored_bytes_open_with_the_codec_alone() {
    for (name, codec) in codecs() {
        let cache: PackedCache<u64, String> =
            Cache::builder().max_entries(64).codec(Arc::clone(&codec)).build().unwrap();
        cache.insert(1, text(1, 3000));
        let stored = cache.get_stored(&1).unwrap();
        assert_eq!((stored.key(), stored.plain_len()), (&1, 3000), "{name}");
        assert!(stored.format().is_some(), "{name}");
        // The loan outlives its entry.
        cache.clear();
        if !codec.binds_key() && stored.format() == Some(codec.name()) {
            let mut opened = Vec::new();
            codec.decode(&[], stored.bytes(), 3000, &mut opened).unwrap();
            assert_eq!(opened, text(1, 3000).into_bytes(), "{name}");
        }
        assert!(cache.get_stored(&1).is_none());
    }
}

#[test]
fn values_stored_as_they_are_say_so() {
    let cache: PackedCache<u64, Vec<u8>> =
        Cache::builder().max_entries(64).codec(Brittle::default()).codec_min_size(100).build().unwrap();
    cache.insert(1, pairs(1, 99));
    cache.insert(2, pairs(2, 100));
    let format_of = |key| {
        let stored = cache.get_stored(&key).unwrap();
        (stored.format().map(str::to_owned), stored.bytes().to_vec(), stored.plain_len())
    };
    assert_eq!(format_of(1), (None, pairs(1, 99), 99));
    assert_eq!(format_of(2), (Some("brittle".to_owned()), pairs(2, 50), 100));
    assert_eq!(cache.codec().name(), "brittle");
}

#[test]
fn what_is_stored_is_counted() {
    let brittle = Arc::new(Brittle::default());
    let cache: PackedCache<u64, Vec<u8>> =
        Cache::builder().max_entries(64).codec(Arc::clone(&brittle)).build().unwrap();
    cache.insert(1, pairs(1, 1000));
    let before = cache.stats();
    assert_eq!((before.codec.encoded, before.codec.bytes_before), (1, 1000));
    cache.insert(2, pairs(2, 10_000));
    cache.insert(3, noise(3, 10));
    brittle.refuses.store(true, std::sync::atomic::Ordering::SeqCst);
    cache.insert(4, noise(4, 1000));
    assert_eq!(cache.get(&4), Some(noise(4, 1000)), "stored as it is");
    let codec = (cache.stats() - before).codec;
    assert_eq!((codec.encoded, codec.raw_small, codec.raw_failed, codec.raw_unshrunk), (1, 1, 1, 0));
    assert_eq!(codec.bytes_before, 11_010);
    assert!((6010..6040).contains(&codec.bytes_after), "{}", codec.bytes_after);

    let mirror: PackedCache<u64, Vec<u8>> =
        Cache::builder().max_entries(64).codec(Mirror { must_encode: false }).build().unwrap();
    mirror.insert(1, noise(1, 1000));
    assert_eq!(mirror.stats().codec.raw_unshrunk, 1);
}

#[test]
fn time_is_counted_in_both_directions() {
    for (name, codec) in codecs() {
        let cache: PackedCache<u64, String> = Cache::builder().max_entries(64).codec(codec).build().unwrap();
        for number in 0..4 {
            cache.insert(number, text(number, 100_000));
            assert_eq!(cache.get(&number), Some(text(number, 100_000)));
        }
        let codec = cache.stats().codec;
        assert!(!codec.encode_time.is_zero() && !codec.decode_time.is_zero(), "{name}: {codec:?}");
        assert_eq!(codec.bytes_before, 400_000, "{name}");
    }
}

#[test]
fn of_small_values_some_are_timed() {
    for (name, codec) in codecs() {
        for (calls, len) in [(2, 15_000), (300, 3_000)] {
            let cache: PackedCache<u64, String> =
                Cache::builder().max_entries(64).codec(Arc::clone(&codec)).build().unwrap();
            for number in 0..calls {
                cache.insert(number, text(number, len));
                assert_eq!(cache.get(&number), Some(text(number, len)));
            }
            let codec = cache.stats().codec;
            let none = codec.encode_time.is_zero() || codec.decode_time.is_zero();
            assert!(!none, "{name}, {calls} calls: {codec:?}");
        }
    }
}

#[test]
fn a_cache_without_a_codec_counts_none_of_that() {
    let cache: Cache<u64, Vec<u8>> = Cache::new(100);
    cache.insert(1, vec![1; 10_000]);
    cache.get(&1);
    assert_eq!(cache.stats().codec, Stats::default().codec);
}

#[test]
fn a_limit_in_bytes_holds_what_is_stored() {
    const LIMIT: u64 = 256 << 10;
    for (name, codec) in codecs() {
        let cache: PackedCache<u64, String> =
            Cache::builder().max_bytes(LIMIT).stripes(1).codec(codec).build().unwrap();
        for number in 0..2_500 {
            cache.insert(number, text(number, 2000));
        }
        let stored: u64 = cache.keys().filter_map(|key| Some(cache.get_stored(&key)?.bytes().len() as u64)).sum();
        let stats = cache.stats();
        let living = stats.bytes - stats.retired_bytes;
        assert!(living <= LIMIT && stored < LIMIT, "{name}: {living} of {stored}");
        // Other tests read at the same time, and may hold up what was displaced here: not for long.
        let is_within = |number| {
            cache.insert(number, text(number, 2000));
            std::thread::yield_now();
            cache.used_bytes() <= LIMIT
        };
        assert!((2_500..7_500).any(is_within), "{name}: {} bytes, whenever one looks", cache.used_bytes());
        assert!(stored > LIMIT / 4, "{name}: {stored} bytes are stored");
        let counts = cache.stats().codec;
        let (fit, plain) = (cache.len() as u64, LIMIT / (text(0, 2000).weigh() + 8));
        let factor = counts.bytes_before as f64 / counts.bytes_after as f64;
        assert!(fit as f64 > plain as f64 * factor.min(20.0) * 0.5, "{name}: {fit} fit, plain {plain}, {factor} times");
        cache.validate();
    }
}

#[test]
fn an_entry_that_is_too_large_is_handed_back() {
    for (name, codec) in codecs() {
        let cache: PackedCache<u64, Vec<u8>> =
            Cache::builder().max_bytes(100_000).stripes(1).codec(codec).build().unwrap();
        cache.insert(1, vec![1; 10]);
        let large = noise(1, 1_000_000);
        match cache.try_insert(1, large.clone()).unwrap_err() {
            larder::NotStored::TooLarge(too_large) => {
                assert_eq!((too_large.key, &too_large.value), (1, &large), "{name}");
                assert!(too_large.weight >= 1_000_000, "{name}: {}", too_large.weight);
            }
            other => panic!("{name}: {other}"),
        }
        assert!(cache.is_empty(), "{name}: what was to be replaced is gone");
        assert_eq!(cache.stats().rejected, 1, "{name}");
    }
}

#[test]
fn a_format_that_is_named_is_the_one_that_the_bytes_are_in() {
    let value = text(1, 3000).into_bytes();
    let stored = |codec: Arc<dyn Codec>| {
        let cache: PackedCache<u64, Vec<u8>> = Cache::builder().max_entries(64).codec(codec).build().unwrap();
        cache.insert(1, value.clone());
        assert_eq!(cache.get(&1).as_ref(), Some(&value));
        let stored = cache.get_stored(&1).unwrap();
        (stored.format().unwrap().to_owned(), stored.bytes().to_vec())
    };
    let gzip = || Gzip::new(6).unwrap();
    // A chain of one is that one.
    let (format, bytes) = stored(Arc::new(Chain::new(gzip())));
    assert_eq!((format, bytes), stored(Arc::new(gzip())));
    let (format, _) = stored(Arc::new(Chain::new(gzip()).then(Snappy)));
    assert_eq!(format, "gzip+snappy");
    // Who has not the dictionary can't read what was written with it.
    let samples: Vec<Vec<u8>> = (0..500).map(|seed| text(seed, 300).into_bytes()).collect();
    let dictionary = ZstdDictionary::train(&samples).unwrap();
    let zstd = || Zstd::new(3).unwrap();
    assert_eq!(stored(Arc::new(zstd())).0, "zstd");
    assert_eq!(stored(Arc::new(zstd().with_dictionary(&dictionary).unwrap())).0, "zstd with dictionary");
}
