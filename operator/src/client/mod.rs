//! Commands of `kubectl-bpfman`: state of applications on each node, and control of rollouts, with only a kubeconfig.

mod applications;
pub mod arguments;
mod ask_pod;
mod check;
mod complete;
mod connect;
mod console;
mod drops;
mod dry_run_objects;
mod error;
mod explain;
mod flows;
mod follow;
mod leftovers;
mod manifest;
mod node_figures;
mod nodes;
mod observers;
mod output;
mod profile;
mod progress;
mod rehearse;
mod rollout_command;
mod status;
mod structured;
mod table;
mod temporary_application;
mod top;

use arguments::{ClientArguments, ClientCommand};
use connect::ClientSession;
pub use error::ClientError;

#[derive(Debug)]
pub struct Shown {
    /// Content for standard output. A profile may be binary.
    pub text: Vec<u8>,
    /// State that the exit code reports.
    pub end: ShownEnd,
}

/// State of the queried objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownEnd {
    Well,
    /// Not healthy.
    NotWell,
    /// Waiting for a user's command.
    Waits,
    /// Not finished before the timeout.
    TimedOut,
}

impl ShownEnd {
    const fn of(well: bool) -> Self {
        if well { Self::Well } else { Self::NotWell }
    }

    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Well => 0,
            Self::NotWell => 1,
            Self::TimedOut => 20,
            Self::Waits => 21,
        }
    }
}

/// Runs the command; the message of an error has a hint for the user.
pub async fn run(arguments: ClientArguments) -> Result<Shown, ClientError> {
    let plain = |text: String| Ok(Shown { text: text.into(), end: ShownEnd::Well });
    match &arguments.command {
        ClientCommand::Completion => return plain(complete::SCRIPT.to_owned()),
        ClientCommand::Complete { words } => return plain(complete::complete(&arguments, words).await),
        _ => {}
    }
    let session = ClientSession::open(&arguments).await?;
    let namespace = arguments.namespace.as_deref();
    match arguments.command {
        ClientCommand::Status(options) => status::status(&session, &options).await,
        ClientCommand::Explain(options) => explain::explain(&session, &options).await,
        ClientCommand::Top(options) => top::top(&session, &options).await,
        ClientCommand::Drops(options) => drops::drops(&session, &options).await,
        ClientCommand::Profile(options) => profile::profile(&session, namespace, &options).await,
        ClientCommand::Flows(options) => flows::flows(&session, namespace, &options).await,
        ClientCommand::Promote(which) => rollout_command::send(&session, &which, "promote").await,
        ClientCommand::Abort(which) => rollout_command::send(&session, &which, "abort").await,
        ClientCommand::Console(ref options) => console::console(session, &arguments, options).await,
        ClientCommand::Check(options) => check::check(&session, &options).await,
        ClientCommand::Rehearse(options) => rehearse::rehearse(&session, &options).await,
        // Answered above, without a server.
        ClientCommand::Completion | ClientCommand::Complete { .. } => plain(String::new()),
    }
}
