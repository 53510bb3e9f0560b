//! Where connections come from: the kernel's choice, or a pool of addresses with explicit ports.
//!
//! One source address has 64 512 usable ports towards one target, and the kernel's own choice is
//! narrower still. On loopback every address of 127.0.0.0/8 can be bound without configuration.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::plan::{Part, Plan};
use super::source::Source;
use super::target::Target;

/// Above so many connections to one target the kernel's own choice of ports may run out.
const KERNEL_PORTS: usize = 28_000;

/// The source addresses of one run.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    v4: Block,
    v6: Block,
}

/// The source addresses of one family.
#[derive(Clone, Debug)]
struct Block {
    sources: Vec<Source>,
    /// All addresses, the first one that is ours, and the distance to the next one.
    addresses: u64,
    first: u64,
    stride: u64,
    first_port: u16,
    ports: u64,
    /// The first of these ports to use, counted from `first_port`.
    offset: u64,
}

impl Pool {
    /// Returns the pool to use; without one the choice is the kernel's.
    pub(super) fn choose(plan: &Plan) -> Option<Self> {
        let (low, high) = plan.source_ports.unwrap_or((1024, u16::MAX));
        let ports = (low, u64::from(high.saturating_sub(low)).saturating_add(1));
        let per_target = plan.connections.checked_div(plan.targets.len()).unwrap_or(0);
        let part = plan.part;
        let sources = if !plan.sources.is_empty() {
            plan.sources.clone()
        } else if per_target > KERNEL_PORTS && plan.targets.iter().all(is_v4_loopback) {
            let needed = u64::try_from(per_target).unwrap_or(u64::MAX);
            let count = needed.checked_div(ports.1).unwrap_or(0).saturating_add(2);
            let of = u64::try_from(part.of).unwrap_or(1);
            let count = u32::try_from(count.saturating_mul(of)).unwrap_or(65_000).min(65_000);
            let first = IpAddr::V4(Ipv4Addr::new(127, 1, 0, 1));
            vec![Source::block(first, count)]
        } else if plan.source_ports.is_some() {
            // The kernel chooses the address.
            let any = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
            any.map(|ip| Source::block(ip, 1)).to_vec()
        } else {
            return None;
        };
        let (v6, v4) = sources.into_iter().partition(Source::is_ipv6);
        Some(Self { v4: Block::new(v4, ports, part), v6: Block::new(v6, ports, part) })
    }

    /// Returns the source of the `n`-th connect: all addresses in turn, then the next port.
    pub(super) fn nth(&self, n: u64, is_v6: bool) -> Option<SocketAddr> {
        if is_v6 { self.v6.nth(n) } else { self.v4.nth(n) }
    }
}

impl Block {
    /// The part of a larger run: every `of`-th address, or where there are fewer addresses than
    /// parts, that part of the ports. Addresses of an interface are all used, since the other
    /// parts run on other machines; they begin at different ports in case they do not.
    fn new(sources: Vec<Source>, (first_port, ports): (u16, u64), part: Part) -> Self {
        let addresses = sources.iter().map(|source| u64::from(source.count())).sum();
        let index = u64::try_from(part.index).unwrap_or(0);
        let of = u64::try_from(part.of).unwrap_or(1).max(1);
        let below = |index: u64| ports.saturating_mul(index).checked_div(of).unwrap_or(0);
        let all = Self { sources, addresses, first: 0, stride: 1, first_port, ports, offset: 0 };
        if all.sources.iter().any(|source| source.is_local()) {
            return Self { offset: below(index), ..all };
        }
        if addresses >= of {
            return Self { first: index, stride: of, ..all };
        }
        let (from, to) = (below(index), below(index.saturating_add(1)));
        let first_port = first_port.saturating_add(u16::try_from(from).unwrap_or(u16::MAX));
        Self { first_port, ports: to.saturating_sub(from), ..all }
    }

    fn nth(&self, n: u64) -> Option<SocketAddr> {
        let ours = self.addresses.checked_sub(self.first)?.div_ceil(self.stride);
        let turn = n.checked_div(ours)?.saturating_add(self.offset).checked_rem(self.ports)?;
        let port = self.first_port.checked_add(u16::try_from(turn).ok()?)?;
        let index = n.checked_rem(ours)?.saturating_mul(self.stride).saturating_add(self.first);
        let mut index = u32::try_from(index).ok()?;
        for source in &self.sources {
            if index < source.count() {
                return Some(source.nth(index, port));
            }
            index = index.saturating_sub(source.count());
        }
        None
    }
}

fn is_v4_loopback(target: &Target) -> bool {
    let addresses = target.tcp_addresses();
    let is_loopback = |addr: &SocketAddr| addr.is_ipv4() && addr.ip().is_loopback();
    !addresses.is_empty() && addresses.iter().all(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(sources: &[&str], ports: (u16, u16), part: Part) -> Plan {
        let mut plan = Plan::new(Target::parse("127.0.0.1:9").unwrap());
        plan.sources = sources.iter().map(|text| text.parse().unwrap()).collect();
        (plan.source_ports, plan.part) = (Some(ports), part);
        plan
    }

    fn first(pool: &Pool, count: u64) -> Vec<String> {
        (0..count).filter_map(|n| pool.nth(n, false)).map(|addr| addr.to_string()).collect()
    }

    #[test]
    fn a_pool_goes_round_addresses_then_ports() {
        let sources = ["127.0.0.2", "127.1.0.0/30"];
        let pool = Pool::choose(&plan(&sources, (2000, 2001), Part::default())).unwrap();
        let expected = [
            "127.0.0.2:2000",
            "127.1.0.1:2000",
            "127.1.0.2:2000",
            "127.0.0.2:2001",
            "127.1.0.1:2001",
            "127.1.0.2:2001",
            "127.0.0.2:2000",
        ];
        assert_eq!(first(&pool, 7), expected);
        assert_eq!(pool.nth(0, true), None);
    }

    #[test]
    fn the_parts_of_a_run_share_addresses_or_ports_without_a_rest() {
        for (sources, ports, addresses) in
            [(&["127.1.0.0/29"][..], (2000, 2000), 6), (&["127.0.0.2"][..], (2000, 2009), 10)]
        {
            let mut all = Vec::new();
            for index in 0..4 {
                let pool = Pool::choose(&plan(sources, ports, Part { index, of: 4 })).unwrap();
                let mut own = first(&pool, 10);
                own.sort();
                own.dedup();
                all.extend(own);
            }
            all.sort();
            assert_eq!(all.len(), addresses, "{all:?}");
            all.dedup();
            assert_eq!(all.len(), addresses, "no two parts have the same source");
        }
    }

    #[test]
    fn few_connections_leave_the_choice_to_the_kernel() {
        let mut plan = Plan::new(Target::parse("127.0.0.1:9").unwrap());
        plan.connections = 20_000;
        assert!(Pool::choose(&plan).is_none());
        plan.connections = 30_000;
        assert!(Pool::choose(&plan).is_some());
    }
}
