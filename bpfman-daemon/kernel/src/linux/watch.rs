use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bpfman_model::InterfaceEvent;
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{RecvFlags, netlink::SocketAddrNetlink};

use super::interfaces::{self, RTM_DELLINK};
use super::{netlink, netns};
use crate::watch::Known;
use crate::{InterfaceWatch, KernelError};

pub const GROUP_LINK: u32 = 1;
/// Size for thousands of messages of some 2 KiB. The kernel uses the memory only while messages wait.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Maximum number of messages that one call receives, so that it returns even if messages keep arriving.
const MAX_MESSAGES: usize = 100_000;

struct NamespaceWatch {
    /// File of the namespace with its identity; `None` for the daemon's.
    path: Option<(PathBuf, (u64, u64))>,
    notices: OwnedFd,
    /// Socket for requests, made in the same namespace.
    questions: OwnedFd,
    known: Known,
}

pub fn open(path: Option<&Path>) -> Result<Box<dyn InterfaceWatch>, KernelError> {
    netns::enter(path, || {
        let opened = || -> io::Result<NamespaceWatch> {
            let notices = netlink::socket()?;
            // Root may exceed the limit of the machine. Another user gets what the limit allows.
            if sockopt::set_socket_recv_buffer_size_force(&notices, RECEIVE_BUFFER).is_err() {
                sockopt::set_socket_recv_buffer_size(&notices, RECEIVE_BUFFER)?;
            }
            rustix::net::bind(&notices, &SocketAddrNetlink::new(0, GROUP_LINK))?;
            let questions = netlink::socket()?;
            // List after subscribing: no change in between is missed.
            let known = Known::new(interfaces::list_by(&questions)?);
            let path = path.map(|path| Ok::<_, io::Error>((path.to_owned(), identity(path)?))).transpose()?;
            Ok(NamespaceWatch { path, notices, questions, known })
        };
        opened().map_err(|source| interfaces::failed(path, source))
    })
    .map(|watch| -> Box<dyn InterfaceWatch> { Box::new(watch) })
}

/// Returns the identity of a namespace's file, which no other existing namespace has.
pub fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl InterfaceWatch for NamespaceWatch {
    fn next(&mut self, timeout: Duration) -> Result<Vec<InterfaceEvent>, KernelError> {
        let mut events = self.read(timeout).map_err(|source| interfaces::failed(self.namespace(), source))?;
        if self.path.as_ref().is_some_and(|(path, was)| identity(path).ok() != Some(*was)) {
            events.push(InterfaceEvent::NamespaceGone);
        }
        Ok(events)
    }
}

impl NamespaceWatch {
    fn namespace(&self) -> Option<&Path> {
        self.path.as_ref().map(|(path, _)| path.as_path())
    }

    fn read(&mut self, timeout: Duration) -> io::Result<Vec<InterfaceEvent>> {
        let deadline = Instant::now() + timeout;
        let mut buffer = vec![0_u8; 64 << 10];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut lost = !self.receive(&mut buffer, Some(left))?.unwrap_or(true);
            for _ in 0..MAX_MESSAGES {
                match self.receive(&mut buffer, None)? {
                    None => break,
                    Some(whole) => lost |= !whole,
                }
            }
            if lost {
                self.known = Known::new(interfaces::list_by(&self.questions)?);
                return Ok(vec![InterfaceEvent::Lost]);
            }
            let events = self.known.take();
            if !events.is_empty() || left.is_zero() {
                return Ok(events);
            }
        }
    }

    /// Receives a datagram. Returns `false` if some were lost; `None` after the timeout, or at once without a timeout.
    fn receive(&mut self, buffer: &mut [u8], timeout: Option<Duration>) -> io::Result<Option<bool>> {
        // The kernel treats a timeout of zero as endless.
        let timeout = timeout.filter(|timeout| *timeout >= Duration::from_micros(1));
        let flags = if timeout.is_some() { RecvFlags::TRUNC } else { RecvFlags::TRUNC | RecvFlags::DONTWAIT };
        if let Some(timeout) = timeout {
            sockopt::set_socket_timeout(self.notices.as_fd(), Timeout::Recv, Some(timeout))?;
        }
        match rustix::net::recv(&self.notices, &mut *buffer, flags) {
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(Errno::NOBUFS) => Ok(Some(false)),
            Err(error) => Err(error.into()),
            Ok((_, whole)) if whole > buffer.len() => Ok(Some(false)),
            Ok((length, _)) => {
                for message in netlink::notices(&buffer[..length])? {
                    if let Some(interface) = interfaces::interface(&message) {
                        self.known.hear(interface, message.0 != RTM_DELLINK);
                    }
                }
                Ok(Some(true))
            }
        }
    }
}
