//! Connection to the daemon, which may be killed and started again.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bpfmand_calls::{CallAnswer, CallMessage, CallRequest, Channel, Errno, ReceiverMessage};
use rustix::net::sockopt::socket_peercred;

/// Time that a call waits for a daemon, before it fails.
const DAEMON_TIMEOUT: Duration = Duration::from_secs(30);
/// Number of daemons, or channels, that a call is tried on.
const ATTEMPTS: usize = 8;
/// Time within which most calls are answered.
const SHORT_CALL: Duration = Duration::from_micros(200);

/// Connection of the session, replaced when another daemon takes it over.
#[derive(Debug)]
pub struct BrokerLink {
    daemon: Mutex<Channel>,
    /// Notified when another daemon is connected.
    replaced: Condvar,
    /// Open channels that no call uses. The last used one is used next, since a thread of the daemon still polls it.
    idle: Mutex<Vec<Channel>>,
    returns: UnixListener,
    process: u32,
}

impl BrokerLink {
    pub const fn new(daemon: Channel, returns: UnixListener, process: u32) -> Self {
        Self {
            daemon: Mutex::new(daemon),
            replaced: Condvar::new(),
            idle: Mutex::new(Vec::new()),
            returns,
            process,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Channel> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_idle(&self) -> MutexGuard<'_, Vec<Channel>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Switches to each daemon that connects. Only root reaches the socket.
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
        let until = Instant::now() + DAEMON_TIMEOUT;
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

    /// Sends a request to the daemon. If the daemon ends before it answers, a request that `may_repeat` is sent to the
    /// next daemon: objects that the first one made have ended with it, since no descriptor of them was passed on.
    pub fn ask(
        &self,
        (request, may_repeat): (&CallRequest, bool),
        buffers: &[Vec<u8>],
        passed: &[OwnedFd],
    ) -> Result<CallMessage<CallAnswer>, Errno> {
        let descriptors: Vec<BorrowedFd<'_>> = passed.iter().map(|one| one.as_fd()).collect();
        for _ in 0..ATTEMPTS {
            let idle = self.lock_idle().pop();
            let channel = idle.map_or_else(|| self.open(), Ok)?;
            match exchange(&channel, request, buffers, &descriptors) {
                Ok(answer) => {
                    self.lock_idle().push(channel);
                    return Ok(answer);
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(Errno::TOO_BIG),
                // The end of a daemon that has not read the request fails the first write.
                Err(error) if may_repeat || error.kind() == io::ErrorKind::BrokenPipe => {}
                Err(_) => break,
            }
        }
        Err(Errno::AGAIN)
    }
}

fn exchange(
    channel: &Channel,
    request: &CallRequest,
    buffers: &[Vec<u8>],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<CallMessage<CallAnswer>> {
    channel.send(request, buffers, descriptors)?;
    let _sleeps_else = channel.look_for_message(SHORT_CALL);
    channel.receive()?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
