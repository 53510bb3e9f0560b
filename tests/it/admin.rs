//! `--admin`: health, figures and the account over HTTP.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Client, Process, Server, wait_for};

/// A server with an admin listener, and where that is.
#[track_caller]
fn start(args: &[&str]) -> (Server, SocketAddr) {
    let mut all = vec!["--admin", "0"];
    all.extend(args);
    let server = Server::start(&all);
    let address = admin_of(&server.process);
    (server, address)
}

#[track_caller]
fn admin_of(process: &Process) -> SocketAddr {
    process.wait_for_stderr("] ready");
    let log = process.stderr();
    let line = log.lines().find(|line| line.contains("http://")).expect("a line");
    line.rsplit("http://").next().expect("an address").parse().expect("an address")
}

/// Sends these bytes, and gives what comes back up to an orderly end.
#[track_caller]
fn exchange(address: SocketAddr, request: &str) -> String {
    let mut client = Client::connect(address);
    client.send(request.as_bytes());
    String::from_utf8(client.receive_to_end()).expect("UTF-8")
}

#[track_caller]
fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let response = exchange(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    let length = head.split("Content-Length: ").nth(1).and_then(|rest| rest.lines().next());
    assert_eq!(length, Some(body.len().to_string().as_str()), "{response}");
    assert!(head.contains("Connection: close"), "{response}");
    let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
    (status, body.to_owned())
}

/// The value of one line of the metrics.
#[track_caller]
fn metric(address: SocketAddr, name: &str) -> f64 {
    let (status, text) = get(address, "/metrics");
    assert_eq!(status, 200);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
}

#[test]
fn there_is_none_unless_asked_for() {
    let server = Server::start(&[]);
    assert!(!server.process.stderr().contains("http"));
    server.stop().exits(0);
}

#[test]
fn health_turns_at_the_first_moment_of_a_stop() {
    let (mut server, admin) = start(&["--lame-duck", "60s", "--shutdown-timeout", "90s"]);
    assert_eq!(get(admin, "/healthz"), (200, "running\n".to_owned()));
    let mut client = server.connect();
    client.echo(b"before");
    server.process.signal(Signal::TERM);
    wait_for("the stop", || (get(admin, "/healthz").0 == 503).then_some(()));
    assert_eq!(get(admin, "/healthz"), (503, "lame duck\n".to_owned()));
    // So that a load balancer goes elsewhere, while those who still come are served.
    server.connect().echo(b"in between");
    client.echo(b"and before");
    server.process.signal(Signal::QUIT);
    server.finish().exits(0);
}

#[test]
fn it_answers_to_the_end_of_the_stop() {
    let (mut server, admin) = start(&["--drain", "peer", "--shutdown-timeout", "60s"]);
    let client = server.connect();
    server.process.signal(Signal::TERM);
    wait_for("the drain", || get(admin, "/healthz").1.contains("draining").then_some(()));
    assert_eq!(metric(admin, "netgrace_phase{phase=\"draining\"}"), 1.0);
    assert_eq!(metric(admin, "netgrace_connections_open"), 1.0);
    // A client of the admin listener does not hold the stop up.
    let idle = TcpStream::connect(admin).expect("a connection");
    drop(client);
    let outcome = server.finish().exits(0);
    assert!(outcome.took < Duration::from_secs(5), "{outcome:#?}");
    drop(idle);
    TcpStream::connect(admin).expect_err("nobody is there any more");
}

#[test]
fn the_metrics_tell_what_happened() {
    let (server, admin) = start(&["--max-per-ip", "2"]);
    let mut first = server.connect();
    first.echo(&[1; 1000]);
    let mut second = server.connect();
    second.echo(&[2; 234]);
    assert_eq!(server.connect().0.read(&mut [0; 1]).unwrap_or(0), 0, "one too many");
    second.0.shutdown(Shutdown::Write).expect("a connection");
    assert_eq!(second.receive_to_end(), b"");
    wait_for("the close", || (metric(admin, "netgrace_connections_open") == 1.0).then_some(()));
    for (name, value) in [
        ("netgrace_connections_accepted_total", 2.0),
        ("netgrace_connections_closed_total{reason=\"peer_closed\"}", 1.0),
        ("netgrace_connections_closed_total{reason=\"drained\"}", 0.0),
        ("netgrace_connections_refused_total", 1.0),
        ("netgrace_bytes_total{kind=\"read\"}", 1234.0),
        ("netgrace_bytes_total{kind=\"written\"}", 1234.0),
        ("netgrace_held_bytes", 0.0),
        ("netgrace_accept_errors_total", 0.0),
        ("netgrace_phase{phase=\"running\"}", 1.0),
        ("netgrace_phase{phase=\"draining\"}", 0.0),
    ] {
        assert_eq!(metric(admin, name), value, "{name}");
    }
    let (turns, within) = (
        metric(admin, "netgrace_turn_seconds_count"),
        metric(admin, "netgrace_turn_seconds_bucket{le=\"+Inf\"}"),
    );
    assert!(turns > 0.0 && within >= turns);
    assert!(metric(admin, "netgrace_turn_seconds_sum") > 0.0);
    let (_, text) = get(admin, "/metrics");
    check_format(&text);
    drop(first);
    server.stop().exits(0);
}

