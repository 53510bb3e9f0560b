//! Clients that read slowly, or not for a while, though they are owed what they handed over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::promise::client::{Buffers, End, Pace, Peer, Seen, all};
use crate::promise::kernel;
use crate::promise::law::Stop;
use crate::support::{Server, wait_for};

const MIB: usize = 1 << 20;

/// As much as the kernels of both ends take: the client's send buffer, the server's two.
const BUFFERS: Buffers = Buffers { receive: Some(16 << 10), send: Some(4 * MIB) };

/// One slow reader that has handed over as much as the kernels took, up to `limit`.
#[track_caller]
fn stop_with_a_slow_reader(args: &[&str], limit: usize, pace: Pace) -> Stop {
    let mut all = vec!["--report", "-"];
    all.extend_from_slice(args);
    let mut server = Server::start(&all);
    let mut client = Peer::with(server.address(), BUFFERS);
    let handed = client.hand_over(limit);
    assert!(handed >= limit.min(2 * MIB), "only {handed} bytes could be handed over");
    server.process.signal(Signal::TERM);
    let (seen, stream) = client.read_to_end(pace);
    drop(stream);
    Stop::of(server, vec![seen])
}

/// Row 2.
#[test]
fn a_slow_reader_gets_all_that_it_handed_over() {
    let pace = Pace::per_second(6_000_000);
    stop_with_a_slow_reader(&["--shutdown-timeout", "15s"], 24 * MIB, pace).keeps();
}

/// Row 3.
#[test]
fn a_reader_that_sleeps_first_gets_all_that_it_handed_over() {
    let pace = Pace::per_second(12_000_000).after(Duration::from_secs(3));
    for args in [&["--drain", "flush"][..], &["--max-held", "64KiB"]] {
        let mut all = vec!["--shutdown-timeout", "15s"];
        all.extend_from_slice(args);
        stop_with_a_slow_reader(&all, 24 * MIB, pace).keeps();
    }
}

#[test]
fn a_reader_that_sleeps_first_gets_all_by_default() {
    let pace = Pace::per_second(12_000_000).after(Duration::from_secs(3));
    stop_with_a_slow_reader(&["--shutdown-timeout", "15s"], 24 * MIB, pace).keeps();
}

/// Row 4. All of it is in the server's kernel when the server has sent its FIN; one more byte of
/// the client, after the server closed, would reset the connection.
#[test]
fn a_slow_reader_that_goes_on_speaking_is_not_reset() {
    let mut server = Server::start(&["--report", "-"]);
    let mut client = Peer::with(server.address(), Buffers::SMALL);
    let handed = client.hand_over(5 * MIB / 2);
    assert!(handed >= MIB, "only {handed} bytes could be handed over");
    let talks = Arc::new(AtomicBool::new(true));
    let talker = client.talk(1, Duration::from_millis(300), &talks);
    server.process.signal(Signal::TERM);
    let (seen, stream) = client.read_to_end(Pace::per_second(800_000));
    drop(stream);
    talker.join().expect("a talker");
    Stop::of(server, vec![seen]).keeps();
}

/// Row 5. It may be cut, but not by an end that looks complete, and the account has it.
#[test]
fn an_idle_timeout_over_a_full_send_queue_is_no_clean_end() {
    let args = ["--report", "-", "--strict", "--idle-timeout", "1s"];
    let mut server = Server::start(&args);
    let mut client = Peer::with(server.address(), Buffers::SMALL);
    let handed = client.hand_over(2 * MIB);
    let reader = client.read_beside(Pace::FAST.after(Duration::from_secs(3)));
    let seen = reader.join().expect("a reader");
    server.process.signal(Signal::TERM);
    let stop = Stop::of(server, vec![seen.clone()]);
    stop.obeys();
    assert_eq!(seen.end, End::Reset, "{seen:?}");
    assert_eq!(stop.number("/connections/idle_timeout"), 1, "{:#}", stop.report);
    let missing = (handed - seen.received) as u64;
    assert!(stop.number("/bytes/unsent") >= missing, "{missing} missing: {:#}", stop.report);
    assert_eq!(stop.outcome.status.code(), Some(3));
}

/// The counterpart: who acknowledges now and then is not idle, however long it takes.
#[test]
fn a_reader_slower_than_the_idle_timeout_is_not_idle() {
    let mut server = Server::start(&["--report", "-", "--idle-timeout", "1s"]);
    let mut client = Peer::with(server.address(), Buffers::SMALL);
    client.hand_over(MIB);
    let port = (server.address().port(), client.local_port());
    let reader = client.read_beside(Pace::per_second(400_000));
    wait_for("all of it to be acknowledged, or the end", || {
        let end = kernel::end_of(port.0, port.1);
        end.is_none_or(|end| end.unacknowledged == 0).then_some(())
    });
    server.process.signal(Signal::TERM);
    Stop::of(server, all(vec![reader])).keeps();
}

