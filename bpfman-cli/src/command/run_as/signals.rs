//! Signals of this process for the command, which is in a session without a terminal.

use bpfmand_calls::ClientMessage;
use rustix::process::{Signal, getpid, kill_process};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::session::SessionSignals;
use crate::error::CliError;

/// Signals that are passed on as they are.
const PASSED: [Signal; 8] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::TERM,
    Signal::USR1,
    Signal::USR2,
    Signal::CONT,
    Signal::WINCH,
];

/// Signals that arrive from now on.
pub struct PassedSignals(mpsc::UnboundedReceiver<Signal>);

impl PassedSignals {
    /// Begins to catch signals. This comes before the command starts, so that no signal is lost.
    pub fn catch() -> Result<Self, CliError> {
        let (send, received) = mpsc::unbounded_channel();
        for one in PASSED.into_iter().chain([Signal::TSTP]) {
            let mut stream = signal(SignalKind::from_raw(one.as_raw())).map_err(CliError::Session)?;
            let send = send.clone();
            tokio::spawn(async move { while stream.recv().await.is_some() && send.send(one).is_ok() {} });
        }
        Ok(Self(received))
    }

    /// Passes signals to the command until this process can receive none.
    pub async fn forward(mut self, session: SessionSignals) {
        while let Some(one) = self.0.recv().await {
            if one == Signal::TSTP {
                // The kernel drops SIGTSTP for the command: no shell waits for its process group.
                pass(&session, Signal::STOP);
                let _stopped = kill_process(getpid(), Signal::STOP);
            } else {
                pass(&session, one);
            }
        }
    }
}

fn pass(signals: &SessionSignals, one: Signal) {
    let _ended = signals.0.send(ClientMessage::Signal(one.as_raw()), &[], &[]);
}
