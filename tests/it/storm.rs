//! The moment at which a listener closes, under a storm of clients that connect, write and read:
//! how many of those whose connect succeeded are reset.
//!
//! A handshake that completes between the last accept and the close is lost by the kernel's
//! doing. `NETGRACE_STORM=60 cargo test --release storm -- --nocapture` measures 60 stops each of
//! a plain close, a sweep before the close, and netgrace with and without privileges.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Signal, geteuid};

use crate::host::{copy_program, has};
use crate::support::{Directory, Process, Server, netgrace};

const CLIENTS: usize = 8;

#[derive(Debug, Default)]
pub struct Count {
    pub connected: u64,
    /// Connected, and reset before its echo came.
    pub lost: u64,
}

/// One client after another until the address refuses them.
pub fn storm(address: SocketAddr) -> Vec<JoinHandle<Count>> {
    let client = move || {
        let mut count = Count::default();
        loop {
            let mut stream = match TcpStream::connect_timeout(&address, Duration::from_secs(5)) {
                Ok(stream) => stream,
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => return count,
                // Refused is what is not yet connected: this one was, if not for long.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    count.connected += 1;
                    count.lost += 1;
                    continue;
                }
                Err(error) => panic!("connect: {error}"),
            };
            count.connected += 1;
            let mut echo = [0; 8];
            let question = count.connected.to_be_bytes();
            let answered = stream.write_all(&question).and_then(|()| stream.read_exact(&mut echo));
            match answered {
                Ok(()) => assert_eq!(echo, question),
                Err(_) => count.lost += 1,
            }
        }
    };
    (0..CLIENTS).map(|_| thread::spawn(client)).collect()
}

pub fn total(clients: Vec<JoinHandle<Count>>) -> Count {
    clients.into_iter().fold(Count::default(), |sum, client| {
        let Count { connected, lost } = client.join().expect("a client");
        Count { connected: sum.connected + connected, lost: sum.lost + lost }
    })
}

fn answer(mut stream: TcpStream) {
    let mut question = [0; 8];
    let _ = stream.set_nonblocking(false);
    let _ = stream.read_exact(&mut question).and_then(|()| stream.write_all(&question));
}

/// A listener that just closes, or is swept first.
fn stop_by_hand(sweeps: bool) -> Count {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    listener.set_nonblocking(true).expect("an option");
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let server = thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            if let Ok((stream, _)) = listener.accept() {
                answer(stream);
            }
        }
        let mut swept = Vec::new();
        while sweeps && let Ok((stream, _)) = listener.accept() {
            swept.push(stream);
        }
        drop(listener);
        swept.into_iter().for_each(answer);
    });
    let clients = storm(address);
    thread::sleep(Duration::from_millis(60));
    stop.store(true, Ordering::Relaxed);
    server.join().expect("a server");
    total(clients)
}

fn stop_netgrace(command: impl FnOnce(&[&str]) -> Command) -> Count {
    let args = ["--report", "-", "--backlog", "4096", "--idle-grace", "20ms"];
    let mut server = Server::start_as(&args, command, Process::spawn);
    let clients = storm(server.address());
    thread::sleep(Duration::from_millis(60));
    server.process.signal(Signal::TERM);
    let count = total(clients);
    let report = server.finish().exits(0).report();
    assert_eq!(report["connections"]["accepted"], count.connected - count.lost, "{report:#}");
    assert_eq!(report["bytes"]["written"], 8 * (count.connected - count.lost));
    count
}

fn measure(name: &str, stops: u32, mut stop: impl FnMut() -> Count) -> Count {
    let mut sum = Count::default();
    let mut worst = 0;
    for _ in 0..stops {
        let Count { connected, lost } = stop();
        sum.connected += connected;
        sum.lost += lost;
        worst = worst.max(lost);
    }
    println!(
        "{name}: {stops} stops, {} clients connected, {} reset by a stop, at most {worst} by one",
        sum.connected, sum.lost
    );
    sum
}

#[test]
fn a_connect_storm_meets_a_stop() {
    let stops = std::env::var("NETGRACE_STORM").map_or(2, |stops| stops.parse().expect("a number"));
    measure("plain close", stops, || stop_by_hand(false));
    measure("sweep, then close", stops, || stop_by_hand(true));
    let ours = measure("netgrace", stops, || stop_netgrace(netgrace));
    assert!(ours.lost <= u64::from(stops), "{ours:?}");
    if !geteuid().is_root() || !has("setpriv") {
        return;
    }
    let unprivileged = Unprivileged::new();
    let unprivileged = measure("netgrace without privileges", stops, || {
        stop_netgrace(|args| unprivileged.command(args))
    });
    assert!(unprivileged.lost <= u64::from(stops), "{unprivileged:?}");
}

/// A copy of the program, to be run without privileges: where the build lies, only root may look.
pub struct Unprivileged {
    directory: Directory,
}

impl Unprivileged {
    pub fn new() -> Self {
        let directory = Directory::new();
        let program = directory.join("netgrace");
        copy_program(&program);
        open_to_all(&program);
        Self { directory }
    }

    /// The program with these arguments, the last of which is the port file.
    pub fn command(&self, args: &[&str]) -> Command {
        open_to_all(Path::new(args.last().expect("the port file")));
        let mut command = Command::new("setpriv");
        let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "--"];
        command.args(nobody).arg(self.directory.join("netgrace"));
        command.args(args).env_remove("RUST_LOG").env_remove("NETGRACE_LISTEN");
        command.stdin(Stdio::null());
        command
    }
}

/// Everybody may read, and write, in a file's directory.
fn open_to_all(path: &Path) {
    let all = fs::Permissions::from_mode(0o777);
    fs::set_permissions(path.parent().expect("a directory"), all).expect("permissions");
}
