//! Flags, files and the shape of the output.

use std::fs;

use serde_json::Value;

use super::audit_as;
use super::checked;
use super::number;
use crate::support::Directory;
use crate::support::netgrace;
use crate::support::run;

#[test]
fn mistakes_are_usage_errors() {
    let target = "http://127.0.0.1:1/";
    let cases: [&[&str]; 14] = [
        &[target],
        &["ftp://127.0.0.1:1", "--pid", "1"],
        &["--pid", "0", target],
        &["--pid", "1", target, "--", "true"],
        &["--signal", "STOP"],
        &["--signal", "TERM", "--stop-with", "true", target],
        &["--repeat", "0"],
        &["--repeat", "2", "--pid", "1", target],
        &["--clients", "new=0,busy=0,idle=0,slow=0,half=0,queued=0"],
        &["--clients", "old=1"],
        &["--fail-if", "lost"],
        &["--fail-if", "gap>1"],
        &["--warmup", "1"],
        &["--slow-path", "x", target, "--", "true"],
    ];
    for args in cases {
        let mut all = vec!["audit"];
        all.extend(args);
        let outcome = run(&mut netgrace(&all)).exits(2);
        assert!(outcome.stdout.is_empty() && !outcome.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn the_help_names_every_class_and_kind() {
    let help = run(&mut netgrace(&["audit", "--help"])).exits(0).stdout;
    let kinds = ["new", "busy", "idle", "slow", "half", "queued"];
    for word in super::CLASSES.iter().chain(&kinds) {
        assert!(help.contains(&format!("\n  {word} ")), "{word} in {help}");
    }
    assert!(run(&mut netgrace(&["man", "audit"])).exits(0).stdout.contains("netgrace"));
}

/// Without arguments the program audits a server of its own: this is what README shows.
#[test]
fn without_arguments_the_own_server_is_lossless() {
    let outcome = run(&mut netgrace(&["audit"])).exits(0);
    let report = &outcome.stdout;
    for kind in ["new", "busy", "idle", "slow", "half", "queued"] {
        assert!(report.lines().any(|line| line.starts_with(kind)), "{kind} in {report}");
    }
    assert!(report.lines().any(|line| line.starts_with("Result     LOSSLESS: ")), "{report}");
}

#[test]
fn files_are_written_and_quiet_is_quiet() {
    let directory = Directory::new();
    let (json, svg) = (directory.join("a.json"), directory.join("a.svg"));
    let outcome = run(&mut audit_as("http", "reset_queue", &["-q"])).exits(4);
    assert!(!outcome.stderr.contains("netgrace audit"), "{}", outcome.stderr);
    let svg_text = svg.to_str().expect("UTF-8");
    let args = ["--json", json.to_str().expect("UTF-8"), "--svg", svg_text, "--repeat", "2"];
    let outcome = run(&mut audit_as("http", "reset_queue", &args)).exits(4);
    assert!(outcome.stdout.contains("Result     LOSSY"), "{}", outcome.stdout);
    let document: Value =
        serde_json::from_str(&fs::read_to_string(json).expect("a file")).expect("JSON");
    assert_eq!(document["stops"], 2);
    assert_eq!(document["bound_95"], Value::Null, "not every stop was clean");
    let picture = fs::read_to_string(svg).expect("a picture");
    assert!(picture.starts_with("<svg") && picture.contains("reset_unanswered"), "{picture}");
    assert!(picture.contains("<circle") && picture.contains("stop"), "{picture}");
    assert_eq!(directory.names(), ["a.json", "a.svg"]);
}

#[test]
fn clean_stops_prove_a_bound() {
    let args = ["--repeat", "3", "--clients", "slow=0,half=0"];
    let outcome = run(&mut audit_as("http", "well", &args)).exits(0);
    let document = checked(&outcome);
    assert_eq!((&document["stops"], &document["bound_95"]), (&3.into(), &1.0.into()));
    assert!(outcome.stderr.contains("0 of 3 stops lost"), "{}", outcome.stderr);
    assert!(document["clients"].get("slow").is_none(), "{document:#}");
    // Three stops' worth of clients.
    assert!(number(&document["clients"]["queued"], "started") > 40, "{document:#}");
}

#[test]
fn an_unwritable_file_is_known_before_the_audit() {
    let outcome =
        run(&mut audit_as("http", "well", &["--json", "/nonexistent/x", "--warmup", "1m"]))
            .exits(1);
    assert!(outcome.stderr.contains("/nonexistent/x"), "{}", outcome.stderr);
}
