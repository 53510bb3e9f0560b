//! Whatever the audit starts it ends; what it does not own it leaves alone.

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::audit_as;
use super::checked;
use super::failures;
use super::free_port;
use super::number;
use super::server;
use crate::support::Process;
use crate::support::netgrace;
use crate::support::run;
use crate::support::wait_for;

/// The children of a process.
pub fn children(of: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{of}/task")).into_iter().flatten().flatten();
    let texts = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let text = texts.collect::<String>();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// This binary as a server, started by the test itself.
fn start_server(port: u16, way: &str) -> Process {
    let mut command = Command::new(std::env::current_exe().expect("the test binary"));
    command.args(["--exact", "audit::server::serve", "--ignored"]).stdin(Stdio::null());
    command.env(server::WAY, way).env(server::PORT, port.to_string());
    command.env(server::SCHEME, "http");
    let process = Process::spawn(&mut command);
    wait_for("the server", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    process
}

#[test]
fn wrappers_and_daemons_are_ended() {
    let port = free_port().to_string();
    let own = std::env::current_exe().expect("the test binary");
    let own = own.to_str().expect("UTF-8");
    let target = format!("http://127.0.0.1:{port}/");
    // The shell does not pass the signal on: its child serves until the audit ends it.
    let line = "\"$0\" --exact audit::server::serve --ignored & wait";
    let args = ["audit", "--warmup", "300ms", "--settle", "300ms", "--json", "-", &target];
    let mut command = netgrace(&args);
    command.args(["--", "sh", "-c", line, own]).env(server::PORT, &port);
    command.env(server::WAY, "daemon").env(server::SCHEME, "http");
    let process = Process::spawn(&mut command);
    let shell = wait_for("the shell", || children(process.pid()).first().copied());
    let server = wait_for("the server", || children(shell).first().copied());
    let daemon = wait_for("the daemon", || children(server).first().copied());
    assert!(is_alive(server) && is_alive(daemon));
    let outcome = process.finish();
    assert!(!is_alive(shell) && !is_alive(server) && !is_alive(daemon), "{outcome:#?}");
    let document = checked(&outcome);
    assert_eq!(document["server"]["exit_code"], Value::Null, "killed by the signal");
    assert_eq!(document["server"]["pid"], shell);
}

#[test]
fn an_interrupted_audit_reports_what_it_has_and_leaves_nothing() {
    let mut process = Process::spawn(&mut audit_as("http", "well", &["--warmup", "1m"]));
    let server = wait_for("the server", || children(process.pid()).first().copied());
    thread::sleep(Duration::from_secs(1));
    process.signal(Signal::INT);
    let outcome = process.finish().exits(130);
    assert!(!is_alive(server), "{outcome:#?}");
    assert!(outcome.took < Duration::from_secs(5), "{outcome:#?}");
    let document = checked(&outcome);
    assert_eq!(document["stops"], 0);
    assert!(outcome.stderr.contains("interrupted"), "{}", outcome.stderr);
}

#[test]
fn an_interruption_during_the_stop_keeps_the_sums() {
    let mut process = Process::spawn(&mut audit_as("http", "late", &[]));
    process.wait_for_stderr("server: stopping");
    thread::sleep(Duration::from_millis(300));
    process.signal(Signal::TERM);
    let document = checked(&process.finish().exits(130));
    assert!(number(&document["classes"], "answered") > 0, "{document:#}");
}

#[test]
fn a_foreign_server_on_the_port_is_left_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = format!("http://{}/", listener.local_addr().expect("an address"));
    let args = ["audit", "--json", "-", &target, "--", "sleep", "60"];
    let outcome = run(&mut netgrace(&args)).exits(1);
    let error = checked(&outcome)["outcome"]["error"].as_str().expect("an error").to_owned();
    assert!(error.contains("listens on") && error.contains("already"), "{error}");
}

#[test]
fn what_gives_no_right_answer_is_not_audited() {
    let port = free_port();
    let mut server = start_server(port, "well");
    let pid = server.pid().to_string();
    let target = format!("line://127.0.0.1:{port}");
    let outcome = run(&mut netgrace(&["audit", "--settle", "1s", "--pid", &pid, &target])).exits(1);
    assert!(outcome.stderr.contains("did not answer"), "{}", outcome.stderr);
    assert!(!server.has_ended(), "it was stopped all the same");
    let target = format!("http://127.0.0.1:{}/", free_port());
    let outcome = run(&mut netgrace(&["audit", "--pid", &pid, &target])).exits(1);
    assert!(outcome.stderr.contains("nobody accepts connections"), "{}", outcome.stderr);
    for args in [&["echo", "-n"][..], &["false"], &["/nonexistent/server"]] {
        let mut all = vec!["audit", &target, "--"];
        all.extend(args);
        run(&mut netgrace(&all)).exits(1);
    }
    server.signal(Signal::TERM);
    server.finish();
}

#[test]
fn a_process_that_runs_already_is_stopped_and_watched() {
    let port = free_port();
    let server = start_server(port, "well");
    let (pid, target) = (server.pid().to_string(), format!("http://127.0.0.1:{port}/"));
    let args = ["audit", "--warmup", "300ms", "--json", "-", "--pid", &pid, &target];
    let document = checked(&run(&mut netgrace(&args)).exits(0));
    server.finish();
    assert_eq!(failures(&document), [""; 0], "{document:#}");
    assert_eq!(document["server"]["exit_code"], Value::Null, "it is not our child");
    assert!(document["times_ns"]["exit"].is_u64(), "{document:#}");
    assert!(number(&document["clients"]["queued"], "answered") > 0, "{document:#}");
}

#[test]
fn a_command_stops_what_nobody_knows() {
    let port = free_port();
    let server = start_server(port, "well");
    let (pid, target) = (server.pid(), format!("http://127.0.0.1:{port}/"));
    let stop = format!("echo stopping; kill {pid}");
    let args = ["audit", "--warmup", "300ms", "--json", "-", "--stop-with", &stop, &target];
    let outcome = run(&mut netgrace(&args)).exits(0);
    server.finish();
    let document = checked(&outcome);
    assert_eq!(document["times_ns"]["exit"], Value::Null);
    assert_eq!(document["server"]["signal"], Value::Null);
    assert!(document["clients"].get("queued").is_none(), "nobody could be frozen: {document:#}");
    assert!(outcome.stderr.contains("no queued clients"), "{}", outcome.stderr);
    let args = ["audit", "--warmup", "0s", "--stop-with", "exit 3", "--exit-within", "1s"];
    let other = start_server(port, "well");
    let outcome = run(netgrace(&args).arg(&target)).exits(4);
    assert!(outcome.stdout.contains("'exit 3' failed"), "{}", outcome.stdout);
    drop(other);
}

#[test]
fn a_server_that_comes_back_is_measured() {
    let port = free_port();
    let own = std::env::current_exe().expect("the test binary");
    let own = own.to_str().expect("UTF-8").to_owned();
    // A supervisor: the second one starts when the first has ended.
    let serve = "\"$0\" --exact audit::server::serve --ignored";
    let line = format!("trap 'kill $!' TERM; {serve} & wait; wait; sleep 0.3; {serve}");
    let target = format!("http://127.0.0.1:{port}/");
    let args =
        ["audit", "--warmup", "300ms", "--restart", "--settle", "3s", "--json", "-", &target];
    let mut command = netgrace(&args);
    command.args(["--", "sh", "-c", &line, &own]).env(server::PORT, port.to_string());
    command.env(server::SCHEME, "http");
    let document = checked(&run(&mut command).exits(0));
    assert_eq!(failures(&document), [""; 0], "{document:#}");
    assert!(number(&document["classes"], "refused") > 0, "{document:#}");
    let gap = number(&document["times_ns"], "gap");
    assert!((50_000_000..3_000_000_000).contains(&gap), "{document:#}");
}

#[test]
fn a_server_that_does_not_come_back_is_a_failed_check() {
    let args = ["--restart", "--settle", "500ms", "--exit-within", "1s"];
    let document = checked(&run(&mut audit_as("http", "well", &args)).exits(4));
    let failed = document["outcome"]["failed_checks"][0].as_str().expect("a check").to_owned();
    assert!(failed.starts_with("restart"), "{document:#}");
}
