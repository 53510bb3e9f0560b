//! What was not as it should be in a run, and the exit code for it.

use std::time::Duration;

use netgrace::load::{Audit, Latency, NO_LOCAL_PORT, NO_SOURCE_PORT, Results};
use serde_json::Value;

use super::condition::{Condition, Distribution, Metric, Statistic};
use super::outcome::Outcome;
use crate::cli::units;

/// Under so much of the asked rate the load was not reached.
const RATE_REACHED: f64 = 0.95;

const WRAPPED: &str = "the command ended, the target still answers: is it a wrapper? \
                       have it start the server with exec";

/// Something that was not as it should be, and the exit code for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) code: u8,
    pub(crate) text: String,
}

/// Returns the exit code: the smallest one of all findings.
pub(crate) fn exit_code(findings: &[Finding]) -> u8 {
    findings.iter().map(|finding| finding.code).min().unwrap_or(0)
}

impl Outcome {
    /// Everything that was not as it should be.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        if let Some((code, text)) = &self.failure {
            return vec![Finding { code: *code, text: text.clone() }];
        }
        let mut all = Vec::new();
        let mut add = |code: u8, text: String| all.push(Finding { code, text });
        let Results { connect, load, errors, .. } = &self.results;
        let settings = &self.context.settings;
        let has_start = settings.plan.start_at.is_some();
        if connect.established == 0 && !self.results.interrupted {
            let why = self.connect_reasons();
            let (code, when) = if has_start { (5, " by --start-at") } else { (1, "") };
            add(code, format!("no connection to {}{when}{why}", self.context.targets()));
        }
        if !load.is_exact() {
            let missing = load.missing_bytes.saturating_sub(load.audit_bytes);
            let (wrong, extra) = (load.wrong_bytes, load.extra_bytes);
            add(3, format!("bytes: {wrong} wrong, {missing} missing, {extra} extra"));
        }
        if errors.lost() > 0 {
            add(3, format!("{} connections lost", errors.lost()));
        }
        self.audit_findings(&mut add);
        if let Some(late) = self.results.late_by {
            let late = units::approximate_duration(late);
            add(5, format!("not all connections were open at --start-at, but {late} after it"));
        }
        let missed = connect.requested.saturating_sub(connect.established);
        if missed > 0 && connect.established > 0 && !self.results.interrupted {
            let why = self.connect_reasons();
            let when = if has_start { " by --start-at" } else { "" };
            let (have, asked) = (connect.established, connect.requested);
            add(5, format!("{have} of {asked} connections{when}{why}"));
        } else if errors.connect_failures() > 0 && connect.established > 0 {
            add(5, format!("{} connects failed during the run", errors.connect_failures()));
        }
        if let Some(rate) = self.rate_reached().filter(|rate| *rate < RATE_REACHED) {
            let percent = rate * 100.0;
            add(5, format!("{percent:.1}% of the asked rate"));
        }
        if let Some(merged) = &self.merged {
            for text in &merged.incomplete {
                add(5, format!("incomplete: {text}"));
            }
            for (code, text) in &merged.findings {
                add(*code, text.clone());
            }
        }
        for condition in &self.context.settings.args.fail_if {
            if let Some(text) = condition.finding(self) {
                add(6, text);
            }
        }
        if self.results.interrupted {
            add(130, "interrupted".to_owned());
        }
        all
    }

    fn connect_reasons(&self) -> String {
        let errors = &self.results.errors;
        let mut reasons = Vec::new();
        if errors.connect_refused > 0 {
            reasons.push(format!("{} refused", errors.connect_refused));
        }
        if errors.connect_timeout > 0 {
            reasons.push(format!("{} timed out", errors.connect_timeout));
        }
        for (name, count) in &errors.connect_other {
            reasons.push(format!("{count} × {name}{}", self.port_advice(name)));
        }
        if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join(", ")) }
    }

    /// What can be done where no local port is left.
    fn port_advice(&self, reason: &str) -> String {
        let waiting = match self.context.host.time_wait {
            Some(waiting) => format!(", {waiting} in TIME_WAIT"),
            None => String::new(),
        };
        if reason == NO_SOURCE_PORT {
            return format!(
                " ({} in use{waiting}); give more --source addresses",
                "--source-ports"
            );
        }
        if reason != NO_LOCAL_PORT {
            return String::new();
        }
        let range = match self.context.host.port_range {
            Some((low, high)) => format!("range {low}-{high}"),
            None => "range unknown".to_owned(),
        };
        format!(
            " ({range}{waiting}); give --source addresses, more targets, or a wider \
             net.ipv4.ip_local_port_range"
        )
    }

    fn audit_findings(&self, add: &mut impl FnMut(u8, String)) {
        if !self.context.settings.has_audit() {
            return;
        }
        let Some(audit) = &self.results.audit else {
            if !self.results.interrupted && self.results.connect.established > 0 {
                add(4, "the shutdown audit could not begin: the load ended before".to_owned());
            }
            return;
        };
        if let Some(error) = &audit.stop_error {
            add(4, format!("the server could not be told to stop: {error}"));
        }
        if let Some(failure) = &self.stop_failure {
            add(4, format!("the command of --stop-with failed: {failure}"));
        }
        if self.is_wrapped {
            add(4, WRAPPED.to_owned());
        } else if !audit.is_clean() {
            add(4, damage(audit));
        }
        if self.is_watched && audit.exit.is_none() {
            let limit = units::format_duration(self.context.settings.plan.exit_within);
            add(4, format!("the server did not exit within {limit}"));
        }
        if let Some(code) = self.exit_code.filter(|code| *code != 0)
            && audit.exit.is_some()
            && !self.is_wrapped
        {
            add(4, format!("the server exited with {code}"));
        }
        for text in self.contradictions(audit) {
            add(4, text);
        }
    }

    /// Where the server's own report and the clients disagree.
    fn contradictions(&self, audit: &Audit) -> Vec<String> {
        let is_whole = !self.context.settings.is_part() || self.merged.is_some();
        // The file of a server that was replaced has the report of its successor only.
        let is_replaced = self.context.settings.is_replacement()
            && self.report.as_ref().is_some_and(|report| report.get("reports").is_none());
        let Some(report) = self.report.as_ref().filter(|_| is_whole && !is_replaced) else {
            return Vec::new();
        };
        let number = |path: &str| report.pointer(path).and_then(Value::as_u64);
        let load = &self.results.load;
        let seen = load
            .verified_bytes
            .saturating_add(load.wrong_bytes)
            .saturating_add(load.extra_bytes)
            .saturating_add(audit.queue.echoed_bytes);
        let mut all = Vec::new();
        if let Some(written) = number("/bytes/written")
            && written != seen
        {
            all.push(format!("the server reports {written} bytes written, clients saw {seen}"));
        }
        let grade = report.pointer("/grade").and_then(Value::as_str);
        if grade == Some("lossy") && audit.is_clean() {
            all.push("the server reports a lossy stop, its clients lost nothing".to_owned());
        }
        all
    }
}

