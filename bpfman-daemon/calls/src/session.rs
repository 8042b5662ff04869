//! Messages by which a session begins and ends.

use serde::{Deserialize, Serialize};

/// Order of the daemon to the starter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StarterOrder {
    /// Begin a session. The first descriptor is the client's connection.
    Begin(SessionOrder),
    /// Remove the pins that this session left.
    Remove(String),
}

/// Session to begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionOrder {
    pub session: String,
    /// True if the command sees addresses in `/proc/kallsyms`.
    pub kallsyms: bool,
    /// True if pins stay after the command.
    pub keep: bool,
}

/// Answer to a [`StarterOrder`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrderAnswer {
    /// The client may send its [`StartCommand`]. The first descriptor is the daemon's connection to the receiver.
    Prepared { receiver: u32 },
    /// The session cannot begin, or its pins cannot be removed, for this reason.
    Failed(String),
    /// The pins are removed.
    Removed,
}

/// Command to run. The first buffers are its arguments, the next its environment; the descriptors are standard input,
/// output, error, and the working directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartCommand {
    /// Number of arguments; the first is the program.
    pub arguments: usize,
    /// File mode creation mask.
    pub umask: u32,
    /// True if the client records what the command loads.
    #[serde(default)]
    pub records: bool,
}

/// Message of the client after the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientMessage {
    /// Signal for the command.
    Signal(i32),
}

/// Message to the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionMessage {
    /// The command could not be started.
    Failed {
        /// Error number, if a system call failed, such as execve(2).
        error: Option<i32>,
        message: String,
    },
    /// No grant allows the command itself, for this reason.
    Denied(String),
    /// Sessions cannot serve the command, or this kernel has none, for this reason.
    Unsupported(String),
    /// The daemon refused a call of the command. Each reason comes once.
    Refused {
        reason: String,
        /// True for a load: libraries often try loads that they do not need.
        of_load: bool,
    },
    /// The command loaded a program: this is its line in a list of recorded ones.
    Loaded(String),
    /// The command has exited with this status.
    Exited(i32),
    /// A signal killed the command.
    Killed(i32),
}

/// Message of the receiver to the daemon, on the connection of the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReceiverMessage {
    /// The command is about to execute a file. The daemon answers with a [`StartVerdict`].
    Executes(CommandFile),
    /// The first descriptor is a further channel for calls.
    Channel,
    /// The command runs: this is its process.
    Runs(u32),
}

/// File that a command executes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandFile {
    pub path: String,
    /// SHA-256 of its content as hexadecimal digits; `None` if the user may not read it, or it is no file.
    pub sha256: Option<String>,
    /// Reason why the user could run another file than the hashed one; `None` if the user cannot.
    pub loose: Option<String>,
    /// Command line, shortened.
    pub line: String,
    /// True if the client records what the command loads.
    #[serde(default)]
    pub records: bool,
}

/// Answer to [`ReceiverMessage::Executes`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartVerdict {
    /// The command may start.
    Start {
        /// True if this very file has to be executed, with no library of the user's choice.
        held: bool,
    },
    /// The command may not start, for this reason.
    Denied(String),
}
