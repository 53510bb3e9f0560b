//! One run of several workers, each a process with source addresses of its own: shares that add
//! up, one audit of all, and what makes the run incomplete.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::bench_kinds::seconds_from_now;
use super::bench_truth::number;
use super::liar;
use super::support::{Directory, Process, Server, netgrace, run, wait_for};

const WORKERS: usize = 3;

/// Runs all workers beside each other; returns the files of their results. `own`: flags of this
/// worker alone.
#[track_caller]
fn workers(
    directory: &Directory,
    args: &[&str],
    own: impl Fn(usize) -> Vec<String>,
) -> Vec<String> {
    let path =
        |index: usize| directory.join(&format!("{index}.json")).to_str().expect("UTF-8").to_owned();
    let files: Vec<String> = (0..WORKERS).map(path).collect();
    let start = |index: usize| {
        let worker = format!("{index}/{WORKERS}");
        let mut all = vec!["bench", "-q", "--worker", &worker, "--json", &files[index]];
        all.extend(args);
        let own = own(index);
        all.extend(own.iter().map(String::as_str));
        Process::spawn(&mut netgrace(&all))
    };
    let processes: Vec<Process> = (0..WORKERS).map(start).collect();
    for process in processes {
        let outcome = process.finish();
        assert_eq!(outcome.stdout, "", "{outcome:#?}");
    }
    files
}

fn read(path: impl AsRef<Path>) -> Value {
    let result = serde_json::from_str(&fs::read_to_string(path).expect("written")).expect("JSON");
    super::schema::check(&result);
    result
}

/// Merges the files; returns the merged document and what was printed.
#[track_caller]
fn merge(directory: &Directory, files: &[String], code: i32) -> (Value, String) {
    let merged = directory.join("merged.json");
    let mut args = vec!["bench", "--merge"];
    args.extend(files.iter().map(String::as_str));
    args.extend(["--json", merged.to_str().expect("UTF-8")]);
    let outcome = run(&mut netgrace(&args)).exits(code);
    (read(&merged), outcome.stdout)
}

static NEXT: AtomicU32 = AtomicU32::new(0);

fn rewrite(file: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut result: Value =
        serde_json::from_str(&fs::read_to_string(file).expect("there")).expect("JSON");
    change(&mut result);
    let other = format!("{file}.{}", NEXT.fetch_add(1, Ordering::Relaxed));
    fs::write(&other, result.to_string()).expect("written");
    other
}

#[test]
fn the_shares_of_all_workers_add_up_and_an_incomplete_run_is_told() {
    let server = Server::start(&[]);
    let target = server.address().to_string();
    let start = seconds_from_now(3.0);
    let args = [
        "-c",
        "32",
        "-r",
        "100",
        "--source",
        "127.0.0.8/29",
        "-d",
        "1s",
        "-i",
        "250ms",
        "--warmup",
        "200ms",
        "--start-at",
        &start,
        &target,
    ];
    let directory = Directory::new();
    let files = workers(&directory, &args, |_| Vec::new());
    let parts: Vec<Value> = files.iter().map(read).collect();
    let (merged, printed) = merge(&directory, &files, 0);
    let sums = [
        ("/config/connections", 32),
        ("/config/rate_per_s", 100),
        ("/connect/established", 32),
        ("/load/messages", 100),
    ];
    for (place, sum) in sums {
        assert_eq!(parts.iter().map(|part| number(part, place)).sum::<u64>(), sum, "{place}");
        assert_eq!(number(&merged, place), sum, "{place}");
    }
    assert_eq!(number(&merged, "/latency_ns/count"), 100);
    let series = merged["intervals"].as_array().expect("a series");
    assert_eq!(series.iter().map(|step| number(step, "/messages")).sum::<u64>(), 100);
    assert!(series.iter().all(|step| step["p99_ns"].is_u64()), "merged by histograms");
    assert!(printed.contains("Workers    3 of 3, began within "), "{printed}");
    assert_eq!(merged["merged"]["incomplete"], json!([]));
    assert_eq!(merged["merged"]["workers"], json!([0, 1, 2]));
    let began: Vec<u64> = parts.iter().map(|part| number(part, "/worker/began_at_ns")).collect();
    let skew = began.iter().max().unwrap() - began.iter().min().unwrap();
    assert_eq!(number(&merged, "/merged/skew_ns"), skew);
    incomplete(&directory, &files);
    server.stop().exits(0);
}

/// Each of these makes a run that was complete an incomplete one.
#[track_caller]
fn incomplete(directory: &Directory, files: &[String]) {
    let [first, second, third] = files else { panic!("three files") };
    let part = |file: &String, change: fn(&mut Value)| {
        [first.clone(), second.clone(), rewrite(file, change)]
    };
    let doubled = [first.clone(), second.clone(), third.clone(), third.clone()];
    let unlike = part(third, |run| run["worker"]["run"]["pipeline"] = json!(9));
    let other_start = part(third, |run| run["worker"]["run"]["start_at_ns"] = json!(1));
    let drawn = part(third, |run| run["config"]["seed"] = json!(1));
    let stranger = part(third, |run| run["worker"] = Value::Null);
    let late = part(third, |run| {
        let began = run["worker"]["began_at_ns"].as_u64().unwrap() + 700_000_000;
        run["worker"]["began_at_ns"] = json!(began);
    });
    let apart = part(third, |run| {
        for key in ["began_at_ns", "ended_at_ns"] {
            run["worker"][key] = json!(run["worker"][key].as_u64().unwrap() + 5_000_000_000);
        }
    });
    merge(directory, &drawn, 0);
    let cases: [(&[String], &str); 7] = [
        (&files[..2], "1 of 3 workers missing: 2"),
        (&doubled, "worker 2 is there twice"),
        (&unlike, "has another pipeline than"),
        (&other_start, "has another start_at_ns than"),
        (&stranger, "is of no worker"),
        (&late, " late"),
        (&apart, "did not measure at the same time"),
    ];
    for (files, part) in cases {
        let (merged, printed) = merge(directory, files, 5);
        let said = format!("incomplete: {}", part.trim());
        assert!(printed.contains("incomplete: ") && printed.contains(part), "{said}: {printed}");
        assert_eq!(merged["outcome"]["exit_code"], 5);
    }
}

