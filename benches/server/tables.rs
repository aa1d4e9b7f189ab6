//! The tables: server time per request, answers per second and latencies, and resident bytes per item.
//!
//! Knows what is measured and how often; knows no socket.

use std::io;
use std::time::Duration;

use crate::args::Tables;
use crate::load::{Load, Outcome, Plan};
use crate::subject::{Kind, Subject};

/// Connections and requests that each sends at once.
const SHAPES: [(usize, usize); 3] = [(16, 1), (8, 16), (8, 64)];
const KEYS: usize = 100_000;
const VALUE: usize = 100;
const VALUES: [usize; 3] = [32, 100, 1024];

struct Measured {
    /// Microseconds of the server's time.
    cpu: f64,
    outcome: Outcome,
}

pub(crate) fn print(arguments: &Tables) -> io::Result<()> {
    let kinds = Kind::present();
    println!("# The server, one thread on one core, driven from another\n");
    println!(
        "{KEYS} keys, values of {VALUE} bytes, 10 gets to each set; every answer verified. Medians of {} runs.\n",
        arguments.rounds
    );
    if !arguments.no_time {
        print_time(&kinds, arguments)?;
        print_threads(&kinds, arguments)?;
    }
    if !arguments.no_memory {
        print_memory(&kinds, arguments.items)?;
    }
    Ok(())
}

/// Whether this program works, in a second.
pub(crate) fn smoke() -> io::Result<()> {
    let time = Duration::from_millis(100);
    let plan = Plan { connections: 2, depth: 4, keys: 1000, value: 50, gets: 10, time, rate: None };
    for rate in [None, Some(5_000.0)] {
        let measured = measure(Kind::Larder, Plan { rate, ..plan })?;
        if measured.outcome.answers == 0 || measured.outcome.misses > 0 {
            return Err(io::Error::other("there were no answers, or misses"));
        }
    }
    bytes_per_item(Kind::Larder, 1000, 32).map(drop)
}

fn print_time(kinds: &[Kind], arguments: &Tables) -> io::Result<()> {
    let time = Duration::from_secs_f64(arguments.seconds);
    println!("| load | server | µs of CPU per request | requests per second | p50 µs | p99 µs | p99.9 µs |");
    println!("|---|---|--:|--:|--:|--:|--:|");
    let loads = SHAPES.map(|(connections, depth)| (connections, depth, None));
    for (connections, depth, rate) in loads.into_iter().chain([(16, 1, Some(arguments.rate))]) {
        let plan = Plan { connections, depth, keys: KEYS, value: VALUE, gets: 10, time, rate };
        let mut runs: Vec<Vec<Measured>> = kinds.iter().map(|_| Vec::new()).collect();
        for _ in 0..arguments.rounds.max(1) {
            for (kind, runs) in kinds.iter().zip(&mut runs) {
                runs.push(measure(*kind, plan)?);
            }
        }
        let load = match rate {
            Some(rate) => format!("{connections} connections, {rate:.0} requests per second"),
            None if depth == 1 => format!("{connections} connections, no pipelining"),
            None => format!("{connections} connections, {depth} deep"),
        };
        for (kind, runs) in kinds.iter().zip(&runs) {
            print_row(&load, *kind, runs);
        }
    }
    println!();
    Ok(())
}

fn print_row(load: &str, kind: Kind, runs: &[Measured]) {
    let of = |figure: &dyn Fn(&Measured) -> f64| median(runs.iter().map(figure).collect());
    println!(
        "| {load} | {} | {:.2} | {:.0} | {:.0} | {:.0} | {:.0} |",
        kind.name(),
        of(&|run| run.cpu),
        of(&|run| run.outcome.per_second()),
        of(&|run| run.outcome.percentile(50.0)),
        of(&|run| run.outcome.percentile(99.0)),
        of(&|run| run.outcome.percentile(99.9)),
    );
    let misses: u64 = runs.iter().map(|run| run.outcome.misses).sum();
    if misses > 0 {
        eprintln!("server: {} missed {misses} times, {load}", kind.name());
    }
}

/// What it costs that threads share a cache: beside one thread, two of them, and the load on the same cores each time.
fn print_threads(kinds: &[Kind], arguments: &Tables) -> io::Result<()> {
    let time = Duration::from_secs_f64(arguments.seconds);
    println!("µs of CPU per request with one thread and with two, load and server on all cores.\n");
    println!("| load | server | one thread | two | |");
    println!("|---|---|--:|--:|--:|");
    for (connections, depth) in SHAPES {
        let plan = Plan { connections, depth, keys: KEYS, value: VALUE, gets: 10, time, rate: None };
        let mut runs: Vec<[Vec<f64>; 2]> = kinds.iter().map(|_| Default::default()).collect();
        for _ in 0..arguments.rounds.max(1) {
            for (kind, runs) in kinds.iter().zip(&mut runs) {
                for (threads, runs) in (1..).zip(runs) {
                    runs.push(measure_on(Subject::start_anywhere(*kind, 1024, threads)?, plan)?.cpu);
                }
            }
        }
        for (kind, runs) in kinds.iter().zip(runs) {
            let [one, two] = runs.map(median);
            let name = kind.name();
            println!("| {connections} connections, {depth} deep | {name} | {one:.2} | {two:.2} | {:.2} |", two / one);
        }
    }
    println!();
    Ok(())
}

/// A new server for each measurement.
fn measure(kind: Kind, plan: Plan) -> io::Result<Measured> {
    measure_on(Subject::start(kind, 1024)?, plan)
}

/// The server is filled first.
fn measure_on(subject: Subject, plan: Plan) -> io::Result<Measured> {
    let mut load = Load::connect(&subject.address, plan)?;
    load.fill()?;
    let before = subject.cpu()?;
    let outcome = load.run()?;
    let cpu = (subject.cpu()? - before).as_secs_f64() * 1e6 / outcome.answers as f64;
    Ok(Measured { cpu, outcome })
}

fn print_memory(kinds: &[Kind], items: usize) -> io::Result<()> {
    println!("Resident bytes per item, {items} items, keys of 14 bytes.\n");
    println!("| server |{}", VALUES.map(|value| format!(" {value}-byte value |")).concat());
    println!("|---|{}", VALUES.map(|_| "--:|").concat());
    for kind in kinds {
        print!("| {} |", kind.name());
        for value in VALUES {
            print!(" {:.0} |", bytes_per_item(*kind, items, value)?);
        }
        println!();
    }
    println!();
    Ok(())
}

fn bytes_per_item(kind: Kind, items: usize, value: usize) -> io::Result<f64> {
    let subject = Subject::start(kind, 4096)?;
    let plan = Plan { connections: 1, depth: 1, keys: items, value, gets: 10, time: Duration::ZERO, rate: None };
    let mut load = Load::connect(&subject.address, plan)?;
    let before = subject.resident()?;
    load.fill()?;
    Ok((subject.resident()?.saturating_sub(before)) as f64 / items as f64)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
