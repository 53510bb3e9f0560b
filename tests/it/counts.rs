//! System calls for each request, counted by `strace`: one read and one write, and one write for a
//! whole batch of pipelined requests.

use std::collections::BTreeMap;
use std::fs;

use rustix::process::Signal;

use crate::host::has;
use crate::support::{Client, Directory, Process, Server, wrapped};

const WARM_UP: usize = 5;
const ROUNDS: usize = 40;

/// Has a client send `request` and get `answer` bytes, one round after the other. Returns how often
/// the program made which system call in [`ROUNDS`] rounds.
fn calls(protocol: &str, request: &[u8], answer: usize) -> BTreeMap<String, usize> {
    let directory = Directory::new();
    let trace = directory.join("trace");
    let options = ["-D", "-f", "-qq", "-o", trace.to_str().expect("a UTF-8 path"), "--"];
    let command = |args: &[&str]| wrapped("strace", &options, args);
    let mut server = Server::start_as(&["--protocol", protocol], command, Process::spawn);
    let mut client = Client::connect(server.address());
    for _ in 0..WARM_UP + ROUNDS {
        client.send(request);
        client.receive(answer);
    }
    drop(client);
    server.process.signal(Signal::TERM);
    server.finish().exits(0);
    let text = fs::read_to_string(&trace).expect("a trace");
    count(&text, answer)
}

/// Counts the calls of the rounds in a trace, which end with the writes of whole answers.
fn count(trace: &str, answer: usize) -> BTreeMap<String, usize> {
    let calls = trace.lines().filter_map(|line| {
        let call = line.split_once(' ')?.1.trim_start();
        let name = call.split_once('(')?.0;
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        is_name.then_some((name, call))
    });
    let is_answer = |call: &str| call.ends_with(&format!(" = {answer}"));
    let (mut counts, mut rounds) = (BTreeMap::new(), 0);
    for (name, call) in calls {
        if (WARM_UP..WARM_UP + ROUNDS).contains(&rounds) {
            *counts.entry(name.to_owned()).or_insert(0) += 1;
        }
        rounds += usize::from(matches!(name, "sendto" | "write") && is_answer(call));
    }
    assert!(rounds >= WARM_UP + ROUNDS, "answers in more than one write:\n{trace}");
    counts
}

/// Checks that a round is one read and one write, beside what waits for events.
fn check(protocol: &str, request: &[u8], answer: usize) {
    let counts = calls(protocol, request, answer);
    let of = |name: &str| counts.get(name).copied().unwrap_or(0);
    let sum: usize = counts.values().sum();
    assert_eq!((of("recvfrom"), of("sendto")), (ROUNDS, ROUNDS), "{protocol}: {counts:?}");
    assert!(of("epoll_wait") <= ROUNDS + 2, "{protocol}: {counts:?}");
    assert!(sum - of("epoll_wait") <= 2 * ROUNDS + 1, "{protocol}: {counts:?}");
}

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const PAGE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\n\
                    hello, world\n";

#[test]
fn a_request_costs_one_read_and_one_write() {
    if !has("strace") {
        return;
    }
    check("echo", b"a message", 9);
    check("line", b"a line\n", 7);
    check("http", GET.as_bytes(), PAGE.len());
}

#[test]
fn a_pipelined_batch_costs_one_read_and_one_write() {
    if !has("strace") {
        return;
    }
    check("line", &b"a line\n".repeat(100), 700);
    check("http", GET.repeat(100).as_bytes(), 100 * PAGE.len());
}
