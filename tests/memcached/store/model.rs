//! Random commands on the store and on a naive memcached: a map, and a clock in seconds.

use super::{builder, seconds};
use larder::server::{
    Count, Counted, Exptime, Fetch, Mode, Removal, Removed, ServerCache, ServerCacheBuilder, Stored, Write,
};
use std::collections::HashMap;

const STEPS: usize = 20_000;

/// Xorshift.
struct Rng(u64);

impl Rng {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn maybe<T>(&mut self, value: T) -> Option<T> {
        (self.below(3) == 0).then_some(value)
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Kept {
    value: Vec<u8>,
    flags: u32,
    cas: u64,
    until: Option<u64>,
    stale: bool,
    sent: bool,
    fetched: bool,
    accessed: u64,
}

/// The naive memcached. Numbers of changes are the store's to choose, so it is told them.
#[derive(Default)]
struct Naive {
    items: HashMap<Vec<u8>, Kept>,
    now: u64,
    flush_at: Option<u64>,
}

impl Naive {
    fn until(&self, exptime: Exptime) -> Option<u64> {
        match exptime {
            Exptime::Never => None,
            Exptime::In(seconds) => Some(self.now + u64::from(seconds)),
            Exptime::At(_) => unreachable!("not used here"),
        }
    }

    fn tidy(&mut self) {
        if self.flush_at.is_some_and(|at| at <= self.now) {
            self.flush_at = None;
            self.items.clear();
        }
        let now = self.now;
        self.items.retain(|_, kept| kept.until.is_none_or(|until| now < until));
    }

    fn new_item(&self, write: &Write<'_>, exptime: Exptime, cas: u64) -> Kept {
        let (value, flags, until) = (write.value.to_vec(), write.flags, self.until(exptime));
        Kept { value, flags, cas, until, stale: false, sent: false, fetched: false, accessed: self.now }
    }

    fn write(&mut self, write: &Write<'_>, told: Stored) {
        let cas = if let Stored::Stored { cas } = told { cas } else { 0 };
        if cas != 0 {
            assert!(write.cas.is_none_or(|explicit| explicit == cas));
        }
        let old = self.items.get(write.key).cloned();
        let other = |old: &Kept| write.compare.is_some_and(|compare| compare != old.cas);
        let stored = Stored::Stored { cas };
        let (expected, new) = match (write.mode, &old) {
            (Mode::Add, Some(_)) | (Mode::Replace, None) if write.compare.is_none() || write.mode == Mode::Add => {
                (Stored::NotStored, None)
            }
            (Mode::Set | Mode::Replace, None) if write.compare.is_some() => (Stored::NotFound, None),
            (Mode::Set | Mode::Replace, Some(old)) if other(old) => {
                let lower = write.compare.is_some_and(|compare| compare != 0 && compare < old.cas);
                let new = self.new_item(write, write.exptime, cas);
                let late = Kept { until: old.until, stale: true, sent: old.sent, ..new };
                if write.as_stale && lower { (stored, Some(late)) } else { (Stored::Exists, None) }
            }
            (Mode::Append | Mode::Prepend, None) => match write.vivify {
                Some(exptime) => (stored, Some(self.new_item(write, exptime, cas))),
                None => (Stored::NotStored, None),
            },
            (Mode::Append | Mode::Prepend, Some(old)) if other(old) && write.compare != Some(0) => {
                (Stored::Exists, None)
            }
            (Mode::Append | Mode::Prepend, Some(old)) => {
                let pieces = [old.value.as_slice(), write.value];
                let value = if write.mode == Mode::Append { pieces.concat() } else { [pieces[1], pieces[0]].concat() };
                let new = self.new_item(write, write.exptime, cas);
                (stored, Some(Kept { value, flags: old.flags, until: old.until, ..new }))
            }
            _ => (stored, Some(self.new_item(write, write.exptime, cas))),
        };
        assert_eq!(told, expected);
        if let Some(new) = new {
            self.items.insert(write.key.to_vec(), new);
            self.tidy();
        }
    }

    fn count(&mut self, key: &[u8], count: &Count, told: Counted) {
        let (told_number, cas) = if let Counted::Number { number, cas } = told { (number, cas) } else { (0, 0) };
        let Some(old) = self.items.get(key).cloned() else {
            let Some((number, exptime)) = count.vivify else { return assert_eq!(told, Counted::NotFound) };
            assert_eq!(told, Counted::Number { number, cas });
            let digits = number.to_string();
            let write = Write { key, value: digits.as_bytes(), ..Write::default() };
            let new = self.new_item(&write, exptime, cas);
            self.items.insert(key.to_vec(), new);
            return self.tidy();
        };
        if count.compare.is_some_and(|compare| compare != 0 && compare != old.cas) {
            return assert_eq!(told, Counted::Exists);
        }
        let text = old.value.trim_ascii_start();
        let word = text.split(|byte| byte.is_ascii_whitespace() || *byte == 0).next().unwrap();
        let number = std::str::from_utf8(word).ok().and_then(|word| word.parse::<u64>().ok());
        let Some(number) = number else { return assert_eq!(told, Counted::NotANumber) };
        let number = if count.down { number.saturating_sub(count.delta) } else { number.wrapping_add(count.delta) };
        assert_eq!(told_number, number, "{told:?}");
        let mut value = number.to_string().into_bytes();
        value.resize(value.len().max(old.value.len()), b' ');
        let until = count.touch.map_or(old.until, |exptime| self.until(exptime));
        self.items.insert(key.to_vec(), Kept { value, cas, until, accessed: self.now, ..old });
        self.tidy();
    }

