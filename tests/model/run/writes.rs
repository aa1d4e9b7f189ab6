//! Steps that write, and those that change the limit and the time.

use std::time::Duration;

use larder::{BuildError, RemovalCause};

use super::{Run, numbers, sorted};
use crate::subject::{Id, Limit, lock};

impl Run<'_> {
    pub(super) fn insert(&mut self, id: u32) {
        let weight = self.weight();
        let (key, value) = self.entry(id, weight);
        let serial = key.counted.serial;
        let mut ttl = self.config.ttl;
        if self.config.timed && self.rng.one_in(2) {
            ttl = Some(self.ttl());
            self.trace(("insert_with_ttl", id, serial, weight, ttl));
            self.cache.insert_with_ttl(key, value, ttl.unwrap_or_default());
        } else if self.rng.one_in(2) {
            self.trace(("insert", id, serial, weight));
            self.cache.insert(key, value);
        } else {
            self.trace(("try_insert", id, serial, weight));
            if let Err(refused) = self.cache.try_insert(key, value) {
                assert_eq!(numbers(&refused.key, &refused.value), (id, serial));
                assert!(refused.weight >= weight && refused.weight > refused.max, "{refused:?}");
                assert!(refused.max <= self.max, "{refused:?} of {}", self.max);
            }
        }
        self.put(id, serial, weight, ttl, self.has_rejected(), &self.told());
    }

    pub(super) fn insert_some(&mut self) {
        let ids = self.ids();
        self.insert_many(&ids);
    }

    pub(super) fn insert_many(&mut self, ids: &[u32]) {
        let first = self.serial.get() + 1;
        self.trace(("insert_many", first, ids));
        let entries: Vec<_> = ids.iter().map(|&id| self.entry(id, 0)).collect();
        // How much the listener had been told when an entry was asked for, and at the end.
        let mut ends = Vec::new();
        self.cache.insert_many(entries.into_iter().inspect(|_| ends.push(lock(&self.outside.log).len())));
        let told = self.told();
        ends.push(told.len());
        for (turn, &id) in ids.iter().enumerate() {
            let told = &told[ends[turn]..ends[turn + 1]];
            self.put(id, first + turn as u64, 0, self.config.ttl, false, told);
        }
    }

    pub(super) fn remove(&mut self, id: u32) {
        self.trace(("remove", id));
        let expected = self.leave(id, RemovalCause::Removed);
        if self.rng.one_in(2) {
            assert_eq!(self.cache.remove(&Id(id)).map(|value| value.counted.serial), expected);
        } else {
            assert_eq!(self.cache.invalidate(&Id(id)), expected.is_some());
        }
        self.follow(&self.told(), false);
    }

    pub(super) fn remove_if(&mut self, id: u32) {
        let holds = self.rng.one_in(2);
        self.trace(("remove_if", id, holds));
        let mut asked = Vec::new();
        let removed = self.cache.remove_if(&Id(id), |key, value| {
            asked.push(numbers(key, value));
            holds
        });
        assert_eq!(asked, Vec::from_iter(self.model.serial(id).map(|serial| (id, serial))));
        let expected = if holds { self.leave(id, RemovalCause::Removed) } else { None };
        assert_eq!(removed.map(|value| value.counted.serial), expected);
        self.follow(&self.told(), false);
    }

    pub(super) fn retain(&mut self) {
        let (divisor, rest) = (self.rng.pick(&[1, 2, 7, 30]), self.rng.below(30));
        self.trace(("retain", divisor, rest));
        let goes = |serial: u64| serial % divisor == rest % divisor;
        let mut asked = Vec::new();
        self.cache.retain(|key, value| {
            asked.push(numbers(key, value));
            !goes(value.counted.serial)
        });
        let living = self.model.living();
        assert_eq!(sorted(asked.into_iter()), living, "each living entry is asked for once");
        for (id, _) in living.into_iter().filter(|&(_, serial)| goes(serial)) {
            self.leave(id, RemovalCause::Removed);
        }
        self.follow(&self.told(), false);
    }

    pub(super) fn clear(&mut self) {
        self.trace("clear");
        self.cache.clear();
        for (id, _) in self.model.living() {
            self.leave(id, RemovalCause::Removed);
        }
        self.follow(&self.told(), false);
        assert!(self.cache.is_empty(), "{} entries after clear", self.cache.len());
    }

    pub(super) fn touch(&mut self, id: u32) {
        if !self.config.timed {
            return;
        }
        let ttl = self.ttl();
        self.trace(("touch", id, ttl));
        assert_eq!(self.cache.touch(&Id(id), ttl), self.model.serial(id).is_some());
        if ttl.is_zero() {
            self.leave(id, RemovalCause::Expired);
        } else if let Some(at) = self.model.find(id) {
            self.model.entries[at].limit = self.model.limit(Some(ttl));
            self.model.entries[at].used = self.model.now;
        }
        self.follow(&self.told(), false);
    }

    pub(super) fn set_max(&mut self) {
        let max =
            if self.rng.one_in(2) { self.max / 2 + self.rng.below(self.max + 1) } else { self.rng.below(self.max) };
        self.trace(("set_max", max));
        let (set, other) = match self.config.limit {
            Limit::Entries(_) => (self.cache.set_max_entries(max as usize), self.cache.set_max_bytes(max)),
            Limit::Bytes(_) => (self.cache.set_max_bytes(max), self.cache.set_max_entries(max as usize)),
        };
        assert!(matches!(other, Err(BuildError::OtherLimit { .. })), "{other:?}");
        match set {
            Ok(()) => {
                self.max = max;
                self.is_excused = self.is_lending();
                self.slack = if self.config.is_one_stripe() { 0 } else { self.slack.max(max / 64) };
            }
            Err(BuildError::ZeroEntries) => assert_eq!(max, 0),
            Err(BuildError::TooFewBytes { given, min }) => assert!(given == max && max < min),
            Err(BuildError::TooManyBytes { given, max: most }) => assert!(given == max && max > most),
            Err(error) => panic!("{error}"),
        }
        self.follow(&self.told(), set.is_ok());
    }

    pub(super) fn maintain(&mut self) {
        self.trace("maintain");
        self.cache.maintain();
        self.follow(&self.told(), false);
        let entries = &self.model.entries;
        assert_eq!(entries.len(), self.model.living().len(), "what has expired is gone after maintain");
        if self.walk.is_none() {
            let held = self.refs.iter().map(|(_, serial)| serial).chain(&self.forgotten);
            let mut expected = sorted(entries.iter().map(|entry| &entry.serial).chain(held).map(|&serial| (serial, 2)));
            expected.dedup();
            assert_eq!(self.outside.census.all(), expected, "the living are alive after maintain, and what is lent");
        }
    }

    pub(super) fn move_clock(&mut self) {
        let ticks = match self.rng.below(40) {
            0 => self.rng.below(1 << 20),
            1..6 => self.rng.below(2_000),
            _ => self.rng.below(40),
        };
        let by = ticks * self.config.tick;
        if self.rng.one_in(6) || self.model.now > 1 << 62 {
            self.model.now = self.model.now.saturating_sub(by);
            self.outside.clock.set(Duration::from_nanos(self.model.now));
        } else {
            self.model.now += by;
            self.outside.clock.advance(Duration::from_nanos(by));
        }
        self.trace(("now", self.model.now));
    }
}
