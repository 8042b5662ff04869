use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray, RingBuf};
use bpfman_client::MapAccess;
use bpfman_examples::failure::Failure;
use bpfman_examples::generation::wait_for_packets;
use bpfman_examples::source::MapSource;

use crate::event::Event;
use crate::group::Group;

const JOBS: u32 = 4;
const BPF_NOEXIST: u64 = 1;

type RawGroup = [u64; 2];
type RawMember = [u64; 2];
/// Current run (0 for none), number of the last run, processes that entered, and processes of these that left.
type RawTally = [u64; 4];

pub struct Job {
    number: u32,
    run: u64,
    command: Option<u32>,
    jobs: HashMap<MapData, u32, u64>,
    members: HashMap<MapData, u32, RawMember>,
    tallies: Array<MapData, RawTally>,
    groups: Array<MapData, RawGroup>,
    lost: PerCpuArray<MapData, u64>,
    lost_before: u64,
    pub ring: RingBuf<MapData>,
}

impl Job {
    pub fn begin(maps: &MapSource) -> Result<Self> {
        let mut jobs: HashMap<MapData, u32, u64> = maps.open("jobs", MapAccess::Write)?;
        let number = take_place(&mut jobs)?;
        let tallies: Array<MapData, RawTally> = maps.open("tallies", MapAccess::Write)?;
        let [_, last, ..] = tallies.get(&number, 0).context("cannot read which run was the last")?;
        let run = last.max(u64::from(number)) + u64::from(JOBS);
        let mut job = Self {
            number,
            run,
            command: None,
            jobs,
            members: maps.open("members", MapAccess::Write)?,
            tallies,
            groups: maps.open("groups", MapAccess::Write)?,
            lost: maps.open("lost", MapAccess::Read)?,
            lost_before: 0,
            ring: maps.open(&format!("events_{number}"), MapAccess::Write)?,
        };
        // Events of a killed job belong to no run from here on, once programs that still execute have finished.
        job.set_group(RawGroup::default())?;
        job.set_tally([0, run, 0, 0])?;
        wait_for_packets();
        while job.ring.next().is_some() {}
        job.lost_before = job.lost_in_all()?;
        job.set_tally([run, run, 1, 0])?;
        Ok(job)
    }

    pub fn enter(&mut self, process: u32) -> Result<()> {
        // If ci-guard itself runs inside a job, the outer job has counted the command and waits for it, too.
        let outer = self.run_of(process)?.unwrap_or(0);
        self.command = Some(process);
        self.members.insert(process, [self.run, outer], 0).context("cannot follow the command")
    }

    pub fn watch_group(&mut self, (number, level): (u64, u64)) -> Result<()> {
        self.set_group([number, level])
    }

    fn set_group(&mut self, group: RawGroup) -> Result<()> {
        self.groups.set(self.number, group, 0).context("cannot say which cgroup is the job's")
    }

    fn set_tally(&mut self, tally: RawTally) -> Result<()> {
        self.tallies.set(self.number, tally, 0).context("cannot begin or end a run of the job")
    }

    fn tally(&self) -> Result<RawTally> {
        self.tallies.get(&self.number, 0).context("cannot read how many are followed")
    }

    /// Both counts only grow, and a process enters before it leaves. `left` is read before the cgroup, `entered` after
    /// it: if they are equal, no counted process existed when the cgroup was read.
    pub fn is_over(&self, group: Option<&Group>) -> Result<bool> {
        let [.., left] = self.tally()?;
        let populated = group.map_or(Ok(false), Group::is_populated)?;
        let [_, _, entered, _] = self.tally()?;
        Ok(left == entered && !populated)
    }

    pub fn has_missed(&self, command: u32) -> Result<bool> {
        let [.., left] = self.tally()?;
        Ok(left == 0 || self.run_of(command)? == Some(self.run))
    }

    fn run_of(&self, process: u32) -> Result<Option<u64>> {
        match self.members.get(&process, 0) {
            Ok([run, _]) => Ok(Some(run)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error).context("cannot read who is followed"),
        }
    }

    fn forget_command(&mut self) -> Result<()> {
        let Some(command) = self.command else { return Ok(()) };
        if self.run_of(command)? != Some(self.run) {
            return Ok(());
        }
        match self.members.remove(&command) {
            Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(MapError::KeyNotFound) => Ok(()),
            result => result.context("cannot stop following the command"),
        }
    }

    pub fn next(&mut self) -> Result<Option<Event>> {
        let Some(record) = self.ring.next() else { return Ok(None) };
        Event::parse(&record)
            .map(Some)
            .with_context(|| format!("a record of {} bytes is not ci-guard's", record.len()))
    }

    pub fn lost(&self) -> Result<u64> {
        Ok(self.lost_in_all()? - self.lost_before)
    }

    fn lost_in_all(&self) -> Result<u64> {
        Ok(self.lost.get(&self.number, 0).context("cannot read what was lost")?.iter().sum())
    }

    pub fn end(mut self) -> Result<()> {
        self.set_group(RawGroup::default())?;
        self.forget_command()?;
        self.set_tally([0, self.run, 0, 0])?;
        self.jobs.remove(&self.number).context("cannot give the job's place back")
    }
}

fn take_place(jobs: &mut HashMap<MapData, u32, u64>) -> Result<u32> {
    let own = u64::from(std::process::id());
    for number in 0..JOBS {
        if let Ok(holder) = jobs.get(&number, 0)
            && !Path::new("/proc").join(holder.to_string()).exists()
        {
            // Another ci-guard may have removed it at the same time.
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
