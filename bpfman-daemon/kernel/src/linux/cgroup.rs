//! Control groups of version 2, and links of programs to their hooks.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};

use bpfmand_core::CgroupPath;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::attr::{self, Command};
use super::{containers, sys};
use crate::KernelError;

/// Opens a group's folder: below the hierarchy's root as this process sees it, and never through a symbolic link.
fn open(path: &CgroupPath) -> Result<OwnedFd, KernelError> {
    let fail = |source| KernelError::call("open", format!("control group {path}"), source);
    let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(fail)?;
    let Some(hierarchy) = containers::unified(&mounts) else {
        return Err(KernelError::NoControlGroup { path: path.clone(), unified: false });
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(hierarchy, flags, Mode::empty()).map_err(|error| fail(error.into()))?;
    if path.relative().is_empty() {
        return Ok(root);
    }
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(root, path.relative(), flags, Mode::empty(), inside).map_err(|error| match error {
        rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR => {
            KernelError::NoControlGroup { path: path.clone(), unified: true }
        }
        error => fail(error.into()),
    })
}

/// Links a program to a hook of a group. Other programs there and in groups below run too.
pub fn attach(program: &OwnedFd, path: &CgroupPath, attach_type: u32) -> Result<OwnedFd, KernelError> {
    let group = open(path)?;
    let mut request = attr::LinkCreate {
        prog_fd: program.as_raw_fd(),
        target: group.as_raw_fd().cast_unsigned(),
        attach_type,
        ..Default::default()
    };
    sys::bpf_fd(Command::LinkCreate, &mut request).map_err(|source| match source.raw_os_error() {
        // Someone attached one there that lets no others in.
        Some(libc::EPERM) => KernelError::HookHeld {
            hook: format!("of control group {path}, or of one above it"),
            holder: "a program that was attached there so that it is the only one".to_owned(),
        },
        _ => KernelError::call("attach", format!("a program to control group {path}"), source),
    })
}
