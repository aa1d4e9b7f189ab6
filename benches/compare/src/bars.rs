//! What larder has set itself to reach, held against what was measured. It informs, and fails nothing: figures from a
//! shared machine are for people to judge.
//!
//! The bars on speed are for `u64 -> u64`. A bar whose figures were not measured is left out.

use crate::{
    adapters::{CLOCK, LARDER_LRU, LARDER_S3_FIFO, QUICK_CACHE, TTL},
    features::{COLUMNS, Features},
    latency::{Latency, Tail},
    memory::Memory,
    report::Table,
    speed::Speed,
};

/// A ratio of 1.0 that was missed by less than this cannot be told from reaching it.
const NOISE: f64 = 0.03;

const BATCH_COLUMN: &str = "32 gets 1M 1t";

/// How many times as fast as quick_cache.
const QUICK_CACHE_BARS: [(&str, f64); 8] = [
    ("get 10k 1t", 1.1),
    ("get 10k 2t", 2.5),
    ("z 2t", 1.3),
    ("rt 2t", 1.8),
    ("ins 1t", 1.1),
    ("ins 2t", 1.1),
    ("hot 2t", 4.0),
    ("ins 1M 1t", 1.4),
];

const TAILS: [(&str, Tail); 4] = [
    ("p99.9 insert, full", Tail::FullP999),
    ("worst insert, full", Tail::FullWorst),
    ("p99.99 insert, growing", Tail::GrowingP9999),
    ("worst insert, growing", Tail::GrowingWorst),
];

/// What was measured in this run.
#[derive(Default)]
pub(crate) struct Measured {
    pub(crate) speed: Option<Speed>,
    pub(crate) memory: Option<Memory>,
    pub(crate) latency: Option<Latency>,
    pub(crate) features: Option<Features>,
}

struct Bar {
    requirement: String,
    policy: &'static str,
    needed: Needed,
    measured: f64,
}

#[derive(Clone, Copy)]
enum Needed {
    AtLeast(f64),
    /// At least as fast as the other, within the noise.
    NoSlower,
    AtMost(f64),
    Below(f64),
}

impl Needed {
    fn verdict(self, measured: f64) -> &'static str {
        let met = match self {
            Needed::AtLeast(least) => measured >= least,
            Needed::NoSlower if (1.0 - NOISE..1.0).contains(&measured) => return "PASS (noise)",
            Needed::NoSlower => measured >= 1.0,
            Needed::AtMost(most) => measured <= most,
            Needed::Below(limit) => measured < limit,
        };
        if met { "PASS" } else { "short" }
    }

    fn text(self) -> String {
        match self {
            Needed::AtLeast(least) => format!("≥ {least:.2}"),
            Needed::NoSlower => "≥ 1.00".to_owned(),
            Needed::AtMost(most) => format!("≤ {most:.1}"),
            Needed::Below(limit) => format!("< {limit:.1}"),
        }
    }

    fn is_ratio(self) -> bool {
        matches!(self, Needed::AtLeast(_) | Needed::NoSlower)
    }
}

/// Prints every bar that can be judged, and how many are met.
pub(crate) fn print(measured: &Measured) {
    let mut bars = Vec::new();
    for policy in [LARDER_LRU, LARDER_S3_FIFO] {
        if let Some(speed) = &measured.speed {
            against_fastest(speed, policy, &mut bars);
            against_quick_cache(speed, policy, &mut bars);
        }
        if let Some(memory) = &measured.memory {
            of_memory(memory, policy, &mut bars);
        }
        if let Some(latency) = &measured.latency {
            of_latency(latency, policy, &mut bars);
        }
    }
    if let Some(features) = &measured.features {
        of_features(features, &mut bars);
    }
    if bars.is_empty() {
        return;
    }
    println!("## Bars\n");
    let mut table = Table::new(["requirement", "of", "needed", "measured", "verdict"]);
    let mut met = 0;
    for bar in &bars {
        let verdict = bar.needed.verdict(bar.measured);
        met += usize::from(verdict != "short");
        let figure = match bar.needed.is_ratio() {
            true => format!("{:.2}", bar.measured),
            false => format!("{:.1}", bar.measured),
        };
        table.row([bar.requirement.clone(), bar.policy.to_owned(), bar.needed.text(), figure, verdict.to_owned()]);
    }
    table.print();
    println!("{met} of {} met.", bars.len());
}

fn against_fastest(speed: &Speed, policy: &'static str, bars: &mut Vec<Bar>) {
    let is_peer = |name: &str| name != LARDER_LRU && name != LARDER_S3_FIFO;
    for column in speed.columns() {
        let needed = match column {
            "get 1M 1t" => Needed::AtLeast(0.9),
            BATCH_COLUMN => Needed::AtLeast(1.6),
            "ins 1t" if policy == LARDER_S3_FIFO => Needed::AtLeast(0.9),
            _ => Needed::NoSlower,
        };
        let figures = speed.fastest(column, is_peer).zip(speed.ns(column, policy));
        bars.extend(figures.map(|(peer, own)| Bar {
            requirement: format!("{column}, fastest peer / larder"),
            policy,
            needed,
            measured: peer / own,
        }));
    }
}

fn against_quick_cache(speed: &Speed, policy: &'static str, bars: &mut Vec<Bar>) {
    for (column, least) in QUICK_CACHE_BARS {
        let figures = speed.ns(column, QUICK_CACHE).zip(speed.ns(column, policy));
        bars.extend(figures.map(|(peer, own)| Bar {
            requirement: format!("{column}, quick_cache / larder"),
            policy,
            needed: Needed::AtLeast(least),
            measured: peer / own,
        }));
    }
}

fn of_memory(memory: &Memory, policy: &'static str, bars: &mut Vec<Bar>) {
    let with_ttl = format!("{policy}, TTL on each");
    let bounds = [
        ("bytes per entry", policy, Needed::AtMost(56.0)),
        ("bytes per entry with a TTL", &with_ttl, Needed::Below(64.0)),
    ];
    for (requirement, row, needed) in bounds {
        bars.extend(memory.bytes(row).map(|bytes| Bar {
            requirement: requirement.to_owned(),
            policy,
            needed,
            measured: bytes,
        }));
    }
}

fn of_latency(latency: &Latency, policy: &'static str, bars: &mut Vec<Bar>) {
    for (title, tail) in TAILS {
        let figures = latency.ns(tail, QUICK_CACHE).zip(latency.ns(tail, policy));
        bars.extend(figures.map(|(peer, own)| Bar {
            requirement: format!("{title}, quick_cache / larder"),
            policy,
            needed: Needed::AtLeast(1.0),
            measured: peer / own,
        }));
    }
}

fn of_features(features: &Features, bars: &mut Vec<Bar>) {
    for column in COLUMNS {
        for name in features.names() {
            let clock = if name == TTL { features.added(column, CLOCK).unwrap_or_default() } else { 0.0 };
            let figures = features.plain(column).zip(features.added(column, name));
            bars.extend(figures.map(|(plain, added)| Bar {
                requirement: format!("{column}, ns added by {name}"),
                policy: LARDER_LRU,
                needed: Needed::AtMost((0.25 * plain).max(6.0) + clock),
                measured: added,
            }));
        }
    }
}
