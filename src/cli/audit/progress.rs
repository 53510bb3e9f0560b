//! How the audit stands, on stderr: one redrawn line on a terminal.

use std::io;
use std::io::IsTerminal;

use indicatif::ProgressBar;
use indicatif::ProgressDrawTarget;
use indicatif::ProgressStyle;

use netgrace::audit::Progress;
use netgrace::audit::Stage;

/// The progress display.
#[derive(Clone, Debug)]
pub(crate) enum Display {
    Off,
    Line(ProgressBar),
}

impl Display {
    pub(crate) fn new(is_wanted: bool) -> Self {
        if !is_wanted || !io::stderr().is_terminal() {
            return Self::Off;
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        let style = ProgressStyle::with_template("{msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self::Line(bar)
    }

    pub(crate) fn tick(&self, progress: &Progress) {
        let Self::Line(bar) = self else { return };
        bar.set_message(line(progress));
        bar.tick();
    }

    /// Takes the line away.
    pub(crate) fn finish(&self) {
        if let Self::Line(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn line(progress: &Progress) -> String {
    let stage = match progress.stage {
        Stage::Learning => "learning the right answer",
        Stage::Warmup => "loading",
        Stage::Stopping => "stopping",
        _ => "settling",
    };
    format!(
        "{stage} {:.1}s  {} answered  {} in flight  {} lost  {} raced",
        progress.elapsed.as_secs_f64(),
        progress.answered,
        progress.in_flight,
        progress.lost,
        progress.raced,
    )
}
