//! What the load generator writes: every format, on its own stream, also when it is interrupted.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use super::bench_truth::{bench, number};
use super::liar;
use super::support::{Directory, Process, netgrace, run};

const SHORT: [&str; 6] = ["-c", "5", "--warmup", "0s", "-d", "300ms"];

#[test]
fn json_on_stdout_stands_alone() {
    let liar = liar::honest();
    let args = ["bench", "--json", "-", &liar.target()];
    let outcome = run(&mut netgrace(&[&args[..], &SHORT[..]].concat())).exits(0);
    let result: Value = serde_json::from_str(&outcome.stdout).expect("JSON and nothing else");
    assert_eq!(result["schema"], "netgrace-bench/1");
    assert!(outcome.stderr.contains("Result     PASS"), "{}", outcome.stderr);
}

#[test]
fn no_key_of_the_json_vanishes() {
    let liar = liar::honest();
    let target = liar.target();
    let (_, plain) = bench(&[&SHORT[..], &[target.as_str()]].concat());
    let (_, rated) = bench(&[&SHORT[..], &["-r", "100", target.as_str()]].concat());
    let audit = ["-c", "5", "--warmup", "0s", "--shutdown-after", "300ms"];
    let (_, audited) = bench(&audit);
    let refused = ["-c", "1", "--warmup", "0s", "-d", "100ms", "127.0.0.1:1"];
    let (_, nothing) = bench(&refused);
    for other in [&rated, &audited, &nothing] {
        for part in ["", "/config", "/host", "/outcome", "/connect", "/load", "/latency_ns"] {
            keys(&plain, other, part);
        }
        for part in ["/errors", "/server", "/shutdown"] {
            keys(&plain, other, part);
        }
    }
    assert!(plain["shutdown"]["signal"].is_null() && audited["shutdown"]["signal"] == "TERM");
    assert!(nothing["latency_ns"]["max"].is_null(), "unknown is null, never 0");
}

#[track_caller]
fn keys(a: &Value, b: &Value, part: &str) {
    let names = |value: &Value| -> Vec<String> {
        let object = value.pointer(part).and_then(Value::as_object);
        object.unwrap_or_else(|| panic!("no object {part}")).keys().cloned().collect()
    };
    assert_eq!(names(a), names(b), "{part}");
}

#[test]
fn ndjson_is_start_intervals_end() {
    let liar = liar::honest();
    let args = ["bench", "--ndjson", "-i", "100ms", &liar.target()];
    let outcome = run(&mut netgrace(&[&args[..], &SHORT[..]].concat())).exits(0);
    let lines: Vec<Value> =
        outcome.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let events: Vec<_> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["start", "interval", "interval", "interval", "end"]);
    assert_eq!(lines[0]["config"]["connections"], 5);
    assert_eq!(number(&lines[3], "/t_ns") / 1_000_000, 300);
    assert_eq!(lines[4]["outcome"]["pass"], true);
}

#[test]
fn files_are_written_in_their_formats() {
    let liar = liar::honest();
    let directory = Directory::new();
    let path = |name: &str| directory.join(name).to_str().expect("UTF-8").to_owned();
    let (csv, hgrm, svg) = (path("a.csv"), path("a.hgrm"), path("a.svg"));
    let target = liar.target();
    let args = ["-i", "100ms", "--csv", &csv, "--hgrm", &hgrm, "--svg", &svg, &target];
    let (outcome, result) = bench(&[&args[..], &SHORT[..]].concat());
    outcome.exits(0);
    let rows = fs::read_to_string(&csv).expect("written");
    let columns: Vec<_> = rows.lines().map(|row| row.split(',').count()).collect();
    assert_eq!(columns, [14; 4], "{rows}");
    let steps = fs::read_to_string(&hgrm).expect("written");
    let total = format!("Total count    = {:>12}]", number(&result, "/load/messages"));
    assert!(steps.contains(&total), "{steps}");
    let picture = fs::read_to_string(&svg).expect("written");
    assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"));
    for caption in ["Messages per second", "Latency over time", "Latency by percentile"] {
        assert!(picture.contains(caption), "{caption}");
    }
    assert!(!picture.contains("NaN"), "every point has a place");
}

#[test]
fn a_file_that_cannot_be_written_is_told_before_the_run() {
    let args = ["bench", "--json", "/nonexistent/a.json", "127.0.0.1:1"];
    let outcome = run(&mut netgrace(&args)).exits(1);
    assert!(outcome.stderr.contains("cannot write /nonexistent/a.json"), "{}", outcome.stderr);
}

