//! The process of the command, before it executes the program.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;
use bpfmand_calls::{CallMessage, Channel, SessionMessage, StartCommand};
use bpfmand_notify::{Rights, become_user, close_all_but, install, start_session};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Mode;

use crate::filter::filter;

/// Becomes the user, reads the command from the client, installs the filter and executes the program. Returns only an
/// error, after the client was sent it.
pub fn run(rights: &Rights, client: &Channel, receiver: &Channel) -> io::Error {
    let failed = |error: anyhow::Error| {
        let number = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        let _gone =
            client.send(SessionMessage::Failed { error: number, message: format!("{error:#}") }, &[], &[]);
        io::Error::other(error)
    };
    match prepare(rights, client, receiver) {
        Ok(mut command) => {
            let name = command.get_program().to_owned();
            failed(anyhow::Error::from(command.exec()).context(format!("cannot execute {}", name.display())))
        }
        Err(error) => failed(error),
    }
}

fn prepare(rights: &Rights, client: &Channel, receiver: &Channel) -> anyhow::Result<Command> {
    close_all_but(&[client.number(), receiver.number()])?;
    start_session()?;
    // No program that is executed can regain one: the filter sets no_new_privs.
    caps::clear(None, caps::CapSet::Bounding)?;
    become_user(rights)?;
    // The daemon sends its answer without blocking, on the same open file. Only then does the client send its command.
    let mut command = [PollFd::new(client.stream(), PollFlags::IN)];
    poll(&mut command, None)?;
    client.stream().set_nonblocking(false)?;
    // Read with the user's rights: the client may have written anything.
    let start = client.receive_next::<StartCommand>()?.context("the client has ended")?;
    let command = parse(start)?;
    let listener = install(&filter())
        .context("cannot install the filter: it needs Linux 5.19, and no other listener")?;
    receiver.send((), &[], &[listener.as_fd()])?;
    drop(listener);
    receiver.receive::<()>()?.context("the receiver has ended")?;
    Ok(command)
}

fn parse(start: CallMessage<StartCommand>) -> anyhow::Result<Command> {
    let CallMessage { head, buffers, descriptors } = start;
    let four: [OwnedFd; 4] =
        descriptors.try_into().map_err(|_| anyhow::anyhow!("the client has to send four descriptors"))?;
    let [input, output, error, folder] = four;
    let mut words = buffers.into_iter().map(OsString::from_vec);
    let program = words.next().filter(|_| head.arguments > 0).context("no command is given")?;
    let mut command = Command::new(program);
    let words: Vec<OsString> = words.collect();
    let (arguments, environment) = words.split_at((head.arguments - 1).min(words.len()));
    command.args(arguments).env_clear();
    for variable in environment {
        let bytes = variable.as_encoded_bytes();
        // As the C library does: a name has at least one character.
        let end = bytes.iter().skip(1).position(|byte| *byte == b'=').map(|at| at + 1);
        if let Some(end) = end {
            let (name, value) =
                (OsString::from_vec(bytes[..end].to_vec()), OsString::from_vec(bytes[end + 1..].to_vec()));
            command.env(name, value);
        }
    }
    rustix::process::fchdir(&folder).context("the working directory cannot be entered")?;
    rustix::process::umask(Mode::from_raw_mode(head.umask & 0o777));
    rustix::stdio::dup2_stdin(&input)?;
    rustix::stdio::dup2_stdout(&output)?;
    rustix::stdio::dup2_stderr(&error)?;
    Ok(command)
}
