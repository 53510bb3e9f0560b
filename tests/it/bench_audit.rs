//! The shutdown audit: a stop that loses nothing passes, any other fails.

use std::net::TcpListener;

use super::bench_truth::{bench, number};
use super::liar;
use super::support::{Directory, Server, netgrace, run};

const SHORT: [&str; 4] = ["--warmup", "100ms", "--shutdown-after", "500ms"];

#[test]
fn the_own_server_passes_in_one_command() {
    let (outcome, result) = bench(&[&["-c", "50"], &SHORT[..]].concat());
    let outcome = outcome.exits(0);
    assert!(outcome.stdout.contains("Result     PASS\n"), "{}", outcome.stdout);
    assert_eq!(number(&result, "/shutdown/connections"), 50);
    assert_eq!(number(&result, "/shutdown/clean"), 50);
    assert_eq!(number(&result, "/shutdown/lost_bytes"), 0);
    assert_eq!(number(&result, "/shutdown/queue_reset"), 0);
    let served = number(&result, "/shutdown/queue_served");
    assert!(served >= 16, "{result}");
    assert_eq!(number(&result, "/shutdown/queue_connected"), served);
    assert_eq!(number(&result, "/shutdown/exit_status"), 0);
    for time in ["listener_closed_ns", "last_byte_ns", "last_close_ns", "exit_ns"] {
        assert!(number(&result, &format!("/shutdown/{time}")) > 0, "{time}");
    }
}

#[test]
fn what_the_own_server_reports_is_what_its_clients_saw() {
    let (outcome, result) =
        bench(&[&["-c", "20", "-s", "1B..32K", "-p", "4"], &SHORT[..]].concat());
    outcome.exits(0);
    let report = |name: &str| number(&result, &format!("/server/report/{name}"));
    let echoed = number(&result, "/shutdown/queue_echoed_bytes");
    assert_eq!(report("bytes/written"), number(&result, "/load/verified_bytes") + echoed);
    assert_eq!(report("bytes/unsent"), 0);
    let connects = number(&result, "/connect/established");
    let queued = number(&result, "/shutdown/queue_connected");
    assert_eq!(report("connections/accepted"), connects + queued);
}

#[test]
fn an_open_loop_goes_on_through_the_stop() {
    let (outcome, result) = bench(&[&["-c", "20", "-r", "2k"], &SHORT[..]].concat());
    outcome.exits(0);
    assert_eq!(number(&result, "/shutdown/clean"), 20);
    assert_eq!(number(&result, "/shutdown/lost_bytes"), 0);
}

#[test]
fn a_server_that_just_dies_fails_the_audit() {
    // More in flight than the buffers of the kernel hold: some of it is always lost.
    let args = ["-c", "20", "-s", "64K", "-p", "128", "--signal", "KILL"];
    let (outcome, result) = bench(&[&args[..], &SHORT[..]].concat());
    let outcome = outcome.exits(4);
    assert!(outcome.stdout.contains("Result     FAIL (exit 4)"), "{}", outcome.stdout);
    assert_eq!(number(&result, "/shutdown/exit_status"), 128 + 9);
    assert!(number(&result, "/shutdown/reset") > 0, "{result}");
    let lost = number(&result, "/shutdown/lost_bytes") + number(&result, "/shutdown/late_bytes");
    assert_eq!(lost, number(&result, "/load/missing_bytes"), "{result}");
    assert!(number(&result, "/shutdown/queue_reset") > 0, "{result}");
}

#[test]
fn a_server_that_does_not_stop_fails_the_audit() {
    // USR1 makes netgrace log its counters.
    let args = ["-c", "5", "--signal", "USR1", "--exit-within", "300ms"];
    let (outcome, result) = bench(&[&args[..], &SHORT[..]].concat());
    let outcome = outcome.exits(4);
    assert!(outcome.stdout.contains("did not exit within 300ms"), "{}", outcome.stdout);
    assert_eq!(number(&result, "/shutdown/cut"), 5);
    assert!(result["shutdown"]["exit_ns"].is_null(), "{result}");
}

