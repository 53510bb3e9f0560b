//! How the load generator loads: pacing, shares, sizes, churn, sources, ends.

use super::bench_truth::{bench, number};
use super::liar;
use super::support::{Server, netgrace, run};

const SHORT: [&str; 4] = ["--warmup", "100ms", "-d", "500ms"];

/// A short run against a server of ours.
#[track_caller]
fn short(args: &[&str]) -> serde_json::Value {
    let server = Server::start(&[]);
    let target = server.address().to_string();
    let (outcome, result) = bench(&[args, &SHORT[..], &[target.as_str()]].concat());
    outcome.exits(0);
    let report = server.stop().exits(0);
    assert!(!report.stderr.contains("lossy"), "{}", report.stderr);
    result
}

#[test]
fn a_rate_is_kept() {
    let result = short(&["-c", "7", "-r", "2k"]);
    let messages = number(&result, "/load/messages");
    assert!((960..=1040).contains(&messages), "{messages}");
    assert_eq!(result["latency_from"], "schedule");
    assert_eq!(number(&result, "/service_ns/count"), messages);
}

#[test]
fn two_threads_share_rate_and_connections() {
    let result = short(&["-c", "7", "-r", "2k", "-t", "2"]);
    let messages = number(&result, "/load/messages");
    assert!((960..=1040).contains(&messages), "{messages}");
    assert_eq!(number(&result, "/connect/established"), 7);
}

#[test]
fn a_rate_out_of_reach_is_said_to_be() {
    let liar = liar::honest();
    let target = liar.target();
    let args = ["-c", "1", "-r", "10M", &target];
    let (outcome, result) = bench(&[&args[..], &SHORT[..]].concat());
    let outcome = outcome.exits(5);
    assert!(outcome.stdout.contains("% of the asked rate"), "{}", outcome.stdout);
    assert!(number(&result, "/load/unsent_messages") > 0);
}

#[test]
fn the_number_of_messages_ends_a_run() {
    let liar = liar::honest();
    let args = ["-c", "10", "-n", "1234", "-d", "1m", "--warmup", "100ms", &liar.target()];
    let (outcome, result) = bench(&args);
    outcome.exits(0);
    assert_eq!(number(&result, "/load/messages"), 1234);
    assert!(number(&result, "/load/elapsed_ns") < 60_000_000_000, "{result}");
}

#[test]
fn only_the_active_share_sends() {
    let result = short(&["-c", "20", "--active", "10%", "-s", "100B", "-n", "50"]);
    assert_eq!(number(&result, "/config/active"), 2);
    assert_eq!(number(&result, "/connect/established"), 20);
}

#[test]
fn an_idle_connection_that_ends_is_noticed() {
    let server = Server::start(&["--idle-timeout", "200ms"]);
    let target = server.address().to_string();
    let args = ["-c", "10", "--active", "4", "-d", "1s", "--warmup", "0s", &target];
    let (outcome, result) = bench(&args);
    outcome.exits(3);
    assert_eq!(number(&result, "/errors/eof_early"), 6);
    server.stop().exits(0);
}

#[test]
fn churn_opens_connections_anew_and_loses_nothing() {
    for close in ["fin", "rst"] {
        let result = short(&["-c", "10", "--churn", "200", "--close", close]);
        let churned = number(&result, "/connect/churned");
        assert!((60..=140).contains(&churned), "{close}: {churned}");
        assert_eq!(number(&result, "/connect/established"), 10);
    }
}

#[test]
fn large_messages_and_deep_pipelines_come_back() {
    let result = short(&["-c", "3", "-s", "1M..3M", "-p", "2"]);
    assert!(number(&result, "/load/messages") > 0);
    let result = short(&["-c", "3", "-s", "1B", "-p", "1000"]);
    assert!(number(&result, "/load/messages") > 1000);
}

#[test]
fn a_run_is_repeatable_by_its_seed() {
    let liar = liar::honest();
    let target = liar.target();
    let bytes = |seed: &str| {
        let args = ["-c", "1", "-n", "100", "-s", "1B..64K", "--warmup", "0s", "--seed", seed];
        let (outcome, result) = bench(&[&args[..], &[target.as_str()]].concat());
        outcome.exits(0);
        number(&result, "/load/message_bytes")
    };
    assert_eq!(bytes("7"), bytes("7"));
    assert_ne!(bytes("7"), bytes("8"));
}

#[test]
fn several_targets_take_turns() {
    let (one, other) = (Server::start(&[]), Server::start(&[]));
    let (a, b) = (one.address().to_string(), other.address().to_string());
    let (outcome, _) = bench(&[&["-c", "10"], &SHORT[..], &[a.as_str(), b.as_str()]].concat());
    outcome.exits(0);
    for server in [one, other] {
        let outcome = server.stop().exits(0);
        assert!(outcome.stderr.contains('5'), "{}", outcome.stderr);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn sources_with_explicit_ports_are_used() {
    let result = short(&["-c", "10", "--source", "127.1.0.0/29", "--source-ports", "2000-2003"]);
    assert_eq!(number(&result, "/connect/established"), 10);
    assert_eq!(number(&result, "/connect/retried"), 0);
}

#[test]
fn a_unix_socket_is_a_target() {
    use std::io::{Read, Write};
    let directory = super::support::Directory::new();
    let path = directory.join("echo");
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut buffer = vec![0; 64 * 1024];
                let (mut from, mut to) = (&stream, &stream);
                while let Ok(len @ 1..) = from.read(&mut buffer) {
                    if to.write_all(&buffer[..len]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    let target = format!("unix:{}", path.display());
    let (outcome, result) = bench(&[&["-c", "5"], &SHORT[..], &[target.as_str()]].concat());
    outcome.exits(0);
    assert!(number(&result, "/load/messages") > 0);
}

#[test]
fn more_connections_than_files_is_refused_with_three_ways_out() {
    let args = ["bench", "-c", "10M", "127.0.0.1:9"];
    let outcome = run(&mut netgrace(&args)).exits(1);
    for part in ["10000064 open files", "prlimit", "LimitNOFILE", "--ulimit", "-c "] {
        assert!(outcome.stderr.contains(part), "{part}: {}", outcome.stderr);
    }
}
