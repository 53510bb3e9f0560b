//! What a stop owes to clients: those in the queue are served, those in mid-stream see an end and
//! no reset, and only those that never read are cut.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::host::{
    connect_with_receive_buffer, fill, pattern, raise_open_files, receive_all, send_beside,
};
use crate::support::{Client, Process, Server, netgrace, wait_for};

/// Stopped, the server accepts nobody; the stop request comes first when it goes on.
#[track_caller]
fn stop_with_a_queue(count: usize, args: &[&str]) -> serde_json::Value {
    raise_open_files();
    let mut all = vec!["--report", "-"];
    all.extend_from_slice(args);
    let mut server = Server::start(&all);
    let address = server.address();
    server.process.signal(Signal::STOP);
    let clients: Vec<Client> = (0..count)
        .map(|number| {
            let mut client = server.connect();
            client.send(&number.to_be_bytes());
            client
        })
        .collect();
    server.process.signal(Signal::TERM);
    server.process.signal(Signal::CONT);
    for (number, mut client) in clients.into_iter().enumerate() {
        let (bytes, end) = receive_all(&mut client.0);
        end.unwrap_or_else(|error| panic!("client {number} of {count}: {error}"));
        assert_eq!(bytes, number.to_be_bytes(), "client {number} of {count}");
    }
    let report = server.finish().exits(0).report();
    let refused = TcpStream::connect(address).expect_err("nobody listens");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(report["connections"]["accepted"], count);
    assert_eq!(report["bytes"]["written"], count * size_of::<usize>());
    report
}

#[test]
fn clients_in_the_queue_are_served() {
    for count in [1, 100] {
        for mode in ["idle", "flush"] {
            let report = stop_with_a_queue(count, &["--drain", mode]);
            assert_eq!(report["grade"], "complete");
            // An event of the listener may come in the batch in which the signal is seen.
            assert_eq!(report["connections"]["backlog_left"], 0);
        }
    }
}

#[test]
fn four_thousand_clients_in_the_queue_are_served() {
    let report = stop_with_a_queue(4000, &[]);
    assert_eq!(report["grade"], "complete");
}

#[test]
fn a_queue_longer_than_the_table_is_served_in_turns() {
    stop_with_a_queue(60, &["--max-conns", "7", "--idle-grace", "20ms"]);
}

#[test]
fn a_client_that_goes_on_sending_sees_an_end_and_no_reset() {
    for mode in ["idle", "flush"] {
        let mut server = Server::start(&["--report", "-", "--drain", mode]);
        let bytes = pattern(64 << 20);
        let clients: Vec<_> = [4096, 16 << 10, 1 << 20]
            .into_iter()
            .map(|buffer| {
                let mut client = connect_with_receive_buffer(server.address(), buffer);
                let sender = send_beside(&client, bytes.clone());
                let reader = thread::spawn(move || {
                    let (received, end) = receive_all(&mut client.0);
                    end.expect("an end of stream, not a reset");
                    received
                });
                (sender, reader)
            })
            .collect();
        thread::sleep(Duration::from_millis(50));
        server.process.signal(Signal::TERM);
        let mut received = 0;
        for (sender, reader) in clients {
            let echoed = reader.join().expect("an orderly end");
            assert!(bytes.starts_with(&echoed), "other bytes came back");
            assert!(sender.join().expect("a sender") >= echoed.len());
            received += echoed.len();
        }
        let report = server.finish().exits(0).report();
        assert_eq!(report["bytes"]["written"], received, "{mode}: {report:#}");
        assert_eq!(report["bytes"]["unsent"], 0);
    }
}

