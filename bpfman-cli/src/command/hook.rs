//! Calls for one hook: `bpfman explain`, `bpfman debug`, and the switches of `bpfman chain`.

use bpfman_model::Hint;
use bpfman_proto::ext::v1 as ext;

use super::connect;
use super::progress::warn;
use crate::args::Global;
use crate::args::chain::{AtHook, DebugCommand, Explain, ExplainedPlace, OptimiseHook, Switch, SwitchHook};
use crate::error::CliError;
use crate::show;
use crate::show::hook_answers::{Explained, HookSwitchesJson};

pub async fn explain(global: &Global, command: Explain) -> Result<(), CliError> {
    let member = command.member.clone().unwrap_or_default();
    let (hook, request) = match &command.place {
        ExplainedPlace::Hook(hook) => {
            let request = ext::ExplainRequest { hook: Some(hook.into()), member, ..Default::default() };
            (hook.to_string(), request)
        }
        ExplainedPlace::Cgroup(path) => {
            (format!("cgroup:{path}"), ext::ExplainRequest { member, cgroup: path.to_string(), hook: None })
        }
    };
    let answer = connect(global).await?.chains.explain(request).await?.into_inner();
    let member = command.member;
    show::answer(global, &Explained { hook, member, findings: answer.findings })
}

pub async fn debug(global: &Global, command: DebugCommand) -> Result<(), CliError> {
    match command {
        DebugCommand::Freeze { at, ttl } => {
            let seconds = ttl.map(|ttl| ttl.as_secs());
            let hook = at.hook.to_string();
            let freeze =
                |hook: &mut ext::SetHookRequest| (hook.held, hook.held_seconds) = (Some(true), seconds);
            let answer = ask(global, &at, freeze).await?;
            // An older daemon ignores the time limit, and the hook may have been frozen without one.
            if answer.held && answer.held_seconds_left.is_none() {
                let release = Hint::Release { hook: hook.clone() };
                warn(&format!("this freeze does not end by itself: {release}"));
            }
            show::answer(global, &HookSwitchesJson::new(&hook, &answer))
        }
        DebugCommand::Release { at } => {
            set(global, SwitchHook { at, to: Switch::Off }, |hook, on| hook.held = on).await
        }
        DebugCommand::Subprograms(switch) => set(global, switch, |hook, on| hook.as_subprograms = on).await,
    }
}

pub async fn set(
    global: &Global,
    switched: SwitchHook,
    switch: impl FnOnce(&mut ext::SetHookRequest, Option<bool>),
) -> Result<(), CliError> {
    let on = Some(switched.to.is_on());
    change(global, &switched.at, |request| switch(request, on)).await
}

pub async fn optimise(global: &Global, OptimiseHook { at, level }: OptimiseHook) -> Result<(), CliError> {
    change(global, &at, |request| request.optimisation = Some(level.name().to_owned())).await
}

async fn change(
    global: &Global,
    at: &AtHook,
    change: impl FnOnce(&mut ext::SetHookRequest),
) -> Result<(), CliError> {
    let answer = ask(global, at, change).await?;
    show::answer(global, &HookSwitchesJson::new(&at.hook.to_string(), &answer))
}

async fn ask(
    global: &Global,
    at: &AtHook,
    change: impl FnOnce(&mut ext::SetHookRequest),
) -> Result<ext::SetHookResponse, CliError> {
    let mut request = ext::SetHookRequest { hook: Some(ext::Hook::from(&at.hook)), ..Default::default() };
    change(&mut request);
    Ok(connect(global).await?.chains.set_hook(request).await?.into_inner())
}
