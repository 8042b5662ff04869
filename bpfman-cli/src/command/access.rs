//! `bpfman whoami` and `bpfman auth`.

use bpfman_proto::ext::v1 as ext;

use super::connect;
use crate::args::Global;
use crate::args::access::AuthCommand;
use crate::error::CliError;
use crate::show;
use crate::show::access::{CanIJson, WhoAmIJson};

pub async fn whoami(global: &Global) -> Result<(), CliError> {
    let mut client = connect(global).await?;
    let answer = client.access.who_am_i(ext::WhoAmIRequest {}).await?.into_inner();
    show::answer(global, &WhoAmIJson::new(&answer))
}

pub async fn auth(global: &Global, command: AuthCommand) -> Result<(), CliError> {
    let AuthCommand::CanI(asked) = command;
    let mut client = connect(global).await?;
    let request = ext::CanIRequest { verb: asked.verb, object: asked.object };
    let answer = client.access.can_i(request).await?.into_inner();
    show::answer(global, &CanIJson::new(&answer))?;
    if answer.allowed { Ok(()) } else { Err(CliError::MayNot) }
}
