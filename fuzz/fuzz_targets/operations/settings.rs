//! The settings of a cache, as an input has them.
//!
//! Knows the builder; nothing of what is done with the cache.

use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use larder::{BuildError, Builder, Cache, ManualClock, Policy, RemovalCause};

use crate::entry::{Census, Hashing, Key, Value, names};
use crate::run::{Log, Told};

pub(crate) type Subject = Cache<Key, Value, Hashing>;

/// Nanoseconds that the clock moves at a time.
const TICK: u64 = 1_000;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    Entries(usize),
    Bytes(u64),
}

impl Arbitrary<'_> for Limit {
    fn arbitrary(input: &mut Unstructured<'_>) -> arbitrary::Result<Self> {
        let number = u64::from(u16::arbitrary(input)?);
        // Most caches are small enough that a few steps fill them.
        Ok(match number % 4 {
            0 | 1 => Self::Entries(1 + (number / 4 % 256) as usize),
            2 => Self::Bytes(1_024 + number / 4),
            _ => Self::Bytes(1_024 + number * 8),
        })
    }
}

#[derive(Arbitrary, Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) limit: Limit,
    is_s3fifo: bool,
    /// As an exponent.
    stripes: Option<u8>,
    initial_entries: Option<u8>,
    time_to_live: Option<u8>,
    time_to_idle: Option<u8>,
    hashing: Hashing,
    /// There is one key more than that.
    pub(crate) keys: u8,
    pub(crate) listens: bool,
    pub(crate) counts_lookups: bool,
}

impl Settings {
    pub(crate) fn build(&self, clock: &ManualClock, census: &Census, log: &Log) -> Result<Subject, BuildError> {
        match self.limit {
            Limit::Entries(max) => {
                let mut builder = self.apply(Cache::builder().max_entries(max), clock, census, log);
                if let Some(entries) = self.initial_entries {
                    builder = builder.initial_entries(max.min(entries.into()));
                }
                builder.build()
            }
            Limit::Bytes(max) => {
                let builder = Cache::builder().max_bytes(max).weigher(|_: &Key, value: &Value| value.weight);
                let mut builder = self.apply(builder, clock, census, log);
                if let Some(entries) = self.initial_entries {
                    builder = builder.initial_entries(entries.into());
                }
                builder.build()
            }
        }
    }

    fn apply<S, W>(
        &self,
        builder: Builder<Key, Value, S, W>,
        clock: &ManualClock,
        census: &Census,
        log: &Log,
    ) -> Builder<Key, Value, Hashing, W> {
        let policy = if self.is_s3fifo { Policy::S3Fifo } else { Policy::Lru };
        let mut builder = builder.policy(policy).hasher(self.hashing).clock(clock.clone());
        if let Some(exponent) = self.stripes {
            builder = builder.stripes(1 << (exponent % 6));
        }
        if let Some(ticks) = self.time_to_live {
            builder = builder.time_to_live(self.span(1 + u64::from(ticks)));
        }
        if let Some(idle) = self.idle() {
            builder = builder.time_to_idle(idle);
        }
        if self.counts_lookups {
            builder = builder.record_stats();
        }
        if self.listens {
            let (census, log) = (census.clone(), log.clone());
            builder = builder.on_removal(move |key, value, cause| tell(&census, &log, key, value, cause));
        }
        builder
    }

    /// The time to live of entries that are inserted without one.
    pub(crate) fn time_to_live(&self) -> Option<Duration> {
        self.time_to_live.map(|ticks| self.span(1 + u64::from(ticks)))
    }

    pub(crate) fn idle(&self) -> Option<Duration> {
        self.time_to_idle.map(|ticks| self.span(1 + u64::from(ticks)))
    }

    /// So many ticks of the clock. Where entries have a time to idle a deadline may be a nanosecond early, and hits are
    /// told apart by a 64th of it, so there half a tick keeps everything from falling on a border.
    pub(crate) fn span(&self, ticks: u64) -> Duration {
        let half = if self.time_to_idle.is_some() { TICK / 2 } else { 0 };
        Duration::from_nanos(ticks * TICK + half)
    }

    /// What the clock shows after so many ticks.
    pub(crate) fn time(ticks: u64) -> Duration {
        Duration::from_nanos(ticks * TICK)
    }
}

fn tell(census: &Census, log: &Log, key: &Key, value: &Value, cause: RemovalCause) {
    let (write, id) = names(key, value);
    assert!(census.of(write) >= 2, "told of what has been dropped");
    log.push(Told { write, id, cause });
}
