//! The speed table: nanoseconds per operation for each subject and column, as medians over rounds.
//!
//! Within a round the subjects take their turns column by column, so that whatever else the machine does falls on all
//! of them alike; each round starts with another subject. Knows no subject by name, except which rows the ratios
//! divide by.

use std::time::Duration;

use crate::{
    adapters::{LARDER_LRU, LARDER_S3_FIFO},
    report::{Table, figure, median, progress, ratio},
    subject::Candidate,
    timing::{Bench, Pace, Rate, Work, insert_room},
    workload::{Scale, Sequences, Workload},
};

/// How a whole run goes, whatever the table.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) scale: Scale,
    pub(crate) rounds: usize,
    /// The timed part of one cell in one round.
    pub(crate) span: Duration,
    /// Words that a column's name must have one of; all columns, if empty.
    pub(crate) only: Vec<String>,
}

impl Settings {
    fn wants(&self, column: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|word| column.contains(word))
    }
}

pub(crate) struct Column {
    pub(crate) name: &'static str,
    kind: Kind,
    threads: usize,
}

#[derive(Clone, Copy)]
enum Kind {
    GetSmall,
    GetLarge,
    GetZipf,
    GetHot,
    GetBatch,
    ReadThrough,
    Insert,
}

/// The columns that share the caches they run on.
struct Group {
    entries: fn(&Scale) -> usize,
    state: State,
    columns: &'static [Column],
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// All entries are there: the caches have a quarter more room than that, since most divide it among shards.
    Resident,
    /// No room is left: twice as much was inserted as fits, so that lists of what was evicted have grown to their
    /// size too.
    Full,
}

const fn column(name: &'static str, kind: Kind, threads: usize) -> Column {
    Column { name, kind, threads }
}

const GROUPS: [Group; 6] = [
    Group {
        entries: |scale| scale.small,
        state: State::Resident,
        columns: &[
            column("get 10k 1t", Kind::GetSmall, 1),
            column("get 10k 2t", Kind::GetSmall, 2),
            column("hot 2t", Kind::GetHot, 2),
        ],
    },
    Group {
        entries: |scale| scale.large,
        state: State::Resident,
        columns: &[
            column("get 1M 1t", Kind::GetLarge, 1),
            column("get 1M 2t", Kind::GetLarge, 2),
            column("z 1t", Kind::GetZipf, 1),
            column("z 2t", Kind::GetZipf, 2),
            column("32 gets 1M 1t", Kind::GetBatch, 1),
        ],
    },
    Group {
        entries: |scale| scale.middle,
        state: State::Full,
        columns: &[column("rt 1t", Kind::ReadThrough, 1), column("rt 2t", Kind::ReadThrough, 2)],
    },
    Group {
        entries: |scale| scale.middle,
        state: State::Full,
        columns: &[column("ins 1t", Kind::Insert, 1), column("ins 2t", Kind::Insert, 2)],
    },
    Group { entries: |scale| scale.small, state: State::Full, columns: &[column("ins 10k 1t", Kind::Insert, 1)] },
    Group { entries: |scale| scale.large, state: State::Full, columns: &[column("ins 1M 1t", Kind::Insert, 1)] },
];

/// Ids from here on are in no sequence.
const FRESH: u64 = 1 << 40;

/// A cell that looked only for keys that are there, and missed: it says nothing of hits.
const MISSED: &str = "did not hold every key, so this cell is left out";

pub(crate) fn column_names() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().flat_map(|group| group.columns).map(|column| column.name)
}

/// The medians, by column and then by subject.
pub(crate) struct Speed {
    subjects: Vec<&'static str>,
    columns: Vec<Cells>,
}

struct Cells {
    name: &'static str,
    ns: Vec<Option<f64>>,
    /// Only where misses are part of the work.
    hits: Option<Vec<Option<f64>>>,
}

impl Speed {
    pub(crate) fn ns(&self, column: &str, subject: &str) -> Option<f64> {
        let cells = self.columns.iter().find(|cells| cells.name == column)?;
        let row = self.subjects.iter().position(|name| *name == subject)?;
        cells.ns[row]
    }

    /// The least of the column among the subjects that `admit` lets in.
    pub(crate) fn fastest(&self, column: &str, admit: impl Fn(&str) -> bool) -> Option<f64> {
        let admitted = self.subjects.iter().filter(|name| admit(name));
        let figures = admitted.filter_map(|name| self.ns(column, name));
        figures.min_by(f64::total_cmp)
    }

