//! Processes of containers, by the names of their control groups.
//!
//! Only names that root gave count: who owns a group makes others inside, with the name of any container.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bpfmand_core::{ContainerFacts, ContainerId, WantedContainers};

use super::process_groups::{Hierarchy, is_roots, named_by_root};
use super::{netns, processes, sys};
use crate::KernelError;

/// Groups that are looked at, at most, and how deep: a node has some hundred in each hierarchy.
const MOST_GROUPS: usize = 200_000;
const DEEPEST: usize = 64;
/// Processes of one container that are told.
const MOST_PROCESSES: usize = 1000;
/// How many of a container's processes are asked for its network, where some end meanwhile.
const MOST_ASKED: usize = 16;
/// The inode of the first control group namespace (`PROC_CGROUP_INIT_INO`). In another one, not all groups can be seen.
pub(super) const FIRST_GROUPS: u64 = 0xefff_fffb;

/// Processes by container, and by the path of the container's group in its hierarchy: two groups are two containers.
type Found = BTreeMap<ContainerId, BTreeMap<PathBuf, BTreeSet<u32>>>;

/// What is known of a group by those around it, from the outermost on. A container may make groups inside its own, and
/// give them any name, that of another container too: the outermost name says whose they are.
#[derive(Clone, Debug, Default)]
struct Around<'w> {
    /// The containers that it belongs to.
    containers: BTreeSet<&'w ContainerId>,
    /// The path of their group.
    group: PathBuf,
    /// Names above it that are the node's own, which may be a container itself: what looks like one there decides nothing.
    above: usize,
    /// It is a container's, or inside one: names in there mean nothing.
    inside: bool,
}

impl<'w> Around<'w> {
    /// At the root of a hierarchy of a node whose own names are so many.
    fn node(above: usize) -> Self {
        Self { above, ..Self::default() }
    }

    /// Returns the same for a group of this name inside, which has this path.
    fn enter(&self, name: &'w str, path: &Path, wanted: &'w WantedContainers) -> Self {
        if self.inside {
            return self.clone();
        }
        if self.above > 0 {
            return Self { above: self.above - 1, ..self.clone() };
        }
        let containers = wanted.named_by(name);
        let inside = !containers.is_empty() || WantedContainers::is_a_containers(name);
        Self { containers, group: path.to_owned(), above: 0, inside }
    }

    /// Notes processes of the containers.
    fn note(&self, found: &mut Found, pids: impl Iterator<Item = u32>) {
        for pid in pids {
            for id in &self.containers {
                let groups = found.entry((*id).clone()).or_default();
                groups.entry(self.group.clone()).or_default().insert(pid);
            }
        }
    }
}

/// Finds containers that have processes now.
///
/// # Errors
/// [`KernelError::AmbiguousContainer`]; or `/proc` cannot be read.
pub fn find(wanted: &WantedContainers) -> Result<Vec<ContainerFacts>, KernelError> {
    let failed = |source| KernelError::call("read", "/proc", source);
    let root = processes::root();
    let mut found = Found::new();
    let numbered_alike = root == Path::new("/proc");
    // Groups list processes by the reader's own numbers: 0 are those that have none.
    if numbered_alike {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(failed)?;
        by_hierarchies(&hierarchies(&mounts), wanted, &mut found)?;
    }
    let is_missing = |found: &Found| wanted.iter().any(|id| !found.contains_key(id));
    let own_groups = std::fs::metadata("/proc/self/ns/cgroup").map_err(failed)?.ino();
    let sees_all = numbered_alike && own_groups == FIRST_GROUPS;
    if numbered_alike && !sees_all && is_missing(&found) {
        // This process sees the groups of its own container alone, and the node's first process sees the node's.
        by_hierarchies(&hierarchies_of_first(&root), wanted, &mut found)?;
    }
    if !sees_all && is_missing(&found) {
        let mut more = Found::new();
        by_processes(&root, wanted, &mut more).map_err(failed)?;
        merge(&mut found, more)?;
    }
    let one = |(id, groups): (ContainerId, BTreeMap<_, BTreeSet<u32>>)| {
        describe(&root, id, &groups.into_values().flatten().collect())
    };
    Ok(found.into_iter().filter_map(one).collect())
}

/// Looks at hierarchies until all containers are found.
fn by_hierarchies(
    hierarchies: &[PathBuf],
    wanted: &WantedContainers,
    found: &mut Found,
) -> Result<(), KernelError> {
    let mut budget = MOST_GROUPS;
    for hierarchy in hierarchies {
        let mut more = Found::new();
        let around = Around::node(Hierarchy::unified().above_pods());
        by_groups((hierarchy, Path::new("/")), wanted, &around, &mut more, (DEEPEST, &mut budget));
        merge(found, more)?;
        if wanted.iter().all(|id| found.contains_key(id)) {
            break;
        }
    }
    if budget == 0 {
        tracing::warn!("too many control groups to find all containers");
    }
    Ok(())
}

