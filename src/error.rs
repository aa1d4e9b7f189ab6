//! The errors that callers see, with the facts in fields.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// A setting of the [`Builder`](crate::Builder) that can't be, or can't be together with another.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// Neither `max_entries` nor `max_bytes` was set.
    NoLimit,
    /// Both `max_entries` and `max_bytes` were set.
    TwoLimits,
    /// A weigher was given to a cache that is limited by entries.
    WeigherWithoutBytes,
    /// `max_entries` is 0.
    ZeroEntries,
    /// `max_entries` or `initial_entries` is more than a cache can hold.
    TooManyEntries {
        /// What was asked for.
        given: usize,
        /// The most there can be, with this number of stripes.
        max: usize,
    },
    /// `initial_entries` is more than `max_entries`.
    InitialAboveMax {
        /// What was asked for.
        initial: usize,
        /// The cache's limit.
        max: usize,
    },
    /// `max_bytes` is less than the cache takes before it holds anything of use.
    TooFewBytes {
        /// What was asked for.
        given: u64,
        /// The least that is enough, with this number of stripes.
        min: u64,
    },
    /// `max_bytes` is more than a cache can count.
    TooManyBytes {
        /// What was asked for.
        given: u64,
        /// The most there can be.
        max: u64,
    },
    /// `stripes` is 0 or more than there can be.
    Stripes {
        /// What was asked for.
        given: usize,
        /// The most there can be.
        max: usize,
    },
    /// `time_to_live` is zero: no entry would ever be found.
    ZeroTimeToLive,
    /// `time_to_idle` is zero: no entry would ever be found.
    ZeroTimeToIdle,
    /// `refresh_after` is zero: every hit would load.
    ZeroRefreshAfter,
    /// `refresh_after` is not below `time_to_live`: every entry would expire before it is old enough.
    RefreshNotBelowTimeToLive {
        /// The age at which entries were to be loaded anew.
        refresh_after: Duration,
        /// The age at which they expire.
        time_to_live: Duration,
    },
    /// The limit of a cache was to be changed to one of another kind.
    OtherLimit {
        /// What the cache is limited by, `"max_entries"` or `"max_bytes"`.
        limited_by: &'static str,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLimit => f.write_str("a cache needs a limit: set max_entries or max_bytes"),
            Self::TwoLimits => f.write_str("a cache has one limit: set max_entries or max_bytes, not both"),
            Self::WeigherWithoutBytes => {
                f.write_str("a weigher has no effect with max_entries: set max_bytes, or leave the weigher out")
            }
            Self::ZeroEntries => f.write_str("max_entries is 0: a cache holds at least 1 entry"),
            Self::TooManyEntries { given, max } => {
                write!(f, "{given} entries are more than the {max} that a cache with this number of stripes can hold")
            }
            Self::InitialAboveMax { initial, max } => {
                write!(f, "initial_entries is {initial}, more than max_entries, which is {max}")
            }
            Self::TooFewBytes { given, min } => {
                write!(
                    f,
                    "max_bytes is {given}, but the cache's own structures take {min}: raise it, or set fewer stripes"
                )
            }
            Self::TooManyBytes { given, max } => {
                write!(f, "max_bytes is {given}, but a cache with this number of stripes can count no more than {max}")
            }
            Self::Stripes { given, max } => write!(f, "stripes is {given}: it must be from 1 to {max}"),
            Self::ZeroTimeToLive => f.write_str("time_to_live is zero: every entry would expire at once"),
            Self::ZeroTimeToIdle => f.write_str("time_to_idle is zero: every entry would expire at once"),
            Self::ZeroRefreshAfter => f.write_str("refresh_after is zero: every hit would load the value anew"),
            Self::RefreshNotBelowTimeToLive { refresh_after, time_to_live } => {
                write!(
                    f,
                    "refresh_after is {refresh_after:?}, but entries expire after {time_to_live:?} by time_to_live: \
                     set it below that"
                )
            }
            Self::OtherLimit { limited_by } => {
                write!(f, "the cache is limited by {limited_by}: change that limit instead")
            }
        }
    }
}

impl Error for BuildError {}

/// An entry that weighs more than the whole cache may. It is handed back; the value that was in the
/// cache under its key, if any, is gone, since a cache must not serve what its user replaced.
#[derive(Clone, PartialEq, Eq)]
pub struct TooLarge<K, V> {
    /// The key that was to be inserted.
    pub key: K,
    /// Its value.
    pub value: V,
    /// What they weigh: the bytes that they hold beyond their own size, of the value as it was to be stored.
    pub weight: u64,
    /// The most that one entry may weigh in this cache, now: the limit, less the cache's structures and the entry's node.
    pub max: u64,
}

/// Why an entry was not stored. It is handed back; the value that was in the cache under its key, if any, is gone, since a
/// cache must not serve what its user replaced.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotStored<K, V, E> {
    /// It weighs more than the whole cache may.
    TooLarge(TooLarge<K, V>),
    /// The value can't be turned into what is to be stored.
    Unpackable {
        /// The key that was to be inserted.
        key: K,
        /// Its value.
        value: V,
        /// Why it can't.
        error: E,
    },
}

impl<K, V, E> NotStored<K, V, E> {
    pub(crate) fn key(&self) -> &K {
        match self {
            Self::TooLarge(TooLarge { key, .. }) | Self::Unpackable { key, .. } => key,
        }
    }
}

impl<K, V> fmt::Display for TooLarge<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { weight, max, .. } = self;
        write!(f, "the entry weighs {weight} bytes, but the cache has room for {max}: raise max_bytes or store less")
    }
}

impl<K, V> fmt::Debug for TooLarge<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TooLarge").field("weight", &self.weight).field("max", &self.max).finish_non_exhaustive()
    }
}

impl<K, V> Error for TooLarge<K, V> {}

impl<K, V, E: fmt::Display> fmt::Display for NotStored<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(too_large) => too_large.fmt(f),
            Self::Unpackable { error, .. } => write!(f, "the value was not stored: {error}"),
        }
    }
}

impl<K, V, E: fmt::Debug> fmt::Debug for NotStored<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(too_large) => f.debug_tuple("TooLarge").field(too_large).finish(),
            Self::Unpackable { error, .. } => {
                f.debug_struct("Unpackable").field("error", error).finish_non_exhaustive()
            }
        }
    }
}

impl<K, V, E: Error + 'static> Error for NotStored<K, V, E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::TooLarge(_) => None,
            Self::Unpackable { error, .. } => Some(error),
        }
    }
}
