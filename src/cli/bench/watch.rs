//! Watches a run: shows it, samples the server, stops it for the audit, heeds Ctrl-C.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use netgrace::load::{Flow, Interval, Observer, Phase, Progress};
use rustix::process::getpid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::progress::Display;
use super::server::Server;
use super::settings::Stop;
use super::usage::Sample;
use super::value::Url;
use super::{json, metrics, publish};
use crate::cli::failure::Failure;
use crate::cli::signal;

/// The observer of a run.
#[derive(Debug)]
pub(crate) struct Watch<'s> {
    pub(crate) server: &'s mut Server,
    pub(crate) display: Display,
    pub(crate) stop: Stop,
    pub(crate) metrics: Option<Url>,
    pub(crate) interrupted: Arc<AtomicBool>,
    /// Write each interval to stdout.
    pub(crate) ndjson: bool,
    /// The server and the generator at both ends of the measured time.
    pub(crate) begin: [Option<Sample>; 2],
    pub(crate) end: [Option<Sample>; 2],
}

/// A flag that Ctrl-C and a request to end set; the second of them ends the process.
pub(crate) fn interruption() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in signal::not_ignored(&[SIGINT, SIGTERM, SIGHUP]) {
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&flag))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)))
            .map_err(|error| Failure::unable(format!("cannot watch signal {signal}: {error}")))?;
    }
    signal::unblock();
    Ok(flag)
}

impl Watch<'_> {
    fn sample(&self) -> [Option<Sample>; 2] {
        let server = match &self.metrics {
            Some(url) => {
                let sample = metrics::sample(url);
                sample.inspect_err(|error| log::warn!("--metrics {url}: {error}")).ok()
            }
            None => self.server.pid().and_then(Sample::take),
        };
        [server, Sample::take(getpid())]
    }
}

impl Observer for Watch<'_> {
    fn tick(&mut self, progress: &Progress) -> Flow {
        self.display.tick(progress);
        if self.interrupted.load(Relaxed) { Flow::Stop } else { Flow::Continue }
    }

    fn entered(&mut self, phase: Phase) {
        match phase {
            Phase::Measuring => self.begin = self.sample(),
            Phase::Settling => self.end = self.sample(),
            _ => {}
        }
    }

    fn interval(&mut self, interval: &Interval) {
        self.display.interval(interval);
        if self.ndjson {
            let line = json::interval(interval, false);
            if let Err(error) = publish::print_event(line, "interval") {
                log::debug!("stdout: {error}");
            }
        }
    }

    fn before_stop(&mut self) {
        self.end = self.sample();
    }

    fn stop_server(&mut self) -> io::Result<()> {
        self.server.stop(&self.stop)
    }

    fn is_server_gone(&mut self) -> Option<bool> {
        self.server.is_gone()
    }
}
