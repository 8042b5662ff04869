use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use aya::maps::{Map, MapData, RingBuf};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::KernelError;

/// Records of a ring buffer (Linux 5.8). Several readers take records from each other.
pub struct RingFeed {
    ring: RingBuf<MapData>,
}

impl RingFeed {
    /// Reads the ring buffer, open for writing, from the last record that any reader has taken.
    pub fn new(map: OwnedFd) -> Result<Self, KernelError> {
        let ring = MapData::from_fd(map).and_then(Map::from_map_data).and_then(RingBuf::try_from);
        let ring =
            ring.map_err(|error| KernelError::call("read", "a ring buffer", io::Error::other(error)))?;
        Ok(Self { ring })
    }

    /// Returns the next record, if there is one now.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        self.ring.next().map(|record| record.to_vec())
    }

    /// Returns when there is a record, after the timeout, or at a signal.
    pub fn wait(&self, timeout: Duration) -> Result<(), KernelError> {
        let fail = |source: io::Error| KernelError::call("wait for", "a ring buffer", source);
        let timeout = Timespec::try_from(timeout).map_err(|_far| fail(io::ErrorKind::InvalidInput.into()))?;

        match poll(&mut [PollFd::from_borrowed_fd(self.ring.as_fd(), PollFlags::IN)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(fail(error.into())),
        }
    }
}

impl std::fmt::Debug for RingFeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RingFeed").finish_non_exhaustive()
    }
}
