//! Tasks of one tenant, in a form that a program can compare with the current task.
//!
//! Ids of cgroups (version 2, seen from the root) are never reused within a boot. Elsewhere, pid namespaces identify
//! containers: their inodes are reused, so the start of their first process is part of the identity.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use bpfman_model::{ContainerTasks, TaskGroup, unified_cgroup_of};

use super::hierarchies::{self, FIRST_GROUPS};
use super::processes;
use crate::KernelError;

/// `PROC_PID_INIT_INO`: the initial pid namespace has all processes outside of containers.
const FIRST_PROCESSES: u64 = 0xefff_fffc;

const MAX_LOOKED_AT: usize = 8192;

pub fn of_container(pid: u32) -> Result<ContainerTasks, KernelError> {
    let fail = |reason| KernelError::NoTaskGroup { of: format!("process {pid}"), reason };
    let root = processes::root();
    let began = processes::began(&root, pid).ok_or_else(|| fail("it is gone"))?;
    let tasks = match by_cgroup(&root, pid).map_err(fail)? {
        Some(tasks) => tasks,
        None => by_namespace(&root, pid).map_err(fail)?,
    };
    // The pid may belong to another process by now.
    match processes::began(&root, pid) {
        Some(now) if now == began => Ok(ContainerTasks { tasks, began }),
        _ => Err(fail("it is gone")),
    }
}

/// Returns the tasks of a cgroup other than the root, by its path in the hierarchy of version 2.
pub fn of_group(path: &str) -> Result<TaskGroup, KernelError> {
    let fail = |reason| KernelError::NoTaskGroup { of: format!("cgroup {path}"), reason };
    let hierarchy = whole_hierarchy().ok_or_else(|| fail("there is no hierarchy of version 2 here"))?;
    group(&hierarchy, Path::new(path)).ok_or_else(|| fail("there is no such group, or it is everybody's"))
}

