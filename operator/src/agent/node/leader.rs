//! Lock that allows one acting agent per daemon: two agents would load the same application twice.
//!
//! The lock is on a file beside the daemon's socket, which only root and the socket's group can open. It costs no
//! request to the API server and ends with the process; a second agent, as during an update, waits for that.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use bpfman_proto::agent_lock;

use bpfman_runtime::backoff::jittered;

const INTERVAL: Duration = Duration::from_millis(500);

/// Attempts before the folder is locked instead, as earlier agents do: earlier daemons create no lock file.
const TRIES_WITHOUT_FILE: u32 = 10;

/// Right to act, held until it is dropped.
#[derive(Debug)]
pub struct ActingLock {
    _locked: Option<File>,
}

/// Waits for the right to act; `waiting` is called once if another agent holds it. If the lock cannot be tried, the
/// agent acts: an agent that never acts would be worse.
pub async fn acquire(socket: &Path, waiting: impl FnOnce()) -> ActingLock {
    let mut waiting = Some(waiting);
    let file = agent_lock(socket);
    let mut without_file = 0;
    loop {
        let attempt = match attempt(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                without_file += 1;
                match without_file > TRIES_WITHOUT_FILE {
                    true => attempt(socket.parent().unwrap_or_else(|| Path::new("/"))),
                    false => Err(error),
                }
            }
            attempt => attempt,
        };
        match attempt {
            Ok(Some(lock)) => return lock,
            Ok(None) => {
                if let Some(waiting) = waiting.take() {
                    tracing::warn!("another agent acts for this daemon; waiting until it ends");
                    waiting();
                }
            }
            // The daemon creates folder and file: it may start after the agent.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(%error, file = %file.display(), "it cannot be locked: is this agent in the group of the daemon's socket?");
                return ActingLock { _locked: None };
            }
        }
        tokio::time::sleep(jittered(INTERVAL)).await;
    }
}

fn attempt(path: &Path) -> io::Result<Option<ActingLock>> {
    let file = File::open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(ActingLock { _locked: Some(file) })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn unprivileged_lock_of_the_folder_blocks_no_agent() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("bpfman.sock");
        File::create(agent_lock(&socket)).unwrap();
        let anybody = File::open(folder.path()).unwrap();
        anybody.try_lock().unwrap();
        let lock = acquire(&socket, || panic!("it waits for somebody who is no agent")).await;
        assert!(lock._locked.is_some());
    }

    #[tokio::test]
    async fn the_second_waits_until_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("bpfman.sock");
        File::create(agent_lock(&socket)).unwrap();
        let first = acquire(&socket, || panic!("nobody else is there")).await;
        let (told, was_told) = tokio::sync::oneshot::channel();
        let (second, ()) = tokio::join!(acquire(&socket, move || told.send(()).unwrap()), async {
            was_told.await.unwrap();
            drop(first);
        });
        assert!(second._locked.is_some());
    }
}
