//! `bpfman policy`: runs the daemon's program, which parses policies; no daemon needs to be running.

mod addition;
mod allow;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::args::Global;
use crate::args::policy::{CheckPolicy, PolicyCommand};
use crate::error::CliError;
use crate::exit::Exit;
use crate::show;
use crate::show::policy::CheckedPolicyFile;

const DAEMON: &str = "bpfmand";
/// Path of the packaged daemon. Its folder is usually not in a user's `PATH`.
const INSTALLED: &str = "/usr/sbin/bpfmand";

pub fn run(global: &Global, command: PolicyCommand) -> Result<(), CliError> {
    match command {
        PolicyCommand::Check(CheckPolicy { file }) => check(global, file.as_deref()),
        PolicyCommand::Show => show::answer(global, &read("show", None)?),
        PolicyCommand::Allow(allow) => allow::run(global, &allow),
    }
}

fn check(global: &Global, file: Option<&Path>) -> Result<(), CliError> {
    let checked = read("check", file)?;
    show::answer(global, &checked)?;
    match checked.mistakes.len() {
        0 => Ok(()),
        1 => Err(CliError::Invalid { what: format!("{} has 1 mistake", checked.file), hint: None }),
        count => {
            Err(CliError::Invalid { what: format!("{} has {count} mistakes", checked.file), hint: None })
        }
    }
}

fn read(action: &str, file: Option<&Path>) -> Result<CheckedPolicyFile, CliError> {
    let mut words: Vec<OsString> = ["policy", action, "--json"].map(OsString::from).to_vec();
    if let Some(file) = file {
        words.extend(["--".into(), file.as_os_str().to_owned()]);
    }
    let output = answer(&words)?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let text = String::from_utf8_lossy(&output.stderr);
        let what = text.trim().trim_start_matches("bpfmand: error: ").to_owned();
        let exit = output.status.code().and_then(|code| u8::try_from(code).ok()).map(Exit::of_number);
        CliError::Several { what, exit: exit.unwrap_or(Exit::Other) }
    })
}

/// Runs the daemon's program: the one beside the client, that of the packages, or that in `PATH`.
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
        hint: Some("install the package of the daemon; it need not run".into()),
    })
}
