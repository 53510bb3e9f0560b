//! Clients beyond a slow network, one that loses packets, and one that is gone with the process.

use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::promise::client::{Buffers, Pace, Peer, all};
use crate::promise::kernel::{self, State};
use crate::promise::law::Stop;
use crate::promise::network::{Network, SERVER};
use crate::promise::storm::storm;
use crate::support::{Server, wait_for};

const MIB: usize = 1 << 20;

/// 40 ms there and back.
pub const FAR: Duration = Duration::from_millis(20);

/// A server on the network's one host.
#[track_caller]
pub fn serve(network: &Network, args: &[&str]) -> Server {
    let listen = format!("{SERVER}:0");
    let mut all = vec!["--report", "-", "-l", &listen];
    all.extend_from_slice(args);
    network.server.run(|| Server::start(&all))
}

/// Clients on the network's other host, each of whom has got a first byte back.
#[track_caller]
fn connect(network: &Network, server: &Server, count: usize, buffers: Buffers) -> Vec<Peer> {
    network.client.run(|| {
        let connect = |_| {
            let mut client = Peer::with(server.address(), buffers);
            client.echo(1);
            client
        };
        (0..count).map(connect).collect()
    })
}

/// How many stops a test that may be repeated makes.
pub fn rounds() -> usize {
    let rounds = std::env::var("NETGRACE_REPEAT").ok();
    rounds.map_or(3, |rounds| rounds.parse().expect("NETGRACE_REPEAT is a number"))
}

#[test]
fn the_network_takes_its_time_and_loses_what_it_is_told_to() {
    let Some(network) = Network::new(FAR) else { return };
    let server = serve(&network, &[]);
    let mut client = connect(&network, &server, 1, Buffers::default()).remove(0);
    let start = Instant::now();
    client.echo(1000);
    let took = start.elapsed();
    assert!(took >= 2 * FAR, "{took:?}");
    network.weather.is_cut.store(true, Ordering::Relaxed);
    let limit = client.sent() + 1;
    client.hand_over(limit);
    let ports = (client.local_port(), server.address().port());
    thread::sleep(4 * FAR);
    let end = network.client.run(|| kernel::end_of(ports.0, ports.1)).expect("a connection");
    assert!(end.unacknowledged > 0, "{end:?}");
    network.weather.is_cut.store(false, Ordering::Relaxed);
    let reader = client.read_beside(Pace::FAST);
    Stop::from(server.stop(), all(vec![reader])).claims_no_more();
}

/// Row 1, over a network on which handshakes take a while.
#[test]
fn nobody_in_a_storm_of_connects_is_reset() {
    for _ in 0..rounds() {
        let Some(network) = Network::new(FAR) else { return };
        let mut server = serve(&network, &[]);
        let address = server.address();
        let every = Duration::from_millis(1);
        let callers = thread::scope(|scope| {
            let client = &network.client;
            let storm =
                scope.spawn(|| client.run(|| storm(address, every, Duration::from_millis(400))));
            thread::sleep(Duration::from_millis(200));
            server.process.signal(Signal::TERM);
            storm.join().expect("a storm")
        });
        assert!(callers.len() > 50, "only {} were connected", callers.len());
        Stop::of(server, callers).keeps();
    }
}

/// Row 12.
#[test]
fn what_is_on_its_way_when_the_stop_is_requested_is_served() {
    let Some(network) = Network::new(FAR) else { return };
    for mode in ["idle", "flush"] {
        let mut server = serve(&network, &["--drain", mode]);
        let mut clients = connect(&network, &server, 30, Buffers::default());
        // Silent for longer than the grace.
        thread::sleep(Duration::from_millis(300));
        for client in &mut clients {
            client.hand_over(1001);
        }
        thread::sleep(Duration::from_millis(2));
        server.process.signal(Signal::TERM);
        let read = |client: Peer| client.read_beside(Pace::FAST);
        let clients = all(clients.into_iter().map(read).collect());
        Stop::of(server, clients).keeps();
    }
}

/// Row 14. The network ends with the process, as that of a container does.
#[test]
fn a_half_closed_client_has_all_before_the_process_is_gone() {
    let Some(network) = Network::new(FAR) else { return };
    let mut server = serve(&network, &["--sndbuf", "1MiB"]);
    let mut client = connect(&network, &server, 1, Buffers::SMALL).remove(0);
    assert_eq!(client.hand_over(500_000), 500_000);
    client.stream().shutdown(Shutdown::Write).expect("an end");
    let ports = (client.local_port(), server.address().port());
    wait_for("the server to have all, the end included", || {
        let end = network.client.run(|| kernel::end_of(ports.0, ports.1))?;
        (end.state == State::FinWait2 as u8).then_some(())
    });
    client.stream().set_read_timeout(Some(Duration::from_secs(4))).expect("an option");
    let reader = client.read_beside(Pace::per_second(1_000_000).after(Duration::from_millis(700)));
    server.process.signal(Signal::TERM);
    wait_for("the end", || server.process.has_ended().then_some(()));
    network.weather.is_cut.store(true, Ordering::Relaxed);
    Stop::of(server, all(vec![reader])).keeps();
}

#[test]
fn a_distant_slow_reader_gets_all_that_it_handed_over() {
    let Some(network) = Network::new(FAR) else { return };
    let mut server = serve(&network, &["--shutdown-timeout", "15s"]);
    let mut clients = connect(&network, &server, 2, Buffers::SMALL);
    for client in &mut clients {
        client.hand_over(3 * MIB / 2);
    }
    server.process.signal(Signal::TERM);
    let read = |client: Peer| client.read_beside(Pace::per_second(1_000_000));
    let clients = all(clients.into_iter().map(read).collect());
    Stop::of(server, clients).keeps();
}

/// What gets lost may come after the quiet time; but nothing is claimed that did not come.
#[test]
fn a_network_that_loses_packets_is_not_covered_up() {
    let Some(network) = Network::new(Duration::from_millis(5)) else { return };
    let cut = ["--shutdown-timeout", "300ms"];
    for (args, count) in [(&[][..], 100_000), (&["--drain", "flush"], 100_000), (&cut, 2 * MIB)] {
        let mut server = serve(&network, args);
        let mut clients = connect(&network, &server, 10, Buffers::default());
        network.weather.loss.store(30, Ordering::Relaxed);
        for client in &mut clients {
            client.hand_over(count);
        }
        server.process.signal(Signal::TERM);
        let read = |client: Peer| client.read_beside(Pace::FAST);
        let clients = all(clients.into_iter().map(read).collect());
        network.weather.loss.store(0, Ordering::Relaxed);
        Stop::of(server, clients).claims_no_more();
    }
}
