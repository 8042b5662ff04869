//! Control groups by their paths.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A control group's path in the hierarchy of version 2, from its root, as `/proc/PID/cgroup` has it behind `0::`:
/// `/system.slice/web.service`; `/` is all of them.
///
/// A path as file systems have it is taken too, where the hierarchy is mounted where distributions mount it: without its
/// beginning `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` beside the hierarchies of version 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CgroupPath(String);

/// A text that is no path of a control group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{path}\" is no control group: {why}; expected its path in the hierarchy of version 2, such as /system.slice/web.service"
)]
pub struct BadCgroupPath {
    path: String,
    why: &'static str,
}

/// Bytes of a path, at most: the kernel's `PATH_MAX`.
const MOST_BYTES: usize = 4096;
/// Where distributions mount it: beside hierarchies of version 1, and alone.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

impl CgroupPath {
    /// As it was described: absolute, and without an end of `/` unless it is the root.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names on the way from the root; none for the root itself.
    #[must_use]
    pub fn relative(&self) -> &str {
        self.0.trim_start_matches('/')
    }
}

impl FromStr for CgroupPath {
    type Err = BadCgroupPath;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        let bad = |why| BadCgroupPath { path: path.chars().take(100).collect(), why };
        if path.len() > MOST_BYTES {
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
    fn what_leads_elsewhere_is_refused() {
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