fn damage(audit: &Audit) -> String {
    let mut parts = Vec::new();
    let mut add = |count: u64, what: &str| {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    };
    add(audit.lost, "connections lost bytes");
    add(audit.reset, "connections reset");
    add(audit.cut, "connections not ended");
    add(audit.lost_bytes, "bytes lost");
    add(audit.queue.reset, "queued clients reset");
    add(audit.queue.lost, "queued clients without an echo");
    parts.join(", ")
}

impl Metric {
    fn of(self, outcome: &Outcome) -> Option<f64> {
        let results = &outcome.results;
        let count = |count: u64| Some(count as f64);
        match self {
            Self::Latency(Distribution::Reported, statistic) => statistic.of(&results.latency),
            Self::Latency(Distribution::RoundTrip, statistic) => {
                statistic.of(results.service.as_ref().unwrap_or(&results.latency))
            }
            Self::Latency(Distribution::Connect, statistic) => {
                statistic.of(&results.connect.latency)
            }
            Self::Rate => Some(results.load.messages_per_second()),
            Self::Errors => count(results.errors.total()),
            Self::Retried => count(results.connect.retried),
            Self::Failed => count(results.connect.failed),
            Self::Wrong => count(results.load.wrong_bytes),
            Self::Missing => count(results.load.missing_bytes),
            Self::Extra => count(results.load.extra_bytes),
            Self::Cpu => outcome.usage.cpu_us_per_message.map(|us| us * 1e3),
            Self::Rss => outcome.usage.rss_bytes_per_connection,
        }
    }
}

impl Statistic {
    fn of(self, latency: &Latency) -> Option<f64> {
        match self {
            Self::Min => latency.min().map(|nanos| nanos as f64),
            Self::Mean => latency.mean(),
            Self::Max => latency.max().map(|nanos| nanos as f64),
            Self::Percentile(percent) => latency.percentile(percent).map(|nanos| nanos as f64),
        }
    }
}

impl Condition {
    /// Returns a finding if the condition holds, or if its value is not known.
    pub(crate) fn finding(&self, outcome: &Outcome) -> Option<String> {
        let Some(value) = self.metric.of(outcome) else {
            return Some(format!("{self}: the value is not known"));
        };
        let holds = if self.above { value > self.bound } else { value < self.bound };
        holds.then(|| format!("{self}: it is {}", self.shown(value)))
    }

    fn shown(&self, value: f64) -> String {
        match self.metric {
            Metric::Latency(..) | Metric::Cpu => {
                units::approximate_duration(Duration::from_secs_f64(value / 1e9))
            }
            Metric::Rss => format!("{value:.0} B"),
            _ => format!("{value:.0}"),
        }
    }
}
