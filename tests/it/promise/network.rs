//! Two hosts with a slow network between them: two network namespaces, each with a TUN device, and
//! a thread that carries packets from one device to the other, later, or not at all.
//!
//! The namespaces have no name; they are gone with the last descriptor, socket and process in them,
//! whatever becomes of the test.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::geteuid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tappers::{AddAddressV4, Tun};

use crate::support::wait_for;

pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);

/// A host of its own.
#[derive(Debug)]
pub struct Host(File);

impl Host {
    fn new() -> io::Result<Self> {
        let mut holder = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        let path = format!("/proc/{}/ns/net", holder.id());
        let own = fs::read_link("/proc/self/ns/net")?;
        let file = wait_for("a network namespace", || match holder.try_wait() {
            Ok(None) => {
                let differs = fs::read_link(&path).is_ok_and(|link| link != own);
                differs.then(|| File::open(&path))
            }
            _ => Some(Err(io::Error::other("unshare --net cat has ended"))),
        });
        holder.kill()?;
        holder.wait()?;
        file.map(Self)
    }

    /// Runs `act` on a thread of this host. Sockets that it makes and processes that it starts
    /// belong to the host.
    #[track_caller]
    pub fn run<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let enter = || move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network));
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter().expect("a network namespace");
                act()
            });
            match thread.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Gives the host a device with this address.
    fn device(&self, address: Ipv4Addr) -> io::Result<Tun> {
        self.run(|| {
            let mut device = Tun::new()?;
            let mut request = AddAddressV4::new(address);
            request.set_netmask(24);
            device.add_addr(request)?;
            device.set_up()?;
            device.set_nonblocking(true)?;
            Ok(device)
        })
    }
}

/// What the network does to packets from now on.
#[derive(Debug, Default)]
pub struct Weather {
    /// Nothing passes.
    pub is_cut: AtomicBool,
    /// From the client only packets that begin a connection pass.
    pub passes_only_syn: AtomicBool,
    /// How many of 1000 packets get lost.
    pub loss: AtomicU32,
    is_over: AtomicBool,
}

/// The two hosts and what is between them.
#[derive(Debug)]
pub struct Network {
    pub server: Host,
    pub client: Host,
    pub weather: Arc<Weather>,
    relay: Option<JoinHandle<()>>,
}

impl Network {
    /// A network that takes `delay` one way. Says why where this machine has none to give.
    pub fn new(delay: Duration) -> Option<Self> {
        if !geteuid().is_root() {
            eprintln!("skipped: network namespaces are for root");
            return None;
        }
        match Self::try_new(delay) {
            Ok(network) => Some(network),
            Err(error) => {
                eprintln!("skipped: no network of two namespaces and TUN devices here: {error}");
                None
            }
        }
    }

    fn try_new(delay: Duration) -> io::Result<Self> {
        let (server, client) = (Host::new()?, Host::new()?);
        let devices = [server.device(SERVER)?, client.device(CLIENT)?];
        let weather = Arc::new(Weather::default());
        let relay = Relay {
            devices,
            delay,
            weather: Arc::clone(&weather),
            on_their_way: [VecDeque::new(), VecDeque::new()],
            random: 1,
        };
        let relay = Some(thread::spawn(move || relay.run()));
        Ok(Self { server, client, weather, relay })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.weather.is_over.store(true, Ordering::Relaxed);
        if let Some(relay) = self.relay.take() {
            let _ = relay.join();
        }
    }
}

/// Carries packets: device 0 is the server's.
struct Relay {
    devices: [Tun; 2],
    delay: Duration,
    weather: Arc<Weather>,
    /// Packets from each device, and when they arrive at the other.
    on_their_way: [VecDeque<(Instant, Vec<u8>)>; 2],
    random: u32,
}

impl Relay {
    fn run(mut self) {
        let mut buffer = vec![0; 65_536];
        while !self.weather.is_over.load(Ordering::Relaxed) {
            self.wait();
            for from in [0, 1] {
                self.take(from, &mut buffer);
            }
            for from in [0, 1] {
                self.deliver(from);
            }
        }
    }

    /// Until a packet is there or due.
    fn wait(&self) {
        let due = self.on_their_way.iter().filter_map(|queue| Some(queue.front()?.0)).min();
        let wait = due.map(|due| due.saturating_duration_since(Instant::now()));
        let wait = wait.unwrap_or(Duration::MAX).min(Duration::from_millis(20));
        let wait = Timespec::try_from(wait).expect("a short time");
        let mut descriptors =
            self.devices.each_ref().map(|device| PollFd::new(device, PollFlags::IN));
        let _ = poll(&mut descriptors, Some(&wait));
    }

    fn take(&mut self, from: usize, buffer: &mut [u8]) {
        for _ in 0..256 {
            let Ok(length) = self.devices[from].recv(buffer) else { return };
            let packet = &buffer[..length];
            if self.passes(from, packet) {
                let due = Instant::now() + self.delay;
                self.on_their_way[from].push_back((due, packet.to_vec()));
            }
        }
    }

    fn deliver(&mut self, from: usize) {
        let now = Instant::now();
        while self.on_their_way[from].front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, packet)) = self.on_their_way[from].pop_front() {
                let _ = self.devices[1 - from].send(&packet);
            }
        }
    }

    fn passes(&mut self, from: usize, packet: &[u8]) -> bool {
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let is_lost = self.random / 65_536 % 1000 < self.weather.loss.load(Ordering::Relaxed);
        let is_held = from == 1
            && self.weather.passes_only_syn.load(Ordering::Relaxed)
            && !begins_connection(packet);
        !(is_lost || is_held || self.weather.is_cut.load(Ordering::Relaxed))
    }
}

/// Whether a packet is an IPv4 one with a TCP segment that has SYN and no ACK.
fn begins_connection(packet: &[u8]) -> bool {
    let header = packet.first().map_or(0, |first| usize::from(first & 15) * 4);
    let is_tcp = packet.first().is_some_and(|first| first >> 4 == 4) && packet.get(9) == Some(&6);
    is_tcp && packet.get(header + 13).is_some_and(|flags| flags & 0x12 == 0x02)
}