/// Adds what another hierarchy has. Each container is taken from the first that has it.
fn merge(found: &mut Found, more: Found) -> Result<(), KernelError> {
    for (id, groups) in more {
        if found.contains_key(&id) {
            continue;
        }
        if groups.len() > 1 {
            let groups = groups.into_keys().collect();
            return Err(KernelError::AmbiguousContainer { id: id.to_string(), groups });
        }
        found.insert(id, groups);
    }
    Ok(())
}

/// Where hierarchies are mounted whole, as the paths of processes are reported to this one: by itself, and by the first process
/// of the node if both are in one cgroup namespace.
fn whole_hierarchies(root: &Path) -> io::Result<Vec<PathBuf>> {
    let whole = |mounts: &str| {
        let is_whole = |line: &&str| GroupMount::of(line).is_some_and(|mount| mount.root == "/");
        hierarchies(&mounts.lines().filter(is_whole).collect::<Vec<_>>().join("\n"))
    };
    let mut found = whole(&std::fs::read_to_string("/proc/self/mountinfo")?);
    let first = root.join("1");
    let namespace = |process: &Path| std::fs::metadata(process.join("ns/cgroup")).ok().map(|file| file.ino());
    if namespace(&first).is_some_and(|of_first| Some(of_first) == namespace(Path::new("/proc/self"))) {
        let mounts = std::fs::read_to_string(first.join("mountinfo")).unwrap_or_default();
        found.extend(inside_of(&first, whole(&mounts)));
    }
    Ok(found)
}

/// Where the first process of the node has control groups mounted, as paths of this process.
fn hierarchies_of_first(root: &Path) -> Vec<PathBuf> {
    let first = root.join("1");
    let mounts = std::fs::read_to_string(first.join("mountinfo")).unwrap_or_default();
    inside_of(&first, hierarchies(&mounts)).collect()
}

/// Paths of a process, as paths of this one.
fn inside_of(process: &Path, paths: Vec<PathBuf>) -> impl Iterator<Item = PathBuf> {
    let root = process.join("root");
    paths.into_iter().filter_map(move |path| Some(root.join(path.strip_prefix("/").ok()?)))
}

/// Where control groups are mounted: version 2, then systemd's own of version 1, then those of controllers; each
/// once.
pub(super) fn hierarchies(mounts: &str) -> Vec<PathBuf> {
    let mut found = BTreeMap::new();
    for mount in mounts.lines().filter_map(GroupMount::of) {
        let rank = match mount.kind.split(' ').next() {
            Some("cgroup2") => 0,
            Some("cgroup") if mount.kind.contains("name=systemd") => 1,
            Some("cgroup") => 2,
            _ => continue,
        };
        found
            .entry((rank, mount.device.to_owned(), mount.root.to_owned()))
            .or_insert_with(|| unescaped(mount.at));
    }
    found.into_values().collect()
}

/// Where the hierarchy of version 2 is mounted from its root.
pub(super) fn unified(mounts: &str) -> Option<PathBuf> {
    let mut mounts = mounts.lines().filter_map(GroupMount::of);
    mounts
        .find(|mount| mount.root == "/" && mount.kind.starts_with("cgroup2 "))
        .map(|mount| unescaped(mount.at))
}

/// Where systemd's own hierarchy of version 1 is mounted from its root.
pub(super) fn systemd(mounts: &str) -> Option<PathBuf> {
    let mut mounts = mounts.lines().filter_map(GroupMount::of);
    let is_it = |mount: &GroupMount<'_>| {
        mount.root == "/" && mount.kind.starts_with("cgroup ") && mount.kind.contains("name=systemd")
    };
    mounts.find(is_it).map(|mount| unescaped(mount.at))
}

/// A line of `/proc/self/mountinfo`, as far as it tells control groups.
struct GroupMount<'a> {
    device: &'a str,
    root: &'a str,
    at: &'a str,
    /// Type of file system, source and options.
    kind: &'a str,
}

impl<'a> GroupMount<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(2);
        Some(Self { device: fields.next()?, root: fields.next()?, at: fields.next()?, kind })
    }
}

/// Blanks in paths are `\040` there.
fn unescaped(path: &str) -> PathBuf {
    PathBuf::from(
        path.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\"),
    )
}

/// Looks at the groups inside a group, which is a folder and a path in its hierarchy.
fn by_groups(
    (folder, path): (&Path, &Path),
    wanted: &WantedContainers,
    around: &Around<'_>,
    found: &mut Found,
    (depth, budget): (usize, &mut usize),
) {
    // Names of others than root mean nothing.
    if depth == 0 || !around.inside && !is_roots(folder) {
        return;
    }
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        // Links are none of the kernel's.
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
            // One that is gone meanwhile, or that has threads alone, has no processes of its own.
            let text = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            here.note(found, text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid != 0));
        }
        by_groups((&folder, &path), wanted, &here, found, (depth - 1, budget));
    }
}

