//! Messages by which a session begins and ends.

use serde::{Deserialize, Serialize};

/// Order of the daemon to the starter. The first descriptor is the client's connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionOrder {
    /// Name of the session.
    pub session: String,
    /// True if the command sees addresses in `/proc/kallsyms`.
    pub kallsyms: bool,
}

/// CallAnswer of the starter, once the session is prepared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrderAnswer {
    /// The client may send its [`StartCommand`]. The first descriptor is the daemon's connection to the receiver.
    Prepared {
        /// Process of the receiver.
        receiver: u32,
    },
    /// The session cannot begin, for this reason.
    Failed(String),
}

/// Command to run. The first buffers are its arguments, the next its environment; the descriptors are standard input,
/// output, error, and the working directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartCommand {
    /// Number of arguments; the first is the program.
    pub arguments: usize,
    /// File mode creation mask.
    pub umask: u32,
}

/// CallMessage of the client after the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientMessage {
    /// Signal for the command.
    Signal(i32),
}

/// CallMessage to the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionMessage {
    /// The command could not be started.
    Failed {
        /// Error number, if the program itself could not be executed.
        error: Option<i32>,
        /// Reason.
        message: String,
    },
    /// The daemon refused a call of the command. Each reason comes once.
    Refused {
        /// Reason.
        reason: String,
        /// True for a load: libraries try what they may do without.
        of_load: bool,
    },
    /// The command has exited with this status.
    Exited(i32),
    /// A signal killed the command.
    Killed(i32),
}

/// CallMessage of the receiver to the daemon, on the connection of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReceiverMessage {
    /// The first descriptor is a further channel for calls.
    Channel,
    /// The command runs: this is its process.
    Runs(u32),
}
