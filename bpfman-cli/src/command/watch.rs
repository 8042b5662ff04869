//! Repetition of commands that show objects.

use std::time::Duration;

use super::open_output::OpenOutput;
use crate::args::Cli;
use crate::error::CliError;
use crate::exit::Exit;
use crate::show;

const PAUSE: Duration = Duration::from_secs(1);

/// Runs a command every second, and shows its answers that differ from the last one. The daemon may be restarted
/// meanwhile.
pub async fn run(command: impl Fn() -> Cli) -> Result<(), CliError> {
    let mut output = OpenOutput::of_stdout();
    let (mut has_shown, mut is_away) = (false, false);
    show::watched::begin();
    loop {
        tokio::select! {
            () = output.closed() => return Ok(()),
            shown = super::once(command()) => match shown {
                Ok(()) => (has_shown, is_away) = (true, false),
                Err(error) if has_shown && error.exit() == Exit::Unreachable => {
                    if !is_away {
                        show::note("the daemon has gone; trying again");
                    }
                    is_away = true;
                }
                Err(error) => return Err(error),
            },
        }
        tokio::select! {
            () = output.closed() => return Ok(()),
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}
