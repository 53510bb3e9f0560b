//! Where the load goes.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, ErrorKind};

/// The most ports that one target may span.
const PORTS_MAX: u16 = 10_000;

/// One address to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a Unix stream socket.
    Unix(PathBuf),
}

impl Target {
    /// Reads `host:port`, `[v6]:port`, `host:first-last` (one target a port) or `unix:PATH`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) with the text and what is wrong with it.
    pub fn parse(text: &str) -> Result<Vec<Self>, Error> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!("target '{text}': the path is missing"),
                ));
            }
            return Ok(vec![Self::Unix(PathBuf::from(path))]);
        }
        let Some((host, ports)) = text.rsplit_once(':') else {
            return Err(Error::new(
                ErrorKind::Config,
                format!("target '{text}': no port; write HOST:PORT"),
            ));
        };
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let port = |digits: &str| {
            u16::from_str(digits).ok().filter(|port| *port > 0).ok_or_else(|| {
                Error::new(
                    ErrorKind::Config,
                    format!("target '{text}': '{digits}' is not a port (1 to 65535)"),
                )
            })
        };
        let (first, last) = (port(first)?, port(last)?);
        if last < first || last.saturating_sub(first) >= PORTS_MAX {
            let most = format!("1 to {PORTS_MAX} ports, the lower one first");
            return Err(Error::new(
                ErrorKind::Config,
                format!("target '{text}': a range spans {most}"),
            ));
        }
        (first..=last).map(|port| resolve(text, host, port).map(Self::Tcp)).collect()
    }

    /// Whether connections to this target stay on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Tcp(addr) => addr.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

fn resolve(text: &str, host: &str, port: u16) -> Result<SocketAddr, Error> {
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let mut found = (bare, port)
        .to_socket_addrs()
        .map_err(|error| Error::new(ErrorKind::Config, format!("target '{text}': {error}")))?
        .collect::<Vec<_>>();
    // A name like localhost gives both families; servers on loopback mostly listen on IPv4 alone.
    found.sort_by_key(SocketAddr::is_ipv6);
    let none =
        || Error::new(ErrorKind::Config, format!("target '{text}': the name has no address"));
    found.into_iter().next().ok_or_else(none)
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
    }

    #[test]
    fn nonsense_is_refused_with_its_text() {
        for text in ["", "nowhere", "127.0.0.1:0", "127.0.0.1:9-8", "127.0.0.1:x", "unix:"] {
            let error = Target::parse(text).unwrap_err();
            assert!(error.to_string().contains(&format!("'{text}'")), "{error}");
        }
    }
}
