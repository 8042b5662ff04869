//! Maps that a process in the cgroup of a session's client makes, so that the kernel charges their memory there.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bpfmand_calls::{CallAnswer, CallRequest, Channel, Errno};

/// Extension of the process's socket.
pub const SOCKET: &str = "maps";
/// Maximum time to make a map. The client's user may have frozen the cgroup.
const IO_TIMEOUT: Duration = Duration::from_secs(10);

/// Time in which the process makes most maps.
const MADE_WITHIN: Duration = Duration::from_micros(50);
/// Number of processes that are tried for one map.
const ATTEMPTS: usize = 3;

/// Connection to the process, opened for the first map.
#[derive(Debug)]
pub struct MapMaker {
    path: PathBuf,
    connection: Mutex<Option<Channel>>,
}

impl MapMaker {
    pub fn of(folder: &Path, session: &str) -> Self {
        Self { path: folder.join(format!("{session}.{SOCKET}")), connection: Mutex::default() }
    }

    /// Makes a map that was allowed. `None` if the session has no such process, because it began under an earlier version.
    ///
    /// # Errors
    /// The kernel's, or `EAGAIN` if the process was stopped with its cgroup, or killed too often.
    pub fn make(
        &self,
        request: &CallRequest,
        attr: &[u8],
        descriptors: &[OwnedFd],
    ) -> Option<Result<OwnedFd, Errno>> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        // A killed process is started again, and the request repeated: a map that it made has ended with it.
        for _ in 0..ATTEMPTS {
            let channel = match connection.take().map_or_else(|| self.connect(), Ok) {
                Ok(channel) => channel,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
                Err(_) => break,
            };
            match exchange(&channel, request, attr.to_vec(), descriptors) {
                Ok(made) => {
                    *connection = Some(channel);
                    return Some(made);
                }
                // Close the connection after a timeout: a late answer would be taken for the answer to the next request.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {}
            }
        }
        Some(Err(Errno::AGAIN))
    }

    fn connect(&self) -> io::Result<Channel> {
        let connection = UnixStream::connect(&self.path)?;
        connection.set_read_timeout(Some(IO_TIMEOUT))?;
        connection.set_write_timeout(Some(IO_TIMEOUT))?;
        Ok(connection.into())
    }
}

fn exchange(
    connection: &Channel,
    request: &CallRequest,
    attr: Vec<u8>,
    descriptors: &[OwnedFd],
) -> io::Result<Result<OwnedFd, Errno>> {
    let passed: Vec<_> = descriptors.iter().map(|one| one.as_fd()).collect();
    connection.send(request, &[attr], &passed)?;
    connection.look_for_message(MADE_WITHIN);
    let answer = connection.receive_next::<CallAnswer>()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(match (answer.head.result, answer.descriptors.into_iter().next()) {
        (Ok(_), Some(map)) => Ok(map),
        (Ok(_), None) => return Err(io::ErrorKind::InvalidData.into()),
        (Err(error), _) => Err(error),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::os::unix::net::UnixListener;

    use bpfmand_calls::command;

    use super::*;

    #[test]
    fn session_without_map_maker_and_lost_one_differ() {
        let folder = tempfile::tempdir().unwrap();
        let maker = MapMaker::of(folder.path(), "a1");
        let request = CallRequest::Bpf { command: command::MAP_CREATE, fields: Vec::new(), netns: None };
        let make = || maker.make(&request, &[2; 4], &[]);
        assert!(make().is_none());
        let listener = UnixListener::bind(folder.path().join("a1.maps")).unwrap();
        let answers = std::thread::spawn(move || {
            // The first is killed before it answers.
            drop(listener.accept().unwrap().0);
            let channel = Channel::from(listener.accept().unwrap().0);
            let order = channel.receive::<CallRequest>().unwrap().unwrap();
            channel.send(CallAnswer::refused(Errno::NOMEM), &[], &[]).unwrap();
            order.buffers
        });
        assert_eq!(make().unwrap().unwrap_err(), Errno::NOMEM);
        assert_eq!(answers.join().unwrap(), [vec![2; 4]]);
        assert_eq!(make().unwrap().unwrap_err(), Errno::AGAIN);
        assert_eq!(make().unwrap().unwrap_err(), Errno::AGAIN);
    }
}