    pub(crate) fn columns(&self) -> impl Iterator<Item = &'static str> {
        self.columns.iter().map(|cells| cells.name)
    }

    /// Prints the medians, beside `bytes` per entry, and then the ratios to larder's rows.
    pub(crate) fn print(&self, bytes: &[f64]) {
        let names = || self.columns.iter().map(|cells| cells.name);
        let mut table = Table::new(["", "bytes/entry at 1M"].into_iter().chain(names()));
        for (row, subject) in self.subjects.iter().enumerate() {
            let held = bytes.get(row).copied();
            let cells = self.columns.iter().map(|cells| figure(cells.ns[row]));
            table.row([(*subject).to_owned(), figure(held)].into_iter().chain(cells));
        }
        table.print();
        self.print_hits();
        for base in [LARDER_LRU, LARDER_S3_FIFO] {
            if self.subjects.contains(&base) {
                self.print_ratios(base);
            }
        }
    }

    fn print_hits(&self) {
        for cells in &self.columns {
            let Some(hits) = &cells.hits else { continue };
            let shares = self.subjects.iter().zip(hits).map(|(subject, share)| {
                let percent = share.map(|share| share * 100.0);
                format!("{subject} {} %", figure(percent))
            });
            let shares: Vec<_> = shares.collect();
            println!("Hits in `{}`: {}.\n", cells.name, shares.join(", "));
        }
    }

    fn print_ratios(&self, base: &str) {
        println!("Time divided by that of {base} (above 1: {base} is faster):\n");
        let mut table = Table::new(std::iter::once("").chain(self.columns()));
        for subject in self.subjects.iter().filter(|name| **name != base) {
            let ratios = self.columns().map(|column| {
                let quotient = self.ns(column, subject).zip(self.ns(column, base));
                ratio(quotient.map(|(ns, base)| ns / base))
            });
            table.row(std::iter::once((*subject).to_owned()).chain(ratios));
        }
        table.print();
    }
}

/// Measures every wanted column for every candidate.
pub(crate) fn measure<W: Workload>(
    candidates: &[Candidate<W>],
    sequences: &Sequences<W>,
    settings: &Settings,
) -> Speed {
    let mut columns = Vec::new();
    for group in &GROUPS {
        let wanted: Vec<&Column> = group.columns.iter().filter(|column| settings.wants(column.name)).collect();
        if wanted.is_empty() {
            continue;
        }
        let mut rates = vec![vec![Vec::new(); candidates.len()]; wanted.len()];
        for round in 0..settings.rounds {
            let names: Vec<_> = wanted.iter().map(|column| column.name).collect();
            let names = names.join(", ");
            let (now, all) = (round + 1, settings.rounds);
            progress(format_args!("{}: {names}: round {now} of {all}", W::TITLE));
            measure_round(group, &wanted, candidates, sequences, settings, round, &mut rates);
        }
        columns.extend(wanted.iter().zip(rates).map(|(column, rates)| {
            let names = candidates.iter().map(|candidate| candidate.name);
            medians(column, names, rates)
        }));
    }
    Speed { subjects: candidates.iter().map(|candidate| candidate.name).collect(), columns }
}

/// One round of a group: `rates` takes one more rate for each column and candidate.
fn measure_round<W: Workload>(
    group: &Group,
    columns: &[&Column],
    candidates: &[Candidate<W>],
    sequences: &Sequences<W>,
    settings: &Settings,
    round: usize,
    rates: &mut [Vec<Vec<Rate>>],
) {
    let count = candidates.len();
    let turns = || (0..count).map(|turn| (turn + round) % count);
    let caches: Vec<(usize, Box<dyn Bench<W>>)> =
        turns().map(|candidate| (candidate, prepared(&candidates[candidate], group, settings))).collect();
    let mut fresh = FRESH;
    for (column, rates) in columns.iter().zip(rates) {
        let pace = Pace { threads: column.threads, span: settings.span, accesses: sequences.accesses };
        let work = match column.kind {
            Kind::GetSmall => Work::Get(&sequences.uniform_small),
            Kind::GetLarge => Work::Get(&sequences.uniform_large),
            Kind::GetZipf => Work::Get(&sequences.zipf),
            Kind::GetHot => Work::Get(&sequences.hot),
            Kind::GetBatch => Work::GetBatch(&sequences.uniform_large),
            Kind::ReadThrough => Work::ReadThrough(&sequences.zipf),
            Kind::Insert => Work::Insert(fresh),
        };
        for (candidate, cache) in &caches {
            rates[*candidate].push(cache.run(&work, pace));
        }
        fresh += insert_room::<W>(pace) * column.threads as u64;
    }
}

fn prepared<W: Workload>(candidate: &Candidate<W>, group: &Group, settings: &Settings) -> Box<dyn Bench<W>> {
    let entries = (group.entries)(&settings.scale);
    match group.state {
        State::Resident => {
            let cache = candidate.build(entries + entries / 4);
            cache.fill(0..entries as u64);
            cache
        }
        State::Full => {
            let cache = candidate.build(entries);
            cache.fill(0..2 * entries as u64);
            cache
        }
    }
}

fn medians(column: &Column, subjects: impl Iterator<Item = &'static str>, rates: Vec<Vec<Rate>>) -> Cells {
    let may_miss = matches!(column.kind, Kind::ReadThrough);
    let of = |rates: &[Rate], figure: fn(&Rate) -> f64| median(rates.iter().map(figure).collect());
    let hits = rates.iter().map(|rates| of(rates, |rate| rate.hits)).collect();
    let ns = subjects.zip(&rates).map(|(subject, rates)| {
        if !may_miss && rates.iter().any(|rate| rate.hits < 1.0) {
            progress(format_args!("{}: {subject} {MISSED}", column.name));
            return None;
        }
        of(rates, |rate| rate.ns)
    });
    Cells { name: column.name, ns: ns.collect(), hits: may_miss.then_some(hits) }
}
