//! Processes of containers, found by cgroup names. Only names assigned by root count: the owner of a cgroup can create
//! nested ones with the name of any container.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Once;

use bpfman_model::{AmbiguousContainer, ContainerFacts, ContainerId, FoundContainers, WantedContainers};

use super::hierarchies::{self, FIRST_GROUPS, Hierarchy, is_writable_by_root_alone, named_by_root};
use super::{netns, processes, sys};
use crate::KernelError;

/// A node has some hundred cgroups in each hierarchy.
const MAX_GROUPS: usize = 200_000;
const DEEPEST: usize = 64;
const MAX_PROCESSES: usize = 1000;
/// Processes tried for the network of a container, since some may end meanwhile.
const MAX_QUERIES: usize = 16;

/// Processes by container id and by path of its cgroup: two cgroups with one id are two containers.
type Found = BTreeMap<ContainerId, BTreeMap<PathBuf, BTreeSet<u32>>>;

/// Context of a cgroup. A container can create nested cgroups with any container's name: the outermost name counts.
#[derive(Clone, Debug, Default)]
struct AncestorContext<'w> {
    containers: BTreeSet<&'w ContainerId>,
    group: PathBuf,
    /// Names above the node's pods, which identify no container of the node.
    of_node: &'w [String],
    /// Set in and below a container's cgroup, where names have no meaning.
    inside: bool,
}

impl<'w> AncestorContext<'w> {
    fn node(of_node: &'w [String]) -> Self {
        Self { of_node, ..Self::default() }
    }

    fn enter(&self, name: &'w str, path: &Path, wanted: &'w WantedContainers) -> Self {
        if self.inside {
            return self.clone();
        }
        if let Some((first, of_node)) = self.of_node.split_first()
            && first == name
        {
            return Self { of_node, ..self.clone() };
        }
        let containers = wanted.named_by(name);
        let inside = !containers.is_empty() || WantedContainers::is_a_containers(name);
        Self { containers, group: path.to_owned(), of_node: &[], inside }
    }

    fn note(&self, found: &mut Found, pids: impl Iterator<Item = u32>) {
        for pid in pids {
            for id in &self.containers {
                let groups = found.entry((*id).clone()).or_default();
                groups.entry(self.group.clone()).or_default().insert(pid);
            }
        }
    }
}

pub fn find(wanted: &WantedContainers) -> Result<FoundContainers, KernelError> {
    let failed = |source| KernelError::call("read", "/proc", source);
    let root = processes::root();
    let own = std::fs::read_to_string("/proc/self/cgroup").map_err(failed)?;
    let mut found = Found::new();
    let is_missing = |found: &Found| wanted.iter().any(|id| !found.contains_key(id));
    // Cgroups list processes in the reader's pid namespace; 0 is a process outside of it.
    let numbered_alike = root == Path::new("/proc");
    let own_groups = std::fs::metadata("/proc/self/ns/cgroup").map_err(failed)?.ino();
    let sees_all = numbered_alike && own_groups == FIRST_GROUPS;
    let mut has_hierarchies = !hierarchies::whole().is_empty();
    if numbered_alike {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(failed)?;
        let hierarchies = Hierarchy::all(&mounts, &own);
        has_hierarchies |= !hierarchies.is_empty();
        by_hierarchies(&hierarchies, wanted, &mut found);
    }
    if numbered_alike && !sees_all && is_missing(&found) {
        // This process sees only its own container's cgroups; the node's first process sees all.
        let hierarchies = hierarchies::of_first_process(&root, &own);
        has_hierarchies |= !hierarchies.is_empty();
        by_hierarchies(&hierarchies, wanted, &mut found);
    }
    if !sees_all && is_missing(&found) {
        let mut more = Found::new();
        by_processes(&root, hierarchies::whole(), wanted, &mut more).map_err(failed)?;
        merge(&mut found, more);
    }
    if !has_hierarchies {
        static WARNING: Once = Once::new();
        WARNING.call_once(|| {
            tracing::warn!(
                "containers cannot be found: neither the daemon nor the node's first process has cgroups mounted where the \
                 daemon sees them"
            );
        });
    }
    let mut answer = FoundContainers::default();
    for (id, groups) in found {
        if groups.len() > 1 {
            answer.ambiguous.push(AmbiguousContainer { id, groups: groups.into_keys().collect() });
        } else {
            let pids = groups.into_values().flatten().collect();
            answer.containers.extend(describe(&root, id, &pids));
        }
    }
    Ok(answer)
}

