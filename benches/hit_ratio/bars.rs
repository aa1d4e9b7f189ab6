//! What the results must reach: the user's own expectations, and the bars that the crate sets for
//! its policies.

use std::fmt::Write as _;

use crate::args::{Capacity, Expectation};
use crate::error::Error;
use crate::measure::{Method, Plan, Report};
use crate::table;

/// How far `Policy::Lru` may fall below exact LRU on any trace, in points.
const LRU_WORST: f64 = -2.0;
/// How far `Policy::S3Fifo` must be above exact LRU in the mean at a small capacity.
const S3FIFO_MEAN: f64 = 3.0;
/// How far `Policy::S3Fifo` may fall below exact LRU on any trace at a large capacity.
const S3FIFO_WORST: f64 = -1.0;
/// Blocks of prompts, most of which are wanted again long after they were new: any policy that
/// demotes new keys quickly loses here, so it says nothing about how well that was done.
const S3FIFO_EXEMPT: &str = "mooncake_conv";

const ONE: Capacity = Capacity::Share(1.0);
const TEN: Capacity = Capacity::Share(10.0);
const THIRTY: Capacity = Capacity::Share(30.0);

/// The capacities at which the bars are set.
pub(crate) fn capacities() -> Vec<Capacity> {
    vec![ONE, TEN, THIRTY]
}

/// Refuses expectations of what the plan does not measure.
pub(crate) fn check_possible(expectations: &[Expectation], plan: &Plan) -> Result<(), Error> {
    for Expectation { method, capacity, .. } in expectations {
        let label = method.label();
        if !plan.capacities.contains(capacity) {
            let what = format!("--expect speaks of {capacity}, which is not among --capacities");
            return Err(Error::Arguments(what));
        }
        if !plan.methods.contains(method) {
            return Err(Error::Arguments(format!("--expect speaks of {label}, which --policy excludes")));
        }
    }
    Ok(())
}

/// A message for each expectation that a trace missed; what could not be measured is missed.
pub(crate) fn missed(expectations: &[Expectation], reports: &[Report]) -> Vec<String> {
    let mut messages = Vec::new();
    for expectation in expectations {
        let Expectation { method, capacity, at_least } = *expectation;
        for report in reports {
            let ratio = report.cell(capacity, method).map(|cell| cell.objects);
            if ratio.is_some_and(|ratio| ratio >= at_least) {
                continue;
            }
            let got = ratio.map_or("no result".to_owned(), |ratio| format!("{ratio:.4}"));
            let (name, label) = (&report.name, method.label());
            messages.push(format!("{name}: {label} at {capacity}: expected at least {at_least}, got {got}"));
        }
    }
    messages
}

/// The outcome of [`check`].
pub(crate) struct Bars {
    pub(crate) text: String,
    pub(crate) met: bool,
}

/// Holds all reports against the crate's bars.
pub(crate) fn check(reports: &[Report]) -> Bars {
    let mut text = String::from("\n### Differences to exact LRU, in points\n\n");
    text.push_str(&overview(reports));
    text.push('\n');

    let lru: Vec<_> = capacities().into_iter().map(|at| (at, differences(reports, at, Method::Lru))).collect();
    let s3fifo = |at| (at, differences(reports, at, Method::S3Fifo));
    let (small, large) = ([s3fifo(ONE), s3fifo(TEN)], [s3fifo(TEN), s3fifo(THIRTY)]);
    let verdicts = [
        ("Lru is nowhere more than 2 points below", below(&lru, LRU_WORST, None)),
        ("Lru is not below in the mean", mean_below(&lru, 0.0)),
        ("S3Fifo is 3 points above in the mean at 1 and 10 %", mean_below(&small, S3FIFO_MEAN)),
        (
            "S3Fifo is nowhere more than 1 point below at 10 and 30 %, but on mooncake_conv",
            below(&large, S3FIFO_WORST, Some(S3FIFO_EXEMPT)),
        ),
    ];
    for (bar, misses) in &verdicts {
        let verdict = if misses.is_empty() { "met".to_owned() } else { format!("MISSED: {}", misses.join(", ")) };
        let _ = writeln!(text, "{bar}: {verdict}");
    }
    Bars { text, met: verdicts.iter().all(|(_, misses)| misses.is_empty()) }
}

/// A trace's name, and a policy's hit ratio there less that of exact LRU, in points.
type Difference<'a> = (&'a str, f64);

/// The differences at a capacity, over the traces that have a result there.
fn differences(reports: &[Report], capacity: Capacity, method: Method) -> Vec<Difference<'_>> {
    let difference = |report: &'_ Report| {
        let exact = report.cell(capacity, Method::ExactLru)?.objects;
        Some((report.cell(capacity, method)?.objects - exact) * 100.0)
    };
    reports.iter().filter_map(|report| Some((report.name.as_str(), difference(report)?))).collect()
}

fn mean(differences: &[Difference<'_>]) -> Option<f64> {
    let sum: f64 = differences.iter().map(|(_, difference)| difference).sum();
    (!differences.is_empty()).then(|| sum / differences.len() as f64)
}

/// The differences below `least`, ready to be printed.
fn below(all: &[(Capacity, Vec<Difference<'_>>)], least: f64, exempt: Option<&str>) -> Vec<String> {
    let mut misses = Vec::new();
    for (capacity, differences) in all {
        for &(name, difference) in differences {
            if difference < least && Some(name) != exempt {
                misses.push(format!("{difference:+.2} on {name} at {capacity}"));
            }
        }
    }
    misses
}

/// The capacities whose mean is below `least`, or has no trace to be taken over.
fn mean_below(all: &[(Capacity, Vec<Difference<'_>>)], least: f64) -> Vec<String> {
    let miss = |(capacity, differences): &(Capacity, Vec<Difference<'_>>)| match mean(differences) {
        None => Some(format!("no trace has a result at {capacity}")),
        Some(mean) if mean < least => Some(format!("{mean:+.2} at {capacity}")),
        Some(_) => None,
    };
    all.iter().filter_map(miss).collect()
}

fn overview(reports: &[Report]) -> String {
    let header = ["capacity", "traces", "Lru mean", "Lru worst", "S3Fifo mean", "S3Fifo worst"];
    let rows = capacities().into_iter().map(|capacity| {
        let traces = differences(reports, capacity, Method::ExactLru).len();
        let mut row = vec![capacity.to_string(), traces.to_string()];
        for method in [Method::Lru, Method::S3Fifo] {
            let differences = differences(reports, capacity, method);
            let worst = differences.iter().min_by(|(_, one), (_, other)| one.total_cmp(other));
            row.push(mean(&differences).map_or("–".to_owned(), |mean| format!("{mean:+.2}")));
            row.push(worst.map_or("–".to_owned(), |(name, worst)| format!("{worst:+.2} {name}")));
        }
        row
    });
    table::aligned(header.map(str::to_owned).to_vec(), rows)
}
