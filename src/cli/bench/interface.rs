//! The source addresses that flags name, those of interfaces among them.

use std::net::IpAddr;

use netgrace::load::Source;

use super::value::SourceFlag;

/// Looks up the addresses of interfaces.
pub(crate) fn sources(flags: &[SourceFlag]) -> Result<Vec<Source>, String> {
    let mut sources = Vec::new();
    for flag in flags {
        match flag {
            SourceFlag::Addresses(source) => sources.push(*source),
            SourceFlag::Interface(name) => sources.extend(addresses_of(name)?),
        }
    }
    Ok(sources)
}

fn addresses_of(name: &str) -> Result<Vec<Source>, String> {
    let all = nix::ifaddrs::getifaddrs();
    let all = all.map_err(|error| format!("--source {name}: cannot list addresses: {error}"))?;
    let mut found = Vec::new();
    let mut known = Vec::new();
    for interface in all {
        if interface.interface_name != name {
            known.push(interface.interface_name);
            continue;
        }
        let Some(address) = interface.address else { continue };
        if let Some(v4) = address.as_sockaddr_in() {
            found.push(Source::of_interface(IpAddr::V4(v4.ip()), 0));
        } else if let Some(v6) = address.as_sockaddr_in6() {
            found.push(Source::of_interface(IpAddr::V6(v6.ip()), v6.scope_id()));
        }
    }
    known.sort();
    known.dedup();
    if found.is_empty() {
        let known = known.join(", ");
        return Err(format!("--source {name}: no interface with an address; others: {known}"));
    }
    Ok(found)
}
