//! A cache beside its model: carries out steps on both, follows what left by itself, and compares all that can be seen.
//!
//! Knows which step is which; what one does, and what it has to answer, is said in `looks`, `changes` and `loads`.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use larder::{Iter, ManualClock, Ref, RemovalCause, Stats};

use crate::entry::{Census, Key, Value, names};
use crate::model::{Entry, Model};
use crate::settings::{Limit, Settings, Subject};
use crate::step::{Step, Ttl, Weight};

/// Past this the clock does not go: 146 years.
const LAST_TICK: u64 = (1 << 62) / 1_000;

/// What a listener was told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) write: u32,
    pub(crate) id: u8,
    pub(crate) cause: RemovalCause,
}

/// All that a listener was told, until it is taken.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Told>>>);

impl Log {
    pub(crate) fn push(&self, told: Told) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(told);
    }

    fn take(&self) -> Vec<Told> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A walk that goes on while other things happen.
pub(crate) struct Walk<'c> {
    pub(crate) entries: Iter<'c, Key, Value>,
    /// The writes of entries that have been there, and alive, since it began: each is met just once.
    pub(crate) throughout: BTreeSet<u32>,
    pub(crate) met: Vec<u32>,
}

pub(crate) struct Run<'c> {
    pub(crate) cache: &'c Subject,
    pub(crate) settings: Settings,
    pub(crate) model: Model,
    /// What the counters of the cache have to be; without a listener those of evictions and expirations are unknown.
    pub(crate) counted: Stats,
    pub(crate) loans: VecDeque<Ref<'c, Key, Value>>,
    pub(crate) forgotten: BTreeSet<u32>,
    pub(crate) walk: Option<Walk<'c>>,
    /// The limit, in entries or bytes.
    pub(crate) max: u64,
    pub(crate) census: Census,
    log: Log,
    clock: ManualClock,
    ticks: u64,
    writes: u32,
    /// What the listener still has to be told of.
    due: Vec<Told>,
    /// Something has been lent since the last call that could drop what it had displaced.
    pub(crate) was_lent: bool,
}

