//! What `kubectl-bpfman` asks and shows: how applications are doing, node by node, and what to do about it.
//!
//! It needs no more than a kubeconfig: everything comes from the API server, with the rights of whoever asks.

mod applications;
pub mod arguments;
mod ask_pod;
mod check;
mod connect;
mod console;
mod error;
mod explain;
mod flows;
mod follow;
mod guest;
mod leftovers;
mod manifest;
mod nodes;
mod observers;
mod output;
mod profile;
mod progress;
mod rehearsal;
mod rehearse;
mod rollout_command;
mod status;
mod structured;
mod table;
mod top;

use arguments::{ClientArguments, ClientCommand};
use connect::ClientSession;
pub use error::ClientError;

/// What a command came to.
#[derive(Debug)]
pub struct Shown {
    /// For standard output. A profile may be no text.
    pub text: Vec<u8>,
    /// How what was asked about is: the exit code says so to scripts.
    pub end: ShownEnd,
}

/// How what was asked about is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownEnd {
    /// It is well.
    Well,
    /// It is not.
    NotWell,
    /// It goes on when somebody says so.
    Waits,
    /// It was not over in time.
    TimedOut,
}

impl ShownEnd {
    /// By whether all is well.
    const fn of(well: bool) -> Self {
        if well { Self::Well } else { Self::NotWell }
    }

    /// The exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Well => 0,
            Self::NotWell => 1,
            Self::Waits => 4,
            Self::TimedOut => 5,
        }
    }
}

/// Does what the arguments say.
///
/// # Errors
/// [`ClientError`]: what failed and what to do next.
pub async fn run(arguments: ClientArguments) -> Result<Shown, ClientError> {
    let session = ClientSession::open(&arguments).await?;
    let namespace = arguments.namespace.as_deref();
    match arguments.command {
        ClientCommand::Status(options) => status::status(&session, &options).await,
        ClientCommand::Explain(options) => explain::explain(&session, &options).await,
        ClientCommand::Top(options) => top::top(&session, &options).await,
        ClientCommand::Profile(options) => profile::profile(&session, namespace, &options).await,
        ClientCommand::Flows(options) => flows::flows(&session, namespace, &options).await,
        ClientCommand::Promote(which) => rollout_command::send(&session, &which, "promote").await,
        ClientCommand::Abort(which) => rollout_command::send(&session, &which, "abort").await,
        ClientCommand::Console(ref options) => console::console(session, &arguments, options).await,
        ClientCommand::Check(options) => check::check(&session, &options).await,
        ClientCommand::Rehearse(options) => rehearse::rehearse(&session, &options).await,
    }
}
