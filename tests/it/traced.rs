//! The program with a system call that fails, and the clients that visit it then.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::host::{receive_all, send_beside};
use crate::support::{Client, Directory, Process, checked_report, wait_for, wrapped};

/// Clients that come and go.
pub const VISITORS: usize = 6;
/// Clients that stay until the server is stopped.
pub const RESIDENTS: usize = 22;

/// The program under a fault.
pub struct Traced {
    pub process: Process,
    pub directory: Directory,
}

impl Traced {
    pub fn start(inject: &str, args: &[&str]) -> Self {
        let directory = Directory::new();
        let file = |name: &str| directory.join(name).to_str().expect("a UTF-8 path").to_owned();
        let (trace, ports, report) = (file("trace"), file("ports"), file("report"));
        let (call, _) = inject.split_once(':').expect("a call");
        let (calls, inject) = (format!("trace={call}"), format!("inject={inject}"));
        // With -D the program stays our child, and its signals reach it.
        let options = ["-D", "-f", "-qq", "-o", &trace, "-e", &calls, "-e", &inject, "--"];
        let mut all = vec!["serve", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"];
        all.extend(["--port-file", &ports, "--report", &report]);
        all.extend(["--idle-grace", "30ms", "--linger", "300ms", "--shutdown-timeout", "2s"]);
        all.extend_from_slice(args);
        let process = Process::spawn(&mut wrapped("strace", &options, &all));
        Self { process, directory }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.directory.join(name)).unwrap_or_default()
    }

    /// Its address; `None` when it ended without one.
    pub fn address(&mut self) -> Option<SocketAddr> {
        wait_for("an address or the end", || {
            let ports = self.read("ports");
            let address = ports.lines().next().and_then(|line| line.parse().ok());
            (address.is_some() || self.process.has_ended()).then_some(address)
        })
    }

    pub fn stop(&mut self) {
        if !self.process.has_ended() {
            self.process.signal(Signal::TERM);
        }
    }

    /// Waits for its end. Gives the exit code, stderr, the report if there is one, and how often
    /// the fault fired.
    pub fn finish(self) -> (i32, String, Option<Value>, usize) {
        let Self { process, directory } = self;
        let outcome = process.finish();
        let report = fs::read_to_string(directory.join("report")).ok();
        let fired = injected(&directory.join("trace"));
        let code = outcome.status.code().unwrap_or(-1);
        (code, outcome.stderr, report.as_deref().map(checked_report), fired)
    }
}

/// How often the fault fired.
pub fn injected(trace: &Path) -> usize {
    fs::read_to_string(trace).map_or(0, |text| text.matches("(INJECTED)").count())
}

/// Connects and plays ping-pong; an error is what was done to it.
fn play(address: SocketAddr) -> io::Result<Client> {
    let timeout = Duration::from_secs(5);
    let mut client = Client(TcpStream::connect_timeout(&address, timeout)?);
    client.0.set_read_timeout(Some(timeout))?;
    client.0.set_write_timeout(Some(timeout))?;
    for round in 0..4_u8 {
        let mut echo = [0; 64];
        client.0.write_all(&[round; 64])?;
        client.0.read_exact(&mut echo)?;
        assert_eq!(echo, [round; 64]);
    }
    Ok(client)
}

/// Sees the end of stream that it expects and nothing before it.
pub fn leave(mut client: Client) -> io::Result<()> {
    let (rest, end) = receive_all(&mut client.0);
    assert_eq!(rest, b"");
    end
}

/// Streams, and leaves by a half-close.
fn stream(mut client: Client, bytes: &[u8]) -> io::Result<()> {
    let sender = send_beside(&client, bytes.to_vec());
    let (received, end) = receive_all(&mut client.0);
    assert!(bytes.starts_with(&received), "other bytes came back");
    let _ = sender.join().expect("a sender");
    end?;
    if received.len() == bytes.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// All clients but those who stay; those, and what was done to the others.
pub fn visit(address: SocketAddr, bytes: &[u8]) -> (Vec<Client>, Vec<io::Error>) {
    let (mut residents, mut harmed) = (Vec::new(), Vec::new());
    let visitor = |number| {
        let client = play(address)?;
        if number == 0 {
            return stream(client, bytes);
        }
        client.0.shutdown(Shutdown::Write)?;
        leave(client)
    };
    thread::scope(|scope| {
        let visitors: Vec<_> =
            (0..VISITORS).map(|number| scope.spawn(move || visitor(number))).collect();
        for _ in 0..RESIDENTS {
            match play(address) {
                Ok(client) => residents.push(client),
                Err(error) => harmed.push(error),
            }
        }
        harmed.extend(visitors.into_iter().filter_map(|it| it.join().expect("a client").err()));
    });
    (residents, harmed)
}