impl<'c> Run<'c> {
    pub(crate) fn new(cache: &'c Subject, settings: &Settings, clock: ManualClock, census: &Census, log: &Log) -> Self {
        let max = match settings.limit {
            Limit::Entries(max) => max as u64,
            Limit::Bytes(max) => max,
        };
        Self {
            cache,
            settings: settings.clone(),
            model: Model::new(settings.idle()),
            counted: Stats::default(),
            loans: VecDeque::new(),
            forgotten: BTreeSet::new(),
            walk: None,
            max,
            census: census.clone(),
            log: log.clone(),
            clock,
            ticks: 0,
            writes: 0,
            due: Vec::new(),
            was_lent: false,
        }
    }

    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Insert { key, weight, way } => self.insert(self.id(key), self.weight(weight), way),
            Step::InsertMany { first, keys, stride } => self.insert_many(&self.ids(first, keys, stride)),
            Step::LookUp { key, way } => self.look_up(self.id(key), way),
            Step::GetMany { first, keys, stride } => self.get_many(&self.ids(first, keys, stride)),
            Step::Look { key } => self.look(self.id(key)),
            Step::Lend { key, fate } => self.lend(self.id(key), fate),
            Step::LetGo { which, all } => self.let_go(which, all),
            Step::Walk { steps } => self.walk(steps),
            Step::EndWalk => self.walk = None,
            Step::Remove { key, way } => self.remove(self.id(key), way),
            Step::Retain { divisor, rest } => self.retain(divisor, rest),
            Step::Clear => self.clear(),
            Step::Touch { key, ttl } => self.touch(self.id(key), self.ttl(ttl)),
            Step::Compute { key, weight, wish, meddling } => {
                self.compute(self.id(key), self.weight(weight), wish, meddling);
            }
            Step::Load { key, weight, way, meddling } => self.load(self.id(key), self.weight(weight), way, meddling),
            Step::SetMax { share } => self.set_max(share),
            Step::Maintain => self.maintain(),
            Step::Advance { ticks } => self.set_clock(self.ticks.saturating_add(ticks.into())),
            Step::Leap { exponent } => self.set_clock(self.ticks.saturating_add(1 << (exponent % 52))),
            // Without a listener nobody knows which expired entries have gone and which come back to life.
            Step::TurnBack { ticks } if self.settings.listens => {
                self.set_clock(self.ticks.saturating_sub(ticks.into()));
            }
            Step::TurnBack { .. } => {}
        }
        self.check();
    }

    fn id(&self, key: u8) -> u8 {
        (u16::from(key) % (u16::from(self.settings.keys) + 1)) as u8
    }

    fn ids(&self, first: u8, keys: u8, stride: u8) -> Vec<u8> {
        // Not much more than are looked up together.
        (0..keys % 80).map(|turn| self.id(first.wrapping_add(turn.wrapping_mul(stride)))).collect()
    }

    fn weight(&self, weight: Weight) -> u64 {
        match (weight, self.settings.limit) {
            (Weight::Nothing, _) | (_, Limit::Entries(_)) => 0,
            (Weight::Small(bytes), _) => bytes.into(),
            (Weight::Large(bytes), _) => bytes.into(),
            (Weight::Share(share), _) => self.max * u64::from(share) / 200,
        }
    }

    pub(crate) fn ttl(&self, ttl: Ttl) -> Duration {
        match ttl {
            Ttl::Zero => Duration::ZERO,
            Ttl::Ticks(ticks) => self.settings.span(ticks.into()),
            // Not a single nanosecond, by which a deadline may be early.
            Ttl::Long(exponent) => Duration::from_nanos(2 << (exponent % 63)),
            Ttl::Forever => Duration::MAX,
        }
    }

    fn set_clock(&mut self, ticks: u64) {
        self.ticks = ticks.min(LAST_TICK);
        let time = Settings::time(self.ticks);
        self.clock.set(time);
        self.model.now = time.as_nanos() as u64;
        if !self.settings.listens {
            self.model.forget_the_dead();
        }
    }

    /// Key and value of a write that has not been before.
    pub(crate) fn entry(&mut self, id: u8, weight: u64) -> (Key, Value) {
        self.writes += 1;
        self.census.entry(id, self.writes, weight)
    }
}

/// What leaves.
impl Run<'_> {
    /// Takes the living entry of a key out of the model; the listener has to be told of it.
    pub(crate) fn leave(&mut self, id: u8, cause: RemovalCause) -> bool {
        let Some(write) = self.model.write(id) else { return false };
        self.model.entries.remove(&id);
        self.due.push(Told { write, id, cause });
        true
    }

    /// Follows what left in a call: each had cause to, and all that had to leave did.
    pub(crate) fn settle(&mut self, may_evict: bool) {
        if self.settings.listens {
            for told in self.log.take() {
                self.count(told.cause);
                match self.due.iter().position(|due| *due == told) {
                    Some(at) => drop(self.due.swap_remove(at)),
                    None => self.judge(told, may_evict),
                }
            }
            assert_eq!(self.due, [], "left without the listener being told");
        } else {
            for due in std::mem::take(&mut self.due) {
                self.count(due.cause);
            }
            if may_evict {
                let there: BTreeSet<_> = self.cache.iter().map(|entry| entry.key().write()).collect();
                self.model.entries.retain(|_, entry| there.contains(&entry.write));
            }
        }
    }

    fn count(&mut self, cause: RemovalCause) {
        match cause {
            RemovalCause::Removed => self.counted.removals += 1,
            RemovalCause::Evicted => self.counted.evictions += 1,
            RemovalCause::Expired => self.counted.expirations += 1,
            _ => {}
        }
    }

    /// Something left that no call asked for.
    fn judge(&mut self, told: Told, may_evict: bool) {
        let Some(entry) = self.model.entries.get(&told.id).filter(|entry| entry.write == told.write) else {
            panic!("{told:?}, which is not in there, or not for this cause");
        };
        let lives = self.model.lives(entry);
        match told.cause {
            RemovalCause::Expired => assert!(!lives, "{told:?}, whose time is not over"),
            RemovalCause::Evicted => assert!(may_evict && lives, "{told:?}, which had not to go"),
            _ => panic!("{told:?}, and nobody asked for it"),
        }
        self.model.entries.remove(&told.id);
    }

    /// Whether an entry has been rejected that has not been counted here.
    pub(crate) fn is_rejected(&mut self) -> bool {
        let rejected = self.cache.stats().rejected - self.counted.rejected;
        assert!(rejected <= 1, "rejected once at most");
        self.counted.rejected += rejected;
        rejected == 1
    }

    /// An entry has been put, or rejected, by a call that may evict others.
    pub(crate) fn put(&mut self, write: u32, id: u8, weight: u64, ttl: Option<Duration>) {
        let replaces = self.leave(id, RemovalCause::Replaced);
        if self.is_rejected() || ttl.is_some_and(|ttl| ttl.is_zero()) {
            self.counted.removals += u64::from(replaces);
            return self.settle(false);
        }
        self.counted.inserts += u64::from(!replaces);
        self.counted.updates += u64::from(replaces);
        self.settle(true);
        self.model.put(id, write, weight, ttl);
        self.was_lent = false;
    }
}

