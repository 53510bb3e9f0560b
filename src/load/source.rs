//! The addresses that connections come from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::str::FromStr;

use crate::error::{Error, ErrorKind};

/// A block of source addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    first: IpAddr,
    /// The interface of a link-local IPv6 address.
    zone: u32,
    count: u32,
    /// An address of an interface of this machine: other workers have addresses of their own.
    is_local: bool,
}

impl FromStr for Source {
    type Err = Error;

    /// Reads `IP`, `IPV6%ZONE` or, for IPv4, `IP/PREFIX` (8 to 32).
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::new(ErrorKind::Config, format!("source '{text}': {why}"));
        let (ip, prefix) = match text.split_once('/') {
            Some((ip, prefix)) => (ip, Some(prefix)),
            None => (text, None),
        };
        let (ip, zone) = match ip.split_once('%') {
            Some((bare, _)) => (bare, zone_of(ip).ok_or_else(|| wrong("no such interface"))?),
            None => (ip, 0),
        };
        let ip: IpAddr = ip.parse().map_err(|_| wrong("not an IP address"))?;
        let ip = ip.to_canonical();
        if matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()) && zone == 0 {
            let example = format!("a link-local address needs its interface, such as {ip}%eth0");
            return Err(wrong(&example));
        }
        let Some(prefix) = prefix else {
            return Ok(Self { first: ip, zone, count: 1, is_local: false });
        };
        let IpAddr::V4(v4) = ip else {
            return Err(wrong("a block must be IPv4"));
        };
        let prefix = u32::from_str(prefix).ok().filter(|bits| (8..=32).contains(bits));
        let prefix = prefix.ok_or_else(|| wrong("the prefix must be 8 to 32"))?;
        let count = 1_u32.checked_shl(32_u32.saturating_sub(prefix)).unwrap_or(1);
        let first = u32::from(v4) & !count.saturating_sub(1);
        let (first, count) = if count > 2 {
            (first.saturating_add(1), count.saturating_sub(2))
        } else {
            (first, count)
        };
        Ok(Self { first: IpAddr::V4(Ipv4Addr::from(first)), zone: 0, count, is_local: false })
    }
}

/// Returns the number of the interface that `address` names after its percent sign.
fn zone_of(address: &str) -> Option<u32> {
    let mut found = (address, 0).to_socket_addrs().ok()?;
    match found.next()? {
        SocketAddr::V6(v6) => Some(v6.scope_id()).filter(|zone| *zone > 0),
        SocketAddr::V4(_) => None,
    }
}

impl Source {
    /// One address of an interface of this machine, with the interface's number.
    #[must_use]
    pub fn of_interface(address: IpAddr, interface: u32) -> Self {
        Self { first: address, zone: interface, count: 1, is_local: true }
    }

    /// Whether the addresses are of IPv6.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        self.first.is_ipv6()
    }

    /// Returns how many addresses there are.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn is_local(&self) -> bool {
        self.is_local
    }

    /// Returns the first `count` addresses from `first` on.
    pub(super) fn block(first: IpAddr, count: u32) -> Self {
        Self { first, zone: 0, count, is_local: false }
    }

    pub(super) fn nth(&self, n: u32, port: u16) -> SocketAddr {
        match self.first {
            IpAddr::V4(v4) => {
                let ip = Ipv4Addr::from(u32::from(v4).saturating_add(n));
                SocketAddr::new(IpAddr::V4(ip), port)
            }
            IpAddr::V6(v6) => {
                let zone = if v6.is_unicast_link_local() { self.zone } else { 0 };
                SocketAddr::V6(SocketAddrV6::new(v6, port, 0, zone))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_sources_are_refused() {
        for text in
            ["localhost", "127.0.0.1/7", "127.0.0.1/33", "::1/64", "fe80::1", "fe80::1%none"]
        {
            assert!(Source::from_str(text).is_err(), "{text}");
        }
    }
}
