//! What is asked of one hook in one call: `bpfman explain`, `bpfman debug`, and the switches of `bpfman chain`.

use bpfman_proto::ext::v1 as ext;

use super::connect;
use crate::args::Global;
use crate::args::chain::{AtHook, DebugCommand, Explain};
use crate::error::CliError;
use crate::show;
use crate::show::hook_answers::{Explained, Switched};

/// Says why programs are or are not reached.
pub async fn explain(global: &Global, command: Explain) -> Result<(), CliError> {
    let hook = command.at.hook;
    let member = command.member.clone().unwrap_or_default();
    let request = ext::ExplainRequest { hook: Some(ext::Hook::from(&hook)), member };
    let answer = connect(global).await?.chains.explain(request).await?.into_inner();
    let member = command.member;
    show::answer(global, &Explained { hook: hook.to_string(), member, findings: answer.findings })
}

/// Holds a chain still, lets it go, or makes its programs visible to tracing tools.
pub async fn debug(global: &Global, command: DebugCommand) -> Result<(), CliError> {
    let (at, request) = match command {
        DebugCommand::Freeze { at } => (at, ext::SetHookRequest { held: Some(true), ..Default::default() }),
        DebugCommand::Release { at } => (at, ext::SetHookRequest { held: Some(false), ..Default::default() }),
        DebugCommand::Subprograms(switch) => {
            let as_subprograms = Some(switch.to.is_on());
            (switch.at, ext::SetHookRequest { as_subprograms, ..Default::default() })
        }
    };
    set(global, at, request).await
}

/// Sets switches of a hook.
pub async fn set(global: &Global, at: AtHook, mut request: ext::SetHookRequest) -> Result<(), CliError> {
    let hook = at.hook;
    request.hook = Some(ext::Hook::from(&hook));
    let answer = connect(global).await?.chains.set_hook(request).await?.into_inner();
    show::answer(global, &Switched::new(hook.to_string(), &answer))
}
