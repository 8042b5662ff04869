mod archive;
mod build;
mod by_identity;
mod by_key;
mod cache;
mod cosign_password;
pub mod credential;
mod keys;
mod labels;
mod memory_limit;
mod publish;
mod pull;
pub mod reach;

use super::connect;
use crate::args::Global;
use crate::args::image::ImageCommand;
use crate::error::CliError;
use crate::show;

pub use pull::{on_the_wire, pull, pulled_where_watched};

pub async fn run(global: &Global, command: ImageCommand) -> Result<(), CliError> {
    match command {
        ImageCommand::Pull { image } => {
            let mut client = connect(global).await?;
            let pulled = pull(global, &mut client, on_the_wire(&image)).await?;
            show::answer(global, &pulled)
        }
        ImageCommand::List(_) => cache::list(global).await,
        ImageCommand::Inspect { image } => cache::inspect(global, &image).await,
        ImageCommand::Verify(command) => match (command.key.clone(), &command.identity.clone()[..]) {
            (Some(key), _) => by_key::verify(global, command, &key).await,
            (None, [issuer, subject]) => by_identity::verify(global, command, (issuer, subject)).await,
            (None, _) => cache::verify(global, &command.image).await,
        },
        ImageCommand::Prune { unused_for } => cache::prune(global, unused_for).await,
        ImageCommand::Save(command) => archive::save(global, command).await,
        ImageCommand::Labels(command) => labels::labels(global, command).await,
        ImageCommand::Load { path, name } => archive::load(global, &path, name.as_ref()).await,
        ImageCommand::Build(command) => build::build(global, command),
        ImageCommand::Push(command) => publish::push(global, command).await,
        ImageCommand::Sign(command) => publish::sign(global, command).await,
        ImageCommand::GenerateKeyPair(command) => keys::generate(global, &command),
        ImageCommand::GenerateBuildArgs { bytecode } => build::build_args(global, bytecode),
    }
}
