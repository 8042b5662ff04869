//! A session: its place, its command, and the receiver that this process becomes.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use anyhow::{Context as _, bail};
use bpfmand_calls::{Channel, OrderAnswer, ReceiverMessage, SessionOrder};
use bpfmand_notify::{Listener, become_user, close_all_but, fork, set_child_subreaper};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::client::SessionClient;
use crate::receiver::{Receiver, SessionSockets};
use crate::{command, mounts, place};

/// Prepares the session, starts its command, and serves until nothing of the session is left. Returns an exit status.
pub fn run(
    order: &SessionOrder,
    connection: OwnedFd,
    daemon: &Channel,
    folder: &Path,
) -> anyhow::Result<i32> {
    let connection = UnixStream::from(connection);
    let client = SessionClient::of(&connection)?;
    let returns = listen(order, folder)?;
    place::take(&client)?;
    mounts::prepare(&client.rights, order.kallsyms)?;
    set_child_subreaper()?;
    let channel = Channel::from(connection);
    let (here, there) = Channel::pair()?;
    daemon.send(OrderAnswer::Prepared { receiver: std::process::id() }, &[], &[])?;
    let Some(process) = fork().context("cannot start the command")? else {
        let _sent = command::run(&client.rights, &channel, &there);
        std::process::exit(127)
    };
    drop(there);
    let rights = client.rights.clone();
    drop(client);
    close_all_but(&[
        channel.number(),
        here.number(),
        daemon.number(),
        std::os::fd::AsRawFd::as_raw_fd(&returns),
    ])?;
    // From here on with the rights of the command itself.
    become_user(&rights)?;
    rustix::thread::set_no_new_privs(true)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let Some(listener) = receive_listener(&here)? else {
        // The command sent the client its reason.
        return Ok(1);
    };
    daemon.send(ReceiverMessage::Runs(process), &[], &[])?;
    let sockets = SessionSockets { client: channel, daemon: daemon.stream().try_clone()?.into(), returns };
    let receiver = Receiver::new(listener, process, sockets);
    here.send((), &[], &[])?;
    drop(here);
    receiver.run()
}

fn receive_listener(here: &Channel) -> anyhow::Result<Option<Listener>> {
    let Some(message) = here.receive::<()>()? else { return Ok(None) };
    match message.descriptors.into_iter().next() {
        Some(listener) => Ok(Some(Listener::from(listener))),
        None => bail!("the command sent no listener"),
    }
}

/// Listens where a daemon that was started again finds the session. The folder is root's.
fn listen(order: &SessionOrder, folder: &Path) -> anyhow::Result<UnixListener> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if order.session.is_empty() || !order.session.bytes().all(is_plain) {
        bail!("\"{}\" is no name of a session", order.session.escape_default());
    }
    let path = folder.join(format!("{}.sock", order.session));
    let listener =
        UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
