//! Results as tables for people, in Markdown, and as CSV for programs.

use std::fmt::Write as _;

use crate::measure::{self, Cell, Method, Plan, Report};

/// A table for each report, and one of the means if there are several.
pub(crate) fn text(reports: &[Report], plan: &Plan) -> String {
    let mut text = String::new();
    for report in reports {
        let unit = if plan.by_bytes { "bytes of unique keys" } else { "unique keys" };
        let (requests, total) = (grouped(report.requests as u64), grouped(report.total));
        let _ = writeln!(text, "### {}: {requests} requests, {total} {unit}\n", report.name);
        for &measure in measures(plan) {
            let _ = writeln!(text, "{}\n\n{}", measure.title(), of_report(report, plan, measure));
        }
        for capacity in &report.skipped {
            let entries = capacity.of(report.total);
            let _ = writeln!(text, "{capacity} is left out, since {entries} are too few entries.\n");
        }
    }
    if reports.len() > 1 {
        let _ = writeln!(text, "### mean over {} traces\n", reports.len());
        for &measure in measures(plan) {
            let _ = writeln!(text, "{}\n\n{}", measure.title(), of_means(reports, plan, measure));
        }
    }
    text
}

/// A line for each replay; a ratio of bytes is there only where bytes are the limit.
pub(crate) fn csv(reports: &[Report], plan: &Plan) -> String {
    let mut text = String::from("trace,capacity,limit,unit,method,hit_ratio,byte_hit_ratio,limit_used\n");
    let unit = if plan.by_bytes { "bytes" } else { "entries" };
    for report in reports {
        for row in &report.rows {
            for (method, cell) in plan.methods.iter().zip(&row.cells) {
                let Some(cell) = cell else { continue };
                let bytes = if plan.by_bytes { format!("{:.6}", cell.bytes) } else { String::new() };
                let name = quoted(&report.name);
                let (capacity, limit, method) = (row.capacity, row.limit, method.label());
                let (objects, used) = (cell.objects, cell.used);
                let _ = writeln!(text, "{name},{capacity},{limit},{unit},{method},{objects:.6},{bytes},{used:.4}");
            }
        }
    }
    text
}

/// A CSV field; a file's name may hold anything.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.to_owned() }
}

/// Which of the two ratios a table shows.
#[derive(Clone, Copy, PartialEq)]
enum Measure {
    Objects,
    ObjectsWithinBytes,
    Bytes,
}

fn measures(plan: &Plan) -> &'static [Measure] {
    if plan.by_bytes { &[Measure::ObjectsWithinBytes, Measure::Bytes] } else { &[Measure::Objects] }
}

impl Measure {
    fn title(self) -> &'static str {
        match self {
            Measure::Objects => "Hit ratio, and its difference to exact LRU in points:",
            Measure::ObjectsWithinBytes => {
                "Hit ratio of objects, its difference to exact LRU in points, and the share of the \
                 budget in use at the end (the cache pays for its own nodes and tables from its \
                 budget, the exact ones do not):"
            }
            Measure::Bytes => "Hit ratio of bytes, and its difference to exact LRU in points:",
        }
    }

    fn of(self, cell: Cell) -> f64 {
        if self == Measure::Bytes { cell.bytes } else { cell.objects }
    }
}

fn of_report(report: &Report, plan: &Plan, measure: Measure) -> String {
    let unit = if plan.by_bytes { "bytes" } else { "entries" };
    let rows = report.rows.iter().map(|row| {
        let start = vec![row.capacity.to_string(), grouped(row.limit)];
        [start, columns(&row.cells, plan, measure)].concat()
    });
    aligned(header(unit, plan, measure), rows)
}

fn of_means(reports: &[Report], plan: &Plan, measure: Measure) -> String {
    let rows = measure::means(reports, plan).into_iter().map(|mean| {
        let start = vec![mean.capacity.to_string(), mean.traces.to_string()];
        [start, columns(&mean.cells, plan, measure)].concat()
    });
    aligned(header("traces", plan, measure), rows)
}

fn header(second: &str, plan: &Plan, measure: Measure) -> Vec<String> {
    let mut header = vec!["capacity".to_owned(), second.to_owned()];
    header.extend(plan.methods.iter().map(|method| method.label().to_owned()));
    if measure == Measure::ObjectsWithinBytes {
        let ours = plan.methods.iter().filter(|method| method.is_ours());
        header.extend(ours.map(|method| format!("{} uses", method.label())));
    }
    header
}

/// The ratios of a row's cells, and where bytes are the limit what the policies used of it.
fn columns(cells: &[Option<Cell>], plan: &Plan, measure: Measure) -> Vec<String> {
    let exact = cells[0].map(|cell| measure.of(cell));
    let ratio = |(method, cell): (&Method, &Option<Cell>)| match (exact, cell) {
        (_, None) => "–".to_owned(),
        (Some(exact), Some(cell)) if *method != Method::ExactLru => {
            let ratio = measure.of(*cell);
            format!("{ratio:.4} {:>+6.2}", (ratio - exact) * 100.0)
        }
        (_, Some(cell)) => format!("{:.4}", measure.of(*cell)),
    };
    let mut columns: Vec<String> = plan.methods.iter().zip(cells).map(ratio).collect();
    if measure == Measure::ObjectsWithinBytes {
        let ours = plan.methods.iter().zip(cells).filter(|(method, _)| method.is_ours());
        let used = |cell: Cell| format!("{:.1} %", cell.used * 100.0);
        columns.extend(ours.map(|(_, cell)| cell.map_or_else(|| "–".to_owned(), used)));
    }
    columns
}

/// A Markdown table whose columns line up as plain text, too; all but the first are aligned to the
/// right.
pub(crate) fn aligned(header: Vec<String>, rows: impl Iterator<Item = Vec<String>>) -> String {
    let lines: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<usize> = (0..lines[0].len()).filter_map(width).collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (column, (field, &width)) in line.iter().zip(&widths).enumerate() {
            let _ = if column == 0 { write!(text, "| {field:<width$} ") } else { write!(text, "| {field:>width$} ") };
        }
        text.push_str("|\n");
        if number == 0 {
            for (column, &width) in widths.iter().enumerate() {
                let colon = if column == 0 { '-' } else { ':' };
                let _ = write!(text, "|-{:-<width$}{colon}", "");
            }
            text.push_str("|\n");
        }
    }
    text
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
