use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use bpfman_model::uapi::{attach_type, link_type};
use bpfman_model::{
    HookAttachment, HookContents, HookEntry, HookKey, HookKind, IfIndex, KernelLinkId, ProgramId, XdpRunsIn,
};

use super::attr::{self, Command};
use super::interfaces::{IFINFOMSG, RTM_GETLINK};
use super::netlink::{ACK, DUMP, NESTED, NetlinkError, Request, attribute, put_attribute, talk, u32_at};
use super::{facts, hook_contents, interfaces, netns, sys};
use crate::{KernelError, XdpMode};

/// `XDP_FLAGS_*`, of links and of netlink messages.
const F_UPDATE_IF_NOEXIST: u32 = 1 << 0;
const F_GENERIC: u32 = 1 << 1;
const F_NATIVE: u32 = 1 << 2;
const F_OFFLOAD: u32 = 1 << 3;
const F_REPLACE: u32 = 1 << 4;

const RTM_SETLINK: u16 = 19;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_FD: u16 = 1;
const IFLA_XDP_FLAGS: u16 = 3;
const IFLA_XDP_NATIVE_ID: u16 = 5;
const IFLA_XDP_GENERIC_ID: u16 = 6;
const IFLA_XDP_OFFLOAD_ID: u16 = 7;
const IFLA_XDP_EXPECTED_FD: u16 = 8;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_MASTER: u16 = 10;
/// Attributes and flags of the modes, in the order in which packets reach them.
const PLACES: [(XdpRunsIn, u16, u32); 3] = [
    (XdpRunsIn::Offload, IFLA_XDP_OFFLOAD_ID, F_OFFLOAD),
    (XdpRunsIn::Native, IFLA_XDP_NATIVE_ID, F_NATIVE),
    (XdpRunsIn::Generic, IFLA_XDP_GENERIC_ID, F_GENERIC),
];
const NO_PROGRAM: RawFd = -1;
/// Maximum number of readings of a hook that keeps changing.
const ATTEMPTS: usize = 8;

pub fn attach(program: &OwnedFd, ifindex: IfIndex, mode: XdpMode) -> Result<OwnedFd, KernelError> {
    let flags = match mode {
        XdpMode::Native => F_NATIVE,
        XdpMode::Generic => F_GENERIC,
        XdpMode::Offload => F_OFFLOAD,
    };
    let mut request = attr::LinkCreate {
        prog_fd: program.as_raw_fd(),
        target: ifindex.0,
        attach_type: attach_type::XDP,
        flags,
        ..Default::default()
    };
    sys::bpf_fd(Command::LinkCreate, &mut request).map_err(|source| {
        let hook = || format!("XDP of {}", interfaces::named(ifindex));
        let held = |holder| {
            let look = interfaces::name_of(ifindex).map(|name| format!("bpftool net show dev {name}"));
            KernelError::HookHeld { hook: hook(), holder, look }
        };
        let beside =
            |holder: Option<String>| holder.map(|holder| KernelError::SharedHook { hook: hook(), holder });
        match source.raw_os_error() {
            Some(libc::EBUSY | libc::EEXIST) => match holder(ifindex) {
                Some(holder) => held(holder),
                // EEXIST without a program at this interface: one is at an interface above it.
                None => match of_neighbour(ifindex, Side::Above) {
                    Some(holder) => KernelError::SharedHook { hook: hook(), holder },
                    None if source.raw_os_error() == Some(libc::EEXIST) => KernelError::SharedHook {
                        hook: hook(),
                        holder: "XDP of an interface above it in another network namespace, such as a VLAN or macvlan of a \
                                 container"
                            .to_owned(),
                    },
                    None => held("a program of someone else".to_owned()),
                },
            },
            // Another mode does not help: a packet would meet both programs, that of the member and that of the bond.
            Some(libc::EOPNOTSUPP) if let Some(refused) = beside(of_neighbour(ifindex, Side::Below)) => {
                refused
            }
            _ => KernelError::call("attach", format!("a program to {}", hook()), source),
        }
    })
}

pub fn replace_unlinked(
    key: &HookKey,
    mode: XdpRunsIn,
    program: Option<&OwnedFd>,
    expected: Option<&OwnedFd>,
) -> Result<(), KernelError> {
    let place = PLACES.iter().find(|(place, ..)| *place == mode).map_or(0, |(_, _, flag)| *flag);
    let flags = place | if expected.is_some() { F_REPLACE } else { F_UPDATE_IF_NOEXIST };
    let program = program.map_or(NO_PROGRAM, AsRawFd::as_raw_fd);
    set(key.ifindex, program, expected.map(AsRawFd::as_raw_fd), flags).map_err(|source| {
        let hook = hook_contents::describe(key);
        match source.raw_os_error() {
            // EEXIST: another program than the expected one. EBUSY: a link, or any program if none was expected.
            Some(libc::EBUSY | libc::EEXIST) => KernelError::HookChanged { hook },
            Some(libc::ENODEV) => {
                KernelError::HookGone { hook, reason: "there is no such interface any more" }
            }
            _ => KernelError::call("replace", format!("the program at {hook}"), source.in_words()),
        }
    })
}

