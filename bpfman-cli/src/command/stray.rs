//! `bpfman stray`: objects in the daemon's bpffs without a record.

use bpfman_proto::ext::v1 as ext;

use super::connect;
use crate::args::Global;
use crate::args::stray::{RemoveStray, StrayCommand};
use crate::error::CliError;
use crate::show;
use crate::show::strays::{StrayJson, StrayList, StraysRemoved};

pub async fn run(global: &Global, command: StrayCommand) -> Result<(), CliError> {
    match command {
        StrayCommand::List(_) => {
            let mut client = connect(global).await?;
            let answer = client.chains.list_strays(ext::ListStraysRequest {}).await?.into_inner();
            show::answer(global, &StrayList { strays: answer.strays.iter().map(StrayJson::new).collect() })
        }
        StrayCommand::Remove(which) => remove(global, which).await,
    }
}

async fn remove(global: &Global, which: RemoveStray) -> Result<(), CliError> {
    let mut client = connect(global).await?;
    let pins: Vec<String> = if which.all {
        let answer = client.chains.list_strays(ext::ListStraysRequest {}).await?.into_inner();
        answer.strays.into_iter().map(|stray| stray.pin).collect()
    } else {
        which.pins.iter().map(|pin| pin.display().to_string()).collect()
    };
    let mut removed = Vec::new();
    for pin in pins {
        match client.chains.remove_stray(ext::RemoveStrayRequest { pin: pin.clone() }).await {
            Ok(_) => removed.push(pin),
            // Show what was removed before the failure.
            Err(status) => {
                show::answer(global, &StraysRemoved { removed })?;
                return Err(status.into());
            }
        }
    }
    show::answer(global, &StraysRemoved { removed })
}
