//! A session: its place, its command, and the receiver that this process becomes.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bpfmand_calls::{
    Channel, CommandFile, OrderAnswer, ReceiverMessage, SessionMessage, SessionOrder, StartVerdict,
};
use bpfmand_notify::{Listener, PendingSlot, Rights, become_user, close_all_but, fork};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{DumpableBehavior, Pid, WaitOptions, set_dumpable_behavior, waitpid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::client::SessionClient;
use crate::receiver::{MAX_CALLS, Receiver, SessionSockets, enter_sandbox};
use crate::spare::{self, SessionPart};
use crate::{command, map_maker, mounts, place};

/// Prepares the session, starts its command, and serves until nothing of the session is left. Returns an exit status.
pub fn run(
    order: &SessionOrder,
    connection: OwnedFd,
    daemon: &Channel,
    folder: &Path,
) -> anyhow::Result<i32> {
    let connection = UnixStream::from(connection);
    let client = SessionClient::of(&connection)?;
    let (returns, maps) = (listen(order, folder, "sock")?, listen(order, folder, "maps")?);
    place::join_client(&client)?;
    let null = fs::File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    drop(null);
    // No program that this process or a child executes can regain a capability.
    caps::clear(None, caps::CapSet::Bounding)?;
    // Only receivers hold `alive`: the process for maps ends with the last of them.
    let (alive, watched) = Channel::pair()?;
    let between = map_maker::start(&maps, &watched)?;
    drop((maps, watched));
    let pins = order.keep.then(|| pins_folder(folder, &order.session));
    mounts::prepare(&client.rights, order.kallsyms, pins.as_deref())?;
    // Wait for it before this process adopts processes of children that ended.
    waitpid(Pid::from_raw(between.cast_signed()), WaitOptions::empty())?;
    let slots = PendingSlot::several(MAX_CALLS).context("cannot keep calls")?;
    let rights = client.rights.clone();
    drop(client);
    let client = Channel::from(connection);
    daemon.send(OrderAnswer::Prepared { receiver: std::process::id() }, &[], &[])?;
    let mut kept = vec![client.number(), daemon.number(), returns.as_raw_fd(), alive.number()];
    match spare::fork_line()? {
        SessionPart::Spare(spare) => {
            kept.push(spare.number());
            give_up_rights(&rights, &kept)?;
            spare.stand_by(SessionSockets::new(client, daemon, returns)?, slots)
        }
        SessionPart::Receiver(spares) => {
            let (here, there) = Channel::pair()?;
            let Some(process) = fork().context("cannot start the command")? else {
                let _sent = command::run(&rights, &client, &there);
                std::process::exit(127)
            };
            drop(there);
            kept.extend(spares.iter().chain([&here]).map(Channel::number));
            give_up_rights(&rights, &kept)?;
            // Install the filter while the client answers: later, the command would wait until the kernel has compiled it.
            enter_sandbox()?;
            let Some((listener, file)) = receive_listener(&here)? else {
                // The command sent the client its reason.
                return Ok(1);
            };
            daemon.send(ReceiverMessage::Executes(file), &[], &[])?;
            let verdict = daemon.receive::<StartVerdict>()?.context("the daemon has ended")?.head;
            if let StartVerdict::Denied(why) = verdict {
                client.send(SessionMessage::Denied(why), &[], &[])?;
                return Ok(1);
            }
            spare::hand_up(&spares, process, &listener)?;
            daemon.send(ReceiverMessage::Runs(process), &[], &[])?;
            let sockets = SessionSockets::new(client, daemon, returns)?;
            let receiver = Receiver::new(listener, process, sockets, slots);
            here.send(verdict, &[], &[])?;
            drop((here, spares));
            receiver.run()
        }
    }
}

/// Reduces this process to the rights of the command, and closes all descriptors except `kept`.
fn give_up_rights(rights: &Rights, kept: &[RawFd]) -> anyhow::Result<()> {
    close_all_but(kept)?;
    become_user(rights)?;
    rustix::thread::set_no_new_privs(true)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

fn receive_listener(here: &Channel) -> anyhow::Result<Option<(Listener, CommandFile)>> {
    let Some(message) = here.receive::<CommandFile>()? else { return Ok(None) };
    match message.descriptors.into_iter().next() {
        Some(listener) => Ok(Some((Listener::from(listener), message.head))),
        None => bail!("the command sent no listener"),
    }
}

/// Listens on a socket at which a daemon, also a restarted one, finds the session. The folder is root's.
fn listen(order: &SessionOrder, folder: &Path, extension: &str) -> anyhow::Result<UnixListener> {
    check_name(&order.session)?;
    let path = folder.join(format!("{}.{extension}", order.session));
    let listener =
        UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Iterators that the kernel pins in each bpffs, and that cannot be removed.
const OF_KERNEL: [&str; 2] = ["maps.debug", "progs.debug"];

fn check_name(session: &str) -> anyhow::Result<()> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if session.is_empty() || !session.bytes().all(is_plain) {
        bail!("\"{}\" is no name of a session", session.escape_default());
    }
    Ok(())
}

/// Returns the folder of pins that outlast a session. Only root can enter it.
fn pins_folder(folder: &Path, session: &str) -> PathBuf {
    folder.join(format!("{session}.pins"))
}

/// Removes the pins that a session left. A folder that is not there has none.
pub fn remove_pins(folder: &Path, session: &str) -> anyhow::Result<()> {
    check_name(session)?;
    let pins = pins_folder(folder, session);
    let entries = match fs::read_dir(&pins) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    // The folder is sticky: only its owner can remove its entries.
    chown(&pins, Some(0), Some(0))?;
    // Mount namespaces of other sessions hold the file system, so each pin is removed.
    for entry in entries {
        let entry = entry?;
        if OF_KERNEL.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let path = entry.path();
        let is_folder = entry.file_type()?.is_dir();
        let removed = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    match unmount(&pins, UnmountFlags::DETACH) {
        // The folder is not mounted any more.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(error) => {
            return Err(error).with_context(|| format!("cannot unmount {}", pins.display()));
        }
    }
    fs::remove_dir(&pins).with_context(|| format!("cannot remove folder {}", pins.display()))
}
