//! A cache and its model, side by side: random steps, and the judgement of what the listener is told.

mod compute;
mod looks;
mod writes;

use std::cell::Cell;
use std::collections::{HashSet, VecDeque};
use std::fmt::Debug;
use std::mem::take;
use std::thread::panicking;
use std::time::Duration;

use larder::{Iter, Ref, RemovalCause, Stats};

use crate::naive::{Entry, Model};
use crate::subject::{Config, Counted, Key, Limit, Outside, Rng, Subject, Told, Value, lock};

/// Nodes are allocated together, and one that is lent keeps the others: up to so many bytes of a small cache.
const CHUNK: u64 = 4 << 10;

/// A walk that goes on while other things happen.
struct Walk<'c> {
    entries: Iter<'c, Key, Value>,
    /// Keys that have had a living entry since it began.
    throughout: HashSet<u32>,
    seen: Vec<u32>,
}

/// One cache and its model.
pub(crate) struct Run<'c> {
    cache: &'c Subject,
    config: Config,
    /// The limit, which changes.
    max: u64,
    /// How many entries the unused credit of all stripes may be worth.
    slack: u64,
    rng: Rng,
    outside: Outside,
    model: Model,
    /// What the listener has to be told of.
    leaving: Vec<Told>,
    /// What the counters have to be.
    stats: Stats,
    serial: Cell<u64>,
    refs: VecDeque<(Ref<'c, Key, Value>, u64)>,
    forgotten: Vec<u64>,
    walk: Option<Walk<'c>>,
    /// Something was lent at the last put or change of the limit, so what is retired may lie beyond the limit.
    is_excused: bool,
    trace: VecDeque<String>,
    seed: u64,
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        if panicking() {
            eprintln!("LARDER_SEED={}: {:?}\nThe last steps:", self.seed, self.config);
            self.trace.iter().for_each(|step| eprintln!("  {step}"));
        }
    }
}

/// The running of random steps.
impl<'c> Run<'c> {
    pub(crate) fn new(cache: &'c Subject, seed: u64, rng: Rng, config: &Config, outside: Outside) -> Self {
        let max = match config.limit {
            Limit::Entries(limit) => limit as u64,
            Limit::Bytes(limit) => limit,
        };
        Self {
            cache,
            config: *config,
            max,
            slack: if config.is_one_stripe() { 0 } else { max / 64 },
            rng,
            outside,
            model: Model { entries: Vec::new(), now: 0, idle: config.idle.map(|idle| idle.as_nanos() as u64) },
            leaving: Vec::new(),
            stats: Stats::default(),
            serial: Cell::new(0),
            refs: VecDeque::new(),
            forgotten: Vec::new(),
            walk: None,
            is_excused: false,
            trace: VecDeque::new(),
            seed,
        }
    }

    fn trace(&mut self, step: impl Debug) {
        if self.trace.len() == 40 {
            self.trace.pop_front();
        }
        self.trace.push_back(format!("{step:?}"));
    }

    pub(crate) fn step(&mut self) {
        let id = self.id();
        match self.rng.below(1_000) {
            0..320 => self.insert(id),
            320..340 => self.insert_some(),
            340..480 => self.look_up(id),
            480..520 => self.get_ref(id),
            520..540 => self.get_many(),
            540..600 => self.look(id),
            600..650 => self.remove(id),
            650..670 => self.remove_if(id),
            670..680 => self.retain(),
            680..683 => self.clear(),
            683..720 => self.touch(id),
            720..830 => self.compute(id),
            830..850 => self.set_max(),
            850..870 => self.maintain(),
            870..930 => self.move_clock(),
            930..960 => self.let_go(),
            _ => self.walk(),
        }
        self.check();
    }

    /// Puts all keys in, of which the limit leaves as many as there can be.
    pub(crate) fn fill(&mut self) {
        self.insert_many(&Vec::from_iter(0..self.config.ids));
        self.check();
    }

    /// A few keys are asked for more often than the others.
    fn id(&mut self) -> u32 {
        let ids = self.config.ids;
        let below = if self.rng.one_in(2) { ids.div_ceil(4) } else { ids };
        self.rng.below(below.into()) as u32
    }

