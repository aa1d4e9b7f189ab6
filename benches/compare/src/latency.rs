//! How long single inserts take, one thread, each with a clock reading of its own: into a full cache, and into one that
//! grows from nothing.
//!
//! Percentiles are taken within a round and the median of them over the rounds, for the worst insert too: on a shared
//! machine any one round's worst may be the machine's.

use crate::{
    report::{Table, figure, median, progress},
    speed::Settings,
    subject::Candidate,
    timing::clock_reading,
    workload::Workload,
};

/// Percentiles of one subject's inserts, in nanoseconds.
#[derive(Clone, Copy)]
struct Percentiles {
    p50: f64,
    p99: f64,
    p999: f64,
    p9999: f64,
    worst: f64,
}

impl Percentiles {
    fn of(mut times: Vec<u32>) -> Self {
        times.sort_unstable();
        let last = times.len() - 1;
        let at = |share: f64| f64::from(times[(last as f64 * share) as usize]);
        Percentiles { p50: at(0.5), p99: at(0.99), p999: at(0.999), p9999: at(0.9999), worst: at(1.0) }
    }

    fn medians(rounds: &[Percentiles]) -> Self {
        let of = |figure: fn(&Percentiles) -> f64| median(rounds.iter().map(figure).collect()).unwrap_or(f64::NAN);
        Percentiles {
            p50: of(|round| round.p50),
            p99: of(|round| round.p99),
            p999: of(|round| round.p999),
            p9999: of(|round| round.p9999),
            worst: of(|round| round.worst),
        }
    }
}

struct Row {
    name: &'static str,
    full: Percentiles,
    growing: Percentiles,
}

/// The latency table.
pub(crate) struct Latency {
    rows: Vec<Row>,
}

/// The figures that the bars ask for.
#[derive(Clone, Copy)]
pub(crate) enum Tail {
    FullP999,
    FullWorst,
    GrowingP9999,
    GrowingWorst,
}

impl Latency {
    pub(crate) fn ns(&self, tail: Tail, subject: &str) -> Option<f64> {
        let row = self.rows.iter().find(|row| row.name == subject)?;
        Some(match tail {
            Tail::FullP999 => row.full.p999,
            Tail::FullWorst => row.full.worst,
            Tail::GrowingP9999 => row.growing.p9999,
            Tail::GrowingWorst => row.growing.worst,
        })
    }

    pub(crate) fn print(&self) {
        println!("## Latency of one insert, u64 -> u64, ns\n");
        let clock = figure(Some(clock_reading()));
        println!("Each figure holds one clock reading ({clock} ns).\n");
        let mut table =
            Table::new(["", "full: p50", "p99", "p99.9", "worst", "growing: p50", "p99.9", "p99.99", "worst"]);
        for Row { name, full, growing } in &self.rows {
            let figures =
                [full.p50, full.p99, full.p999, full.worst, growing.p50, growing.p999, growing.p9999, growing.worst];
            let cells = figures.map(|ns| figure(Some(ns)));
            table.row(std::iter::once((*name).to_owned()).chain(cells));
        }
        table.print();
    }
}

/// Times inserts into caches of the scale's large size.
pub(crate) fn measure<W: Workload>(candidates: &[Candidate<W>], settings: &Settings) -> Latency {
    let entries = settings.scale.large;
    let count = entries as u64;
    let mut rounds = vec![(Vec::new(), Vec::new()); candidates.len()];
    for round in 0..settings.rounds {
        let (now, all) = (round + 1, settings.rounds);
        progress(format_args!("latency: round {now} of {all}"));
        for turn in 0..candidates.len() {
            let subject = (turn + round) % candidates.len();
            let (full, growing) = &mut rounds[subject];
            let cache = candidates[subject].build(entries);
            growing.push(Percentiles::of(cache.insert_times(0..count)));
            // Until the last free place is taken and lists of what was evicted have grown to their size.
            cache.fill(count..2 * count);
            full.push(Percentiles::of(cache.insert_times(2 * count..3 * count)));
        }
    }
    let rows = candidates.iter().zip(&rounds);
    Latency {
        rows: rows
            .map(|(candidate, (full, growing))| Row {
                name: candidate.name,
                full: Percentiles::medians(full),
                growing: Percentiles::medians(growing),
            })
            .collect(),
    }
}
