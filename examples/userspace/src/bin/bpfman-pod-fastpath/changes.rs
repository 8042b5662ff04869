use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::IpAddr;

use anyhow::Result;
use bpfman_client::MapAccess;
use bpfman_examples::count::Count;
use bpfman_examples::failure::Failure;
use bpfman_examples::prefix::Prefix;
use bpfman_examples::source::MapSource;

use crate::host::{Host, Mac};
use crate::interfaces;
use crate::table::{Origin, Table, Target, whole};

pub fn add(
    maps: &MapSource,
    prefix: Prefix,
    interface: &str,
    mac: Option<Mac>,
    takes_frames: bool,
) -> Result<()> {
    if let Prefix::V6(address, length @ 96..) = prefix
        && let Some(mapped) = address.to_ipv4_mapped()
    {
        let hint = format!("write it as {}", Prefix::V4(mapped, length - 96));
        return Err(Failure::invalid(format!("{prefix} stands for IPv4"), hint).into());
    }
    let host = Host::read()?;
    let mut told = BTreeMap::new();
    let target = match address_of(prefix) {
        Some(address) => {
            let pod = pod(&host, address, interface, mac, Origin::Added)?;
            told.insert(pod.interface, takes_frames);
            pod
        }
        None if takes_frames => {
            return Err(Failure::invalid(
                "packets to a network are not sent as frames",
                "`--takes-frames` is for pods",
            )
            .into());
        }
        None if mac.is_some() => {
            return Err(Failure::invalid(
                "a network has no MAC address",
                "the kernel looks it up for each next hop",
            )
            .into());
        }
        None => {
            let index = host.interface(interface)?.index;
            Target { interface: index, origin: Origin::Added, macs: None, sent: Count::default() }
        }
    };
    let mut table = Table::open(maps, MapAccess::Write)?;
    interfaces::write(maps, &host, &told)?;
    table.set(prefix, target)
}

/// Synchronizes pods with the routes, except entries that were added by hand. `takes_frames`: the peers of all
/// pods' interfaces accept frames. `left` has the addresses left to the stack, which are not reported again.
pub fn sync(
    maps: &MapSource,
    out: &mut impl Write,
    takes_frames: bool,
    left: &mut BTreeSet<IpAddr>,
) -> Result<()> {
    let host = Host::read()?;
    let mut table = Table::open(maps, MapAccess::Write)?;
    let known = table.read()?;
    let routes = host.routes_to_peers();
    let ends = routes.iter().filter(|_| takes_frames).map(|route| host.interface(&route.interface));
    let told = ends.map(|end| end.map(|end| (end.index, true))).collect::<Result<_>>()?;
    interfaces::write(maps, &host, &told)?;
    let told_before = std::mem::take(left);
    for route in &routes {
        let prefix = whole(route.address);
        let old = known.iter().find(|(one, _)| *one == prefix).map(|(_, target)| *target);
        if old.is_some_and(|old| old.origin == Origin::Added) {
            continue;
        }
        match pod(&host, route.address, &route.interface, None, Origin::Synced) {
            Ok(new) if old.is_some_and(|old| (old.interface, old.macs) == (new.interface, new.macs)) => {}
            Ok(new) => {
                table.set(prefix, new)?;
                writeln!(out, "+ {} {}", route.address, route.interface)?;
            }
            // Packets for this address go to the stack, which then learns its MAC address.
            Err(error) => {
                left.insert(route.address);
                if !told_before.contains(&route.address) {
                    writeln!(std::io::stderr(), "{} is left to the stack: {error:#}", route.address)?;
                }
            }
        }
    }
    for (prefix, target) in known {
        let wanted = routes.iter().any(|route| whole(route.address) == prefix);
        if target.origin == Origin::Synced && !wanted && table.remove(prefix)? {
            writeln!(out, "- {prefix}")?;
        }
    }
    Ok(())
}

fn pod(host: &Host, address: IpAddr, name: &str, mac: Option<Mac>, origin: Origin) -> Result<Target> {
    let interface = host.interface(name)?;
    if !interface.leads_to_peer {
        let message =
            format!("\"{name}\" is no veth or netkit device whose other end is in another namespace");
        return Err(Failure::invalid(message, "name the host's end of the pod's veth").into());
    }
    let unknown = || {
        let message = format!("the host has not learnt the MAC address of {address} at \"{name}\"");
        Failure::not_found(message, "send it a packet first (`ping`), or give `--mac`")
    };
    let mac = mac.or_else(|| host.mac_of(address, name)).ok_or_else(unknown)?;
    let macs = Some((mac, interface.mac));
    Ok(Target { interface: interface.index, origin, macs, sent: Count::default() })
}

const fn address_of(prefix: Prefix) -> Option<IpAddr> {
    match prefix {
        Prefix::V4(address, 32) => Some(IpAddr::V4(address)),
        Prefix::V6(address, 128) => Some(IpAddr::V6(address)),
        Prefix::V4(..) | Prefix::V6(..) => None,
    }
}
