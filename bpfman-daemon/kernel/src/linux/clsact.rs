//! Filters on clsact hooks, for kernels without tcx. One place speaks route netlink.
//!
//! A filter is ours only if it has the priority and handle we got *and* runs the program we put there: numbers alone
//! prove nothing, since anyone may use the same ones.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use bpfmand_core::{Direction, IfIndex, ProgramId};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::{FilterPlace, KernelError};

const RTM_NEWQDISC: u16 = 36;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
const RTM_GETTFILTER: u16 = 46;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

const REQUEST: u16 = 0x01;
const ACK: u16 = 0x04;
const DUMP: u16 = 0x300;
const REPLACE: u16 = 0x100;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;

const CLSACT_PARENT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
const PROTOCOL_ALL: u16 = 0x0003_u16.to_be();
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_ID: u16 = 11;
const FLAG_DIRECT_ACTION: u32 = 1;

/// `struct tcmsg`.
#[derive(Clone, Copy)]
struct Place {
    ifindex: u32,
    handle: u32,
    parent: u32,
    info: u32,
}

impl Place {
    const fn filter(at: &FilterPlace<'_>) -> Self {
        let minor = match at.direction {
            Direction::Ingress => 0xfff2,
            Direction::Egress => 0xfff3,
        };
        let info = ((at.filter.priority as u32) << 16) | PROTOCOL_ALL as u32;
        Self { ifindex: at.ifindex.0, handle: at.filter.handle, parent: 0xffff_0000 | minor, info }
    }
}

/// One netlink request being built.
struct Request(Vec<u8>);

impl Request {
    fn new(message: u16, flags: u16, place: Place) -> Self {
        let mut bytes = vec![0; 16];
        bytes[4..6].copy_from_slice(&message.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | REQUEST).to_ne_bytes());
        bytes[8..12].copy_from_slice(&1_u32.to_ne_bytes());
        bytes.extend([0; 4]); // AF_UNSPEC and padding
        for word in [place.ifindex, place.handle, place.parent, place.info] {
            bytes.extend(word.to_ne_bytes());
        }
        Self(bytes)
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        put_attribute(&mut self.0, kind, value);
        self
    }

    fn finish(mut self) -> Vec<u8> {
        let length = (self.0.len() as u32).to_ne_bytes();
        self.0[0..4].copy_from_slice(&length);
        self.0
    }
}

