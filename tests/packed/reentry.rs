//! A codec that uses the cache which is using it, as it may since nothing is packed or opened under a lock.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock, Weak, mpsc};
use std::thread;
use std::time::Duration;

use larder::codec::{Codec, CodecError};
use larder::{Cache, Change, PackedCache};

type Bytes = PackedCache<u64, Vec<u8>>;

/// How often a codec may be called inside itself.
const DEEPEST: usize = 3;

/// Keeps every other byte, and does all kinds of things to the cache meanwhile.
#[derive(Default)]
struct Reentrant {
    cache: OnceLock<Weak<Bytes>>,
    calls: AtomicUsize,
    depth: AtomicUsize,
}

impl Reentrant {
    fn use_cache(&self) {
        let Some(cache) = self.cache.get().and_then(Weak::upgrade) else { return };
        if self.depth.fetch_add(1, SeqCst) < DEEPEST {
            let call = self.calls.fetch_add(1, SeqCst);
            act(&cache, call as u64);
        }
        self.depth.fetch_sub(1, SeqCst);
    }
}

/// One thing or another, to the same few keys.
fn act(cache: &Bytes, call: u64) {
    let (key, value) = (call % 7, || vec![call as u8; 700]);
    match call % 19 {
        0..5 => cache.insert(key, value()),
        5 => _ = cache.get(&key),
        6 => _ = cache.get_many(&[1, 2, 3]),
        7 => _ = cache.remove(&key),
        8 => _ = cache.compute(&key, |_| Change::Put(key, value())),
        9 => cache.retain(|key, _| key % 3 != 0),
        10 => _ = cache.iter().count(),
        11 => _ = cache.get_or_insert_with(100 + call, value),
        12 => _ = cache.get_stored(&key).map(|stored| stored.bytes().len()),
        13 => cache.set_codec(cache.codec()),
        14 => cache.forget_older_codecs(),
        15 => cache.maintain(),
        16 => _ = cache.stats(),
        17 => cache.validate(),
        _ => cache.clear(),
    }
}

impl Codec for Reentrant {
    fn name(&self) -> &str {
        "reentrant"
    }

    fn encode(&self, _: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        self.use_cache();
        out.extend(plain.iter().step_by(2));
        Ok(())
    }

    fn decode(&self, _: &[u8], stored: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        self.use_cache();
        out.extend(stored.iter().flat_map(|byte| [byte; 2]).take(len));
        Ok(())
    }
}

#[test]
fn a_codec_may_use_the_cache() {
    let (sender, receiver) = mpsc::channel();
    // In a thread that can be given up: under a lock the codec would wait for itself.
    thread::spawn(move || {
        let codec = Arc::new(Reentrant::default());
        // One stripe, so that there is one lock for all; few entries, so that some are evicted; and a listener, for which
        // those are opened.
        let builder = Cache::builder().max_entries(4).stripes(1).on_removal(|_: &u64, value: &Vec<u8>, _| {
            assert_eq!(value.len(), 700);
        });
        let cache: Arc<Bytes> = Arc::new(builder.codec(Arc::clone(&codec)).build().unwrap());
        codec.cache.set(Arc::downgrade(&cache)).unwrap();
        for call in 0..2000 {
            act(&cache, call);
            cache.insert(50, vec![1; 700]);
            assert!(cache.get(&50).is_none_or(|value| value == [1; 700]));
            cache.validate();
        }
        let _ = sender.send(codec.calls.load(SeqCst));
    });
    match receiver.recv_timeout(Duration::from_secs(60)) {
        Ok(calls) => assert!(calls > 1000, "only {calls} calls inside others"),
        Err(error) => panic!("the codec hangs, or has panicked: {error}"),
    }
}