fn by_hierarchies(hierarchies: &[Hierarchy], wanted: &WantedContainers, found: &mut Found) {
    let mut budget = MAX_GROUPS;
    for hierarchy in hierarchies {
        let mut more = Found::new();
        let around = AncestorContext::node(names_below(hierarchy));
        let top = (hierarchy.folder.as_path(), hierarchy.root.as_path());
        by_groups(top, wanted, &around, &mut more, (DEEPEST, &mut budget));
        merge(found, more);
        if wanted.iter().all(|id| found.contains_key(id)) {
            break;
        }
    }
    if budget == 0 {
        tracing::warn!("too many cgroups to find all containers");
    }
}

fn names_below(hierarchy: &Hierarchy) -> &[String] {
    let mounted: Vec<_> = hierarchy.root.iter().skip(1).collect();
    let of_node = hierarchy.of_node();
    let is_above =
        of_node.iter().zip(&mounted).all(|(name, mounted)| mounted.to_str() == Some(name.as_str()));
    if is_above { of_node.get(mounted.len()..).unwrap_or_default() } else { &[] }
}

/// Adds the containers that no earlier hierarchy has.
fn merge(found: &mut Found, more: Found) {
    for (id, groups) in more {
        found.entry(id).or_insert(groups);
    }
}

fn by_groups(
    (folder, path): (&Path, &Path),
    wanted: &WantedContainers,
    around: &AncestorContext<'_>,
    found: &mut Found,
    (depth, budget): (usize, &mut usize),
) {
    if depth == 0 || !around.inside && !is_writable_by_root_alone(folder) {
        return;
    }
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if *budget == 0 {
            return;
        }
        *budget -= 1;
        let (folder, name) = (entry.path(), entry.file_name());
        let path = path.join(&name);
        let name = name.to_string_lossy();
        let here = around.enter(&name, &path, wanted);
        if here.inside && here.containers.is_empty() {
            continue;
        }
        if !here.containers.is_empty() {
            // A removed or threaded cgroup has no processes of its own.
            let text = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            here.note(found, text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid != 0));
        }
        by_groups((&folder, &path), wanted, &here, found, (depth - 1, budget));
    }
}

/// Finds containers by the cgroups of processes. Only the part of a path whose cgroups root has made counts.
fn by_processes(
    root: &Path,
    hierarchies: &[Hierarchy],
    wanted: &WantedContainers,
    found: &mut Found,
) -> io::Result<()> {
    for pid in processes::all(root)? {
        let file = root.join(pid.to_string()).join("cgroup");
        let Ok(lines) = std::fs::read_to_string(file) else { continue };
        for (controllers, path) in hierarchies::groups(&lines) {
            let Some(hierarchy) = hierarchies.iter().find(|one| one.is_of(controllers)) else { continue };
            let by_root = named_by_root(&hierarchy.folder, path);
            let names = path.split('/').filter(|name| !name.is_empty()).take(by_root);
            let mut at = PathBuf::from("/");
            let mut here = AncestorContext::node(hierarchy.of_node());
            for name in names {
                at.push(name);
                here = here.enter(name, &at, wanted);
            }
            here.note(found, std::iter::once(pid));
        }
    }
    Ok(())
}

/// Any process can create user and network namespaces, but not leave its pid namespace. The container's network is
/// therefore one owned by the daemon's user namespace, or by that which owns its first process's pid namespace.
fn describe(root: &Path, id: ContainerId, pids: &BTreeSet<u32>) -> Option<ContainerFacts> {
    let mut by_age: Vec<(u64, u32)> =
        pids.iter().filter_map(|pid| Some((processes::began(root, *pid)?, *pid))).collect();
    by_age.sort_unstable();
    by_age.truncate(MAX_PROCESSES);
    let pids: Vec<u32> = by_age.into_iter().map(|(_, pid)| pid).collect();
    let namespace = |pid: u32, name: &str| root.join(pid.to_string()).join("ns").join(name);
    let given_by: BTreeSet<u64> = [
        pids.first().and_then(|pid| owner(&namespace(*pid, "pid"))),
        std::fs::metadata("/proc/self/ns/user").ok().map(|file| file.ino()),
    ]
    .into_iter()
    .flatten()
    .collect();
    let found = pids.iter().take(MAX_QUERIES).find_map(|pid| {
        let netns = namespace(*pid, "net");
        if !given_by.contains(&owner(&netns)?) {
            return None;
        }
        let identity = netns::enter(Some(&netns), netns::here).ok()?;
        Some(ContainerFacts { id: id.clone(), pids: pids.clone(), netns, identity })
    });
    if found.is_none() && !pids.is_empty() {
        tracing::warn!(container = %id, "its processes are in networks of their own making; its own is not known");
    }
    found
}