#[test]
fn those_that_never_read_are_reset_at_the_end_of_the_budget_and_nobody_else() {
    let budget = Duration::from_secs(2);
    let mut server = Server::start(&["--report", "-", "--shutdown-timeout", "2s"]);
    let deaf: Vec<Client> = (0..100)
        .map(|_| {
            let mut client = connect_with_receive_buffer(server.address(), 4096);
            fill(&mut client, Duration::from_millis(20));
            client
        })
        .collect();
    let mut polite: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    for client in &mut polite {
        client.echo(b"I read");
    }
    server.process.signal(Signal::TERM);
    let polite: Vec<_> = polite.into_iter().map(Client::leave_at_the_end).collect();
    for client in polite {
        assert_eq!(client.join().expect("no reset"), b"");
    }
    let outcome = server.finish().exits(3);
    assert!(outcome.took >= budget, "{:?}", outcome.took);
    assert!(outcome.took < budget + Duration::from_secs(1), "{:?}", outcome.took);
    for mut client in deaf {
        let (_, end) = receive_all(&mut client.0);
        let error = end.expect_err("a reset, not an end");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    let report = outcome.report();
    assert_eq!(report["connections"]["forced_lossy"], 100);
    assert_eq!(report["connections"]["drained"], 20);
    assert_eq!(report["grade"], "lossy");
}

#[test]
fn a_peer_that_never_closes_holds_a_stop_for_the_linger_time_only() {
    let mut server = Server::start(&["--report", "-", "--idle-grace", "10ms", "--linger", "300ms"]);
    let mut clients: Vec<Client> = (0..200).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.echo(b"and then nothing");
    }
    server.process.signal(Signal::TERM);
    let outcome = server.finish().exits(0);
    assert!(outcome.took >= Duration::from_millis(300), "{:?}", outcome.took);
    assert!(outcome.took < Duration::from_secs(5), "{:?}", outcome.took);
    for client in &mut clients {
        assert_eq!(client.receive_to_end(), b"");
    }
    assert_eq!(outcome.report()["connections"]["drained"], 200);
}

#[test]
fn what_came_before_the_stop_is_echoed_though_it_was_not_read_yet() {
    for mode in ["idle", "flush"] {
        let mut server = Server::start(&["--report", "-", "--drain", mode]);
        let mut clients: Vec<Client> = (0..200).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.echo(b"a");
        }
        server.process.signal(Signal::STOP);
        for client in &mut clients {
            client.send(b"sent before the stop");
        }
        server.process.signal(Signal::TERM);
        server.process.signal(Signal::CONT);
        for client in &mut clients {
            assert_eq!(client.receive_to_end(), b"sent before the stop");
        }
        drop(clients);
        assert_eq!(server.finish().exits(0).report()["bytes"]["late"], 0);
    }
}

#[test]
fn one_two_and_three_signals() {
    // A client that never reads holds the stop until it is cut.
    let stuck = || {
        let mut server = Server::start(&["--report", "-", "--shutdown-timeout", "infinity"]);
        let mut client = server.connect();
        fill(&mut client, Duration::from_millis(300));
        server.process.signal(Signal::TERM);
        server.process.wait_for_stderr("draining at");
        (server, client)
    };
    // A second one at once is the same Ctrl-C seen twice.
    let (mut server, client) = stuck();
    server.process.signal(Signal::TERM);
    thread::sleep(Duration::from_millis(600));
    assert!(!server.process.has_ended());
    // Later, it forces.
    server.process.signal(Signal::INT);
    let report = server.finish().exits(3).report();
    assert_eq!(report["connections"]["forced_lossy"], 1);
    assert_eq!(report["cause"], "SIGTERM");
    drop(client);
    // QUIT forces at once.
    let (mut server, client) = stuck();
    server.process.signal(Signal::QUIT);
    server.finish().exits(3);
    drop(client);
    // A loop that sees nothing any more is ended by the third, from the handler.
    let (mut server, client) = stuck();
    server.process.signal(Signal::STOP);
    server.process.signal(Signal::INT);
    server.process.signal(Signal::HUP);
    server.process.signal(Signal::CONT);
    wait_for("the end", || server.process.has_ended().then_some(()));
    drop(client);
    let status = server.finish().status.code();
    assert!(matches!(status, Some(129 | 130)), "{status:?}");
}

