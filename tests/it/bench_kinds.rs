//! What users of such tools stumble on, as far as the load generator is concerned.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, SystemTime};

use netgrace::load::{self, Plan, Target};
use rustix::process::Signal;
use serde_json::Value;

use super::bench_truth::{bench, number};
use super::liar;
use super::support::{Directory, Process, netgrace, netgrace_in_shell, run, wait_for};

const SHORT: [&str; 6] = ["-c", "5", "--warmup", "0s", "-d", "300ms"];
const PROGRAM: &str = env!("CARGO_BIN_EXE_netgrace");

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}

#[test]
fn a_generator_that_stood_still_reads_before_it_judges() {
    let liar = liar::honest();
    let directory = Directory::new();
    let path = directory.join("result.json");
    let (json, target) = (path.to_str().expect("UTF-8"), liar.target());
    let args = [
        "bench",
        "-c",
        "8",
        "-p",
        "16",
        "-s",
        "4K",
        "--warmup",
        "0s",
        "-d",
        "2s",
        "-i",
        "100ms",
        "--timeout",
        "700ms",
        "--settle",
        "300ms",
        "--json",
        json,
        &target,
    ];
    let mut process = Process::spawn(&mut netgrace(&args));
    process.wait_for_stderr("0.20 ");
    process.signal(Signal::STOP);
    thread::sleep(Duration::from_secs(3));
    process.signal(Signal::CONT);
    let outcome = process.finish().exits(0);
    assert!(outcome.stdout.contains("Generator  stood still for "), "{}", outcome.stdout);
    let result: Value = serde_json::from_str(&fs::read_to_string(&path).expect("written")).unwrap();
    assert_eq!(number(&result, "/load/missing_bytes"), 0);
    assert!(number(&result, "/generator/longest_pause_ns") > 2_000_000_000, "{result}");
    let intervals = result["intervals"].as_array().expect("an array");
    let paused = intervals.iter().filter(|interval| interval["paused"] == true).count();
    assert!(paused >= 1 && paused < intervals.len(), "{paused} of {}", intervals.len());
}

#[test]
fn every_address_of_a_name_is_tried() {
    let liar = liar::honest();
    let closed: SocketAddr = free_address().parse().expect("an address");
    let open: SocketAddr = liar.target().parse().expect("an address");
    let mut plan = Plan::new(vec![Target::Name("both".to_owned(), vec![closed, open])]);
    (plan.connections, plan.warmup) = (20, Duration::ZERO);
    plan.duration = Duration::from_millis(200);
    let results = load::run(plan, &mut ()).expect("a run");
    assert_eq!((results.connect.established, results.connect.retried), (20, 0));
    assert!(results.load.is_exact() && results.load.messages > 0);
}

#[test]
fn a_long_result_reaches_a_slow_reader_of_a_nonblocking_pipe() {
    let liar = liar::honest();
    let (mut ours, theirs) = UnixStream::pair().expect("a pair");
    theirs.set_nonblocking(true).expect("an option");
    let target = liar.target();
    let args = ["-i", "1ms", "-c", "5", "--warmup", "0s", "-d", "3s", "--json", "-", &target];
    let mut command = netgrace(&[&["bench", "-q"], &args[..]].concat());
    command.stdout(OwnedFd::from(theirs)).stderr(Stdio::null());
    let mut process = Process::spawn_as_is(&mut command);
    drop(command);
    // It is to fill the socket before the first read.
    thread::sleep(Duration::from_secs(5));
    assert!(!process.has_ended(), "the result is longer than the buffer of a socket");
    let mut text = String::new();
    ours.read_to_string(&mut text).expect("UTF-8");
    process.finish().exits(0);
    let result: Value = serde_json::from_str(&text).expect("a whole document");
    assert!(text.len() > 65_536 && result["outcome"]["pass"] == true, "{}", text.len());
}

