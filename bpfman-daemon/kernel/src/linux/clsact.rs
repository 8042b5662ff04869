//! Filters on clsact hooks, for kernels without tcx. A filter is ours only if it has the recorded numbers *and* runs
//! the expected program: other tools may use the same numbers.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use bpfman_model::{Direction, IfIndex, ProgramId};

use super::interfaces;
use super::netlink::{
    self, ACK, CREATE, DUMP, EXCLUSIVE, NetlinkError, REPLACE, Request, put_attribute, talk, u32_at,
};
use crate::{FilterPlace, KernelError};

const RTM_NEWQDISC: u16 = 36;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
pub(super) const RTM_GETTFILTER: u16 = 46;

const CLSACT_PARENT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
const PROTOCOL_ALL: u16 = 0x0003_u16.to_be();
pub(super) const TCA_KIND: u16 = 1;
pub(super) const TCA_OPTIONS: u16 = 2;
const TCA_BPF_FD: u16 = 6;
pub(super) const TCA_BPF_NAME: u16 = 7;
pub(super) const TCA_BPF_FLAGS: u16 = 8;
pub(super) const TCA_BPF_ID: u16 = 11;
pub(super) const FLAG_DIRECT_ACTION: u32 = 1;

pub(super) const TCMSG: usize = 20;

#[derive(Clone, Copy)]
pub(super) struct TcMessage {
    pub ifindex: u32,
    pub handle: u32,
    pub parent: u32,
    pub info: u32,
}

impl TcMessage {
    const fn filter(at: &FilterPlace<'_>) -> Self {
        let info = ((at.filter.priority as u32) << 16) | PROTOCOL_ALL as u32;
        Self { handle: at.filter.handle, info, ..Self::filters(at.ifindex, at.direction) }
    }

    pub const fn filters(ifindex: IfIndex, direction: Direction) -> Self {
        let minor = match direction {
            Direction::Ingress => 0xfff2,
            Direction::Egress => 0xfff3,
        };
        Self { ifindex: ifindex.0, handle: 0, parent: 0xffff_0000 | minor, info: 0 }
    }

    pub fn request(self, message: u16, flags: u16) -> Request {
        let mut body = vec![0; 4]; // AF_UNSPEC and padding
        for word in [self.ifindex, self.handle, self.parent, self.info] {
            body.extend(word.to_ne_bytes());
        }
        Request::new(message, flags, &body)
    }
}

fn ensure_clsact(ifindex: IfIndex) -> Result<(), KernelError> {
    let place = TcMessage { ifindex: ifindex.0, handle: CLSACT_HANDLE, parent: CLSACT_PARENT, info: 0 };
    let request = place.request(RTM_NEWQDISC, ACK | CREATE | EXCLUSIVE).attribute(TCA_KIND, b"clsact\0");
    match talk(&request.finish()) {
        Ok(_) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => match qdisc_kind(ifindex)?.as_deref() {
            Some("clsact") => Ok(()),
            found => Err(KernelError::HookHeld {
                hook: format!("clsact of {}", interfaces::named(ifindex)),
                holder: format!("a qdisc of kind \"{}\"", found.unwrap_or("unknown")),
                look: interfaces::name_of(ifindex).map(|name| format!("tc qdisc show dev {name}")),
            }),
        },
        Err(source) => Err(KernelError::call("add clsact to", interfaces::named(ifindex), source.in_words())),
    }
}

pub(super) fn qdisc_kind(ifindex: IfIndex) -> Result<Option<String>, KernelError> {
    let place = TcMessage { ifindex: ifindex.0, handle: 0, parent: 0, info: 0 };
    let messages = talk(&place.request(RTM_GETQDISC, DUMP).finish()).map_err(|source| {
        KernelError::call("list qdiscs of", interfaces::named(ifindex), source.in_words())
    })?;
    Ok(messages.iter().find_map(|(_, body)| {
        if u32_at(body, 4) != Some(ifindex.0) || u32_at(body, 12) != Some(CLSACT_PARENT) {
            return None;
        }
        netlink::attribute(body.get(TCMSG..)?, TCA_KIND).map(super::facts::text)
    }))
}

fn bpf_options(program: RawFd, name: &str) -> Vec<u8> {
    let mut options = Vec::new();
    put_attribute(&mut options, TCA_BPF_FD, &program.to_ne_bytes());
    put_attribute(&mut options, TCA_BPF_NAME, &[name.as_bytes(), &[0]].concat());
    put_attribute(&mut options, TCA_BPF_FLAGS, &FLAG_DIRECT_ACTION.to_ne_bytes());
    options
}

pub fn add(at: &FilterPlace<'_>, program: &OwnedFd, name: &str) -> Result<(), KernelError> {
    ensure_clsact(at.ifindex)?;
    let request = TcMessage::filter(at)
        .request(RTM_NEWTFILTER, ACK | CREATE | EXCLUSIVE)
        .attribute(TCA_KIND, b"bpf\0")
        .attribute(TCA_OPTIONS, &bpf_options(program.as_raw_fd(), name));
    talk(&request.finish()).map(drop).map_err(|source| fail("add", at, source))
}

/// Check and change are two calls, because clsact has no compare-and-swap: a change between them goes unnoticed.
pub fn replace(
    at: &FilterPlace<'_>,
    program: &OwnedFd,
    expected: ProgramId,
    name: &str,
) -> Result<(), KernelError> {
    if self::program(at)? != Some(expected) {
        return Err(KernelError::HookChanged {
            hook: format!("tc {} of interface {}", at.direction, at.ifindex),
        });
    }
    let request = TcMessage::filter(at)
        .request(RTM_NEWTFILTER, ACK | REPLACE)
        .attribute(TCA_KIND, b"bpf\0")
        .attribute(TCA_OPTIONS, &bpf_options(program.as_raw_fd(), name));
    talk(&request.finish()).map(drop).map_err(|source| fail("replace", at, source))
}

pub fn remove(at: &FilterPlace<'_>, expected: ProgramId) -> Result<(), KernelError> {
    if self::program(at)? != Some(expected) {
        return Ok(());
    }
    let request = TcMessage::filter(at).request(RTM_DELTFILTER, ACK).attribute(TCA_KIND, b"bpf\0");
    match talk(&request.finish()) {
        Ok(_) => Ok(()),
        Err(error) if is_gone(&error) => Ok(()),
        Err(source) => Err(fail("remove", at, source)),
    }
}

pub fn program(at: &FilterPlace<'_>) -> Result<Option<ProgramId>, KernelError> {
    let request = TcMessage::filter(at).request(RTM_GETTFILTER, ACK).attribute(TCA_KIND, b"bpf\0");
    let messages = match talk(&request.finish()) {
        Ok(messages) => messages,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(source) => return Err(fail("look at", at, source)),
    };
    Ok(messages.iter().find_map(|(_, body)| {
        let options = netlink::attribute(body.get(TCMSG..)?, TCA_OPTIONS)?;
        netlink::attribute(options, TCA_BPF_ID).and_then(|id| u32_at(id, 0)).map(ProgramId)
    }))
}

fn fail(action: &'static str, at: &FilterPlace<'_>, source: NetlinkError) -> KernelError {
    let interface = interfaces::named(at.ifindex);
    KernelError::call(action, format!("the filter at {} of {interface}", at.direction), source.in_words())
}

fn is_gone(error: &NetlinkError) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::EINVAL))
}
