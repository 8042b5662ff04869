use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use bpfman_model::MapId;

use super::attr::{self, Command};
use super::{facts, sys};
use crate::KernelError;

/// Attaches a program, which runs for sockets that are added from now on.
pub fn attach(program: &OwnedFd, map: MapId, attach_type: u32) -> Result<OwnedFd, KernelError> {
    let fail = |source| KernelError::call("attach", format!("a program to map {map}"), source);
    let held = facts::open(Command::MapGetFdById, map.0).map_err(fail)?;
    let held = held.ok_or_else(|| fail(io::Error::from_raw_os_error(libc::ENOENT)))?;
    let target = held.as_raw_fd().cast_unsigned();
    // A link would silently replace a program that was attached without a link.
    let mut there = attr::Query { target, attach_type, ..Default::default() };
    if sys::bpf(Command::ProgQuery, &mut there).is_ok() && there.count > 0 {
        return Err(KernelError::sockmap_held(map));
    }
    let mut request =
        attr::LinkCreate { prog_fd: program.as_raw_fd(), target, attach_type, ..Default::default() };
    sys::bpf_fd(Command::LinkCreate, &mut request).map_err(|source| match source.raw_os_error() {
        Some(libc::EBUSY) => KernelError::sockmap_held(map),
        _ => fail(source),
    })
}
