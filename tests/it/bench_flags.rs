//! Flags beside each other: each works or is refused, in every mode.

use std::fs;

use serde_json::Value;

use super::bench_truth::{bench, number};
use super::liar;
use super::support::{Directory, Server, netgrace, run};

const SHORT: [&str; 6] = ["-c", "5", "--warmup", "0s", "-d", "300ms"];

#[test]
fn a_flag_works_or_is_refused_beside_merge_and_dry_run() {
    let refused: [&[&str]; 12] = [
        &["-c", "1"],
        &["-d", "1s"],
        &["-r", "1"],
        &["--ramp", "1,2"],
        &["--seed", "1"],
        &["--source", "127.0.0.1"],
        &["--worker", "0/1"],
        &["--start-at", "1"],
        &["--stop-with", "true"],
        &["--exit-within", "1s"],
        &["--no-progress"],
        &["--dry-run"],
    ];
    for flags in refused {
        let args = [&["bench"], flags, &["--merge", "/dev/null"]].concat();
        let outcome = run(&mut netgrace(&args)).exits(2);
        assert!(outcome.stderr.contains("--merge"), "{flags:?}: {}", outcome.stderr);
    }
    for flags in [&["--json", "-"][..], &["--fail-if", "p99>1us"], &["--csv", "x"]] {
        let args = [&["bench", "--dry-run"], flags, &["127.0.0.1:1"]].concat();
        run(&mut netgrace(&args)).exits(2);
    }
    let args = ["bench", "--reconnect-at", "2s", "-d", "1s", "127.0.0.1:1"];
    run(&mut netgrace(&args)).exits(2);
    for flags in [&["--signal", "INT"][..], &["--exit-within", "1s"], &["--stop-with", "true"]] {
        let args = [&["bench"], flags, &["127.0.0.1:1"]].concat();
        let outcome = run(&mut netgrace(&args)).exits(2);
        assert!(outcome.stderr.contains("--shutdown-after"), "{}", outcome.stderr);
    }
}

#[test]
fn a_merged_run_is_judged_and_written_like_any_other() {
    let liar = liar::honest();
    let directory = Directory::new();
    let path = |name: &str| directory.join(name).to_str().expect("UTF-8").to_owned();
    let (run_file, csv, svg, hgrm) = (path("a"), path("csv"), path("svg"), path("hgrm"));
    let target = liar.target();
    let args = ["bench", "-q", "-i", "100ms", "--json", &run_file, &target];
    run(&mut netgrace(&[&args[..], &SHORT[..]].concat())).exits(0);
    let args = [
        "bench",
        "--merge",
        &run_file,
        &run_file,
        "--fail-if",
        "p99>1us",
        "--csv",
        &csv,
        "--svg",
        &svg,
        "--hgrm",
        &hgrm,
        "--ndjson",
    ];
    let outcome = run(&mut netgrace(&args)).exits(6);
    assert!(outcome.stderr.contains("p99>1us: it is "), "{}", outcome.stderr);
    let events: Vec<Value> =
        outcome.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(events.first().map(|event| &event["event"]), Some(&"start".into()));
    let end = events.last().expect("an end");
    super::schema::check_without(end, "event");
    assert_eq!(number(end, "/connect/established"), 10);
    assert_eq!(fs::read_to_string(&csv).expect("written").lines().count(), 4);
    assert!(fs::read_to_string(&svg).expect("written").contains("</svg>"));
    let total = format!("Total count    = {:>12}]", number(end, "/load/messages"));
    assert!(fs::read_to_string(&hgrm).expect("written").contains(&total));
}

#[test]
fn two_audits_of_own_servers_merge_without_a_contradiction() {
    let directory = Directory::new();
    let path = |name: &str| directory.join(name).to_str().expect("UTF-8").to_owned();
    let files = [path("a"), path("b")];
    for file in &files {
        let args = ["bench", "-q", "-c", "5", "--warmup", "0s", "-d", "200ms", "--json", file];
        run(&mut netgrace(&args)).exits(0);
    }
    let args = ["bench", "-q", "--json", "-", "--merge", &files[0], &files[1]];
    let outcome = run(&mut netgrace(&args)).exits(0);
    let merged: Value = serde_json::from_str(&outcome.stdout).expect("one document");
    assert_eq!(number(&merged, "/shutdown/clean"), 10);
    let written = number(&merged, "/server/report/bytes/written");
    let echoed = number(&merged, "/shutdown/queue_echoed_bytes");
    assert_eq!(written, number(&merged, "/load/verified_bytes") + echoed);
}

#[test]
fn the_last_of_a_repeated_flag_counts() {
    let args = ["bench", "--dry-run", "-c", "5", "-c", "7", "-r", "1", "-r", "3", "127.0.0.1:1"];
    let outcome = run(&mut netgrace(&args)).exits(0);
    assert!(outcome.stdout.contains("connections        7\n"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("rate               3\n"), "{}", outcome.stdout);
}

#[test]
fn the_shell_stops_a_server_that_cannot_be_watched() {
    let server = Server::start(&[]);
    let stop = format!("kill -TERM {}", server.process.pid());
    let target = server.address().to_string();
    let args = ["-c", "5", "--warmup", "0s", "--shutdown-after", "300ms", "--stop-with"];
    let (outcome, result) = bench(&[&args[..], &[stop.as_str(), target.as_str()]].concat());
    outcome.exits(0);
    assert_eq!(number(&result, "/shutdown/clean"), 5);
    assert!(result["shutdown"]["signal"].is_null());
    server.finish().exits(0);
    let liar = liar::honest();
    let target = liar.target();
    let args = [
        "-c",
        "2",
        "--warmup",
        "0s",
        "--shutdown-after",
        "200ms",
        "--exit-within",
        "300ms",
        "--stop-with",
        "false",
        &target,
    ];
    let (outcome, _) = bench(&args);
    let outcome = outcome.exits(4);
    assert!(outcome.stdout.contains("--stop-with failed: exit status: 1"), "{}", outcome.stdout);
}
