//! Patterns of very many connections: a period each, steps, a mass reconnect, sources by
//! interface, figures from a metrics page; and the merged reports of servers.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use serde_json::Value;

use super::bench_truth::{bench, number};
use super::liar;
use super::support::{Directory, Server, checked_report, netgrace, run};

#[test]
fn each_connection_sends_once_in_a_period() {
    let liar = liar::honest();
    let target = liar.target();
    for threads in ["1", "2"] {
        let args = ["-c", "9", "--period", "500ms", "-d", "1s", "--warmup", "0s", "-t", threads];
        let (outcome, result) = bench(&[&args[..], &[target.as_str()]].concat());
        let outcome = outcome.exits(0);
        assert_eq!(number(&result, "/load/messages"), 18, "{threads} threads");
        assert_eq!(result["latency_from"], "schedule");
        assert!(outcome.stdout.contains("each every 500ms"), "{}", outcome.stdout);
    }
}

#[test]
fn a_ramp_has_a_row_for_each_step() {
    let server = Server::start(&[]);
    let target = server.address().to_string();
    let args = ["--ramp", "5,10,30", "-d", "300ms", "--warmup", "100ms", &target];
    let (outcome, result) = bench(&args);
    let outcome = outcome.exits(0);
    let steps = result["steps"].as_array().expect("an array");
    let numbers = |name: &str| -> Vec<u64> {
        steps.iter().map(|step| number(step, &format!("/{name}"))).collect()
    };
    assert_eq!((numbers("requested"), numbers("connections")), (vec![5, 10, 30], vec![5, 10, 30]));
    assert!(numbers("messages").iter().all(|messages| *messages > 0), "{steps:?}");
    assert!(numbers("elapsed_ns").iter().all(|elapsed| *elapsed >= 300_000_000), "{steps:?}");
    for step in steps {
        assert_eq!(number(step, "/messages"), number(step, "/latency_ns/count"));
    }
    assert!(numbers("messages").iter().sum::<u64>() <= number(&result, "/load/messages"));
    assert!(outcome.stdout.contains("Steps "), "{}", outcome.stdout);
    server.stop().exits(0);
}

#[test]
fn a_ramp_with_a_period_sends_more_with_every_step() {
    let liar = liar::honest();
    let target = liar.target();
    let args = ["--ramp", "4,12", "--period", "200ms", "-d", "600ms", "--warmup", "0s", &target];
    let (outcome, result) = bench(&args);
    outcome.exits(0);
    let messages = |at: usize| number(&result, &format!("/steps/{at}/messages"));
    assert!((10..=12).contains(&messages(0)), "{}", messages(0));
    assert!((30..=36).contains(&messages(1)), "{}", messages(1));
}

#[test]
fn all_connections_are_opened_anew() {
    let server = Server::start(&[]);
    let target = server.address().to_string();
    let args = ["-c", "20", "--reconnect-at", "200ms", "-d", "800ms", "--warmup", "0s", &target];
    let (outcome, result) = bench(&args);
    let outcome = outcome.exits(0);
    assert_eq!(number(&result, "/connect/established"), 20);
    assert_eq!(number(&result, "/connect/churned"), 20);
    assert!(number(&result, "/connect/reconnect_ns") > 0);
    assert!(outcome.stdout.contains("all reconnected in "), "{}", outcome.stdout);
    let stop = server.stop().exits(0);
    assert!(stop.stderr.contains("40 accepted"), "{}", stop.stderr);
}

#[cfg(target_os = "linux")]
#[test]
fn an_interface_is_all_its_addresses() {
    let liar = liar::honest();
    let target = liar.target();
    let args = ["-c", "4", "--source", "lo", "-d", "200ms", "--warmup", "0s", &target];
    let (outcome, result) = bench(&args);
    outcome.exits(0);
    assert_eq!(number(&result, "/connect/established"), 4);
}

/// An exporter whose CPU time grows by a second with every request.
fn exporter() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for (at, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            let mut stream = stream;
            let mut head = [0; 4096];
            let len = stream.read(&mut head).unwrap_or(0);
            assert!(head[..len].starts_with(b"GET /stats HTTP/1."), "{:?}", &head[..len]);
            let memory = 1_000_000 + at * 1000;
            let page = format!(
                "# TYPE x gauge\nprocess_cpu_seconds_total {at}\n\
                 process_resident_memory_bytes {memory}\n"
            );
            let answer = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{page}");
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    format!("http://{address}/stats")
}