    fn remove(&mut self, key: &[u8], removal: &Removal, told: Removed, new_cas: Option<u64>) {
        let Some(old) = self.items.get(key).cloned() else { return assert_eq!(told, Removed::NotFound) };
        if removal.compare.is_some_and(|compare| compare != old.cas) {
            return assert_eq!(told, Removed::Exists);
        }
        assert_eq!(told, Removed::Removed);
        let mut new = old.clone();
        if removal.mark_stale {
            (new.stale, new.sent) = (true, false);
            new.cas = removal.cas.or(new_cas).unwrap_or(0);
        }
        if removal.empty {
            (new.value, new.flags) = (Vec::new(), 0);
        }
        new.until = removal.touch.map_or(old.until, |exptime| self.until(exptime));
        self.items.remove(key);
        if removal.mark_stale || removal.empty {
            self.items.insert(key.to_vec(), new);
            self.tidy();
        }
    }
}

fn exptime(rng: &mut Rng) -> Exptime {
    match rng.below(4) {
        0 => Exptime::Never,
        _ => Exptime::In(rng.below(30) as u32),
    }
}

fn random_value(rng: &mut Rng) -> Vec<u8> {
    match rng.below(4) {
        0 => rng.below(1_000).to_string().into_bytes(),
        1 => u64::MAX.to_string().into_bytes(),
        2 => vec![b'x'; rng.below(2_000) as usize],
        _ => (0..rng.below(600)).map(|_| rng.below(256) as u8).collect(),
    }
}

struct Run {
    cache: ServerCache,
    naive: Naive,
    rng: Rng,
    last_cas: u64,
}

impl Run {
    fn some_cas(&mut self, key: &[u8]) -> u64 {
        match self.rng.below(4) {
            0 => self.rng.below(4),
            1 => self.last_cas.saturating_sub(self.rng.below(5)),
            _ => self.naive.items.get(key).map_or(1, |kept| kept.cas),
        }
    }

    fn write(&mut self, key: &[u8]) {
        let value = random_value(&mut self.rng);
        let compare = self.some_cas(key);
        let rng = &mut self.rng;
        let exptime_of = exptime(rng);
        let vivify = exptime(rng);
        let write = Write {
            key,
            value: &value,
            flags: rng.pick(&[0, 0, 1, u32::MAX]),
            exptime: exptime_of,
            mode: rng.pick(&[Mode::Set, Mode::Set, Mode::Add, Mode::Replace, Mode::Append, Mode::Prepend]),
            compare: rng.maybe(compare),
            cas: rng.maybe(compare + 3),
            as_stale: rng.below(2) == 0,
            vivify: rng.maybe(vivify),
            binary_key: false,
        };
        let stored = self.cache.write(&write);
        if let Stored::Stored { cas } = stored {
            self.last_cas = cas;
        }
        self.naive.write(&write, stored);
    }

    fn count(&mut self, key: &[u8]) {
        let compare = self.some_cas(key);
        let rng = &mut self.rng;
        let (touch, vivify) = (exptime(rng), (rng.below(100), exptime(rng)));
        let count = Count {
            delta: rng.pick(&[0, 1, 9, 1_000, u64::MAX]),
            down: rng.below(2) == 0,
            compare: rng.maybe(compare),
            cas: rng.maybe(compare + 3),
            touch: rng.maybe(touch),
            vivify: rng.maybe(vivify),
            binary_key: false,
        };
        let counted = self.cache.count(key, &count);
        self.naive.count(key, &count, counted);
    }

    fn remove(&mut self, key: &[u8]) {
        let compare = self.some_cas(key);
        let rng = &mut self.rng;
        let touch = exptime(rng);
        let removal = Removal {
            compare: rng.maybe(compare),
            mark_stale: rng.below(3) == 0,
            empty: rng.below(3) == 0,
            touch: rng.maybe(touch),
            cas: rng.maybe(compare + 3),
        };
        let removed = self.cache.remove(key, &removal);
        let cas = self.cache.peek(key).map(|meta| meta.cas);
        self.naive.remove(key, &removal, removed, cas);
    }

