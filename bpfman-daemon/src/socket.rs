//! The daemon's socket: handed over by systemd, or made here.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use anyhow::{Context as _, bail};

/// A listening socket.
pub struct Socket {
    /// Accepts.
    pub listener: UnixListener,
    /// Made here, so to be removed at the end.
    pub ours: bool,
}

/// Takes systemd's socket, or makes one at `path` with mode 0660, of this group if one is given.
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

/// Makes a listening socket at `path` with mode 0660, of this group if one is given.
pub fn make(path: &Path, group: Option<u32>) -> anyhow::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make folder {}", folder.display()))?;
    }
    remove_dead(path)?;
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    // Before the mode lets a group in.
    if let Some(group) = group {
        chown(path, None, Some(group))
            .with_context(|| format!("cannot give {} to group {group}", path.display()))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))
        .with_context(|| format!("cannot set the mode of {}", path.display()))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Removes the socket of a daemon that is gone. One that answers belongs to a daemon that lives.
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
