//! What the admin listener shows.

use std::fmt::{self, Write};
use std::time::Duration;

use netgrace::{EventLoop, Grade, Phase, Report, Service, Stats, TurnTimes};

use crate::cli::admin::process;
use crate::cli::admin::request::{Answer, Page};
use crate::cli::limits;

/// What there is to tell at one moment.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) report: &'a Report,
    pub(crate) stats: Stats,
    pub(crate) turns: Option<TurnTimes>,
}

impl<'a> Facts<'a> {
    pub(crate) fn of<P: Service>(event_loop: &'a EventLoop<P>) -> Self {
        let server = event_loop.server();
        Self { report: server.report(), stats: server.stats(), turns: event_loop.turn_times() }
    }
}

/// The whole response.
pub(crate) fn respond(answer: Answer, facts: &Facts<'_>) -> Vec<u8> {
    let (status, kind, body, with_body) = match answer {
        Answer::Refusal { status, with_body } => {
            (status, "text/plain; charset=utf-8", format!("{status}\n"), with_body)
        }
        Answer::Page { page, with_body } => {
            let (status, kind, body) = show(page, facts);
            (status, kind, body, with_body)
        }
    };
    let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
    let mut response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{allow}\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n",
        body.len()
    );
    if with_body {
        response.push_str(&body);
    }
    response.into_bytes()
}

fn show(page: Page, facts: &Facts<'_>) -> (&'static str, &'static str, String) {
    const OK: &str = "200 OK";
    match page {
        Page::Health => {
            let phase = facts.stats.phase;
            let status = if phase == Phase::Running { OK } else { "503 Service Unavailable" };
            (status, "text/plain; charset=utf-8", format!("{phase}\n"))
        }
        Page::Metrics => {
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            let mut text = String::new();
            // Writing to a string does not fail.
            metrics(&mut text, facts).unwrap_or_default();
            (OK, kind, text)
        }
        Page::Report => {
            let least = Grade::Lossless;
            (OK, "application/json", format!("{}\n", facts.report.to_json(least)))
        }
    }
}

/// Prometheus' text format, version 0.0.4.
fn metrics(text: &mut String, facts: &Facts<'_>) -> fmt::Result {
    let Facts { report, stats, turns } = facts;
    let (connections, bytes) = (&report.connections, &report.bytes);
    let version = env!("CARGO_PKG_VERSION");
    head(text, "build_info", "gauge", "The version that runs.")?;
    writeln!(text, "netgrace_build_info{{version=\"{version}\"}} 1")?;
    one(text, "connections_open", "gauge", "Connections open now.", stats.open)?;
    one(text, "connections_accepted_total", "counter", "Connections accepted.", stats.accepted)?;
    let reasons = [
        ("drained", connections.drained),
        ("peer_closed", connections.peer_closed),
        ("protocol_closed", connections.protocol_closed),
        ("reset_by_peer", connections.reset_by_peer),
        ("host_closed", connections.host_closed),
        ("idle_timeout", connections.idle_timeout),
        ("io_error", connections.io_error),
        ("forced_clean", connections.forced_clean),
        ("forced_lossy", connections.forced_lossy),
    ];
    let help = "Connections closed, by reason.";
    many(text, "connections_closed_total", "counter", help, "reason", &reasons)?;
    let help = "Connections closed at once because their address had its share.";
    one(text, "connections_refused_total", "counter", help, stats.refused)?;
    one(text, "accept_errors_total", "counter", "Failures of accept.", stats.accept_errors)?;
    let echo_kinds = [
        ("read", bytes.read),
        ("written", bytes.written),
        ("late", bytes.late),
        ("unsent", bytes.unsent),
        ("peer_aborted", bytes.peer_aborted),
    ];
    let other_kinds = [
        ("served", bytes.served),
        ("produced", bytes.produced),
        ("unserved", bytes.unserved),
        ("incomplete", bytes.incomplete),
    ];
    let has_others = stats.requests.is_some();
    let kinds: Vec<(&str, u64)> =
        echo_kinds.into_iter().chain(other_kinds.into_iter().filter(|_| has_others)).collect();
    many(text, "bytes_total", "counter", "Bytes, by what became of them.", "kind", &kinds)?;
    if let Some(requests) = stats.requests {
        one(text, "requests_total", "counter", "Requests taken.", requests.taken)?;
        let ends = [
            ("answered", requests.answered),
            ("unanswered", requests.unanswered),
            ("aborted", requests.aborted),
        ];
        let help = "Requests over, by what became of them.";
        many(text, "requests_over_total", "counter", help, "result", &ends)?;
    }
    let help = "Bytes held for peers that do not take them.";
    one(text, "held_bytes", "gauge", help, stats.held)?;
    let phases =
        [Phase::Running, Phase::LameDuck, Phase::Draining, Phase::Forcing, Phase::Finished];
    let names = ["running", "lame_duck", "draining", "forcing", "finished"];
    let is_now = phases.map(|phase| u64::from(phase == stats.phase));
    let phases: Vec<(&str, u64)> = names.into_iter().zip(is_now).collect();
    many(text, "phase", "gauge", "1 for the phase that the server is in.", "phase", &phases)?;
    head(text, "uptime_seconds", "gauge", "Time since the start.")?;
    writeln!(text, "netgrace_uptime_seconds {}", report.uptime.as_secs_f64())?;
    if let Some(bytes) = limits::resident_bytes() {
        let help = "Memory in use.";
        one(text, "resident_memory_bytes", "gauge", help, bytes)?;
    }
    process::write(text, stats.open)?;
    one(text, "turns_total", "counter", "Turns of the loop.", stats.turns)?;
    turns.as_ref().map_or(Ok(()), |turns| turn_times(text, turns))
}

fn turn_times(text: &mut String, times: &TurnTimes) -> fmt::Result {
    let seconds = Duration::as_secs_f64;
    head(text, "turn_seconds", "histogram", "Time that a turn of the loop took.")?;
    for (bound, count) in times.cumulated() {
        writeln!(text, "netgrace_turn_seconds_bucket{{le=\"{}\"}} {count}", seconds(&bound))?;
    }
    writeln!(text, "netgrace_turn_seconds_bucket{{le=\"+Inf\"}} {}", times.turns)?;
    writeln!(text, "netgrace_turn_seconds_sum {}", seconds(&times.total))?;
    writeln!(text, "netgrace_turn_seconds_count {}", times.turns)?;
    head(text, "turn_seconds_max", "gauge", "The longest turn of the loop so far.")?;
    writeln!(text, "netgrace_turn_seconds_max {}", seconds(&times.longest))
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(text, "# HELP netgrace_{name} {help}\n# TYPE netgrace_{name} {kind}")
}

fn one(text: &mut String, name: &str, kind: &str, help: &str, value: u64) -> fmt::Result {
    head(text, name, kind, help)?;
    writeln!(text, "netgrace_{name} {value}")
}

fn many(
    text: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    label: &str,
    values: &[(&str, u64)],
) -> fmt::Result {
    head(text, name, kind, help)?;
    for (of, value) in values {
        writeln!(text, "netgrace_{name}{{{label}=\"{of}\"}} {value}")?;
    }
    Ok(())
}
