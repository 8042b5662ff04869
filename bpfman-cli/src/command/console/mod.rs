//! `bpfman console`: pages of this machine, for one browser on it, with the grants of the user who started the command.

mod figures;
mod live;
mod machine;
mod machine_facts;

use std::sync::Arc;

use bpfman_console::{ConsoleNotice, LocalConsole, open_browser, serve};
use tokio::net::TcpListener;

use crate::args::Global;
use crate::args::console::ShowConsole;
use crate::command::run::signals::Signals;
use crate::error::CliError;
use crate::show;
use crate::show::console::ConsoleAddress;

use machine::MachineSource;

pub async fn run(global: &Global, command: ShowConsole) -> Result<(), CliError> {
    let mut signals = Signals::new()?;
    let at = command.listen;
    let unable = |source: std::io::Error| CliError::Listen { address: at, source };
    let listener = TcpListener::bind(at).await.map_err(unable)?;
    let address = listener.local_addr().map_err(unable)?;
    let source = MachineSource::new(&global.socket_path);
    let console = LocalConsole::new(source, address, tell).map_err(CliError::Runtime)?;
    let url = console.url();
    show::answer(global, &ConsoleAddress { url: url.clone() })?;
    show::note("it works once, within 5 minutes, in one browser; Ctrl-C ends the console");
    let page = if command.no_open { None } else { open_browser(&url) };
    serve(Arc::new(console), listener, signals.any()).await;
    drop(page);
    Ok(())
}

fn tell(notice: ConsoleNotice) {
    match notice {
        ConsoleNotice::Opened => show::note(notice.text()),
        ConsoleNotice::TokenAgain => show::warn(notice.text()),
    }
}
