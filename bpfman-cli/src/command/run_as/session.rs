//! Connection of a session: to the daemon until the session begins, then to its receiver process.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use bpfman_client::Error;
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::handover::{LENGTH, MAX_ANSWER, PREFACE, frame, length};
use bpfmand_calls::{Channel, SessionMessage, StartCommand};
use ext::handover_answer::Answer;
use ext::handover_request::Call;
use prost::Message as _;
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::args::run_as::RunAs;
use crate::error::CliError;

pub struct SessionConnection(UnixStream);

pub struct SessionMessages(Channel);

pub struct SessionSignals(pub Channel);

impl SessionConnection {
    /// Starts the session and its command.
    pub fn begin(socket: &Path, command: &RunAs) -> Result<Self, CliError> {
        let broke = |source| CliError::Client(Error::Handover { path: socket.to_path_buf(), source });
        let mut stream = UnixStream::connect(socket).map_err(|source| {
            let path = socket.to_path_buf();
            match source.kind() {
                io::ErrorKind::PermissionDenied => CliError::SocketDenied { path, source },
                _ => CliError::Unreachable { path, source },
            }
        })?;
        let request = ext::StartSessionRequest {
            grant: command.grant.clone().unwrap_or_default(),
            kallsyms: command.kallsyms,
        };
        let request = frame(&ext::HandoverRequest { call: Some(Call::StartSession(request)) });
        stream.write_all(&[&PREFACE[..], &request].concat()).map_err(broke)?;
        match answer(&mut stream).map_err(broke)? {
            Answer::Session(_) => {}
            Answer::Failure(failure) => return Err(CliError::Client(failure.into())),
            Answer::Opened(_) => return Err(broke(foreign())),
        }
        let this = Self(stream);
        this.send(command).map_err(broke)?;
        Ok(this)
    }

    fn send(&self, command: &RunAs) -> io::Result<()> {
        let folder = openat(CWD, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let (input, output, errors) = (io::stdin(), io::stdout(), io::stderr());
        let descriptors: [BorrowedFd<'_>; 4] =
            [input.as_fd(), output.as_fd(), errors.as_fd(), folder.as_fd()];
        let mask = rustix::process::umask(Mode::empty());
        rustix::process::umask(mask);
        let variables = std::env::vars_os().map(|(name, value)| {
            let mut variable: OsString = name;
            variable.push("=");
            variable.push(value);
            variable
        });
        let words = command.command.iter().cloned().chain(variables);
        let buffers: Vec<Vec<u8>> = words.map(OsString::into_vec).collect();
        let start = StartCommand {
            arguments: command.command.len(),
            umask: mask.as_raw_mode(),
            records: command.record.is_some(),
        };
        Channel::from(self.0.try_clone()?).send(start, &buffers, &descriptors)
    }

    /// Returns both directions of the connection.
    pub fn split(self) -> Result<(SessionMessages, SessionSignals), CliError> {
        let signals = self.0.try_clone().map_err(CliError::Session)?;
        Ok((SessionMessages(self.0.into()), SessionSignals(signals.into())))
    }
}

impl SessionMessages {
    /// Receives messages until one has the exit status.
    pub fn until_end(self, mut show: impl FnMut(SessionMessage) -> Option<i32>) -> Result<i32, CliError> {
        loop {
            let lost = "the receiver of the session has ended: the command's further calls fail, and its status is unknown";
            let message = self.0.receive_next::<SessionMessage>().ok().flatten();
            let message = message.ok_or_else(|| CliError::Session(io::Error::other(lost)))?;
            if let Some(status) = show(message.head) {
                return Ok(status);
            }
        }
    }
}

fn answer(stream: &mut UnixStream) -> io::Result<Answer> {
    let mut head = [0; LENGTH];
    stream.read_exact(&mut head)?;
    let mut bytes = vec![0; length(head, MAX_ANSWER).ok_or_else(foreign)?];
    stream.read_exact(&mut bytes)?;
    let answer = ext::HandoverAnswer::decode(&bytes[..]).map_err(|_other| foreign())?;
    answer.answer.ok_or_else(foreign)
}

fn foreign() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the answer is not understood; the daemon may be older than this client",
    )
}
