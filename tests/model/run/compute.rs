//! `compute`: every answer a closure can give, and closures that change the entry they were asked about.

use std::time::Duration;

use larder::{Change, Outcome, RemovalCause};

use super::{Run, Told, numbers};
use crate::subject::{Id, Key, Value, lock};

/// What a closure given to `compute` answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wish {
    Keep,
    Put,
    PutFor(Duration),
    PutKeepingTime,
    Remove,
}

/// What it does to the same key before it answers for the first time.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meddling {
    Nothing,
    Insert,
    Invalidate,
}

/// What came of that.
#[derive(Clone, Copy, Default)]
struct Meddled {
    serial: u64,
    rejected: bool,
    /// How much the listener had been told by then.
    told: usize,
}

impl Run<'_> {
    pub(super) fn compute(&mut self, id: u32) {
        let put_for = if self.config.timed { Wish::PutFor(self.ttl()) } else { Wish::Put };
        let wish = self.rng.pick(&[Wish::Keep, Wish::Put, put_for, Wish::PutKeepingTime, Wish::Remove]);
        let nothing = Meddling::Nothing;
        let meddling = self.rng.pick(&[nothing, nothing, nothing, Meddling::Insert, Meddling::Invalidate]);
        let weight = self.weight();
        self.trace(("compute", id, self.serial.get() + 1, wish, meddling, weight));
        let (mut seen, mut meddled) = (Vec::new(), Meddled::default());
        let outcome = self.cache.compute(&Id(id), |entry| {
            seen.push(entry.map(|(key, value)| numbers(key, value).1));
            if seen.len() == 1 {
                meddled = self.meddle(id, meddling);
            }
            self.change(id, weight, wish)
        });
        let (rejected, told) = (outcome == Outcome::Rejected, self.told());
        let (before, after) = told.split_at(meddled.told);
        // An entry that can't be put ends what is there, as a removal does.
        let takes_out = rejected || matches!(wish, Wish::Remove | Wish::PutFor(Duration::ZERO));
        let expected = self.expect_calls(id, (wish, takes_out), meddling, meddled, before);
        // For lack of memory it may be asked twice about the same.
        seen.dedup();
        assert_eq!(seen, expected, "the closure was shown");
        let was_there = expected.last().is_some_and(|last| last.is_some());
        assert_eq!(outcome, self.expect_outcome(wish, was_there, rejected, weight));
        if wish == Wish::Keep || takes_out {
            if takes_out && was_there {
                // What is replaced by nothing is counted as removed.
                self.stats.removals += u64::from(wish != Wish::Remove);
                self.leave(id, if wish == Wish::Remove { RemovalCause::Removed } else { RemovalCause::Replaced });
            }
            self.stats.rejected += u64::from(rejected);
            return self.follow(after, false);
        }
        let ttl = match wish {
            Wish::PutFor(ttl) => Some(ttl),
            Wish::PutKeepingTime if was_there => self.time_left(id),
            _ => self.config.ttl,
        };
        self.put(id, self.serial.get(), weight, ttl, false, after);
    }

    /// Until the living entry of a key ends, whatever use is made of it.
    fn time_left(&self, id: u32) -> Option<Duration> {
        let entry = &self.model.entries[self.model.find(id).expect("it was there just now")];
        entry.limit.map(|limit| Duration::from_nanos((limit - u128::from(self.model.now)) as u64))
    }

    fn expect_outcome(&self, wish: Wish, was_there: bool, rejected: bool, weight: u64) -> Outcome {
        match (wish, was_there) {
            (Wish::Keep, _) => Outcome::Unchanged,
            (Wish::Remove | Wish::PutFor(Duration::ZERO), true) => Outcome::Removed,
            (Wish::Remove | Wish::PutFor(Duration::ZERO), false) => Outcome::Unchanged,
            _ if rejected => {
                self.check_rejection(weight);
                Outcome::Rejected
            }
            (_, true) => Outcome::Updated,
            (_, false) => Outcome::Inserted,
        }
    }

    fn meddle(&self, id: u32, meddling: Meddling) -> Meddled {
        let mut meddled = Meddled::default();
        let before = self.cache.stats().rejected;
        match meddling {
            Meddling::Nothing => return meddled,
            Meddling::Insert => {
                let (key, value) = self.entry(id, 0);
                meddled.serial = key.counted.serial;
                self.cache.insert(key, value);
            }
            Meddling::Invalidate => {
                self.cache.invalidate(&Id(id));
            }
        }
        meddled.rejected = self.cache.stats().rejected > before;
        meddled.told = lock(&self.outside.log).len();
        meddled
    }

    fn change(&self, id: u32, weight: u64, wish: Wish) -> Change<Key, Value> {
        let (key, value) = self.entry(id, weight);
        match wish {
            Wish::Keep => Change::Keep,
            Wish::Put => Change::Put(key, value),
            Wish::PutFor(ttl) => Change::PutWithTtl(key, value, ttl),
            Wish::PutKeepingTime => Change::PutKeepingTime(key, value),
            Wish::Remove => Change::Remove,
        }
    }

    /// What the closure has to be shown, call by call, and what its meddling does to the model.
    fn expect_calls(
        &mut self,
        id: u32,
        (wish, takes_out): (Wish, bool),
        meddling: Meddling,
        meddled: Meddled,
        told: &[Told],
    ) -> Vec<Option<u64>> {
        let first = self.model.serial(id);
        match meddling {
            Meddling::Nothing => return vec![first],
            Meddling::Insert => self.put(id, meddled.serial, 0, self.config.ttl, meddled.rejected, told),
            Meddling::Invalidate => {
                self.leave(id, RemovalCause::Removed);
                self.follow(told, false);
            }
        }
        // Where nothing was there, nothing has to be taken out, whatever came since.
        let is_carried_out = wish != Wish::Keep && !(takes_out && first.is_none());
        let mut calls = vec![first];
        calls.extend(is_carried_out.then(|| self.model.serial(id)));
        calls.dedup();
        calls
    }
}
