//! The law of a stop: what the report claims, what the clients received and what the exit code says
//! agree.

use serde_json::Value;

use crate::promise::client::{End, Seen};
use crate::support::{Outcome, Server};

/// A stop that is over.
#[derive(Debug)]
pub struct Stop {
    pub outcome: Outcome,
    pub report: Value,
    /// All clients that the server has ever had.
    pub clients: Vec<Seen>,
}

impl Stop {
    /// Waits for the end of a server that was asked to stop. `clients` are all that it ever had.
    #[track_caller]
    pub fn of(server: Server, clients: Vec<Seen>) -> Self {
        Self::from(server.finish(), clients)
    }

    #[track_caller]
    pub fn from(outcome: Outcome, clients: Vec<Seen>) -> Self {
        let report = outcome.report();
        Self { outcome, report, clients }
    }

    pub fn number(&self, path: &str) -> u64 {
        let found = self.report.pointer(path).and_then(Value::as_u64);
        found.unwrap_or_else(|| panic!("no number {path} in {:#}", self.report))
    }

    pub fn grade(&self) -> &str {
        self.report["grade"].as_str().expect("a grade")
    }

    /// How many clients a condition is true of.
    pub fn count(&self, condition: impl Fn(&Seen) -> bool) -> usize {
        self.clients.iter().filter(|client| condition(client)).count()
    }

    /// Checks that nothing contradicts what the clients saw.
    #[track_caller]
    pub fn obeys(&self) {
        self.complain(self.breaches());
    }

    /// Checks only that the report claims no more than the clients got. What a network loses may
    /// come after the quiet time.
    #[track_caller]
    pub fn claims_no_more(&self) {
        self.complain(self.false_claims());
    }

    /// Checks the same as [`Stop::obeys`], and that every client was served in full: all that it
    /// handed over before the request came back and was followed by an orderly end.
    #[track_caller]
    pub fn keeps(&self) {
        let mut breaches = self.breaches();
        self.add(&mut breaches, "not served in full", |seen| {
            seen.is_short() || seen.end != End::Fin
        });
        if self.outcome.status.code() != Some(0) {
            breaches.push(format!("exit {:?}", self.outcome.status.code()));
        }
        if self.grade() == "lossy" {
            breaches.push("grade lossy".to_owned());
        }
        self.complain(breaches);
    }

    #[track_caller]
    fn complain(&self, breaches: Vec<String>) {
        let (text, report) = (breaches.join("\n  "), &self.report);
        assert!(breaches.is_empty(), "\n  {text}\n{report:#}\n{}", self.outcome.stderr);
    }

    fn breaches(&self) -> Vec<String> {
        let mut found = self.false_claims();
        self.add(&mut found, "neither an end nor a reset", |seen| seen.end == End::Hung);
        self.add(&mut found, "FIN, though not all is back", |seen| {
            seen.end == End::Fin && seen.is_short()
        });
        if self.outcome.status.code() == Some(0) {
            self.add(&mut found, "exit 0, though bytes are lost", Seen::is_short);
            self.add(&mut found, "exit 0, though reset", |seen| seen.end == End::Reset);
        }
        found
    }

    fn false_claims(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.add(&mut found, "other bytes came back", |seen| !seen.is_intact);
        let received: usize = self.clients.iter().map(|seen| seen.received).sum();
        let (received, written) = (received as u64, self.number("/bytes/written"));
        if written > received {
            found.push(format!("{written} bytes written, though clients received {received}"));
        }
        if matches!(self.grade(), "confirmed" | "complete") {
            let grade = self.grade();
            self.add(&mut found, &format!("grade {grade}, though reset"), |seen| {
                seen.end == End::Reset
            });
            if written != received {
                found.push(format!("grade {grade}: {written} written, {received} received"));
            }
        }
        if self.grade() == "complete" && self.number("/bytes/late") > 0 {
            found.push("grade complete, though bytes were late".to_owned());
        }
        self.add_handshakes(&mut found);
        found
    }

    /// What holds for half-open handshakes where the report has them.
    fn add_handshakes(&self, found: &mut Vec<String>) {
        let Some(counts) = self.report.pointer("/connections/half_open") else {
            return;
        };
        let number = |name: &str| counts[name].as_u64();
        match (number("seen"), number("completed"), number("stale"), number("left")) {
            (Some(seen), Some(completed), Some(stale), Some(left)) => {
                if seen != completed + stale + left {
                    found.push(format!("half-open handshakes do not add up: {counts}"));
                }
                if left > 0 && self.grade() != "lossy" {
                    found.push(format!("grade {}, though half_open is {counts}", self.grade()));
                }
                if stale > 0 && !matches!(self.grade(), "lossy" | "lossless") {
                    found.push(format!("grade {}, though half_open is {counts}", self.grade()));
                }
            }
            _ if matches!(self.grade(), "confirmed" | "complete") => {
                found.push(format!("grade {}, though half_open is {counts}", self.grade()));
            }
            _ => {}
        }
        if self.report["gated"] == false && matches!(self.grade(), "confirmed" | "complete") {
            found.push(format!("grade {}, though not gated", self.grade()));
        }
    }

    /// Adds one line about all clients that a complaint is true of.
    fn add(&self, found: &mut Vec<String>, what: &str, is_true: impl Fn(&Seen) -> bool) {
        let mut guilty = self.clients.iter().filter(|seen| is_true(seen));
        if let Some(first) = guilty.next() {
            let Seen { handed, received, end, .. } = first;
            let (count, all) = (1 + guilty.count(), self.clients.len());
            found.push(format!(
                "{count} of {all} clients: {what} (one got {received} of {handed} bytes, {end:?})"
            ));
        }
    }
}