/// Looks at the groups of all processes. A path counts as far as the owners of its groups can be looked at.
fn by_processes(root: &Path, wanted: &WantedContainers, found: &mut Found) -> io::Result<()> {
    let hierarchies = whole_hierarchies(root)?;
    if hierarchies.is_empty() {
        tracing::warn!(
            "containers cannot be found by their processes: neither the daemon nor the node's first process has the daemon's \
             hierarchies of control groups mounted"
        );
    }
    let above = Hierarchy::unified().above_pods();
    for pid in processes::all(root)? {
        let file = root.join(pid.to_string()).join("cgroup");
        let Ok(groups) = std::fs::read_to_string(file) else { continue };
        let paths = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
        for path in paths {
            let by_root =
                hierarchies.iter().map(|hierarchy| named_by_root(hierarchy, path)).max().unwrap_or(0);
            let names = path.split('/').filter(|name| !name.is_empty()).take(by_root);
            let mut at = PathBuf::from("/");
            let mut here = Around::node(above);
            for name in names {
                at.push(name);
                here = here.enter(name, &at, wanted);
            }
            here.note(found, std::iter::once(pid));
        }
    }
    Ok(())
}

/// The processes that are still there, and their network; none if all are gone, or if each of them is in a network of
/// its own making.
///
/// Any process may make a user namespace, and a network namespace that belongs to it, and go there; it cannot leave its
/// process namespace. So a container's network belongs to the user namespace that the process namespace of its first
/// process belongs to, or to the daemon's own.
fn describe(root: &Path, id: ContainerId, pids: &BTreeSet<u32>) -> Option<ContainerFacts> {
    let mut by_age: Vec<(u64, u32)> =
        pids.iter().filter_map(|pid| Some((processes::began(root, *pid)?, *pid))).collect();
    by_age.sort_unstable();
    by_age.truncate(MOST_PROCESSES);
    let pids: Vec<u32> = by_age.into_iter().map(|(_, pid)| pid).collect();
    let namespace = |pid: u32, name: &str| root.join(pid.to_string()).join("ns").join(name);
    let given_by: BTreeSet<u64> = [
        pids.first().and_then(|pid| owner(&namespace(*pid, "pid"))),
        std::fs::metadata("/proc/self/ns/user").ok().map(|file| file.ino()),
    ]
    .into_iter()
    .flatten()
    .collect();
    let found = pids.iter().take(MOST_ASKED).find_map(|pid| {
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

/// The user namespace that a namespace's file belongs to, by its inode.
fn owner(namespace: &Path) -> Option<u64> {
    let file = std::fs::File::open(namespace).ok()?;
    let owner = std::fs::File::from(sys::owner_of_namespace(&file).ok()?);
    Some(owner.metadata().ok()?.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_taken_in_order_and_once() {
        let mounts = "\
30 25 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
31 30 0:27 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n\
32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
33 30 0:29 / /sys/fs/cgroup/uni\\040fied rw,nosuid shared:4 - cgroup2 cgroup2 rw\n\
34 30 0:29 / /again rw - cgroup2 cgroup2 rw\n\
35 25 0:30 / /proc rw - proc proc rw\n";
        let found = hierarchies(mounts);
        let expected = ["/sys/fs/cgroup/uni fied", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/memory"];
        assert_eq!(found, expected.map(PathBuf::from));
        assert_eq!(unified(mounts), Some(PathBuf::from("/sys/fs/cgroup/uni fied")));
        assert!(
            hierarchies(&std::fs::read_to_string("/proc/self/mountinfo").unwrap()).iter().all(|h| h.is_dir())
        );
    }

    #[test]
    fn names_inside_a_container_and_above_the_node_mean_nothing() {
        let (own, other) = ("3f".repeat(32), "77".repeat(32));
        let ids = [&own, &other].map(|id| ContainerId::parse(id).unwrap());
        let wanted = WantedContainers::new(ids.clone());
        let found = |path: &str, above: usize| {
            let mut at = PathBuf::new();
            let mut here = Around::node(above);
            for name in path.split('/') {
                at.push(name);
                here = here.enter(name, &at, &wanted);
            }
            here.containers.into_iter().cloned().collect::<Vec<_>>()
        };
        assert_eq!(found(&format!("kubepods/pod1/{own}/kubepods/pod2/{other}"), 0), [ids[0].clone()]);
        assert_eq!(found(&format!("docker/{other}/kubepods/pod1/{own}"), 2), [ids[0].clone()]);
        assert_eq!(found(&format!("{}/kubepods/pod1/{own}", "5a".repeat(32)), 0), []);
        assert_eq!(found("system.slice/ssh.service", 0), []);
    }

    /// What finds containers where groups cannot be seen, against what finds them by groups.
    #[test]
    fn processes_tell_their_containers_themselves() {
        let id = ContainerId::parse(&format!("{:064x}", std::process::id())).unwrap();
        let wanted = WantedContainers::new([id.clone()]);
        let hierarchy = hierarchies(&std::fs::read_to_string("/proc/self/mountinfo").unwrap()).remove(0);
        let group = hierarchy.join(format!("cri-containerd-{id}.scope"));
        std::fs::create_dir(&group).unwrap();
        let mut process =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        std::fs::write(group.join("cgroup.procs"), process.id().to_string()).unwrap();
        let mut found = Found::new();
        by_processes(Path::new("/proc"), &wanted, &mut found).unwrap();
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
        assert_eq!(described.into_iter().map(|found| found.pids).collect::<Vec<_>>(), [vec![pid]]);
    }
}