/// What can be seen at any time.
impl Run<'_> {
    pub(crate) fn is_lent(&self) -> bool {
        self.walk.is_some() || !self.loans.is_empty() || !self.forgotten.is_empty()
    }

    pub(crate) fn all_was_dropped(&mut self) {
        self.was_lent = false;
    }

    fn check(&mut self) {
        self.cache.validate();
        assert_eq!(self.log.take(), [], "told of more than what left");
        let living = self.model.living();
        let mut there: Vec<_> = self.cache.iter().map(|entry| names(entry.key(), entry.value())).collect();
        there.sort_unstable();
        assert_eq!(there, living, "all living entries");
        self.check_counts();
        self.check_limit();
        self.check_census();
        if let Some(walk) = &mut self.walk {
            walk.throughout.retain(|write| living.binary_search_by_key(write, |entry| entry.0).is_ok());
        }
    }

    fn check_counts(&self) {
        let (stats, mut counted) = (self.cache.stats(), self.counted);
        if !self.settings.listens {
            (counted.evictions, counted.expirations) = (stats.evictions, stats.expirations);
        }
        counted.entries = counted.inserts - (stats.evictions + stats.expirations + stats.removals);
        (counted.bytes, counted.retired_bytes) = (self.cache.used_bytes(), stats.retired_bytes);
        counted.load_time = stats.load_time;
        assert_eq!(stats, counted);
        assert_eq!(self.cache.len() as u64, stats.entries);
        assert_eq!(self.cache.is_empty(), stats.entries == 0);
        assert_eq!((self.cache.stats() - stats).hit_ratio(), None);
        let entries = self.model.entries.len() as u64;
        // Without a listener the model leaves out those whose time is over.
        assert!(stats.entries == entries || !self.settings.listens && stats.entries > entries);
    }

    fn check_limit(&mut self) {
        self.was_lent |= self.is_lent();
        let stats = self.cache.stats();
        match self.settings.limit {
            Limit::Entries(_) => assert!(stats.entries <= self.max, "{} entries of {}", stats.entries, self.max),
            Limit::Bytes(_) => {
                let excused = if self.was_lent { stats.retired_bytes } else { 0 };
                assert!(stats.bytes - excused <= self.max, "{} bytes of {}: {stats:?}", stats.bytes, self.max);
                let weight: u64 = self.model.entries.values().map(|entry| entry.weight).sum();
                assert!(stats.bytes >= weight, "{} bytes for a weight of {weight}", stats.bytes);
            }
        }
    }

    /// What is in there or on loan is alive, and as it was.
    fn check_census(&self) {
        let lent = self.loans.iter().map(|loan| names(loan.key(), loan).0);
        let there = self.model.entries.values().map(|entry: &Entry| entry.write);
        for write in there.chain(lent).chain(self.forgotten.iter().copied()) {
            assert_eq!(self.census.of(write), 2, "key and value of write {write}");
        }
    }
}
