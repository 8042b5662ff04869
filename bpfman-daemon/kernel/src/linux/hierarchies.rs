use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bpfman_model::{GroupPath, PodsRoot};

use super::processes;

/// `PROC_CGROUP_INIT_INO`: only the initial cgroup namespace sees all cgroups.
pub const FIRST_GROUPS: u64 = 0xefff_fffb;

#[derive(Clone, Debug)]
pub struct Hierarchy {
    pub folder: PathBuf,
    pub root: PathBuf,
    /// Controllers and names of version 1; `None` for version 2.
    options: Option<Vec<String>>,
    pods: Option<PodsRoot>,
}

impl Hierarchy {
    /// Returns each hierarchy once: version 2, then systemd's own of version 1, then those of controllers.
    pub fn all(mounts: &str, own: &str) -> Vec<Self> {
        let mut found = BTreeMap::new();
        for mount in mounts.lines().filter_map(GroupMount::of) {
            let rank = match mount.file_system() {
                "cgroup2" => 0,
                "cgroup" if mount.kind.contains("name=systemd") => 1,
                "cgroup" => 2,
                _ => continue,
            };
            found
                .entry((rank, mount.device.to_owned(), mount.root.to_owned()))
                .or_insert_with(|| Self::of(&mount, own));
        }
        found.into_values().collect()
    }

    fn of(mount: &GroupMount<'_>, own: &str) -> Self {
        let options = || mount.kind.split(' ').nth(2).unwrap_or_default().split(',').map(str::to_owned);
        let mut hierarchy = Self {
            folder: unescaped(mount.at),
            root: unescaped(mount.root),
            options: (mount.file_system() == "cgroup").then(|| options().collect()),
            pods: None,
        };
        let of_own = groups(own).find(|(controllers, _)| hierarchy.is_of(controllers));
        hierarchy.pods = of_own.and_then(|(_, path)| PodsRoot::of(path));
        hierarchy
    }

    pub fn is_of(&self, controllers: &str) -> bool {
        match &self.options {
            None => controllers.is_empty(),
            Some(options) => {
                !controllers.is_empty()
                    && controllers.split(',').all(|one| options.iter().any(|option| option == one))
            }
        }
    }

    pub fn of_node(&self) -> &[String] {
        self.pods.as_ref().map_or(&[], PodsRoot::of_node)
    }

    fn is_whole(&self) -> bool {
        self.root == Path::new("/")
    }
}

pub fn groups(lines: &str) -> impl Iterator<Item = (&str, &str)> {
    lines.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some((fields.next()?, fields.next()?))
    })
}

/// Returns a cgroup's path with its owners, which are unknown if the hierarchy is not mounted from its root.
pub fn group(controllers: &str, path: String) -> GroupPath {
    let found = whole().iter().find(|hierarchy| hierarchy.is_of(controllers));
    let by_root = found.map_or(0, |hierarchy| named_by_root(&hierarchy.folder, &path));
    GroupPath::new(path, by_root, found.and_then(|hierarchy| hierarchy.pods.as_ref()))
}

/// Returns the hierarchies that are mounted from their root: in this process's mount namespace first, then in that of the
/// node's first process, if both share a cgroup namespace.
pub fn whole() -> &'static [Hierarchy] {
    static WHOLE: OnceLock<Vec<Hierarchy>> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mut found = Hierarchy::all(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(), &own);
        let root = processes::root();
        let namespace = |process: &Path| fs::metadata(process.join("ns/cgroup")).map(|file| file.ino()).ok();
        let of_first = namespace(&root.join("1"));
        if of_first.is_some() && of_first == namespace(Path::new("/proc/self")) {
            found.extend(of_first_process(&root, &own));
        }
        found.retain(Hierarchy::is_whole);
        found
    })
}

pub fn of_first_process(root: &Path, own: &str) -> Vec<Hierarchy> {
    let first = root.join("1");
    let mounts = fs::read_to_string(first.join("mountinfo")).unwrap_or_default();
    let outside = |hierarchy: Hierarchy| {
        let folder = first.join("root").join(hierarchy.folder.strip_prefix("/").ok()?);
        Some(Hierarchy { folder, ..hierarchy })
    };
    Hierarchy::all(&mounts, own).into_iter().filter_map(outside).collect()
}

pub fn unified(mounts: &str) -> Option<PathBuf> {
    let found = Hierarchy::all(mounts, "").into_iter().find(|one| one.is_of("") && one.is_whole());
    found.map(|hierarchy| hierarchy.folder)
}