/// Once, or NETGRACE_REPEAT times.
#[test]
fn a_stop_under_the_load_of_all_workers_is_audited_byte_by_byte() {
    let rounds = std::env::var("NETGRACE_REPEAT").map_or(1, |text| text.parse().expect("a number"));
    (0..rounds).for_each(|_: u32| audited_stop());
}

#[track_caller]
fn audited_stop() {
    let server = Server::start(&[]);
    let (pid, target) = (server.process.pid().to_string(), server.address().to_string());
    let (start, stop) = (seconds_from_now(3.0), seconds_from_now(4.0));
    let args = [
        "-c",
        "30",
        "-p",
        "4",
        "-s",
        "4K",
        "--source",
        "127.0.0.8/29",
        "--warmup",
        "200ms",
        "--start-at",
        &start,
        "--shutdown-at",
        &stop,
        &target,
    ];
    let directory = Directory::new();
    let files = workers(&directory, &args, |index| match index {
        1 => vec!["--pid".to_owned(), pid.clone()],
        _ => Vec::new(),
    });
    let outcome = server.finish().exits(0);
    let parts: Vec<Value> = files.iter().map(read).collect();
    let (merged, printed) = merge(&directory, &files, 0);
    assert_eq!(number(&merged, "/shutdown/connections"), 30, "{printed}\n{}", outcome.stderr);
    assert_eq!(number(&merged, "/shutdown/clean"), 30);
    assert_eq!(number(&merged, "/shutdown/lost_bytes"), 0);
    assert_eq!(merged["shutdown"]["signal"], "TERM");
    let late: u64 = parts.iter().map(|part| number(part, "/shutdown/late_bytes")).sum();
    assert_eq!(number(&merged, "/shutdown/late_bytes"), late);
    assert_eq!(number(&merged, "/load/missing_bytes"), late);
    assert!(printed.contains("took their marks within "), "{printed}");
    let unmarked = rewrite(&files[0], |run| {
        run["worker"]["marked_at_ns"] = json!(run["worker"]["marked_at_ns"].as_u64().unwrap() * 2);
    });
    let files = [unmarked, files[1].clone(), files[2].clone()];
    let (_, printed) = merge(&directory, &files, 5);
    assert!(
        printed.contains("a mark was taken") && printed.contains("after the stop"),
        "{printed}"
    );
}

#[test]
fn a_worker_that_comes_too_late_says_so() {
    let server = Server::start(&[]);
    let target = server.address().to_string();
    let past = seconds_from_now(-5.0);
    let args = ["bench", "--worker", "0/2", "-c", "4", "-d", "300ms", "--start-at", &past, &target];
    let outcome = run(&mut netgrace(&args)).exits(5);
    assert!(outcome.stdout.contains("after it"), "{}", outcome.stdout);
    server.stop().exits(0);
}

#[test]
fn the_engine_says_which_worker_this_is() {
    let shown = |worker: &str, variables: &[(&str, &str)]| {
        let args = ["bench", "--dry-run", "-c", "10", "--worker", worker, "127.0.0.1:1"];
        let mut command = netgrace(&args);
        for name in ["JOB_COMPLETION_INDEX", "SLURM_PROCID", "SLURM_NTASKS"] {
            command.env_remove(name);
        }
        run(command.envs(variables.iter().copied()))
    };
    let outcome = shown("auto/4", &[("JOB_COMPLETION_INDEX", "1")]).exits(0);
    assert!(outcome.stdout.contains("1 of 4, from 0"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("connections        3\n"), "{}", outcome.stdout);
    let outcome = shown("auto", &[("SLURM_PROCID", "3"), ("SLURM_NTASKS", "4")]).exits(0);
    assert!(outcome.stdout.contains("3 of 4, from 0"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("connections        2\n"), "{}", outcome.stdout);
    for (worker, variables, part) in [
        ("auto", &[][..], "JOB_COMPLETION_INDEX or SLURM_PROCID"),
        ("auto", &[("SLURM_PROCID", "3")], "SLURM_NTASKS"),
        ("auto/2", &[("SLURM_PROCID", "2")], "2 is not one of"),
        ("11/12", &[], "too few for 12 workers"),
    ] {
        let outcome = shown(worker, variables).exits(2);
        assert!(outcome.stderr.contains(part), "{part}: {}", outcome.stderr);
    }
}

#[test]
fn a_run_that_waits_for_its_start_can_be_interrupted() {
    static OPEN: AtomicU32 = AtomicU32::new(0);
    let liar = liar::Liar::start(|_, stream| {
        OPEN.fetch_add(1, Ordering::Relaxed);
        liar::relay(&stream, &stream, |_| {});
    });
    let (target, start) = (liar.target(), seconds_from_now(60.0));
    let args = ["bench", "-c", "4", "--start-at", &start, &target];
    let mut process = Process::spawn(&mut netgrace(&args));
    wait_for("connections before the start", || (OPEN.load(Ordering::Relaxed) == 4).then_some(()));
    process.signal(Signal::INT);
    process.finish().exits(130);
}
