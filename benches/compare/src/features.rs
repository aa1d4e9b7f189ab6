//! What each of larder's features adds to a get that hits, at two sizes.
//!
//! A deadline takes a reading of the clock. What that is depends on where it is done: by itself it takes the time of its
//! instructions, between two look-ups in a large cache it also keeps the second from beginning while the first waits for
//! memory. So it is measured there, as a row of its own, by a caller who reads the clock before each get.

use crate::{
    adapters::{self, CLOCK, PLAIN},
    report::{Table, figure},
    speed::{self, Settings, Speed},
    workload::{Ints, Sequences},
};

/// The columns of the speed table that the features are measured by.
pub(crate) const COLUMNS: [&str; 2] = ["get 10k 1t", "get 1M 1t"];

/// The features table.
pub(crate) struct Features {
    speed: Speed,
    names: Vec<&'static str>,
    rounds: usize,
}

impl Features {
    /// The features, without the plain caches.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.names.iter().copied().filter(|name| ![PLAIN, CLOCK].contains(name))
    }

    pub(crate) fn plain(&self, column: &str) -> Option<f64> {
        self.speed.ns(column, PLAIN)
    }

    /// What the feature adds to a get, in nanoseconds.
    pub(crate) fn added(&self, column: &str, name: &str) -> Option<f64> {
        Some(self.speed.ns(column, name)? - self.plain(column)?)
    }

    pub(crate) fn print(&self) {
        println!("## What a feature adds to a get, larder Lru, u64 -> u64, ns\n");
        let mut table = Table::new(["", "get 10k", "added", "get 1M", "added"]);
        for name in &self.names {
            let cells = COLUMNS.iter().flat_map(|column| {
                let ns = self.speed.ns(column, name);
                [ns, self.added(column, name)].map(figure)
            });
            table.row(std::iter::once((*name).to_owned()).chain(cells));
        }
        table.print();
        println!("Medians of {} rounds. The clock is read by `Instant::now`.\n", self.rounds);
    }
}

/// Measures a plain cache and one per feature, turn by turn.
pub(crate) fn measure(sequences: &Sequences<Ints>, settings: &Settings) -> Features {
    let candidates = adapters::features();
    let settings = Settings {
        // Differences of a few nanoseconds take more rounds than ratios of caches do.
        rounds: settings.rounds * 3,
        only: COLUMNS.map(str::to_owned).to_vec(),
        ..settings.clone()
    };
    Features {
        speed: speed::measure(&candidates, sequences, &settings),
        rounds: settings.rounds,
        names: candidates.iter().map(|candidate| candidate.name).collect(),
    }
}