#[test]
#[cfg(target_os = "linux")]
fn the_process_is_described_as_every_exporter_does() {
    let (server, admin) = start(&[]);
    let clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
    let is_open = || (metric(admin, "netgrace_connections_open") == 20.0).then_some(());
    wait_for("20 connections", is_open);
    let pid = server.process.pid();
    let listed = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("a process").count();
    let told = metric(admin, "process_open_fds");
    // The request's own connection, and where they are listed one by one the listing.
    assert!((0.0..=3.0).contains(&(told - listed as f64)), "{told}, not {listed}");
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("a process");
    let most = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a line");
    let most: f64 = most.split_whitespace().next().expect("a limit").parse().expect("a number");
    assert_eq!(metric(admin, "process_max_fds"), most);
    let resident = metric(admin, "process_resident_memory_bytes");
    assert!((1e6..1e9).contains(&resident), "{resident}");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a date").as_secs_f64();
    let age = now - metric(admin, "process_start_time_seconds");
    assert!((-2.0..60.0).contains(&age), "started {age} s ago");
    let before = metric(admin, "process_cpu_seconds_total");
    // As the kernel counts it, of one thread.
    let ran = || {
        let path = format!("/proc/{pid}/schedstat");
        let text = std::fs::read_to_string(path).expect("a process");
        text.split(' ').next().expect("a time").parse::<f64>().expect("a number") / 1e9
    };
    wait_for("some work", || {
        server.connect().echo(&[1; 10_000]);
        (metric(admin, "process_cpu_seconds_total") > before + 0.01).then_some(())
    });
    let least = ran();
    let told = metric(admin, "process_cpu_seconds_total");
    assert!(least <= told + 0.002 && told <= ran() + 0.002, "{least} {told} {}", ran());
    drop(clients);
    server.stop().exits(0);
}

#[test]
fn what_is_held_for_those_who_do_not_read_stays_below_its_bound() {
    const MOST: f64 = 65_536.0;
    let (server, admin) = start(&["--max-held", "64KiB"]);
    let clients: Vec<_> = (0..8).map(|_| server.connect().0).collect();
    for client in &clients {
        client.set_nonblocking(true).expect("a socket");
    }
    let block = [7; 64 << 10];
    let push = || {
        let taken = clients.iter().filter_map(|mut client| client.write(&block).ok());
        let taken: usize = taken.sum();
        let held = metric(admin, "netgrace_held_bytes");
        assert!(held <= MOST, "{held} bytes held");
        (taken, held)
    };
    wait_for("buffers full to the brim", || {
        let (taken, held) = push();
        (taken == 0 && held > 0.0).then_some(())
    });
    drop(clients);
    wait_for("the close", || (metric(admin, "netgrace_connections_open") == 0.0).then_some(()));
    assert_eq!(metric(admin, "netgrace_held_bytes"), 0.0);
    server.stop().exits(0);
}

/// Every sample belongs to the family announced before it, and no name is announced twice.
#[track_caller]
fn check_format(text: &str) {
    let mut families: Vec<(String, String)> = Vec::new();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["#", "HELP", name, _, ..] => {
                assert!(families.iter().all(|(known, _)| known != name), "{line}");
                families.push(((*name).to_owned(), String::new()));
            }
            ["#", "TYPE", name, kind] => {
                let (last, of) = families.last_mut().expect("its help");
                assert_eq!(last, name);
                assert!(["gauge", "counter", "histogram"].contains(kind), "{line}");
                *of = (*kind).to_owned();
            }
            [sample, value] => {
                let name = sample.split('{').next().expect("a name");
                let (family, kind) = families.last().expect("a family");
                let rest = name.strip_prefix(family.as_str()).expect("its own family");
                let is_part = kind == "histogram" && ["_bucket", "_sum", "_count"].contains(&rest);
                assert!(rest.is_empty() || is_part, "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                value.parse::<f64>().expect("a number");
            }
            _ => panic!("{line:?}"),
        }
    }
}

