//! `bpfman chain`.

use bpfman_proto::ext::v1 as ext;

use super::connect;
use crate::args::value::absolute;
use crate::args::{ChainCommand, Global};
use crate::error::CliError;
use crate::show;
use crate::show::chain::ChainRecord;

/// Shows the chain of one hook.
pub async fn run(global: &Global, command: ChainCommand) -> Result<(), CliError> {
    let ChainCommand::Show { mut hook } = command;
    hook.netns = hook.netns.as_deref().map(absolute);
    let mut client = connect(global).await?;
    let request = ext::GetChainRequest { hook: Some(ext::Hook::from(&hook)) };
    let chain = client.ext.get_chain(request).await?.into_inner();
    show::answer(global, &ChainRecord::new(hook.to_string(), &chain))
}
