//! What `kubectl-bpfman` asks and shows: how applications are doing, node by node, and what to do about it.
//!
//! It needs no more than a kubeconfig: everything comes from the API server, with the rights of whoever asks.

mod applications;
pub mod arguments;
mod connect;
mod error;
mod explain;
mod nodes;
mod output;
mod rehearsal;
mod rehearse;
mod say;
mod status;
mod table;

use arguments::{Arguments, Command};
use connect::Session;
pub use error::ClientError;

/// What a command came to.
#[derive(Debug)]
pub struct Shown {
    /// For standard output.
    pub text: String,
    /// Whether what was asked about is well: the exit code says so to scripts.
    pub well: bool,
}

/// Does what the arguments say.
///
/// # Errors
/// [`ClientError`]: what failed and what to do next.
pub async fn run(arguments: Arguments) -> Result<Shown, ClientError> {
    let session = Session::open(&arguments).await?;
    match arguments.command {
        Command::Status(options) => status::status(&session, &options).await,
        Command::Explain(options) => explain::explain(&session, &options).await,
        Command::Promote(which) => say::say(&session, &which, "promote").await,
        Command::Abort(which) => say::say(&session, &which, "abort").await,
        Command::Rehearse(options) => rehearse::rehearse(&session, &options).await,
    }
}
