//! The hit ratio of this crate's policies on an access trace, by capacity, beside exact LRU and
//! FIFO.
//!
//! ```text
//! cargo bench --bench hit_ratio                                  a generated trace
//! cargo bench --bench hit_ratio -- twitter52.ids.gz web.txt      traces of yours
//! cargo bench --bench hit_ratio -- --help                        formats and flags
//! ```
//!
//! Every request is a `get`, and an `insert` when that misses, through the crate's public API. This
//! file knows the order of the steps and the exit code: 0, 1 when a ratio is below what `--expect`
//! or `--check-bars` demands, 2 when the input or the arguments are unusable. It must not know
//! formats of files or how a policy works.

mod args;
mod bars;
mod error;
mod generate;
mod measure;
mod plot;
mod reference;
mod replay;
mod smoke;
mod table;
mod trace;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Args;
use crate::error::Error;
use crate::measure::{Plan, Report};
use crate::trace::Trace;

fn main() -> ExitCode {
    // `cargo bench` passes `--bench`; `cargo test --benches` does not, and there the question is
    // only whether this program still works. Its other arguments are then the test runner's, not
    // ours.
    let given = |flag: &str| std::env::args().any(|argument| argument == flag);
    let outcome = if given("--bench") && !given("--test") { run(&Args::parse()) } else { smoke::run() };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("hit_ratio: {error}");
            ExitCode::from(2)
        }
    }
}

/// Does what the arguments ask for; `false` when a demand was missed.
fn run(args: &Args) -> Result<bool, Error> {
    let plan = Plan {
        capacities: args.capacities(),
        methods: args.policy.methods(),
        by_bytes: args.by_bytes,
        threads: args.threads.into(),
    };
    bars::check_possible(&args.expect, &plan)?;
    let traces = read(args)?;
    let reports = measure::all(&traces, &plan)?;

    print(&table::text(&reports, &plan))?;
    if let Some(path) = &args.csv {
        write(path, &table::csv(&reports, &plan))?;
        print(&format!("CSV written to {}\n", path.display()))?;
    }
    write(&args.svg, &plot::svg(&reports, &plan)?)?;
    print(&format!("plot written to {}\n", args.svg.display()))?;
    judge(args, &reports)
}

fn read(args: &Args) -> Result<Vec<Trace>, Error> {
    if args.traces.is_empty() {
        let trace = generate::trace(generate::REQUESTS);
        print(&format!("No trace was named: {}\n\n", generate::DESCRIPTION))?;
        return Ok(vec![trace]);
    }
    args.traces.iter().map(|path| trace::read(path)).collect()
}

/// Holds the results against `--expect` and `--check-bars`; `false` when one is missed.
fn judge(args: &Args, reports: &[Report]) -> Result<bool, Error> {
    let missed = bars::missed(&args.expect, reports);
    for message in &missed {
        eprintln!("hit_ratio: {message}");
    }
    let mut met = missed.is_empty();
    if args.check_bars {
        let bars = bars::check(reports);
        print(&bars.text)?;
        met &= bars.met;
    }
    Ok(met)
}

/// Prints to standard output. A reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> Result<(), Error> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(source) if source.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::Write { path: "standard output".into(), source })
        }
        _ => Ok(()),
    }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(path, text)).map_err(|source| Error::Write { path: path.into(), source })
}
