//! Greedy peers beside modest ones: the modest wait little, and a stop ends in time.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::host::{pattern, receive_all};
use crate::support::{Client, Server};

/// Something that goes on beside the test until it is told to end.
pub struct Beside<T> {
    over: Arc<AtomicBool>,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Beside<T> {
    pub fn start(act: impl FnOnce(&AtomicBool) -> T + Send + 'static) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        Self { over, thread: thread::spawn(move || act(&told)) }
    }

    #[track_caller]
    pub fn end(self) -> T {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic beside the test")
    }
}

/// A client that sends and reads as fast as it can, and checks what comes; gives the end that it
/// sees when the server stops, or after its own half-close.
pub fn flood(address: SocketAddr) -> Beside<usize> {
    Beside::start(move |over| {
        let block = pattern(65_521);
        let mut client = Client::connect(address);
        let mut writer = client.0.try_clone().expect("a descriptor");
        let done = Arc::new(AtomicBool::new(false));
        let sender = {
            let (done, block) = (Arc::clone(&done), block.clone());
            thread::spawn(move || {
                while !done.load(Ordering::Relaxed) && writer.write_all(&block).is_ok() {}
                let _ = writer.shutdown(Shutdown::Write);
            })
        };
        let mut buffer = vec![0; block.len()];
        let mut received = 0;
        loop {
            let at = received % block.len();
            let rest = block.len() - at;
            match client.0.read(&mut buffer[..rest]).expect("an end of stream, not a reset") {
                0 => break,
                count => {
                    assert!(buffer[..count] == block[at..at + count], "other bytes came back");
                    received += count;
                }
            }
            done.fetch_or(over.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        done.store(true, Ordering::Relaxed);
        sender.join().expect("a sender");
        received
    })
}

/// Clients that take turns at a ping-pong; gives the times of the round trips.
pub fn ping(address: SocketAddr, clients: usize) -> Beside<Vec<Duration>> {
    Beside::start(move |over| {
        let mut clients: Vec<_> = (0..clients).map(|_| Client::connect(address)).collect();
        let mut times = Vec::new();
        for round in 0_u64.. {
            for client in &mut clients {
                let start = Instant::now();
                client.echo(&[round.to_be_bytes(); 8].concat());
                times.push(start.elapsed());
            }
            if over.load(Ordering::Relaxed) {
                break;
            }
        }
        times
    })
}

/// The time that 99 of 100 round trips keep below.
pub fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() * 99 / 100]
}

#[test]
fn a_flood_delays_others_by_little_and_a_stop_by_its_patience() {
    let mut server = Server::start(&["--report", "-"]);
    let address = server.address();
    let measure = |time: Duration| {
        let clients: Vec<_> = (0..4).map(|_| ping(address, 25)).collect();
        thread::sleep(time);
        p99(clients.into_iter().flat_map(Beside::end).collect())
    };
    let quiet = measure(Duration::from_millis(700));
    let floods: Vec<_> = (0..3).map(|_| flood(address)).collect();
    let loaded = measure(Duration::from_secs(2));
    println!("p99 of a round trip: {quiet:?}, {loaded:?} beside floods");
    // The machine has other work too; nobody starves.
    assert!(loaded < Duration::from_secs(1), "{quiet:?} {loaded:?}");
    server.process.signal(Signal::TERM);
    let received: usize =
        floods.into_iter().map(|flood| flood.thread.join().expect("an end")).sum();
    let outcome = server.finish().exits(0);
    // Five times the grace, and the linger time; not the budget of eight seconds.
    assert!(outcome.took < Duration::from_secs(5), "{:?}", outcome.took);
    let report = outcome.report();
    let written = report["bytes"]["written"].as_u64().expect("a number");
    assert!(written >= received as u64, "{written} {received}");
    assert_eq!(report["bytes"]["unsent"], 0);
    assert_eq!(report["connections"]["backlog_left"], 0);
}

#[test]
fn a_closed_loop_that_never_pauses_does_not_hold_a_stop() {
    for mode in ["idle", "flush"] {
        let args = ["--report", "-", "--idle-grace", "40ms", "--drain", mode];
        let mut server = Server::start(&args);
        let echoed = Arc::new(AtomicU64::new(0));
        let clients: Vec<_> = (0..8_u8)
            .map(|number| {
                let mut client = server.connect();
                let echoed = Arc::clone(&echoed);
                thread::spawn(move || {
                    // Asks at once whenever it has its answer, until there is an end instead.
                    let mut answers = 0;
                    while client.0.write_all(&[number; 64]).is_ok() {
                        let mut answer = [0; 64];
                        match client.0.read(&mut answer) {
                            Ok(64) => answers += 64,
                            Ok(0) => break,
                            other => panic!("{other:?}"),
                        }
                    }
                    echoed.fetch_add(answers, Ordering::Relaxed);
                    let (rest, end) = receive_all(&mut client.0);
                    end.expect("an end, not a reset");
                    assert_eq!(rest, b"");
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(100));
        server.process.signal(Signal::TERM);
        for client in clients {
            client.join().expect("an orderly end");
        }
        let outcome = server.finish().exits(0);
        assert!(outcome.took < Duration::from_secs(3), "{:?}", outcome.took);
        assert_eq!(outcome.report()["bytes"]["written"], echoed.load(Ordering::Relaxed));
    }
}
