//! `netgrace audit`: servers that do one thing wrong at their stop, each in its class and only
//! there, and one that does everything right.

mod liars;
mod output;
mod processes;
mod server;
mod truth;

use std::net::TcpListener;
use std::process::Command;

use serde_json::Value;

use crate::support::Outcome;
use crate::support::netgrace;

/// The classes that make a stop lossy.
const LOST: [&str; 6] = ["swallowed", "reset_unanswered", "truncated", "cut", "wrong", "hung"];

/// The classes that make up the sum.
const CLASSES: [&str; 11] = [
    "answered",
    "declined",
    "refused",
    "unreachable",
    "raced",
    "swallowed",
    "reset_unanswered",
    "truncated",
    "cut",
    "wrong",
    "hung",
];

/// A port on which nobody listens.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// An audit of this binary as a server that stops in this way.
fn audit_as(scheme: &str, way: &str, args: &[&str]) -> Command {
    let port = free_port();
    let target = format!("{scheme}://127.0.0.1:{port}/");
    let own = std::env::current_exe().expect("the test binary");
    let own = own.to_str().expect("a UTF-8 path").to_owned();
    let mut all = vec!["audit", "--warmup", "400ms", "--settle", "2s", "--json", "-"];
    if scheme == "http" {
        all.extend(["--slow-path", "/slow"]);
    }
    all.extend(args);
    all.extend([target.as_str(), "--", &own, "--exact", "audit::server::serve", "--ignored"]);
    let mut command = netgrace(&all);
    command.env(server::WAY, way).env(server::PORT, port.to_string());
    command.env(server::SCHEME, scheme);
    command
}

/// The one JSON object on stdout, its sums checked.
#[track_caller]
fn checked(outcome: &Outcome) -> Value {
    let text = &outcome.stdout;
    let document: Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("{outcome:#?}"));
    assert_eq!(document["schema"], "netgrace-audit/1");
    assert_eq!(document["outcome"]["exit_code"], outcome.status.code().unwrap_or(-1));
    let mut sums = serde_json::Map::new();
    for (kind, of) in document["clients"].as_object().expect("clients") {
        let mut sum = 0;
        for class in CLASSES {
            let count = number(of, class);
            sum += count;
            let before = sums.get(class).and_then(Value::as_u64).unwrap_or(0);
            sums.insert(class.to_owned(), (before + count).into());
        }
        assert_eq!(number(of, "started"), sum, "{kind} in {document:#}");
    }
    if !sums.is_empty() {
        for class in CLASSES {
            assert_eq!(document["classes"][class], sums[class], "{class} in {document:#}");
        }
    }
    let lost: u64 = LOST.iter().map(|class| number(&document["classes"], class)).sum();
    assert_eq!(number(&document, "lost"), lost, "{document:#}");
    assert_eq!(document["raced"], document["classes"]["raced"], "{document:#}");
    document
}

#[track_caller]
fn number(of: &Value, name: &str) -> u64 {
    of[name].as_u64().unwrap_or_else(|| panic!("no number {name} in {of:#}"))
}

/// The classes other than `answered` and `refused` that are not zero.
fn failures(document: &Value) -> Vec<&'static str> {
    let others = CLASSES.iter().filter(|class| !matches!(**class, "answered" | "refused"));
    others.copied().filter(|class| number(&document["classes"], class) > 0).collect()
}
