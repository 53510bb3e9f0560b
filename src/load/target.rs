//! Where the load goes.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::error::{Error, ErrorKind};

/// The most ports that one target may span.
const PORTS_MAX: u16 = 10_000;

/// Something to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A host name and all its addresses, IPv4 first; each is tried until one accepts.
    Name(String, Vec<SocketAddr>),
    /// The path of a Unix stream socket; `@NAME` is NAME in the abstract namespace (Linux).
    Unix(PathBuf),
}

/// One address of a [`Target`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Address<'t> {
    Tcp(SocketAddr),
    Unix(&'t Path),
}

impl Target {
    /// Reads `host:port`, `[v6]:port`, `host:first-last` (one target a port), `unix:PATH` or
    /// `unix:@NAME`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) with the text and what is wrong with it.
    /// If it is well-formed and its host name has no address, the error has a
    /// [`source`](std::error::Error::source).
    pub fn parse(text: &str) -> Result<Vec<Self>, Error> {
        let refuse = |why: String| Error::new(ErrorKind::Config, format!("target '{text}': {why}"));
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() || path == "@" {
                return Err(refuse("the path is missing".to_owned()));
            }
            if path.starts_with('@') && cfg!(not(target_os = "linux")) {
                return Err(refuse("abstract sockets exist on Linux only".to_owned()));
            }
            return Ok(vec![Self::Unix(PathBuf::from(path))]);
        }
        let Some((host, ports)) = text.rsplit_once(':') else {
            return Err(refuse("no port; write HOST:PORT".to_owned()));
        };
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let port = |digits: &str| {
            let port = u16::from_str(digits).ok().filter(|port| *port > 0);
            port.ok_or_else(|| refuse(format!("'{digits}' is not a port (1 to 65535)")))
        };
        let (first, last) = (port(first)?, port(last)?);
        if last < first || last.saturating_sub(first) >= PORTS_MAX {
            let most = format!("1 to {PORTS_MAX} ports, the lower one first");
            return Err(refuse(format!("a range spans {most}")));
        }
        let host = if host.is_empty() { "127.0.0.1" } else { host };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let bare = bare.unwrap_or(host);
        let found = resolve(bare)
            .map_err(|error| Error::io(ErrorKind::Config, format!("target '{text}'"), error))?;
        if found.iter().any(needs_zone) {
            return Err(refuse(format!(
                "a link-local address needs the name of its interface, such as \
                 [{bare}%eth0]:{first}"
            )));
        }
        let at = |port: u16| {
            let mut addresses = found.clone();
            addresses.iter_mut().for_each(|address| address.set_port(port));
            match addresses.as_slice() {
                [only] => Self::Tcp(*only),
                _ => Self::Name(format!("{host}:{port}"), addresses),
            }
        };
        Ok((first..=last).map(at).collect())
    }

    /// Whether connections to this target stay on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Tcp(addr) => addr.ip().is_loopback(),
            Self::Name(_, addresses) => addresses.iter().all(|addr| addr.ip().is_loopback()),
            Self::Unix(_) => true,
        }
    }

    /// Connects and closes again: whether a server accepts connections at one of the addresses.
    #[must_use]
    pub fn accepts(&self) -> bool {
        let within = Duration::from_secs(1);
        let answers = |addr: &SocketAddr| {
            // On loopback a connect to a free port of the ephemeral range can meet itself.
            TcpStream::connect_timeout(addr, within)
                .is_ok_and(|stream| stream.local_addr().ok() != stream.peer_addr().ok())
        };
        match self {
            Self::Unix(path) => connect_unix(path).is_ok(),
            Self::Tcp(_) | Self::Name(..) => self.tcp_addresses().iter().any(answers),
        }
    }

    /// How many addresses there are to try.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Tcp(_) | Self::Unix(_) => 1,
            Self::Name(_, addresses) => addresses.len().max(1),
        }
    }

    /// Returns the address with this number; the numbers start again after the last.
    pub(super) fn address(&self, number: usize) -> Option<Address<'_>> {
        match self {
            Self::Tcp(addr) => Some(Address::Tcp(*addr)),
            Self::Name(_, addresses) => {
                let number = number.checked_rem(addresses.len())?;
                addresses.get(number).copied().map(Address::Tcp)
            }
            Self::Unix(path) => Some(Address::Unix(path)),
        }
    }

    /// All TCP addresses.
    pub(super) fn tcp_addresses(&self) -> &[SocketAddr] {
        match self {
            Self::Tcp(addr) => std::slice::from_ref(addr),
            Self::Name(_, addresses) => addresses,
            Self::Unix(_) => &[],
        }
    }
}

/// Returns the addresses of a name without repeats, those of IPv4 first; at least one.
fn resolve(host: &str) -> io::Result<Vec<SocketAddr>> {
    let mut found: Vec<SocketAddr> = Vec::new();
    for address in (host, 0).to_socket_addrs()? {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found.sort_by_key(SocketAddr::is_ipv6);
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(found)
}

#[cfg(target_os = "linux")]
fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    match path.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => {
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            UnixStream::connect_addr(&address)
        }
        None => UnixStream::connect(path),
    }
}

#[cfg(not(target_os = "linux"))]
fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path)
}

/// A link-local IPv6 address is only complete with an interface.
fn needs_zone(address: &SocketAddr) -> bool {
    match address {
        SocketAddr::V6(v6) => v6.ip().is_unicast_link_local() && v6.scope_id() == 0,
        SocketAddr::V4(_) => false,
    }
}

impl From<SocketAddr> for Target {
    fn from(addr: SocketAddr) -> Self {
        Self::Tcp(addr)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Name(name, _) => f.write_str(name),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        Target::parse(text).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_ranges_and_paths_are_read() {
        assert_eq!(shown("127.0.0.1:5388"), ["127.0.0.1:5388"]);
        assert_eq!(shown(":5388"), ["127.0.0.1:5388"]);
        assert_eq!(shown("[::1]:80"), ["[::1]:80"]);
        assert_eq!(shown("127.0.0.1:7000-7002").len(), 3);
        assert_eq!(shown("unix:/run/echo"), ["unix:/run/echo"]);
        assert_eq!(shown("unix:@echo"), ["unix:@echo"]);
    }

    #[test]
    fn a_link_local_address_needs_its_interface() {
        let error = Target::parse("[fe80::1]:7000").unwrap_err();
        assert!(error.to_string().contains("such as [fe80::1%eth0]:7000"), "{error}");
    }

    #[test]
    fn nonsense_is_refused_with_its_text() {
        for text in
            ["", "nowhere", "127.0.0.1:0", "127.0.0.1:9-8", "127.0.0.1:x", "unix:", "unix:@"]
        {
            let error = Target::parse(text).unwrap_err();
            assert!(error.to_string().contains(&format!("'{text}'")), "{error}");
        }
    }
}
