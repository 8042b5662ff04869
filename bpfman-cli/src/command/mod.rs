//! The commands: ask the daemon, show the answer.

mod apply;
mod attach;
mod chain;
mod change;
mod doctor;
mod dry_run;
mod generate;
mod hook;
mod image;
mod list;
mod load;
mod progress;
mod remove;
mod stray;
mod trace;
mod version;

use crate::args::{Cli, Command, Global};
use crate::client::Client;
use crate::error::CliError;

/// Does what the command line says.
pub async fn run(cli: Cli) -> Result<(), CliError> {
    let global = &cli.global;
    match cli.command {
        Command::Load(command) => load::run(global, command).await,
        Command::Unload(command) => remove::unload(global, command).await,
        Command::Attach(command) => attach::run(global, command).await,
        Command::Detach(command) => remove::detach(global, command).await,
        Command::Update(command) => change::update(global, command).await,
        Command::Replace(command) => change::replace(global, command).await,
        Command::Adopt(command) => change::adopt(global, command).await,
        Command::Apply(command) => apply::apply(global, command).await,
        Command::Diff(command) => apply::diff(global, command).await,
        Command::Delete(command) => apply::delete(global, command).await,
        Command::List(command) => list::list(global, command).await,
        Command::Get(command) => list::get(global, command).await,
        Command::Image(command) => image::run(global, command).await,
        Command::Chain(command) => chain::run(global, command).await,
        Command::Explain(command) => hook::explain(global, command).await,
        Command::Debug(command) => hook::debug(global, command).await,
        Command::Stray(command) => stray::run(global, command).await,
        Command::Doctor => doctor::run(global).await,
        Command::Version => version::run(global).await,
        Command::Man { out_dir } => generate::man(&out_dir),
        Command::Completions { out_dir, shell } => generate::completions(&out_dir, shell),
    }
}

/// Connects to the daemon that the command line names.
async fn connect(global: &Global) -> Result<Client, CliError> {
    Client::connect(&global.socket_path).await
}
