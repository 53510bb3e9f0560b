//! How the run stands, on stderr: one redrawn line on a terminal, else a line per interval.

use std::collections::VecDeque;
use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use netgrace::load::{Interval, Phase, Progress};

use super::chart;
use super::figure;
use crate::cli::output;

const CONNECTING: &str = "connecting {pos:>7}/{len} [{bar:20}] {msg}";
const TIMED: &str = "{msg}";

const COLUMNS: &str = "\
#  time    conns  conn/s    msg/s   MiB/s    p50us    p99us    maxus  errors
";

/// Steps of the sparkline in the line.
const SPARKS: usize = 20;

/// The progress display.
#[derive(Debug)]
pub(crate) enum Display {
    Off,
    /// A line per interval and per phase.
    Plain {
        lines: u64,
        phase: Phase,
    },
    /// One redrawn line.
    Bar {
        bar: ProgressBar,
        phase: Phase,
        last: Option<Box<Interval>>,
        rates: VecDeque<f64>,
    },
}

impl Display {
    pub(crate) fn new(wanted: bool) -> Self {
        if !wanted {
            return Self::Off;
        }
        if !io::stderr().is_terminal() {
            return Self::Plain { lines: 0, phase: Phase::Connecting };
        }
        let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr_with_hz(10));
        bar.set_style(style(CONNECTING));
        Self::Bar { bar, phase: Phase::Connecting, last: None, rates: VecDeque::new() }
    }

    pub(crate) fn tick(&mut self, progress: &Progress) {
        match self {
            Self::Off => {}
            Self::Plain { phase, .. } => {
                if *phase != progress.phase {
                    *phase = progress.phase;
                    if *phase == Phase::Auditing {
                        output::eprint("   (the server has been told to stop)\n");
                    }
                }
            }
            Self::Bar { bar, phase, last, rates } => {
                let entered = *phase != progress.phase;
                *phase = progress.phase;
                if *phase == Phase::Connecting {
                    bar.set_length(progress.requested);
                    bar.set_position(progress.established);
                    bar.set_message(connecting(progress));
                } else {
                    let text = running(progress, last.as_deref(), rates);
                    bar.set_message(format!("{} {text}", phase_and_time(progress)));
                }
                if entered {
                    bar.set_style(style(TIMED));
                }
            }
        }
    }

    pub(crate) fn interval(&mut self, interval: &Interval) {
        match self {
            Self::Off => {}
            Self::Plain { lines, .. } => {
                if *lines % 20 == 0 {
                    output::eprint(COLUMNS);
                }
                *lines = lines.saturating_add(1);
                output::eprint(&row(interval));
            }
            Self::Bar { last, rates, .. } => {
                rates.push_back(interval.messages_per_second());
                while rates.len() > SPARKS {
                    rates.pop_front();
                }
                *last = Some(Box::new(interval.clone()));
            }
        }
    }

    /// Takes the line away.
    pub(crate) fn finish(&mut self) {
        if let Self::Bar { bar, .. } = self {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template);
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=>-")
}

fn connecting(progress: &Progress) -> String {
    let seconds = progress.elapsed.as_secs_f64().max(0.001);
    let rate = figure::quantity((progress.established as f64 / seconds).round());
    format!("{rate}/s  retried {}  failed {}", progress.retried, progress.failed)
}

/// `running 7/10s`.
fn phase_and_time(progress: &Progress) -> String {
    let name = match progress.phase {
        Phase::Connecting => "connecting",
        Phase::Warmup => "warming up",
        Phase::Measuring => "running",
        Phase::Auditing => "stopping",
        Phase::Settling => "settling",
        _ => "closing",
    };
    let elapsed = progress.elapsed.as_secs_f64();
    match progress.planned.map(|planned| planned.as_secs_f64()) {
        Some(planned) if planned >= 10.0 => format!("{name} {elapsed:.0}/{planned:.0}s"),
        Some(planned) => format!("{name} {elapsed:.1}/{planned:.1}s"),
        None => name.to_owned(),
    }
}

fn running(progress: &Progress, last: Option<&Interval>, rates: &VecDeque<f64>) -> String {
    let conns = progress.open;
    let Some(last) = last else {
        return format!(" {conns} conns  {} messages  errors {}", progress.messages, progress.lost);
    };
    let sparks: Vec<f64> = rates.iter().copied().collect();
    format!(
        " {conns} conns  {} msg/s  {}  p50 {}  p99 {}  errors {}  {}",
        figure::quantity(last.messages_per_second()),
        figure::mebibytes(last.bytes_per_second()),
        figure::maybe_latency(last.latency.percentile(50.0)),
        figure::maybe_latency(last.latency.percentile(99.0)),
        progress.lost,
        chart::sparkline(&sparks),
    )
}

/// Columns as in the header, one interval a line.
fn row(interval: &Interval) -> String {
    let us = |nanos: Option<u64>| match nanos {
        Some(nanos) => (nanos / 1_000).to_string(),
        None => "-".to_owned(),
    };
    let seconds = interval.length.as_secs_f64().max(1e-9);
    format!(
        "{:>7.2} {:>8} {:>7.0} {:>8.0} {:>7.1} {:>8} {:>8} {:>8} {:>7}\n",
        interval.at.as_secs_f64(),
        interval.connections,
        interval.opened as f64 / seconds,
        interval.messages_per_second(),
        interval.bytes_per_second() / 1_048_576.0,
        us(interval.latency.percentile(50.0)),
        us(interval.latency.percentile(99.0)),
        us(interval.latency.max()),
        interval.errors,
    )
}
