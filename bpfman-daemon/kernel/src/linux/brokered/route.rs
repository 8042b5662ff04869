//! Route netlink sockets, and programs that are attached through them.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use bpfman_model::{Direction, HookAttachment, HookKey, HookKind, IfIndex, ProgramId};
use bpfmand_calls::{Errno, ObjectKind};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, sendto, socket_with, sockopt};

use super::facts::open_object;
use crate::linux::{clsact, filters, interfaces, netns, xdp};
use crate::{FilterPlace, KernelError, TcFilter};

pub fn open_route_socket(namespace: &OwnedFd, socket_type: i32) -> Result<OwnedFd, Errno> {
    let kind = match socket_type & 0xf {
        libc::SOCK_RAW => SocketType::RAW,
        libc::SOCK_DGRAM => SocketType::DGRAM,
        _ => return Err(Errno::INVAL),
    };
    let mut flags = SocketFlags::CLOEXEC;
    if socket_type & libc::SOCK_NONBLOCK != 0 {
        flags |= SocketFlags::NONBLOCK;
    }
    let opened = netns::enter_held(namespace, || Ok(socket_with(AddressFamily::NETLINK, kind, flags, None)));
    opened.map_err(|_gone| Errno::PERM)?.map_err(|error| Errno(error.raw_os_error()))
}

/// Returns whether a descriptor is a socket for routes. Other netlink sockets change objects that no grant covers.
#[must_use]
pub fn is_route_socket(socket: &OwnedFd) -> bool {
    sockopt::socket_domain(socket).is_ok_and(|domain| domain == AddressFamily::NETLINK)
        // `NETLINK_ROUTE` is 0.
        && sockopt::socket_protocol(socket).is_ok_and(|protocol| protocol.is_none())
}

/// Opens the network namespace of a socket: its creator may be in another one by now.
pub fn socket_namespace(socket: &OwnedFd) -> io::Result<OwnedFd> {
    const SIOCGSKNS: libc::Ioctl = 0x894c;
    // SAFETY: the request takes no argument and touches no memory of this process.
    let descriptor = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so its answer is a new descriptor without another owner.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Sends a message to the kernel. Any holder of the socket can read its answer.
pub fn send_route_message(socket: &OwnedFd, message: &[u8]) -> Result<i64, Errno> {
    let sent = sendto(socket, message, SendFlags::NOSIGNAL, &SocketAddrNetlink::new(0, 0));
    sent.map(|sent| sent as i64).map_err(|error| Errno(error.raw_os_error()))
}

/// Returns the index of an interface of a network namespace.
#[must_use]
pub fn interface_index(namespace: &OwnedFd, name: &str) -> Option<IfIndex> {
    netns::enter_held(namespace, || Ok(interfaces::index_of(name).ok())).ok().flatten()
}

/// Returns the XDP programs of an interface, or the programs of all its clsact filters. An entry is `None` for a filter
/// without a program; the result is `None` if the interface cannot be read.
pub fn programs_at(namespace: &OwnedFd, index: IfIndex, kind: HookKind) -> Option<Vec<Option<u32>>> {
    let found = netns::enter_held(namespace, || {
        let home = netns::here()?;
        let key = |kind| HookKey { netns: home.into(), ifindex: index, kind };
        let mut entries = Vec::new();
        if kind == HookKind::Xdp {
            entries = xdp::contents(&key(kind))?.entries;
        } else {
            for direction in [Direction::Ingress, Direction::Egress] {
                entries.extend(filters::list(&key(HookKind::Tc(direction)), direction)?);
            }
        }
        Ok(entries.into_iter().map(|entry| entry.program.map(|ProgramId(id)| id)).collect())
    });
    found.ok()
}

/// Detaches a program that is attached without a link, from XDP or, with a direction, from all its clsact filters.
pub fn detach_unlinked(
    namespace: &OwnedFd,
    index: IfIndex,
    direction: Option<Direction>,
    program: u32,
) -> Result<(), KernelError> {
    netns::enter_held(namespace, || {
        let kind = direction.map_or(HookKind::Xdp, HookKind::Tc);
        let home = netns::here()?;
        let key = HookKey { netns: home.into(), ifindex: index, kind };
        match direction {
            None => {
                let expected = open_object(ObjectKind::Program, program, 0);
                let expected = expected
                    .map_err(|source| KernelError::call("open", format!("program {program}"), source))?;
                for entry in xdp::contents(&key)?.entries {
                    if let (Some(ProgramId(id)), HookAttachment::XdpNetlink { mode }) =
                        (entry.program, &entry.via)
                        && id == program
                    {
                        xdp::replace_unlinked(&key, *mode, None, Some(&expected))?;
                    }
                }
            }
            Some(direction) => {
                for entry in filters::list(&key, direction)? {
                    if let (Some(ProgramId(id)), HookAttachment::Filter(facts)) = (entry.program, &entry.via)
                        && id == program
                    {
                        let filter = TcFilter { priority: facts.priority, handle: facts.handle };
                        clsact::remove(
                            &FilterPlace { home, netns: None, ifindex: index, direction, filter },
                            ProgramId(id),
                        )?;
                    }
                }
            }
        }
        Ok(())
    })
}