#[test]
fn an_interrupted_run_still_reports() {
    let liar = liar::honest();
    let directory = Directory::new();
    let path = directory.join("result.json");
    let json = path.to_str().expect("UTF-8");
    let target = liar.target();
    let args = ["bench", "-i", "50ms", "-d", "1m", "--warmup", "0s", "--json", json, &target];
    let mut process = Process::spawn(&mut netgrace(&args));
    process.wait_for_stderr("0.10 ");
    process.signal(Signal::INT);
    let outcome = process.finish().exits(130);
    assert!(outcome.stdout.contains("Result     INTERRUPTED (exit 130)"), "{}", outcome.stdout);
    let text = fs::read_to_string(&path).expect("written all the same");
    let result: Value = serde_json::from_str(&text).expect("valid");
    assert_eq!(result["outcome"]["interrupted"], true);
    assert_eq!(number(&result, "/load/missing_bytes"), 0);
    assert!(number(&result, "/load/messages") > 0);
}

#[test]
fn a_condition_that_comes_true_has_its_own_exit_code() {
    let liar = liar::honest();
    let target = liar.target();
    let conditions = ["--fail-if", "p99>1ns", "--fail-if", "rate<1", "--label", "build=7"];
    let wrong = [&["bench"], &conditions[..], &SHORT[..], &[target.as_str()]].concat();
    let outcome = run(&mut netgrace(&wrong)).exits(2);
    assert!(outcome.stderr.contains("p99>1ns"), "{}", outcome.stderr);
    let conditions = ["--fail-if", "p99>1us", "--fail-if", "rate<1", "--label", "build=7"];
    let (outcome, result) = bench(&[&conditions[..], &SHORT[..], &[target.as_str()]].concat());
    let outcome = outcome.exits(6);
    assert!(outcome.stdout.contains("p99>1us: it is "), "{}", outcome.stdout);
    assert!(!outcome.stdout.contains("rate<1:"), "{}", outcome.stdout);
    assert_eq!(result["labels"]["build"], "7");
}

#[test]
fn runs_are_merged() {
    let liar = liar::honest();
    let directory = Directory::new();
    let paths: Vec<String> = ["a.json", "b.json", "joint.json"]
        .map(|name| directory.join(name).to_str().expect("UTF-8").to_owned())
        .to_vec();
    let target = liar.target();
    for path in &paths[..2] {
        let args = ["bench", "-q", "--json", path, &target];
        let outcome = run(&mut netgrace(&[&args[..], &SHORT[..]].concat())).exits(0);
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""));
    }
    let args = ["bench", "--merge", &paths[0], &paths[1], "--json", &paths[2]];
    let outcome = run(&mut netgrace(&args)).exits(0);
    assert!(outcome.stdout.contains("Connected  10 of 10"), "{}", outcome.stdout);
    let read = |path: &String| -> Value {
        serde_json::from_str(&fs::read_to_string(path).expect("written")).expect("JSON")
    };
    let [a, b, joint] = [0, 1, 2].map(|at| read(&paths[at]));
    for place in ["/load/messages", "/load/sent_bytes", "/latency_ns/count"] {
        assert_eq!(number(&joint, place), number(&a, place) + number(&b, place), "{place}");
    }
    super::schema::check(&joint);
    let max = |run: &Value| number(run, "/latency_ns/max");
    assert_eq!(max(&joint), max(&a).max(max(&b)));
    let outcome = run(&mut netgrace(&["bench", "--merge", "/dev/null"])).exits(1);
    assert!(outcome.stderr.contains("cannot merge /dev/null"), "{}", outcome.stderr);
}

#[test]
fn a_dry_run_tells_and_does_nothing() {
    let args = ["bench", "--dry-run", "-c", "10", "-s", "64B..16K", "127.0.0.1:1-3"];
    let outcome = run(&mut netgrace(&args)).exits(0);
    for part in ["connections        10\n", "64 B to 16 KiB", "127.0.0.1:3", "open files"] {
        assert!(outcome.stdout.contains(part), "{part}: {}", outcome.stdout);
    }
}

#[test]
fn usage_errors_name_the_flag_and_the_way_out() {
    let check = |args: &[&str], part: &str| {
        let outcome = run(&mut netgrace(&[&["bench"], args].concat())).exits(2);
        assert!(outcome.stderr.contains(part), "{part}: {}", outcome.stderr);
    };
    check(&["-d", "10"], "did you mean 10s?");
    check(&["--shutdown-after", "1s", "127.0.0.1:1"], "--pid");
    check(&["nowhere"], "write HOST:PORT");
    check(&["-s", "0B", "127.0.0.1:1"], "1 byte or more");
    check(&["--fail-if", "speed>1", "127.0.0.1:1"], "'speed' is no metric");
    check(&["--signal", "STOP", "127.0.0.1:1"], "TERM");
    check(&["--source", "::1/64", "127.0.0.1:1"], "IPv4");
    check(&["--pid", "0", "127.0.0.1:1"], "--pid");
}