    fn fetch(&mut self, key: &[u8]) {
        let rng = &mut self.rng;
        let (touch, vivify) = (exptime(rng), Exptime::In(1 + rng.below(30) as u32));
        let (recache, unseen) = (rng.below(30) as u32, rng.below(3) == 0);
        let fetch = Fetch {
            touch: rng.maybe(touch),
            vivify: rng.maybe(vivify),
            cas: rng.maybe(77),
            recache: rng.maybe(recache),
            unseen,
            leaves_token: false,
            binary_key: false,
        };
        let now = self.naive.now;
        let seen = self.cache.fetch(key, &fetch, |hit| {
            assert_eq!(hit.key(), key);
            let marks = (hit.won, hit.token_sent, hit.is_stale, hit.was_fetched(), hit.idle_seconds());
            (hit.value.to_vec(), hit.flags, hit.cas, hit.seconds_left(), marks)
        });
        let until = fetch.touch.map(|exptime| self.naive.until(exptime));
        let vivified_until = fetch.vivify.and_then(|exptime| self.naive.until(exptime));
        let Some(kept) = self.naive.items.get_mut(key) else {
            let Some(seen) = seen else { return assert_eq!(fetch.vivify, None) };
            assert_eq!((seen.0.len(), seen.1, seen.4), (0, 0, (true, false, false, false, 0)));
            assert!(fetch.cas.is_none_or(|cas| cas == seen.2));
            let write = Write::default();
            let new = self.naive.new_item(&write, Exptime::Never, seen.2);
            self.naive
                .items
                .insert(key.to_vec(), Kept { until: vivified_until, sent: true, fetched: !fetch.unseen, ..new });
            return;
        };
        let left = |until: Option<u64>| until.map(|until| (until - now) as u32);
        let is_short = fetch.recache.is_some_and(|recache| left(kept.until).is_some_and(|left| left < recache));
        let won = (is_short || kept.stale) && !kept.sent;
        let marks = (won, kept.sent, kept.stale, kept.fetched, (now - kept.accessed) as u32);
        kept.sent |= won;
        if let Some(until) = until {
            kept.until = until;
        }
        if !fetch.unseen {
            (kept.fetched, kept.accessed) = (true, now);
        }
        let mut seen = seen.expect("the model has it");
        if kept.until == Some(now) {
            // It is over, and what it had left before does not matter.
            seen.3 = Some(0);
        }
        assert_eq!(seen, (kept.value.clone(), kept.flags, kept.cas, left(kept.until), marks));
        self.naive.tidy();
    }

    fn step(&mut self) {
        let key = self.rng.below(12).to_string().into_bytes();
        match self.rng.below(20) {
            0..6 => self.write(&key),
            6..9 => self.count(&key),
            9..11 => self.remove(&key),
            11..15 => self.fetch(&key),
            15 => {
                let exptime = exptime(&mut self.rng);
                let until = self.naive.until(exptime);
                let touched = self.cache.touch(&key, exptime);
                assert_eq!(touched, self.naive.items.contains_key(&key));
                let now = self.naive.now;
                let touch = |kept: &mut Kept| (kept.until, kept.fetched, kept.accessed) = (until, true, now);
                self.naive.items.entry(key).and_modify(touch);
            }
            16 if self.rng.below(5) == 0 => {
                let delay = self.rng.below(3) * 4;
                self.cache.flush_all(seconds(delay));
                self.naive.flush_at = Some(self.naive.now + delay);
            }
            _ => {
                let item = self.cache.get(&key);
                let now = self.naive.now;
                let kept = self.naive.items.get_mut(&key);
                let expected = kept.map(|kept| {
                    (kept.fetched, kept.accessed) = (true, now);
                    (kept.value.clone(), kept.flags, kept.cas)
                });
                assert_eq!(item.map(|item| (item.value, item.flags, item.cas)), expected);
            }
        }
        self.naive.tidy();
    }
}

fn run(seed: u64, settings: impl FnOnce(ServerCacheBuilder) -> ServerCacheBuilder) {
    let (builder, clock) = builder();
    let cache = settings(builder).build().unwrap();
    let mut run = Run { cache, naive: Naive::default(), rng: Rng(seed), last_cas: 0 };
    for _ in 0..STEPS {
        run.step();
        if run.rng.below(4) == 0 {
            clock.advance(seconds(1));
            run.naive.now += 1;
            run.naive.tidy();
        }
    }
    let stats = run.cache.stats();
    assert!(stats.get_hits > 1_000 && stats.cas_badval > 20 && stats.incr_hits > 100, "{stats:?}");
}

#[test]
fn the_store_does_what_a_naive_memcached_does() {
    for seed in [1, 0x5eed, 0xfeed_beef] {
        run(seed, |builder| builder);
    }
}

#[test]
#[cfg(feature = "snappy")]
fn and_with_a_codec_too() {
    run(7, |builder| builder.codec(larder::codec::Snappy::new()));
}