/// Row 6. Half of the clients stop sending at the request, the others go on; the account of what
/// was handed over before is the same.
#[test]
fn megabytes_in_flight_are_flushed() {
    for _ in 0..5 {
        let mut server = Server::start(&["--report", "-", "--drain", "flush"]);
        let mut clients: Vec<_> = (0..6).map(|_| Peer::connect(server.address())).collect();
        let talks = [Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true))];
        let talk = |(at, client): (usize, &Peer)| client.talk(65_536, Duration::ZERO, &talks[at % 2]);
        let talkers: Vec<_> = clients.iter().enumerate().map(talk).collect();
        // They read from the first byte on, but their thread needs the number of the last one.
        let handed: Vec<_> = clients.iter().map(Peer::counter).collect();
        let readers: Vec<_> =
            clients.drain(..).map(|client| client.read_beside(Pace::FAST)).collect();
        wait_for("megabytes in flight", || {
            handed.iter().all(|sent| sent.load(Ordering::Acquire) > 8 * MIB).then_some(())
        });
        let handed: Vec<_> = handed.iter().map(|sent| sent.load(Ordering::Acquire)).collect();
        server.process.signal(Signal::TERM);
        talks[0].store(false, Ordering::Relaxed);
        let mut seen = all(readers);
        talks[1].store(false, Ordering::Relaxed);
        for talker in talkers {
            talker.join().expect("a talker");
        }
        for (seen, handed) in seen.iter_mut().zip(handed) {
            seen.handed = handed;
        }
        Stop::of(server, seen).keeps();
    }
}

/// A client that is owed more than `--max-held` allows, so that reading from all others pauses, and
/// ten others that have handed over 10 000 bytes each meanwhile.
#[track_caller]
fn pause_ten(server: &Server) -> (Peer, Vec<Peer>) {
    let mut paused: Vec<_> = (0..10).map(|_| Peer::connect(server.address())).collect();
    for client in &mut paused {
        client.echo(1);
    }
    let mut hog = Peer::with(server.address(), Buffers::SMALL);
    hog.hand_over(32 * MIB);
    for client in &mut paused {
        client.hand_over(10_001);
    }
    (hog, paused)
}

/// Row 8, at the end of the budget.
#[test]
fn paused_clients_see_no_clean_end_without_their_bytes() {
    let args = ["--report", "-", "--max-held", "16KiB", "--shutdown-timeout", "1s"];
    let mut server = Server::start(&args);
    let (hog, paused) = pause_ten(&server);
    server.process.signal(Signal::TERM);
    let mut readers: Vec<_> =
        paused.into_iter().map(|client| client.read_beside(Pace::FAST)).collect();
    readers.push(hog.read_beside(Pace::FAST.after(Duration::from_secs(2))));
    let stop = Stop::of(server, all(readers));
    stop.obeys();
    assert_eq!(stop.outcome.status.code(), Some(3), "{:#}", stop.report);
}

/// Row 8, at an idle timeout: that we do not read from them does not make them idle.
#[test]
fn paused_clients_are_not_idle() {
    let args = ["--report", "-", "--max-held", "16KiB", "--idle-timeout", "1s"];
    let mut server = Server::start(&args);
    let (hog, paused) = pause_ten(&server);
    // The timeout ends the hog, which is owed bytes and takes none.
    let ports: Vec<_> = paused.iter().map(Peer::local_port).collect();
    let readers: Vec<_> =
        paused.into_iter().map(|client| client.read_beside(Pace::FAST)).collect();
    let server_port = server.address().port();
    let is_gone = |port: u16| kernel::end_of(port, server_port).is_none();
    wait_for("the idle timeouts", || {
        (is_gone(hog.local_port()) || ports.iter().all(|port| is_gone(*port))).then_some(())
    });
    thread::sleep(Duration::from_millis(200));
    server.process.signal(Signal::TERM);
    let clients = all(readers);
    let short = clients.iter().filter(|seen| seen.is_short()).count();
    assert_eq!(short, 0, "of ten clients {short} did not get their bytes: {clients:?}");
    let hog = hog.read_to_end(Pace::FAST).0;
    let clients: Vec<Seen> = clients.into_iter().chain([hog]).collect();
    Stop::of(server, clients).obeys();
}

/// Row 9.
#[test]
fn no_grace_does_not_mean_no_patience() {
    let args = ["--idle-grace", "0s", "--shutdown-timeout", "15s"];
    stop_with_a_slow_reader(&args, 24 * MIB, Pace::per_second(6_000_000)).keeps();
}

/// Row 13. The limit is the server's own.
#[test]
fn a_user_timeout_is_not_the_peers_doing() {
    let args = ["--report", "-", "--user-timeout", "1s"];
    let mut server = Server::start(&args);
    let mut client = Peer::with(server.address(), BUFFERS);
    let handed = client.hand_over(8 * MIB);
    let seen = client.read_to_end(Pace::FAST.after(Duration::from_secs(3))).0;
    server.process.signal(Signal::TERM);
    let stop = Stop::of(server, vec![seen.clone()]);
    stop.obeys();
    if seen.received < handed {
        assert!(stop.number("/bytes/unsent") > 0, "{:#}", stop.report);
        assert_eq!(stop.grade(), "lossy", "{:#}", stop.report);
        assert_eq!(stop.outcome.status.code(), Some(3));
    }
}
