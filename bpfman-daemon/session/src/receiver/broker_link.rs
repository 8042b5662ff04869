//! Connection to the daemon, which may be killed and started again.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bpfmand_calls::{CallAnswer, CallMessage, CallRequest, Channel, Errno, ReceiverMessage};
use rustix::net::sockopt::socket_peercred;

/// Time that a call waits for a daemon, before it fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Connection of the session, replaced when another daemon takes it over.
#[derive(Debug)]
pub struct BrokerLink {
    daemon: Mutex<Channel>,
    /// Number of daemons so far: a thread that lost its channel waits for the next one.
    replaced: Condvar,
    returns: UnixListener,
    process: u32,
}

impl BrokerLink {
    pub const fn new(daemon: Channel, returns: UnixListener, process: u32) -> Self {
        Self { daemon: Mutex::new(daemon), replaced: Condvar::new(), returns, process }
    }

    fn lock(&self) -> MutexGuard<'_, Channel> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over each daemon that connects. Only root reaches the socket.
    pub fn accept_daemons(&self) {
        while let Ok((connection, _)) = self.returns.accept() {
            if !socket_peercred(&connection).is_ok_and(|peer| peer.uid.is_root()) {
                continue;
            }
            let channel = Channel::from(connection);
            if channel.send(ReceiverMessage::Runs(self.process), &[], &[]).is_ok() {
                *self.lock() = channel;
                self.replaced.notify_all();
            }
        }
    }

    /// Opens a channel for calls, on the present daemon or the next one.
    fn open(&self) -> Result<Channel, Errno> {
        let until = Instant::now() + PATIENCE;
        let mut daemon = self.lock();
        loop {
            let (here, there) = Channel::pair()?;
            if daemon.send(ReceiverMessage::Channel, &[], &[there.stream().as_fd()]).is_ok() {
                return Ok(here);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Errno::AGAIN);
            }
            (daemon, _) = self.replaced.wait_timeout(daemon, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Asks the daemon. If it ends before it answers, a request that `may_repeat` goes to the next one: what the
    /// first made ended with it, since the caller has no descriptor of it.
    pub fn ask(
        &self,
        channel: &mut Option<Channel>,
        (request, may_repeat): (&CallRequest, bool),
        buffers: &[Vec<u8>],
        passed: &[OwnedFd],
    ) -> Result<CallMessage<CallAnswer>, Errno> {
        let descriptors: Vec<BorrowedFd<'_>> = passed.iter().map(|one| one.as_fd()).collect();
        loop {
            let open = match channel.take() {
                Some(open) => open,
                None => self.open()?,
            };
            match exchange(&open, request, buffers, &descriptors) {
                Ok(answer) => {
                    *channel = Some(open);
                    return Ok(answer);
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(Errno::TOO_BIG),
                // The end of a daemon that has not read the request fails the first write.
                Err(error) if may_repeat || error.kind() == io::ErrorKind::BrokenPipe => {}
                Err(_) => return Err(Errno::AGAIN),
            }
        }
    }
}

fn exchange(
    channel: &Channel,
    request: &CallRequest,
    buffers: &[Vec<u8>],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<CallMessage<CallAnswer>> {
    channel.send(request, buffers, descriptors)?;
    channel.receive()?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
