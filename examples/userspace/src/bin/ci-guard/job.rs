//! A job's place among those that are followed: its ring, its processes, and what was lost of it.

use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray, RingBuf};
use bpfman_client::MapAccess;
use bpfman_examples::failure::Failure;
use bpfman_examples::source::MapSource;

use crate::event::Event;

/// As many as there are rings.
const JOBS: u32 = 4;
/// Do not overwrite.
const BPF_NOEXIST: u64 = 1;

/// Number and level of a control group; all zero: none.
type RawGroup = [u64; 2];

pub struct Job {
    number: u32,
    jobs: HashMap<MapData, u32, u64>,
    members: HashMap<MapData, u32, u32>,
    groups: Array<MapData, RawGroup>,
    lost: PerCpuArray<MapData, u64>,
    lost_before: u64,
    pub ring: RingBuf<MapData>,
}

impl Job {
    /// Takes a place that is free, or whose holder was killed.
    ///
    /// # Errors
    /// All are taken; a map cannot be had.
    pub fn begin(maps: &MapSource) -> Result<Self> {
        let mut jobs: HashMap<MapData, u32, u64> = maps.open("jobs", MapAccess::Write)?;
        let number = take_place(&mut jobs)?;
        let mut job = Self {
            number,
            jobs,
            members: maps.open("members", MapAccess::Write)?,
            groups: maps.open("groups", MapAccess::Write)?,
            lost: maps.open("lost", MapAccess::Read)?,
            lost_before: 0,
            ring: maps.open(&format!("events_{number}"), MapAccess::Write)?,
        };
        // What a job that was killed has left.
        job.set_group(RawGroup::default())?;
        for process in job.processes()? {
            job.leave(process)?;
        }
        while job.ring.next().is_some() {}
        job.lost_before = job.lost_in_all()?;
        Ok(job)
    }

    /// Follows a process, and all that it will start.
    ///
    /// # Errors
    /// There is no room.
    pub fn enter(&mut self, process: u32) -> Result<()> {
        self.members.insert(process, self.number, 0).context("cannot follow the command")
    }

    /// Counts whoever is in a control group, or below.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn watch_group(&mut self, (number, level): (u64, u64)) -> Result<()> {
        self.set_group([number, level])
    }

    fn set_group(&mut self, group: RawGroup) -> Result<()> {
        self.groups.set(self.number, group, 0).context("cannot say which control group is the job's")
    }

    /// Those that have not ended.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn processes(&self) -> Result<Vec<u32>> {
        let mut found = Vec::new();
        for member in self.members.iter() {
            let (process, job) = member.context("cannot read who is followed")?;
            if job == self.number {
                found.push(process);
            }
        }
        Ok(found)
    }

    fn leave(&mut self, process: u32) -> Result<()> {
        match self.members.remove(&process) {
            Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(MapError::KeyNotFound) => Ok(()),
            result => result.context("cannot stop following a process"),
        }
    }

    /// The next record of its ring.
    ///
    /// # Errors
    /// It is none of these programs'.
    pub fn next(&mut self) -> Result<Option<Event>> {
        let Some(record) = self.ring.next() else { return Ok(None) };
        Event::parse(&record)
            .map(Some)
            .with_context(|| format!("a record of {} bytes is not ci-guard's", record.len()))
    }

    /// Events and processes that were lost since it began.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn lost(&self) -> Result<u64> {
        Ok(self.lost_in_all()? - self.lost_before)
    }

    fn lost_in_all(&self) -> Result<u64> {
        Ok(self.lost.get(&self.number, 0).context("cannot read what was lost")?.iter().sum())
    }

    /// Gives the place back.
    ///
    /// # Errors
    /// A map cannot be written.
    pub fn end(mut self) -> Result<()> {
        self.set_group(RawGroup::default())?;
        for process in self.processes()? {
            self.leave(process)?;
        }
        self.jobs.remove(&self.number).context("cannot give the job's place back")
    }
}

fn take_place(jobs: &mut HashMap<MapData, u32, u64>) -> Result<u32> {
    let own = u64::from(std::process::id());
    for number in 0..JOBS {
        if let Ok(holder) = jobs.get(&number, 0)
            && !Path::new("/proc").join(holder.to_string()).exists()
        {
            // Somebody else may have done so at the same time.
            let _gone = jobs.remove(&number);
        }
        match jobs.insert(number, own, BPF_NOEXIST) {
            Ok(()) => return Ok(number),
            Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).context("cannot take a job's place"),
        }
    }
    Err(Failure::conflict(
        format!("{JOBS} jobs are followed already"),
        "the command was not started; wait for one of them to end",
    )
    .into())
}