/// Returns the users of processes in a cgroup and below, except in other user namespaces (rootless containers).
pub fn users_of_group(path: &str, tasks: &TaskGroup) -> Result<BTreeSet<u32>, KernelError> {
    let fail = |reason| KernelError::NoTaskGroup { of: format!("cgroup {path}"), reason };
    let hierarchy = whole_hierarchy().ok_or_else(|| fail("there is no hierarchy of version 2 here"))?;
    if group(&hierarchy, Path::new(path)).as_ref() != Some(tasks) {
        return Err(fail("another cgroup has its path"));
    }
    let (root, mut users, mut looked) = (processes::root(), BTreeSet::new(), 0);
    let own = namespace(&root, "self", "user");
    let mut folders = vec![hierarchy.join(path.trim_start_matches('/'))];
    while let Some(folder) = folders.pop() {
        // A threaded cgroup cannot be read: its processes are those of the domain above it.
        let processes = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        for process in processes.lines() {
            // Ids in another user namespace are chosen by its creator.
            if namespace(&root, process, "user") == own {
                users.extend(users_of_process(&root, process));
            }
            looked += 1;
        }
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        folders.extend(entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
        looked += 1;
        if looked + folders.len() > MAX_LOOKED_AT {
            return Err(fail("it has too many processes, or cgroups below it"));
        }
    }
    Ok(users)
}

fn namespace(root: &Path, pid: &str, kind: &str) -> Option<u64> {
    fs::metadata(root.join(pid).join("ns").join(kind)).map(|file| file.ino()).ok()
}

/// Returns real, effective and saved user id. The fourth id, for file systems, follows the effective one.
fn users_of_process(root: &Path, pid: &str) -> impl Iterator<Item = u32> {
    let status = fs::read_to_string(root.join(pid).join("status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    let users: Vec<u32> =
        line.split_ascii_whitespace().take(3).filter_map(|user| user.parse().ok()).collect();
    users.into_iter()
}

pub fn began(tasks: &TaskGroup, pid: u32) -> Option<u64> {
    let root = processes::root();
    let began = processes::began(&root, pid)?;
    // Its pid may belong to another process by now.
    (has(&root, tasks, pid) && processes::began(&root, pid) == Some(began)).then_some(began)
}

fn has(root: &Path, tasks: &TaskGroup, pid: u32) -> bool {
    match tasks {
        TaskGroup::ControlGroup { level, .. } => {
            let lines = fs::read_to_string(root.join(pid.to_string()).join("cgroup")).ok();
            let path = lines.as_deref().and_then(unified_cgroup_of);
            let found = path.zip(whole_hierarchy()).and_then(|(path, hierarchy)| {
                let names = Path::new(path.trim_start_matches('/')).components();
                group(&hierarchy, &names.take(*level as usize).collect::<PathBuf>())
            });
            found == Some(*tasks)
        }
        TaskGroup::PidNamespace { .. } => by_namespace(root, pid).as_ref() == Ok(tasks),
    }
}

/// Returns whether a cgroup, in any hierarchy, is a container's and named by root. Any user can create namespaces.
pub fn is_contained(groups_of_process: &str) -> bool {
    let is_containers = |(controllers, path): (&str, &str)| {
        hierarchies::group(controllers, path.to_owned()).container().is_some()
    };
    hierarchies::groups(groups_of_process).any(is_containers)
}

fn whole_hierarchy() -> Option<PathBuf> {
    // Needed for each connection, and mounted once.
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return Some(found.clone());
    }
    let own = fs::metadata("/proc/self/ns/cgroup").ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let found = (own.ino() == FIRST_GROUPS).then(|| hierarchies::unified(&mounts))??;
    Some(FOUND.get_or_init(|| found).clone())
}

fn group(hierarchy: &Path, path: &Path) -> Option<TaskGroup> {
    let names: Vec<_> = path
        .components()
        .filter(|part| *part != Component::RootDir)
        .map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect::<Option<_>>()?;
    let found = fs::symlink_metadata(hierarchy.join(names.iter().collect::<PathBuf>())).ok()?;
    let level = u32::try_from(names.len()).ok()?;
    // The inode of a cgroup is its id on machines with inodes of 64 bits.
    let known = level > 0 && found.is_dir() && found.ino() != 0 && cfg!(target_pointer_width = "64");
    known.then_some(TaskGroup::ControlGroup { level, id: found.ino() })
}

/// A cgroup counts as a container's only if root named it: a user can give its own cgroups the same kind of name.
fn by_cgroup(root: &Path, pid: u32) -> Result<Option<TaskGroup>, &'static str> {
    let lines = fs::read_to_string(root.join(pid.to_string()).join("cgroup")).ok();
    let Some(path) = lines.as_deref().and_then(unified_cgroup_of) else { return Ok(None) };
    let path = hierarchies::group("", path);
    if path.is_in_node_container() {
        return Err("it is in a pod of a node that is a container itself, whose cgroup has other pods too: \
                    that node needs a daemon of its own");
    }
    let of_container = path.container_group().zip(whole_hierarchy());
    Ok(of_container.and_then(|(path, hierarchy)| group(&hierarchy, Path::new(&path))))
}

fn by_namespace(root: &Path, pid: u32) -> Result<TaskGroup, &'static str> {
    let numbering = |process: &str| namespace(root, process, "pid");
    let inode = numbering(&pid.to_string()).ok_or("it is gone")?;
    if inode == FIRST_PROCESSES || Some(inode) == numbering("self") || Some(inode) == numbering("1") {
        return Err("it has neither a process namespace of its own, nor a cgroup of a container in the \
                    hierarchy of version 2");
    }
    let number = u32::try_from(inode).map_err(|_| "its process namespace has no number of 32 bits")?;
    let others = || processes::all(root).unwrap_or_default();
    let is_first = |process: &u32| is_first(root, *process) && numbering(&process.to_string()) == Some(inode);
    let first = std::iter::once(pid).find(is_first).or_else(|| others().into_iter().find(is_first));
    let began = first.and_then(|first| processes::began(root, first));
    let began = began.ok_or("the first process of its process namespace is not to be seen")?;
    Ok(TaskGroup::PidNamespace { inode: number, began })
}

