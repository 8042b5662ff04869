//! The starter: serves the daemon, and forks a process for each session.

use std::convert::Infallible;
use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use anyhow::{Context as _, bail};
use bpfmand_calls::{Channel, OrderAnswer, StarterOrder};
use bpfmand_notify::{fork, fork_into, reap_children_by_kernel};
use rustix::net::sockopt::socket_peercred;

use crate::{place, session, tracing_view};

/// Name of the starter's socket in its folder.
const SOCKET: &str = "starter.sock";

/// Serves until an error.
pub fn run(folder: &Path) -> anyhow::Result<Infallible> {
    if !rustix::process::geteuid().is_root() {
        bail!("only root can start commands of other users");
    }
    // Open it before any session: its thousands of files take a slow machine seconds, once per boot.
    if let Err(error) = tracing_view::open() {
        eprintln!("bpfman-session: no view of tracefs yet: {error}");
    }
    let listener = listen(folder)?;
    reap_children_by_kernel(true);
    loop {
        let (connection, _) = listener.accept().context("cannot take a connection")?;
        if let Err(error) = serve(connection, folder) {
            eprintln!("bpfman-session: a session was not started: {error:#}");
        }
    }
}

fn listen(folder: &Path) -> anyhow::Result<UnixListener> {
    if let Some(passed) = listenfd::ListenFd::from_env().take_unix_listener(0)? {
        return Ok(passed);
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot make folder {}", folder.display()))?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    let path = folder.join(SOCKET);
    if UnixStream::connect(&path).is_ok() {
        bail!("another starter already listens on {}", path.display());
    }
    let _left = fs::remove_file(&path);
    let listener =
        UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn serve(connection: UnixStream, folder: &Path) -> anyhow::Result<()> {
    // The socket's mode admits only root; a service manager's unit could set another.
    if !socket_peercred(&connection)?.uid.is_root() {
        bail!("another user than root is connected");
    }
    let daemon = Channel::from(connection);
    let Some(order) = daemon.receive::<StarterOrder>().context("the daemon's order cannot be read")? else {
        return Ok(());
    };
    let begin = match order.head {
        StarterOrder::Begin(begin) => begin,
        StarterOrder::Remove(name) => {
            let removed = session::remove_pins(folder, &name);
            let failed = |error: anyhow::Error| OrderAnswer::Failed(format!("{error:#}"));
            let answer = removed.map_or_else(failed, |()| OrderAnswer::Removed);
            return Ok(daemon.send(answer, &[], &[])?);
        }
    };
    let client = order.descriptors.into_iter().next().context("the order has no connection of a client")?;
    let client = UnixStream::from(client);
    // If forking into the cgroup fails, the new process moves itself, or reports the reason.
    let group = place::unified_group(&client).ok().flatten();
    let forked = group.and_then(|group| fork_into(group.as_fd()).ok());
    if forked.map_or_else(fork, Ok).context("the starter cannot be copied")?.is_some() {
        return Ok(());
    }
    reap_children_by_kernel(false);
    let status = match session::run(&begin, client.into(), &daemon, folder) {
        Ok(status) => status,
        Err(error) => {
            let _gone = daemon.send(OrderAnswer::Failed(format!("{error:#}")), &[], &[]);
            1
        }
    };
    // Skip destructors: they belong to the starter.
    std::process::exit(status)
}