#[test]
fn the_report_is_a_snapshot() {
    let (server, admin) = start(&[]);
    server.connect().echo(b"hello");
    wait_for("the close", || (metric(admin, "netgrace_connections_open") == 0.0).then_some(()));
    let (status, body) = get(admin, "/report");
    let report: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, &report["schema"]), (200, &"netgrace-report/1".into()));
    assert_eq!((&report["phase"], &report["open"]), (&"running".into(), &0.into()));
    assert_eq!(report["bytes"]["written"], 5);
    assert_eq!(report["connections"]["peer_closed"], 1);
    for unknown in ["grade", "exit_code", "cause", "stop_ns"] {
        assert_eq!(report[unknown], Value::Null, "{unknown}");
    }
    server.stop().exits(0);
}

#[test]
fn head_has_no_body_and_mistakes_have_their_status() {
    let (server, admin) = start(&[]);
    let response = exchange(admin, "HEAD /metrics HTTP/1.1\r\n\r\n");
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with("\r\n\r\n"));
    let long = format!("GET /healthz HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let endless = format!("GET /{}", "x".repeat(20_000));
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("POST /healthz HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "405 Method Not Allowed"),
        ("nonsense\r\n\r\n", "400 Bad Request"),
        ("\u{16}\u{3}\u{1}\u{0}\u{1}", "400 Bad Request"),
        ("GET /healthz HTTP/3.0\r\n\r\n", "505 "),
        (&long, "431 "),
        (&endless, "431 "),
    ] {
        let response = exchange(admin, request);
        assert!(response.starts_with(&format!("HTTP/1.1 {status}")), "{request:.40}: {response}");
    }
    assert!(exchange(admin, "PUT / HTTP/1.1\r\n\r\n").contains("\r\nAllow: GET, HEAD\r\n"));
    assert_eq!(get(admin, "/healthz").0, 200);
    server.stop().exits(0);
}

#[test]
fn a_request_may_come_in_pieces() {
    let (server, admin) = start(&[]);
    let mut client = Client::connect(admin);
    for byte in b"GET /healthz HTTP/1.1\r\n\r\n" {
        client.send(&[*byte]);
    }
    assert!(client.receive_to_end().starts_with(b"HTTP/1.1 200 OK\r\n"));
    // One that half-closes first gets its answer too.
    let mut client = Client::connect(admin);
    client.send(b"GET /healthz HTTP/1.1\r\n\r\n");
    client.0.shutdown(Shutdown::Write).expect("a connection");
    assert!(client.receive_to_end().starts_with(b"HTTP/1.1 200 OK\r\n"));
    server.stop().exits(0);
}

#[test]
fn those_who_never_finish_a_request_hold_up_nobody() {
    let (server, admin) = start(&[]);
    let mut echo = server.connect();
    let slow: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(admin).expect("a connection");
            stream.write_all(b"GET /heal").expect("bytes sent");
            stream
        })
        .collect();
    let start = Instant::now();
    for _ in 0..100 {
        echo.echo(b"as fast as ever");
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(get(admin, "/healthz").0, 200);
    // After its time each is closed, whether somebody else wants the place or not.
    let mut last = slow.last().expect("one").try_clone().expect("a clone");
    last.set_read_timeout(Some(Duration::from_secs(15))).expect("an option");
    assert!(matches!(last.read(&mut [0; 8]), Ok(0) | Err(_)));
    assert!(start.elapsed() < Duration::from_secs(15));
    drop(slow);
    server.stop().exits(0);
}

#[test]
fn clients_that_ask_and_do_not_read_hold_up_nobody() {
    let (server, admin) = start(&[]);
    for _ in 0..300 {
        let mut stream = TcpStream::connect(admin).expect("a connection");
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").expect("bytes sent");
        // Closed with the answer unread: the server sees a reset.
    }
    assert_eq!(get(admin, "/healthz").0, 200);
    server.connect().echo(b"fine");
    server.stop().exits(0);
}

#[test]
fn a_wildcard_is_warned_about_and_a_port_in_use_is_an_error() {
    let server = Server::start(&["--admin", "0.0.0.0:0"]);
    server.process.wait_for_stderr("open to every network");
    server.stop().exits(0);
    let (server, admin) = start(&[]);
    let args = ["-l", "127.0.0.1:0", "--admin", &admin.to_string()];
    let outcome = crate::support::run(&mut crate::support::netgrace(&args)).exits(1);
    assert!(outcome.stderr.contains("cannot listen on --admin"), "{outcome:#?}");
    server.stop().exits(0);
}

#[test]
fn a_request_that_is_in_flight_at_the_stop_is_answered() {
    let (mut server, admin) = start(&[]);
    let mut client = Client::connect(admin);
    client.send(b"GET /report HT");
    get(admin, "/healthz"); // the first part was taken before
    server.process.signal(Signal::TERM);
    server.process.wait_for_stderr("admin: draining");
    client.send(b"TP/1.1\r\n\r\n");
    let answer = String::from_utf8(client.receive_to_end()).expect("UTF-8");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains(r#""phase":"finished""#), "{answer}");
    server.finish().exits(0);
}
