//! Processes of containers, by the names of their control groups.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bpfmand_core::{ContainerFacts, ContainerId, WantedContainers};

use super::{netns, processes, sys};

/// Groups that are looked at, at most, and how deep: a node has some hundred in each hierarchy.
const MOST_GROUPS: usize = 200_000;
const DEEPEST: usize = 64;
/// Processes of one container that are told.
const MOST_PROCESSES: usize = 1000;
/// How many of a container's processes are asked for its network, where some end meanwhile.
const MOST_ASKED: usize = 16;
/// The inode of the first control group namespace (`PROC_CGROUP_INIT_INO`). In another one, not all groups can be seen.
pub(super) const FIRST_GROUPS: u64 = 0xefff_fffb;

type Found = BTreeMap<ContainerId, BTreeSet<u32>>;

/// What is known of a group by those around it, from the outermost on. A container may make groups inside its own, and
/// give them any name, that of another container too: the outermost name says whose they are.
#[derive(Clone, Debug, Default)]
struct Around<'w> {
    /// The containers that it belongs to.
    containers: BTreeSet<&'w ContainerId>,
    /// It is below the groups of Kubernetes' pods. A node may be a container itself, so what looks like one above them
    /// decides nothing.
    of_pods: bool,
    /// It is a container's, or inside one: names in there mean nothing.
    inside: bool,
}

impl<'w> Around<'w> {
    /// What is known of a group of this name in there.
    fn enter(&self, name: &'w str, wanted: &'w WantedContainers) -> Self {
        if self.inside {
            return self.clone();
        }
        let containers = wanted.named_by(name);
        let inside = !containers.is_empty() || self.of_pods && WantedContainers::is_a_containers(name);
        Self { containers, of_pods: self.of_pods || name.contains("kubepods"), inside }
    }
}

/// Finds containers that have processes now.
pub fn find(wanted: &WantedContainers) -> io::Result<Vec<ContainerFacts>> {
    let root = processes::root();
    let mut found = Found::new();
    let numbered_alike = root == Path::new("/proc");
    // Groups list processes by the reader's own numbers: 0 are those that have none.
    if numbered_alike {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        let mut budget = MOST_GROUPS;
        for hierarchy in hierarchies(&mounts) {
            by_groups(&hierarchy, wanted, &Around::default(), &mut found, (DEEPEST, &mut budget));
            if wanted.iter().all(|id| found.contains_key(id)) {
                break;
            }
        }
        if budget == 0 {
            tracing::warn!("too many control groups to find all containers");
        }
    }
    let is_missing = || wanted.iter().any(|id| !found.contains_key(id));
    let sees_all = numbered_alike && std::fs::metadata("/proc/self/ns/cgroup")?.ino() == FIRST_GROUPS;
    if !sees_all && is_missing() {
        by_processes(&root, wanted, &mut found)?;
    }
    Ok(found.into_iter().filter_map(|(id, pids)| describe(&root, id, &pids)).collect())
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

/// Looks at a group and those inside.
fn by_groups(
    group: &Path,
    wanted: &WantedContainers,
    around: &Around<'_>,
    found: &mut Found,
    (depth, budget): (usize, &mut usize),
) {
    if depth == 0 || *budget == 0 {
        return;
    }
    *budget -= 1;
    let name = group.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let here = around.enter(name, wanted);
    if here.inside && here.containers.is_empty() {
        return;
    }
    if !here.containers.is_empty() {
        // One that is gone meanwhile, or that has threads alone, has no processes of its own.
        let text = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        let pids = text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid != 0);
        for pid in pids {
            for id in &here.containers {
                found.entry((*id).clone()).or_default().insert(pid);
            }
        }
    }
    let Ok(entries) = std::fs::read_dir(group) else { return };
    for entry in entries.flatten() {
        // Links are none of the kernel's.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            by_groups(&entry.path(), wanted, &here, found, (depth - 1, budget));
        }
    }
}

/// Looks at the groups of all processes, whose paths are told as far as they lead, seen or not.
fn by_processes(root: &Path, wanted: &WantedContainers, found: &mut Found) -> io::Result<()> {
    for pid in processes::all(root)? {
        let file = root.join(pid.to_string()).join("cgroup");
        let Ok(groups) = std::fs::read_to_string(file) else { continue };
        let paths = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
        for path in paths {
            let here = path.split('/').fold(Around::default(), |around, name| around.enter(name, wanted));
            for id in here.containers {
                found.entry(id.clone()).or_default().insert(pid);
            }
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
        assert_eq!(found, Found::from([(id, BTreeSet::from([pid]))]));
        assert_eq!(described.into_iter().map(|found| found.pids).collect::<Vec<_>>(), [vec![pid]]);
    }
}
