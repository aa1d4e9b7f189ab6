//! What a request costs the server, and an item in memory, beside memcached in the same run.
//!
//! ```text
//! cargo bench --features server --bench server                      all tables
//! cargo bench --features server --bench server -- load --rate 1e5   drives a server that runs already
//! cargo bench --features server --bench server -- --help
//! ```
//!
//! Every answer is verified. This file knows the tables; it must not know sockets.

mod args;
mod load;
mod session;
#[cfg(target_os = "linux")]
mod subject;
#[cfg(target_os = "linux")]
mod tables;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::args::{Arguments, Command};
use crate::load::{Load, Outcome, Plan};

fn main() -> ExitCode {
    // `cargo test --benches` passes no `--bench`, and asks only whether this program still works.
    let given = |flag: &str| std::env::args().any(|argument| argument == flag);
    let done = if given("--bench") && !given("--test") { run(&Arguments::parse()) } else { smoke() };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    match &arguments.command {
        Some(Command::Load(load)) => drive(load),
        None => print_tables(&arguments.tables),
    }
}

#[cfg(target_os = "linux")]
fn print_tables(arguments: &args::Tables) -> io::Result<()> {
    tables::print(arguments)
}

#[cfg(not(target_os = "linux"))]
fn print_tables(_: &args::Tables) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "the tables come from /proc; `load` works here, too"))
}

#[cfg(target_os = "linux")]
fn smoke() -> io::Result<()> {
    tables::smoke()
}

#[cfg(not(target_os = "linux"))]
fn smoke() -> io::Result<()> {
    Ok(())
}

fn drive(arguments: &args::Load) -> io::Result<()> {
    let plan = Plan {
        connections: arguments.connections.max(1),
        depth: arguments.depth.max(1),
        keys: arguments.keys.max(1),
        value: arguments.value,
        gets: arguments.gets,
        time: Duration::from_secs_f64(arguments.seconds),
        rate: arguments.rate,
    };
    let mut load = Load::connect(&arguments.addr, plan)?;
    if !arguments.no_fill {
        load.fill()?;
    }
    let outcome = load.run()?;
    println!("{}", line(&outcome));
    Ok(())
}

fn line(outcome: &Outcome) -> String {
    format!(
        "{:.0} requests per second, {} of them misses in all; p50 {:.0} µs, p99 {:.0} µs, p99.9 {:.0} µs",
        outcome.per_second(),
        outcome.misses,
        outcome.percentile(50.0),
        outcome.percentile(99.0),
        outcome.percentile(99.9)
    )
}
