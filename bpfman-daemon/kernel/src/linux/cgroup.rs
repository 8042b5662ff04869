//! Control groups of version 2, and links of programs to their hooks.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};

use bpfmand_core::uapi::link_type;
use bpfmand_core::{CgroupPath, GroupContents, KernelLinkId, ProgramId};
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::attr::{self, Command};
use super::{containers, facts, sys, tcx};
use crate::{KernelError, ListAnchor};

/// Most programs that are asked for at once: `BPF_CGROUP_MAX_PROGS` of the kernel, which has no more at a hook.
const MOST: usize = 64;

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

/// Links a program to a hook of a group, at its place. Other programs there and in groups below run too.
pub fn attach(
    program: &OwnedFd,
    (path, attach_type): (&CgroupPath, u32),
    anchor: ListAnchor,
    expected_revision: Option<u64>,
) -> Result<OwnedFd, KernelError> {
    let group = open(path)?;
    // Before that came (`cgroup_order`), no flag is known, and what comes is the last.
    let (flags, relative) = match anchor {
        ListAnchor::Last => (0, 0),
        anchor => tcx::flags(anchor),
    };
    let mut request = attr::LinkCreate {
        prog_fd: program.as_raw_fd(),
        target: group.as_raw_fd().cast_unsigned(),
        attach_type,
        flags,
        relative,
        expected_revision: expected_revision.unwrap_or(0),
        ..Default::default()
    };
    let hook = || format!("of control group {path}");
    sys::bpf_fd(Command::LinkCreate, &mut request).map_err(|source| match source.raw_os_error() {
        Some(libc::ESTALE) => KernelError::HookChanged { hook: hook() },
        Some(libc::ENOENT) if anchor.name().is_some() => {
            KernelError::NoAnchor { anchor: anchor.name().unwrap_or_default(), hook: hook() }
        }
        // Someone attached one there that lets no others in.
        Some(libc::EPERM) => KernelError::HookHeld {
            hook: format!("of control group {path}, or of one above it"),
            holder: "a program that was attached there so that it is the only one".to_owned(),
        },
        _ => KernelError::call("attach", format!("a program to control group {path}"), source),
    })
}

/// Programs of a hook of the group itself, with their links.
pub fn contents(path: &CgroupPath, attach_type: u32) -> Result<GroupContents, KernelError> {
    let group = open(path)?;
    let fail = |source| KernelError::call("list", format!("programs of control group {path}"), source);
    let mut programs = [0_u32; MOST];
    let mut request = attr::Query {
        target: group.as_raw_fd().cast_unsigned(),
        attach_type,
        prog_ids: programs.as_mut_ptr() as u64,
        count: MOST as u32,
        ..Default::default()
    };
    sys::bpf(Command::ProgQuery, &mut request).map_err(fail)?;
    let id = rustix::fs::fstat(&group).map_err(|error| fail(error.into()))?.st_ino;
    let mut links = if request.count == 0 { Vec::new() } else { links_at(id, attach_type).map_err(fail)? };
    let entries = programs.iter().take(request.count as usize).map(|program| {
        let program = ProgramId(*program);
        // Where a program has several links here, one is as good as another: they run the same.
        let at = links.iter().position(|(_, runs)| *runs == program);
        (program, at.map(|at| links.remove(at).0))
    });
    Ok(GroupContents {
        revision: Some(request.revision).filter(|revision| *revision != 0),
        entries: entries.collect(),
    })
}

/// Links to a hook of the group with this id, which is the number of its folder. The kernel's list does not name them.
fn links_at(group: u64, attach_type: u32) -> std::io::Result<Vec<(KernelLinkId, ProgramId)>> {
    let mut found = Vec::new();
    for id in facts::link_ids()? {
        // It may be gone by now.
        let Some(link) = facts::open(Command::LinkGetFdById, id.0)? else { continue };
        let mut info = attr::LinkInfo::default();
        sys::info(&link, &mut info)?;
        let at = u64::from(info.words[0]) | u64::from(info.words[1]) << 32;
        if (info.link_type, at, info.words[2]) == (link_type::CGROUP, group, attach_type) {
            found.push((id, ProgramId(info.prog_id)));
        }
    }
    Ok(found)
}
