use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use bpfman_model::{IfIndex, InterfaceFacts};

use super::netlink::{ACK, DUMP, Message, Request, attribute, talk_by, u32_at};
use super::{facts, netlink, netns};
use crate::KernelError;

pub const RTM_NEWLINK: u16 = 16;
pub const RTM_DELLINK: u16 = 17;
pub const RTM_GETLINK: u16 = 18;
pub const IFINFOMSG: usize = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_PROP_LIST: u16 = 52;
const IFLA_ALT_IFNAME: u16 = 53;
const IFNAMSIZ: usize = 16;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_EXT_MASK: u16 = 29;
/// The answer is a third shorter without counters.
const SKIP_STATISTICS: u32 = 1 << 3;
const IFF_UP: u32 = 1;

pub fn list(path: Option<&Path>) -> Result<Vec<InterfaceFacts>, KernelError> {
    netns::enter(path, || netlink::socket().and_then(|socket| list_by(&socket)).map_err(|e| failed(path, e)))
}

pub fn list_by(socket: &OwnedFd) -> io::Result<Vec<InterfaceFacts>> {
    let request = Request::new(RTM_GETLINK, DUMP, &[0; IFINFOMSG])
        .attribute(IFLA_EXT_MASK, &SKIP_STATISTICS.to_ne_bytes())
        .finish();
    let mut found: Vec<_> = talk_by(socket, &request)?.iter().filter_map(interface).collect();
    found.sort_by_key(|interface| interface.ifindex);
    Ok(found)
}

/// Skips messages of bridges (another family): a port that leaves a bridge would look like a removed interface.
pub fn interface((kind, body): &Message) -> Option<InterfaceFacts> {
    let family = *body.first()?;
    if !matches!(*kind, RTM_NEWLINK | RTM_DELLINK) || family != 0 {
        return None;
    }
    let attributes = body.get(IFINFOMSG..)?;
    Some(InterfaceFacts {
        name: facts::text(attribute(attributes, IFLA_IFNAME)?),
        other_names: other_names(attributes),
        ifindex: IfIndex(u32_at(body, 4)?),
        up: u32_at(body, 8)? & IFF_UP != 0,
        kind: kind_of(attributes),
    })
}

fn other_names(attributes: &[u8]) -> Vec<String> {
    let all = attribute(attributes, IFLA_PROP_LIST).into_iter().flat_map(netlink::attributes);
    all.filter(|(kind, _)| *kind == IFLA_ALT_IFNAME).map(|(_, name)| facts::text(name)).collect()
}

/// Returns the kind, such as "veth"; `None` for a physical interface.
pub fn kind_of(attributes: &[u8]) -> Option<String> {
    attribute(attributes, IFLA_LINKINFO).and_then(|info| attribute(info, IFLA_INFO_KIND)).map(facts::text)
}

pub fn named(ifindex: IfIndex) -> String {
    name_of(ifindex).map_or_else(|| format!("interface {ifindex}"), |name| format!("interface {name}"))
}

pub fn name_of(ifindex: IfIndex) -> Option<String> {
    rustix::net::netdevice::index_to_name(netlink::socket().ok()?, ifindex.0).ok()
}

/// Queries netlink, which alone knows alternative names (`ip link property add … altname`), of up to 127 bytes.
pub fn index_of(name: &str) -> io::Result<IfIndex> {
    let kind = if name.len() < IFNAMSIZ { IFLA_IFNAME } else { IFLA_ALT_IFNAME };
    let value = [name.as_bytes(), &[0]].concat();
    let request = Request::new(RTM_GETLINK, ACK, &[0; IFINFOMSG]).attribute(kind, &value).finish();
    let messages = netlink::talk(&request)?;
    let found = messages.iter().find_map(interface);
    found.map(|found| found.ifindex).ok_or_else(|| io::ErrorKind::NotFound.into())
}

pub fn failed(path: Option<&Path>, source: io::Error) -> KernelError {
    let of = path.map_or_else(|| "the daemon's network namespace".to_owned(), |p| p.display().to_string());
    KernelError::call("list the interfaces of", of, source)
}
