//! TLS around any protocol: `Tls<P>` decrypts what comes for `P` and encrypts what `P` puts. A stop
//! keeps its promise through it: each answer that is due goes out whole, then close_notify, then
//! the FIN. Here around the echo or HTTP, with a certificate that is made at the start.
//!
//! `cargo run --example tls [ADDRESS [echo|http]]`, then `openssl s_client -connect 127.0.0.1:5388`
//! or `curl -k https://127.0.0.1:5388/`; Enter stops it.

#![allow(clippy::arithmetic_side_effects)]

mod connection;
mod wrapper;

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;

use netgrace::protocol::{Http, Protocol, Repeat};
use netgrace::{Config, EventLoop, Grade, Report, Server, ShutdownHandle};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub(crate) use self::wrapper::Tls;

/// Returns a configuration with a certificate for `localhost` that nobody signed, and that
/// certificate.
pub(crate) fn self_signed() -> Result<(ServerConfig, CertificateDer<'static>), Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)?;
    Ok((config, certificate))
}

/// What a run came to.
pub(crate) struct Outcome {
    pub(crate) report: Report,
    /// See [`Tls::truncated`].
    pub(crate) truncated: u64,
}

/// Serves until the stop is over.
pub(crate) fn serve<P: Protocol>(
    protocol: Tls<P>,
    address: SocketAddr,
    config: Config,
    on_start: impl FnOnce(SocketAddr, ShutdownHandle),
) -> Result<Outcome, Box<dyn Error>> {
    let mut server = Server::serving(protocol, config)?;
    server.listen(address)?;
    let address = server.local_addr().ok_or("no address")?;
    let mut event_loop = EventLoop::new(server)?;
    on_start(address, event_loop.shutdown_handle());
    let report = event_loop.run();
    Ok(Outcome { report, truncated: event_loop.server().protocol().truncated() })
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:5388".to_owned()).parse()?;
    let inner = args.next().unwrap_or_else(|| "echo".to_owned());
    let (tls, _) = self_signed()?;
    let config = Config::new().max_connections(1000);
    let name = inner.clone();
    let on_start = move |address, handle: ShutdownHandle| {
        println!("{name} on {address}");
        thread::spawn(move || {
            io::stdin().read_line(&mut String::new()).ok();
            handle.begin_shutdown();
        });
    };
    let outcome = match inner.as_str() {
        "echo" => serve(Tls::new(Repeat, tls)?, address, config, on_start)?,
        "http" => serve(Tls::new(Http::new(), tls)?, address, config, on_start)?,
        other => return Err(format!("{other:?}: expected echo or http").into()),
    };
    println!("{}\n{} cut off without close_notify", outcome.report, outcome.truncated);
    Ok(outcome.report.exit_code(Grade::Lossless).into())
}
