//! Cgroups of tests.

use crate::wait::within;
use std::path::PathBuf;
use std::process::Command;

#[derive(Debug)]
pub struct Group {
    pub folder: PathBuf,
    pub path: String,
}

impl Group {
    /// Creates a cgroup; `test` must be unique within this process.
    #[must_use]
    pub fn new(test: &str) -> Self {
        Self::at(&format!("/system-{}-{test}", std::process::id()))
    }

    #[must_use]
    pub fn at(path: &str) -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let unified = mounts.lines().find(|line| line.contains(" - cgroup2 ")).unwrap();
        let path = path.to_owned();
        let folder = PathBuf::from(format!("{}{path}", unified.split(' ').nth(4).unwrap()));
        std::fs::create_dir(&folder).unwrap();
        Self { folder, path }
    }

    /// Runs `work` with this whole process in the cgroup. Sockets created there belong to it permanently.
    pub fn inside<T>(&self, work: impl FnOnce() -> T) -> T {
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let before = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap().to_owned();
        let root = self.folder.display().to_string();
        let root = root.strip_suffix(&self.path).unwrap();
        let move_to = |folder: &str| std::fs::write(format!("{folder}/cgroup.procs"), "0").unwrap();
        move_to(&format!("{root}{}", self.path));
        let done = work();
        move_to(&format!("{root}{before}"));
        done
    }

    #[must_use]
    pub fn connects(&self) -> bool {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let script =
            format!("echo $$ > {}/cgroup.procs; : > /dev/tcp/127.0.0.1/{port}", self.folder.display());
        within("a connection from the group", || Command::new("bash").args(["-c", &script]).output())
            .unwrap()
            .status
            .success()
    }
}

#[must_use]
pub fn unified_hierarchy() -> PathBuf {
    mounted(|kind| kind.starts_with("cgroup2 ")).unwrap()
}

/// Returns the mount point of the hierarchy that identifies processes: systemd's of version 1, or that of version 2.
#[must_use]
pub fn naming_hierarchy() -> PathBuf {
    mounted(|kind| kind.contains("name=systemd")).unwrap_or_else(unified_hierarchy)
}

fn mounted(is_it: impl Fn(&str) -> bool) -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let fields: Vec<_> = mount.split(' ').collect();
        (fields[3] == "/" && is_it(kind)).then(|| PathBuf::from(fields[4]))
    })
}

impl Drop for Group {
    fn drop(&mut self) {
        let _gone_already = std::fs::remove_dir(&self.folder);
    }
}
