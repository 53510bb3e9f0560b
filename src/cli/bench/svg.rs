//! The picture of a run: rate and latency over time, and the latency distribution.

use std::ops::Range;

use netgrace::load::{Interval, Latency};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::figure;
use super::outcome::Outcome;
use super::text;

const SIZE: (u32, u32) = (960, 1080);
const HEADER: u32 = 56;

/// Dark enough for white paper, and told apart without colour vision by their order.
const BLUE: RGBColor = RGBColor(31, 97, 168);
const GREEN: RGBColor = RGBColor(35, 134, 94);
const ORANGE: RGBColor = RGBColor(214, 110, 21);
const RED: RGBColor = RGBColor(183, 28, 46);
const INK: RGBColor = RGBColor(34, 34, 34);
const GREY: RGBColor = RGBColor(120, 120, 120);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Draws the whole picture.
pub(crate) fn picture(outcome: &Outcome) -> Result<String, String> {
    let mut picture = String::new();
    draw(outcome, &mut picture).map_err(|error| error.to_string())?;
    Ok(picture)
}

fn draw(outcome: &Outcome, picture: &mut String) -> Drawn {
    let root = SVGBackend::with_string(picture, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (header, body) = root.split_vertically(HEADER);
    let line = text::header(outcome);
    let (title, settings) = line.split_once("   ").unwrap_or((&line, ""));
    let big = ("sans-serif", 20).into_font().color(&INK);
    let small = ("sans-serif", 14).into_font().color(&GREY);
    header.draw(&Text::new(title.to_owned(), (16, 12), big))?;
    header.draw(&Text::new(settings.to_owned(), (16, 38), small))?;
    let panels = body.split_evenly((3, 1));
    let [rate, latency, distribution] = panels.as_slice() else { return Ok(()) };
    let results = &outcome.results;
    let stop = results.audit.as_ref().map(|_| results.load.elapsed.as_secs_f64());
    rate_panel(rate, &results.intervals, stop)?;
    latency_panel(latency, &results.intervals, stop)?;
    distribution_panel(distribution, &results.latency, results.service.as_ref())?;
    root.present()?;
    Ok(())
}

/// A value of every interval as a stair: (time in seconds, value).
fn stair(intervals: &[Interval], value: impl Fn(&Interval) -> Option<f64>) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    for interval in intervals {
        let Some(value) = value(interval) else { continue };
        let end = interval.at.as_secs_f64();
        points.push((end - interval.length.as_secs_f64(), value));
        points.push((end, value));
    }
    points
}

fn span(intervals: &[Interval]) -> Range<f64> {
    0.0..intervals.last().map_or(1.0, |last| last.at.as_secs_f64()).max(1e-3)
}

fn rate_panel(area: &Area<'_>, intervals: &[Interval], stop: Option<f64>) -> Drawn {
    let rates = stair(intervals, |interval| Some(interval.messages_per_second()));
    let highest = rates.iter().map(|point| point.1).fold(1.0, f64::max) * 1.1;
    let mut chart = ChartBuilder::on(area)
        .caption("Messages per second", ("sans-serif", 16).into_font().color(&INK))
        .margin(12)
        .margin_right(24)
        .x_label_area_size(36)
        .y_label_area_size(72)
        .build_cartesian_2d(span(intervals), 0.0..highest)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GREY.mix(0.25))
        .x_desc("seconds of measured time")
        .x_label_formatter(&|x| seconds(*x))
        .y_label_formatter(&|y| figure::quantity(y.round()))
        .draw()?;
    chart.draw_series(LineSeries::new(rates, BLUE.stroke_width(2)))?;
    mark_stop(&mut chart, stop, 0.0, highest)
}

fn latency_panel(area: &Area<'_>, intervals: &[Interval], stop: Option<f64>) -> Drawn {
    let of = |percent: f64| {
        stair(intervals, move |interval| interval.latency.percentile(percent).map(milliseconds))
    };
    let lines = [
        ("p50", of(50.0), BLUE),
        ("p90", of(90.0), GREEN),
        ("p99", of(99.0), ORANGE),
        ("max", of(100.0), RED),
    ];
    let values = lines.iter().flat_map(|line| line.1.iter().map(|point| point.1));
    let range = decades(values);
    let mut chart = ChartBuilder::on(area)
        .caption("Latency over time", ("sans-serif", 16).into_font().color(&INK))
        .margin(12)
        .margin_right(24)
        .x_label_area_size(36)
        .y_label_area_size(72)
        .build_cartesian_2d(span(intervals), range.clone().log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GREY.mix(0.25))
        .x_desc("seconds of measured time")
        .x_label_formatter(&|x| seconds(*x))
        .y_label_formatter(&|y| label(*y))
        .draw()?;
    let mut keys = Vec::new();
    for (name, points, colour) in lines {
        chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
        keys.push((name, colour));
    }
    mark_stop(&mut chart, stop, range.start, range.end)?;
    legend(area, &keys)
}