fn is_first(root: &Path, pid: u32) -> bool {
    let status = fs::read_to_string(root.join(pid.to_string()).join("status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.and_then(|numbers| numbers.split_ascii_whitespace().last()) == Some("1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_outside_of_containers_is_refused() {
        let says = of_container(std::process::id()).unwrap_err().to_string();
        assert!(says.contains("neither a process namespace of its own"), "{says}");
        assert!(of_container(u32::MAX).unwrap_err().to_string().contains("it is gone"));
        for path in ["/", "/..", "/no/such/group"] {
            assert!(of_group(path).is_err(), "{path}");
        }
        let elsewhere = TaskGroup::PidNamespace { inode: 1, began: 1 };
        assert_eq!(began(&elsewhere, std::process::id()), None);
    }

    #[test]
    fn only_cgroups_that_root_named_are_containers() {
        use std::os::unix::fs::chown;
        let Some(hierarchy) = whole_hierarchy() else {
            eprintln!("SKIPPED(no whole cgroup hierarchy of version 2): {}", module_path!());
            return;
        };
        let test = std::process::id();
        let container = format!("cri-containerd-{test:064x}.scope");
        let (roots, users) = (hierarchy.join(&container), hierarchy.join(format!("of-user-{test}")));
        let of_user = users.join(&container);
        fs::create_dir(&roots).unwrap();
        fs::create_dir_all(&of_user).unwrap();
        chown(&users, Some(4711), Some(4711)).unwrap();
        let mut process = std::process::Command::new("unshare")
            .args(["-Urmpf", "cat"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let answers = [&hierarchy, &of_user, &roots].map(|group| {
            fs::write(group.join("cgroup.procs"), process.id().to_string()).unwrap();
            is_contained(&fs::read_to_string(format!("/proc/{}/cgroup", process.id())).unwrap())
        });
        fs::write(hierarchy.join("cgroup.procs"), process.id().to_string()).unwrap();
        drop(process.stdin.take());
        process.wait().unwrap();
        let began = std::time::Instant::now();
        for folder in [&of_user, &users, &roots] {
            while fs::remove_dir(folder).is_err() && began.elapsed().as_secs() < 10 {
                std::thread::yield_now();
            }
        }
        assert_eq!(answers, [false, false, true]);
    }

    #[test]
    fn pod_of_a_node_that_is_a_container_is_refused() {
        let Some(hierarchy) = whole_hierarchy() else {
            eprintln!("SKIPPED(no whole cgroup hierarchy of version 2): {}", module_path!());
            return;
        };
        let (node, container) = (format!("{:064x}", std::process::id()), "77".repeat(32));
        let node = hierarchy.join(format!("docker-{node}.scope"));
        let inner = node.join("kubepods/pod0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9").join(container);
        fs::create_dir_all(&inner).unwrap();
        let mut process =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let answer = |group: &Path| {
            fs::write(group.join("cgroup.procs"), process.id().to_string()).unwrap();
            of_container(process.id())
        };
        let of_pod = answer(&inner);
        let of_node = answer(&node);
        drop(process.stdin.take());
        process.wait().unwrap();
        let began = std::time::Instant::now();
        for folder in inner.ancestors().take(4) {
            while fs::remove_dir(folder).is_err() && began.elapsed().as_secs() < 10 {
                std::thread::yield_now();
            }
        }
        let says = of_pod.unwrap_err().to_string();
        assert!(says.contains("a node that is a container itself"), "{says}");
        assert!(matches!(
            of_node,
            Ok(ContainerTasks { tasks: TaskGroup::ControlGroup { level: 1, .. }, .. })
        ));
    }
}
