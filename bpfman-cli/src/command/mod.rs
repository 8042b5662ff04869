//! Commands: call the daemon, show the answer.

mod access;
mod ambiguous_digits;
mod apply;
mod attach;
mod boot;
mod chain;
mod chain_measurements;
mod chain_watch;
mod change;
mod check;
mod complete;
mod console;
mod dead_daemon;
mod doctor;
mod drops;
mod dry_run;
mod events;
mod features;
mod figure_readings;
mod generate;
#[cfg(test)]
mod golden_tests;
mod history;
mod hook;
mod image;
mod iterate;
mod kernel_reasons;
mod list;
mod load;
mod map;
mod object_source;
mod open_output;
mod policy;
mod program_name;
mod progress;
mod radar;
mod reconnect;
mod remove;
mod run;
mod run_as;
mod sessions;
mod stray;
mod support_bundle;
mod top;
mod trace;
mod version;
mod wait;
mod waited_state;
mod watch;
mod wire_point;

use std::io;

use bpfman_client::{Client, Reconnect, Services};

use crate::args::{Cli, CliCommand, Global};
use crate::error::CliError;

/// Runs a command. `again` parses the command line once more, for each repetition with `--watch`.
pub async fn run(cli: Cli, again: impl Fn() -> Cli) -> Result<(), CliError> {
    if cli.command.is_watched() { watch::run(again).await } else { once(cli).await }
}

async fn once(cli: Cli) -> Result<(), CliError> {
    let global = &cli.global;
    match cli.command {
        CliCommand::Load(command) => load::run(global, command).await,
        CliCommand::Run(command) => run::run(global, command).await,
        CliCommand::RunAs(command) => run_as::run(global, command).await,
        CliCommand::Unload(command) => remove::unload(global, command).await,
        CliCommand::Attach(command) => attach::run(global, command).await,
        CliCommand::Detach(command) => remove::detach(global, command).await,
        CliCommand::Update(command) => change::update(global, command).await,
        CliCommand::Replace(command) => change::replace(global, command).await,
        CliCommand::Adopt(command) => change::adopt(global, command).await,
        CliCommand::Apply(command) => apply::apply(global, command).await,
        CliCommand::Diff(command) => apply::diff(global, command).await,
        CliCommand::Delete(command) => apply::delete(global, command).await,
        CliCommand::List(command) => list::list(global, command.command).await,
        CliCommand::Get(command) => list::get(global, command.command).await,
        CliCommand::Map(command) => map::run(global, command).await,
        CliCommand::Image(command) => image::run(global, command).await,
        CliCommand::Chain(command) => chain::run(global, command).await,
        CliCommand::Iter(command) => iterate::run(global, command).await,
        CliCommand::Explain(command) => hook::explain(global, command).await,
        CliCommand::Debug(command) => hook::debug(global, command).await,
        CliCommand::Stray(command) => stray::run(global, command).await,
        CliCommand::Whoami => access::whoami(global).await,
        CliCommand::Auth(command) => access::auth(global, command).await,
        CliCommand::Policy(command) => policy::run(global, command),
        CliCommand::History(command) => history::run(global, command).await,
        CliCommand::Events(command) => events::run(global, command).await,
        CliCommand::Console(command) => console::run(global, command).await,
        CliCommand::Radar(command) => radar::run(global, command).await,
        CliCommand::Wait(command) => wait::run(global, command).await,
        CliCommand::Top(command) => top::run(global, command).await,
        CliCommand::Drops(command) => drops::run(global, command).await,
        CliCommand::Doctor => doctor::run(global).await,
        CliCommand::SupportBundle(command) => support_bundle::run(global, command).await,
        CliCommand::Check(command) => check::run(global, command).await,
        CliCommand::Features(command) => features::run(global, command).await,
        CliCommand::Version => version::run(global).await,
        CliCommand::Completion { shell } => generate::completion(shell),
        CliCommand::Complete { line } => complete::run(global, &line).await,
        CliCommand::Man { out_dir } => generate::man(&out_dir),
        CliCommand::Completions { out_dir, shell } => generate::completions(&out_dir, shell),
    }
}

async fn connect_fresh(global: &Global) -> Result<Client, CliError> {
    Client::connect_to(&global.socket_path).await.map_err(CliError::Client)
}

async fn connect(global: &Global) -> Result<Services, CliError> {
    let path = &global.socket_path;
    // One connection per command: if it breaks, the call fails, and the user decides whether to repeat it.
    Services::connect(path, Reconnect::Never).await.map_err(|source| {
        let path = path.clone();
        match source.kind() {
            io::ErrorKind::PermissionDenied => CliError::SocketDenied { path, source },
            _ => CliError::Unreachable { path, source },
        }
    })
}
