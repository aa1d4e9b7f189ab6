//! When items expire, and when all of them are gone: memcached's times, on the cache's clock.
//!
//! Knows seconds and nanoseconds. Knows no item and no command.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use crate::clock::Time;

const SECOND: u64 = 1_000_000_000;

/// Up to so many seconds, thirty days, an expiry time counts from now; above, it is a Unix time.
const RELATIVE: u32 = 60 * 60 * 24 * 30;

/// When an item expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exptime {
    /// Never; or after the cache's [`time_to_live`](super::ServerCacheBuilder::time_to_live), if it has one.
    #[default]
    Never,
    /// So many seconds from now; 0 is at once.
    In(u32),
    /// At this Unix time, in seconds; at once where that is over.
    At(u32),
}

impl Exptime {
    /// At once: an item that is stored so takes the old one away and is never seen.
    pub const AT_ONCE: Self = Self::In(0);

    /// As memcached's protocols say it: 0 is never, a negative number at once, up to 2,592,000 are seconds from now, and
    /// anything above that is a Unix time. Text has 32 bits with a sign, the binary protocol 32 without; what is above
    /// those is as far ahead as there is.
    ///
    /// # Examples
    ///
    /// ```
    /// use larder::server::Exptime;
    ///
    /// assert_eq!(Exptime::from_wire(0), Exptime::Never);
    /// assert_eq!(Exptime::from_wire(-1), Exptime::AT_ONCE);
    /// assert_eq!(Exptime::from_wire(2_592_000), Exptime::In(2_592_000));
    /// assert_eq!(Exptime::from_wire(1_800_000_000), Exptime::At(1_800_000_000));
    /// assert_eq!(Exptime::from_wire(4_000_000_000_u32), Exptime::At(4_000_000_000));
    /// ```
    pub fn from_wire(exptime: impl Into<i64>) -> Self {
        let exptime = exptime.into();
        match u32::try_from(exptime) {
            Ok(0) => Self::Never,
            Ok(seconds) if seconds <= RELATIVE => Self::In(seconds),
            Ok(unix) => Self::At(unix),
            Err(_) if exptime < 0 => Self::AT_ONCE,
            Err(_) => Self::At(u32::MAX),
        }
    }
}

/// Where the cache's clock stands to the calendar.
pub(super) struct Calendar {
    /// The Unix time, in nanoseconds, at which the cache's clock showed zero.
    zero: i128,
}

impl Calendar {
    pub(super) fn new(time: &Time) -> Self {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { zero: unix.as_nanos() as i128 - i128::from(time.now()) }
    }

    /// The Unix time, in seconds, of a time of the cache's clock.
    pub(super) fn unix_seconds(&self, time: u64) -> i64 {
        ((self.zero + i128::from(time)) / i128::from(SECOND)) as i64
    }

    /// How long an item lives that is stored now; `None` for as long as the cache says.
    pub(super) fn time_to_live(&self, exptime: Exptime, time: &Time) -> Option<Duration> {
        match exptime {
            Exptime::Never => None,
            Exptime::In(seconds) => Some(Duration::from_secs(seconds.into())),
            Exptime::At(unix) => {
                let left = i128::from(unix) * i128::from(SECOND) - self.zero - i128::from(time.now());
                Some(Duration::from_nanos(u64::try_from(left).unwrap_or(0)))
            }
        }
    }
}

/// The second, of the cache's clock, in which a time lies.
#[inline]
pub(super) fn second(time: u64) -> u32 {
    (time / SECOND) as u32
}

/// Whole seconds until a deadline, a begun one counted; so an item that was stored for 30 seconds has 30 left.
pub(super) fn seconds_until(deadline: u64, now: u64) -> u32 {
    u32::try_from(deadline.saturating_sub(now).div_ceil(SECOND)).unwrap_or(u32::MAX)
}

/// The number of changes, from which items have their births, and which of them are gone by `flush_all`.
pub(super) struct Flushes {
    /// Items born before this change are gone.
    below: AtomicU64,
    /// When the next one is due; 0 where none is.
    due: AtomicU64,
    strike: Mutex<()>,
}

impl Flushes {
    pub(super) fn new() -> Self {
        Self { below: AtomicU64::new(0), due: AtomicU64::new(0), strike: Mutex::new(()) }
    }

    /// The change before which items are gone. `changes` counts all there have been.
    #[inline]
    pub(super) fn below(&self, time: &Time, changes: &AtomicU64) -> u64 {
        // Acquire: whoever sees that it is no longer due sees what came of it.
        if self.due.load(Acquire) != 0 {
            self.strike_if_due(time, changes);
        }
        // Acquire pairs with the Release of `strike`: no item that was born before is seen after.
        self.below.load(Acquire)
    }

    /// Makes all items that are there now go.
    pub(super) fn flush_now(&self, changes: &AtomicU64) {
        let _striking = self.strike.lock();
        self.strike(changes);
    }

    /// Makes all items go that are there in so long from now.
    pub(super) fn flush_in(&self, delay: Duration, time: &Time) {
        let _striking = self.strike.lock();
        self.due.store(time.now().saturating_add(crate::clock::nanos(delay)), Release);
    }

    /// Every call looks here before it does anything, so whoever comes first after the time does it, and what is stored
    /// after the time is born after it.
    #[cold]
    fn strike_if_due(&self, time: &Time, changes: &AtomicU64) {
        if time.now() < self.due.load(Relaxed) {
            return;
        }
        let _striking = self.strike.lock();
        let due = self.due.load(Relaxed);
        if due != 0 && time.now() >= due {
            self.strike(changes);
        }
    }

    fn strike(&self, changes: &AtomicU64) {
        // An addition, not a load: only so it is ordered after all changes whose callers have returned.
        let now = changes.fetch_add(1, AcqRel) + 1;
        self.below.store(now, Release);
        self.due.store(0, Release);
    }
}
