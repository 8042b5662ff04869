//! One acting agent for a daemon: two that load the same application at once would load it twice.
//!
//! The lock is on the folder of the daemon's socket, so that it costs no request to the API server and ends with the
//! process. A second agent, perhaps of an update of its DaemonSet, waits until the first is gone.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::backoff::jittered;

/// How often a waiting agent looks.
const INTERVAL: Duration = Duration::from_millis(500);

/// The right to act, as long as it lives.
#[derive(Debug)]
pub struct Lead {
    _folder: Option<File>,
}

/// Waits for the right to act. `waiting` is called once if somebody else has it.
///
/// A folder that cannot be opened or locked, on a file system without locks, gives the right: an agent that may not
/// act at all would be worse.
pub async fn acquire(socket: &Path, waiting: impl FnOnce()) -> Lead {
    let mut waiting = Some(waiting);
    loop {
        match attempt(socket) {
            Ok(Some(lead)) => return lead,
            Ok(None) => {
                if let Some(waiting) = waiting.take() {
                    tracing::warn!("another agent acts for this daemon; waiting until it ends");
                    waiting();
                }
            }
            // The daemon makes the folder: it may come up after the agent.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(%error, "the folder of the daemon's socket cannot be locked");
                return Lead { _folder: None };
            }
        }
        tokio::time::sleep(jittered(INTERVAL)).await;
    }
}

/// The right to act; `None` if somebody else has it.
fn attempt(socket: &Path) -> io::Result<Option<Lead>> {
    let folder = File::open(socket.parent().unwrap_or_else(|| Path::new("/")))?;
    match folder.try_lock() {
        Ok(()) => Ok(Some(Lead { _folder: Some(folder) })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn the_second_waits_until_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("bpfman.sock");
        let first = acquire(&socket, || panic!("nobody else is there")).await;
        let (told, was_told) = tokio::sync::oneshot::channel();
        let (second, ()) = tokio::join!(acquire(&socket, move || told.send(()).unwrap()), async {
            was_told.await.unwrap();
            drop(first);
        });
        assert!(second._folder.is_some());
    }
}