#[test]
fn a_wrapper_is_not_taken_for_the_server() {
    let target = free_address();
    let line = format!("{PROGRAM} -q -l {target}; true");
    let args = ["-c", "5", "--warmup", "0s", "--shutdown-after", "300ms", "--exit-within", "2s"];
    let command = [&target, "--", "sh", "-c", &line];
    let (outcome, result) = bench(&[&args[..], &command[..]].concat());
    let outcome = outcome.exits(4);
    let said = "the command ended, the target still answers: is it a wrapper? have it start";
    assert!(outcome.stdout.contains(said), "{}", outcome.stdout);
    assert!(!outcome.stdout.contains("the server exited with"), "{}", outcome.stdout);
    assert_eq!(result["outcome"]["exit_code"], 4);
    let address: SocketAddr = target.parse().expect("an address");
    wait_for("the end of the whole process group", || {
        std::net::TcpStream::connect(address).is_err().then_some(())
    });
}

#[test]
fn no_temporary_directory_is_needed() {
    let mut command = netgrace(&["bench", "-c", "3", "--warmup", "0s", "-d", "200ms"]);
    let outcome = run(command.env("TMPDIR", "/nonexistent")).exits(0);
    assert!(outcome.stdout.contains("server's own report: "), "{}", outcome.stdout);
}

#[test]
fn every_failure_has_a_document_and_no_older_one_survives() {
    let taken = liar::honest();
    let (taken, free) = (taken.target(), free_address());
    let failures: [(&[&str], &str); 8] = [
        (&["no.such.host.invalid:1"], "no.such.host.invalid"),
        (&["-c", "10M", "127.0.0.1:9"], "open files"),
        (&[&free, "--", "false"], "ended before it listened"),
        (&[&free, "--", "/nonexistent"], "cannot start '/nonexistent'"),
        (&[&taken, "--", "true"], "listens on"),
        (&["--pid", "2147483647", "127.0.0.1:9"], "cannot watch process"),
        (&["--source", "no-such-if", "127.0.0.1:9"], "--source no-such-if"),
        (&["--metrics", "http://127.0.0.1:1/", "127.0.0.1:9"], "--metrics http"),
    ];
    let directory = Directory::new();
    let path = directory.join("result.json");
    let file = path.to_str().expect("UTF-8");
    for (args, part) in failures {
        let all = [&["bench", "--json", "-"], args].concat();
        let outcome = run(&mut netgrace(&all)).exits(1);
        assert!(outcome.stderr.contains(part), "{part}: {}", outcome.stderr);
        let result: Value = serde_json::from_str(&outcome.stdout).expect("JSON and nothing else");
        super::schema::check(&result);
        assert!(result["outcome"]["error"].as_str().is_some_and(|error| error.contains(part)));
        assert_eq!(result["outcome"]["exit_code"], 1);
        fs::write(&path, "of an earlier run").expect("written");
        run(&mut netgrace(&[&["bench", "--json", file], args].concat())).exits(1);
        let result: Value =
            serde_json::from_str(&fs::read_to_string(&path).expect("there")).expect("the new one");
        assert_eq!(result["outcome"]["pass"], false, "{part}");
        let lines = run(&mut netgrace(&[&["bench", "--ndjson"], args].concat())).exits(1);
        let event =
            |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["event"].clone();
        assert_eq!(lines.stdout.lines().map(event).collect::<Vec<_>>(), ["start", "end"]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_abstract_socket_is_a_target() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("netgrace-it-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
    let listener = std::os::unix::net::UnixListener::bind_addr(&address).expect("a socket");
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut from = stream.try_clone().expect("a second handle");
                std::io::copy(&mut from, &mut stream)
            });
        }
    });
    let target = format!("unix:@{name}");
    let (outcome, result) = bench(&[&SHORT[..], &[target.as_str()]].concat());
    outcome.exits(0);
    assert_eq!(result["config"]["targets"][0], target.as_str());
}

