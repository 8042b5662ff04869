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

/// Programs of eight full cgroups: deeper nesting of cgroups with programs is rare.
const MAX_EFFECTIVE: usize = 8 * MAX_PROGRAMS;
const F_QUERY_EFFECTIVE: u32 = 1;
/// Maximum number of queries for a stable list, which may change between two of them.
const MAX_READINGS: usize = 8;

/// Opens a cgroup's folder without following symbolic links.
fn open(path: &CgroupPath) -> Result<OwnedFd, KernelError> {
    let fail = |source| KernelError::call("open", format!("cgroup {path}"), source);
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
) -> Result<(OwnedFd, u64), KernelError> {
    let group = open(path)?;
    let id = id_of(&group, path)?;
    // Kernels without `cgroup_order` accept no position, and append.
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
    let hook = || format!("of cgroup {path}");
    let link =
        sys::bpf_fd(Command::LinkCreate, &mut request).map_err(|source| match source.raw_os_error() {
            Some(libc::ESTALE) => KernelError::HookChanged { hook: hook() },
            Some(libc::EINVAL) if let ListAnchor::Before(link) | ListAnchor::After(link) = anchor => {
                KernelError::Preorder { link, hook: hook() }
            }
            Some(libc::ENOENT) if anchor.name().is_some() => {
                KernelError::NoAnchor { anchor: anchor.name().unwrap_or_default(), hook: hook() }
            }
            Some(libc::EPERM) => KernelError::HookHeld {
                hook: format!("of cgroup {path}, or of one above it"),
                holder: "a program that was attached there so that it is the only one".to_owned(),
                look: Some("bpftool cgroup tree".to_owned()),
            },
            _ => KernelError::call("attach", format!("a program to cgroup {path}"), source),
        })?;
    Ok((link, id))
}

fn id_of(group: &OwnedFd, path: &CgroupPath) -> Result<u64, KernelError> {
    let facts = rustix::fs::fstat(group);
    Ok(facts.map_err(|error| KernelError::call("look at", format!("cgroup {path}"), error))?.st_ino)
}

pub fn contents(path: &CgroupPath, attach_type: u32) -> Result<GroupContents, KernelError> {
    let group = open(path)?;
    let fail = |source| KernelError::call("list", format!("programs of cgroup {path}"), source);
    let (mut list, mut revision) = listed(&group, attach_type).map_err(fail)?;
    let mut found = None;
    for _ in 0..MAX_READINGS {
        let all = effective(&group, attach_type);
        let (again, latest) = listed(&group, attach_type).map_err(fail)?;
        if (&again, latest) == (&list, revision) {
            // `all` is an error for LSM hooks, whose effective programs kernels do not list.
            found = all.ok().and_then(|all| run_order(&list, &all));
            break;
        }
        (list, revision) = (again, latest);
    }
    let is_short = list.len() < 2;
    let RunOrder { above_first, entries: order, above_last, preorder } = found.unwrap_or_else(|| RunOrder {
        entries: list,
        preorder: is_short.then_some(0),
        ..RunOrder::default()
    });
    let id = id_of(&group, path)?;
    let mut links = if order.is_empty() { Vec::new() } else { links_at(id, attach_type).map_err(fail)? };
    let entries = order.into_iter().map(|program| {
        let at = links.iter().position(|(_, runs)| *runs == program);
        (program, at.map(|at| links.remove(at).0))
    });
    Ok(GroupContents {
        id,
        revision: Some(revision).filter(|revision| *revision != 0),
        entries: entries.collect(),
        preorder,
        above_first,
        above_last,
    })
}

/// Returns the own programs of a cgroup, or of a network namespace, and the revision of that list: 0 before Linux 6.17.
pub fn listed(group: &OwnedFd, attach_type: u32) -> std::io::Result<(Vec<ProgramId>, u64)> {
    let mut programs = [0_u32; MAX_PROGRAMS];
    let mut request = attr::Query {
        target: group.as_raw_fd().cast_unsigned(),
        attach_type,
        prog_ids: programs.as_mut_ptr() as u64,
        count: MAX_PROGRAMS as u32,
        ..Default::default()
    };
    sys::bpf(Command::ProgQuery, &mut request)?;
    let list = programs.iter().take(request.count as usize).copied().map(ProgramId);
    Ok((list.collect(), request.revision))
}

/// Returns the programs of a cgroup and of its ancestors, in execution order.
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

#[derive(Debug, Default, PartialEq, Eq)]
struct RunOrder {
    above_first: Vec<ProgramId>,
    entries: Vec<ProgramId>,
    above_last: Vec<ProgramId>,
    preorder: Option<usize>,
}