fn owner(namespace: &Path) -> Option<u64> {
    let file = std::fs::File::open(namespace).ok()?;
    let owner = std::fs::File::from(sys::owner_of_namespace(&file).ok()?);
    Some(owner.metadata().ok()?.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_inside_a_container_and_above_the_node_mean_nothing() {
        let (own, other) = ("3f".repeat(32), "77".repeat(32));
        let ids = [&own, &other].map(|id| ContainerId::parse(id).unwrap());
        let wanted = WantedContainers::new(ids.clone());
        let found = |path: &str, of_node: &str| {
            let of_node: Vec<String> =
                of_node.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            let mut at = PathBuf::new();
            let mut here = AncestorContext::node(&of_node);
            for name in path.split('/') {
                at.push(name);
                here = here.enter(name, &at, &wanted);
            }
            here.containers.into_iter().cloned().collect::<Vec<_>>()
        };
        assert_eq!(found(&format!("kubepods/pod1/{own}/kubepods/pod2/{other}"), ""), [ids[0].clone()]);
        let node = format!("docker/{other}");
        assert_eq!(found(&format!("docker/{other}/kubepods/pod1/{own}"), &node), [ids[0].clone()]);
        let third = "5a".repeat(32);
        assert_eq!(found(&format!("docker/{third}/kubepods/pod1/{own}"), &node), [], "another node");
        assert_eq!(found(&format!("{third}/kubepods/pod1/{own}"), ""), []);
        assert_eq!(found("system.slice/ssh.service", ""), []);
    }

    /// Root may own a path in one hierarchy, and a user the same path in another one.
    #[test]
    fn owners_of_another_hierarchy_do_not_count() {
        let id = ContainerId::parse(&"3f".repeat(32)).unwrap();
        let wanted = WantedContainers::new([id.clone()]);
        let folder = tempfile::tempdir().unwrap();
        let path = format!("delegated/cri-containerd-{id}.scope");
        for name in ["unified", "pids"] {
            std::fs::create_dir_all(folder.path().join(name).join(&path)).unwrap();
        }
        std::os::unix::fs::chown(folder.path().join("unified/delegated"), Some(4711), None).unwrap();
        let at = folder.path().display();
        let mounts = format!(
            "1 2 0:29 / {at}/unified rw - cgroup2 cgroup2 rw\n2 2 0:30 / {at}/pids rw - cgroup cgroup rw,pids\n"
        );
        let hierarchies = Hierarchy::all(&mounts, "");
        let found = |lines: &str| {
            std::fs::create_dir_all(folder.path().join("proc/7")).unwrap();
            std::fs::write(folder.path().join("proc/7/cgroup"), lines).unwrap();
            let mut found = Found::new();
            by_processes(&folder.path().join("proc"), &hierarchies, &wanted, &mut found).unwrap();
            found.len()
        };
        assert_eq!(found(&format!("0::/{path}\n")), 0);
        assert_eq!(found(&format!("3:freezer:/{path}\n0::/\n")), 0, "its owners are unknown");
        assert_eq!(found(&format!("2:pids:/{path}\n0::/{path}\n")), 1);
    }

    #[test]
    fn processes_tell_their_containers_themselves() {
        let id = ContainerId::parse(&format!("{:064x}", std::process::id())).unwrap();
        let wanted = WantedContainers::new([id.clone()]);
        let group = hierarchies::whole()[0].folder.join(format!("cri-containerd-{id}.scope"));
        std::fs::create_dir(&group).unwrap();
        let mut process =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        std::fs::write(group.join("cgroup.procs"), process.id().to_string()).unwrap();
        let mut found = Found::new();
        by_processes(Path::new("/proc"), hierarchies::whole(), &wanted, &mut found).unwrap();
        let described = find(&wanted).unwrap();
        let pid = process.id();
        drop(process.stdin.take());
        process.wait().unwrap();
        let began = std::time::Instant::now();
        while std::fs::remove_dir(&group).is_err() && began.elapsed().as_secs() < 10 {
            std::thread::yield_now();
        }
        let path = PathBuf::from(format!("/cri-containerd-{id}.scope"));
        assert_eq!(found, Found::from([(id, BTreeMap::from([(path, BTreeSet::from([pid]))]))]));
        assert_eq!(described.containers.into_iter().map(|found| found.pids).collect::<Vec<_>>(), [vec![pid]]);
    }
}
