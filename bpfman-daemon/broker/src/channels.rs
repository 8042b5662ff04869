//! Channels of a session, each with a thread.

use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use bpfmand_calls::Channel;

use crate::serve::SessionCalls;

/// Maximum number of channels: one for each thread of a receiver, and of two that may take over from it.
const MAX_CHANNELS: usize = 48;
/// Size of a thread's stack, in bytes.
const STACK: usize = 256 << 10;

/// Channels of a session that are served. All end when the value is dropped.
#[derive(Debug, Default)]
pub struct SessionChannels {
    served: Vec<(UnixStream, JoinHandle<()>)>,
}

impl SessionChannels {
    /// Serves a further channel.
    ///
    /// # Errors
    /// The session has too many, or no thread can be started.
    pub fn serve(&mut self, channel: OwnedFd, calls: SessionCalls) -> io::Result<()> {
        self.served.retain(|(_, thread)| !thread.is_finished());
        if self.served.len() == MAX_CHANNELS {
            return Err(io::Error::other("the receiver wants more channels than it may have"));
        }
        let stream = UnixStream::from(channel);
        let kept = stream.try_clone()?;
        let serve = move || {
            if let Err(error) = calls.serve(&Channel::from(stream)) {
                tracing::debug!(%error, "a channel of a session broke off");
            }
        };
        let thread = std::thread::Builder::new().name("calls".to_owned()).stack_size(STACK).spawn(serve)?;
        self.served.push((kept, thread));
        Ok(())
    }
}

impl Drop for SessionChannels {
    fn drop(&mut self) {
        for (channel, _) in &self.served {
            let _closed = channel.shutdown(Shutdown::Both);
        }
        for (_, thread) in self.served.drain(..) {
            let _panicked = thread.join();
        }
    }
}
