//! Steps that change entries.

use std::time::Duration;

use larder::{BuildError, Change, Outcome, RemovalCause};

use crate::entry::{Id, Key, Value, names};
use crate::run::Run;
use crate::settings::Limit;
use crate::step::{Fate, Insert, Meddling, Remove, Wish};

impl Run<'_> {
    pub(crate) fn insert(&mut self, id: u8, weight: u64, way: Insert) {
        let (key, value) = self.entry(id, weight);
        let write = key.write();
        let mut ttl = self.settings.time_to_live();
        match way {
            Insert::Plain => self.cache.insert(key, value),
            Insert::Try => return self.try_insert(key, value),
            Insert::WithTtl(given) => {
                ttl = Some(self.ttl(given));
                self.cache.insert_with_ttl(key, value, self.ttl(given));
            }
        }
        self.put(write, id, weight, ttl);
    }

    fn try_insert(&mut self, key: Key, value: Value) {
        let (write, id, weight) = (key.write(), key.id, value.weight);
        let ttl = self.settings.time_to_live();
        let Err(refused) = self.cache.try_insert(key, value) else {
            return self.put(write, id, weight, ttl);
        };
        assert_eq!(names(&refused.key, &refused.value), (write, id), "what is refused is handed back");
        assert!(refused.weight >= weight && refused.weight > refused.max, "{refused:?}");
        assert!(refused.max <= self.max, "{refused:?} of {}", self.max);
        let (own, max) = (refused.weight - weight, refused.max);
        drop(refused);
        let rejected = self.counted.rejected + 1;
        self.put(write, id, weight, ttl);
        assert_eq!(self.counted.rejected, rejected, "refused, and not counted");
        // The error says what fits; so it has to.
        if let Some(weight) = max.checked_sub(own) {
            let (key, value) = self.entry(id, weight);
            let write = key.write();
            assert!(self.cache.try_insert(key, value).is_ok(), "{max} is said to fit");
            self.put(write, id, weight, ttl);
        }
    }

    pub(crate) fn insert_many(&mut self, ids: &[u8]) {
        let (cache, ttl) = (self.cache, self.settings.time_to_live());
        let mut ids = ids.iter();
        let mut last = None;
        // When an entry is asked for, the one before it has been put.
        cache.insert_many(std::iter::from_fn(|| {
            if let Some((write, id)) = last.take() {
                self.put(write, id, 0, ttl);
            }
            let (key, value) = self.entry(*ids.next()?, 0);
            last = Some((key.write(), key.id));
            Some((key, value))
        }));
    }

    pub(crate) fn remove(&mut self, id: u8, way: Remove) {
        let write = self.model.write(id);
        let goes = !matches!(way, Remove::If(false));
        if goes {
            self.leave(id, RemovalCause::Removed);
        }
        match way {
            Remove::Take => assert_eq!(self.cache.remove(&Id(id)).map(|value| value.write()), write),
            Remove::Invalidate => assert_eq!(self.cache.invalidate(&Id(id)), write.is_some()),
            Remove::If(holds) => {
                let mut asked = None;
                let removed = self.cache.remove_if(&Id(id), |key, value| {
                    asked = Some(names(key, value).0);
                    holds
                });
                assert_eq!(asked, write, "asked about what is there");
                assert_eq!(removed.map(|value| value.write()), write.filter(|_| holds));
            }
        }
        self.settle(false);
    }

    pub(crate) fn retain(&mut self, divisor: u8, rest: u8) {
        let divisor = u32::from(divisor) + 1;
        let goes = |write: u32| write % divisor == u32::from(rest) % divisor;
        let mut asked = Vec::new();
        self.cache.retain(|key, value| {
            asked.push(names(key, value));
            !goes(value.write())
        });
        asked.sort_unstable();
        let living = self.model.living();
        assert_eq!(asked, living, "every living entry is asked for once");
        for (_, id) in living.into_iter().filter(|&(write, _)| goes(write)) {
            self.leave(id, RemovalCause::Removed);
        }
        self.settle(false);
    }

    pub(crate) fn clear(&mut self) {
        self.cache.clear();
        for (_, id) in self.model.living() {
            self.leave(id, RemovalCause::Removed);
        }
        self.settle(false);
        assert!(self.cache.is_empty(), "empty after clear");
    }

    pub(crate) fn touch(&mut self, id: u8, ttl: Duration) {
        let is_there = self.model.write(id).is_some();
        assert_eq!(self.cache.touch(&Id(id), ttl), is_there);
        if ttl.is_zero() {
            self.leave(id, RemovalCause::Expired);
            return self.settle(false);
        }
        if self.model.find(id).is_some() {
            self.model.touch(id, ttl);
        }
        // The first deadline of all takes memory, for which others may have to go.
        let takes_memory = is_there && ttl != Duration::MAX && matches!(self.settings.limit, Limit::Bytes(_));
        self.settle(takes_memory);
        assert_eq!(self.model.write(id).is_some(), is_there, "it is others that go");
    }

    pub(crate) fn maintain(&mut self) {
        self.cache.maintain();
        // What was lent may have kept more than the limit in use.
        self.settle(self.was_lent && matches!(self.settings.limit, Limit::Bytes(_)));
        let living = self.model.living();
        assert_eq!(self.cache.len(), living.len(), "what has expired is gone after maintain");
        if self.walk.is_none() {
            let lent = self.loans.iter().map(|loan| loan.key().write()).chain(self.forgotten.iter().copied());
            let mut alive: Vec<_> =
                living.iter().map(|&(write, _)| write).chain(lent).map(|write| (write, 2)).collect();
            alive.sort_unstable();
            alive.dedup();
            assert_eq!(self.census.alive(), alive, "what is there or on loan is alive after maintain, and no more");
        }
        if !self.is_lent() {
            self.all_was_dropped();
        }
    }

    /// Another limit, up to twice the one that the cache was built with.
    pub(crate) fn set_max(&mut self, share: u8) {
        let share = |max: u64| max * u64::from(share) / 128;
        let (set, other, max) = match self.settings.limit {
            Limit::Entries(built) => {
                let max = share(built as u64);
                (self.cache.set_max_entries(max as usize), self.cache.set_max_bytes(max), max)
            }
            Limit::Bytes(built) => {
                let max = share(built);
                (self.cache.set_max_bytes(max), self.cache.set_max_entries(max as usize), max)
            }
        };
        assert!(matches!(other, Err(BuildError::OtherLimit { .. })), "{other:?}");
        match set {
            Ok(()) => self.max = max,
            Err(BuildError::ZeroEntries) => assert_eq!(max, 0),
            Err(BuildError::TooFewBytes { given, min }) => {
                assert!(given == max && max < min);
                assert!(min <= self.max, "{min} bytes at the least, and it works with {}", self.max);
            }
            Err(error) => panic!("{error}"),
        }
        self.settle(set.is_ok());
        if !self.is_lent() {
            self.all_was_dropped();
        }
    }

    pub(crate) fn compute(&mut self, id: u8, weight: u64, wish: Wish, meddling: Meddling) {
        let cache = self.cache;
        let (mut calls, mut seen, mut write) = (0, None, 0);
        let ttl = match wish {
            Wish::PutFor(ttl) => Some(self.ttl(ttl)),
            _ => self.settings.time_to_live(),
        };
        let outcome = cache.compute(&Id(id), |entry| {
            calls += 1;
            // To make room for what a call before asked for, others may have been evicted.
            self.settle(calls > 1);
            seen = entry.map(|(key, value)| names(key, value).0);
            assert_eq!(seen, self.model.write(id), "shown what is there");
            if calls == 1 {
                self.meddle(id, meddling);
            }
            let (key, value) = self.entry(id, weight);
            write = key.write();
            match wish {
                Wish::Keep => Change::Keep,
                Wish::Put => Change::Put(key, value),
                Wish::PutFor(_) => Change::PutWithTtl(key, value, ttl.unwrap_or_default()),
                Wish::Remove => Change::Remove,
            }
        });
        let puts = matches!(wish, Wish::Put) || matches!(wish, Wish::PutFor(_)) && ttl != Some(Duration::ZERO);
        let expected = match (wish, seen) {
            (Wish::Keep, _) => Outcome::Unchanged,
            (_, None) if !puts => Outcome::Unchanged,
            (_, Some(_)) if !puts => Outcome::Removed,
            _ if outcome == Outcome::Rejected => Outcome::Rejected,
            (_, None) => Outcome::Inserted,
            (_, Some(_)) => Outcome::Updated,
        };
        assert_eq!(outcome, expected);
        // Where nothing was there nothing had to be taken out: that was done when it was seen.
        let is_done = outcome == Outcome::Unchanged || outcome == Outcome::Rejected && seen.is_none();
        if is_done {
            assert_eq!(self.is_rejected(), outcome == Outcome::Rejected);
        } else {
            assert_eq!(seen, self.model.write(id), "carried out on what was seen");
            let rejected = self.counted.rejected;
            match wish {
                Wish::Remove => _ = self.leave(id, RemovalCause::Removed),
                _ => self.put(write, id, weight, ttl),
            }
            assert_eq!(self.counted.rejected - rejected, u64::from(outcome == Outcome::Rejected));
        }
        self.settle(false);
    }

    /// What a closure that the cache calls does to the same key.
    pub(crate) fn meddle(&mut self, id: u8, meddling: Meddling) {
        match meddling {
            Meddling::Nothing => {}
            Meddling::Insert => self.insert(id, 0, Insert::Plain),
            Meddling::Invalidate => self.remove(id, Remove::Invalidate),
            Meddling::Lend => self.lend(id, Fate::Kept),
        }
    }
}
