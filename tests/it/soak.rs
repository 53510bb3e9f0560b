//! Every misbehaviour at once, for a while: `NETGRACE_SOAK=600 cargo test --release soak` makes
//! that ten minutes. At the end all is as it was at the start, and every byte is accounted for.

use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use socket2::SockRef;

use crate::flood::{Beside, flood, p99, ping};
use crate::host::{
    connect_with_receive_buffer, descriptors, fill, pattern, raise_open_files, receive_all, reset,
    resident, send_beside,
};
use crate::support::{Client, Server, wait_for};

/// Pipes that the server keeps for the next stream: two descriptors each.
const KEPT: usize = 8;

type Deed = fn(SocketAddr);

/// One visit of each kind of client. Those that expect an answer check it.
const DEEDS: [(&str, Deed); 9] = [
    ("leaves at once", |address| drop(Client::connect(address))),
    ("resets at once", |address| reset(Client::connect(address))),
    ("echoes and leaves", |address| Client::connect(address).echo(b"hello")),
    ("resets with bytes under way", |address| {
        let mut client = Client::connect(address);
        client.send(&[1; 50_000]);
        reset(client);
    }),
    ("never reads, then resets", |address| {
        let mut client = connect_with_receive_buffer(address, 4096);
        fill(&mut client, Duration::from_millis(20));
        reset(client);
    }),
    ("never reads, then leaves", |address| {
        let mut client = Client::connect(address);
        fill(&mut client, Duration::from_millis(20));
    }),
    ("half-closes and reads slowly", |address| {
        let bytes = pattern(300_000);
        let mut client = connect_with_receive_buffer(address, 8192);
        let sender = send_beside(&client, bytes.clone());
        thread::sleep(Duration::from_millis(30));
        let (received, end) = receive_all(&mut client.0);
        end.expect("an end, not a reset");
        assert!(received == bytes, "other bytes came back");
        sender.join().expect("a sender");
    }),
    ("sends an urgent byte", |address| {
        let mut client = Client::connect(address);
        client.send(b"before");
        SockRef::from(&client.0).send_out_of_band(b"!").expect("an urgent byte");
        client.send(b"after");
        client.0.shutdown(Shutdown::Write).expect("a half-close");
        assert_eq!(client.receive_to_end(), b"beforeafter");
    }),
    ("is silent for a while", |address| {
        let _client = Client::connect(address);
        thread::sleep(Duration::from_millis(200));
    }),
];

fn repeat(deed: Deed, address: SocketAddr, over: &AtomicBool) -> u64 {
    let mut count = 0;
    while !over.load(Ordering::Relaxed) {
        deed(address);
        count += 1;
    }
    count
}

#[test]
fn everything_at_once_leaves_nothing_behind() {
    raise_open_files();
    let seconds = std::env::var("NETGRACE_SOAK").map_or(6, |text| text.parse().expect("a number"));
    let args = ["--report", "-", "--max-conns", "40", "--idle-timeout", "30s", "--stats", "1m"];
    let mut server = Server::start(&args);
    let (address, pid) = (server.address(), server.process.pid());
    server.connect().echo(b"warm");
    wait_for("a quiet start", || (descriptors(pid) < 40).then_some(()));
    let (base, memory) = (descriptors(pid), resident(pid));
    let well_behaved = ping(address, 4);
    let deeds: Vec<_> = DEEDS
        .into_iter()
        .map(|(name, deed)| (name, Beside::start(move |over| repeat(deed, address, over))))
        .collect();
    let floods: Vec<_> = (0..2).map(|_| flood(address)).collect();
    let start = Instant::now();
    let mut most = 0;
    while start.elapsed() < Duration::from_secs(seconds) {
        thread::sleep(Duration::from_millis(200));
        most = most.max(resident(pid).saturating_sub(memory));
    }
    let p99 = p99(well_behaved.end());
    let flooded: usize = floods.into_iter().map(Beside::end).sum();
    for (name, deed) in deeds {
        println!("{name}: {} times", deed.end());
    }
    println!("p99 {p99:?}, {} MiB flooded, memory grew by {most} bytes at most", flooded >> 20);
    assert!(p99 < Duration::from_secs(1), "{p99:?}");
    assert!(most < 8 << 20, "{most}");
    wait_for("descriptors back to base", || (descriptors(pid) <= base + KEPT).then_some(()));
    server.process.signal(Signal::USR1);
    server.process.wait_for_stderr("running: 0 open");
    let grown = resident(pid).saturating_sub(memory);
    assert!(grown < 2 << 20, "{grown}");
    // What holds of the sums is checked by whoever reads a report.
    let report = server.stop().exits(0).report();
    assert_eq!(report["connections"]["open_at_stop"], 0);
    assert_eq!(report["bytes"]["unsent"], 0);
}
