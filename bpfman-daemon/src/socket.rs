//! The daemon's socket, passed by systemd or created here.

use std::fs;
use std::io;
use std::os::unix::fs::{
    FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown, fchown,
};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context as _, bail};
use bpfman_model::{Peer, PodRelation};
use bpfmand_api::WantedIdentity;
use bpfmand_kernel::linux::{PodEnvironment, PodNamespaces};

pub struct Socket {
    pub listener: UnixListener,
    /// True if created here: then it is removed at shutdown.
    pub ours: bool,
}

/// Creates the file that node agents lock, for root and the socket's group. A failure is only logged: it is optional.
pub fn make_agent_lock(path: &Path) {
    let file = bpfman_proto::agent_lock(path);
    if let Err(error) = lock_file(path, &file) {
        tracing::warn!(file = %file.display(), %error, "the file that agents of a cluster lock was not made");
    }
}

fn lock_file(socket: &Path, file: &Path) -> io::Result<()> {
    let group = fs::metadata(socket)?.gid();
    // Follow no symbolic link, and keep an existing file: agents may hold locks on it.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = fs::File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(file)?;
    fchown(&file, None, Some(group))?;
    file.set_permissions(fs::Permissions::from_mode(0o660))
}

pub fn open(path: &Path, group: Option<u32>) -> anyhow::Result<Socket> {
    if let Some(listener) =
        listenfd::ListenFd::from_env().take_unix_listener(0).context("systemd handed over no unix socket")?
    {
        if group.is_some() {
            tracing::warn!("the socket's group is not set: systemd made the socket, by its own SocketGroup=");
        }
        listener.set_nonblocking(true)?;
        return Ok(Socket { listener, ours: false });
    }
    Ok(Socket { listener: make(path, group)?, ours: true })
}

pub fn make(path: &Path, group: Option<u32>) -> anyhow::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make folder {}", folder.display()))?;
    }
    remove_dead(path)?;
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    // Set the group before the mode grants it access.
    if let Some(group) = group {
        chown(path, None, Some(group))
            .with_context(|| format!("cannot give {} to group {group}", path.display()))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))
        .with_context(|| format!("cannot set the mode of {}", path.display()))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Removes the socket of a terminated daemon. Fails if a daemon answers on it.
fn remove_dead(path: &Path) -> anyhow::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot look at {}", path.display())),
        Ok(found) if !found.file_type().is_socket() => {
            bail!("{} exists and is no socket; remove it, or name another --socket-path", path.display());
        }
        Ok(_) => {}
    }
    if UnixStream::connect(path).is_ok() {
        bail!(
            "another daemon already listens on {}; stop it, or give this one its own --socket-path and --runtime-dir",
            path.display()
        );
    }
    fs::remove_file(path).with_context(|| format!("cannot remove the dead socket {}", path.display()))
}

pub fn peer(stream: &tokio::net::UnixStream, wanted: WantedIdentity) -> io::Result<Peer> {
    let peer = stream.peer_cred()?;
    // The kernel reports 0 for a process outside of this pid namespace.
    let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0);
    let groups = bpfmand_kernel::linux::peer_groups(stream)?;
    let process = pid.filter(|_| wanted >= WantedIdentity::Process);
    let process = process.and_then(|pid| bpfmand_kernel::linux::caller_process(stream, pid, peer.uid()));
    let process = process.unwrap_or_default();
    let mut peer = Peer {
        uid: peer.uid(),
        gid: peer.gid(),
        groups,
        pid,
        unified: process.groups.unified,
        cgroup: process.groups.best,
        group_tasks: None,
        account_uid: None,
        pod_relation: PodRelation::NotCompared,
        netns: process.netns,
    };
    if wanted >= WantedIdentity::Process {
        // Read the id now: a later cgroup may have the same path.
        let tasks = peer.group().map(|path| bpfmand_kernel::linux::tasks_of_group(&path));
        peer.group_tasks = tasks.and_then(Result::ok);
        if peer.uid != 0 {
            peer.pod_relation = pods().relation_of(peer.cgroup.as_ref());
        }
    }
    Ok(peer)
}

static PODS: OnceLock<PodNamespaces> = OnceLock::new();

/// Compares pods of callers by the kubelet's folder of logs, from now on.
pub fn compare_pods(logs: PathBuf) {
    let environment = PodEnvironment::of(|name| std::env::var(name).ok());
    // Set once, at the start.
    let _set = PODS.set(PodNamespaces::new(environment, logs));
}

fn pods() -> &'static PodNamespaces {
    PODS.get_or_init(|| PodNamespaces::new(None, bpfmand_kernel::linux::DEFAULT_POD_LOGS.into()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn lock_file_of_agents_belongs_to_the_sockets_group_only() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("bpfman.sock");
        let group = rustix::process::getgid().as_raw();
        let _listener = make(&socket, Some(group)).unwrap();
        make_agent_lock(&socket);
        let made = bpfman_proto::agent_lock(&socket);
        let found = fs::metadata(&made).unwrap();
        assert_eq!((found.mode() & 0o777, found.gid()), (0o660, group));
        let held = fs::File::open(&made).unwrap();
        held.try_lock().unwrap();
        make_agent_lock(&socket);
        assert!(fs::File::open(&made).unwrap().try_lock().is_err());
        fs::remove_file(&made).unwrap();
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &made).unwrap();
        make_agent_lock(&socket);
        assert!(!folder.path().join("elsewhere").exists(), "a link is not followed");
    }
}
