//! The way in when it is narrow: too few descriptors, too few slots, too many clients at once.

use std::net::Shutdown;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use netgrace::{Config, EventLoop};

use crate::host::{cpu, descriptors, has, pattern, raise_open_files, receive_all};
use crate::support::{Client, DEADLINE, Outcome, Process, Server, netgrace_in_shell, wait_for};

/// Connects and sends; the echo may be long in coming.
fn waiting(server: &Server, count: usize) -> Vec<Client> {
    let waiting = (0..count).map(|number| {
        let mut client = server.connect();
        client.send(&number.to_be_bytes());
        client
    });
    waiting.collect()
}

/// The numbers of those that have their echo by now.
fn served(clients: &mut [(usize, Client)]) -> Vec<usize> {
    let mut served = Vec::new();
    for (number, client) in clients {
        let mut echo = [0; size_of::<usize>()];
        client.0.set_nonblocking(true).expect("an option");
        if client.0.peek(&mut echo).is_ok_and(|count| count == echo.len()) {
            assert_eq!(echo, number.to_be_bytes());
            served.push(*number);
        }
    }
    served
}

/// Has clients leave in waves as they are served, with no newcomer, until all were.
#[track_caller]
fn leave_in_waves(clients: Vec<Client>, most: usize) {
    let mut clients: Vec<(usize, Client)> = clients.into_iter().enumerate().collect();
    while !clients.is_empty() {
        let wave = wait_for("the next wave", || {
            let served = served(&mut clients);
            (served.len() >= clients.len().min(most)).then_some(served)
        });
        clients.retain(|(number, _)| !wave.contains(number));
    }
}

fn log_lines(outcome: &Outcome, part: &str) -> usize {
    outcome.stderr.lines().filter(|line| line.contains(part)).count()
}

#[test]
fn sixty_four_descriptors_serve_two_hundred_clients_in_waves() {
    let limited = |args: &[&str]| netgrace_in_shell("ulimit -n 64; exec \"$@\"", args);
    let server = Server::start_as(&["--report", "-"], limited, Process::spawn);
    let pid = server.process.pid();
    let mut held = server.connect();
    held.echo(b"held");
    let clients = waiting(&server, 200);
    server.process.wait_for_stderr("clients wait in the queue");
    // Full, it neither spins nor neglects those whom it has.
    let (before, start) = (cpu(pid), Instant::now());
    while start.elapsed() < Duration::from_secs(1) {
        held.echo(b"held");
        thread::sleep(Duration::from_millis(10));
    }
    let share = (cpu(pid) - before).as_secs_f64() / start.elapsed().as_secs_f64();
    assert!(share < 0.25, "{share}");
    leave_in_waves(clients, 20);
    drop(held);
    let outcome = server.stop().exits(0);
    assert_eq!(outcome.report()["connections"]["accepted"], 201);
    assert!(log_lines(&outcome, "WARN") <= 5, "{outcome:#?}");
}

#[test]
fn a_limit_lowered_under_way_is_waited_out() {
    if !has("prlimit") {
        return;
    }
    let server = Server::start(&["--report", "-"]);
    let pid = server.process.pid();
    let mut held: Vec<Client> = (0..10).map(|_| server.connect()).collect();
    held.iter_mut().for_each(|client| client.echo(b"held"));
    let limit = |soft: usize| {
        let limit = format!("--nofile={soft}:");
        let status = Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]).status();
        assert!(status.expect("prlimit").success());
    };
    limit(descriptors(pid));
    let late = waiting(&server, 30);
    server.process.wait_for_stderr("clients wait in its queue");
    let before = cpu(pid);
    thread::sleep(Duration::from_millis(1500));
    assert!(cpu(pid) - before < Duration::from_millis(150), "it spins");
    held[0].echo(b"nobody is neglected");
    // A close of its own lets it look again; the limit's end does within its rest.
    let start = Instant::now();
    held.pop();
    let mut late: Vec<(usize, Client)> = late.into_iter().enumerate().collect();
    wait_for("the first of those who wait", || (!served(&mut late).is_empty()).then_some(()));
    limit(1000);
    wait_for("all of those who wait", || (served(&mut late).len() == 30).then_some(()));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    drop((held, late));
    let outcome = server.stop().exits(0);
    assert!(log_lines(&outcome, "accept on") <= 2, "{outcome:#?}");
    assert_eq!(outcome.report()["connections"]["accepted"], 40);
}

