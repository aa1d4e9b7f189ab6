//! Where the cache's time comes from.
//!
//! Knows nothing of entries. The engine counts nanoseconds in a `u64`, which last for 584 years.
//!
//! # Two readings
//!
//! The system's monotonic clock costs some 25 ns to read, and more than that in what the processor can't do meanwhile:
//! the reading waits for all that came before it. That made a look-up of an entry with a deadline five times as slow
//! as one without. Linux has a coarse clock beside it, which is the same clock as of the last tick: a few ns to read, and
//! behind by no more than a tick, or a few where the machine is a virtual one and stopped at times. Most entries are much
//! farther than that from their deadline, and then the coarse reading is enough to say that they live
//! ([`Time::is_surely_before`]); only for the others, within a second of it, is the exact one taken.

#[cfg(target_os = "linux")]
use rustix::time::{ClockId, clock_gettime};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A source of time for a cache, in place of the system's monotonic clock.
///
/// A clock that goes back does no harm: entries whose time was over then are gone or come back
/// to life, none is lost before its time and nothing panics.
///
/// # Examples
///
/// See [`ManualClock`].
pub trait Clock: Send + Sync {
    /// The time since any fixed point in the past.
    fn now(&self) -> Duration;
}

/// A clock that stands still until it is told to move: for tests of expiry that need not sleep.
///
/// Clones show the same time.
///
/// # Examples
///
/// ```
/// use larder::{Cache, ManualClock};
/// use std::time::Duration;
///
/// let clock = ManualClock::new();
/// let cache: Cache<u32, &str> = Cache::builder()
///     .max_entries(100)
///     .time_to_live(Duration::from_secs(60))
///     .clock(clock.clone())
///     .build()?;
/// cache.insert(1, "one");
/// clock.advance(Duration::from_secs(59));
/// assert_eq!(cache.get(&1), Some("one"));
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(cache.get(&1), None);
/// # Ok::<(), larder::BuildError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    nanos: Arc<AtomicU64>,
}

impl ManualClock {
    /// A clock that shows zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock forward; it stops at the end of what it can show, after 584 years.
    pub fn advance(&self, by: Duration) {
        let by = nanos(by);
        // SeqCst: tests move the clock in one thread and expect the effect in another.
        let moved = |time: u64| Some(time.saturating_add(by));
        self.nanos.fetch_update(Ordering::SeqCst, Ordering::SeqCst, moved).expect("always moves");
    }

    /// Sets the clock, back too.
    pub fn set(&self, time: Duration) {
        self.nanos.store(nanos(time), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::SeqCst))
    }
}

/// By how much the coarse clock is taken to be behind at most. That is a tick, as long as the processor runs which counts
/// them: a virtual one is stopped at times, while others go on. (On a busy virtual machine it was 13 ms at the most.)
#[cfg(target_os = "linux")]
const COARSE_LAG: u64 = 1_000_000_000;

/// The time of one cache, in nanoseconds. Never 0, which stands for "no deadline", and never the
/// last number, so that a deadline can lie beyond any time.
pub(crate) enum Time {
    /// Since the cache was made.
    System(System),
    Given(Box<dyn Clock>),
}

impl Time {
    pub(crate) fn system() -> Self {
        Self::System(System::start())
    }

    #[inline]
    pub(crate) fn now(&self) -> u64 {
        let time = match self {
            Self::System(system) => system.elapsed(),
            Self::Given(clock) => nanos(clock.now()),
        };
        time.min(u64::MAX - 2) + 1
    }

    /// The time, or one up to a few ticks before it where that costs less to read.
    #[cfg(feature = "server")]
    #[inline]
    pub(crate) fn rough(&self) -> u64 {
        match self {
            Self::System(system) => system.rough() + 1,
            Self::Given(_) => self.now(),
        }
    }

    /// Whether it is so long before this time that a rough reading shows it. If not, it may be before it all the same.
    #[inline]
    pub(crate) fn is_surely_before(&self, deadline: u64) -> bool {
        match self {
            Self::System(system) => system.is_surely_before(deadline),
            Self::Given(_) => false,
        }
    }
}

/// The system's monotonic clock, from a start.
#[cfg(target_os = "linux")]
pub(crate) struct System {
    start: u64,
}

#[cfg(target_os = "linux")]
impl System {
    fn start() -> Self {
        Self { start: Self::read(ClockId::Monotonic) }
    }

    #[inline]
    fn read(clock: ClockId) -> u64 {
        let time = clock_gettime(clock);
        // Neither is ever negative, nor the sum too large: the clock shows the time since the system was started.
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }

    #[inline]
    fn elapsed(&self) -> u64 {
        Self::read(ClockId::Monotonic).saturating_sub(self.start)
    }

    #[inline]
    fn rough(&self) -> u64 {
        Self::read(ClockId::MonotonicCoarse).saturating_sub(self.start)
    }

    #[inline]
    fn is_surely_before(&self, deadline: u64) -> bool {
        self.rough() + COARSE_LAG < deadline
    }
}

/// The system's monotonic clock, from a start.
#[cfg(not(target_os = "linux"))]
pub(crate) struct System {
    start: std::time::Instant,
}

#[cfg(not(target_os = "linux"))]
impl System {
    fn start() -> Self {
        Self { start: std::time::Instant::now() }
    }

    fn elapsed(&self) -> u64 {
        nanos(self.start.elapsed())
    }

    #[cfg(feature = "server")]
    fn rough(&self) -> u64 {
        self.elapsed()
    }

    /// There is no coarse clock here that is known to be cheaper.
    fn is_surely_before(&self, _deadline: u64) -> bool {
        false
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System(_) => "System",
            Self::Given(_) => "Given",
        })
    }
}

/// A duration in nanoseconds; `u64::MAX` where it is longer than that.
#[inline]
pub(crate) fn nanos(duration: Duration) -> u64 {
    // Not `as_nanos`, whose 128 bits cost more than the rest of it.
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos().into())
}
