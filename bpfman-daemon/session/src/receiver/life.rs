//! Life of the command: signals to it, its exit status, and the end of the session.

use super::client_link::ClientLink;
use bpfmand_calls::{Channel, ClientMessage, SessionMessage};
use bpfmand_notify::{end_of_child, signal_group};
use rustix::process::{Pid, WaitOptions, waitpid};

/// Passes the client's signals on to the command, which gets SIGHUP when the client ends, as from a terminal.
pub fn forward_signals(client: &Channel, process: u32) {
    while let Ok(Some(message)) = client.receive_next::<ClientMessage>() {
        let ClientMessage::Signal(number) = message.head;
        let _ended = signal_group(process, number);
    }
    let _ended = signal_group(process, libc::SIGHUP);
    let _ended = signal_group(process, libc::SIGCONT);
}

/// Reaps all processes of the session, and sends the client the command's status.
pub fn reap(client: &ClientLink, process: u32) -> anyhow::Result<i32> {
    loop {
        let ended = match end_of_child() {
            Ok(ended) => ended,
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR) => continue,
                // No descendant is left: this process adopts children of children.
                Some(libc::ECHILD) => return Ok(0),
                _ => return Err(error.into()),
            },
        };
        // Send it before the child is reaped: after a kill in between, a successor sends it again.
        if ended.process == process {
            client.send_end(&ended.status.map_or_else(SessionMessage::Killed, SessionMessage::Exited));
        }
        waitpid(Pid::from_raw(ended.process.cast_signed()), WaitOptions::empty())?;
    }
}
