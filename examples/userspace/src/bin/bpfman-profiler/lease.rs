//! Lease of the sampler: one profile at a time; the lease of a killed process expires.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use aya::maps::{HashMap, MapData, MapError};
use bpfman_examples::failure::Failure;
use rustix::time::{ClockId, clock_gettime};

/// `struct lease`: until, expires, owner, tgid, cgroup, level.
pub type RawLease = [u64; 6];
pub type LeaseMap = HashMap<MapData, u32, RawLease>;

const PLACE: u32 = 0;
const IF_FREE: u64 = 1;
const IF_TAKEN: u64 = 2;
/// Maximum time for which sampling continues after the process is killed.
const AHEAD: Duration = Duration::from_secs(4);
pub const RENEWAL: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, Default)]
pub struct Scope {
    pub process: Option<u32>,
    pub control_group: Option<(u64, u64)>,
}

pub struct Lease<'a> {
    map: &'a mut LeaseMap,
    scope: Scope,
    owner: u64,
    until: u64,
}

impl<'a> Lease<'a> {
    pub fn take(map: &'a mut LeaseMap, scope: Scope) -> Result<Self> {
        let now = now();
        let owner = now ^ (u64::from(std::process::id()) << 40);
        let mut lease = Self { map, scope, owner, until: 0 };
        for _ in 0..2 {
            match lease.map.insert(PLACE, lease.raw(0, now + nanoseconds(AHEAD)), IF_FREE) {
                Ok(()) => return Ok(lease),
                Err(error) if is_taken(&error) => lease.end_expired()?,
                Err(error) => return Err(error).context("cannot take the lease"),
            }
        }
        bail!(Failure::conflict(
            "somebody else takes a profile now",
            "one is taken at a time: try again later"
        ))
    }

    /// Extends sampling, at most to `end`; returns whether it was continuous. Fails if another process holds the lease:
    /// this one was stopped for longer than it lasts.
    pub fn renew(&mut self, end: u64) -> Result<bool> {
        if self.map.get(&PLACE, 0).context("cannot read the lease")?[2] != self.owner {
            bail!(Failure::conflict(
                "somebody else has taken the lease",
                "this process was stopped for too long"
            ));
        }
        let now = now();
        let was_sampled = self.until == 0 || now <= self.until || self.until == end;
        let until = end.min(now + nanoseconds(AHEAD));
        let expires = now + nanoseconds(AHEAD) + nanoseconds(AHEAD);
        self.map.insert(PLACE, self.raw(until, expires), IF_TAKEN).context("cannot renew the lease")?;
        self.until = until;
        Ok(was_sampled)
    }

    fn end_expired(&mut self) -> Result<()> {
        match self.map.get(&PLACE, 0) {
            Ok([_, expires, ..]) if now() < expires => Ok(()),
            Ok(_) | Err(MapError::KeyNotFound) => match self.map.remove(&PLACE) {
                Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
                Err(error) => Err(error).context("cannot end a lease that was left behind"),
            },
            Err(error) => Err(error).context("cannot read the lease"),
        }
    }

    fn raw(&self, until: u64, expires: u64) -> RawLease {
        let (group, level) = self.scope.control_group.unwrap_or_default();
        [until, expires, self.owner, self.scope.process.unwrap_or_default().into(), group, level]
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        // Leave another process's lease alone. A lease that cannot be removed now expires.
        if self.map.get(&PLACE, 0).is_ok_and(|[_, _, owner, ..]| owner == self.owner) {
            let _expires = self.map.remove(&PLACE);
        }
    }
}

fn is_taken(error: &MapError) -> bool {
    matches!(error, MapError::SyscallError(error) if error.io_error.kind() == std::io::ErrorKind::AlreadyExists)
}

/// Returns the time of the clock of `bpf_ktime_get_ns`.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
