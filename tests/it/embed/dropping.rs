//! Drops with live connections: at once, in any order, and nothing is left behind.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mio::{Token, Waker};
use netgrace::{CloseReason, Closed, EventLoop, Observer, ShutdownHandle, TokenRange};

use super::support::{Client, DEADLINE, Host, quick, server};
#[cfg(target_os = "linux")]
use super::support::{descriptors, is_alone};

/// A host whose server has connections in every state: fresh, idle, with bytes in the queue, with
/// a rest that its peer does not take, half closed, and one more in the accept queue.
fn busy_host() -> (Host, ShutdownHandle, Vec<Client>) {
    let mut host = Host::new(16);
    host.add(server(quick().send_buffer(4096)), TokenRange::new(10..40));
    let waker = Arc::new(Waker::new(host.poll.registry(), Token(0)).unwrap());
    let handle = host.server().shutdown_handle(waker);
    let mut clients: Vec<_> = (0..5).map(|_| host.connect()).collect();
    host.until_open(5);
    host.echo(&mut clients[1], b"then idle");
    let full = &mut clients[3];
    let mut calm = 0;
    host.until("a rest that the peer does not take", |host| {
        let still = !full.send_what_fits() && host.server().stats().held > 0;
        calm = if still { calm + 1 } else { 0 };
        (calm == 5).then_some(())
    });
    clients[4].send_end();
    host.turn(Duration::from_millis(10));
    clients[2].send(b"in the queue");
    clients.push(host.connect());
    (host, handle, clients)
}

#[test]
#[cfg(target_os = "linux")]
fn every_order_of_drops_leaves_no_descriptor() {
    if is_alone(module_path!(), "every_order_of_drops_leaves_no_descriptor").is_err() {
        return;
    }
    let before = descriptors();
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for order in orders {
        let (Host { poll, events, mut servers, .. }, handle, clients) = busy_host();
        let (mut poll, mut server, mut handle) = (Some(poll), servers.pop(), Some(handle));
        let start = Instant::now();
        for step in order {
            match step {
                0 => drop(poll.take()),
                1 => drop(server.take()),
                _ => drop(handle.take()),
            }
        }
        assert!(start.elapsed() < DEADLINE, "a drop that waits");
        drop((events, clients));
        assert_eq!(descriptors(), before, "{order:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_loop_leaves_no_descriptor_wherever_it_is_dropped() {
    if is_alone(module_path!(), "a_loop_leaves_no_descriptor_wherever_it_is_dropped").is_err() {
        return;
    }
    let before = descriptors();
    for turns in [0, 1, 3, 10] {
        let mut event_loop = EventLoop::new(server(quick())).unwrap();
        let address = event_loop.server().local_addr().unwrap();
        let mut clients: Vec<_> = (0..20).map(|_| Client::connect(address)).collect();
        for turn in 0..turns {
            clients.iter_mut().for_each(|client| client.send(b"x"));
            event_loop.turn(Some(Duration::ZERO));
            if turn == 7 {
                event_loop.begin_shutdown();
            }
        }
        drop(event_loop);
        drop(clients);
        assert_eq!(descriptors(), before, "after {turns} turns");
    }
    drop(server(quick()));
    let mut event_loop = EventLoop::new(server(quick())).unwrap();
    event_loop.shutdown_handle().begin_shutdown();
    event_loop.run();
    drop(event_loop);
    assert_eq!(descriptors(), before);
}

#[derive(Default)]
struct Ends(Arc<Mutex<Vec<Closed>>>);

impl Observer for Ends {
    fn on_close(&mut self, closed: Closed) {
        self.0.lock().unwrap().push(closed);
    }
}

#[test]
fn a_drop_accounts_for_each_connection_and_peers_can_tell_a_cut() {
    let (mut host, _handle, mut clients) = busy_host();
    let ends = Arc::new(Mutex::new(Vec::new()));
    host.server().observe(Ends(Arc::clone(&ends)));
    let start = Instant::now();
    host.servers.clear();
    assert!(start.elapsed() < DEADLINE, "a drop that waits");
    let ends = ends.lock().unwrap();
    for closed in ends.iter() {
        assert_eq!(closed.bytes.held(), 0, "{closed:?}");
    }
    let count = |reason| ends.iter().filter(|closed| closed.reason == reason).count();
    assert_eq!(count(CloseReason::ForcedLossy), 1, "{ends:?}");
    let cut = &mut clients[3];
    host.until("the cut", |_| {
        cut.receive();
        cut.ended.then_some(())
    });
    assert!(cut.error.is_some(), "a reset, not an end of stream");
    let idle = &mut clients[1];
    host.receive_end(idle);
}
