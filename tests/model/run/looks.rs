//! Steps that look, and what they lend.

use std::time::Duration;

use super::{Run, Walk, numbers, sorted};
use crate::subject::Id;

impl Run<'_> {
    fn count_lookup(&mut self, found: Option<u64>) {
        self.stats.hits += u64::from(found.is_some());
        self.stats.misses += u64::from(found.is_none());
    }

    pub(super) fn look_up(&mut self, id: u32) {
        self.trace(("get", id));
        let found = if self.rng.one_in(2) {
            self.cache.get(&Id(id)).map(|value| value.counted.serial)
        } else {
            self.cache.read(&Id(id), |value| value.counted.serial)
        };
        assert_eq!(found, self.model.use_entry(id));
        self.count_lookup(found);
        self.follow(&self.told(), false);
    }

    pub(super) fn get_ref(&mut self, id: u32) {
        self.trace(("get_ref", id));
        let entry = self.cache.get_ref(&Id(id));
        let found = entry.as_ref().map(|entry| numbers(entry.key(), entry.value()).1);
        assert_eq!(found, self.model.use_entry(id));
        self.count_lookup(found);
        self.follow(&self.told(), false);
        if let Some(entry) = entry {
            if self.rng.one_in(4) {
                self.refs.push_back((entry.clone(), entry.counted.serial));
            }
            if self.rng.one_in(60) {
                self.forgotten.push(entry.counted.serial);
                std::mem::forget(entry);
            } else {
                let serial = entry.counted.serial;
                self.refs.push_back((entry, serial));
            }
        }
    }

    pub(super) fn get_many(&mut self) {
        let ids: Vec<_> = self.ids().into_iter().map(Id).collect();
        self.trace(("get_many", ids.iter().map(|id| id.0).collect::<Vec<_>>()));
        let found = self.cache.get_many(&ids);
        assert_eq!(found.len(), ids.len());
        for (id, value) in ids.iter().zip(found) {
            let found = value.map(|value| value.counted.serial);
            assert_eq!(found, self.model.use_entry(id.0));
            self.count_lookup(found);
        }
        self.follow(&self.told(), false);
    }

    /// Calls that are no use of the entry.
    pub(super) fn look(&mut self, id: u32) {
        self.trace(("look", id));
        let serial = self.model.serial(id);
        assert_eq!(self.cache.peek(&Id(id)).map(|value| value.counted.serial), serial);
        assert_eq!(self.cache.contains_key(&Id(id)), serial.is_some());
        let keys = sorted(self.cache.keys().map(|key| (key.id, key.counted.serial)));
        assert_eq!(keys, self.model.living(), "all keys");
        let left = self.cache.time_left(&Id(id)).map(|left| left.as_nanos());
        let expected = self.model.find(id).map(|at| {
            let end = self.model.end(&self.model.entries[at]);
            end.map_or(Duration::MAX.as_nanos(), |end| end - u128::from(self.model.now))
        });
        // Where entries have a time to idle the last nanosecond says which of two deadlines it is.
        let blur = u128::from(self.config.idle.is_some());
        let near = |left: u128, expected: u128| left.abs_diff(expected) <= blur;
        assert!(
            left.is_none() == expected.is_none()
                && left.zip(expected).is_none_or(|(left, expected)| near(left, expected)),
            "time left: {left:?}, not {expected:?}"
        );
        self.follow(&self.told(), false);
    }

    /// Goes on with a walk, or begins one.
    pub(super) fn walk(&mut self) {
        let steps = 1 + self.rng.below(20);
        self.trace(("walk", steps));
        let living = self.model.living();
        let walk = self.walk.get_or_insert_with(|| Walk {
            entries: self.cache.iter(),
            throughout: living.iter().map(|entry| entry.0).collect(),
            seen: Vec::new(),
        });
        for _ in 0..steps {
            let Some(entry) = walk.entries.next() else {
                assert!(walk.entries.next().is_none(), "a walk that ended goes on");
                let seen = sorted(walk.seen.iter().filter(|id| walk.throughout.contains(id)));
                assert_eq!(seen, sorted(walk.throughout.iter()), "met just once, as there throughout");
                self.walk = None;
                return;
            };
            let (id, serial) = numbers(entry.key(), entry.value());
            let there = self.model.entries.iter().find(|entry| entry.serial == serial);
            assert!(there.is_none_or(|entry| self.model.lives(entry)), "write {serial} of key {id} has expired");
            walk.seen.push(id);
        }
    }

    pub(super) fn let_go(&mut self) {
        self.trace("let go");
        if self.rng.one_in(4) {
            self.walk = None;
            self.refs.clear();
        } else {
            self.refs.pop_front();
        }
    }
}
