//! Program that is unloaded when its handle is dropped.

use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

use bpfman_proto::v1;

use crate::services::{Reconnect, Services};
use crate::{Error, RemoteProgram};

const UNLOAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Program that is unloaded when this value is dropped, also by a panic. Only this client enforces it: if the process
/// is killed, the program stays loaded.
///
/// Dropping makes a call over its own connection, blocks the thread for up to 10 s, and ignores failures.
/// [`ProgramLease::end`] does not block and returns failures.
#[derive(Debug)]
pub struct ProgramLease {
    program: RemoteProgram,
    over: bool,
}

impl ProgramLease {
    pub(crate) const fn of(program: RemoteProgram) -> Self {
        Self { program, over: false }
    }

    /// Unloads the program now.
    ///
    /// # Errors
    /// [`Error::Refused`]; the call is not repeated.
    pub async fn end(mut self) -> Result<(), Error> {
        self.over = true;
        self.program.clone().unload().await
    }

    /// Ends the lease; the program stays loaded.
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
        // Use a separate runtime: the current one may be ending, and must not be blocked on from within.
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
    let _nobody_to_tell = runtime.block_on(async { tokio::time::timeout(UNLOAD_TIMEOUT, call).await });
}