/// `flags` define the required state if no program is expected.
fn set(ifindex: IfIndex, program: RawFd, expected: Option<RawFd>, flags: u32) -> Result<(), NetlinkError> {
    let mut xdp = Vec::new();
    put_attribute(&mut xdp, IFLA_XDP_FD, &program.to_ne_bytes());
    if let Some(expected) = expected {
        put_attribute(&mut xdp, IFLA_XDP_EXPECTED_FD, &expected.to_ne_bytes());
    }
    put_attribute(&mut xdp, IFLA_XDP_FLAGS, &flags.to_ne_bytes());
    let request = Request::new(RTM_SETLINK, ACK, &interface(ifindex)).attribute(IFLA_XDP | NESTED, &xdp);
    talk(&request.finish()).map(drop)
}

fn holder(ifindex: IfIndex) -> Option<String> {
    let key = HookKey { netns: netns::here().ok()?.into(), ifindex, kind: HookKind::Xdp };
    let entry = contents(&key).ok()?.entries.into_iter().next()?;
    let id = entry.program?;
    let program = facts::open(Command::ProgGetFdById, id.0).ok()??;
    Some(crate::error::holder(&facts::program(&program).ok()?, &entry.via))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Bond or bridge that it is a member of, or a VLAN on top of it.
    Above,
    Below,
}

/// Names the neighbours with XDP programs. A bond's program runs at all its members, which can have no other one.
fn neighbours(ifindex: IfIndex, side: Side) -> Vec<String> {
    let Ok(messages) = talk(&Request::new(RTM_GETLINK, DUMP, &[0; IFINFOMSG]).finish()) else {
        return Vec::new();
    };
    let stacked: Vec<Stacked> = messages.iter().filter_map(|(_, body)| Stacked::read(body)).collect();
    on_side(&stacked, ifindex.0, side)
}

#[derive(Clone, Debug)]
struct Stacked {
    ifindex: u32,
    name: String,
    master: Option<u32>,
    lower: Option<u32>,
    /// A bond runs its program in its members' drivers; a bridge does not, since members have packets of their own.
    is_bond: bool,
    has_xdp: bool,
}

impl Stacked {
    fn read(body: &[u8]) -> Option<Self> {
        let attributes = body.get(IFINFOMSG..)?;
        let number = |kind| attribute(attributes, kind).and_then(|value| u32_at(value, 0));
        let attached = attribute(attributes, IFLA_XDP).and_then(|xdp| attribute(xdp, IFLA_XDP_ATTACHED));
        let kind = interfaces::kind_of(attributes);
        // The lower interface of a veth is its peer. If it is in another namespace, its number means nothing here.
        let is_upon = attribute(attributes, IFLA_LINK_NETNSID).is_none()
            && kind.as_deref().is_none_or(|kind| kind != "veth");
        Some(Self {
            ifindex: u32_at(body, 4)?,
            name: facts::text(attribute(attributes, IFLA_IFNAME)?),
            master: number(IFLA_MASTER),
            lower: number(IFLA_LINK).filter(|_| is_upon),
            is_bond: kind.is_some_and(|kind| kind == "bond"),
            has_xdp: attached.is_some_and(|attached| attached.first().is_some_and(|mode| *mode != 0)),
        })
    }
}

fn on_side(all: &[Stacked], ifindex: u32, side: Side) -> Vec<String> {
    let Some(this) = all.iter().find(|one| one.ifindex == ifindex) else { return Vec::new() };
    all.iter()
        .filter(|other| other.has_xdp && other.ifindex != ifindex)
        .filter(|other| match side {
            Side::Above => this.master == Some(other.ifindex) || other.lower == Some(ifindex),
            Side::Below => this.is_bond && other.master == Some(ifindex),
        })
        .map(|other| other.name.clone())
        .collect()
}

fn of_neighbour(ifindex: IfIndex, side: Side) -> Option<String> {
    let names = neighbours(ifindex, side);
    let name = names.first()?;
    Some(match side {
        Side::Above => format!("XDP of {name}, which also gets the packets of this interface"),
        Side::Below => format!("XDP of {name}, a member of this interface"),
    })
}

