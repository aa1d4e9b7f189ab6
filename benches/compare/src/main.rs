//! Measures larder beside other caches: one run prints every table, and at the end which of its bars larder meets.
//!
//! This file reads the command line and puts the tables in order. `workload` says what is cached, `adapters` how each
//! cache is used, `timing` holds the loops; a file for each table measures and prints it.

mod adapters;
mod alloc;
mod bars;
mod features;
mod latency;
mod machine;
mod memory;
mod report;
mod speed;
mod subject;
mod timing;
mod workload;

use std::{process::ExitCode, time::Duration};

use clap::{Parser, ValueEnum};

use bars::Measured;
use memory::{Held, Memory};
use speed::Settings;
use subject::Candidate;
use workload::{Ints, Scale, Sequences, Texts, Workload};

/// Measures larder beside other in-process caches on this machine.
///
/// Prints markdown tables of medians on standard output, and its progress on standard error. Within a round the caches
/// take their turns column by column; every round starts with another one. Columns: `get` looks up random keys that
/// are all there, `z` the same by a Zipf distribution over 1M keys, `32 gets` in batches of 32, `hot` one key from all
/// threads; `rt` reads through a cache of 100k over 1M Zipf keys (a get, and an insert if it misses); `ins` inserts new
/// keys into a full cache of 100k, unless it names another size. `1t` and `2t` are threads. All in nanoseconds per
/// operation and thread.
#[derive(Parser)]
#[command(version, after_help = after_help())]
struct Arguments {
    /// Rounds that each median is taken over [default: 7; 1 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,

    /// Small caches and short spans: shows in seconds that everything works; the figures mean nothing
    #[arg(long)]
    quick: bool,

    /// Only the speed columns with one of these words in their names, such as "get 10k,ins"
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    only: Vec<String>,

    /// Only the caches with one of these words in their names, such as "larder,quick"
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    subjects: Vec<String>,

    /// Which tables to make
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = TableName::value_variants().to_vec())]
    tables: Vec<TableName>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum TableName {
    /// Nanoseconds per operation and bytes per entry, u64 -> u64
    Speed,
    /// The same for String keys and Arc<[u8]> values
    String,
    /// Allocator bytes per entry, with larder's TTL and max_bytes
    Memory,
    /// Percentiles of single inserts
    Latency,
    /// What each of larder's features adds to a get
    Features,
}

fn after_help() -> String {
    let columns: Vec<_> = speed::column_names().collect();
    let subjects: Vec<_> = subject_names().collect();
    format!("Columns: {}\nCaches: {}", columns.join(", "), subjects.join(", "))
}

fn subject_names() -> impl Iterator<Item = &'static str> {
    let all = adapters::all::<Ints>();
    all.into_iter().map(|candidate| candidate.name)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    for (words, names) in
        [(&arguments.only, speed::column_names().collect::<Vec<_>>()), (&arguments.subjects, subject_names().collect())]
    {
        let unknown = |word: &&String| !names.iter().any(|name| name.contains(word.as_str()));
        if let Some(word) = words.iter().find(unknown) {
            eprintln!("error: \"{word}\" is in none of these names: {}", names.join(", "));
            return ExitCode::from(2);
        }
    }
    run(&arguments);
    ExitCode::SUCCESS
}

fn run(arguments: &Arguments) {
    let quick = arguments.quick;
    let settings = Settings {
        scale: if quick { Scale::QUICK } else { Scale::FULL },
        rounds: arguments.rounds.map_or(if quick { 1 } else { 7 }, usize::from),
        span: Duration::from_millis(if quick { 4 } else { 150 }),
        only: arguments.only.clone(),
    };
    let wants = |table| arguments.tables.contains(&table);

    machine::print();
    println!("Rounds: {}. Every figure is their median; lower is better.\n", settings.rounds);
    if quick {
        println!("**A quick run: sizes and spans are a fraction of what the names say; the figures mean nothing.**\n");
    }
    let mut measured = Measured::default();
    if wants(TableName::Speed) || wants(TableName::Memory) {
        let candidates = selected::<Ints>(arguments);
        let held = memory::measure(&candidates, settings.scale.large);
        if wants(TableName::Speed) {
            measured.speed = Some(speed_table(&candidates, &held, &settings));
        }
        if wants(TableName::Memory) {
            let memory = Memory::with_variants(held, settings.scale.large);
            memory.print();
            measured.memory = Some(memory);
        }
    }
    if wants(TableName::Latency) {
        let latency = latency::measure(&selected::<Ints>(arguments), &settings);
        latency.print();
        measured.latency = Some(latency);
    }
    if wants(TableName::Features) {
        let sequences = Sequences::new(&settings.scale);
        let features = features::measure(&sequences, &settings);
        features.print();
        measured.features = Some(features);
    }
    if wants(TableName::String) {
        let candidates = selected::<Texts>(arguments);
        let held = memory::measure(&candidates, settings.scale.large);
        speed_table(&candidates, &held, &settings);
    }
    bars::print(&measured);
}

fn selected<W: Workload>(arguments: &Arguments) -> Vec<Candidate<W>> {
    let words = &arguments.subjects;
    let mut all = adapters::all();
    all.retain(|candidate: &Candidate<W>| {
        words.is_empty() || words.iter().any(|word| candidate.name.contains(word.as_str()))
    });
    all
}

fn speed_table<W: Workload>(candidates: &[Candidate<W>], held: &[Held], settings: &Settings) -> speed::Speed {
    let sequences = Sequences::<W>::new(&settings.scale);
    let speed = speed::measure(candidates, &sequences, settings);
    println!("## Speed, {}, ns per operation and thread\n", W::TITLE);
    let bytes: Vec<_> = held.iter().map(|held| held.filled).collect();
    speed.print(&bytes);
    speed
}