fn put_attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend((4 + value.len() as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// The attributes in a part of a message.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes([*bytes.first()?, *bytes.get(1)?]));
        let kind = u16::from_ne_bytes([*bytes.get(2)?, *bytes.get(3)?]) & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

/// A message of the kernel's answer: type and body after the netlink header.
type Message = (u16, Vec<u8>);

fn talk(request: &[u8]) -> io::Result<Vec<Message>> {
    let socket: OwnedFd = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None, // protocol 0 is NETLINK_ROUTE
    )?;
    rustix::net::send(&socket, request, SendFlags::empty())?;
    let mut messages = Vec::new();
    let mut buffer = vec![0_u8; 32 << 10];
    loop {
        let (length, _) = rustix::net::recv(&socket, &mut *buffer, RecvFlags::empty())?;
        let mut rest = &buffer[..length];
        while rest.len() >= 16 {
            let size = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            let kind = u16::from_ne_bytes([rest[4], rest[5]]);
            let Some(body) = rest.get(16..size) else { return Err(io::ErrorKind::InvalidData.into()) };
            match kind {
                NLMSG_DONE => return Ok(messages),
                NLMSG_ERROR => {
                    let code = body.get(..4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_ne_bytes);
                    return if code == 0 { Ok(messages) } else { Err(io::Error::from_raw_os_error(-code)) };
                }
                _ => messages.push((kind, body.to_vec())),
            }
            rest = rest.get(size.next_multiple_of(4)..).unwrap_or(&[]);
        }
    }
}

/// Makes the clsact qdisc if it is missing.
fn ensure_clsact(ifindex: IfIndex) -> Result<(), KernelError> {
    let place = Place { ifindex: ifindex.0, handle: CLSACT_HANDLE, parent: CLSACT_PARENT, info: 0 };
    let request =
        Request::new(RTM_NEWQDISC, ACK | CREATE | EXCLUSIVE, place).attribute(TCA_KIND, b"clsact\0");
    match talk(&request.finish()) {
        Ok(_) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => match qdisc_kind(ifindex)?.as_deref() {
            Some("clsact") => Ok(()),
            found => Err(KernelError::HookHeld {
                hook: format!("clsact of interface {ifindex}"),
                holder: format!("a qdisc of kind \"{}\"", found.unwrap_or("unknown")),
            }),
        },
        Err(source) => Err(KernelError::call("add clsact to", format!("interface {ifindex}"), source)),
    }
}

/// The kind of the qdisc at the place where clsact and ingress go.
fn qdisc_kind(ifindex: IfIndex) -> Result<Option<String>, KernelError> {
    let place = Place { ifindex: ifindex.0, handle: 0, parent: 0, info: 0 };
    let messages = talk(&Request::new(RTM_GETQDISC, DUMP, place).finish())
        .map_err(|source| KernelError::call("list qdiscs of", format!("interface {ifindex}"), source))?;
    Ok(messages.iter().find_map(|(_, body)| {
        let word = |at: usize| u32::from_ne_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
        if body.len() < 20 || word(4) != ifindex.0 || word(12) != CLSACT_PARENT {
            return None;
        }
        attributes(&body[20..])
            .find(|(kind, _)| *kind == TCA_KIND)
            .map(|(_, value)| super::facts::text(value))
    }))
}

fn bpf_options(program: RawFd, name: &str) -> Vec<u8> {
    let mut options = Vec::new();
    put_attribute(&mut options, TCA_BPF_FD, &program.to_ne_bytes());
    put_attribute(&mut options, TCA_BPF_NAME, &[name.as_bytes(), &[0]].concat());
    put_attribute(&mut options, TCA_BPF_FLAGS, &FLAG_DIRECT_ACTION.to_ne_bytes());
    options
}

/// Adds a filter. One that has its numbers is never replaced.
pub fn add(at: &FilterPlace<'_>, program: &OwnedFd, name: &str) -> Result<(), KernelError> {
    ensure_clsact(at.ifindex)?;
    let request = Request::new(RTM_NEWTFILTER, ACK | CREATE | EXCLUSIVE, Place::filter(at))
        .attribute(TCA_KIND, b"bpf\0")
        .attribute(TCA_OPTIONS, &bpf_options(program.as_raw_fd(), name));
    talk(&request.finish()).map(drop).map_err(|source| fail("add", at, source))
}

/// Puts another program in a filter's place, if it runs the expected one.
///
/// The check and the change are two calls: clsact has no compare-and-swap, so a stranger who replaces the filter between
/// them is not seen. With tcx this cannot happen.
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
    let request = Request::new(RTM_NEWTFILTER, ACK | REPLACE, Place::filter(at))
        .attribute(TCA_KIND, b"bpf\0")
        .attribute(TCA_OPTIONS, &bpf_options(program.as_raw_fd(), name));
    talk(&request.finish()).map(drop).map_err(|source| fail("replace", at, source))
}

/// Removes a filter if it runs the expected program.
pub fn remove(at: &FilterPlace<'_>, expected: ProgramId) -> Result<(), KernelError> {
    if self::program(at)? != Some(expected) {
        return Ok(());
    }
    let request = Request::new(RTM_DELTFILTER, ACK, Place::filter(at)).attribute(TCA_KIND, b"bpf\0");
    match talk(&request.finish()) {
        Ok(_) => Ok(()),
        Err(error) if is_gone(&error) => Ok(()),
        Err(source) => Err(fail("remove", at, source)),
    }
}

/// The program that a filter runs.
pub fn program(at: &FilterPlace<'_>) -> Result<Option<ProgramId>, KernelError> {
    let request = Request::new(RTM_GETTFILTER, ACK, Place::filter(at)).attribute(TCA_KIND, b"bpf\0");
    let messages = match talk(&request.finish()) {
        Ok(messages) => messages,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(source) => return Err(fail("look at", at, source)),
    };
    Ok(messages.iter().filter(|(_, body)| body.len() >= 20).find_map(|(_, body)| {
        let (_, options) = attributes(&body[20..]).find(|(kind, _)| *kind == TCA_OPTIONS)?;
        let (_, id) = attributes(options).find(|(kind, _)| *kind == TCA_BPF_ID)?;
        Some(ProgramId(u32::from_ne_bytes(id.get(..4)?.try_into().ok()?)))
    }))
}

fn fail(action: &'static str, at: &FilterPlace<'_>, source: io::Error) -> KernelError {
    KernelError::call(action, format!("the filter at {} of interface {}", at.direction, at.ifindex), source)
}

/// The kernel's ways to say that a filter, its hook or its interface is no longer there.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::EINVAL))
}
