//! Reading of a ring buffer: records as they arrive, and the number of lost records.

use std::io::Write as _;
use std::ops::ControlFlow;

use anyhow::{Context, Result};
use aya::maps::{MapData, PerCpuArray, RingBuf};
use rustix::event::{PollFd, PollFlags, poll};

/// Ring buffer with the counter of lost records: a per-CPU array of one `u64`, at index 0.
pub struct Followed {
    ring: RingBuf<MapData>,
    lost: PerCpuArray<MapData, u64>,
    lost_before: u64,
}

impl Followed {
    /// Follows a ring buffer. Records lost earlier are not reported.
    pub fn new(ring: RingBuf<MapData>, lost: PerCpuArray<MapData, u64>) -> Result<Self> {
        let lost_before = total(&lost)?;
        Ok(Self { ring, lost, lost_before })
    }

    /// Passes each record to `take` until that breaks. Reports lost records on standard error and continues.
    pub fn each(&mut self, mut take: impl FnMut(&[u8]) -> Result<ControlFlow<()>>) -> Result<()> {
        loop {
            while let Some(next) = self.ring.next().map(|record| take(&record)) {
                if next?.is_break() {
                    return self.report_lost();
                }
            }
            self.report_lost()?;
            match poll(&mut [PollFd::new(&self.ring, PollFlags::IN)], None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot wait for the ring"),
            }
        }
    }

    fn report_lost(&mut self) -> Result<()> {
        let now = total(&self.lost)?;
        if now > self.lost_before {
            writeln!(std::io::stderr(), "{} events lost: the ring was full", now - self.lost_before)?;
            self.lost_before = now;
        }
        Ok(())
    }
}

fn total(lost: &PerCpuArray<MapData, u64>) -> Result<u64> {
    Ok(lost.get(&0, 0).context("cannot read the lost events")?.iter().sum())
}