fn distribution_panel(area: &Area<'_>, latency: &Latency, service: Option<&Latency>) -> Drawn {
    let all = curve(latency);
    let from_send = service.map(curve).unwrap_or_default();
    let values = all.iter().chain(&from_send).map(|point| point.1);
    let range = decades(values);
    let widest = all.last().map_or(1.0, |point| point.0).max(1.0);
    let mut chart = ChartBuilder::on(area)
        .caption("Latency by percentile", ("sans-serif", 16).into_font().color(&INK))
        .margin(12)
        .margin_right(24)
        .x_label_area_size(36)
        .y_label_area_size(72)
        .build_cartesian_2d(0.0..widest, range.log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GREY.mix(0.25))
        .x_desc("percentile")
        .x_labels(usize::try_from(nines(widest)).unwrap_or(8).saturating_add(1))
        .x_label_formatter(&|x| percentile(*x))
        .y_label_formatter(&|y| label(*y))
        .draw()?;
    chart.draw_series(LineSeries::new(all, BLUE.stroke_width(2)))?;
    if service.is_none() {
        return legend(area, &[("from send", BLUE)]);
    }
    chart.draw_series(LineSeries::new(from_send, ORANGE.stroke_width(2)))?;
    legend(area, &[("from schedule", BLUE), ("from send", ORANGE)])
}

/// Points of the distribution: nines of the percentile (0 is 0 %, 1 is 90 %, 2 is 99 %), value.
fn curve(latency: &Latency) -> Vec<(f64, f64)> {
    let total = latency.count() as f64;
    let last = (total.max(10.0) * 2.0).log10();
    latency
        .steps()
        .map(|(nanos, quantile, _)| {
            let nines = if quantile < 1.0 { -(1.0 - quantile).log10() } else { last };
            (nines.min(last), milliseconds(nanos))
        })
        .collect()
}

fn mark_stop<Y>(
    chart: &mut ChartContext<
        '_,
        SVGBackend<'_>,
        Cartesian2d<plotters::coord::types::RangedCoordf64, Y>,
    >,
    stop: Option<f64>,
    low: f64,
    high: f64,
) -> Drawn
where
    Y: Ranged<ValueType = f64>,
{
    let Some(at) = stop else { return Ok(()) };
    let line = DashedLineSeries::new([(at, low), (at, high)], 6, 4, INK.stroke_width(1));
    chart.draw_series(line)?;
    let style = ("sans-serif", 13).into_font().color(&INK).pos(Pos::new(HPos::Right, VPos::Top));
    chart.draw_series([Text::new("stop ", (at, high), style)])?;
    Ok(())
}

/// Names the lines in the caption's row, from the right, where no line can cross them.
fn legend(area: &Area<'_>, keys: &[(&str, RGBColor)]) -> Drawn {
    let mut x = i32::try_from(area.dim_in_pixel().0)?.saturating_sub(24);
    for (name, colour) in keys.iter().rev() {
        let width = i32::try_from(name.len())?.saturating_mul(8);
        x = x.saturating_sub(width);
        let style = ("sans-serif", 13).into_font().color(&INK);
        area.draw(&Text::new((*name).to_owned(), (x, 16), style))?;
        let line = [(x.saturating_sub(22), 23), (x.saturating_sub(6), 23)];
        area.draw(&PathElement::new(line, colour.stroke_width(2)))?;
        x = x.saturating_sub(38);
    }
    Ok(())
}

/// A range of whole powers of ten round all values.
fn decades(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
    for value in values.filter(|value| *value > 0.0) {
        (low, high) = (low.min(value), high.max(value));
    }
    if high <= 0.0 {
        return 0.001..1.0;
    }
    let (first, last) = (low.log10().floor(), high.log10().ceil());
    10_f64.powf(first)..10_f64.powf(if last > first { last } else { first + 1.0 })
}

fn milliseconds(nanos: u64) -> f64 {
    nanos.max(1) as f64 / 1e6
}

/// Milliseconds as a latency.
fn label(milliseconds: f64) -> String {
    figure::duration(std::time::Duration::from_secs_f64((milliseconds / 1e3).clamp(0.0, 1e6)))
        .replace(".0", "")
}

fn seconds(value: f64) -> String {
    format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `2` is `99%`, `3` is `99.9%`.
fn percentile(nines: f64) -> String {
    if (nines - nines.round()).abs() > 1e-6 {
        return String::new();
    }
    match nines.round() {
        0.0 => "0%".to_owned(),
        1.0 => "90%".to_owned(),
        2.0 => "99%".to_owned(),
        more => format!(
            "99.{}%",
            "9".repeat(usize::try_from(self::nines(more)).unwrap_or(2).saturating_sub(2))
        ),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates, and the value is a small number of digits"
)]
fn nines(value: f64) -> u32 {
    value.floor() as u32
}