#[test]
fn a_stop_without_descriptors_ends_and_tells_the_truth() {
    if !has("prlimit") {
        return;
    }
    let server = Server::start(&["--report", "-", "--shutdown-timeout", "1s", "--drain", "peer"]);
    let pid = server.process.pid();
    let mut held = server.connect();
    held.echo(b"held");
    let limit = format!("--nofile={}:", descriptors(pid));
    let status = Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]).status();
    assert!(status.expect("prlimit").success());
    let late = waiting(&server, 50);
    let outcome = server.stop().exits(3);
    assert!(outcome.took < Duration::from_secs(4), "{:?}", outcome.took);
    let report = outcome.report();
    // The limit is on the numbers of descriptors: a gap among them lets one in.
    let reset = late.into_iter().filter_map(|mut client| receive_all(&mut client.0).1.err());
    let reset = reset.count();
    assert!(reset >= 45, "{report:#}");
    assert_eq!(report["connections"]["backlog_left"], reset, "{report:#}");
    assert_eq!(report["connections"]["accepted"], 51 - reset);
}

#[test]
fn above_the_cap_clients_wait_and_none_is_forgotten() {
    let server = Server::start(&["--max-conns", "10", "--report", "-"]);
    let clients = waiting(&server, 60);
    leave_in_waves(clients, 1);
    let outcome = server.stop().exits(0);
    assert_eq!(outcome.report()["connections"]["accepted"], 60);
    assert_eq!(log_lines(&outcome, "clients wait in the queue"), 1, "{outcome:#?}");
}

