//! What there is too little of: memory, stack, signs of life from a peer.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use socket2::{SockFilter, SockRef};

use crate::host::{connect_with_receive_buffer, descriptors, fill, has, receive_all};
use crate::support::{Client, Process, Server, netgrace_in_shell, wait_for, wrapped};

/// Sends as much as fits, and reads nothing. Returns whether the server still has it.
fn stuff(client: &mut Client) -> bool {
    client.0.set_nonblocking(true).expect("an option");
    let stuffed = (0..1000).try_for_each(|_| client.0.write_all(&[7; 65_536]));
    stuffed.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn short_of_memory_it_sheds_those_that_hold_it_and_lives() {
    if !has("prlimit") {
        return;
    }
    let limited = |args: &[&str]| wrapped("prlimit", &["--as=33554432"], args);
    let args = ["--report", "-", "--sndbuf", "8K", "--shutdown-timeout", "1s", "-m", "3000"];
    let server = Server::start_as(&args, limited, Process::spawn);
    let mut healthy = server.connect();
    healthy.echo(b"hello");
    // Each of them has the server hold up to 64 KiB: four times of what there is.
    let mut deaf: Vec<Client> =
        (0..2000).map(|_| connect_with_receive_buffer(server.address(), 4096)).collect();
    let shed = wait_for("somebody to be cut", || {
        healthy.echo(b"I read");
        let alive = deaf.iter_mut().map(stuff).filter(|alive| *alive).count();
        (alive < 2000).then_some(2000 - alive)
    });
    println!("{shed} of 2000 were cut");
    for _ in 0..100 {
        healthy.echo(b"still here");
    }
    server.connect().echo(b"newcomers too");
    drop(deaf);
    let healthy = healthy.leave_at_the_end();
    // A cut is a loss, and is told.
    let report = server.stop().exits(3).report();
    assert_eq!(healthy.join().expect("an orderly end"), b"");
    assert!(report["connections"]["forced_lossy"].as_u64().expect("a number") >= shed as u64);
}

#[test]
fn a_small_stack_is_enough() {
    // Without optimisation the command line alone takes more than 256 KiB to parse.
    let line = if cfg!(debug_assertions) { "ulimit -s 1024" } else { "ulimit -s 128" };
    let line = format!("{line}; exec \"$@\"");
    let small = |args: &[&str]| netgrace_in_shell(&line, args);
    let server = Server::start_as(&["--report", "-", "-vv"], small, Process::spawn);
    let mut client = server.connect();
    client.echo(&[1; 300_000]);
    drop(client);
    server.stop().exits(0);
}

#[test]
fn a_peer_that_takes_nothing_is_given_up() {
    let server = Server::start(&["--report", "-", "--user-timeout", "700ms"]);
    let mut healthy = server.connect();
    let mut deaf = connect_with_receive_buffer(server.address(), 4096);
    fill(&mut deaf, Duration::from_millis(100));
    let start = Instant::now();
    wait_for("the end of the deaf one", || {
        healthy.echo(b"I read");
        deaf.0.set_nonblocking(true).expect("an option");
        let written = deaf.0.write(b"x");
        written.is_err_and(|error| error.kind() != ErrorKind::WouldBlock).then_some(())
    });
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    drop(healthy);
    // The limit was ours, and so is the loss.
    let report = server.stop().exits(3).report();
    assert_eq!(report["connections"]["io_error"], 1, "{report:#}");
    assert!(report["bytes"]["unsent"].as_u64().expect("a number") > 0, "{report:#}");
    assert_eq!(report["bytes"]["peer_aborted"], 0, "{report:#}");
}

#[test]
fn a_peer_that_vanished_is_found_out() {
    let server = Server::start(&["--report", "-", "--keepalive", "1s", "-v"]);
    let mut client = server.connect();
    client.echo(b"hello");
    // From now on its kernel gets nothing and answers nothing.
    const RETURN: u16 = 0x06;
    let deaf = SockRef::from(&client.0).attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)]);
    if let Err(error) = deaf {
        eprintln!("skipped: no filter without privileges: {error}");
        return;
    }
    server.process.wait_for_stderr("closed #1: i/o error");
    assert_eq!(server.stop().exits(0).report()["connections"]["io_error"], 1);
}

