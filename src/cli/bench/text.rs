//! The report for people.

use std::fmt::Write as _;

use netgrace::load::{Audit, Interval, Latency, Results};
use serde_json::Value;

use super::chart;
use super::figure;
use super::host::format_time;
use super::outcome::Outcome;
use super::value::{Percentile, Sizes};
use super::verdict::Finding;
use crate::cli::units::format_duration;

/// The whole report, with a line break at its end.
pub(crate) fn report(outcome: &Outcome, findings: &[Finding]) -> String {
    let mut lines = vec![header(outcome), String::new(), connected(outcome)];
    let results = &outcome.results;
    if !results.load.elapsed.is_zero() {
        lines.push(load(outcome));
        let list = &outcome.context.settings.args.percentiles;
        latency_lines(&results.latency, results.service.as_ref(), list, &mut lines);
    }
    lines.push(echo(outcome));
    lost(results, &mut lines);
    steps(results, &mut lines);
    paused(results, &mut lines);
    merged(outcome, &mut lines);
    server(outcome, &mut lines);
    if let Some(audit) = &results.audit {
        shutdown(outcome, audit, &mut lines);
    }
    pictures(results, &mut lines);
    verdict(findings, &mut lines);
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

/// `netgrace bench 0.2.0  TARGET   10000 connections, 512 B, 200k msg/s, 10s, seed 42`.
pub(crate) fn header(outcome: &Outcome) -> String {
    let plan = &outcome.context.settings.plan;
    let count = |count: usize| figure::count(u64::try_from(count).unwrap_or(u64::MAX));
    let mut parts = vec![format!("{} connections", plan.connections)];
    if plan.active_connections() < plan.connections {
        parts.push(format!("{} active", plan.active_connections()));
    }
    if !plan.steps.is_empty() {
        let steps: Vec<_> = plan.steps.iter().map(|step| count(*step)).collect();
        parts.push(format!("in steps of {}", steps.join(", ")));
    }
    let size = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
    parts.push(Sizes(size(plan.size.0), size(plan.size.1)).to_string());
    match (plan.rate, plan.period) {
        (Some(rate), _) => parts.push(format!("{} msg/s", figure::quantity(rate))),
        (None, Some(period)) => parts.push(format!("each every {}", format_duration(period))),
        (None, None) => parts.push("closed loop".to_owned()),
    }
    if plan.pipeline > 1 {
        parts.push(format!("{} in flight each", count(plan.pipeline)));
    }
    if plan.churn > 0.0 {
        parts.push(format!("{} churned/s", figure::quantity(plan.churn)));
    }
    match plan.stop_at {
        Some(at) => parts.push(format!("until {}", format_time(at))),
        None => parts.push(format_duration(plan.stop_after.unwrap_or(plan.duration))),
    }
    if let Some(worker) = outcome.context.settings.worker {
        parts.push(format!("worker {} of {}", worker.index, worker.of));
    }
    parts.push(format!("seed {}", plan.seed));
    format!(
        "netgrace bench {}  {}   {}",
        env!("CARGO_PKG_VERSION"),
        outcome.context.targets(),
        parts.join(", ")
    )
}

fn connected(outcome: &Outcome) -> String {
    let connect = &outcome.results.connect;
    let seconds = connect.elapsed.as_secs_f64();
    let rate = if seconds > 0.0 { connect.established as f64 / seconds } else { 0.0 };
    let mut line = format!(
        "Connected  {} of {} in {seconds:.2} s ({}/s)   p50 {}  p99 {}  max {}   retried {}",
        connect.established,
        connect.requested,
        figure::quantity(rate),
        figure::maybe_latency(connect.latency.percentile(50.0)),
        figure::maybe_latency(connect.latency.percentile(99.0)),
        figure::maybe_latency(connect.latency.max()),
        connect.retried,
    );
    if connect.failed > 0 {
        line.push_str(&format!("  failed {}", connect.failed));
    }
    if connect.churned > 0 {
        line.push_str(&format!("   churned {}", connect.churned));
    }
    if let Some(elapsed) = connect.reconnect_elapsed {
        line.push_str(&format!("   all reconnected in {}", figure::duration(elapsed)));
    }
    line
}

fn load(outcome: &Outcome) -> String {
    let load = &outcome.results.load;
    let rate = figure::quantity(load.messages_per_second());
    let mut line = format!(
        "Load       {} messages in {:.2} s: {rate}/s",
        load.messages,
        load.elapsed.as_secs_f64()
    );
    if let (Some(asked), Some(reached)) =
        (outcome.context.settings.plan.rate, outcome.rate_reached())
    {
        let asked = figure::quantity(asked);
        line.push_str(&format!(" of {asked}/s asked ({:.1}%)", reached * 100.0));
    }
    line.push_str(&format!(", {} each way", figure::mebibytes(load.bytes_per_second())));
    if load.unsent_messages > 0 {
        line.push_str(&format!("; {} due and never sent", load.unsent_messages));
    }
    line
}

/// The percentiles, from both moments where there are two.
pub(crate) fn latency_lines(
    latency: &Latency,
    service: Option<&Latency>,
    list: &[Percentile],
    lines: &mut Vec<String>,
) {
    let shown = percentiles(latency, list);
    let Some(service) = service else {
        lines.push(format!("Latency    from send  {shown}"));
        let hint = "closed loop: service time, stalls are under-counted; use --rate";
        lines.push(format!("           {hint}"));
        return;
    };
    lines.push(format!("Latency    from schedule  {shown}"));
    lines.push(format!("           from send      {}", percentiles(service, list)));
}

fn percentiles(latency: &Latency, list: &[Percentile]) -> String {
    let shown = list.iter().map(|percentile| {
        let value = figure::maybe_latency(latency.percentile(percentile.percent));
        if percentile.percent >= 100.0 {
            format!("max {value}")
        } else {
            format!("p{} {value}", percentile.text)
        }
    });
    shown.collect::<Vec<_>>().join("  ")
}

fn echo(outcome: &Outcome) -> String {
    let load = &outcome.results.load;
    let back = load.verified_bytes;
    if !outcome.context.settings.plan.verify {
        return format!(
            "Echo       NOT VERIFIED: {} bytes sent, {back} came back",
            load.sent_bytes
        );
    }
    let missing = load.missing_bytes.saturating_sub(load.audit_bytes);
    let judged = load.missing_bytes.saturating_sub(missing);
    let mut line = format!("Echo       {} bytes sent = {back} verified", load.sent_bytes);
    if missing > 0 {
        line.push_str(&format!(" + {missing} missing"));
    }
    if judged > 0 {
        line.push_str(&format!(" + {judged} in flight at the stop"));
    }
    line.push_str(&format!(
        "   wrong {}  missing {missing}  extra {}",
        load.wrong_bytes, load.extra_bytes
    ));
    if load.foreign_bytes > 0 {
        line.push_str(&format!("  (of other connections {})", load.foreign_bytes));
    }
    line
}

fn lost(results: &Results, lines: &mut Vec<String>) {
    let errors = &results.errors;
    let mut parts = Vec::new();
    let mut add = |count: u64, what: &str| {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    };
    add(errors.reset, "reset");
    add(errors.eof_early, "ended early");
    add(errors.timeout, "timed out");
    add(errors.flood, "flooded");
    add(errors.unended, "left open after our half-close");
    add(errors.connect_refused, "connects refused");
    add(errors.connect_timeout, "connects timed out");
    errors.connect_other.iter().for_each(|(what, count)| add(*count, what));
    errors.other.iter().for_each(|(what, count)| add(*count, what));
    if !parts.is_empty() {
        lines.push(format!("Errors     {}", parts.join(", ")));
    }
}

/// A row of figures for each step of a ramp.
fn steps(results: &Results, lines: &mut Vec<String>) {
    for (at, step) in results.steps.iter().enumerate() {
        let title = if at == 0 { "Steps" } else { "" };
        let percentile = |percent: f64| figure::maybe_latency(step.latency.percentile(percent));
        lines.push(format!(
            "{title:<10} {:>9} of {:<9} connected in {:>6}  {:>8}/s   p50 {}  p99 {}  max {}",
            step.connections,
            step.requested,
            figure::duration(step.connect_elapsed),
            figure::quantity(step.messages_per_second()),
            percentile(50.0),
            percentile(99.0),
            figure::maybe_latency(step.latency.max()),
        ));
    }
}

/// That the generator itself stood still.
fn paused(results: &Results, lines: &mut Vec<String>) {
    let pauses = &results.pauses;
    if pauses.count > 0 {
        lines.push(format!(
            "Generator  stood still for {} ({} times, at most {}): latencies of that time are \
             its own",
            figure::duration(pauses.total),
            pauses.count,
            figure::duration(pauses.longest),
        ));
    }
}

/// The runs that were merged.
fn merged(outcome: &Outcome, lines: &mut Vec<String>) {
    let Some(merged) = &outcome.merged else { return };
    let mut line = match &merged.workers {
        Some((of, present)) => format!("Workers    {} of {of}", present.len()),
        None => format!("Runs       {}", merged.files.len()),
    };
    if let Some(skew) = merged.skew {
        line.push_str(&format!(", began within {}", figure::duration(skew)));
    }
    if let Some(skew) = merged.mark_skew {
        line.push_str(&format!(", took their marks within {}", figure::duration(skew)));
    }
    lines.push(line);
}

fn server(outcome: &Outcome, lines: &mut Vec<String>) {
    let usage = &outcome.usage;
    let mut parts = Vec::new();
    if let Some(us) = usage.cpu_us_per_message {
        let share = usage.cpu_share.unwrap_or(0.0) * 100.0;
        parts.push(format!("{us:.2} us CPU per message ({share:.0}% of a CPU)"));
    }
    if let Some(bytes) = usage.rss_bytes_per_connection {
        let all = usage.rss_bytes.map_or(0.0, |bytes| bytes as f64);
        let (each, all) = (figure::bytes(bytes), figure::bytes(all));
        parts.push(format!("memory {each} per connection ({all} in all)"));
    }
    if !parts.is_empty() {
        lines.push(format!("Server     {}", parts.join(", ")));
    }
    let own = outcome.own_usage.cpu_share.unwrap_or(0.0);
    let theirs = usage.cpu_share.unwrap_or(0.0);
    let threads = outcome.context.settings.plan.threads as f64;
    if outcome.context.settings.plan.rate.is_none() && own > 0.9 * threads && theirs < 0.9 {
        lines.push(format!(
            "           the generator took {:.0}% of a CPU and may be the limit; see --threads",
            own * 100.0
        ));
    }
}

fn shutdown(outcome: &Outcome, audit: &Audit, lines: &mut Vec<String>) {
    let after = |what: &str, time: Option<std::time::Duration>| match time {
        Some(time) => format!("{what} +{}", figure::duration(time)),
        None => format!("{what} not seen"),
    };
    let mut line = match outcome.context.settings.signal_name() {
        Some(name) => format!("Shutdown   SIG{name}: "),
        None => "Shutdown   ".to_owned(),
    };
    line.push_str(&after("listener closed", audit.listener_closed));
    line.push_str(&after(", last byte", audit.last_byte));
    line.push_str(&after(", last end", audit.last_close));
    match (audit.exit, outcome.exit_code) {
        (Some(at), Some(code)) => {
            line.push_str(&format!(", exit {code} at +{}", figure::duration(at)));
        }
        (at, _) => line.push_str(&after(", exit", at)),
    }
    lines.push(line);
    let queue = &audit.queue;
    let mut line = format!(
        "           {} clean, {} lost, {} reset, {} cut; {} new connects: {} served",
        audit.clean, audit.lost, audit.reset, audit.cut, queue.connected, queue.served
    );
    for (count, what) in
        [(queue.reset, "reset"), (queue.lost, "not echoed"), (queue.waiting, "left waiting")]
    {
        if count > 0 {
            line.push_str(&format!(", {count} {what}"));
        }
    }
    line.push_str(&format!("; then {} refused", queue.refused));
    lines.push(line);
    lines.push(format!(
        "           {} bytes sent before the signal never came back ({} sent after it)",
        audit.lost_bytes, audit.late_bytes
    ));
    if let Some(report) = &outcome.report {
        lines.push(format!("           server's own report: {}", own_report(report)));
    }
}

/// The grade and the sum of the server's own report.
fn own_report(report: &Value) -> String {
    let number = |path: &str| report.pointer(path).and_then(Value::as_u64);
    let shown = |path: &str| number(path).map_or_else(|| "?".to_owned(), |count| count.to_string());
    let grade = report.pointer("/grade").and_then(Value::as_str).unwrap_or("?");
    let mut text = format!(
        "{grade}, {} accepted, {} bytes read = {} written",
        shown("/connections/accepted"),
        shown("/bytes/read"),
        shown("/bytes/written"),
    );
    for (path, name) in [("late", "late"), ("unsent", "unsent"), ("peer_aborted", "of lost peers")]
    {
        if let Some(count) = number(&format!("/bytes/{path}")).filter(|count| *count > 0) {
            text.push_str(&format!(" + {count} {name}"));
        }
    }
    text
}

fn pictures(results: &Results, lines: &mut Vec<String>) {
    let measured = results.intervals.iter().filter(|interval| !interval.stopping);
    let rates: Vec<f64> = measured.map(Interval::messages_per_second).collect();
    if rates.len() > 1 {
        let low = rates.iter().copied().fold(f64::INFINITY, f64::min);
        let high = rates.iter().copied().fold(0.0, f64::max);
        let (low, high) = (figure::quantity(low), figure::quantity(high));
        lines.push(String::new());
        lines.push(format!("Rate       {}  {low} to {high} msg/s", chart::sparkline(&rates)));
    }
    if results.latency.count() > 0 {
        lines.push(String::new());
        lines.push("Latency distribution".to_owned());
        lines.extend(chart::bars(&results.latency));
    }
}

fn verdict(findings: &[Finding], lines: &mut Vec<String>) {
    lines.push(String::new());
    if findings.is_empty() {
        lines.push("Result     PASS".to_owned());
        return;
    }
    let mut sorted: Vec<_> = findings.iter().collect();
    sorted.sort_by_key(|finding| finding.code);
    let interrupted = sorted.iter().all(|finding| finding.code == 130);
    let code = sorted.first().map_or(0, |finding| finding.code);
    let name = if interrupted { "INTERRUPTED" } else { "FAIL" };
    let mut line = format!("Result     {name} (exit {code})");
    let mut listed = sorted.iter().filter(|finding| finding.code != 130 || !interrupted);
    if let Some(first) = listed.next() {
        let written = write!(line, ": {}", first.text);
        debug_assert!(written.is_ok(), "writing to a string");
    }
    lines.push(line);
    lines.extend(listed.map(|finding| format!("           {}", finding.text)));
}