#[test]
fn the_figures_of_a_remote_server_come_from_its_metrics_page() {
    let liar = liar::honest();
    let (url, target) = (exporter(), liar.target());
    let args = ["-c", "10", "-d", "500ms", "--warmup", "0s", "--metrics", &url, &target];
    let (outcome, result) = bench(&args);
    outcome.exits(0);
    // Asked before the first connection, at the beginning and at the end.
    assert_eq!(number(&result, "/server/rss_bytes"), 1_002_000);
    assert_eq!(result["server"]["rss_bytes_per_connection"], 200.0);
    let cpu = result["server"]["cpu_us_per_message"].as_f64().expect("a number");
    let messages = number(&result, "/load/messages") as f64;
    assert!((cpu * messages - 1e6).abs() < 1.0, "{cpu} us");
}

#[test]
#[cfg(target_os = "linux")]
fn the_page_of_our_own_server_has_the_cpu_time_of_its_process() {
    let server = Server::start(&["--admin", "127.0.0.1:0"]);
    server.process.wait_for_stderr("] ready");
    let log = server.process.stderr();
    let admin = log.split("http://").nth(1).and_then(|rest| rest.lines().next()).expect("a page");
    let (url, target) = (format!("http://{admin}/metrics"), server.address().to_string());
    let ran = || {
        let path = format!("/proc/{}/schedstat", server.process.pid());
        let text = fs::read_to_string(path).expect("a process");
        text.split(' ').next().expect("a time").parse::<u64>().expect("a number")
    };
    let (before, args) = (ran(), ["-c", "10", "-d", "500ms", "--warmup", "0s"]);
    let (outcome, result) = bench(&[&args[..], &["--metrics", &url, &target]].concat());
    outcome.exits(0);
    let most = (ran() - before) as f64 / 1e3;
    assert!(result["server"]["rss_bytes"].is_u64(), "{}", result["server"]);
    let cpu = result["server"]["cpu_us_per_message"].as_f64().expect("a number");
    let told = cpu * number(&result, "/load/messages") as f64;
    // All but the connecting and the end is in the measured time.
    assert!(told <= most && told > most / 2.0, "{told} of {most} us");
    server.stop().exits(0);
}

#[test]
fn the_reports_of_servers_are_merged() {
    let directory = Directory::new();
    let path = |name: &str| directory.join(name).to_str().expect("UTF-8").to_owned();
    let files = [path("a.json"), path("b.json")];
    for (file, bytes) in files.iter().zip([10, 32]) {
        let server = Server::start(&["--report", file]);
        let mut client = server.connect();
        client.echo(&vec![7; bytes]);
        drop(client);
        server.stop().exits(0);
    }
    let outcome = run(&mut netgrace(&["report", "--merge", &files[0], &files[1]])).exits(0);
    let merged = checked_report(&outcome.stdout);
    assert_eq!((number(&merged, "/bytes/read"), number(&merged, "/reports")), (42, 2));
    assert_eq!(number(&merged, "/connections/accepted"), 2);
    let lossy = path("lossy.json");
    let mut report: Value =
        serde_json::from_str(&fs::read_to_string(&files[0]).expect("there")).expect("JSON");
    (report["grade"], report["exit_code"]) = ("lossy".into(), 3.into());
    fs::write(&lossy, report.to_string()).expect("written");
    let outcome = run(&mut netgrace(&["report", "--merge", &files[1], &lossy])).exits(3);
    let merged: Value = serde_json::from_str(&outcome.stdout).expect("one object");
    assert_eq!((&merged["grade"], &merged["exit_code"]), (&"lossy".into(), &3.into()));
    let outcome = run(&mut netgrace(&["report", "--merge", "/dev/null"])).exits(1);
    assert!(outcome.stdout.is_empty() && outcome.stderr.contains("cannot merge"));
    run(&mut netgrace(&["report"])).exits(2);
    let piped = Command::new("sh")
        .args(["-c", "cat \"$1\" \"$2\" | \"$0\" report --merge -", env!("CARGO_BIN_EXE_netgrace")])
        .args(&files)
        .output()
        .expect("a shell");
    let merged: Value = serde_json::from_slice(&piped.stdout).expect("one object");
    assert_eq!(number(&merged, "/bytes/read"), 42);
}
