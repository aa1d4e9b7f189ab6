//! The results as one SVG: hit ratio by capacity, a panel for each trace, and one for their means.

use plotters::prelude::*;

use crate::args::Capacity;
use crate::error::Error;
use crate::measure::{self, Cell, Method, Plan, Report};

const PANEL: (u32, u32) = (480, 340);
/// What is left free below and above the curves, so that flat ones do not look steep.
const MARGIN: f64 = 0.03;
const FONT: &str = "sans-serif";

/// Draws all reports; a panel that has no point is left out.
pub(crate) fn svg(reports: &[Report], plan: &Plan) -> Result<String, Error> {
    let mut panels: Vec<Panel> = reports.iter().map(|report| Panel::of_report(report, plan)).collect();
    if reports.len() > 1 {
        panels.push(Panel::of_means(reports, plan));
    }
    panels.retain(|panel| panel.ranges().is_some());
    let mut text = String::new();
    draw(&mut text, &panels).map_err(|error| Error::Plot(error.to_string()))?;
    Ok(text)
}

/// One chart.
struct Panel {
    title: String,
    x_label: &'static str,
    curves: Vec<Curve>,
}

/// The capacity as a share in percent, and the hit ratio of objects there.
struct Curve {
    method: Method,
    points: Vec<(f64, f64)>,
}

impl Panel {
    fn of_report(report: &Report, plan: &Plan) -> Self {
        let rows = report.rows.iter().map(|row| {
            let share = match row.capacity {
                Capacity::Share(share) => share,
                Capacity::Absolute(limit) => limit as f64 / report.total as f64 * 100.0,
            };
            (share, row.cells.as_slice())
        });
        Panel::new(report.name.clone(), rows.collect(), plan)
    }

    fn of_means(reports: &[Report], plan: &Plan) -> Self {
        let means = measure::means(reports, plan);
        // An absolute capacity is another share of every trace, and so has no place on the axis.
        let rows = means.iter().filter_map(|mean| match mean.capacity {
            Capacity::Share(share) => Some((share, mean.cells.as_slice())),
            Capacity::Absolute(_) => None,
        });
        Panel::new(format!("mean over {} traces", reports.len()), rows.collect(), plan)
    }

    fn new(title: String, mut rows: Vec<(f64, &[Option<Cell>])>, plan: &Plan) -> Self {
        rows.sort_by(|(share, _), (other, _)| share.total_cmp(other));
        let point =
            |&(share, cells): &(f64, &[Option<Cell>]), column: usize| cells[column].map(|cell| (share, cell.objects));
        let curve = |(column, &method): (usize, &Method)| Curve {
            method,
            points: rows.iter().filter_map(|row| point(row, column)).collect(),
        };
        let curves = plan.methods.iter().enumerate().map(curve).collect();
        let x_label =
            if plan.by_bytes { "capacity, share of the unique bytes" } else { "capacity, share of the unique keys" };
        Panel { title, x_label, curves }
    }

    /// The shares that were measured, but for those too close to the one before for a label.
    fn ticks(&self) -> Vec<f64> {
        let mut shares: Vec<f64> = self.points().map(|point| point.0).collect();
        shares.sort_by(f64::total_cmp);
        shares.dedup_by(|share, before| *share < *before * 1.4);
        shares
    }

    fn points(&self) -> impl Iterator<Item = &(f64, f64)> {
        self.curves.iter().flat_map(|curve| &curve.points)
    }

    /// The least and the greatest of the shares and of the ratios, with a margin; nothing if there
    /// is no point.
    fn ranges(&self) -> Option<(std::ops::Range<f64>, std::ops::Range<f64>)> {
        let (x_min, x_max) = extremes(self.points().map(|point| point.0))?;
        let (y_min, y_max) = extremes(self.points().map(|point| point.1))?;
        let (bottom, top) = (f64::max(y_min - MARGIN, 0.0), y_max + MARGIN);
        Some((x_min / 1.2..x_max * 1.2, bottom..top))
    }
}

/// A share with as many digits as fit below an axis.
fn percent(share: f64) -> String {
    let digits = (2.0 - share.log10().floor()).clamp(0.0, 6.0) as usize;
    let text = format!("{share:.digits$}");
    let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} %")
}

fn extremes(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |extremes, value| {
        let (least, greatest) = extremes.unwrap_or((value, value));
        Some((f64::min(least, value), f64::max(greatest, value)))
    })
}

fn color(method: Method) -> RGBColor {
    match method {
        Method::ExactLru => RGBColor(110, 110, 110),
        Method::ExactFifo => RGBColor(190, 190, 190),
        Method::Lru => RGBColor(31, 119, 180),
        Method::S3Fifo => RGBColor(214, 69, 20),
    }
}

type Failure = Box<dyn std::error::Error>;

/// As many columns as make the picture about as wide as it is high.
fn draw(text: &mut String, panels: &[Panel]) -> Result<(), Failure> {
    let columns = (panels.len() as f64).sqrt().ceil().max(1.0) as usize;
    let lines = panels.len().div_ceil(columns).max(1);
    let size = (PANEL.0 * columns as u32, PANEL.1 * lines as u32);
    let root = SVGBackend::with_string(text, size).into_drawing_area();
    root.fill(&WHITE)?;
    for (panel, area) in panels.iter().zip(root.split_evenly((lines, columns))) {
        draw_panel(panel, &area)?;
    }
    root.present()?;
    Ok(())
}

fn draw_panel(panel: &Panel, area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>) -> Result<(), Failure> {
    let Some((x, y)) = panel.ranges() else {
        return Ok(());
    };
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, (FONT, 22))
        .margin(10)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d(x.log_scale().with_key_points(panel.ticks()), y)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .label_style((FONT, 15))
        .x_desc(panel.x_label)
        .y_desc("hit ratio")
        .x_label_formatter(&|share| percent(*share))
        .y_label_formatter(&|ratio| format!("{ratio:.2}"))
        .draw()?;
    for curve in &panel.curves {
        let color = color(curve.method);
        chart
            .draw_series(LineSeries::new(curve.points.iter().copied(), color.stroke_width(2)).point_size(3))?
            .label(curve.method.label())
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font((FONT, 15))
        .background_style(WHITE.mix(0.8))
        .draw()?;
    Ok(())
}
