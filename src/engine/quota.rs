//! How many connections each address has, for addresses that have any.

use slab::Slab;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

/// The owner of a connection that no quota counts.
pub(crate) const UNCOUNTED: u32 = u32::MAX;

/// One address's share. IPv6 hosts choose within their /64, so that is what counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl Key {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.octets()),
            IpAddr::V6(v6) => Self::V6(prefix(v6)),
        }
    }
}

fn prefix(address: Ipv6Addr) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = address.octets();
    [a, b, c, d, e, f, g, h]
}

/// Counts by address; its size is bounded by the connections that are open.
#[derive(Debug)]
pub(crate) struct Quota {
    most: Option<u32>,
    owners: HashMap<Key, u32>,
    shares: Slab<(Key, u32)>,
}

impl Quota {
    pub(crate) fn new(most: Option<usize>) -> Self {
        let most = most.map(|most| u32::try_from(most).unwrap_or(u32::MAX));
        Self { most, owners: HashMap::new(), shares: Slab::new() }
    }

    /// Counts one more for `address`; `None` when it has its share already.
    pub(crate) fn reserve(&mut self, address: Option<IpAddr>) -> Option<u32> {
        let (Some(most), Some(address)) = (self.most, address) else {
            return Some(UNCOUNTED);
        };
        let key = Key::of(address);
        if let Some(owner) = self.owners.get(&key) {
            let (_, count) = self.shares.get_mut(*owner as usize)?;
            if *count >= most {
                return None;
            }
            *count = count.saturating_add(1);
            return Some(*owner);
        }
        let owner = u32::try_from(self.shares.insert((key, 1))).ok()?;
        self.owners.insert(key, owner);
        Some(owner)
    }

    /// Whether no address has a connection.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.owners.is_empty() && self.shares.is_empty()
    }

    /// Counts one less for an owner that `reserve` gave.
    pub(crate) fn release(&mut self, owner: u32) {
        let Some((key, count)) = self.shares.get_mut(owner as usize) else {
            return;
        };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.owners.remove(key);
            self.shares.try_remove(owner as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn an_address_has_its_share_and_no_more() {
        let mut quota = Quota::new(Some(2));
        let first = quota.reserve(ip("127.0.0.2")).unwrap();
        assert_eq!(quota.reserve(ip("::ffff:127.0.0.2")), Some(first));
        assert_eq!(quota.reserve(ip("127.0.0.2")), None);
        assert_ne!(quota.reserve(ip("127.0.0.3")), None);
        quota.release(first);
        assert_eq!(quota.reserve(ip("127.0.0.2")), Some(first));
    }

    #[test]
    fn ipv6_counts_by_its_first_64_bits() {
        let mut quota = Quota::new(Some(1));
        assert_ne!(quota.reserve(ip("2001:db8::1")), None);
        assert_eq!(quota.reserve(ip("2001:db8::2")), None);
        assert_ne!(quota.reserve(ip("2001:db8:0:1::1")), None);
    }

    #[test]
    fn nothing_is_kept_of_an_address_without_connections() {
        let mut quota = Quota::new(Some(1));
        for round in 0..100 {
            let owner = quota.reserve(Some(IpAddr::from([127, 0, 1, round]))).unwrap();
            quota.release(owner);
        }
        assert!(quota.shares.is_empty() && quota.owners.is_empty());
        assert_eq!(Quota::new(None).reserve(ip("127.0.0.2")), Some(UNCOUNTED));
    }
}
