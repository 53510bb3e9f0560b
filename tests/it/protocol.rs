//! `--protocol`: real clients of line, http and discard, and a stop in the midst of them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Client, Server, netgrace, run};

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const PAGE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\n\
                    hello, world\n";

fn start(protocol: &str, args: &[&str]) -> Server {
    let mut all = vec!["--report", "-", "--protocol", protocol];
    all.extend(args);
    Server::start(&all)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn curl_is_served_in_every_form() {
    let server = start("http", &["--body", "100KiB"]);
    let url = format!("http://{}/", server.address());
    let curl = |args: &[&str]| {
        let all = ["-sS", "--max-time", "20"].iter().chain(args);
        Command::new("curl").args(all).output().ok()
    };
    let Some(output) = curl(&[&url, &format!("{url}bytes/5"), &format!("{url}none")]) else {
        eprintln!("skipped: there is no curl");
        return;
    };
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.len() > (100 << 10) + 5, "{}", output.stdout.len());
    let posted = curl(&["-d", "some text", "-H", "Transfer-Encoding: chunked", &url]).unwrap();
    assert_eq!(text(posted.stdout), "some text");
    let head = text(curl(&["-I", &url]).unwrap().stdout);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Content-Length: 102400\r\n"), "{head}");
    let report = server.stop().exits(0).report();
    assert_eq!(report["requests"]["answered"], 5, "{report}");
    assert_eq!(report["grade"], "complete");
}

