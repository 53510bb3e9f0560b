//! Where to listen or connect, as the user writes it.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
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
    /// `unix:@NAME`, without the `@`: a name in the abstract namespace of Linux.
    Abstract(String),
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
    let loopbacks = [
        SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
    ];
    // Whatever the resolver knows of it (RFC 6761, section 6.3).
    let own = if host.eq_ignore_ascii_case("localhost") { &loopbacks[..] } else { &[] };
    let known = match (host, port).to_socket_addrs() {
        Err(error) if own.is_empty() => return Err(error),
        known => known.into_iter().flatten(),
    };
    for address in known.chain(own.iter().copied()) {
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
            Self::Abstract(name) => write!(f, "unix:@{name}"),
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
            "@" => Err("needs a name, such as unix:@netgrace".to_owned()),
            _ if path.starts_with('@') => abstract_name(path.strip_prefix('@').unwrap_or(path)),
            _ if path.ends_with('/') => Err("names a directory; expected unix:PATH".to_owned()),
            _ => Ok(ListenAddress::Unix(path.into())),
        };
    }
    tcp_address(text)
}

fn tcp_address(text: &str) -> Result<ListenAddress, String> {
    let (host, port) = host_and_port(text)?;
    check_can_be_bound(host, port)?;
    Ok(ListenAddress::Tcp { host: host.to_owned(), port })
}

/// Refuses addresses that no socket can be bound to, which the kernel does with EINVAL alone.
fn check_can_be_bound(host: &str, port: u16) -> Result<(), String> {
    if let Some((ip, _)) = host.split_once('%')
        && let Ok(ip) = ip.parse::<Ipv6Addr>()
        && !ip.is_unicast_link_local()
    {
        return Err(format!(
            "has a network interface, which only link-local addresses need: [{ip}]:{port}"
        ));
    }
    if host == "*" {
        return Err(format!("is no address: write 0.0.0.0:{port} or [::]:{port} for all networks"));
    }
    let Ok(ip) = host.parse::<IpAddr>() else {
        return Ok(());
    };
    if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err("is the address of a group: TCP can only listen on one of an interface".into());
    }
    match ip {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => {
            Err(format!("is link-local: add the network interface, such as [{ip}%eth0]:{port}"))
        }
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => Err(format!("is an IPv4 address (mapped into IPv6): write {ip}:{port}")),
            None => Ok(()),
        },
        IpAddr::V4(_) => Ok(()),
    }
}

fn abstract_name(name: &str) -> Result<ListenAddress, String> {
    if cfg!(any(target_os = "linux", target_os = "android")) {
        Ok(ListenAddress::Abstract(name.to_owned()))
    } else {
        Err("names an abstract socket, which exists on Linux only; unix:./@NAME is a file".into())
    }
}

/// Parses an `--admin` value: as of `--listen` over TCP, or a port of this machine only.
pub(crate) fn admin_address(text: &str) -> Result<ListenAddress, String> {
    let local = format!("127.0.0.1:{text}");
    let is_port = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    tcp_address(if is_port { &local } else { text })
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
    if let Some((scheme, rest)) = text.split_once("://") {
        let rest = rest.trim_end_matches('/').escape_debug();
        let scheme = scheme.escape_debug();
        return Err(format!("is a URL; without {scheme}:// it is {rest}"));
    }
    if text.starts_with(['/', '.']) {
        return Err(format!("needs a prefix; did you mean unix:{}?", text.escape_debug()));
    }
    if text.contains(',') {
        return Err("has a comma; repeat the flag for a further address".to_owned());
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
        let address = ListenAddress::Abstract("@a b".to_owned());
        assert_eq!(listen_address("unix:@@a b"), Ok(address));
        let file = ListenAddress::Unix("./@a".into());
        assert_eq!(listen_address("unix:./@a"), Ok(file));
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
            ("unix:@", "needs a name"),
            ("/run/x.sock", "did you mean unix:/run/x.sock?"),
            ("./x.sock", "did you mean unix:./x.sock?"),
            ("http://127.0.0.1:7/", "without http:// it is 127.0.0.1:7"),
            ("127.0.0.1:7,127.0.0.1:8", "comma"),
            ("[::1%lo]:7", "only link-local"),
            ("*:7", "write 0.0.0.0:7 or [::]:7"),
            ("[fe80::1]:7", "such as [fe80::1%eth0]:7"),
            ("[::ffff:127.0.0.1]:7", "write 127.0.0.1:7"),
            ("[ff02::1]:7", "group"),
            ("224.0.0.1:7", "group"),
            ("255.255.255.255:7", "group"),
        ] {
            let message = listen_address(text).expect_err(text);
            assert!(message.contains(part), "{text:?}: {message:?}");
        }
    }

    #[test]
    fn localhost_is_both_loopbacks() {
        for name in ["localhost", "LOCALHOST"] {
            let found = resolve(name, 7).expect("known");
            for address in ["127.0.0.1:7", "[::1]:7"] {
                let address = address.parse().expect("an address");
                let times = found.iter().filter(|found| **found == address).count();
                assert_eq!(times, 1, "{found:?}");
            }
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
