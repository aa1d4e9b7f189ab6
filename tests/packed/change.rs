//! The codec is changed while the cache is in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use larder::{Cache, PackedCache};

use crate::codecs::{Mirror, codecs, text};

#[test]
fn what_older_codecs_wrote_stays_readable() {
    let codecs = codecs();
    let (_, first) = codecs[0].clone();
    let cache: PackedCache<u64, String> = Cache::builder().max_entries(64).codec(first).build().unwrap();
    for (number, (_, codec)) in (0..).zip(&codecs) {
        cache.set_codec(Arc::clone(codec));
        cache.insert(number, text(number, 4000));
        assert_eq!(cache.codec().name(), codec.name());
    }
    for (number, (name, _)) in (0..).zip(&codecs) {
        assert_eq!(cache.get(&number), Some(text(number, 4000)), "{name}");
    }
    assert_eq!(cache.iter().count(), codecs.len());
    assert_eq!(cache.stats().damaged, 0);
}

#[test]
fn changes_in_the_middle_of_reads_and_writes_lose_nothing() {
    for (name, codec) in codecs() {
        let cache: PackedCache<u64, String> =
            Cache::builder().max_entries(1000).codec(Arc::clone(&codec)).build().unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for thread in 0..2 {
                let (cache, done) = (&cache, &done);
                scope.spawn(move || {
                    for round in 0..300 {
                        let key = thread * 100 + round % 50;
                        cache.insert(key, text(round, 300 + round as usize % 700));
                        assert_eq!(cache.get(&key), Some(text(round, 300 + round as usize % 700)));
                    }
                    done.store(true, SeqCst);
                });
            }
            // To and fro between one that needs no key, mostly, and one that does. No more often than that the older ones are
            // kept for as long as a call takes.
            while !done.load(SeqCst) {
                cache.set_codec(Mirror { must_encode: true });
                thread::sleep(std::time::Duration::from_millis(1));
                cache.set_codec(Arc::clone(&codec));
                thread::sleep(std::time::Duration::from_millis(1));
                cache.retain(|_, text| text.len() >= 300);
            }
        });
        cache.validate();
        assert!(cache.len() >= 50, "{name}");
    }
}