#[test]
fn a_running_server_is_stopped_by_its_process_number() {
    let server = Server::start(&[]);
    let (pid, target) = (server.process.pid().to_string(), server.address().to_string());
    let args = ["-c", "10", "--pid", &pid, &target];
    let (outcome, result) = bench(&[&args[..], &SHORT[..]].concat());
    outcome.exits(0);
    assert_eq!(number(&result, "/shutdown/clean"), 10);
    assert!(result["shutdown"]["exit_status"].is_null(), "{result}");
    server.finish().exits(0);
}

#[test]
fn a_command_is_started_loaded_and_stopped() {
    let directory = Directory::new();
    let report = directory.join("report");
    let target = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("an address").to_string()
    };
    let program = env!("CARGO_BIN_EXE_netgrace");
    let path = report.to_str().expect("UTF-8");
    let args = ["-c", "10", &target];
    let command = ["--", program, "serve", "-q", "-l", &target, "--report", path];
    let (outcome, result) = bench(&[&args[..], &SHORT[..], &command[..]].concat());
    outcome.exits(0);
    assert_eq!(result["config"]["subject"], "command");
    assert_eq!(result["server"]["report"]["schema"], "netgrace-report/1");
    assert_eq!(number(&result, "/shutdown/exit_status"), 0);
}

/// Their connects have returned; only the last ACK is on its way.
#[cfg(target_os = "linux")]
#[test]
fn a_server_that_resets_half_open_handshakes_fails_the_audit() {
    let target = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("an address").to_string()
    };
    let program = env!("CARGO_BIN_EXE_netgrace");
    let command = [&target, "--", program, "-q", "-l", &target, "--handshake-grace", "0s"];
    let args = ["-c", "5"];
    let (outcome, result) = bench(&[&args[..], &SHORT[..], &command[..]].concat());
    outcome.exits(4);
    assert!(number(&result, "/shutdown/queue_reset") >= 4, "{result}");
}

#[test]
fn clients_of_a_server_that_waits_for_them_leave() {
    let server = Server::start(&["--drain", "peer", "--shutdown-timeout", "infinity"]);
    let (pid, target) = (server.process.pid().to_string(), server.address().to_string());
    let args = ["-c", "20", "-p", "4", "--leave-after", "300ms", "--pid", &pid, &target];
    let (outcome, result) = bench(&[&args[..], &SHORT[..]].concat());
    outcome.exits(0);
    assert_eq!(number(&result, "/shutdown/clean"), 20);
    assert!(number(&result, "/shutdown/last_close_ns") >= 300_000_000, "{result}");
    server.finish().exits(0);
}

#[test]
fn a_command_that_does_not_listen_is_no_run() {
    let taken = liar::honest();
    let outcome = run(&mut netgrace(&["bench", &taken.target(), "--", "true"])).exits(1);
    assert!(outcome.stderr.contains("listens on"), "{}", outcome.stderr);
    let free = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("an address").to_string()
    };
    let outcome = run(&mut netgrace(&["bench", &free, "--", "true"])).exits(1);
    assert!(outcome.stderr.contains("ended before it listened"), "{}", outcome.stderr);
    let outcome = run(&mut netgrace(&["bench", &free, "--", "/nonexistent"])).exits(1);
    assert!(outcome.stderr.contains("cannot start '/nonexistent'"), "{}", outcome.stderr);
}

#[cfg(target_os = "linux")]
#[test]
fn the_servers_use_of_cpu_and_memory_is_told() {
    let (outcome, result) = bench(&[&["-c", "20"], &SHORT[..]].concat());
    let outcome = outcome.exits(0);
    let cpu = result["server"]["cpu_us_per_message"].as_f64().expect("a number");
    assert!(cpu > 0.1 && cpu < 1000.0, "{cpu}");
    assert!(result["server"]["rss_bytes_per_connection"].is_number(), "{result}");
    assert!(outcome.stdout.contains("us CPU per message"), "{}", outcome.stdout);
}
