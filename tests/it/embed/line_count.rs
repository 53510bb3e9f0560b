//! The example `line_count`: a protocol with a timer for each connection, an echo server, and the
//! commands of the host that both are in.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use self::example::{Command, Running};
use super::support::{BEST, Client, DEADLINE, loopback, quick, server};

#[path = "../../examples/line_count.rs"]
#[expect(dead_code, reason = "its main")]
mod example;

const TICK: Duration = Duration::from_millis(30);

/// A client of the line server, which reads past the ticks.
struct LineClient(BufReader<std::net::TcpStream>);

impl LineClient {
    fn connect(address: SocketAddr) -> Self {
        let stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(BufReader::new(stream))
    }

    fn next(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn ask(&mut self, wanted: usize) {
        self.0.get_mut().write_all(b"a line\n").unwrap();
        let wanted = wanted.to_string();
        while match self.next() {
            line if line == "tick" => true,
            line => {
                assert_eq!(line, wanted);
                false
            }
        } {}
    }

    fn wait_for_a_tick(&mut self) {
        while self.next() != "tick" {}
    }

    /// Returns what comes until the end, without ticks.
    fn rest(mut self) -> Vec<String> {
        let mut rest = Vec::new();
        loop {
            match self.next() {
                line if line.is_empty() => return rest,
                line if line == "tick" => {}
                line => rest.push(line),
            }
        }
    }
}

fn echo(client: &mut Client, bytes: &[u8]) {
    client.send(bytes);
    let start = Instant::now();
    while client.received.len() < bytes.len() {
        assert!(start.elapsed() < DEADLINE && !client.ended);
        client.receive();
        thread::yield_now();
    }
    assert_eq!(std::mem::take(&mut client.received), bytes);
}

#[test]
fn a_protocol_with_timers_runs_beside_an_echo_in_a_host_with_commands() {
    let running = Running::start(server(quick()), loopback(), quick(), TICK).unwrap();
    let mut lines = [LineClient::connect(running.lines), LineClient::connect(running.lines)];
    let mut echoes: Vec<_> = (0..5).map(|_| Client::connect(running.echo)).collect();
    for round in 1..=10 {
        for (number, client) in (0..).zip(&mut echoes) {
            echo(client, &vec![number; 100 * round]);
        }
        lines.iter_mut().for_each(|client| client.ask(round));
    }
    assert_eq!(running.total().unwrap(), 20);
    lines.iter_mut().for_each(LineClient::wait_for_a_tick);

    // The server stops; the host goes on.
    running.handle.begin_shutdown();
    let start = Instant::now();
    while !echoes.iter().all(|client| client.ended) {
        assert!(start.elapsed() < DEADLINE);
        echoes.iter_mut().for_each(Client::leave_at_the_end);
        lines[0].wait_for_a_tick();
    }
    lines.iter_mut().for_each(|client| client.ask(11));
    assert_eq!(running.total().unwrap(), 22);

    // What the line server was sent before its own stop is answered.
    lines.iter_mut().for_each(|client| client.0.get_mut().write_all(b"1\n2\nhalf").unwrap());
    running.command(Command::Quit).unwrap();
    for client in lines {
        assert_eq!(client.rest(), ["12", "13"]);
    }
    let [report, counted] = running.thread.join().unwrap().unwrap();
    assert_eq!((report.grade(), report.connections.drained), (Some(BEST), 5));
    assert_eq!(report.bytes.written, 5 * 100 * (1..=10).sum::<u64>());
    let requests = counted.requests.unwrap();
    assert_eq!((counted.protocol, requests.answered), ("line_count", 2 * 13));
}