pub fn contents(key: &HookKey) -> Result<HookContents, KernelError> {
    let failed = |source| hook_contents::failed(key, source);
    let mut before = programs(key.ifindex).map_err(failed)?;
    for _ in 0..ATTEMPTS {
        let entries = before
            .iter()
            .map(|(mode, flag, program)| entry(key.ifindex, *mode, *flag, *program))
            .collect::<io::Result<Vec<_>>>()
            .map_err(failed)?;
        let after = programs(key.ifindex).map_err(failed)?;
        if after == before {
            return Ok(HookContents { revision: None, entries });
        }
        before = after;
    }
    Err(failed(io::Error::new(io::ErrorKind::Interrupted, "it keeps changing")))
}

pub fn runs(key: &HookKey, program: ProgramId) -> Result<bool, KernelError> {
    let running = programs(key.ifindex).map_err(|source| hook_contents::failed(key, source))?;
    Ok(running.iter().any(|(.., id)| *id == program))
}

fn programs(ifindex: IfIndex) -> io::Result<Vec<(XdpRunsIn, u32, ProgramId)>> {
    let messages = talk(&Request::new(RTM_GETLINK, ACK, &interface(ifindex)).finish())?;
    let Some((_, body)) = messages.first() else { return Ok(Vec::new()) };
    let Some(xdp) = body.get(IFINFOMSG..).and_then(|rest| attribute(rest, IFLA_XDP)) else {
        return Ok(Vec::new());
    };
    Ok(PLACES
        .into_iter()
        .filter_map(|(mode, kind, flag)| {
            let id = attribute(xdp, kind).and_then(|id| u32_at(id, 0)).filter(|id| *id != 0)?;
            Some((mode, flag, ProgramId(id)))
        })
        .collect())
}

fn interface(ifindex: IfIndex) -> [u8; IFINFOMSG] {
    let mut body = [0; IFINFOMSG];
    body[4..8].copy_from_slice(&ifindex.0.to_ne_bytes());
    body
}

fn entry(ifindex: IfIndex, mode: XdpRunsIn, flag: u32, program: ProgramId) -> io::Result<HookEntry> {
    let via = if is_linked(ifindex, flag)? {
        HookAttachment::XdpLink { links: links(ifindex, program)?, mode }
    } else {
        HookAttachment::XdpNetlink { mode }
    };
    Ok(HookEntry { program: Some(program), via })
}

/// Returns whether there is a link, by an attempt to remove "no program": fails with EBUSY for a link, else EEXIST.
fn is_linked(ifindex: IfIndex, flag: u32) -> io::Result<bool> {
    match set(ifindex, NO_PROGRAM, Some(NO_PROGRAM), flag | F_REPLACE) {
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(true),
        // The place is empty by now; the next reading of the interface shows it.
        Ok(()) => Ok(false),
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Returns links with this interface number, in any namespace, and this program.
fn links(ifindex: IfIndex, program: ProgramId) -> io::Result<Vec<KernelLinkId>> {
    let mut found = Vec::new();
    for id in facts::link_ids()? {
        let Some(link) = facts::open(Command::LinkGetFdById, id.0)? else { continue };
        let link = facts::link_by_id(&link)?;
        if link.kernel_type == link_type::XDP && link.ifindex == Some(ifindex) && link.program == program {
            found.push(id);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_above_and_below_are_found() {
        let one = |ifindex, name: &str, master, lower, has_xdp| Stacked {
            ifindex,
            name: name.to_owned(),
            master,
            lower,
            is_bond: name.starts_with("bond"),
            has_xdp,
        };
        let all = [
            one(1, "s1", Some(3), None, false),
            one(2, "s2", Some(3), None, true),
            one(3, "bond0", None, None, true),
            one(4, "s1.7", None, Some(1), true),
            one(5, "other", None, None, true),
            one(6, "bond1", None, None, false),
            one(7, "s3", Some(6), None, false),
            one(8, "br0", None, None, false),
            one(9, "port", Some(8), None, true),
        ];
        assert_eq!(on_side(&all, 1, Side::Above), ["bond0", "s1.7"]);
        assert_eq!(on_side(&all, 3, Side::Below), ["s2"]);
        assert_eq!(on_side(&all, 3, Side::Above), [""; 0]);
        assert_eq!(on_side(&all, 6, Side::Below), [""; 0]);
        assert_eq!(on_side(&all, 7, Side::Above), [""; 0], "the bond runs none");
        assert_eq!(on_side(&all, 8, Side::Below), [""; 0], "a bridge is no bond");
    }
}