#[test]
fn silence_ends_a_connection_and_a_byte_keeps_it() {
    let server = Server::start(&["--report", "-", "--idle-timeout", "400ms"]);
    let mut silent = server.connect();
    let mut talker = server.connect();
    let start = Instant::now();
    silent.0.set_nonblocking(true).expect("an option");
    wait_for("the end of the silent one", || {
        talker.echo(b"still here");
        let mut byte = [0];
        silent.0.read(&mut byte).is_ok_and(|count| count == 0).then_some(())
    });
    assert!(start.elapsed() >= Duration::from_millis(400), "{:?}", start.elapsed());
    talker.echo(b"and on");
    drop((silent, talker));
    let report = server.stop().exits(0).report();
    assert_eq!(report["connections"]["idle_timeout"], 1, "{report:#}");
}

#[test]
fn no_descriptor_is_left_to_a_child() {
    let server = Server::start(&[]);
    let clients: Vec<Client> = (0..5).map(|_| server.connect()).collect();
    let pid = server.process.pid();
    // It can hold its own few besides.
    wait_for("the clients to be taken in", || (descriptors(pid) > 5 + 8).then_some(()));
    let mut streaming = server.connect();
    streaming.echo(&vec![1; 2 << 20][..]);
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("a process") {
        let entry = entry.expect("an entry");
        let number: u32 = entry.file_name().to_string_lossy().parse().expect("a number");
        let target = fs::read_link(format!("/proc/{pid}/fd/{number}"));
        let info = fs::read_to_string(entry.path()).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = u32::from_str_radix(flags.unwrap_or("02000000").trim(), 8).expect("octal");
        // What the test was started with, it hands on.
        let inherited = number < 3
            || fs::read_link(format!("/proc/self/fd/{number}")).ok()
                == target.as_ref().ok().cloned();
        assert!(inherited || flags & 0o2_000_000 != 0, "{number} {target:?} {info}");
    }
    drop((clients, streaming));
    server.stop().exits(0);
}

#[test]
fn without_standard_descriptors_no_client_becomes_one() {
    let closed = |args: &[&str]| netgrace_in_shell("exec \"$@\" <&- >&- 2>&-", args);
    let server = Server::start_as(&["-vv"], closed, Process::spawn);
    let pid = server.process.pid();
    let mut clients: Vec<Client> = (0..5).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.echo(b"nothing but this");
    }
    for number in 0..3 {
        let target = fs::read_link(format!("/proc/{pid}/fd/{number}")).expect("a link");
        assert!(target.starts_with("/dev/null"), "{number}: {target:?}");
    }
    let ends: Vec<_> = clients.into_iter().map(Client::leave_at_the_end).collect();
    server.stop().exits(0);
    for end in ends {
        assert_eq!(end.join().expect("a client"), b"");
    }
}

#[test]
fn thousands_that_never_answer_a_fin_hold_a_stop_for_the_linger_time() {
    crate::host::raise_open_files();
    let args = ["--report", "-", "--linger", "300ms", "--idle-grace", "10ms"];
    let server = Server::start(&args);
    let clients: Vec<Client> = (0..5000).map(|_| server.connect()).collect();
    let outcome = server.stop().exits(0);
    assert!(outcome.took < Duration::from_secs(4), "{:?}", outcome.took);
    for mut client in clients {
        let (bytes, end) = receive_all(&mut client.0);
        assert!(bytes.is_empty() && end.is_ok(), "{end:?}");
    }
    assert_eq!(outcome.report()["connections"]["drained"], 5000);
}