pub fn named_by_root(hierarchy: &Path, path: &str) -> usize {
    let mut at = hierarchy.to_owned();
    let names = path.split('/').filter(|name| !name.is_empty());
    names
        .take_while(|name| {
            let given = *name != ".." && is_writable_by_root_alone(&at);
            at.push(name);
            given
        })
        .count()
}

pub fn is_writable_by_root_alone(group: &Path) -> bool {
    const OTHERS_WRITE: u32 = 0o022;
    fs::symlink_metadata(group)
        .is_ok_and(|found| found.is_dir() && found.uid() == 0 && found.mode() & OTHERS_WRITE == 0)
}

struct GroupMount<'a> {
    device: &'a str,
    root: &'a str,
    at: &'a str,
    kind: &'a str,
}

impl<'a> GroupMount<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(2);
        Some(Self { device: fields.next()?, root: fields.next()?, at: fields.next()?, kind })
    }

    fn file_system(&self) -> &'a str {
        self.kind.split(' ').next().unwrap_or_default()
    }
}

fn unescaped(path: &str) -> PathBuf {
    PathBuf::from(
        path.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\"),
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::*;

    const MOUNTS: &str = "\
30 25 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
31 30 0:27 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n\
32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
33 30 0:29 / /sys/fs/cgroup/uni\\040fied rw,nosuid shared:4 - cgroup2 cgroup2 rw\n\
34 30 0:29 / /again rw - cgroup2 cgroup2 rw\n\
36 30 0:31 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
37 30 0:32 /docker/7 /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
35 25 0:30 / /proc rw - proc proc rw\n";

    #[test]
    fn hierarchies_are_taken_in_order_and_once() {
        let found = Hierarchy::all(MOUNTS, "");
        let folders: Vec<_> = found.iter().map(|one| one.folder.display().to_string()).collect();
        let expected =
            ["uni fied", "systemd", "memory", "cpu", "pids"].map(|name| format!("/sys/fs/cgroup/{name}"));
        assert_eq!(folders, expected);
        assert_eq!(unified(MOUNTS), Some(PathBuf::from("/sys/fs/cgroup/uni fied")));
        let part = "33 30 0:29 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!((unified(part), Hierarchy::all(part, "").len()), (None, 1));
        assert!(whole().iter().all(|one| one.folder.is_dir() && one.root == Path::new("/")));
    }

    #[test]
    fn each_line_has_a_hierarchy_of_its_own() {
        let found = Hierarchy::all(MOUNTS, "");
        let of = |controllers: &str| {
            let mut fitting = found.iter().filter(|one| one.is_of(controllers));
            let first = fitting.next().map(|one| one.folder.file_name().unwrap().to_str().unwrap());
            assert!(fitting.next().is_none(), "{controllers}");
            first
        };
        assert_eq!(
            ["", "name=systemd", "memory", "cpu,cpuacct", "pids", "freezer", "rw,memory,pids", "mem"].map(of),
            [Some("uni fied"), Some("systemd"), Some("memory"), Some("cpu"), Some("pids"), None, None, None]
        );
    }

    #[test]
    fn node_has_names_of_its_own_in_each_hierarchy() {
        let pod = "kubepods/pod0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9/x";
        let own = format!("4:cpu,cpuacct:/a/b/{pod}\n1:name=systemd:/system.slice\n0::/a/{pod}\n");
        let found = Hierarchy::all(MOUNTS, &own);
        let names: Vec<_> = found.iter().map(|one| one.of_node().join("/")).collect();
        assert_eq!(names, ["a", "", "", "a/b", ""]);
    }

    #[test]
    fn names_count_up_to_the_first_group_of_another_owner() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b/c/d");
        fs::create_dir_all(&deep).unwrap();
        let count = |path: &str| named_by_root(folder.path(), path);
        assert_eq!(count("/a/b/c/d"), 4);
        chown(folder.path().join("a/b"), Some(4711), None).unwrap();
        assert_eq!(
            [count("/a"), count("/a/b"), count("/a/b/c/d")],
            [1, 2, 2],
            "root gave a delegated group its name"
        );
        chown(folder.path().join("a/b"), Some(0), None).unwrap();
        fs::set_permissions(folder.path().join("a"), fs::Permissions::from_mode(0o775)).unwrap();
        assert_eq!(count("/a/b/c/d"), 1, "its group may make others in it");
        assert_eq!([count("/"), count("/../a"), count("/x/y")], [0, 0, 1]);
        std::os::unix::fs::symlink(folder.path(), folder.path().join("link")).unwrap();
        assert_eq!(count("/link/a"), 1, "groups are no links");
    }
}
