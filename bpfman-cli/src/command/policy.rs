//! `bpfman policy check`: runs the daemon's program, which parses policies; no daemon has to run.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;

use crate::args::Global;
use crate::args::policy::{CheckPolicy, PolicyCommand};
use crate::error::CliError;
use crate::exit::Exit;
use crate::show;
use crate::show::policy::CheckedPolicyFile;

const DAEMON: &str = "bpfmand";
/// Path in the packages, which is in no user's `PATH`.
const INSTALLED: &str = "/usr/sbin/bpfmand";

pub fn run(global: &Global, command: PolicyCommand) -> Result<(), CliError> {
    let PolicyCommand::Check(CheckPolicy { file }) = command;
    let mut words: Vec<OsString> = ["policy", "check", "--json"].map(OsString::from).to_vec();
    if let Some(file) = file {
        words.extend(["--".into(), file.into_os_string()]);
    }
    let output = answer(&words)?;
    let Ok(checked) = serde_json::from_slice::<CheckedPolicyFile>(&output.stdout) else {
        let said = String::from_utf8_lossy(&output.stderr);
        let what = said.trim().trim_start_matches("bpfmand: error: ").to_owned();
        let exit = output.status.code().and_then(|code| u8::try_from(code).ok()).map(Exit::of_number);
        return Err(CliError::Several { what, exit: exit.unwrap_or(Exit::Other) });
    };
    show::answer(global, &checked)?;
    match checked.mistakes.len() {
        0 => Ok(()),
        1 => Err(CliError::Invalid { what: format!("{} has 1 mistake", checked.file), hint: None }),
        count => {
            Err(CliError::Invalid { what: format!("{} has {count} mistakes", checked.file), hint: None })
        }
    }
}

/// Runs the daemon's program: the one next to the client, that of the packages, or that in `PATH`.
fn answer(words: &[OsString]) -> Result<std::process::Output, CliError> {
    let beside = std::env::current_exe().ok().and_then(|client| Some(client.parent()?.join(DAEMON)));
    for program in beside.into_iter().chain([PathBuf::from(INSTALLED), PathBuf::from(DAEMON)]) {
        match Command::new(&program).args(words).output() {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(source) => return Err(CliError::File { path: program, source }),
            Ok(output) => return Ok(output),
        }
    }
    Err(CliError::Invalid {
        what: "bpfmand is not on this machine: it is the program that reads policies".to_owned(),
        hint: Some("install the package of the daemon; it need not run".to_owned()),
    })
}
