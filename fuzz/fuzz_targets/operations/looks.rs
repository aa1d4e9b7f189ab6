//! Steps that change no entry: look-ups, loans and walks.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::entry::{Id, names};
use crate::run::{Run, Walk};
use crate::step::{Fate, LookUp};

impl Run<'_> {
    /// A look-up that counts as a use: what it found, and what it had to find.
    pub(crate) fn used(&mut self, id: u8, found: Option<u32>) {
        assert_eq!(found, self.model.look_up(id), "what is there for key {id}");
        if self.settings.counts_lookups {
            self.counted.hits += u64::from(found.is_some());
            self.counted.misses += u64::from(found.is_none());
        }
    }

    pub(crate) fn look_up(&mut self, id: u8, way: LookUp) {
        let found = match way {
            LookUp::Get => self.cache.get(&Id(id)).map(|value| value.write()),
            LookUp::Read => self.cache.read(&Id(id), |value| value.write()),
            LookUp::GetByKey => {
                let (key, _) = self.entry(id, 0);
                self.cache.get(&key).map(|value| value.write())
            }
        };
        self.used(id, found);
        self.settle(false);
    }

    pub(crate) fn get_many(&mut self, ids: &[u8]) {
        let keys: Vec<_> = ids.iter().map(|&id| Id(id)).collect();
        let found = self.cache.get_many(&keys);
        assert_eq!(found.len(), ids.len());
        for (&id, value) in ids.iter().zip(found) {
            self.used(id, value.map(|value| value.write()));
        }
        self.settle(false);
    }

    /// All calls that are no use of the entry.
    pub(crate) fn look(&mut self, id: u8) {
        let write = self.model.write(id);
        assert_eq!(self.cache.peek(&Id(id)).map(|value| value.write()), write);
        assert_eq!(self.cache.contains_key(&Id(id)), write.is_some());
        let mut keys: Vec<_> = self.cache.keys().map(|key| (key.write(), key.id)).collect();
        keys.sort_unstable();
        assert_eq!(keys, self.model.living(), "all keys");
        let left = self.cache.time_left(&Id(id));
        let ends = self.model.find(id).map(|entry| self.model.end(entry));
        let expected = ends.map(|end| end.map_or(Duration::MAX, |end| Duration::from_nanos(end - self.model.now)));
        // Where entries have a time to idle the last nanosecond says which of two deadlines it is.
        let blur = Duration::from_nanos(u64::from(self.settings.idle().is_some()));
        let near = left.zip(expected).is_none_or(|(left, expected)| left.abs_diff(expected) <= blur);
        assert!(left.is_some() == expected.is_some() && near, "time left: {left:?}, not {expected:?}");
        assert!(!format!("{:?}", self.cache).is_empty());
        self.settle(false);
    }

    pub(crate) fn lend(&mut self, id: u8, fate: Fate) {
        let loan = self.cache.get_ref(&Id(id));
        self.used(id, loan.as_ref().map(|loan| names(loan.key(), loan.value()).0));
        self.settle(false);
        let Some(loan) = loan else { return };
        match fate {
            Fate::Kept => self.loans.push_back(loan),
            Fate::KeptTwice => self.loans.extend([loan.clone(), loan]),
            Fate::Forgotten => {
                self.forgotten.insert(loan.key().write());
                std::mem::forget(loan);
            }
        }
    }

    pub(crate) fn let_go(&mut self, which: u8, all: bool) {
        if all {
            self.loans.clear();
        } else if !self.loans.is_empty() {
            self.loans.swap_remove_back(usize::from(which) % self.loans.len());
        }
    }

    /// Goes on with a walk, or begins one.
    pub(crate) fn walk(&mut self, steps: u8) {
        let throughout = || self.model.living().into_iter().map(|(write, _)| write).collect();
        let begin = || Walk { entries: self.cache.iter(), throughout: throughout(), met: Vec::new() };
        let walk = self.walk.get_or_insert_with(begin);
        for _ in 0..steps {
            let Some(entry) = walk.entries.next() else {
                assert!(walk.entries.next().is_none(), "a walk that has ended goes on");
                let met: BTreeSet<_> = walk.met.iter().copied().collect();
                assert_eq!(met.len(), walk.met.len(), "an entry was met twice: {:?}", walk.met);
                let missed: Vec<_> = walk.throughout.difference(&met).collect();
                assert!(missed.is_empty(), "there throughout, and not met: {missed:?}");
                self.walk = None;
                return;
            };
            let (write, id) = names(entry.key(), entry.value());
            let there = self.model.entries.get(&id).filter(|entry| entry.write == write);
            assert!(there.is_none_or(|entry| self.model.lives(entry)), "met entry {write}, whose time is over");
            walk.met.push(write);
        }
    }
}
