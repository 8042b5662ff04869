//! Asynchronous reader of a ring buffer.

use std::io;

use aya::maps::{MapData, RingBuf};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Reader of a ring buffer. Each record goes to only one of several readers.
pub struct RingReader {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl RingReader {
    pub(crate) fn new(ring: RingBuf<MapData>) -> io::Result<Self> {
        #[expect(
            deprecated,
            reason = "what replaces it is unsafe; a ring owns its descriptor, and this type the ring"
        )]
        let ring = AsyncFd::with_interest(ring, Interest::READABLE)?;
        Ok(Self { ring })
    }

    /// Waits for the next record. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// The runtime is ending.
    pub async fn next(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(record) = self.take() {
                return Ok(record);
            }
            let mut ready = self.ring.readable_mut().await?;
            // A record that arrives between this read and the next wait makes the descriptor readable again.
            match ready.get_inner_mut().next().map(|record| record.to_vec()) {
                Some(record) => return Ok(record),
                None => ready.clear_ready(),
            }
        }
    }

    /// Returns a record if one is available now.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        self.ring.get_mut().next().map(|record| record.to_vec())
    }
}

impl std::fmt::Debug for RingReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RingReader").finish_non_exhaustive()
    }
}
