//! The state of signals that the program inherits.

use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::{Process, netgrace_in_shell, wrapped};

const ARGS: [&str; 2] = ["-l", "127.0.0.1:0"];

#[track_caller]
fn is_running(process: &mut Process) {
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(!process.has_ended(), "{}", process.stderr());
}

#[test]
fn an_ignored_signal_stays_ignored() {
    let mut process =
        Process::spawn(&mut netgrace_in_shell("trap '' HUP QUIT; exec \"$@\"", &ARGS));
    process.wait_for_stderr("] ready");
    for signal in [Signal::HUP, Signal::QUIT, Signal::HUP] {
        process.signal(signal);
        is_running(&mut process);
    }
    process.signal(Signal::TERM);
    let outcome = process.finish().exits(0);
    assert!(
        outcome.stderr.contains("ignored at the start, and still: SIGHUP, SIGQUIT"),
        "{outcome:#?}"
    );
    assert!(outcome.stderr.contains("stopped by SIGTERM"), "{outcome:#?}");
}

#[test]
fn nohup_keeps_a_server_and_a_load_generator() {
    let mut process = Process::spawn(&mut wrapped("nohup", &[], &ARGS));
    process.wait_for_stderr("] ready");
    process.signal(Signal::HUP);
    is_running(&mut process);
    process.signal(Signal::INT);
    process.finish().exits(0);

    let args = ["bench", "-c", "1", "-d", "1s", "--warmup", "0s", "-i", "100ms"];
    let mut process = Process::spawn(&mut wrapped("nohup", &[], &args));
    process.wait_for_stderr("0.2");
    process.signal(Signal::HUP);
    process.finish().exits(0);
}

#[test]
fn a_blocked_signal_is_unblocked() {
    let line = ["--block-signal=TERM", "--block-signal=INT"];
    let probe = Command::new("env").args(line).arg("true").stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        eprintln!("skipped: env blocks no signals");
        return;
    }
    for signal in [Signal::TERM, Signal::INT] {
        let mut process = Process::spawn(&mut wrapped("env", &line, &ARGS));
        process.wait_for_stderr("] ready");
        process.signal(signal);
        process.finish().exits(0);
    }
}
