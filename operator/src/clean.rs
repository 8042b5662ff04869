//! `bpfman-operator clean-node`: removes what daemon, agent and network plugin left on one node.
//!
//! A chained network plugin without its binary keeps pods from starting. Nothing is changed while a daemon answers.
//! While something is pinned, the daemon's folders stay: they hold its records.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use bpfman_cni::install;
use clap::Args;
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

const OF_AGENT: [&str; 2] = ["run/bpfman-agent", "var/lib/bpfman-agent"];

const OF_DAEMON: [&str; 4] = [RUNTIME, "run/bpfman-sock", "var/lib/bpfman", "var/cache/bpfman"];

const RUNTIME: &str = "run/bpfman";
const PINS: &str = "run/bpfman/fs";

const SOCKET: &str = "run/bpfman-sock/bpfman.sock";

/// Flags of `bpfman-operator clean-node`.
#[derive(Args, Clone, Debug)]
pub struct CleanFlags {
    /// Root folder of the node's files
    #[arg(long, default_value = "/", value_name = "DIR")]
    pub root: PathBuf,
    /// The node's folder of network plugins
    #[arg(long, default_value = "/opt/cni/bin", value_name = "DIR")]
    pub cni_bin_dir: PathBuf,
    /// The node's folder of network configurations
    #[arg(long, default_value = "/etc/cni/net.d", value_name = "DIR")]
    pub cni_conf_dir: PathBuf,
}

/// Reason for which a node was not cleaned.
#[derive(Debug, thiserror::Error)]
pub enum CleanError {
    #[error(
        "a daemon answers at {0}: delete the Config object bpfman-config first, and wait until its pods are gone"
    )]
    InUse(PathBuf),
    #[error(
        "{0} is pinned, so that something runs that no application of the cluster has loaded: unload it with `bpfman`, or \
         remove it; the daemon's folders stay until then"
    )]
    Pinned(PathBuf),
    #[error("the network plugin: {0}")]
    Plugin(#[from] install::InstallError),
    /// A file system operation failed.
    #[error("{file}: {error}")]
    File {
        /// Path of the operation.
        file: PathBuf,
        /// Error of the operation.
        error: io::Error,
    },
}

fn at(file: &Path) -> impl FnOnce(io::Error) -> CleanError + '_ {
    move |error| CleanError::File { file: file.to_owned(), error }
}

/// Cleans one node; can be repeated. Plugin and agent folders are removed even if those of the daemon stay.
pub fn clean(flags: &CleanFlags) -> Result<(), CleanError> {
    let root = &flags.root;
    let socket = root.join(SOCKET);
    if UnixStream::connect(&socket).is_ok() {
        return Err(CleanError::InUse(socket));
    }
    let below = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path)).display().to_string();
    install::command(&[
        "uninstall".to_owned(),
        format!("--bin-dir={}", below(&flags.cni_bin_dir)),
        format!("--conf-dir={}", below(&flags.cni_conf_dir)),
    ])?;
    for folder in OF_AGENT {
        remove(&root.join(folder))?;
    }
    if let Some(pin) = first_pin(&root.join(PINS))? {
        return Err(CleanError::Pinned(pin));
    }
    unmount_all(&root.join(PINS))?;
    for folder in OF_DAEMON {
        remove(&root.join(folder))?;
    }
    Ok(())
}

fn remove(folder: &Path) -> Result<(), CleanError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(at(folder)),
    }
}

/// Skips `.debug` files, which the kernel puts into every bpffs.
fn first_pin(folder: &Path) -> Result<Option<PathBuf>, CleanError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(at(folder))?,
    };
    for entry in entries {
        let entry = entry.map_err(at(folder))?;
        let path = entry.path();
        let found = match entry.file_type().map_err(at(&path))?.is_dir() {
            true => first_pin(&path)?,
            false => Some(path).filter(|path| path.extension().is_none_or(|ending| ending != "debug")),
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn unmount_all(folder: &Path) -> Result<(), CleanError> {
    loop {
        match unmount(folder, UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(error) => return Err(at(folder)(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::os::unix::net::UnixListener;

    use super::*;

    fn node() -> (tempfile::TempDir, CleanFlags) {
        let root = tempfile::tempdir().unwrap();
        for folder in OF_AGENT.into_iter().chain(OF_DAEMON).chain([PINS, "opt/cni/bin", "etc/cni/net.d"]) {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        fs::write(root.path().join("var/lib/bpfman-agent/protect.json"), "{}").unwrap();
        fs::write(root.path().join("var/lib/other"), "").unwrap();
        fs::write(root.path().join("opt/cni/bin/bpfman-cni"), "").unwrap();
        let list = r#"{ "cniVersion": "1.0.0", "name": "n", "plugins": [{ "type": "ptp" }, { "type": "bpfman-cni" }] }"#;
        fs::write(root.path().join("etc/cni/net.d/10-n.conflist"), list).unwrap();
        let flags = CleanFlags {
            root: root.path().to_owned(),
            cni_bin_dir: "/opt/cni/bin".into(),
            cni_conf_dir: "/etc/cni/net.d".into(),
        };
        (root, flags)
    }

    #[test]
    fn nothing_of_ours_stays_and_all_else_does() {
        let (root, flags) = node();
        for _again in 0..2 {
            // An unprivileged user gets EPERM from umount even for a folder that is not a mount point.
            match clean(&flags) {
                Err(CleanError::File { error, .. }) if error.kind() == io::ErrorKind::PermissionDenied => {
                    eprintln!("SKIPPED(CAP_SYS_ADMIN): nothing_of_ours_stays_and_all_else_does");
                    return;
                }
                cleaned => cleaned.unwrap(),
            }
            for folder in OF_AGENT.into_iter().chain(OF_DAEMON) {
                assert!(!root.path().join(folder).exists(), "{folder}");
            }
        }
        assert!(!root.path().join("opt/cni/bin/bpfman-cni").exists());
        let networks = fs::read_to_string(root.path().join("etc/cni/net.d/10-n.conflist")).unwrap();
        assert!(networks.contains("ptp") && !networks.contains("bpfman"), "{networks}");
        assert!(root.path().join("var/lib/other").exists());
    }

    #[test]
    fn while_a_daemon_answers_nothing_is_touched() {
        let (root, flags) = node();
        let _daemon = UnixListener::bind(root.path().join(SOCKET)).unwrap();
        assert!(matches!(clean(&flags), Err(CleanError::InUse(_))));
        assert!(root.path().join("var/lib/bpfman-agent/protect.json").exists());
        assert!(root.path().join("opt/cni/bin/bpfman-cni").exists());
    }

    #[test]
    fn foreign_pins_keep_the_daemons_records_of_them() {
        let (root, flags) = node();
        fs::create_dir_all(root.path().join(PINS).join("links")).unwrap();
        fs::write(root.path().join(PINS).join("maps.debug"), "").unwrap();
        fs::write(root.path().join(PINS).join("links/7"), "").unwrap();
        assert!(matches!(clean(&flags), Err(CleanError::Pinned(_))));
        assert!(root.path().join("var/lib/bpfman").exists() && root.path().join(RUNTIME).exists());
        assert!(!root.path().join("opt/cni/bin/bpfman-cni").exists(), "pods can start");
    }
}
