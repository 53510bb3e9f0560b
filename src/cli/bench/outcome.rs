//! A run's results, the server's side of them, and the verdict.

use super::{
    host::Host,
    limit::OpenFiles,
    setting::Setting,
    usage::{OwnUsage, Usage},
};
use netgrace::load::{Audit, Results};
use serde_json::Value;

/// Under so much of the asked rate the load was not reached.
const RATE_REACHED: f64 = 0.95;

/// Everything known after a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) setting: Setting,
    pub(crate) results: Results,
    pub(crate) usage: Usage,
    pub(crate) own_usage: OwnUsage,
    pub(crate) host: Host,
    pub(crate) files: OpenFiles,
    pub(crate) started_at: String,
    /// The exit code of a server that is our child.
    pub(crate) exit_code: Option<i32>,
    /// Whether the server's process could be watched.
    pub(crate) is_watched: bool,
    /// The server's own report of its stop.
    pub(crate) report: Option<Value>,
}

/// Something that was not as it should be, and the exit code for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) code: u8,
    pub(crate) text: String,
}

impl Outcome {
    /// The exit code: the smallest of all complaints'.
    pub(crate) fn exit_code(complaints: &[Complaint]) -> u8 {
        complaints.iter().map(|complaint| complaint.code).min().unwrap_or(0)
    }

    /// Everything that was not as it should be.
    pub(crate) fn complaints(&self) -> Vec<Complaint> {
        let mut all = Vec::new();
        let mut say = |code: u8, text: String| all.push(Complaint { code, text });
        let Results { connect, load, errors, .. } = &self.results;
        if connect.established == 0 && !self.results.interrupted {
            let why = self.connect_reasons();
            say(1, format!("no connection to {}{why}", self.targets()));
        }
        if !load.is_exact() {
            let missing = load.missing_bytes.saturating_sub(load.audit_bytes);
            let (wrong, extra) = (load.wrong_bytes, load.extra_bytes);
            say(3, format!("bytes: {wrong} wrong, {missing} missing, {extra} extra"));
        }
        if errors.lost() > 0 {
            say(3, format!("{} connections lost", errors.lost()));
        }
        self.audit_complaints(&mut say);
        let missed = connect.requested.saturating_sub(connect.established);
        if missed > 0 && connect.established > 0 && !self.results.interrupted {
            let why = self.connect_reasons();
            say(5, format!("{} of {} connections{why}", connect.established, connect.requested));
        } else if errors.connect_failures() > 0 && connect.established > 0 {
            say(5, format!("{} connects failed during the run", errors.connect_failures()));
        }
        if let Some(rate) = self.rate_reached().filter(|rate| *rate < RATE_REACHED) {
            let percent = rate * 100.0;
            say(5, format!("{percent:.1}% of the asked rate"));
        }
        for check in &self.setting.args.fail_if {
            if let Some(text) = check.complaint(self) {
                say(6, text);
            }
        }
        if self.results.interrupted {
            say(130, "interrupted".to_owned());
        }
        all
    }

    /// The achieved part of the asked rate.
    pub(crate) fn rate_reached(&self) -> Option<f64> {
        let asked = self.setting.plan.rate?;
        let load = &self.results.load;
        let spent = self.setting.plan.messages.is_some_and(|most| load.messages >= most);
        let measured = !load.elapsed.is_zero();
        (measured && !spent).then(|| load.messages_per_second() / asked)
    }

    /// The targets, shortened where there are many.
    pub(crate) fn targets(&self) -> String {
        let targets = &self.setting.plan.targets;
        match (targets.first(), targets.len()) {
            (Some(first), 1) => first.to_string(),
            (Some(first), more) => format!("{first} and {} more", more.saturating_sub(1)),
            (None, _) => "nobody".to_owned(),
        }
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
            reasons.push(format!("{count} × {name}"));
        }
        if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join(", ")) }
    }

    fn audit_complaints(&self, say: &mut impl FnMut(u8, String)) {
        if !self.setting.has_audit() {
            return;
        }
        let Some(audit) = &self.results.audit else {
            if !self.results.interrupted && self.results.connect.established > 0 {
                say(4, "the shutdown audit could not begin: the load ended before".to_owned());
            }
            return;
        };
        if let Some(error) = &audit.stop_error {
            say(4, format!("the server could not be told to stop: {error}"));
        }
        if !audit.is_clean() {
            say(4, damage(audit));
        }
        if self.is_watched && audit.exit.is_none() {
            let limit = crate::cli::units::format_duration(self.setting.plan.exit_within);
            say(4, format!("the server did not exit within {limit}"));
        }
        if let Some(code) = self.exit_code.filter(|code| *code != 0)
            && audit.exit.is_some()
        {
            say(4, format!("the server exited with {code}"));
        }
        for text in self.contradictions(audit) {
            say(4, text);
        }
    }

    /// Where the server's own report and the clients disagree.
    fn contradictions(&self, audit: &Audit) -> Vec<String> {
        let Some(report) = &self.report else {
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
    let mut say = |count: u64, what: &str| {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    };
    say(audit.lost, "connections lost bytes");
    say(audit.reset, "connections reset");
    say(audit.cut, "connections not ended");
    say(audit.lost_bytes, "bytes lost");
    say(audit.queue.reset, "queued clients reset");
    say(audit.queue.lost, "queued clients without an echo");
    parts.join(", ")
}