/// Returns the execution order, and how many of the cgroup's own programs certainly have `BPF_F_PREORDER`: those run
/// first, but the kernel's list ignores the flag. Own programs are contiguous in `all`: ancestors' programs with the
/// flag run before them, those without it after them. `None` if inconsistent or ambiguous: an ancestor may have the
/// same programs.
fn run_order(list: &[ProgramId], all: &[ProgramId]) -> Option<RunOrder> {
    let starts = 0..(all.len() + 1).checked_sub(list.len())?;
    let fitting = starts.filter_map(|start| {
        let own = &all[start..start + list.len()];
        let preorder = (0..own.len().max(1)).find(|end| is_merged(list, own.split_at(*end)))?;
        Some((preorder, start, own))
    });
    let fitting: Vec<_> = fitting.collect();
    let (preorder, start, own) = fitting.iter().copied().min()?;
    if fitting.iter().any(|other| other.2 != own) {
        return None;
    }
    let above = if list.is_empty() || fitting.len() > 1 { None } else { Some((start, start + own.len())) };
    Some(RunOrder {
        above_first: above.map_or_else(Vec::new, |(start, _)| all[..start].to_vec()),
        entries: own.to_vec(),
        above_last: above.map_or_else(Vec::new, |(_, end)| all[end..].to_vec()),
        preorder: Some(preorder),
    })
}

/// Returns whether `list` interleaves the two lists. A program may occur several times.
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

/// Returns the links at a hook, which the kernel's list of programs lacks. `group`: inode of the cgroup's folder.
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

    fn ids(numbers: &[u32]) -> Vec<ProgramId> {
        numbers.iter().copied().map(ProgramId).collect()
    }

    fn order(list: &[u32], all: &[u32]) -> Option<(Vec<ProgramId>, usize)> {
        let found = run_order(&ids(list), &ids(all))?;
        Some((found.entries, found.preorder?))
    }

    #[test]
    fn program_that_runs_before_its_place_has_the_flag() {
        assert_eq!(order(&[1, 2, 3], &[2, 1, 3]), Some((ids(&[2, 1, 3]), 1)));
        assert_eq!(order(&[1, 2, 3], &[2, 3, 1]), Some((ids(&[2, 3, 1]), 2)));
        assert_eq!(order(&[1, 2], &[1, 2]), Some((ids(&[1, 2]), 0)));
        assert_eq!(order(&[1, 2], &[7, 2, 1, 8]), Some((ids(&[2, 1]), 1)));
        // Program 3 has two links at the hook: the new one is made before the old one ends.
        assert_eq!(order(&[3, 1, 2, 3], &[1, 3, 2, 3]), Some((ids(&[1, 3, 2, 3]), 1)));
        // Changed between the two queries.
        assert_eq!(order(&[1, 2], &[1]), None);
        assert_eq!(order(&[1, 2], &[3, 4]), None);
        assert_eq!(order(&[1, 2], &[2, 2, 3]), None);
        assert_eq!(order(&[1, 2, 3, 4], &[4, 3, 2, 1]), None);
    }

    #[test]
    fn ancestor_with_the_same_program_does_not_hide_the_flag() {
        assert_eq!(order(&[1, 2], &[2, 2, 1]), Some((ids(&[2, 1]), 1)));
        assert_eq!(order(&[1, 2, 3], &[2, 2, 1, 3]), Some((ids(&[2, 1, 3]), 1)));
        // The cgroup's own programs may be [1, 2], or [2, 1] if 2 has the flag.
        assert_eq!(order(&[1, 2], &[2, 1, 2]), None);
        assert_eq!(order(&[1, 2], &[1, 2, 1, 2]), None);
        assert_eq!(order(&[1, 9, 2], &[2, 1, 9, 2]), None);
        assert_eq!(order(&[1, 2, 3], &[2, 1, 3, 2, 1, 3, 1]), None);
    }

    #[test]
    fn programs_of_ancestors_run_before_and_after() {
        let found = run_order(&ids(&[1, 2]), &ids(&[7, 2, 1, 8])).unwrap();
        assert_eq!((found.above_first, found.above_last), (ids(&[7]), ids(&[8])));
        // The ancestor's program may run first or last.
        let found = run_order(&ids(&[1]), &ids(&[1, 1])).unwrap();
        assert_eq!((found.entries, found.above_first, found.above_last), (ids(&[1]), Vec::new(), Vec::new()));
        let found = run_order(&[], &ids(&[7])).unwrap();
        assert_eq!((found.above_first, found.above_last), (Vec::new(), Vec::new()));
    }
}
