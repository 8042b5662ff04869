//! First process of the command, which stays stopped until it is released.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};

use anyhow::{Context, Result, bail};
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_parent_process_death_signal, waitpid,
};

pub const VERB: &str = "behind-the-gate";

pub fn start(command: &[String]) -> Result<Child> {
    let child = Command::new("/proc/self/exe").arg(VERB).arg("--").args(command).spawn();
    let child = child.context("cannot start a process")?;
    let status = waitpid(Some(Pid::from_child(&child)), WaitOptions::UNTRACED)
        .context("cannot wait for the process")?;
    if !status.is_some_and(|(_, status)| status.stopped()) {
        bail!("the command's process ended before it could be followed");
    }
    Ok(child)
}

pub fn open(child: &Child) -> Result<()> {
    kill_process(Pid::from_child(child), Signal::CONT).context("cannot let the command through")
}

pub fn pass(command: &[String]) -> io::Error {
    // The job must end with the process that reports on it.
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return error.into();
    }
    if let Err(error) = kill_process(getpid(), Signal::STOP) {
        return error.into();
    }
    let (program, arguments) =
        command.split_first().map_or(("", [].as_slice()), |(first, rest)| (first.as_str(), rest));
    Command::new(program).args(arguments).exec()
}
