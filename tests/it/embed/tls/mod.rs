//! The example `tls`: a stop seen through records, alerts and certificates.

mod client;
mod stop;
mod talk;

#[path = "../../../examples/tls/main.rs"]
#[expect(dead_code, reason = "its main")]
mod example;

use std::net::SocketAddr;
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};

use netgrace::protocol::Protocol;
use netgrace::{Config, ShutdownHandle};

use self::client::{TlsClient, Trust};
use self::example::{Outcome, Tls};
use super::support::{DEADLINE, loopback};

/// A server that speaks TLS, in a thread.
struct Running {
    address: SocketAddr,
    handle: ShutdownHandle,
    trust: Trust,
    thread: JoinHandle<Outcome>,
}

impl Running {
    fn start<P: Protocol + Send + 'static>(inner: P) -> Self {
        Self::with(inner, Config::new())
    }

    fn with<P: Protocol + Send + 'static>(inner: P, config: Config) -> Self {
        let (tls, certificate) = example::self_signed().unwrap();
        let (sender, started) = channel();
        let thread = thread::spawn(move || {
            let tls = Tls::new(inner, tls).unwrap();
            let tell = move |address, handle| sender.send((address, handle)).unwrap();
            example::serve(tls, loopback(), config, tell).unwrap()
        });
        let (address, handle) = started.recv_timeout(DEADLINE).unwrap();
        Self { address, handle, trust: Trust::new(certificate), thread }
    }

    fn connect(&self) -> TlsClient {
        TlsClient::connect(self.address, &self.trust)
    }

    fn finish(self) -> Outcome {
        self.thread.join().unwrap()
    }

    fn stop(self) -> Outcome {
        self.handle.begin_shutdown();
        self.finish()
    }
}
