//! Handshakes whose last acknowledgement comes late, or never.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::promise::client::{Pace, Peer, all};
use crate::promise::distant::serve;
use crate::promise::kernel::{self, State};
use crate::promise::law::Stop;
use crate::promise::network::Network;
use crate::support::{Server, wait_for};

const NEAR: Duration = Duration::from_millis(5);

/// Clients that take themselves for connected, while nothing that they send gets through.
#[track_caller]
fn half_connect(network: &Network, server: &Server, count: usize) -> Vec<Peer> {
    network.weather.passes_only_syn.store(true, Ordering::Relaxed);
    let address = server.address();
    let clients: Vec<_> =
        network.client.run(|| (0..count).map(|_| Peer::connect(address)).collect());
    let half_open =
        || network.server.run(|| kernel::count(address.port(), State::HalfOpen)) == count;
    wait_for("half-open handshakes", || half_open().then_some(()));
    clients
}

/// The repetition of the SYN-ACK after one second has them repeat their acknowledgement.
#[test]
fn an_acknowledgement_that_was_lost_once_is_waited_for() {
    let Some(network) = Network::new(NEAR) else { return };
    let mut server = serve(&network, &[]);
    let mut clients = half_connect(&network, &server, 6);
    for client in &mut clients[..3] {
        client.hand_over(1000);
    }
    server.process.signal(Signal::TERM);
    thread::sleep(Duration::from_millis(400));
    network.weather.passes_only_syn.store(false, Ordering::Relaxed);
    let read = |client: Peer| client.read_beside(Pace::FAST);
    let clients = all(clients.into_iter().map(read).collect());
    let stop = Stop::of(server, clients);
    stop.keeps();
    assert_eq!(stop.number("/connections/accepted"), 6);
    assert_eq!(stop.number("/connections/half_open/completed"), 6);
}

/// Nobody who hears the server leaves two of its SYN-ACKs without an answer.
#[test]
fn a_handshake_that_nobody_is_behind_holds_the_stop_for_the_grace_only() {
    let Some(network) = Network::new(NEAR) else { return };
    let mut server = serve(&network, &[]);
    let clients = half_connect(&network, &server, 3);
    server.process.signal(Signal::TERM);
    let outcome = server.finish();
    assert!(outcome.took > Duration::from_millis(1400), "{:?}", outcome.took);
    assert!(outcome.took < Duration::from_millis(3000), "{:?}", outcome.took);
    let stop = Stop::from(outcome.exits(0), Vec::new());
    stop.obeys();
    assert_eq!(stop.number("/connections/half_open/seen"), 3);
    assert_eq!(stop.number("/connections/half_open/stale"), 3);
    assert_eq!(stop.grade(), "lossless");
    drop(clients);
}

/// One SYN-ACK without an answer proves nothing.
#[test]
fn a_handshake_that_outlasts_a_short_grace_is_left() {
    let Some(network) = Network::new(NEAR) else { return };
    let mut server = serve(&network, &["--handshake-grace", "200ms"]);
    let clients = half_connect(&network, &server, 3);
    server.process.signal(Signal::TERM);
    let outcome = server.finish();
    assert!(outcome.took < Duration::from_millis(1500), "{:?}", outcome.took);
    let stop = Stop::from(outcome.exits(3), Vec::new());
    stop.obeys();
    assert_eq!(stop.number("/connections/half_open/seen"), 3);
    assert_eq!(stop.number("/connections/half_open/left"), 3);
    assert_eq!(stop.grade(), "lossy");
    drop(clients);
}
