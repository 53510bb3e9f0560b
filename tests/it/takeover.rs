//! Replacements that do not go as they should: a successor fails, hangs or ends, or both processes
//! are stopped in the middle.

use std::fs;
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use crate::crowd::{Crowd, Target};
use crate::replace::{Installed, first_line, wait_for_end};
use crate::storm;
use crate::support::{DEADLINE, netgrace};

/// Asks for a replacement that fails, and checks that the old one carries on.
#[track_caller]
fn carries_on(script: &str, rounds: usize, parts: &[&str]) {
    let installed = Installed::new();
    let ports = installed.directory.join("ports");
    let ports_text = ports.to_str().expect("UTF-8");
    let mut process = installed.start(&["-l", "127.0.0.1:0", "--port-file", ports_text]);
    let address = first_line(&ports);
    let crowd = Crowd::gather(&Target::Tcp(address.parse().expect("an address")));
    if script.is_empty() {
        fs::remove_file(&installed.program).expect("the program");
    } else {
        installed.replace_by(script);
    }
    for round in 1..=rounds {
        process.signal(Signal::USR2);
        for part in parts {
            installed.wait_for_log(part, round);
        }
        crowd.wait_for_served(20);
    }
    crowd.send_home();
    process.signal(Signal::TERM);
    process.finish().exits(0);
}

#[test]
fn a_successor_that_fails_changes_nothing() {
    carries_on("#!/bin/sh\nexit 7\n", 2, &["it did not get ready; carrying on", "exit status: 7"]);
}

#[test]
fn a_program_that_is_gone_changes_nothing() {
    carries_on("", 2, &["cannot start a successor: ", "carrying on"]);
}

#[test]
fn a_program_that_cannot_be_run_changes_nothing() {
    carries_on("no program at all", 2, &["cannot start a successor: ", "carrying on"]);
}

#[test]
fn a_successor_that_hangs_is_ended_and_changes_nothing() {
    // It does not heed the request to end either.
    carries_on(
        "#!/bin/sh\ntrap '' TERM\nexec sleep 60\n",
        1,
        &["it was not ready after 5s; carrying on", "signal: 9"],
    );
}

#[test]
fn a_stop_that_comes_while_a_successor_starts_stops_both() {
    let installed = Installed::new();
    let mut process = installed.start(&["-l", "127.0.0.1:0"]);
    installed.wait_for_log("] ready", 1);
    installed.replace_by("#!/bin/sh\nexec sleep 60\n");
    process.signal(Signal::USR2);
    installed.wait_for_log("started process ", 1);
    process.signal(Signal::TERM);
    let outcome = process.finish().exits(0);
    assert!(outcome.took < Duration::from_secs(4), "{outcome:#?}");
    installed.wait_for_log("this process is stopping", 1);
    wait_for_end(installed.successor());
}

/// It has copies of the listening sockets, whose gate lets nobody in.
#[test]
fn a_stop_leaves_no_successor_behind_that_hangs() {
    let installed = Installed::new();
    let ports = installed.directory.join("ports");
    let mut process =
        installed.start(&["-l", "0.0.0.0:0", "--port-file", ports.to_str().expect("UTF-8")]);
    let address: std::net::SocketAddr = first_line(&ports).parse().expect("an address");
    installed.replace_by("#!/bin/sh\ntrap '' TERM\necho trapped >&2\nexec sleep 60\n");
    process.signal(Signal::USR2);
    installed.wait_for_log("trapped", 1);
    process.signal(Signal::TERM);
    let outcome = process.finish().exits(0);
    assert!(outcome.took < Duration::from_secs(2), "{outcome:#?}");
    wait_for_end(installed.successor());
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], address.port()));
    let refused = std::net::TcpStream::connect_timeout(&address, DEADLINE).expect_err("nobody");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_queue_is_taken_back_from_a_successor_that_ends_early() {
    let installed = Installed::new();
    let path = installed.directory.join("echo.sock");
    let address = format!("unix:{}", path.display());
    let mut process = installed.start(&["-l", &address, "--lame-duck", "1s"]);
    installed.wait_for_log("] ready", 1);
    // It says that it serves, accepts what it is offered, and ends.
    installed.replace_by("#!/bin/sh\nprintf RA >&0\nexec sleep 0.3\n");
    process.signal(Signal::USR2);
    installed.wait_for_log("has ended", 1);
    process.finish().exits(0);
    assert!(!path.exists(), "the file is ours again, as its queue is");
}

#[test]
fn a_successor_that_ends_instead_of_taking_over_changes_nothing() {
    let script = "#!/bin/sh\nprintf R >&0\nexec sleep 0.1\n";
    carries_on(script, 2, &["ends before it has taken over", "exit status: 0"]);
}

#[test]
fn only_one_successor_is_started_at_a_time() {
    let installed = Installed::new();
    let mut process = installed.start(&["-l", "127.0.0.1:0"]);
    installed.wait_for_log("] ready", 1);
    installed.replace_by("#!/bin/sh\nexec sleep 60\n");
    process.signal(Signal::USR2);
    installed.wait_for_log("started process ", 1);
    process.signal(Signal::USR2);
    installed.wait_for_log("no successor is started: another one is starting", 1);
    process.signal(Signal::TERM);
    process.finish().exits(0);
}

/// Both processes get a stop signal at the same time, at any instant of the handover.
#[test]
fn a_stop_of_both_processes_resets_nobody() {
    let mut sum = storm::Count::default();
    for round in 0..24 {
        let installed = Installed::new();
        let ports = installed.directory.join("ports");
        let args = ["-l", "127.0.0.1:0", "--backlog", "4096", "--idle-grace", "20ms"];
        let mut process = installed
            .start(&[&args[..], &["--port-file", ports.to_str().expect("UTF-8")]].concat());
        let address = first_line(&ports).parse().expect("an address");
        let clients = storm::storm(address);
        process.signal(Signal::USR2);
        installed.wait_for_log("started process ", 1);
        if round % 3 > 0 {
            installed.wait_for_log("] ready", 2);
        }
        // From the start of the successor to when the old one has long let go.
        thread::sleep(Duration::from_micros(400 * (round / 3)));
        let successor = installed.successor();
        process.signal(Signal::INT);
        let _ = kill_process(successor, Signal::INT);
        let storm::Count { connected, lost } = storm::total(clients);
        sum.connected += connected;
        sum.lost += lost;
        process.finish().exits(0);
        wait_for_end(successor);
        let log = installed.log();
        assert_eq!(lost, 0, "round {round}, {connected} connected\n{log}");
        assert!(!log.contains("ERROR"), "{log}");
    }
    assert!(sum.connected > 400, "{sum:?}");
}

#[test]
fn a_handover_that_is_announced_and_does_not_come_is_an_error() {
    let mut command = netgrace(&["-l", "127.0.0.1:0"]);
    let outcome = crate::support::run(command.env("NETGRACE_HANDOVER", "1")).exits(1);
    assert!(outcome.stderr.contains("NETGRACE_HANDOVER"), "{outcome:#?}");
}
