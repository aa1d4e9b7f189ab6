//! The command line: which traces, which capacities, which policies, what to write and what to
//! demand.
//!
//! This file knows how arguments are spelled, and nothing of how they are carried out.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, ValueEnum};

use crate::measure::Method;

/// Replays access traces through the cache and prints the hit ratio by capacity, beside exact LRU
/// and FIFO.
///
/// A trace is NAME.ids.gz (gzip of little-endian u32 keys, one per request; NAME.sizes.gz beside
/// it, in the same form, gives the sizes; the suffix may be left out), or text, plain or gzipped,
/// with one `key` or `key,size` per line. `-` is standard input. Without a trace one is generated.
#[derive(Parser)]
#[command(name = "hit_ratio")]
pub(crate) struct Args {
    /// The traces; each gets a table, and several get one of their means
    #[arg(value_name = "TRACE")]
    pub(crate) traces: Vec<PathBuf>,

    /// Shares of the unique keys ("1%") or entries ("5000"); with --by-bytes, shares of their bytes
    /// or bytes ("64k"). A share that makes fewer than 8 entries is skipped
    #[arg(long, value_delimiter = ',', default_value = "0.1%,1%,3%,10%,30%")]
    capacities: Vec<Capacity>,

    /// The policy to replay
    #[arg(long, value_enum, default_value_t = PolicyChoice::All)]
    pub(crate) policy: PolicyChoice,

    /// Limit the cache by bytes. Its budget pays for its own nodes and tables too, that of the
    /// references for the sizes of the trace alone
    #[arg(long)]
    pub(crate) by_bytes: bool,

    /// Threads that share one replay; above 1 the result depends a little on their timing
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: u16,

    /// Ratios that every trace must reach, as in 'lru@10%>=0.78,s3fifo@10%>=0.80'; else the exit
    /// code is 1
    #[arg(long, value_delimiter = ',')]
    pub(crate) expect: Vec<Expectation>,

    /// Check the policies against exact LRU at 1, 10 and 30 %, as the crate promises; exit code 1
    /// if that is missed
    #[arg(long, conflicts_with_all = ["capacities", "policy", "by_bytes"])]
    pub(crate) check_bars: bool,

    /// Where the plot goes
    #[arg(long, value_name = "FILE", default_value = "target/hit_ratio.svg")]
    pub(crate) svg: PathBuf,

    /// Write all results as CSV, too
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,

    /// Passed by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

impl Args {
    /// The capacities to measure.
    pub(crate) fn capacities(&self) -> Vec<Capacity> {
        if self.check_bars { crate::bars::capacities() } else { self.capacities.clone() }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum PolicyChoice {
    Lru,
    S3fifo,
    All,
}

impl PolicyChoice {
    /// The columns of the tables. Exact LRU comes first, since all others are compared to it.
    pub(crate) fn methods(self) -> Vec<Method> {
        let (lru, s3fifo) = (Method::Lru, Method::S3Fifo);
        let chosen = match self {
            PolicyChoice::Lru => vec![lru],
            PolicyChoice::S3fifo => vec![s3fifo],
            PolicyChoice::All => vec![lru, s3fifo],
        };
        [vec![Method::ExactLru, Method::ExactFifo], chosen].concat()
    }
}

/// A capacity as the user wrote it: a share of what the trace has, or an absolute number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Capacity {
    /// In percent.
    Share(f64),
    /// Entries or bytes.
    Absolute(u64),
}

impl Capacity {
    /// The limit that this is for a trace with `total` unique keys or bytes.
    pub(crate) fn of(self, total: u64) -> u64 {
        match self {
            Capacity::Share(percent) => (total as f64 * percent / 100.0).round_ties_even() as u64,
            Capacity::Absolute(limit) => limit,
        }
    }
}

impl std::fmt::Display for Capacity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Capacity::Share(percent) => write!(f, "{percent} %"),
            Capacity::Absolute(limit) => write!(f, "{limit}"),
        }
    }
}

impl FromStr for Capacity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is neither a share (1%) nor a number (5000, 64k) above 0");
        if let Some(number) = text.strip_suffix('%') {
            let percent: f64 = number.trim().parse().map_err(|_| wrong())?;
            return if percent > 0.0 && percent.is_finite() { Ok(Capacity::Share(percent)) } else { Err(wrong()) };
        }
        let (digits, unit) = match text.char_indices().last() {
            Some((end, 'k' | 'K')) => (&text[..end], 1 << 10),
            Some((end, 'm' | 'M')) => (&text[..end], 1 << 20),
            Some((end, 'g' | 'G')) => (&text[..end], 1 << 30),
            _ => (text, 1),
        };
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        number.checked_mul(unit).filter(|&limit| limit > 0).map(Capacity::Absolute).ok_or_else(wrong)
    }
}

/// A hit ratio that a policy must reach at a capacity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Expectation {
    pub(crate) method: Method,
    pub(crate) capacity: Capacity,
    pub(crate) at_least: f64,
}

impl FromStr for Expectation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("`{text}`: {what}; an example is lru@10%>=0.78");
        let (place, ratio) = text.split_once(">=").ok_or_else(|| wrong("there is no >= in it"))?;
        let (policy, capacity) = place.split_once('@').ok_or_else(|| wrong("there is no @ before the >="))?;
        let method = match policy.trim() {
            "lru" => Method::Lru,
            "s3fifo" => Method::S3Fifo,
            _ => return Err(wrong("the policy is lru or s3fifo")),
        };
        let at_least: f64 = ratio.trim().parse().map_err(|_| wrong("the ratio is no number"))?;
        if !(0.0..=1.0).contains(&at_least) {
            return Err(wrong("the ratio is not between 0 and 1"));
        }
        Ok(Expectation { method, capacity: capacity.trim().parse()?, at_least })
    }
}
