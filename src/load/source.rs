//! Where connections come from: the kernel's choice, or a pool of addresses with explicit ports.
//!
//! One source address has 64 512 usable ports towards one target, and the kernel's own choice is
//! narrower still. On loopback every address of 127.0.0.0/8 can be bound without configuration.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use super::target::Target;
use crate::error::{Error, ErrorKind};

/// Above so many connections to one target the kernel's own choice of ports may run out.
const KERNEL_PORTS: usize = 28_000;

/// A block of source addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    first: IpAddr,
    count: u32,
}

impl FromStr for Source {
    type Err = Error;

    /// Reads `IP` or, for IPv4, `IP/PREFIX` (8 to 32).
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::new(ErrorKind::Config, format!("source '{text}': {why}"));
        let (ip, prefix) = match text.split_once('/') {
            Some((ip, prefix)) => (ip, Some(prefix)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| wrong("not an IP address"))?;
        let Some(prefix) = prefix else {
            return Ok(Self { first: ip, count: 1 });
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
        Ok(Self { first: IpAddr::V4(Ipv4Addr::from(first)), count })
    }
}

impl Source {
    fn nth(&self, n: u32) -> IpAddr {
        match self.first {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from(u32::from(v4).saturating_add(n))),
            v6 @ IpAddr::V6(_) => v6,
        }
    }
}

/// The source addresses of one run.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    sources: Vec<Source>,
    addresses: u64,
    first_port: u16,
    ports: u64,
}

impl Pool {
    /// The pool to use; none leaves the choice to the kernel.
    pub(super) fn choose(
        sources: &[Source],
        ports: (u16, u16),
        targets: &[Target],
        connections: usize,
    ) -> Option<Self> {
        let per_target = connections.checked_div(targets.len()).unwrap_or(0);
        let ports = (ports.0, u64::from(ports.1.saturating_sub(ports.0)).saturating_add(1));
        let sources = if !sources.is_empty() {
            sources.to_vec()
        } else if per_target > KERNEL_PORTS && targets.iter().all(is_v4_loopback) {
            let needed = u64::try_from(per_target).unwrap_or(u64::MAX);
            let count = needed.checked_div(ports.1).unwrap_or(0).saturating_add(2);
            let count = u32::try_from(count).unwrap_or(65_000).min(65_000);
            vec![Source { first: IpAddr::V4(Ipv4Addr::new(127, 1, 0, 1)), count }]
        } else {
            return None;
        };
        let addresses = sources.iter().map(|source| u64::from(source.count)).sum();
        Some(Self { sources, addresses, first_port: ports.0, ports: ports.1 })
    }

    /// The source of the `n`-th connect: all addresses in turn, then the next port.
    pub(super) fn nth(&self, n: u64) -> Option<SocketAddr> {
        let mut index = u32::try_from(n.checked_rem(self.addresses)?).ok()?;
        let turn = n.checked_div(self.addresses)?.checked_rem(self.ports)?;
        let port = self.first_port.checked_add(u16::try_from(turn).ok()?)?;
        for source in &self.sources {
            if index < source.count {
                return Some(SocketAddr::new(source.nth(index), port));
            }
            index = index.saturating_sub(source.count);
        }
        None
    }
}

fn is_v4_loopback(target: &Target) -> bool {
    match target {
        Target::Tcp(SocketAddr::V4(addr)) => addr.ip().is_loopback(),
        Target::Tcp(SocketAddr::V6(_)) | Target::Unix(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_goes_round_addresses_then_ports() {
        let sources = [Source::from_str("127.0.0.2").unwrap(), "127.1.0.0/30".parse().unwrap()];
        let pool = Pool::choose(&sources, (2000, 2001), &[], 6).unwrap();
        let all: Vec<_> = (0..7).filter_map(|n| pool.nth(n)).map(|a| a.to_string()).collect();
        let expected = [
            "127.0.0.2:2000",
            "127.1.0.1:2000",
            "127.1.0.2:2000",
            "127.0.0.2:2001",
            "127.1.0.1:2001",
            "127.1.0.2:2001",
            "127.0.0.2:2000",
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn few_connections_leave_the_choice_to_the_kernel() {
        let target = Target::parse("127.0.0.1:9").unwrap();
        assert!(Pool::choose(&[], (1024, 65535), &target, 20_000).is_none());
        assert!(Pool::choose(&[], (1024, 65535), &target, 30_000).is_some());
    }

    #[test]
    fn bad_sources_are_refused() {
        for text in ["localhost", "127.0.0.1/7", "127.0.0.1/33", "::1/64"] {
            assert!(Source::from_str(text).is_err(), "{text}");
        }
    }
}
