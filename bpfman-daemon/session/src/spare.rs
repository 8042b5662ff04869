//! Processes that stand by for the receiver: each is the parent of the next, and takes over if that is killed.
//!
//! A kernel with Yama lets only ancestors read a command's memory, so they have to be there before the command is.

use std::os::fd::{AsFd as _, RawFd};

use anyhow::Context as _;
use bpfmand_calls::Channel;
use bpfmand_notify::{Listener, PendingSlot, fork, set_child_subreaper};
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::receiver::{Receiver, SessionSockets, enter_sandbox};

/// Number of kills that a session survives.
const SPARES: usize = 2;

/// Role of this process in the session.
pub enum SessionPart {
    /// The receiver, with its connections to those that stand by.
    Receiver(Vec<Channel>),
    /// A parent of the receiver.
    Spare(Spare),
}

pub struct Spare {
    child: u32,
    /// Connection to the receiver.
    receiver: Channel,
}

/// Forks the line of processes. This process must have one thread.
pub fn fork_line() -> anyhow::Result<SessionPart> {
    let mut spares = Vec::new();
    for _ in 0..SPARES {
        // This process adopts the processes of a child that ends.
        set_child_subreaper()?;
        let (receiver, spare) = Channel::pair()?;
        if let Some(child) = fork().context("cannot start the receiver")? {
            return Ok(SessionPart::Spare(Spare { child, receiver }));
        }
        spares.push(spare);
    }
    set_child_subreaper()?;
    Ok(SessionPart::Receiver(spares))
}

/// Sends the spares all that a successor needs. The messages stay in their sockets if the receiver is killed.
pub fn hand_up(spares: &[Channel], process: u32, listener: &Listener) -> std::io::Result<()> {
    spares.iter().try_for_each(|spare| spare.send(process, &[], &[listener.as_fd()]))
}

impl Spare {
    /// Returns the number of the connection's descriptor.
    pub fn number(&self) -> RawFd {
        self.receiver.number()
    }

    /// Waits for the end of the child, and takes its place if it was killed. Returns an exit status.
    pub fn stand_by(self, sockets: SessionSockets, slots: Vec<PendingSlot>) -> anyhow::Result<i32> {
        let ended = waitpid(Pid::from_raw(self.child.cast_signed()), WaitOptions::empty())?;
        if let Some(status) = ended.and_then(|(_, status)| status.exit_status()) {
            return Ok(status);
        }
        // Enter the sandbox late: nothing was read before, and compiling the filter would delay each start.
        enter_sandbox()?;
        let Some(message) = self.receiver.receive::<u32>()? else { return Ok(1) };
        let listener = message.descriptors.into_iter().next().context("the receiver sent no listener")?;
        Receiver::new(Listener::from(listener), message.head, sockets, slots).run()
    }
}
