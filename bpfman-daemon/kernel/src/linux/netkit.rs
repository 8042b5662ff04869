use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use bpfman_model::{HookKind, Interface};

use super::attr::{self, Command};
use super::{netns, sys};
use crate::KernelError;

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
    netns::enter(netns, || {
        // Looks up the index in the very namespace where it denotes that device.
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
    })
}
