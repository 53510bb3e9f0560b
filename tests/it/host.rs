//! What the system knows of a process, bytes that tell their place, and clients that misbehave.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Once;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, SockRef, Socket, Type};

use crate::support::{Client, DEADLINE};

/// Lets this process open as many files as it may.
pub fn raise_open_files() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("a limit");
    });
}

/// Copies the program. Another process does, because a child that this one forks meanwhile would
/// hold the copy open for writing, and the copy could not be run until that child is another
/// program itself.
#[track_caller]
pub fn copy_program(to: &Path) {
    let status = Command::new("cp").arg(env!("CARGO_BIN_EXE_netgrace")).arg(to).status();
    assert!(status.expect("cp").success());
}

/// How many descriptors a process has open.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// The memory of its own that a process has in use, in bytes.
pub fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("a line");
    let kib: u64 = line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
    kib << 10
}

/// The processor time that a process has used.
pub fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let (_, rest) = stat.rsplit_once(") ").expect("a name");
    let ticks: u64 = rest.split(' ').skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

/// `count` bytes that differ from place to place: a shift or a gap shows.
pub fn pattern(count: usize) -> Vec<u8> {
    let mut state: u32 = 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    // A prime length, so that no power of two is a period.
    let block: Vec<u8> = (0..65_521).map(|_| next()).collect();
    block.iter().copied().cycle().take(count).collect()
}

/// A client whose receive buffer is set before it connects.
pub fn connect_with_receive_buffer(address: SocketAddr, bytes: usize) -> Client {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(bytes).expect("an option");
    socket.connect(&address.into()).expect("a connection");
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(DEADLINE)).expect("an option");
    stream.set_write_timeout(Some(DEADLINE)).expect("an option");
    Client(stream)
}

/// Leaves with a reset instead of an end of stream.
pub fn reset(client: Client) {
    SockRef::from(&client.0).set_linger(Some(Duration::ZERO)).expect("an option");
}

/// Everything that comes, and how it ends: `Ok` for an end of stream.
pub fn receive_all(stream: &mut TcpStream) -> (Vec<u8>, io::Result<()>) {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 65_536];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (bytes, Ok(())),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) => return (bytes, Err(error)),
        }
    }
}

/// Sends beside the test, and half-closes at the end. Returns how much was taken.
pub fn send_beside(client: &Client, bytes: Vec<u8>) -> JoinHandle<usize> {
    let mut stream = client.0.try_clone().expect("a descriptor");
    thread::spawn(move || {
        let mut sent = 0;
        while sent < bytes.len() {
            match stream.write(&bytes[sent..(sent + 65_536).min(bytes.len())]) {
                Ok(count) => sent += count,
                Err(_) => return sent,
            }
        }
        let _ = stream.shutdown(Shutdown::Write);
        sent
    })
}

/// Writes until the server takes no more for `pause`. Returns how much it took.
pub fn fill(client: &mut Client, pause: Duration) -> usize {
    client.0.set_write_timeout(Some(pause)).expect("an option");
    let bytes = vec![7; 65_536];
    let mut sent = 0;
    while let Ok(count) = client.0.write(&bytes) {
        sent += count;
    }
    sent
}

/// Whether `program` can be run here; says so when a test has to do without.
pub fn has(program: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
    });
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}
