//! Where to listen or connect, as the user writes it.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

/// One `--listen` value, checked for its form and not yet looked up.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub(crate) enum ListenAddress {
    /// `host:port` or `[v6]:port`.
    Tcp {
        /// A name or an address, without brackets.
        host: String,
        /// 0 lets the system choose.
        port: u16,
    },
    /// `unix:PATH`.
    Unix(PathBuf),
    /// `systemd`: all sockets that a service manager passes in.
    Systemd,
}

/// Returns the socket addresses of a name, in the resolver's order and without repeats; at least
/// one.
///
/// # Errors
///
/// If the resolver does not know the name.
pub(crate) fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut found: Vec<SocketAddr> = Vec::new();
    for address in (host, port).to_socket_addrs()? {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(found)
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Systemd => f.write_str("systemd"),
        }
    }
}

/// Parses a `--listen` value.
pub(crate) fn listen_address(text: &str) -> Result<ListenAddress, String> {
    if text == "systemd" {
        return Ok(ListenAddress::Systemd);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return match path {
            "" => Err("needs a path, such as unix:/run/netgrace.sock".to_owned()),
            _ if path.ends_with('/') => Err("names a directory; expected unix:PATH".to_owned()),
            _ => Ok(ListenAddress::Unix(path.into())),
        };
    }
    let (host, port) = host_and_port(text)?;
    Ok(ListenAddress::Tcp { host: host.to_owned(), port })
}

/// Parses an `--admin` value: as of `--listen` over TCP, or a port of this machine only.
pub(crate) fn admin_address(text: &str) -> Result<ListenAddress, String> {
    let local = format!("127.0.0.1:{text}");
    let is_port = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (host, port) = host_and_port(if is_port { &local } else { text })?;
    Ok(ListenAddress::Tcp { host: host.to_owned(), port })
}

/// Splits `host:port` or `[v6]:port`.
pub(crate) fn host_and_port(text: &str) -> Result<(&str, u16), String> {
    let (host, port) = split(text)?;
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let port = port.parse::<u16>().ok().filter(|_| digits);
    let port = port.ok_or("the port must be a number from 0 to 65535")?;
    Ok((host, port))
}

fn split(text: &str) -> Result<(&str, &str), String> {
    if text.is_empty() {
        return Err("is empty; expected host:port, such as 127.0.0.1:5388".to_owned());
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("needs a host; did you mean 127.0.0.1:{text}?"));
    }
    if let Some(bracketed) = text.strip_prefix('[') {
        return match bracketed.split_once("]:") {
            Some((host, port)) if host.contains(':') => Ok((host, port)),
            Some(_) => Err("brackets are for IPv6 addresses, such as [::1]:5388".to_owned()),
            None => Err("needs a port, such as [::1]:5388".to_owned()),
        };
    }
    match text.rsplit_once(':') {
        None => Err(format!("needs a port; did you mean {}:5388?", text.escape_debug())),
        Some(("", port)) => Err(format!(
            "needs a host: 127.0.0.1:{0} for this machine only, 0.0.0.0:{0} for all networks",
            port.escape_debug()
        )),
        Some((host, _)) if host.contains(':') => {
            Err("an IPv6 address needs brackets, such as [::1]:5388".to_owned())
        }
        Some((host, _)) if !host.bytes().all(|b| b.is_ascii_graphic()) => {
            Err("the host name has a character that no host name has".to_owned())
        }
        Some((host, port)) => Ok((host, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_written() {
        for (text, expected) in [
            ("127.0.0.1:5388", ("127.0.0.1", 5388)),
            ("[::1]:0", ("::1", 0)),
            ("[fe80::1%2]:7", ("fe80::1%2", 7)),
            ("localhost:65535", ("localhost", 65535)),
        ] {
            assert_eq!(host_and_port(text), Ok(expected));
            assert_eq!(listen_address(text).map(|address| address.to_string()), Ok(text.into()));
        }
        assert_eq!(listen_address("systemd"), Ok(ListenAddress::Systemd));
        for text in ["unix:/run/x.sock", "unix:x", "unix:a b:c"] {
            let address = ListenAddress::Unix(text[5..].into());
            assert_eq!(listen_address(text), Ok(address));
            assert_eq!(listen_address(text).map(|address| address.to_string()), Ok(text.into()));
        }
    }

    #[test]
    fn an_admin_address_may_be_a_port() {
        let shown = |text| admin_address(text).map(|address| address.to_string());
        assert_eq!(shown("9000"), Ok("127.0.0.1:9000".to_owned()));
        assert_eq!(shown("[::1]:0"), Ok("[::1]:0".to_owned()));
        for text in ["", "65536", "unix:/x", "systemd", "a"] {
            assert!(shown(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_message_names_what_was_probably_meant() {
        for (text, part) in [
            ("", "empty"),
            ("5388", "did you mean 127.0.0.1:5388?"),
            ("localhost", "did you mean localhost:5388?"),
            (":5388", "127.0.0.1:5388 for this machine only"),
            ("::1:5388", "brackets"),
            ("[::1]", "needs a port"),
            ("[::1]5388", "needs a port"),
            ("[localhost]:1", "brackets are for IPv6"),
            ("localhost:", "the port must be"),
            ("localhost:+1", "the port must be"),
            ("localhost:65536", "the port must be"),
            ("localhost:http", "the port must be"),
            ("x\ny:1", "no host name has"),
            ("x y:1", "no host name has"),
            ("unix:", "needs a path"),
            ("unix:/run/", "names a directory"),
        ] {
            let message = listen_address(text).expect_err(text);
            assert!(message.contains(part), "{text:?}: {message:?}");
        }
    }

    #[test]
    fn literal_addresses_resolve_to_themselves() {
        for (host, port) in [("127.0.0.1", 0), ("::1", 80)] {
            let found = resolve(host, port).expect(host);
            assert_eq!(found, [SocketAddr::new(host.parse().expect(host), port)]);
        }
    }
}