#[test]
fn two_thousand_connect_at_once_and_none_waits_for_a_retry() {
    raise_open_files();
    let server = Server::start(&["--report", "-"]);
    let address = server.address();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(move || {
                let connect = |_| {
                    let start = Instant::now();
                    let client = Client::connect(address);
                    (start.elapsed(), client)
                };
                (0..500).map(connect).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut times = Vec::new();
    let mut clients = Vec::new();
    for thread in threads {
        for (time, client) in thread.join().expect("clients") {
            times.push(time);
            clients.push(client);
        }
    }
    times.sort();
    // A SYN that is lost is sent again after a second.
    assert!(times[times.len() * 99 / 100] < Duration::from_millis(500), "{:?}", times.last());
    for client in &mut clients {
        client.echo(b"x");
    }
    drop(clients);
    server.stop().exits(0);
}

#[test]
fn many_listeners_share_the_slots() {
    let server = Server::start(&[
        "serve",
        "127.0.0.1:0",
        "127.0.0.2:0",
        "127.0.0.3:0",
        "-m",
        "9",
        "--report",
        "-",
    ]);
    let mut clients = Vec::new();
    for round in 0..10_usize {
        for address in server.addresses() {
            let mut client = Client::connect(*address);
            client.send(&(3 * round + clients.len() % 3).to_be_bytes());
            clients.push(client);
        }
    }
    leave_in_waves(clients, 1);
    assert_eq!(server.stop().exits(0).report()["connections"]["accepted"], 30);
}

/// Runs a server of the library in a thread; stops it at the end and gives the report.
fn with_server<T>(
    config: Config,
    act: impl FnOnce(std::net::SocketAddr) -> T,
) -> (T, netgrace::Report) {
    let server = netgrace::Server::bind("127.0.0.1:0".parse().unwrap(), config).expect("a server");
    let address = server.local_addr().unwrap();
    let mut event_loop = EventLoop::new(server).expect("a loop");
    let handle = event_loop.shutdown_handle();
    let thread = thread::spawn(move || event_loop.run());
    let result = act(address);
    handle.begin_shutdown();
    (result, thread.join().expect("no panic"))
}

fn connect_from(source: [u8; 4], to: std::net::SocketAddr) -> Client {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from((source, 0)).into()).expect("an address");
    socket.connect(&to.into()).expect("a connection");
    let client = Client(socket.into());
    client.0.set_read_timeout(Some(DEADLINE)).expect("an option");
    client
}

#[test]
fn an_address_has_its_share_and_leaves_the_rest_to_others() {
    let (_, report) = with_server(Config::new().max_per_ip(10), |address| {
        let mut first: Vec<Client> =
            (0..10).map(|_| connect_from([127, 0, 0, 2], address)).collect();
        first.iter_mut().for_each(|client| client.echo(b"x"));
        for _ in 0..90 {
            let mut client = connect_from([127, 0, 0, 2], address);
            let (bytes, _) = receive_all(&mut client.0);
            assert_eq!(bytes, b"");
        }
        connect_from([127, 0, 0, 3], address).echo(b"others are served");
        // A place that comes free is given again.
        first.pop();
        let mut next = wait_for("a place", || {
            let mut client = connect_from([127, 0, 0, 2], address);
            client.send(b"x");
            (receive_one(&mut client) == Some(b'x')).then_some(client)
        });
        next.echo(b"y");
    });
    assert_eq!(report.connections.accepted, 12);
    assert_eq!(report.connections.closed(), 12);
    assert_eq!(report.connections.backlog_left, Some(0));
}

fn receive_one(client: &mut Client) -> Option<u8> {
    let mut byte = [0];
    std::io::Read::read_exact(&mut client.0, &mut byte).is_ok().then_some(byte[0])
}

#[test]
fn what_all_hold_together_is_bounded_and_the_longest_pause_ends_first() {
    const MOST: usize = 256 << 10;
    const CLIENTS: usize = 40;
    let bytes = pattern(6 << 20);
    let server = Config::new().max_held(MOST);
    let (_, report) = with_server(server, |address| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let mut client = Client::connect(address);
                let sender = crate::host::send_beside(&client, bytes.clone());
                (
                    sender,
                    thread::spawn(move || {
                        // Long enough for the kernel's buffers to fill, and the server's room.
                        thread::sleep(Duration::from_millis(400));
                        let received = client.receive_to_end();
                        let _ = client.0.shutdown(Shutdown::Both);
                        received
                    }),
                )
            })
            .collect();
        for (sender, reader) in clients {
            assert!(reader.join().expect("an end, not a reset") == bytes);
            assert_eq!(sender.join().expect("a sender"), bytes.len());
        }
    });
    assert_eq!(report.bytes.written, (CLIENTS * bytes.len()) as u64);
    assert_eq!(report.bytes.unsent, 0);
}

/// Lingering connections make room for those who wait in the queue of a server that stops.
#[test]
fn clients_that_never_close_hold_no_slot_against_those_that_wait() {
    let args = ["--max-connections", "10", "--idle-grace", "20ms", "--report", "-"];
    let mut server = Server::start(&[&args[..], &["--linger", "5s"]].concat());
    let mut clients = waiting(&server, 200);
    server.process.wait_for_stderr("clients wait in the queue");
    server.process.signal(rustix::process::Signal::TERM);
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.receive_to_end(), number.to_be_bytes(), "{number}");
    }
    // None of them has closed.
    let outcome = server.finish().exits(0);
    drop(clients);
    let report = outcome.report();
    assert_eq!(report["connections"]["accepted"], 200, "{report:#}");
    assert_eq!(report["connections"]["backlog_left"], 0, "{report:#}");
}
