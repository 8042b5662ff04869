//! Names of pins that record which filter an operation was about to add.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64_NAME;
use bpfman_model::{Direction, HookKey, IfIndex, Interface, NetnsId, NetnsNumber};

const MAX_NAME: usize = 255;
const NO_NUMBER: &str = "-";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedFilter {
    pub direction: Direction,
    pub ifindex: IfIndex,
    /// Network namespace. Names of earlier versions lack its cookie.
    pub home: NetnsId,
    pub number: Option<NetnsNumber>,
    /// Path of the namespace; `None` for the daemon's own namespace, and if the path did not fit.
    pub netns: Option<PathBuf>,
}

pub fn filter_pin(key: &HookKey, interface: &Interface, number: Option<NetnsNumber>) -> String {
    let direction = key.kind.direction().map_or("none", Direction::name);
    let NetnsId { inode, cookie } = key.netns.into();
    let number = number.map_or_else(
        || NO_NUMBER.to_owned(),
        |number| format!("{}-{}-{}", number.number, number.table.inode, number.table.cookie),
    );
    let name = format!("filterin_{direction}_{}_{inode}_{cookie}_{number}_", key.ifindex);
    let netns = netns_name(interface);
    if name.len() + netns.len() > MAX_NAME { name } else { name + &netns }
}

/// Returns the namespace's path in base64, because bpffs allows no slash or dot in names; empty if it would not fit.
pub fn netns_name(interface: &Interface) -> String {
    const MAX_PATH: usize = 150;
    let netns = interface.netns.as_deref().map_or(&[][..], |path| path.as_os_str().as_bytes());
    if netns.len() > MAX_PATH { String::new() } else { BASE64_NAME.encode(netns) }
}

/// Parses the namespace's path; the inner `None` stands for the daemon's namespace, or a path that did not fit.
pub fn parse_netns_name(name: &str) -> Option<Option<PathBuf>> {
    let netns = BASE64_NAME.decode(name).ok()?;
    Some((!netns.is_empty()).then(|| PathBuf::from(OsString::from_vec(netns))))
}

pub fn parse_filter_pin(name: &str) -> Option<PinnedFilter> {
    let (rest, is_old) = match (name.strip_prefix("filterin_"), name.strip_prefix("filter_")) {
        (Some(rest), _) => (rest, false),
        (None, old) => (old?, true),
    };
    let mut parts = rest.splitn(if is_old { 4 } else { 6 }, '_');
    let direction = parts.next()?.parse().ok()?;
    let (ifindex, inode) = (IfIndex(parts.next()?.parse().ok()?), parts.next()?.parse().ok()?);
    let (cookie, number) = match is_old {
        true => (0, None),
        false => (parts.next()?.parse().ok()?, parse_number(parts.next()?)?),
    };
    let netns = parse_netns_name(parts.next()?)?;
    Some(PinnedFilter { direction, ifindex, home: NetnsId { inode, cookie }, number, netns })
}

fn parse_number(text: &str) -> Option<Option<NetnsNumber>> {
    if text == NO_NUMBER {
        return Some(None);
    }
    let mut parts = text.split('-');
    let number = parts.next()?.parse().ok()?;
    let table = NetnsId { inode: parts.next()?.parse().ok()?, cookie: parts.next()?.parse().ok()? };
    Some(Some(NetnsNumber { table, number }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bpfman_model::HookKind;

    use super::*;

    #[test]
    fn pin_name_leads_back_to_the_hook() {
        let home = NetnsId { inode: 4_026_532_201, cookie: u64::MAX };
        let key = HookKey { netns: home.into(), ifindex: IfIndex(7), kind: HookKind::Tc(Direction::Egress) };
        let table = NetnsId { inode: 4_026_531_840, cookie: 1 };
        for number in [None, Some(NetnsNumber { table, number: 0x6270_0001 })] {
            for (path, is_kept) in
                [("/a_b-c".to_owned(), true), (format!("/{}", "x".repeat(149)), number.is_none())]
            {
                let interface = Interface { name: "eth0".to_owned(), netns: Some(PathBuf::from(&path)) };
                let name = filter_pin(&key, &interface, number);
                assert!(name.len() <= MAX_NAME && !name.contains(['.', '/']), "{name}");
                let netns = is_kept.then(|| PathBuf::from(&path));
                let direction = Direction::Egress;
                let found = PinnedFilter { direction, ifindex: key.ifindex, home, number, netns };
                assert_eq!(parse_filter_pin(&name), Some(found));
            }
        }
        let old = format!("filter_ingress_3_9_{}", BASE64_NAME.encode("/run/netns/a"));
        let found = parse_filter_pin(&old).unwrap();
        assert_eq!((found.home, found.number), (NetnsId { inode: 9, cookie: 0 }, None));
        assert_eq!(found.netns.as_deref(), Some(Path::new("/run/netns/a")));
        assert_eq!(parse_filter_pin("link"), None);
    }
}
