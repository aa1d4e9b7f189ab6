//! Allocator bytes per entry, once a cache has been filled and again once every entry has been replaced.
//!
//! Counts what was asked of the allocator, by everything the cache made, and divides by the entries that are there. The
//! counts do not vary from run to run, so there is one round.

use crate::{
    adapters,
    alloc::Count,
    report::{Table, figure, progress},
    subject::Candidate,
    workload::{Ints, Workload},
};

/// What one subject holds.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    pub(crate) name: &'static str,
    /// Bytes per entry when as many were inserted as it is meant to hold.
    pub(crate) filled: f64,
    /// Bytes per entry after as many more again.
    pub(crate) replaced: f64,
    entries: usize,
    /// All bytes in use at the end.
    bytes: f64,
}

/// Fills each candidate with `entries` entries and counts.
pub(crate) fn measure<W: Workload>(candidates: &[Candidate<W>], entries: usize) -> Vec<Held> {
    let counted = candidates.iter().map(|candidate| {
        progress(format_args!("{}: memory of {}", W::TITLE, candidate.name));
        held_by(candidate, entries, entries)
    });
    counted.collect()
}

fn held_by<W: Workload>(candidate: &Candidate<W>, capacity: usize, entries: usize) -> Held {
    let entries = entries as u64;
    let count = Count::start();
    let cache = candidate.build(capacity);
    cache.fill(0..entries);
    let filled_bytes = count.live() as f64;
    let filled = filled_bytes / cache.held(0..entries) as f64;

    cache.fill(entries..2 * entries);
    let bytes = count.live() as f64;
    let held = cache.held(0..2 * entries);
    drop(cache);
    let left = count.live() as f64;
    // What a cache leaves to a collector that is shared would be freed on the next subject's account.
    if left.abs() > 0.01 * bytes {
        let name = candidate.name;
        progress(format_args!("{name}: {left} bytes outlive the cache; the next figure may be off by that"));
    }
    Held { name: candidate.name, filled, replaced: bytes / held as f64, entries: held, bytes }
}

/// The memory table, for `u64 -> u64`.
pub(crate) struct Memory {
    pub(crate) rows: Vec<Held>,
    limited: Vec<Held>,
    limit: usize,
}

impl Memory {
    /// Adds larder's own variants to the rows that were measured for the speed table.
    pub(crate) fn with_variants(mut rows: Vec<Held>, entries: usize) -> Self {
        rows.extend(measure::<Ints>(&adapters::with_ttl(), entries));
        let limit = entries * 64;
        let limited = adapters::limited_by_bytes();
        let limited = limited.iter().map(|candidate| {
            progress(format_args!("memory of {}", candidate.name));
            // Enough to be full whatever an entry costs: none can be below the 16 bytes of its key and value.
            held_by(candidate, limit, limit / 16)
        });
        Memory { rows, limited: limited.collect(), limit }
    }

    pub(crate) fn bytes(&self, name: &str) -> Option<f64> {
        let row = self.rows.iter().find(|row| row.name == name)?;
        Some(row.filled.max(row.replaced))
    }

    pub(crate) fn print(&self) {
        println!("## Memory, u64 -> u64\n");
        println!("Bytes asked of the allocator, per entry that is there.\n");
        let mut table = Table::new(["", "filled to 1M", "after 1M more", "entries then", "MB in use then"]);
        for row in self.rows.iter().chain(&self.limited) {
            table.row([
                row.name.to_owned(),
                figure(Some(row.filled)),
                figure(Some(row.replaced)),
                row.entries.to_string(),
                format!("{:.1}", row.bytes / 1e6),
            ]);
        }
        table.print();
        for row in &self.limited {
            let share = row.bytes / self.limit as f64 * 100.0;
            let limit = self.limit as f64 / 1e6;
            println!("{}: {share:.1} % of a limit of {limit:.1} MB.\n", row.name);
        }
    }
}
