use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use bpfman_model::{HookKind, IfIndex, Interface};

use super::attr::{self, Command};
use super::{interfaces, netlink, netns, sys};
use crate::KernelError;
use crate::search_once::NetkitDevices;

/// `BPF_MPROG_MAX` minus the terminator of the list.
const MAX_PROGRAMS: usize = 63;

pub fn attach(
    program: &OwnedFd,
    netns: Option<&Path>,
    interface: &str,
    attach_type: u32,
) -> Result<OwnedFd, KernelError> {
    let place = Interface { name: interface.to_owned(), netns: netns.map(Path::to_owned) };
    let subject = || format!("a program to netkit device {interface}");
    let ifindex = netns::find_hook_here(&place, HookKind::Xdp)?.ifindex;
    let mut request = attr::LinkCreate {
        prog_fd: program.as_raw_fd(),
        target: ifindex.0,
        attach_type,
        ..Default::default()
    };
    sys::bpf_fd(Command::LinkCreate, &mut request).map_err(|source| match source.raw_os_error() {
        Some(libc::ENXIO) => KernelError::NoNetkit { name: interface.to_owned(), why: "it is none" },
        Some(libc::EACCES) => {
            KernelError::NoNetkit { name: interface.to_owned(), why: "it is the other end of one" }
        }
        Some(libc::ERANGE) => KernelError::HookFull { hook: subject(), most: MAX_PROGRAMS },
        _ => KernelError::call("attach", subject(), source),
    })
}

pub fn devices_here() -> Result<NetkitDevices, KernelError> {
    let all = netlink::socket().and_then(|socket| interfaces::list_by(&socket)).map_err(fail)?;
    let devices = all.into_iter().filter(|facts| facts.kind.as_deref() == Some("netkit"));
    Ok(devices.map(|facts| (facts.ifindex, facts.name)).collect())
}

fn fail(source: io::Error) -> KernelError {
    KernelError::call("find", "the netkit device of a link", source)
}

/// Returns the name of the device at which a link runs, if it is in the namespace of this thread. For a program at the
/// peer, the kernel reports the index of the peer, which may be in another namespace.
pub fn device_here(
    link: &OwnedFd,
    attach_type: u32,
    mut devices: NetkitDevices,
) -> Result<Option<String>, KernelError> {
    let mut info = attr::LinkInfo::default();
    sys::info(link, &mut info).map_err(fail)?;
    // Most links run at the device that the kernel names: ask there first.
    devices.sort_by_key(|(ifindex, _)| ifindex.0 != info.words[0]);
    for (ifindex, name) in devices {
        if has_link(ifindex, attach_type, info.id).map_err(fail)? {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn has_link(device: IfIndex, attach_type: u32, link: u32) -> io::Result<bool> {
    let mut programs = [0_u32; MAX_PROGRAMS];
    let mut links = [0_u32; MAX_PROGRAMS];
    let mut request = attr::Query {
        target: device.0,
        attach_type,
        prog_ids: programs.as_mut_ptr() as u64,
        count: MAX_PROGRAMS as u32,
        link_ids: links.as_mut_ptr() as u64,
        ..Default::default()
    };
    match sys::bpf(Command::ProgQuery, &mut request) {
        // Gone by now, or the other end of a device.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO | libc::EACCES)) => {
            Ok(false)
        }
        Err(error) => Err(error),
        Ok(_) => Ok(links.contains(&link)),
    }
}