#[test]
fn a_pipeline_is_answered_in_order() {
    let server = start("http", &[]);
    let mut client = Client::connect(server.address());
    client.send(GET.repeat(100).as_bytes());
    client.send(b"GET /bytes/3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let answers = text(client.receive_to_end());
    assert!(answers.starts_with(&PAGE.repeat(100)), "{answers}");
    assert!(answers.ends_with("Content-Length: 3\r\nConnection: close\r\n\r\nhel"), "{answers}");
    let report = server.stop().exits(0).report();
    assert_eq!(report["requests"]["answered"], 101);
    assert_eq!(report["connections"]["protocol_closed"], 1);
}

#[test]
fn a_thousand_requests_at_the_stop_are_all_answered() {
    let mut server = start("line", &[]);
    let mut clients: Vec<_> = (0..10).map(|_| server.connect()).collect();
    let lines: String = (0..100).map(|n| format!("request {n}\n")).collect();
    for client in &mut clients {
        client.send(lines.as_bytes());
    }
    server.process.signal(Signal::TERM);
    for client in clients {
        assert_eq!(text(client.leave_at_the_end().join().expect("a client")), lines);
    }
    let report = server.finish().exits(0).report();
    assert_eq!(report["requests"]["answered"], 1_000, "{report}");
}

#[test]
fn half_a_request_at_the_stop_is_waited_for() {
    let mut server = start("http", &[]);
    let mut client = server.connect();
    client.send(&GET.as_bytes()[..10]);
    thread::sleep(Duration::from_millis(50));
    server.process.signal(Signal::TERM);
    server.process.wait_for_stderr("draining");
    thread::sleep(Duration::from_millis(400));
    client.send(&GET.as_bytes()[10..]);
    let answer = text(client.leave_at_the_end().join().expect("a client"));
    assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello, world\n"), "{answer}");
    let outcome = server.finish().exits(0);
    assert_eq!(outcome.report()["requests"]["answered"], 1);
    assert!(outcome.took < Duration::from_secs(4), "{outcome:#?}");
}

#[test]
fn the_rest_of_a_request_that_never_comes_is_incomplete() {
    let mut server = start("http", &[]);
    let mut client = server.connect();
    client.send(b"GET / HT");
    thread::sleep(Duration::from_millis(50));
    server.process.signal(Signal::TERM);
    assert_eq!(text(client.leave_at_the_end().join().expect("a client")), "");
    let outcome = server.finish().exits(0);
    let report = outcome.report();
    assert_eq!(
        (&report["bytes"]["incomplete"], &report["grade"]),
        (&8.into(), &"confirmed".into())
    );
    assert!(outcome.took < Duration::from_secs(4), "{outcome:#?}");
}

#[test]
fn a_request_that_takes_its_time_is_waited_for() {
    let mut server = start("line", &["--delay", "300ms"]);
    let mut client = server.connect();
    client.send(b"one\n");
    server.process.signal(Signal::TERM);
    assert_eq!(text(client.leave_at_the_end().join().expect("a client")), "one\n");
    let outcome = server.finish().exits(0);
    assert!(outcome.took >= Duration::from_millis(250), "{outcome:#?}");
    assert_eq!(outcome.report()["requests"]["answered"], 1);
}

#[test]
fn a_request_that_outlives_the_budget_is_reset_and_said_so() {
    let sized = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
    let chunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let mut server = start("http", &["--delay", "1m", "--shutdown-timeout", "700ms"]);
    let mut clients = [GET, sized, chunked].map(|request| {
        let mut client = server.connect();
        client.send(request.as_bytes());
        client
    });
    thread::sleep(Duration::from_millis(100));
    server.process.signal(Signal::TERM);
    for client in &mut clients {
        let error = client.0.read(&mut [0; 1]).expect_err("a reset");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    let report = server.finish().exits(3).report();
    assert_eq!((&report["requests"]["unanswered"], &report["grade"]), (&3.into(), &"lossy".into()));
    assert_eq!(report["connections"]["forced_lossy"], 3);
}

/// Its bytes were all consumed, and a part of its answer was sent.
#[test]
fn half_an_upload_that_never_goes_on_is_incomplete() {
    let mut server = start("http", &[]);
    let mut client = server.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\nabc");
    assert!(text(client.receive(17)).starts_with("HTTP/1.1 200 OK\r\n"));
    server.process.signal(Signal::TERM);
    assert!(text(client.leave_at_the_end().join().expect("a client")).ends_with("\r\n\r\nabc"));
    let outcome = server.finish().exits(0);
    let report = outcome.report();
    assert_eq!(
        (&report["requests"]["aborted"], &report["grade"]),
        (&1.into(), &"confirmed".into())
    );
    assert!(outcome.took < Duration::from_secs(4), "{outcome:#?}");
}

#[test]
fn what_clients_did_before_a_stop_does_not_lower_its_grade() {
    let server = start("http", &["--strict"]);
    for (request, answer) in [("GET / HT", ""), ("GET x HTTP/1.1\r\n\r\nmore", "HTTP/1.1 400 ")] {
        let mut client = server.connect();
        client.send(request.as_bytes());
        client.0.shutdown(Shutdown::Write).expect("a connection");
        assert!(text(client.receive_to_end()).starts_with(answer));
    }
    let report = server.stop().exits(0).report();
    assert_eq!((&report["bytes"]["incomplete"], &report["bytes"]["late"]), (&8.into(), &4.into()));
}

#[test]
fn a_long_answer_costs_no_memory_however_slowly_it_is_read() {
    const SIZE: usize = 64 << 20;
    let mut server = start("http", &["--max-held", "1MiB"]);
    let mut client = server.connect();
    client.send(format!("GET /bytes/{SIZE} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    let mut seen = client.receive(1 << 20).len();
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process.pid()));
    let status = status.expect("a status");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    let resident: usize = resident.split_whitespace().next().expect("kB").parse().expect("kB");
    assert!(resident < 40_000, "{resident} kB");
    server.process.signal(Signal::TERM);
    seen += text(client.leave_at_the_end().join().expect("a client")).len();
    assert!(seen > SIZE && seen < SIZE + 200, "{seen}");
    let report = server.finish().exits(0).report();
    assert_eq!(report["requests"]["answered"], 1);
}

#[test]
fn what_is_no_request_has_its_status_and_an_orderly_end() {
    let server = start("http", &[]);
    let large = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(70_000));
    for (request, status) in [
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741825\r\n\r\n", "413"),
        (large.as_str(), "431"),
        ("nonsense\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400"),
        ("DELETE / HTTP/1.1\r\nHost: x\r\n\r\n", "501"),
    ] {
        let mut client = Client::connect(server.address());
        client.send(request.as_bytes());
        // What follows is discarded, so that no reset destroys the answer.
        client.send(&[b'x'; 1000]);
        let answer = text(client.receive_to_end());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
    }
    server.stop().exits(0);
}

#[test]
fn a_line_without_an_end_ends_its_connection_alone() {
    let server = start("line", &[]);
    let mut other = server.connect();
    let mut client = server.connect();
    client.send(&[b'x'; 70_000]);
    assert_eq!(client.receive_to_end(), b"");
    other.send(b"here\n");
    assert_eq!(other.receive(5), b"here\n");
    // A line that the client's end cuts off is not answered; those before it are.
    other.send(b"whole\ncut");
    other.0.shutdown(Shutdown::Write).expect("a connection");
    assert_eq!(other.receive_to_end(), b"whole\n");
    let report = server.stop().exits(0).report();
    assert_eq!(
        (&report["requests"]["taken"], &report["bytes"]["incomplete"]),
        (&2.into(), &3.into())
    );
}

#[test]
fn discard_answers_nothing_and_reads_everything() {
    let server = start("discard", &[]);
    let mut client = server.connect();
    client.send(&vec![1; 3_000_000]);
    client.0.shutdown(Shutdown::Write).expect("a connection");
    assert_eq!(client.receive_to_end(), b"");
    let report = server.stop().exits(0).report();
    assert_eq!(
        (&report["bytes"]["served"], &report["bytes"]["written"]),
        (&3_000_000.into(), &0.into())
    );
    assert_eq!((&report["protocol"], &report["grade"]), (&"discard".into(), &"complete".into()));
}

#[test]
fn a_flag_without_effect_is_refused() {
    for (args, part) in [
        (&["--delay", "1s"][..], "--delay does nothing with --protocol echo"),
        (&["--protocol", "discard", "--delay", "1s"], "--protocol discard: it is for line, http"),
        (&["--protocol", "line", "--body", "1K"], "--body does nothing with --protocol line"),
        (&["--protocol", "gopher"], "gopher"),
    ] {
        let outcome = run(&mut netgrace(args)).exits(2);
        assert!(outcome.stderr.contains(part), "{outcome:#?}");
    }
}

#[test]
fn answers_announce_the_end_from_the_first_moment_of_a_stop() {
    let args = ["--lame-duck", "60s", "--shutdown-timeout", "90s"];
    let mut server = start("http", &args);
    let mut client = server.connect();
    client.send(GET.as_bytes());
    assert_eq!(text(client.receive(PAGE.len())), PAGE);
    server.process.signal(Signal::TERM);
    server.process.wait_for_stderr("lame duck");
    let begin = Instant::now();
    client.send(GET.as_bytes());
    // It is kept for a client that has sent more already, and finished a second later.
    let answer = text(client.receive_to_end());
    assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    assert!(begin.elapsed() < Duration::from_secs(10));
    let mut late = TcpStream::connect(server.address()).expect("a connection");
    late.write_all(GET.as_bytes()).expect("a request");
    let mut answer = String::new();
    late.read_to_string(&mut answer).expect("an answer");
    assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    server.process.signal(Signal::QUIT);
    server.finish().exits(0);
}
