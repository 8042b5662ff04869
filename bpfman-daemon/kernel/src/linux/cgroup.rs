use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};

use bpfman_model::uapi::link_type;
use bpfman_model::{CgroupPath, GroupContents, KernelLinkId, ProgramId};
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::attr::{self, Command};
use super::{facts, hierarchies, sys, tcx};
use crate::{KernelError, ListAnchor};

/// `BPF_CGROUP_MAX_PROGS`, the kernel's limit per hook.
const MAX_PROGRAMS: usize = 64;

/// More nested cgroups with programs are rare.
const MAX_EFFECTIVE: usize = 8 * MAX_PROGRAMS;
const F_QUERY_EFFECTIVE: u32 = 1;

/// Never follows a symbolic link.
fn open(path: &CgroupPath) -> Result<OwnedFd, KernelError> {
    let fail = |source| KernelError::call("open", format!("control group {path}"), source);
    let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(fail)?;
    let Some(hierarchy) = hierarchies::unified(&mounts) else {
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

pub fn attach(
    program: &OwnedFd,
    (path, attach_type): (&CgroupPath, u32),
    anchor: ListAnchor,
    expected_revision: Option<u64>,
) -> Result<OwnedFd, KernelError> {
    let group = open(path)?;
    // Kernels without `cgroup_order` know no flags, and append.
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
        Some(libc::EINVAL) if let ListAnchor::Before(link) | ListAnchor::After(link) = anchor => {
            KernelError::Preorder { link, hook: hook() }
        }
        Some(libc::ENOENT) if anchor.name().is_some() => {
            KernelError::NoAnchor { anchor: anchor.name().unwrap_or_default(), hook: hook() }
        }
        Some(libc::EPERM) => KernelError::HookHeld {
            hook: format!("of control group {path}, or of one above it"),
            holder: "a program that was attached there so that it is the only one".to_owned(),
            look: Some("bpftool cgroup tree".to_owned()),
        },
        _ => KernelError::call("attach", format!("a program to control group {path}"), source),
    })
}

pub fn contents(path: &CgroupPath, attach_type: u32) -> Result<GroupContents, KernelError> {
    let group = open(path)?;
    let fail = |source| KernelError::call("list", format!("programs of control group {path}"), source);
    let mut programs = [0_u32; MAX_PROGRAMS];
    let mut request = attr::Query {
        target: group.as_raw_fd().cast_unsigned(),
        attach_type,
        prog_ids: programs.as_mut_ptr() as u64,
        count: MAX_PROGRAMS as u32,
        ..Default::default()
    };
    sys::bpf(Command::ProgQuery, &mut request).map_err(fail)?;
    let list: Vec<ProgramId> = programs.iter().take(request.count as usize).copied().map(ProgramId).collect();
    let (order, preorder) = match effective(&group, attach_type) {
        _ if list.len() < 2 => (list, Some(0)),
        Ok(all) => run_order(&list, &all).map_or((list, None), |(order, preorder)| (order, Some(preorder))),
        Err(_) => (list, None),
    };
    let id = rustix::fs::fstat(&group).map_err(|error| fail(error.into()))?.st_ino;
    let mut links = if request.count == 0 { Vec::new() } else { links_at(id, attach_type).map_err(fail)? };
    let entries = order.into_iter().map(|program| {
        let at = links.iter().position(|(_, runs)| *runs == program);
        (program, at.map(|at| links.remove(at).0))
    });
    Ok(GroupContents {
        revision: Some(request.revision).filter(|revision| *revision != 0),
        entries: entries.collect(),
        preorder,
    })
}

/// Includes programs of ancestors, in execution order.
fn effective(group: &OwnedFd, attach_type: u32) -> std::io::Result<Vec<ProgramId>> {
    let mut programs = [0_u32; MAX_EFFECTIVE];
    let mut request = attr::Query {
        target: group.as_raw_fd().cast_unsigned(),
        attach_type,
        query_flags: F_QUERY_EFFECTIVE,
        prog_ids: programs.as_mut_ptr() as u64,
        count: MAX_EFFECTIVE as u32,
        ..Default::default()
    };
    sys::bpf(Command::ProgQuery, &mut request)?;
    Ok(programs.into_iter().take(request.count as usize).map(ProgramId).collect())
}

/// Returns the execution order of a cgroup's own programs, and how many of the first certainly have `BPF_F_PREORDER`:
/// the kernel lists regardless of the flag, but runs those first. Own programs are contiguous among the effective ones,
/// since ancestors' run before the first class and after the second. `None` if inconsistent.
fn run_order(list: &[ProgramId], all: &[ProgramId]) -> Option<(Vec<ProgramId>, usize)> {
    let start = all.iter().position(|program| list.contains(program))?;
    let own = all.get(start..start.checked_add(list.len())?)?;
    let preorder = (0..own.len()).find(|end| is_merged(list, own.split_at(*end)))?;
    Some((own.to_vec(), preorder))
}

/// A program may occur several times in the merged list.
fn is_merged(list: &[ProgramId], (first, second): (&[ProgramId], &[ProgramId])) -> bool {
    let mut taken = vec![false; first.len() + 1];
    taken[0] = true;
    for (at, program) in list.iter().enumerate() {
        let mut next = vec![false; first.len() + 1];
        for count in (0..=first.len().min(at)).filter(|count| taken[*count]) {
            if first.get(count) == Some(program) {
                next[count + 1] = true;
            }
            if second.get(at - count) == Some(program) {
                next[count] = true;
            }
        }
        taken = next;
    }
    taken[first.len()]
}

/// The kernel's list lacks links. `group` is the inode of the cgroup's folder.
fn links_at(group: u64, attach_type: u32) -> std::io::Result<Vec<(KernelLinkId, ProgramId)>> {
    let mut found = Vec::new();
    for id in facts::link_ids()? {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_that_runs_before_its_place_has_the_flag() {
        let ids = |numbers: &[u32]| -> Vec<ProgramId> { numbers.iter().copied().map(ProgramId).collect() };
        let order = |list: &[u32], all: &[u32]| run_order(&ids(list), &ids(all));
        assert_eq!(order(&[1, 2, 3], &[2, 1, 3]), Some((ids(&[2, 1, 3]), 1)));
        assert_eq!(order(&[1, 2, 3], &[2, 3, 1]), Some((ids(&[2, 3, 1]), 2)));
        assert_eq!(order(&[1, 2], &[1, 2]), Some((ids(&[1, 2]), 0)));
        assert_eq!(order(&[1, 2], &[7, 2, 1, 8]), Some((ids(&[2, 1]), 1)));
        // A link that moves before the other ends.
        assert_eq!(order(&[3, 1, 2, 3], &[1, 3, 2, 3]), Some((ids(&[1, 3, 2, 3]), 1)));
        // Changed between the two queries, or a program is also attached to an ancestor.
        assert_eq!(order(&[1, 2], &[1]), None);
        assert_eq!(order(&[1, 2], &[3, 4]), None);
        assert_eq!(order(&[1, 2], &[2, 2, 1]), None);
        assert_eq!(order(&[1, 2, 3, 4], &[4, 3, 2, 1]), None);
    }
}
