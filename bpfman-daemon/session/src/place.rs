//! Cgroups and namespaces of a client, which the command of its session joins.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rustix::fs::{Mode, OFlags, open};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use crate::client::SessionClient;
use crate::limits;

/// Namespaces that are entered, and their names in `/proc/PID/ns`.
const NAMESPACES: [(&str, ThreadNameSpaceType); 4] = [
    ("net", ThreadNameSpaceType::NETWORK),
    ("uts", ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME),
    ("ipc", ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION),
    ("cgroup", ThreadNameSpaceType::CONTROL_GROUP),
];

/// Moves this process, which must have one thread, to the client's cgroups and namespaces.
pub fn join_client(client: &SessionClient) -> anyhow::Result<()> {
    // Root mounts and writes at paths in the client's mount namespace, which must therefore be the machine's.
    for (name, what) in [("user", "user"), ("pid", "process"), ("mnt", "mount")] {
        if client.identity(&format!("ns/{name}"))? != identity(&format!("/proc/self/ns/{name}"))? {
            bail!(
                "the client is in a {what} namespace of its own, such as a container's: sessions serve the machine's own"
            );
        }
    }
    if is_filtered(&client.read("status")?) {
        bail!(
            "the client has a seccomp filter, which the command would not have: run it without one (a service: \
             without SystemCallFilter= and its like)"
        );
    }
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let groups = others(&client.read("cgroup")?, &groups);
    let groups = folders(&groups, &fs::read_to_string("/proc/self/mountinfo")?);
    for folder in groups {
        // Memory of maps is charged to the group of the process that makes them.
        let file = folder.join("cgroup.procs");
        fs::write(&file, "0")
            .with_context(|| format!("cannot join the client's cgroup by {}", file.display()))?;
    }
    limits::set(&limits::parse(&client.read("limits")?));
    let mut entered = ThreadNameSpaceType::empty();
    for (name, kind) in NAMESPACES {
        if client.identity(&format!("ns/{name}"))? != identity(&format!("/proc/self/ns/{name}"))? {
            entered |= kind;
        }
    }
    if !entered.is_empty() {
        move_into_thread_name_spaces(client.process(), entered)
            .context("cannot enter the client's namespaces")?;
    }
    if client.identity("root/.")? != identity("/")? {
        bail!(
            "the client has another root folder than its mount namespace, as by chroot: sessions serve no such client"
        );
    }
    Ok(())
}

/// Opens the client's cgroup of version 2, to be forked into; `None` if this process is in it.
pub fn unified_group(connection: &UnixStream) -> anyhow::Result<Option<OwnedFd>> {
    let groups = SessionClient::of(connection)?.read("cgroup")?;
    let groups = others(&groups, &fs::read_to_string("/proc/self/cgroup")?);
    let Some(group) = groups.lines().find(|line| line.starts_with("0::")) else { return Ok(None) };
    let found = folders(group, &fs::read_to_string("/proc/self/mountinfo")?);
    let opened = found
        .first()
        .map(|folder| open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()));
    Ok(opened.transpose()?)
}

/// Returns the lines of the client's cgroups in which this process is not: the kernel delays any move of a
/// process, even to the cgroup that it is in.
fn others(client: &str, own: &str) -> String {
    let path = |line: &str| line.split_once(':').map(|(_, path)| path.to_owned());
    let own: Vec<_> = own.lines().map(path).collect();
    client.lines().filter(|line| !own.contains(&path(line))).map(|line| format!("{line}\n")).collect()
}

/// Returns whether a process has a seccomp filter, by its `/proc/PID/status`.
fn is_filtered(status: &str) -> bool {
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    mode.is_some_and(|mode| mode.trim() != "0")
}

/// Returns device and inode, which tell namespaces and folders apart.
pub fn identity(path: &str) -> io::Result<(u64, u64)> {
    let found = fs::metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Returns the folder of each cgroup in a file like `/proc/PID/cgroup`.
fn folders(groups: &str, mounts: &str) -> Vec<PathBuf> {
    let mounted: Vec<(&str, &str)> = mounts.lines().filter_map(mounted).collect();
    groups
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let is_it = |options: &str| {
                if controllers.is_empty() {
                    options.is_empty()
                } else {
                    controllers.split(',').all(|one| options.split(',').any(|option| option == one))
                }
            };
            let (_, at) = mounted.iter().find(|(options, _)| is_it(options))?;
            Some(Path::new(at).join(path.trim_start_matches('/')))
        })
        .collect()
}

/// Returns the controllers of a mounted hierarchy, none for version 2, and its folder.
fn mounted(line: &str) -> Option<(&str, &str)> {
    let (place, kind) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let (root, at) = (place.next()?, place.next()?);
    let mut kind = kind.splitn(3, ' ');
    let options = match kind.next()? {
        "cgroup2" => "",
        "cgroup" => kind.nth(1)?,
        _ => return None,
    };
    (root == "/").then_some((options, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_seen() {
        assert!(is_filtered("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n"));
        assert!(!is_filtered("Name:\tx\nSeccomp:\t0\nSeccomp_filters:\t0\n") && !is_filtered("Name:\tx\n"));
    }

    #[test]
    fn own_cgroups_are_left_out() {
        let client = "4:cpu,cpuacct:/a:b\n1:name=systemd:/user.slice\n0::/user.slice";
        let own = "12:cpu,cpuacct:/a:b\n1:name=systemd:/system.slice\n0::/system.slice";
        assert_eq!(others(client, own), "1:name=systemd:/user.slice\n0::/user.slice\n");
        assert_eq!(others(client, client), "");
    }

    #[test]
    fn cgroups_of_both_versions_have_their_folders() {
        let mounts = "30 24 0:26 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n\
                      31 24 0:27 / /sys/fs/cgroup/memory rw shared:10 - cgroup cgroup rw,memory\n\
                      32 24 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      33 24 0:26 /a /mnt rw - cgroup2 cgroup2 rw\n";
        let groups = "5:memory:/user.slice\n4:cpu,cpuacct:/\n1:name=systemd:/x\n0::/user.slice/a b";
        let expected = [
            "/sys/fs/cgroup/memory/user.slice",
            "/sys/fs/cgroup/cpu,cpuacct/",
            "/sys/fs/cgroup/unified/user.slice/a b",
        ];
        assert_eq!(folders(groups, mounts), expected.map(PathBuf::from));
    }
}