    fn ids(&mut self) -> Vec<u32> {
        let count = if self.rng.one_in(5) { 80 } else { 8 };
        (0..self.rng.below(count)).map(|_| self.id()).collect()
    }

    fn ttl(&mut self) -> Duration {
        match self.rng.below(16) {
            0 => Duration::ZERO,
            1 => Duration::MAX,
            2 => Duration::from_secs(u64::MAX),
            3 => Duration::from_secs(300 * 365 * 86_400),
            _ => Duration::from_nanos(self.config.tick * self.rng.below(2_000)),
        }
    }

    fn weight(&mut self) -> u64 {
        let Limit::Bytes(_) = self.config.limit else { return 0 };
        match self.rng.below(30) {
            0..3 => 0,
            3 => self.rng.below(self.max + self.max / 8),
            4 => self.rng.below(self.max / 4),
            _ => self.rng.below(self.config.weight),
        }
    }

    /// Makes the key and the value of a write.
    fn entry(&self, id: u32, weight: u64) -> (Key, Value) {
        let serial = self.serial.get() + 1;
        self.serial.set(serial);
        let counted = Counted::new(&self.outside.census, serial);
        (Key { id, counted: counted.clone() }, Value { weight, counted })
    }
}

/// The model's side of what changes a cache.
impl Run<'_> {
    /// Takes the living entry of a key out of the model; the listener has to be told of it.
    fn leave(&mut self, id: u32, cause: RemovalCause) -> Option<u64> {
        let at = self.model.find(id)?;
        let Entry { id, serial, .. } = self.model.entries.remove(at);
        self.leaving.push(Told { id, serial, cause });
        Some(serial)
    }

    /// The entry of the latest write has been put, or rejected.
    fn put(&mut self, id: u32, serial: u64, weight: u64, ttl: Option<Duration>, rejected: bool, told: &[Told]) {
        if ttl.is_some_and(|ttl| ttl.is_zero()) {
            self.stats.removals += u64::from(self.leave(id, RemovalCause::Replaced).is_some());
            return self.follow(told, false);
        }
        let replaced = self.leave(id, RemovalCause::Replaced).is_some();
        if rejected {
            self.check_rejection(weight);
            self.stats.rejected += 1;
            self.stats.removals += u64::from(replaced);
            return self.follow(told, false);
        }
        self.is_excused = self.is_lending();
        self.stats.inserts += u64::from(!replaced);
        self.stats.updates += u64::from(replaced);
        self.model.put(id, serial, weight, ttl);
        self.follow(told, true);
        // What is lent takes room that can't be given back, so there may be too little for a large entry.
        let is_there = self.model.serial(id) == Some(serial);
        assert!(is_there || self.is_excused && weight > 0, "what was put is not there, of {}: {told:?}", self.max);
    }

    fn check_rejection(&self, weight: u64) {
        let other = self.stats.bytes - self.model.entries.iter().map(|entry| entry.weight).sum::<u64>();
        // A stripe alone takes a few KiB, though it may not have grown to them yet.
        let other = other.max(self.config.stripes.unwrap_or(4) as u64 * (8 << 10));
        // A 32nd of the limit is not for the living.
        let most = self.max - self.max / 32;
        assert!(weight + other > most, "{weight} rejected, beside {other} bytes of {most}");
    }

    /// Whether the cache says to have rejected something that the model does not know of.
    fn has_rejected(&self) -> bool {
        let rejected = self.cache.stats().rejected;
        assert!(rejected <= self.stats.rejected + 1, "rejected at most once");
        rejected > self.stats.rejected
    }

    fn is_lending(&self) -> bool {
        self.walk.is_some() || !(self.refs.is_empty() && self.forgotten.is_empty())
    }

    fn told(&self) -> Vec<Told> {
        take(&mut lock(&self.outside.log))
    }

    /// Follows the listener: one after the other, all that left had cause to, and all that had to leave did.
    fn follow(&mut self, told: &[Told], may_evict: bool) {
        for &told in told {
            match told.cause {
                RemovalCause::Removed => self.stats.removals += 1,
                RemovalCause::Evicted => self.stats.evictions += 1,
                RemovalCause::Expired => self.stats.expirations += 1,
                _ => {}
            }
            if let Some(walk) = self.walk.as_mut().filter(|_| told.cause != RemovalCause::Replaced) {
                walk.throughout.remove(&told.id);
            }
            if let Some(at) = self.leaving.iter().position(|&leaving| leaving == told) {
                self.leaving.swap_remove(at);
                continue;
            }
            let at = self.model.entries.iter().position(|entry| (entry.id, entry.serial) == (told.id, told.serial));
            let at = at.unwrap_or_else(|| panic!("{told:?}, which is not in there, or not for this cause"));
            let lives = self.model.lives(&self.model.entries[at]);
            match told.cause {
                RemovalCause::Expired => assert!(!lives, "{told:?}, whose time is not over"),
                RemovalCause::Evicted => {
                    assert!(may_evict && lives, "{told:?}");
                    self.check_victim(at);
                }
                _ => panic!("{told:?}, without a cause"),
            }
            self.model.entries.remove(at);
        }
        assert_eq!(self.leaving, [], "what left without the listener being told");
    }

    fn check_victim(&self, at: usize) {
        let entries = &self.model.entries;
        if let Limit::Entries(_) = self.config.limit {
            let least = self.max - self.slack.min(self.max);
            assert!(entries.len() as u64 > least, "evicted where there are {} entries", entries.len());
        }
        if self.config.is_exact() {
            let expired = entries.iter().find(|entry| !self.model.lives(entry));
            assert!(expired.is_none(), "evicted a living entry where this had expired: {expired:?}");
            assert_eq!(at, 0, "evicted {:?}, not the least recently used, {:?}", entries[at], entries[0]);
        }
    }

    /// Everything that can be seen at any time.
    pub(crate) fn check(&mut self) {
        self.cache.validate();
        assert_eq!(self.told(), [], "told of more");
        let living = self.model.living();
        let ids: HashSet<_> = self.model.entries.iter().map(|entry| entry.id).collect();
        assert_eq!(ids.len(), self.model.entries.len(), "no key is there twice");
        assert_eq!(self.cache.len(), ids.len());
        assert_eq!(self.cache.is_empty(), ids.is_empty());
        assert_eq!(sorted(self.cache.iter().map(|entry| numbers(entry.key(), entry.value()))), living, "all entries");
        self.check_bytes();
        for (entry, serial) in &self.refs {
            assert_eq!((entry.key().counted.serial, entry.counted.serial), (*serial, *serial), "on loan");
        }
        let held = self.refs.iter().map(|(_, serial)| serial).chain(&self.forgotten);
        for serial in held.chain(self.model.entries.iter().map(|entry| &entry.serial)) {
            assert_eq!(self.outside.census.of(*serial), 2, "key and value of write {serial}");
        }
        if let Some(walk) = &mut self.walk {
            walk.throughout.retain(|id| living.binary_search_by_key(id, |entry| entry.0).is_ok());
        }
    }

    fn check_bytes(&mut self) {
        let stats = self.cache.stats();
        (self.stats.entries, self.stats.bytes) = (self.model.entries.len() as u64, self.cache.used_bytes());
        self.stats.retired_bytes = stats.retired_bytes;
        assert_eq!(stats, self.stats);
        match self.config.limit {
            Limit::Entries(_) => assert!(stats.entries <= self.max, "{} entries", stats.entries),
            Limit::Bytes(_) => {
                let weight: u64 = self.model.entries.iter().map(|entry| entry.weight).sum();
                assert!(stats.bytes - stats.retired_bytes >= weight);
                let excused = if self.is_excused { stats.retired_bytes + CHUNK } else { 0 };
                assert!(
                    stats.bytes <= self.max + excused,
                    "{} bytes of {}: {weight} of living, {} retired, {excused} excused",
                    stats.bytes,
                    self.max,
                    stats.retired_bytes
                );
            }
        }
    }
}

/// The number of a key, and that of its latest write.
fn numbers(key: &Key, value: &Value) -> (u32, u64) {
    assert_eq!(key.counted.serial, value.counted.serial, "the key is replaced with the value");
    (key.id, value.counted.serial)
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<_> = items.collect();
    items.sort_unstable();
    items
}
