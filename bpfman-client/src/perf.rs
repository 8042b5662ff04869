//! Reading a perf event array without a thread.

use std::collections::VecDeque;
use std::io;

use aya::maps::perf::{PerfBufferError, PerfEvent, PerfEventArrayBuffer};
use aya::maps::{MapData, PerfEventArray};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What a program wrote for one CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PerfRecord {
    /// A record, with up to seven bytes behind it that the kernel adds.
    Sample(Vec<u8>),
    /// So many records did not fit.
    Lost(u64),
}

/// The records of one CPU.
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

    /// The next record, as soon as there is one. Nothing is lost when the future is dropped before.
    ///
    /// # Errors
    /// The runtime is ending.
    pub async fn next(&mut self) -> io::Result<PerfRecord> {
        loop {
            if let Some(record) = self.take() {
                return Ok(record);
            }
            let mut ready = self.buffer.readable_mut().await?;
            // What comes between this look and the next wait is told again.
            take_all(ready.get_inner_mut(), &mut self.read);
            if self.read.is_empty() {
                ready.clear_ready();
            }
        }
    }

    /// A record, if there is one now.
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
