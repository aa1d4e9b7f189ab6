//! What is measured: every trace at every capacity with every method, and the results as numbers.
//!
//! This file knows what a cell of a table means, not how it is printed.

use std::time::{Duration, Instant};

use larder::Policy;

use crate::args::Capacity;
use crate::error::Error;
use crate::reference::{self, Order};
use crate::replay;
use crate::trace::Trace;

/// A share of a trace that makes fewer entries than this says more about rounding than about a
/// policy.
const FEWEST_ENTRIES: u64 = 8;

/// The columns: two references, and the cache's policies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Method {
    ExactLru,
    ExactFifo,
    Lru,
    S3Fifo,
}

impl Method {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Method::ExactLru => "exact LRU",
            Method::ExactFifo => "exact FIFO",
            Method::Lru => "Lru",
            Method::S3Fifo => "S3Fifo",
        }
    }

    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Method::Lru | Method::S3Fifo)
    }
}

/// The most that a cache may hold.
#[derive(Clone, Copy)]
pub(crate) enum Limit {
    Entries(u64),
    Bytes(u64),
}

impl Limit {
    pub(crate) fn max(self) -> u64 {
        match self {
            Limit::Entries(max) | Limit::Bytes(max) => max,
        }
    }

    pub(crate) fn is_bytes(self) -> bool {
        matches!(self, Limit::Bytes(_))
    }
}

/// What a replay counts.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) hits: u64,
    /// The sizes of the requests that hit.
    pub(crate) bytes: u64,
    /// Entries, or bytes, held at the end.
    pub(crate) used: u64,
}

impl Tally {
    pub(crate) fn hit(&mut self, size: u32) {
        self.hits += 1;
        self.bytes += u64::from(size);
    }

    pub(crate) fn plus(self, other: Tally) -> Tally {
        Tally { hits: self.hits + other.hits, bytes: self.bytes + other.bytes, used: self.used + other.used }
    }
}

/// What the user asked to have measured.
pub(crate) struct Plan {
    pub(crate) capacities: Vec<Capacity>,
    /// Exact LRU first.
    pub(crate) methods: Vec<Method>,
    pub(crate) by_bytes: bool,
    pub(crate) threads: usize,
}

/// The ratios of one replay, each from 0 to 1.
#[derive(Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) objects: f64,
    /// 0 for a trace without sizes.
    pub(crate) bytes: f64,
    /// The share of the limit that was in use at the end.
    pub(crate) used: f64,
}

/// One capacity of one trace; a cell for each of the plan's methods, absent where no cache can be
/// so small.
pub(crate) struct Row {
    pub(crate) capacity: Capacity,
    pub(crate) limit: u64,
    pub(crate) cells: Vec<Option<Cell>>,
}

/// All that was measured on one trace.
pub(crate) struct Report {
    pub(crate) name: String,
    pub(crate) requests: usize,
    /// Unique keys, or their bytes.
    pub(crate) total: u64,
    pub(crate) methods: Vec<Method>,
    pub(crate) rows: Vec<Row>,
    /// Capacities too small for this trace.
    pub(crate) skipped: Vec<Capacity>,
}

impl Report {
    /// The cell of a method at a capacity, if that was measured.
    pub(crate) fn cell(&self, capacity: Capacity, method: Method) -> Option<Cell> {
        let row = self.rows.iter().find(|row| row.capacity == capacity)?;
        let column = self.methods.iter().position(|&other| other == method)?;
        row.cells[column]
    }
}

/// The means of one capacity over the traces that have a result there for every method.
pub(crate) struct Mean {
    pub(crate) capacity: Capacity,
    pub(crate) traces: usize,
    pub(crate) cells: Vec<Option<Cell>>,
}

/// The means at each of the plan's capacities.
pub(crate) fn means(reports: &[Report], plan: &Plan) -> Vec<Mean> {
    plan.capacities.iter().map(|&capacity| mean(reports, plan, capacity)).collect()
}

