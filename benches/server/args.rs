//! The command line. Knows how arguments are spelled, and nothing of how they are carried out.

use clap::{Args, Parser, Subcommand};

/// What a request costs the server, beside memcached, and what an item costs in memory.
///
/// Without a command all tables are printed; `load` drives a server that runs already. A server of one thread runs on the
/// first core and is driven from the second.
#[derive(Parser)]
#[command(name = "server")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    pub(crate) tables: Tables,

    /// Passed by `cargo bench`
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Drives a server that runs already, and says how it answers
    Load(Load),
}

#[derive(Args)]
pub(crate) struct Tables {
    /// Seconds of each measurement
    #[arg(long, default_value_t = 5.0)]
    pub(crate) seconds: f64,

    /// Measurements of each, of which the median counts; the servers take turns
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,

    /// Requests per second for the latencies at a set rate
    #[arg(long, default_value_t = 50_000.0)]
    pub(crate) rate: f64,

    /// Items for the table of memory
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) items: usize,

    /// Leave out the table of memory
    #[arg(long)]
    pub(crate) no_memory: bool,

    /// Leave out the tables of time
    #[arg(long)]
    pub(crate) no_time: bool,
}

#[derive(Args)]
pub(crate) struct Load {
    /// Where the server listens
    #[arg(long, default_value = "127.0.0.1:11211")]
    pub(crate) addr: String,

    #[arg(long, default_value_t = 16)]
    pub(crate) connections: usize,

    /// Requests that a connection sends before it reads the answers
    #[arg(long, default_value_t = 1)]
    pub(crate) depth: usize,

    #[arg(long, default_value_t = 100_000)]
    pub(crate) keys: usize,

    /// Bytes of a value
    #[arg(long, default_value_t = 100)]
    pub(crate) value: usize,

    /// Gets to each set
    #[arg(long, default_value_t = 10)]
    pub(crate) gets: u64,

    #[arg(long, default_value_t = 5.0)]
    pub(crate) seconds: f64,

    /// Requests per second, due whatever became of those before (open loop); without it each answer brings forth the next
    /// request (closed loop)
    #[arg(long)]
    pub(crate) rate: Option<f64>,

    /// Do not store all keys first
    #[arg(long)]
    pub(crate) no_fill: bool,
}
