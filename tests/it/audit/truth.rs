//! No false alarm: a good server is found lossless however often it is asked, on a busy machine,
//! in every protocol, and whatever the audit itself sleeps through.

use std::env;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::audit_as;
use super::checked;
use super::failures;
use super::number;
use crate::support::Process;
use crate::support::run;
use crate::support::wait_for;

/// How often a good server is audited: 3 times, or NETGRACE_REPEAT.
fn times() -> usize {
    env::var("NETGRACE_REPEAT").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

#[track_caller]
fn is_lossless(scheme: &str, args: &[&str]) {
    let outcome = run(&mut audit_as(scheme, "well", args)).exits(0);
    let document = checked(&outcome);
    assert_eq!(failures(&document), [""; 0], "{document:#}");
    assert_eq!(document["verdict"], "lossless");
    for kind in ["slow", "half", "queued", "new", "busy", "idle"] {
        if scheme != "http" && matches!(kind, "new" | "busy" | "idle") {
            // From the stop on these send nothing on connections that they have used.
            continue;
        }
        let of = &document["clients"][kind];
        assert!(number(of, "answered") > 0, "{kind} in {document:#}");
    }
    if scheme == "http" {
        assert!(number(&document["classes"], "announced") > 0, "{document:#}");
    }
    assert!(document["times_ns"]["listener_closed"].is_u64(), "{document:#}");
    assert!(outcome.stderr.contains("Result     LOSSLESS"), "{}", outcome.stderr);
}

#[test]
fn a_good_server_is_lossless_every_time() {
    for _ in 0..times() {
        is_lossless("http", &[]);
    }
}

#[test]
fn a_good_server_is_lossless_in_line_and_echo() {
    for scheme in ["line", "echo"] {
        is_lossless(scheme, &[]);
    }
}

#[test]
fn a_good_server_is_lossless_while_both_cores_are_busy() {
    let is_over = Arc::new(AtomicBool::new(false));
    let spinners: Vec<_> = (0..2)
        .map(|_| {
            let is_over = Arc::clone(&is_over);
            thread::spawn(move || while !is_over.load(Relaxed) {})
        })
        .collect();
    for _ in 0..times() {
        is_lossless("http", &["--settle", "4s"]);
    }
    is_over.store(true, Relaxed);
    spinners.into_iter().for_each(|spinner| spinner.join().expect("a thread"));
}

#[test]
fn the_audit_does_not_blame_the_server_for_its_own_pause() {
    let mut process = Process::spawn(&mut audit_as("http", "well", &["--exit-within", "3s"]));
    process.wait_for_stderr("server: stopping");
    process.signal(Signal::STOP);
    thread::sleep(Duration::from_secs(3));
    process.signal(Signal::CONT);
    let outcome = process.finish().exits(0);
    let document = checked(&outcome);
    assert_eq!(failures(&document), [""; 0], "{document:#}");
    assert!(number(&document, "paused_ns") > 2_000_000_000, "{document:#}");
    assert!(number(&document["times_ns"], "gap") < 2_500_000_000, "{document:#}");
    assert!(outcome.stderr.contains("stood still for"), "{}", outcome.stderr);
}

#[test]
fn a_pause_before_the_stop_does_no_harm_either() {
    let mut process = Process::spawn(&mut audit_as("http", "well", &["--warmup", "2s"]));
    wait_for("the server", || {
        (!super::processes::children(process.pid()).is_empty()).then_some(())
    });
    thread::sleep(Duration::from_millis(500));
    process.signal(Signal::STOP);
    thread::sleep(Duration::from_secs(3));
    process.signal(Signal::CONT);
    let document = checked(&process.finish().exits(0));
    assert_eq!(failures(&document), [""; 0], "{document:#}");
}
