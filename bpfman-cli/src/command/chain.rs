use std::time::Duration;

use bpfman_client::Services;
use bpfman_model::{Hint, HookName};
use bpfman_proto::ext::v1 as ext;

use super::{chain_watch, connect, hook, trace};
use crate::args::chain::{ChainCommand, ShowChain};
use crate::args::{Global, OutputForm};
use crate::error::CliError;
use crate::show;
use crate::show::chain::ChainJson;
use crate::show::hooks::HookList;
use crate::show::screen::Screen;
use crate::show::verified::VerifiedChain;

pub async fn run(global: &Global, command: ChainCommand) -> Result<(), CliError> {
    match command {
        ChainCommand::List(_) => {
            let answer = connect(global).await?.chains.list_hooks(ext::ListHooksRequest {}).await?;
            show::answer(global, &HookList::from(&answer.into_inner()))
        }
        ChainCommand::Show(command) => show_chain(global, command).await,
        ChainCommand::Watch(command) => chain_watch::run(global, command).await,
        ChainCommand::Verify { at } => verify(global, at.hook).await,
        ChainCommand::Trace(command) => trace::run(global, command).await,
        ChainCommand::Counters(switch) => hook::set(global, switch, |hook, on| hook.counters = on).await,
        ChainCommand::Timing(switch) => hook::set(global, switch, |hook, on| hook.timing = on).await,
        ChainCommand::Optimise(wanted) => hook::optimise(global, wanted).await,
        ChainCommand::Keep(switch) => hook::set(global, switch, |hook, on| hook.keep_attached = on).await,
    }
}

const WATCH_MILLISECONDS: u32 = 1000;

async fn show_chain(global: &Global, command: ShowChain) -> Result<(), CliError> {
    let hook = command.at.hook;
    let mut client = connect(global).await?;
    if !command.watch {
        let sample_ms = command.sample.unwrap_or(0);
        return show::answer(global, &chain(&mut client, &hook, sample_ms).await?);
    }
    let pause = command.sample.unwrap_or(WATCH_MILLISECONDS);
    loop {
        let record = chain(&mut client, &hook, pause).await?;
        let mut text = show::form(global, &record)?;
        match global.output {
            // Cursor to the top, and clear the screen: the drawing stays in place.
            OutputForm::Table if Screen::of_stdout() != Screen::PLAIN => text.insert_str(0, "\x1b[H\x1b[2J"),
            OutputForm::Yaml => text.insert_str(0, "---\n"),
            _ => {}
        }
        if !show::write_while_read(text.as_bytes())? {
            return Ok(());
        }
        // With counters, the daemon samples for this time before it answers; without, it answers at once.
        if !record.counters {
            tokio::time::sleep(Duration::from_millis(pause.into())).await;
        }
    }
}

async fn chain(client: &mut Services, hook: &HookName, sample_ms: u32) -> Result<ChainJson, CliError> {
    let request = ext::ShowChainRequest { hook: Some(ext::Hook::from(hook)), sample_ms };
    let shown = client.chains.show_chain(request).await?.into_inner();
    Ok(ChainJson::of_hook(&hook.to_string(), &shown))
}

async fn verify(global: &Global, hook: HookName) -> Result<(), CliError> {
    let request = ext::VerifyChainRequest { hook: Some(ext::Hook::from(&hook)) };
    let answer = connect(global).await?.chains.verify_chain(request).await?.into_inner();
    let verified = VerifiedChain::new(&hook.to_string(), &answer);
    show::answer(global, &verified)?;
    if verified.matches {
        return Ok(());
    }
    let differing = verified.differences().len();
    Err(CliError::Differs {
        what: format!(
            "{hook} does not run what its programs make: {differing} of {} parts differ",
            verified.parts.len()
        ),
        hint: Hint::RestartDaemon,
    })
}
