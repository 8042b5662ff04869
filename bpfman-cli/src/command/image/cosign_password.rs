//! Password of a cosign key: from cosign's own variable, else from the terminal.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// Variable of cosign, which may be empty.
const VARIABLE: &str = "COSIGN_PASSWORD";

/// Returns the password; none if the variable is not set and there is no terminal.
pub fn cosign_password(key: &Path) -> Option<String> {
    if let Ok(password) = std::env::var(VARIABLE) {
        return Some(password);
    }
    // In a script, no user can type.
    if !io::stdin().is_terminal() {
        return None;
    }
    typed(key).ok()
}

fn typed(key: &Path) -> io::Result<String> {
    let mut terminal = File::options().read(true).write(true).open("/dev/tty")?;
    let before = tcgetattr(&terminal)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
    let mut line = String::new();
    let read = write!(terminal, "password of {}: ", key.display())
        .and_then(|()| BufReader::new(&terminal).read_line(&mut line));
    let restored = tcsetattr(&terminal, OptionalActions::Flush, &before);
    writeln!(terminal)?;
    restored?;
    read?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
