//! The picture of a stop: answers over time, and every request that was lost or raced.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;
use plotters::style::text_anchor::Pos;
use plotters::style::text_anchor::VPos;

use netgrace::audit::Audit;
use netgrace::audit::Class;
use netgrace::audit::STEP;

const SIZE: (u32, u32) = (960, 480);
const HEADER: u32 = 56;

/// Dark enough for white paper.
const BLUE: RGBColor = RGBColor(31, 97, 168);
const ORANGE: RGBColor = RGBColor(214, 110, 21);
const RED: RGBColor = RGBColor(183, 28, 46);
const INK: RGBColor = RGBColor(34, 34, 34);
const GREY: RGBColor = RGBColor(120, 120, 120);

/// The picture shows so many seconds before the stop at most.
const BEFORE: f64 = 1.0;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Draws the picture of one stop.
pub(crate) fn picture(audit: &Audit, target: &str) -> Result<String, String> {
    let mut picture = String::new();
    draw(audit, target, &mut picture).map_err(|error| error.to_string())?;
    Ok(picture)
}

fn draw(audit: &Audit, target: &str, picture: &mut String) -> Drawn {
    let root = SVGBackend::with_string(picture, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (header, body) = root.split_vertically(HEADER);
    let verdict = audit.verdict().name().to_uppercase();
    let big = ("sans-serif", 20).into_font().color(&INK);
    let small = ("sans-serif", 14).into_font().color(&GREY);
    header.draw(&Text::new(format!("{verdict}   {target}"), (16, 12), big))?;
    header.draw(&Text::new(summary(audit), (16, 38), small))?;
    panel(&body, audit)?;
    root.present()?;
    Ok(())
}

/// `2 truncated, 1 raced`.
fn summary(audit: &Audit) -> String {
    let counts = audit.classes();
    let shown = |class: &Class| class.is_lost() || *class == Class::Raced;
    let some = Class::ALL.into_iter().filter(shown).filter(|class| counts.get(*class) > 0);
    let parts: Vec<String> = some.map(|class| format!("{} {class}", counts.get(class))).collect();
    if parts.is_empty() { "nothing lost, nothing raced".to_owned() } else { parts.join(", ") }
}

fn panel(area: &Area<'_>, audit: &Audit) -> Drawn {
    let stop = audit.stopped_at.unwrap_or_default().as_secs_f64();
    let step = STEP.as_secs_f64();
    let mut points = Vec::new();
    let mut start = -stop;
    for count in &audit.answers {
        let end = start + step;
        points.push((start, f64::from(*count)));
        points.push((end, f64::from(*count)));
        start = end;
    }
    points.push((start, 0.0));
    let span = span(audit, stop, start);
    points.retain(|point| point.0 >= span.start);
    let highest = points.iter().map(|point| point.1).fold(1.0, f64::max) * 1.15;
    let last = span.end;
    let mut chart = ChartBuilder::on(area)
        .caption("Whole, correct answers per 10 ms", ("sans-serif", 16).into_font().color(&INK))
        .margin(12)
        .margin_right(24)
        .x_label_area_size(36)
        .y_label_area_size(72)
        .build_cartesian_2d(span, 0.0..highest)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GREY.mix(0.25))
        .x_desc("seconds from the stop")
        .y_label_formatter(&|y| format!("{y:.0}"))
        .draw()?;
    points.push((last, 0.0));
    chart.draw_series(LineSeries::new(points, BLUE.stroke_width(1)))?;
    vertical(&mut chart, "stop", 0.0, highest)?;
    if let Some(exit) = audit.times.exit {
        vertical(&mut chart, "exit", exit.as_secs_f64(), highest)?;
    }
    marks(&mut chart, audit, stop, highest)
}

/// From a second before the stop until everything is over.
fn span(audit: &Audit, stop: f64, end: f64) -> Range<f64> {
    let marks = audit.marks.iter().map(|mark| mark.at.as_secs_f64() - stop);
    let exit = audit.times.exit.map(|exit| exit.as_secs_f64());
    let last = marks.chain(exit).fold(end.max(0.05), f64::max);
    (-stop).clamp(-BEFORE, -0.01)..last * 1.05
}

fn vertical(chart: &mut Chart<'_, '_>, name: &str, at: f64, highest: f64) -> Drawn {
    let line = DashedLineSeries::new([(at, 0.0), (at, highest)], 6, 4, INK.stroke_width(1));
    chart.draw_series(line)?;
    let style = ("sans-serif", 13).into_font().color(&INK).pos(Pos::new(HPos::Left, VPos::Top));
    chart.draw_series([Text::new(format!(" {name}"), (at, highest), style)])?;
    Ok(())
}

/// Each lost or raced request as a point where it ended, one row for a class.
fn marks(chart: &mut Chart<'_, '_>, audit: &Audit, stop: f64, highest: f64) -> Drawn {
    let counts = audit.classes();
    let mut row = 0.85;
    for class in Class::ALL {
        let mut of_class = audit.marks.iter().filter(|mark| mark.class == class).peekable();
        let Some(first) = of_class.peek() else { continue };
        let colour = if class.is_lost() { RED } else { ORANGE };
        let height = highest * row;
        let name_at = (first.at.as_secs_f64() - stop, height);
        let points = of_class.map(|mark| {
            Circle::new((mark.at.as_secs_f64() - stop, height), 3, colour.mix(0.7).filled())
        });
        chart.draw_series(points)?;
        let position = Pos::new(HPos::Left, VPos::Bottom);
        let style = ("sans-serif", 13).into_font().color(&colour).pos(position);
        let name = format!("{} {class}", counts.get(class));
        chart.draw_series([Text::new(name, name_at, style)])?;
        row -= 0.11;
    }
    Ok(())
}
