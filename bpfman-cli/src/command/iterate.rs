//! `bpfman iter`.

use std::io::IsTerminal;

use bpfman_proto::ext::v1 as ext;

use super::connect;
use crate::args::Global;
use crate::args::list::Iterate;
use crate::error::CliError;
use crate::show;
use crate::show::screen::Screen;

/// Has an iterator run, and prints what it writes as it comes. Programs get every byte; a terminal none that would control
/// it.
pub async fn run(global: &Global, command: Iterate) -> Result<(), CliError> {
    let mut client = connect(global).await?;
    let request = ext::ReadIteratorRequest { link_id: command.link_id };
    let mut pieces = client.ext.read_iterator(request).await?.into_inner();
    let screen = std::io::stdout().is_terminal().then(Screen::of_stdout);
    while let Some(piece) = pieces.message().await? {
        let more = match &screen {
            Some(screen) => {
                show::write_while_read(screen.harmless(&String::from_utf8_lossy(&piece.text)).as_bytes())?
            }
            None => show::write_while_read(&piece.text)?,
        };
        if !more {
            break;
        }
    }
    Ok(())
}
