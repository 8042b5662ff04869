use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Path of a cgroup (version 2) from the root of the hierarchy, as after `0::` in `/proc/PID/cgroup`:
/// `/system.slice/web.service`; `/` is the root.
///
/// Paths of the file system are accepted too, if the hierarchy is mounted where distributions mount it: the prefix
/// `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` beside hierarchies of version 1, is removed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CgroupPath(String);

/// Invalid path of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{path}\" is no cgroup: {why}; expected its path in the hierarchy of version 2, such as /system.slice/web.service"
)]
pub struct BadCgroupPath {
    path: String,
    why: &'static str,
}

/// Maximum length of a path, in bytes: the kernel's `PATH_MAX`.
const MAX_BYTES: usize = 4096;
/// Mount points of distributions: beside hierarchies of version 1, and alone.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

impl CgroupPath {
    /// Returns the path: absolute, and without a trailing `/` unless it is the root.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the path relative to the root; empty for the root itself.
    #[must_use]
    pub fn relative(&self) -> &str {
        self.0.trim_start_matches('/')
    }
}

impl FromStr for CgroupPath {
    type Err = BadCgroupPath;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        let bad = |why| BadCgroupPath { path: path.chars().take(100).collect(), why };
        if path.len() > MAX_BYTES {
            return Err(bad("it is too long"));
        }
        if path.chars().any(char::is_control) {
            return Err(bad("it has control characters"));
        }
        let below = |mount| path.strip_prefix(mount).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let rest = MOUNTS.into_iter().find_map(below).unwrap_or(path);
        if !path.starts_with('/') {
            return Err(bad("it is not absolute"));
        }
        let names: Vec<&str> = rest.split('/').filter(|name| !name.is_empty()).collect();
        if names.iter().any(|name| matches!(*name, "." | "..")) {
            return Err(bad("it leads through \".\" or \"..\""));
        }
        Ok(Self(format!("/{}", names.join("/"))))
    }
}

impl TryFrom<String> for CgroupPath {
    type Error = BadCgroupPath;

    fn try_from(path: String) -> Result<Self, Self::Error> {
        path.parse()
    }
}

impl From<CgroupPath> for String {
    fn from(path: CgroupPath) -> Self {
        path.0
    }
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::CgroupPath;

    #[test]
    fn a_group_has_one_path() {
        for (written, path) in [
            ("/", "/"),
            ("/system.slice/web.service", "/system.slice/web.service"),
            ("//system.slice//web.service/", "/system.slice/web.service"),
            ("/sys/fs/cgroup", "/"),
            ("/sys/fs/cgroup/unified", "/"),
            ("/sys/fs/cgroup/unified/web", "/web"),
            ("/sys/fs/cgroup/system.slice/", "/system.slice"),
            ("/sys/fs/cgroups", "/sys/fs/cgroups"),
        ] {
            assert_eq!(written.parse::<CgroupPath>().unwrap().as_str(), path, "{written}");
        }
    }

    #[test]
    fn relative_or_invalid_path_is_refused() {
        for (written, why) in [
            ("", "not absolute"),
            ("system.slice", "not absolute"),
            ("/system.slice/../user.slice", "\"..\""),
            ("/./web", "\".\""),
            ("/web\n", "control characters"),
            (&"/a".repeat(4096), "too long"),
        ] {
            let error = written.parse::<CgroupPath>().unwrap_err().to_string();
            assert!(error.contains(why) && error.len() < 400, "{error}");
        }
    }
}