#[test]
fn a_stopped_process_finds_its_deadlines_past_and_still_delivers_first() {
    // Time enough to stop the process before it finds the client quiet.
    let args = ["--report", "-", "--idle-grace", "1500ms", "--shutdown-timeout", "2s"];
    let mut server = Server::start(&args);
    let mut client = server.connect();
    client.echo(b"hello");
    server.process.signal(Signal::TERM);
    server.process.wait_for_stderr("draining at");
    server.process.signal(Signal::STOP);
    client.send(b"sent while it was stopped");
    thread::sleep(Duration::from_millis(2200));
    server.process.signal(Signal::CONT);
    assert_eq!(client.receive_to_end(), b"sent while it was stopped");
    server.finish().exits(0);
}

#[test]
fn the_port_is_free_again_at_once_and_a_live_one_is_not() {
    let server = Server::start(&[]);
    let address = server.address().to_string();
    let second = Process::spawn(&mut netgrace(&["-l", &address])).finish().exits(1);
    assert!(second.stderr.contains("in use"), "{second:#?}");
    server.connect().echo(b"undisturbed");
    server.stop().exits(0);
    for _ in 0..10 {
        let server = Server::start(&["-l", &address]);
        let mut clients: Vec<Client> = (0..20).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.echo(b"x");
        }
        let clients: Vec<_> = clients.into_iter().map(Client::leave_at_the_end).collect();
        server.stop().exits(0);
        for client in clients {
            client.join().expect("a client");
        }
    }
    // A successor starts while the old one still drains, but has closed its listener.
    let mut old = Server::start(&["-l", &address, "--drain", "peer", "-vv"]);
    let mut client = old.connect();
    client.echo(b"x");
    old.process.signal(Signal::TERM);
    old.process.wait_for_stderr("closed the listener");
    let new = Server::start(&["-l", &address]);
    client.echo(b"of the old one");
    new.connect().echo(b"of the new one");
    drop(client);
    old.finish().exits(0);
    new.stop().exits(0);
}

#[test]
fn the_log_shows_the_progress_of_a_long_stop_each_second() {
    let mut server = Server::start(&["--drain", "peer", "--shutdown-timeout", "60s"]);
    let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.echo(b"x"));
    server.process.signal(Signal::TERM);
    server.process.wait_for_stderr("draining for 1 s: 0 of 3 connections closed");
    drop(clients.pop());
    server.process.wait_for_stderr("s: 1 of 3 connections closed");
    clients.truncate(1);
    server.process.wait_for_stderr("s: 2 of 3 connections closed");
    drop(clients);
    let outcome = server.finish().exits(0);
    let lines = outcome.stderr.matches("connections closed").count() as u64;
    assert!(lines.abs_diff(outcome.took.as_secs()) <= 1, "{lines} lines in {:?}", outcome.took);
    // What is over within a second needs none.
    let server = Server::start(&["--idle-grace", "20ms"]);
    let outcome = server.stop().exits(0);
    assert!(!outcome.stderr.contains("connections closed"), "{outcome:#?}");
}

#[test]
fn any_length_of_time_is_a_deadline() {
    for flag in ["--shutdown-timeout", "--idle-timeout", "--idle-grace", "--linger"] {
        for value in ["0s", "1us", "300000000000h", "18446744073709551615s"] {
            let mut args = vec!["--report", "-", flag, value];
            if flag != "--shutdown-timeout" {
                args.extend(["--shutdown-timeout", "200ms"]);
            }
            let server = Server::start(&args);
            let client = server.connect().leave_at_the_end();
            let outcome = server.stop();
            client.join().expect("an orderly end");
            let outcome = outcome.exits(0);
            assert_eq!(outcome.report()["bytes"]["unsent"], 0, "{flag} {value}");
        }
    }
}
