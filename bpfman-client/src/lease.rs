//! A program that goes with its handle.

use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

use bpfman_proto::v1;

use crate::services::{Reconnect, Services};
use crate::{Error, RemoteProgram};

/// How long dropping waits for the daemon.
const PATIENCE: Duration = Duration::from_secs(10);

/// A program that is unloaded when this value is dropped, also by a panic. The client alone keeps it: a process that is killed
/// leaves the program loaded.
///
/// Dropping blocks the thread while it makes a call over a connection of its own, 10 s at most, and tells of no failure:
/// [`ProgramLease::end`] does neither.
#[derive(Debug)]
pub struct ProgramLease {
    program: RemoteProgram,
    /// It was unloaded, or is to stay.
    over: bool,
}

impl ProgramLease {
    pub(crate) const fn of(program: RemoteProgram) -> Self {
        Self { program, over: false }
    }

    /// Unloads the program now.
    ///
    /// # Errors
    /// [`Error::Refused`]; it is not tried again.
    pub async fn end(mut self) -> Result<(), Error> {
        self.over = true;
        self.program.clone().unload().await
    }

    /// Lets the program stay loaded.
    #[must_use = "the program is known by this handle"]
    pub fn keep(mut self) -> RemoteProgram {
        self.over = true;
        self.program.clone()
    }
}

impl Deref for ProgramLease {
    type Target = RemoteProgram;

    fn deref(&self) -> &RemoteProgram {
        &self.program
    }
}

impl Drop for ProgramLease {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let program = self.program.clone();
        // A runtime of its own: the one around this may be ending, and must not be blocked on from within.
        let unload = std::thread::spawn(move || unload(program.client().socket(), program.id()));
        let _nobody_to_tell = unload.join();
    }
}

fn unload(socket: &Path, id: u32) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    let call = async {
        let mut services = Services::connect(socket, Reconnect::Never).await.ok()?;
        services.v1.unload(v1::UnloadRequest { id }).await.ok()
    };
    let _nobody_to_tell = runtime.block_on(async { tokio::time::timeout(PATIENCE, call).await });
}