fn mean(reports: &[Report], plan: &Plan, capacity: Capacity) -> Mean {
    let complete = |report: &Report| {
        let row = report.rows.iter().find(|row| row.capacity == capacity)?;
        row.cells.iter().copied().collect::<Option<Vec<Cell>>>()
    };
    let rows: Vec<Vec<Cell>> = reports.iter().filter_map(complete).collect();
    let traces = rows.len();
    let over = |value: fn(&Cell) -> f64, column: usize| {
        rows.iter().map(|cells| value(&cells[column])).sum::<f64>() / traces as f64
    };
    let cell = |column| Cell {
        objects: over(|cell| cell.objects, column),
        bytes: over(|cell| cell.bytes, column),
        used: over(|cell| cell.used, column),
    };
    let cells = (0..plan.methods.len()).map(|column| (traces > 0).then(|| cell(column))).collect();
    Mean { capacity, traces, cells }
}

/// Measures all traces.
pub(crate) fn all(traces: &[Trace], plan: &Plan) -> Result<Vec<Report>, Error> {
    if let Some(trace) = traces.iter().find(|trace| plan.by_bytes && trace.unique_bytes() == 0) {
        return Err(Error::Arguments(format!("{}: --by-bytes needs sizes, and this trace has none", trace.name)));
    }
    let cells = traces.len() * plan.capacities.len() * plan.methods.len();
    let mut progress = Progress { cells, done: 0, reported: Instant::now() };
    Ok(traces.iter().map(|trace| report(trace, plan, &mut progress)).collect())
}

fn report(trace: &Trace, plan: &Plan, progress: &mut Progress) -> Report {
    let total = if plan.by_bytes { trace.unique_bytes() } else { trace.keys.len() as u64 };
    let too_small = |&capacity: &Capacity| {
        !plan.by_bytes && matches!(capacity, Capacity::Share(_)) && capacity.of(total) < FEWEST_ENTRIES
    };
    let (skipped, measured): (Vec<_>, Vec<_>) = plan.capacities.iter().copied().partition(too_small);
    progress.done += skipped.len() * plan.methods.len();
    let rows = measured
        .into_iter()
        .map(|capacity| {
            let max = capacity.of(total);
            let limit = if plan.by_bytes { Limit::Bytes(max) } else { Limit::Entries(max) };
            let cell = |&method: &Method| {
                progress.next(&trace.name, capacity, method);
                cell(trace, limit, method, plan.threads)
            };
            Row { capacity, limit: max, cells: plan.methods.iter().map(cell).collect() }
        })
        .collect();
    let methods = plan.methods.clone();
    Report { name: trace.name.clone(), requests: trace.requests.len(), total, methods, rows, skipped }
}

fn cell(trace: &Trace, limit: Limit, method: Method, threads: usize) -> Option<Cell> {
    let tally = match method {
        Method::ExactLru => Ok(reference::replay(trace, limit, Order::Lru)),
        Method::ExactFifo => Ok(reference::replay(trace, limit, Order::Fifo)),
        Method::Lru => replay::replay(trace, limit, Policy::Lru, threads),
        Method::S3Fifo => replay::replay(trace, limit, Policy::S3Fifo, threads),
    };
    match tally {
        Ok(tally) => Some(Cell {
            objects: share(tally.hits, trace.requests.len() as u64),
            bytes: share(tally.bytes, trace.requested_bytes()),
            used: share(tally.used, limit.max()),
        }),
        Err(error) => {
            eprintln!("{}: no {} cache with a limit of {}: {error}", trace.name, method.label(), limit.max());
            None
        }
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Says on standard error how far a long run has come.
struct Progress {
    cells: usize,
    done: usize,
    reported: Instant,
}

impl Progress {
    fn next(&mut self, trace: &str, capacity: Capacity, method: Method) {
        if self.reported.elapsed() >= Duration::from_secs(2) {
            eprintln!("{} of {} replays done; next: {trace}, {capacity}, {}", self.done, self.cells, method.label());
            self.reported = Instant::now();
        }
        self.done += 1;
    }
}
