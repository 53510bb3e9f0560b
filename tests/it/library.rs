//! The library leaves the process alone: it prints nothing, installs nothing, starts nothing.
//!
//! Each test runs in a process of its own, because what it looks at belongs to the process.
#![cfg(target_os = "linux")]

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use netgrace::{EventLoop, Server, TokenRange};

use crate::embed::support::{BEST, Client, Host, is_alone, quick, server};

/// The library's whole life, both ways: bind, serve, stop, drop; and the errors of the set-up.
fn live() {
    let mut event_loop = EventLoop::new(server(quick())).unwrap();
    let mut client = Client::connect(event_loop.server().local_addr().unwrap());
    client.send(b"once around");
    while client.received != b"once around" {
        event_loop.turn(Some(Duration::from_millis(20)));
        client.receive();
    }
    event_loop.shutdown_handle().begin_shutdown();
    while !event_loop.is_finished() {
        client.leave_at_the_end();
        event_loop.turn(Some(Duration::from_millis(20)));
    }
    assert_eq!(event_loop.run().grade(), Some(BEST));
    drop(event_loop);

    let mut host = Host::of(quick().max_connections(2));
    let mut clients = [host.connect(), host.connect(), host.connect()];
    host.echo(&mut clients[0], b"on a host");
    let taken = host.server().local_addr().unwrap();
    assert!(Server::bind(taken, quick()).is_err());
    let registry = host.poll.registry().try_clone().unwrap();
    assert!(host.server().register(&registry, TokenRange::new(0..9)).is_err());
    drop(host);
}

/// What /proc says of this process, and what the library has no business to change.
fn of_the_process() -> Vec<String> {
    // Of this thread: the blocked signals of the main one change while it starts this one.
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let kept = ["SigBlk:", "SigIgn:", "SigCgt:", "Threads:", "Umask:", "NoNewPrivs:", "Seccomp:"];
    let mut found: Vec<String> = status
        .lines()
        .filter(|line| kept.iter().any(|name| line.starts_with(name)))
        .map(str::to_owned)
        .collect();
    assert!(found.len() >= 5, "{status}");
    found.push(fs::read_to_string("/proc/self/limits").unwrap());
    found.push(format!("{:?}", fs::read_dir("/proc/self/task").unwrap().count()));
    found.push(format!("{:?}", std::env::current_dir().unwrap()));
    found
}

#[test]
fn it_changes_no_signal_limit_or_thread() {
    if is_alone(module_path!(), "it_changes_no_signal_limit_or_thread").is_err() {
        return;
    }
    let environment = || std::env::vars_os().collect::<Vec<_>>();
    let before = (of_the_process(), environment());
    live();
    assert_eq!(of_the_process(), before.0);
    assert!(environment() == before.1);
}

#[test]
fn it_prints_nothing() {
    let (begin, end) = ("<its life begins>", "<its life is over>");
    match is_alone(module_path!(), "it_prints_nothing") {
        Ok(()) => {
            println!("{begin}");
            eprintln!("{begin}");
            live();
            println!("{end}");
            eprintln!("{end}");
        }
        Err((stdout, stderr)) => {
            for output in [stdout, stderr] {
                let from = output.find(begin).unwrap() + begin.len();
                let to = output.find(end).unwrap();
                assert_eq!(output[from..to].trim(), "", "{output}");
            }
        }
    }
}

struct Sink;

impl log::Log for Sink {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        false
    }
    fn log(&self, _: &log::Record<'_>) {}
    fn flush(&self) {}
}

#[test]
fn it_installs_no_logger_and_no_panic_hook() {
    static HOOKED: AtomicBool = AtomicBool::new(false);
    if is_alone(module_path!(), "it_installs_no_logger_and_no_panic_hook").is_err() {
        return;
    }
    std::panic::set_hook(Box::new(|_| HOOKED.store(true, Ordering::SeqCst)));
    live();
    assert!(std::panic::catch_unwind(|| panic!("on purpose")).is_err());
    assert!(HOOKED.load(Ordering::SeqCst), "our panic hook is still there");
    assert_eq!(log::max_level(), log::LevelFilter::Off);
    log::set_logger(&Sink).expect("nobody has set a logger before");
}

/// Has a peer that streams end its side and then break the connection while it is owed bytes:
/// what is written after that is answered by EPIPE.
#[cfg(feature = "signals")]
fn break_a_stream() {
    let mut host = Host::of(quick());
    let mut client = host.connect();
    for _ in 0..100 {
        client.send_what_fits();
        host.turn(Duration::ZERO);
        client.receive();
    }
    host.until("all that was sent", |host| {
        client.receive();
        let stats = host.server().stats();
        (stats.written > 0 && client.received.len() as u64 == client.sent).then_some(())
    });
    // From here on it takes nothing. What it sends leaves room for its end of stream to arrive.
    host.until("a rest that the peer does not take", |host| {
        let holds = host.server().stats().held > 0;
        if !holds {
            client.send_some(&[b's'; 256 << 10]);
        }
        holds.then_some(())
    });
    client.send_end();
    host.turn(Duration::from_millis(1));
    drop(client);
    host.until("the end of the connection", |host| (host.server().stats().open == 0).then_some(()));
    let report = host.server().report();
    assert!(report.bytes.peer_aborted > 0, "{report:?}");
}

#[test]
#[cfg(feature = "signals")]
fn a_broken_stream_raises_no_sigpipe() {
    if is_alone(module_path!(), "a_broken_stream_raises_no_sigpipe").is_err() {
        return;
    }
    let raised = std::sync::Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(libc::SIGPIPE, std::sync::Arc::clone(&raised)).unwrap();
    for _ in 0..10 {
        break_a_stream();
    }
    assert!(!raised.load(Ordering::SeqCst));
}
