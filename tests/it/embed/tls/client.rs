//! A client of TLS that sees how the server ends a connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use super::super::support::DEADLINE;

/// Clients that trust one certificate.
#[derive(Clone)]
pub struct Trust(Arc<RootCertStore>);

impl Trust {
    pub fn new(certificate: CertificateDer<'static>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        Self(Arc::new(roots))
    }

    pub fn connection(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConnection {
        let config = ClientConfig::builder_with_protocol_versions(versions)
            .with_root_certificates(Arc::clone(&self.0))
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        ClientConnection::new(Arc::new(config), name).unwrap()
    }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// How the server ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By close_notify and a FIN.
    Whole,
    /// By a FIN alone, as anybody on the way could have done.
    Truncated,
    /// By a reset.
    Reset,
}

pub struct TlsClient(pub StreamOwned<ClientConnection, TcpStream>);

impl TlsClient {
    /// Connects and completes the handshake.
    pub fn connect(address: SocketAddr, trust: &Trust) -> Self {
        Self::connect_with(address, trust, rustls::ALL_VERSIONS)
    }

    pub fn connect_with(
        address: SocketAddr,
        trust: &Trust,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let mut client = Self(StreamOwned::new(trust.connection(versions), connect(address)));
        while client.0.conn.is_handshaking() {
            client.0.conn.complete_io(&mut client.0.sock).unwrap();
        }
        client
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
        self.0.flush().unwrap();
    }

    pub fn receive(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    pub fn echo(&mut self, bytes: &[u8]) {
        self.send(bytes);
        assert!(self.receive(bytes.len()) == bytes, "other bytes came back");
    }

    /// Sends close_notify; the connection stays open for the answer.
    pub fn say_end(&mut self) {
        self.0.conn.send_close_notify();
        self.0.flush().unwrap();
    }

    /// Returns what comes until the end, and how that is.
    pub fn rest(mut self) -> (Vec<u8>, End) {
        let mut bytes = Vec::new();
        let ended = self.0.read_to_end(&mut bytes);
        let end = match ended.map_err(|error| error.kind()) {
            Ok(_) => match self.0.sock.read(&mut [0; 16]) {
                Ok(0) => End::Whole,
                Ok(count) => panic!("{count} bytes after close_notify"),
                Err(error) => panic!("no FIN after close_notify: {error}"),
            },
            Err(io::ErrorKind::UnexpectedEof) => End::Truncated,
            Err(io::ErrorKind::ConnectionReset) => End::Reset,
            Err(kind) => panic!("{kind}"),
        };
        (bytes, end)
    }

    /// Checks that nothing but an orderly end comes.
    pub fn sees_the_end(self) {
        let (bytes, end) = self.rest();
        assert_eq!((String::from_utf8_lossy(&bytes).as_ref(), end), ("", End::Whole));
    }
}
