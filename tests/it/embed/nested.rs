//! A whole loop in another one: behind a mio `Poll`, which has edges only, and behind poll(2).

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use netgrace::{Config, EventLoop};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::support::{BEST, Client, DEADLINE, quick, server};

const CLIENTS: usize = 100;
const ROUNDS: u8 = 5;

/// A loop whose batches are far smaller than the number of its connections.
fn small_batches(config: Config) -> EventLoop {
    EventLoop::builder().events_capacity(4).build(server(config)).unwrap()
}

fn until(event_loop: &EventLoop) -> Option<Duration> {
    let deadline = event_loop.next_deadline()?;
    Some(deadline.saturating_duration_since(Instant::now()))
}

/// Opens, echoes and stops by `wait`, which waits for the descriptor or the deadline and turns.
/// No client acts while it waits, so that a wake-up that does not come is a hang.
fn exercise(mut event_loop: EventLoop, mut wait: impl FnMut(&mut EventLoop)) {
    let start = Instant::now();
    let mut step = |event_loop: &mut EventLoop| {
        assert!(start.elapsed() < DEADLINE, "{:?}", event_loop.server().stats());
        wait(event_loop);
    };
    let address = event_loop.server().local_addr().unwrap();
    let handle = event_loop.shutdown_handle();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(address)).collect();
    for round in 0..ROUNDS {
        clients.iter_mut().for_each(|client| client.send(&[round; 3]));
        while !clients.iter().all(|client| client.received.len() == 3) {
            step(&mut event_loop);
            clients.iter_mut().for_each(Client::receive);
        }
        for client in &mut clients {
            assert_eq!(std::mem::take(&mut client.received), [round; 3]);
        }
    }
    // More than a turn may read, after which no edge comes.
    let text = vec![b'n'; 300_000];
    let (mut sent, mut received) = (0, 0);
    while received < text.len() {
        if sent < text.len() {
            let end = text.len().min(sent + 15_000);
            clients[0].send(&text[sent..end]);
            sent = end;
        }
        step(&mut event_loop);
        clients[0].receive();
        received += std::mem::take(&mut clients[0].received).len();
    }
    std::thread::spawn(move || handle.begin_shutdown());
    while !event_loop.is_finished() {
        step(&mut event_loop);
        clients.iter_mut().for_each(Client::leave_at_the_end);
    }
    let report = event_loop.run();
    assert_eq!((report.grade(), report.connections.drained), (Some(BEST), CLIENTS as u64));
}

#[test]
fn it_runs_inside_a_poll_that_has_edges_only() {
    let event_loop = small_batches(quick());
    let mut outer = Poll::new().unwrap();
    let mut events = Events::with_capacity(4);
    let raw = event_loop.as_raw_fd();
    outer.registry().register(&mut SourceFd(&raw), Token(0), Interest::READABLE).unwrap();
    exercise(event_loop, move |event_loop| {
        outer.poll(&mut events, until(event_loop).or(Some(DEADLINE))).unwrap();
        loop {
            let count = event_loop.turn(Some(Duration::ZERO));
            if count == 0 && until(event_loop) != Some(Duration::ZERO) {
                break;
            }
        }
    });
}

#[test]
fn it_runs_behind_poll_2_one_turn_at_a_time() {
    exercise(small_batches(quick()), |event_loop| {
        let time = until(event_loop).unwrap_or(DEADLINE);
        let time = Timespec::try_from(time).unwrap();
        let mut descriptors = [PollFd::new(&*event_loop, PollFlags::IN)];
        poll(&mut descriptors, Some(&time)).unwrap();
        event_loop.turn(Some(Duration::ZERO));
    });
}

#[test]
fn it_is_not_readable_while_there_is_nothing_to_do() {
    let mut event_loop = small_batches(Config::new());
    let readable = |event_loop: &EventLoop| {
        let mut descriptors = [PollFd::new(event_loop, PollFlags::IN)];
        poll(&mut descriptors, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
    };
    let mut client = Client::connect(event_loop.server().local_addr().unwrap());
    client.send(b"one");
    assert!(readable(&event_loop));
    while event_loop.turn(Some(Duration::ZERO)) > 0 {}
    client.receive();
    assert_eq!(client.received, b"one");
    assert!(!readable(&event_loop));
    assert_eq!(event_loop.next_deadline(), None);
    event_loop.shutdown_handle().begin_shutdown();
    assert!(readable(&event_loop), "a request is an event");
}

#[test]
fn two_loops_run_in_one_poll() {
    let mut outer = Poll::new().unwrap();
    let mut events = Events::with_capacity(4);
    let mut loops = [small_batches(quick()), small_batches(quick())];
    for (number, event_loop) in loops.iter().enumerate() {
        let raw = event_loop.as_raw_fd();
        outer.registry().register(&mut SourceFd(&raw), Token(number), Interest::READABLE).unwrap();
    }
    let mut clients =
        [0, 1].map(|at: usize| Client::connect(loops[at].server().local_addr().unwrap()));
    clients.iter_mut().for_each(|client| client.send(b"hello"));
    let start = Instant::now();
    let mut ended = 0;
    while ended < 2 {
        assert!(start.elapsed() < DEADLINE);
        let time = loops.iter().filter_map(until).min().unwrap_or(Duration::from_millis(20));
        outer.poll(&mut events, Some(time)).unwrap();
        for event_loop in &mut loops {
            while event_loop.turn(Some(Duration::ZERO)) > 0 {}
        }
        for (client, event_loop) in clients.iter_mut().zip(&mut loops) {
            client.leave_at_the_end();
            if client.received == b"hello" {
                event_loop.begin_shutdown();
            }
        }
        ended = loops.iter().filter(|event_loop| event_loop.is_finished()).count();
    }
    clients.iter().for_each(|client| assert_eq!(client.received, b"hello"));
}
