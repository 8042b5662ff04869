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

/// Part of this process in the session.
pub enum SessionPart {
    /// The receiver, with its connection to its parent.
    Receiver(Channel),
    /// A parent of the receiver.
    Spare(Spare),
}

/// A process that stands by.
pub struct Spare {
    child: u32,
    below: Channel,
    /// Connection to its own parent, unless it is the first.
    above: Option<Channel>,
}

/// Forks the line of processes. This process must have one thread.
pub fn fork_line() -> anyhow::Result<SessionPart> {
    let mut above = None;
    for _ in 0..SPARES {
        // Processes of a child that ended become children of this one.
        set_child_subreaper()?;
        let (below, parent) = Channel::pair()?;
        if let Some(child) = fork().context("cannot start the receiver")? {
            return Ok(SessionPart::Spare(Spare { child, below, above }));
        }
        above = Some(parent);
    }
    set_child_subreaper()?;
    above.map(SessionPart::Receiver).context("the receiver has no parent")
}

/// Gives the parent all that a successor needs, and waits until each has it.
pub fn hand_up(above: &Channel, process: u32, listener: &Listener) -> anyhow::Result<()> {
    above.send(process, &[], &[listener.as_fd()])?;
    above.receive::<()>()?.context("a process that stands by has ended")?;
    Ok(())
}

impl Spare {
    /// Returns the numbers of its descriptors.
    pub fn numbers(&self) -> impl Iterator<Item = RawFd> {
        std::iter::once(&self.below).chain(&self.above).map(Channel::number)
    }

    /// Waits for the end of the child, and serves in its place if that was killed. Returns an exit status.
    pub fn stand_by(self, sockets: SessionSockets, slots: Vec<PendingSlot>) -> anyhow::Result<i32> {
        let Self { child, below, above } = self;
        let mut known = None;
        if let Some(message) = below.receive::<u32>()? {
            let listener = message.descriptors.into_iter().next().context("the receiver sent no listener")?;
            let listener = Listener::from(listener);
            above.iter().try_for_each(|above| hand_up(above, message.head, &listener))?;
            below.send((), &[], &[])?;
            known = Some((message.head, listener));
        }
        drop((below, above));
        enter_sandbox()?;
        let ended = waitpid(Pid::from_raw(child.cast_signed()), WaitOptions::empty())?;
        let status = ended.and_then(|(_, status)| status.exit_status());
        match (status, known) {
            (None, Some((process, listener))) => Receiver::new(listener, process, sockets, slots).run(),
            (status, _) => Ok(status.unwrap_or(1)),
        }
    }
}
