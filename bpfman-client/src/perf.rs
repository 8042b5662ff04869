//! Asynchronous reader of a perf event array.

use std::collections::VecDeque;
use std::io;

use aya::maps::perf::{PerfBufferError, PerfEvent, PerfEventArrayBuffer};
use aya::maps::{MapData, PerfEventArray};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Record of one CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PerfRecord {
    /// Record of a program, followed by up to seven bytes of padding that the kernel adds.
    Sample(Vec<u8>),
    /// Number of records that did not fit into the buffer.
    Lost(u64),
}

/// Reader of the records of one CPU.
pub struct PerfReader {
    buffer: AsyncFd<PerfEventArrayBuffer<MapData>>,
    read: VecDeque<PerfRecord>,
}

impl PerfReader {
    pub(crate) fn of_all_cpus(array: &mut PerfEventArray<MapData>, pages: usize) -> io::Result<Vec<Self>> {
        let cpus = aya::util::online_cpus().map_err(|(_, source)| source)?;
        cpus.into_iter().map(|cpu| Self::of(array, cpu, pages)).collect()
    }

    fn of(array: &mut PerfEventArray<MapData>, cpu: u32, pages: usize) -> io::Result<Self> {
        let buffer = array.open(cpu, Some(pages)).map_err(|error| match error {
            PerfBufferError::OpenError { io_error } => io_error,
            other => io::Error::other(other),
        })?;
        #[expect(
            deprecated,
            reason = "what replaces it is unsafe; a buffer owns its descriptor, and this type the buffer"
        )]
        let buffer = AsyncFd::with_interest(buffer, Interest::READABLE)?;
        Ok(Self { buffer, read: VecDeque::new() })
    }

    /// Waits for the next record. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// The runtime is ending.
    pub async fn next(&mut self) -> io::Result<PerfRecord> {
        loop {
            if let Some(record) = self.take() {
                return Ok(record);
            }
            let mut ready = self.buffer.readable_mut().await?;
            // A record that arrives between this read and the next wait makes the descriptor readable again.
            take_all(ready.get_inner_mut(), &mut self.read);
            if self.read.is_empty() {
                ready.clear_ready();
            }
        }
    }

    /// Returns a record if one is available now.
    pub fn take(&mut self) -> Option<PerfRecord> {
        if self.read.is_empty() {
            take_all(self.buffer.get_mut(), &mut self.read);
        }
        self.read.pop_front()
    }
}

fn take_all(buffer: &mut PerfEventArrayBuffer<MapData>, into: &mut VecDeque<PerfRecord>) {
    buffer.for_each(|event| {
        into.push_back(match event {
            PerfEvent::Sample { head, tail } => PerfRecord::Sample([head, tail].concat()),
            PerfEvent::Lost { count } => PerfRecord::Lost(count),
        });
    });
}

impl std::fmt::Debug for PerfReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PerfReader").finish_non_exhaustive()
    }
}
