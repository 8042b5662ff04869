//! Notification of changes to a file.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use crate::error::CliError;

/// Time within which events count as one change: compilers and editors write in pieces.
const SPACING: Duration = Duration::from_millis(150);

/// Watch on the folder of a file: editors and compilers replace the file itself.
pub struct FileWatch {
    events: AsyncFd<OwnedFd>,
    name: OsString,
}

impl FileWatch {
    pub fn begin(file: &Path) -> Result<Self, CliError> {
        let failed = |source: io::Error| CliError::File { path: file.to_path_buf(), source };
        let path = std::path::absolute(file).map_err(failed)?;
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(failed(io::ErrorKind::InvalidInput.into()));
        };
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
        let events = events.map_err(|error| failed(error.into()))?;
        let what = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO;
        inotify::add_watch(&events, folder, what).map_err(|error| failed(error.into()))?;
        let name = name.to_owned();
        #[expect(deprecated, reason = "what replaces it is unsafe; an owned descriptor stays what it is")]
        let events = AsyncFd::with_interest(events, Interest::READABLE).map_err(failed)?;
        Ok(Self { events, name })
    }

    /// Sends a message after each change, once the file is no longer written. The channel closes if watching fails.
    pub fn changes(mut self) -> mpsc::Receiver<()> {
        let (changed, changes) = mpsc::channel(1);
        tokio::spawn(async move {
            while self.event().await.is_ok() {
                while matches!(tokio::time::timeout(SPACING, self.event()).await, Ok(Ok(()))) {}
                if changed.send(()).await.is_err() {
                    return;
                }
            }
        });
        changes
    }

    async fn event(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.events.readable_mut().await?;
            let mut space = [MaybeUninit::uninit(); 4096];
            let mut reader = Reader::new(ready.get_inner(), &mut space);
            let mut is_it = false;
            loop {
                match reader.next() {
                    Ok(event) => {
                        let name = event.file_name().map(|name| name.to_bytes());
                        is_it |= name == Some(std::os::unix::ffi::OsStrExt::as_bytes(self.name.as_os_str()));
                    }
                    Err(rustix::io::Errno::AGAIN) => break,
                    Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            ready.clear_ready();
            if is_it {
                return Ok(());
            }
        }
    }
}
