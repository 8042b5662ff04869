//! Orders to the starter of sessions.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use bpfmand_calls::{Channel, OrderAnswer, SessionOrder, StarterOrder};

use crate::SessionError;

/// Maximum time to prepare a session, even on a slow machine under load. The process that prepares it is in
/// the client's cgroup, which may be frozen.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(30);
/// Name of the starter's socket in its folder.
const SOCKET: &str = "starter.sock";

/// Has the starter prepare a session, and returns the receiver's process and connection.
pub fn order(
    folder: &Path,
    order: SessionOrder,
    client: BorrowedFd<'_>,
) -> Result<(u32, Channel), SessionError> {
    match give(folder, &StarterOrder::Begin(order), &[client])? {
        (Some(OrderAnswer::Prepared { receiver }), channel) => Ok((receiver, channel)),
        (Some(OrderAnswer::Failed(why)), _) => Err(SessionError::NotPrepared(why)),
        (Some(OrderAnswer::Removed) | None, _) => {
            Err(SessionError::NotPrepared("the process of the session ended".to_owned()))
        }
    }
}

/// Has the starter remove the pins that a session left.
pub fn remove_pins(folder: &Path, name: &str) -> Result<(), SessionError> {
    match give(folder, &StarterOrder::Remove(name.to_owned()), &[])?.0 {
        Some(OrderAnswer::Removed) => Ok(()),
        Some(OrderAnswer::Failed(why)) => Err(SessionError::PinsStay { session: name.to_owned(), why }),
        Some(OrderAnswer::Prepared { .. }) | None => {
            let why = "the starter did not answer; it may be older than the daemon".to_owned();
            Err(SessionError::PinsStay { session: name.to_owned(), why })
        }
    }
}

fn give(
    folder: &Path,
    order: &StarterOrder,
    descriptors: &[BorrowedFd<'_>],
) -> Result<(Option<OrderAnswer>, Channel), SessionError> {
    let path = folder.join(SOCKET);
    let connection = UnixStream::connect(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            SessionError::NoStarter { path: path.clone() }
        }
        _ => SessionError::Starter(source),
    })?;
    let channel = Channel::from(connection);
    channel.stream().set_read_timeout(Some(PREPARE_TIMEOUT)).map_err(SessionError::Starter)?;
    channel.send(order, &[], descriptors).map_err(SessionError::Starter)?;
    let answer = channel.receive_next::<OrderAnswer>().map_err(no_answer)?;
    channel.stream().set_read_timeout(None).map_err(SessionError::Starter)?;
    Ok((answer.map(|answer| answer.head), channel))
}

fn no_answer(error: io::Error) -> SessionError {
    match error.kind() {
        io::ErrorKind::WouldBlock => SessionError::NotPrepared(format!(
            "the starter did not answer in {} seconds; the machine may be too busy, or the client's cgroup frozen",
            PREPARE_TIMEOUT.as_secs()
        )),
        _ => SessionError::Starter(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_answer_and_broken_connection_differ() {
        let late = no_answer(io::ErrorKind::WouldBlock.into()).to_string();
        assert!(late.contains("did not answer in 30 seconds"), "{late}");
        assert!(matches!(no_answer(io::ErrorKind::BrokenPipe.into()), SessionError::Starter(_)));
    }
}
