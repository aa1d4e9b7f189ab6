//! A cache with a codec answers as one without.

use std::sync::Arc;
use std::time::Duration;

use larder::{Cache, Change, ManualClock, Outcome, PackedCache};

use crate::codecs::{codecs, noise, text};

/// A value of one of several kinds and lengths.
fn value(number: u64) -> Vec<u8> {
    match number % 5 {
        0 => Vec::new(),
        1 => text(number, 10).into_bytes(),
        2 => text(number, 300 + number as usize % 3000).into_bytes(),
        3 => noise(number, 700),
        _ => vec![number as u8; 5000],
    }
}

/// Both caches, side by side.
struct Pair {
    plain: Cache<String, Vec<u8>>,
    packed: PackedCache<String, Vec<u8>>,
    clock: ManualClock,
}

impl Pair {
    fn new(codec: Arc<dyn larder::codec::Codec>) -> Self {
        let clock = ManualClock::new();
        let builder = || Cache::builder().max_entries(60).stripes(1).record_stats().clock(clock.clone());
        Self { plain: builder().build().unwrap(), packed: builder().codec(codec).build().unwrap(), clock }
    }

    fn step(&self, what: u64, number: u64) {
        let key = format!("key {}", number % 100);
        match what % 12 {
            0..4 => assert_eq!(self.packed.get(&*key), self.plain.get(&*key)),
            4..6 => {
                self.plain.insert(key.clone(), value(number));
                self.packed.insert(key, value(number));
            }
            6 => assert_eq!(self.packed.remove(&*key), self.plain.remove(&*key)),
            7 => {
                let add = |entry: Option<(&String, &Vec<u8>)>| match entry {
                    Some((_, value)) if value.len() > 6000 => Change::Remove,
                    Some((key, value)) => Change::Put(key.clone(), [value, &b"more"[..]].concat()),
                    None if number % 2 == 0 => Change::Keep,
                    None => Change::Put(key.clone(), b"new".to_vec()),
                };
                assert_eq!(self.packed.compute(&*key, add), self.plain.compute(&*key, add));
            }
            8 => {
                let is_short = |_: &String, value: &Vec<u8>| value.len() < 400;
                assert_eq!(self.packed.remove_if(&*key, is_short), self.plain.remove_if(&*key, is_short));
            }
            9 => {
                let ttl = Duration::from_secs(number % 3);
                self.plain.insert_with_ttl(key.clone(), value(number), ttl);
                self.packed.insert_with_ttl(key, value(number), ttl);
                self.clock.advance(Duration::from_millis(300));
            }
            10 => {
                let keys: Vec<String> = (number..number + 40).map(|number| format!("key {}", number % 100)).collect();
                assert_eq!(self.packed.get_many(&keys), self.plain.get_many(&keys));
            }
            _ => {
                let load = || value(number);
                let packed = self.packed.get_or_insert_with(key.clone(), load);
                assert_eq!(packed, self.plain.get_or_insert_with(key, load));
            }
        }
    }

    fn compare(&self) {
        let plain = self.plain.iter().map(|entry| (entry.key().clone(), entry.value().clone()));
        let packed = self.packed.iter().map(|entry| (entry.key().clone(), entry.value().clone()));
        let (mut plain, mut packed): (Vec<_>, Vec<_>) = (plain.collect(), packed.collect());
        plain.sort();
        packed.sort();
        assert_eq!(packed, plain);
        let mut keys: Vec<_> = self.packed.keys().collect();
        keys.sort();
        assert!(keys.iter().eq(plain.iter().map(|(key, _)| key)));
        let counts = |stats: larder::Stats| {
            let larder::Stats { hits, misses, inserts, updates, evictions, expirations, removals, .. } = stats;
            (hits, misses, inserts, updates, evictions, expirations, removals)
        };
        assert_eq!(counts(self.packed.stats()), counts(self.plain.stats()));
        self.packed.validate();
    }
}

#[test]
fn every_call_answers_as_without_a_codec() {
    for (name, codec) in codecs() {
        let pair = Pair::new(codec);
        let mut state = 88_172_645_463_325_252_u64;
        for step in 0..600 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            pair.step(state >> 40, state >> 20 & 0xffff);
            if step % 150 == 0 {
                pair.compare();
            }
        }
        pair.compare();
        let large = |_: &String, value: &Vec<u8>| value.len() > 1000;
        pair.plain.retain(large);
        pair.packed.retain(large);
        pair.compare();
        pair.plain.clear();
        pair.packed.clear();
        assert!(pair.packed.is_empty(), "{name}");
        assert_eq!(pair.packed.stats().damaged, 0, "{name}");
    }
}

#[test]
fn entries_are_read_by_any_borrowed_form_of_their_key() {
    for (name, codec) in codecs() {
        let cache: PackedCache<String, Vec<u8>> = Cache::builder().max_entries(10).codec(codec).build().unwrap();
        cache.insert("name".to_owned(), vec![7; 4000]);
        assert_eq!(cache.get("name"), Some(vec![7; 4000]), "{name}");
        assert_eq!(cache.peek(&"name".to_owned()), Some(vec![7; 4000]), "{name}");
        assert_eq!(cache.try_get("name"), Ok(Some(vec![7; 4000])), "{name}");
        assert_eq!(cache.try_get("nam"), Ok(None), "{name}");
    }
}

#[test]
fn listeners_are_given_values() {
    for (name, codec) in codecs() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let cache: PackedCache<u64, String> = Cache::builder()
            .max_entries(64)
            .on_removal(move |key: &u64, value: &String, cause| sender.send((*key, value.clone(), cause)).unwrap())
            .codec(codec)
            .build()
            .unwrap();
        for number in 0..200 {
            cache.insert(number, text(number, 2000));
        }
        cache.remove(&199);
        let told: Vec<_> = receiver.try_iter().collect();
        assert_eq!(told.len(), 200 - 63, "{name}");
        for (number, (key, value, cause)) in told.into_iter().enumerate() {
            assert_eq!(value, text(key, 2000), "{name}");
            let removed = number == 200 - 64;
            let expected = if removed { larder::RemovalCause::Removed } else { larder::RemovalCause::Evicted };
            assert_eq!(cause, expected, "{name}");
        }
    }
}

#[test]
fn a_decision_may_use_the_cache() {
    for (name, codec) in codecs() {
        let cache: PackedCache<u64, String> = Cache::builder().max_entries(64).codec(codec).build().unwrap();
        cache.insert(1, text(1, 3000));
        let mut calls = 0;
        let outcome = cache.compute(&1, |entry| {
            calls += 1;
            if calls == 1 {
                cache.insert(1, text(2, 3000));
            }
            Change::Put(1, entry.unwrap().1.clone() + "!")
        });
        assert_eq!((outcome, calls), (Outcome::Updated, 2), "{name}");
        assert_eq!(cache.get(&1), Some(text(2, 3000) + "!"), "{name}");
        cache.validate();
    }
}
