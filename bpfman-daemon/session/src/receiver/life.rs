//! Life of the command: signals to it, its exit status, and the end of the session.

use super::client_link::ClientLink;
use bpfmand_calls::{Channel, ClientMessage, SessionMessage};
use bpfmand_notify::signal_group;
use rustix::process::{Pid, WaitOptions, wait};

/// Passes signals of the client on to the command. The end of the client hangs up the command, as that of a terminal.
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
        let ended = match wait(WaitOptions::empty()) {
            Ok(Some(ended)) => ended,
            Ok(None) | Err(rustix::io::Errno::INTR) => continue,
            // No child is left, and no grandchild: this process inherits them.
            Err(rustix::io::Errno::CHILD) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let (pid, status) = ended;
        if Pid::from_raw(process.cast_signed()) != Some(pid) {
            continue;
        }
        let message = match (status.exit_status(), status.terminating_signal()) {
            (Some(status), _) => SessionMessage::Exited(status),
            (None, Some(signal)) => SessionMessage::Killed(signal),
            (None, None) => continue,
        };
        client.send_end(&message);
    }
}
