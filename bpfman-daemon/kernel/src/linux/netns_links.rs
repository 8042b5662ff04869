use std::os::fd::{AsRawFd, OwnedFd};

use bpfman_model::NetfilterPlace;
use rustix::fs::{Mode, OFlags};

use super::attr::{self, Command};
use super::sys;
use crate::KernelError;

/// The kernel's limit of `BPF_SK_LOOKUP` programs in a namespace.
const MAX_PROGRAMS: usize = 64;
const DEFRAGMENT: u32 = 1;

/// Attaches socket lookup or flow dissector programs.
pub fn attach(program: &OwnedFd, attach_type: u32) -> Result<OwnedFd, KernelError> {
    let fail = |source| KernelError::call("attach", "a program to a network namespace", source);
    let here = rustix::fs::open("/proc/thread-self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| fail(error.into()))?;
    let mut request = attr::LinkCreate {
        prog_fd: program.as_raw_fd(),
        target: here.as_raw_fd().cast_unsigned(),
        attach_type,
        ..Default::default()
    };
    sys::bpf_fd(Command::LinkCreate, &mut request).map_err(|source| match source.raw_os_error() {
        // A namespace can have one flow dissector; that of the initial namespace applies to all.
        Some(libc::E2BIG) => {
            KernelError::HookFull { hook: "of the network namespace".to_owned(), most: MAX_PROGRAMS }
        }
        Some(libc::EEXIST) => KernelError::HookHeld {
            hook: "of the network namespace".to_owned(),
            holder: "another program there, or in the first namespace".to_owned(),
            look: Some("bpftool net".to_owned()),
        },
        _ => fail(source),
    })
}

pub fn attach_netfilter(program: &OwnedFd, place: &NetfilterPlace) -> Result<OwnedFd, KernelError> {
    let mut request = attr::LinkCreateNetfilter {
        prog_fd: program.as_raw_fd(),
        attach_type: bpfman_model::uapi::attach_type::NETFILTER,
        family: place.protocol(),
        hook: place.hook.number(),
        priority: place.priority,
        netfilter_flags: if place.defragment { DEFRAGMENT } else { 0 },
        ..Default::default()
    };
    sys::bpf_fd(Command::LinkCreate, &mut request).map_err(|source| match source.raw_os_error() {
        Some(libc::EBUSY) => KernelError::priority_taken(place),
        _ => KernelError::call("attach", format!("a program to netfilter {place}"), source),
    })
}
