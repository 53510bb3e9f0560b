//! Each server that does one thing wrong lands in the class of that thing and nowhere else.

use serde_json::Value;

use super::audit_as;
use super::checked;
use super::failures;
use super::number;
use crate::support::run;

/// Audits a liar; its failures are of this class alone.
#[track_caller]
fn lies(way: &str, class: &str, code: i32) -> Value {
    let outcome = run(&mut audit_as("http", way, &[])).exits(code);
    let document = checked(&outcome);
    assert_eq!(failures(&document), [class], "{document:#}");
    assert_eq!(document["outcome"]["error"], Value::Null);
    // The report says what the class means.
    let sentence = format!("{} {class}: ", document["classes"][class]);
    assert!(outcome.stderr.contains(&sentence), "{}", outcome.stderr);
    document
}

#[test]
fn a_reset_queue_is_reset_unanswered() {
    let document = lies("reset_queue", "reset_unanswered", 4);
    assert!(number(&document["clients"]["queued"], "reset_unanswered") > 0, "{document:#}");
    assert_eq!(number(&document["clients"]["busy"], "reset_unanswered"), 0, "{document:#}");
    assert_eq!(document["verdict"], "lossy");
}

#[test]
fn a_swallowed_request_is_swallowed() {
    let document = lies("swallow", "swallowed", 4);
    assert_eq!(document["verdict"], "lossy");
    let kept = |kind: &str| number(&document["clients"][kind], "swallowed");
    assert!(kept("idle") > 0 && kept("new") == 0, "{document:#}");
}

#[test]
fn half_an_answer_and_a_fin_is_truncated() {
    lies("truncate", "truncated", 4);
}

#[test]
fn half_an_answer_and_a_reset_is_cut() {
    lies("cut", "cut", 4);
}

#[test]
fn another_answer_is_wrong() {
    lies("wrong", "wrong", 4);
}

#[test]
fn a_connection_left_alone_is_hung() {
    let document = lies("hang", "hung", 4);
    assert!(number(&document["times_ns"], "exit") > 2_000_000_000, "{document:#}");
}

#[test]
fn a_503_is_declined_and_no_failure() {
    let document = lies("decline", "declined", 0);
    assert_eq!(document["verdict"], "lossless");
}

#[test]
fn a_close_that_crosses_a_request_is_raced() {
    let document = lies("race", "raced", 4);
    assert_eq!(document["verdict"], "racy");
    assert_eq!(document["lost"], 0);
}

#[test]
fn a_silent_listener_is_unreachable_and_no_failure() {
    let document = lies("unreachable", "unreachable", 0);
    assert!(number(&document["times_ns"], "gap") > 1_000_000_000, "{document:#}");
}

#[test]
fn a_late_exit_is_a_failed_check() {
    let outcome = run(&mut audit_as("http", "late", &["--exit-within", "1s"])).exits(4);
    let document = checked(&outcome);
    assert_eq!(failures(&document), [""; 0], "{document:#}");
    let failed = document["outcome"]["failed_checks"].as_array().expect("a list");
    assert!(failed.len() == 1 && failed[0].as_str().unwrap().starts_with("exit"), "{failed:?}");
    assert_eq!(document["verdict"], "lossless");
}

#[test]
fn a_server_that_ends_by_itself_cannot_be_audited() {
    let outcome = run(&mut audit_as("http", "die", &["--warmup", "1s"])).exits(1);
    let document = checked(&outcome);
    let error = document["outcome"]["error"].as_str().expect("an error");
    assert!(error.contains("ended by itself"), "{error}");
    assert_eq!(document["verdict"], Value::Null);
}

#[test]
fn bodies_that_differ_are_not_compared() {
    let outcome = run(&mut audit_as("http", "vary", &[])).exits(0);
    let document = checked(&outcome);
    assert_eq!(failures(&document), [""; 0], "{document:#}");
    assert_eq!(document["bodies_compared"], false);
    assert!(outcome.stderr.contains("differs from answer to answer"), "{}", outcome.stderr);
}

#[test]
fn conditions_replace_the_defaults() {
    let args = ["--fail-if", "announced<1", "--fail-if", "gap>1h"];
    let outcome = run(&mut audit_as("http", "reset_queue", &args)).exits(0);
    assert!(number(&checked(&outcome), "lost") > 0);
    let outcome = run(&mut audit_as("http", "well", &["--fail-if", "refused>0"])).exits(4);
    let document = checked(&outcome);
    assert!(document["outcome"]["failed_checks"][0].as_str().unwrap().starts_with("refused>0: "));
}
