//! Sessions of `bpfman run-as`: lists them, shows one, and removes leftovers of ended ones.

use bpfman_model::Hint;
use bpfman_proto::ext::v1 as ext;

use super::connect;
use crate::args::Global;
use crate::error::CliError;
use crate::show;
use crate::show::session::{SessionList, SessionsRemoved};

pub async fn list(global: &Global) -> Result<(), CliError> {
    show::answer(global, &all(global).await?)
}

pub async fn get(global: &Global, name: &str) -> Result<(), CliError> {
    let found = all(global).await?.sessions.into_iter().find(|session| session.name == name);
    match found {
        Some(session) => show::answer(global, &session),
        None => {
            let what = format!("there is no session \"{name}\", or it is another user's");
            Err(CliError::NoEntry { what, hint: Hint::ListSessions })
        }
    }
}

async fn all(global: &Global) -> Result<SessionList, CliError> {
    let answer = connect(global).await?.sessions.list(ext::ListSessionsRequest {}).await?.into_inner();
    Ok(SessionList::new(&answer))
}

/// Removes the leftovers of ended sessions; stops at the first failure.
pub async fn remove(global: &Global, names: &[String]) -> Result<(), CliError> {
    let mut client = connect(global).await?;
    let mut removed = Vec::new();
    for name in names {
        match client.sessions.remove(ext::RemoveSessionRequest { name: name.clone() }).await {
            Ok(_) => removed.push(name.clone()),
            // Show what was removed before the failure.
            Err(status) => {
                show::answer(global, &SessionsRemoved { removed })?;
                return Err(status.into());
            }
        }
    }
    show::answer(global, &SessionsRemoved { removed })
}
