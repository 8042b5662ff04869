//! The process of the command, before it executes the program.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, bail};
use bpfmand_calls::{CallMessage, Channel, CommandFile, SessionMessage, StartCommand, StartVerdict};
use bpfmand_notify::{Rights, become_user, close_all_but, install, start_session};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags, fstat, openat};

use crate::executable::Executable;
use crate::filter::filter;
use crate::mounts;

/// Variables by which a user loads own libraries into a program; set-user-id programs ignore them, too.
const LOADER_VARIABLES: [&[u8]; 2] = [b"LD_", b"GLIBC_TUNABLES"];
/// Maximum length of the command line in the session's record, in bytes.
const MAX_LINE: usize = 512;

/// Becomes the user, reads the command from the client, installs the filter and executes the program. Returns only
/// after a failure, which it has sent to the client.
pub fn run(rights: &Rights, client: &Channel, receiver: &Channel) -> io::Error {
    let failed = |error: anyhow::Error| {
        let number = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        let message = match error.downcast_ref::<Unsupported>() {
            Some(Unsupported(why)) => SessionMessage::Unsupported(why.clone()),
            None => SessionMessage::Failed { error: number, message: format!("{error:#}") },
        };
        let _gone = client.send(message, &[], &[]);
        io::Error::other(error)
    };
    match prepare(rights, client, receiver) {
        Ok((words, _held, mut command)) => failed(
            anyhow::Error::from(command.exec())
                .context(format!("cannot execute {}", words.program.display())),
        ),
        Err(error) => failed(error),
    }
}

/// The reason why no session can serve the command.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unsupported(String);

struct CommandWords {
    program: OsString,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    records: bool,
}

fn prepare(
    rights: &Rights,
    client: &Channel,
    receiver: &Channel,
) -> anyhow::Result<(CommandWords, Executable, Command)> {
    close_all_but(&[client.number(), receiver.number()])?;
    start_session()?;
    become_user(rights)?;
    // Wait for the command: until then, the daemon uses the same open file, without blocking.
    let mut command = [PollFd::new(client.stream(), PollFlags::IN)];
    poll(&mut command, None)?;
    client.stream().set_nonblocking(false)?;
    // Read with the user's rights: the client may have written anything.
    let start = client.receive_next::<StartCommand>()?.context("the client has ended")?;
    let words = parse(start)?;
    let executable = Executable::find(&words.program, words.variable("PATH"));
    if executable.is_foreign() {
        bail!(Unsupported(format!(
            "{} is a program for another processor or of 32 bits, whose calls sessions do not serve: use its build for {}",
            executable.path.display(),
            std::env::consts::ARCH
        )));
    }
    let file = CommandFile {
        path: executable.path.display().to_string(),
        sha256: executable.sha256(),
        loose: executable.swap_risk(rights.uid),
        line: words.line(),
        records: words.records,
    };
    let listener = install(&filter()).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => {
            Unsupported("sessions need Linux 5.19: older kernels cannot hold a call for them".to_owned())
                .into()
        }
        _ => anyhow::Error::from(error).context("cannot install the filter"),
    })?;
    receiver.send(file, &[], &[listener.as_fd()])?;
    drop(listener);
    let verdict = receiver.receive::<StartVerdict>()?.context("the receiver has ended")?;
    let held = match verdict.head {
        StartVerdict::Start { held } => held,
        StartVerdict::Denied(why) => bail!(why),
    };
    let command = words.command(held.then_some(&executable))?;
    Ok((words, executable, command))
}

fn parse(start: CallMessage<StartCommand>) -> anyhow::Result<CommandWords> {
    let CallMessage { head, buffers, descriptors } = start;
    let four: [OwnedFd; 4] =
        descriptors.try_into().map_err(|_| anyhow::anyhow!("the client has to send four descriptors"))?;
    let [input, output, error, folder] = four;
    let mut words = buffers.into_iter().map(OsString::from_vec);
    let program = words.next().filter(|_| head.arguments > 0).context("no command is given")?;
    let mut arguments: Vec<OsString> = words.collect();
    let environment = arguments.split_off((head.arguments - 1).min(arguments.len()));
    let mut variables = Vec::new();
    for variable in environment {
        let bytes = variable.as_encoded_bytes();
        // As the C library does: a name has at least one character.
        let end = bytes.iter().skip(1).position(|byte| *byte == b'=').map(|at| at + 1);
        if let Some(end) = end {
            let [name, value] =
                [&bytes[..end], &bytes[end + 1..]].map(|part| OsString::from_vec(part.to_vec()));
            variables.push((name, value));
        }
    }
    enter(&folder).context("the working directory cannot be entered")?;
    rustix::process::umask(Mode::from_raw_mode(head.umask & 0o777));
    rustix::stdio::dup2_stdin(&input)?;
    rustix::stdio::dup2_stdout(&output)?;
    rustix::stdio::dup2_stderr(&error)?;
    Ok(CommandWords { program, arguments, variables, records: head.records })
}

impl CommandWords {
    fn variable(&self, name: &str) -> Option<&OsStr> {
        self.variables.iter().rev().find(|(one, _)| one == name).map(|(_, value)| value.as_os_str())
    }

    fn line(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.arguments);
        let mut line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        line.truncate(line.floor_char_boundary(MAX_LINE));
        line
    }

    /// Returns the command, which executes a file that has to be held, if one is given.
    fn command(&self, held: Option<&Executable>) -> io::Result<Command> {
        let mut command = match held {
            None => Command::new(&self.program),
            Some(file) => {
                let mut command = Command::new(file.held_path()?);
                command.arg0(&self.program);
                command
            }
        };
        command.args(&self.arguments).env_clear();
        let is_loaders =
            |name: &OsStr| LOADER_VARIABLES.iter().any(|start| name.as_bytes().starts_with(start));
        let variables = self.variables.iter().filter(|(name, _)| held.is_none() || !is_loaders(name));
        command.envs(variables.map(|(name, value)| (name, value)));
        Ok(command)
    }
}

/// Enters a folder of the client by its path in the command's mounts, if the path leads to the same folder, or is below a
/// folder that the command does not share.
fn enter(folder: &OwnedFd) -> io::Result<()> {
    let name = std::fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd()))?;
    let here = openat(CWD, &name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let identity = |file: &OwnedFd| fstat(file).map(|found| (found.st_dev, found.st_ino));
    let is_replaced = mounts::REPLACED.iter().any(|at| name.starts_with(at));
    let here =
        here.ok().filter(|here| is_replaced || identity(here).is_ok_and(|one| identity(folder) == Ok(one)));
    Ok(rustix::process::fchdir(here.as_ref().unwrap_or(folder))?)
}
