//! Cgroups of version 2: mount point and identification.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::failure::Failure;

/// Returns the mount point of cgroup v2, if it is mounted.
pub fn mount_point() -> Result<Option<PathBuf>> {
    let mounts =
        std::fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "));
    Ok(mount.and_then(|line| line.split(' ').nth(4)).map(PathBuf::from))
}

/// Returns the id of a cgroup of version 2, and its depth below the root of its file system.
pub fn id_and_level(path: &Path) -> Result<(u64, u64)> {
    let here = std::fs::canonicalize(path).with_context(|| format!("cannot find {}", path.display()));
    let here = here
        .map_err(|error| Failure::not_found(format!("{error:#}"), "give its folder below /sys/fs/cgroup"))?;
    // Directories of version 1 lack `cgroup.controllers`, other directories lack both files.
    if !here.join("cgroup.procs").exists() || !here.join("cgroup.controllers").exists() {
        let message = format!("{} is no cgroup of version 2", here.display());
        return Err(Failure::invalid(message, "give a folder below /sys/fs/cgroup").into());
    }
    let metadata = std::fs::metadata(&here)?;
    let mut level = 0;
    for above in here.ancestors().skip(1) {
        if std::fs::metadata(above)?.dev() != metadata.dev() {
            break;
        }
        level += 1;
    }
    Ok((metadata.ino(), level))
}