#[test]
fn ports_that_run_out_are_named() {
    let liar = liar::honest();
    let target = liar.target();
    let args = ["-c", "3", "--source-ports", "2000-2000", "-d", "200ms", "--warmup", "0s"];
    let (outcome, _) = bench(&[&args[..], &[target.as_str()]].concat());
    let outcome = outcome.exits(5);
    assert!(outcome.stdout.contains("no free source port"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("give more --source addresses"), "{}", outcome.stdout);
}

#[cfg(target_os = "linux")]
#[test]
fn a_small_range_of_local_ports_is_named() {
    let line = "unshare -rn sh -c 'ip link set lo up && echo 40000 40010 > \
                /proc/sys/net/ipv4/ip_local_port_range && \"$@\"' sh \"$@\"";
    if !run(&mut netgrace_in_shell(line, &["--version"])).status.success() {
        eprintln!("left out: no network namespace of our own");
        return;
    }
    let target = "127.0.0.1:7391";
    let args = ["bench", "-c", "100", "-d", "200ms", "--warmup", "0s", target, "--", PROGRAM, "-q"];
    let outcome =
        run(&mut netgrace_in_shell(line, &[&args[..], &["-l", target]].concat())).exits(5);
    let said = "no free local port (range 40000-40010, ";
    assert!(outcome.stdout.contains(said), "{}", outcome.stdout);
    assert!(!outcome.stdout.contains("Cannot assign"), "{}", outcome.stdout);
}

#[test]
fn a_link_local_address_is_asked_for_its_interface() {
    let outcome = run(&mut netgrace(&["bench", "[fe80::1]:7000"])).exits(2);
    assert!(outcome.stderr.contains("such as [fe80::1%eth0]:7000"), "{}", outcome.stderr);
    let outcome = run(&mut netgrace(&["bench", "--source", "fe80::1", "[::1]:7000"])).exits(2);
    assert!(outcome.stderr.contains("such as fe80::1%eth0"), "{}", outcome.stderr);
    let outcome = run(&mut netgrace(&["bench", "--source", "::1", "127.0.0.1:7000"])).exits(2);
    assert!(outcome.stderr.contains("no target is reached over IPv6"), "{}", outcome.stderr);
}

#[test]
fn a_message_due_at_the_very_end_is_outside() {
    let liar = liar::honest();
    let target = liar.target();
    let args = ["-c", "1", "-r", "2", "-d", "1s", "--warmup", "0s", &target];
    let (outcome, result) = bench(&args);
    let outcome = outcome.exits(0);
    assert_eq!(number(&result, "/load/messages"), 2);
    assert!(outcome.stdout.contains("(100.0%)"), "{}", outcome.stdout);
    assert_eq!(number(&result, "/load/unsent_messages"), 0);
}

#[test]
fn no_share_is_made_of_too_short_a_time() {
    let liar = liar::honest();
    let (_, result) = bench(&["-c", "1", "-n", "1", "--warmup", "0s", &liar.target()]);
    assert!(result["generator"]["cpu_share"].is_null(), "{}", result["generator"]);
}

#[cfg(target_os = "linux")]
#[test]
fn the_successor_of_the_own_server_is_followed_and_ended() {
    let args = ["-c", "10", "--signal", "USR2", "--warmup", "0s", "-d", "500ms"];
    let (outcome, result) = bench(&args);
    outcome.exits(0);
    assert_eq!(number(&result, "/server/report/reports"), 2);
    let accepted = number(&result, "/server/report/connections/accepted");
    let queued = number(&result, "/shutdown/queue_connected");
    assert_eq!(accepted, number(&result, "/connect/established") + queued);
    let target = result["config"]["targets"][0].as_str().expect("a target");
    let address: SocketAddr = target.parse().expect("an address");
    assert!(std::net::TcpStream::connect(address).is_err(), "the successor is gone");
}

#[cfg(target_os = "linux")]
#[test]
fn the_successor_of_a_command_is_ended_with_it() {
    let (directory, target) = (Directory::new(), free_address());
    let report = directory.join("report").to_str().expect("UTF-8").to_owned();
    let args = ["-c", "10", "--signal", "USR2", "--warmup", "0s", "--shutdown-after", "500ms"];
    let command = [&target, "--", PROGRAM, "-q", "-l", &target, "--report", &report];
    let (outcome, _) = bench(&[&args[..], &command[..]].concat());
    outcome.exits(0);
    let address: SocketAddr = target.parse().expect("an address");
    assert!(std::net::TcpStream::connect(address).is_err(), "the successor is gone");
}

/// The start of a run in so many seconds, as the program takes it.
pub fn seconds_from_now(seconds: f64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    format!("{:.3}", now.as_secs_f64() + seconds)
}
