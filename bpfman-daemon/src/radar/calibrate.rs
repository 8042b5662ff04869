//! Self-test of the radar's programs, which also finds the process id of this daemon in their events.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use bpfman_model::MapSpec;
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::{KernelError, KernelObjects as _};

use super::counts::{CallCounts, CallDeltas};
use super::event::{RadarEvent, kind};
use super::programs::RadarPrograms;

/// Time without the expected event after which programs count as broken.
const BLIND: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(50);
/// Maximum number of events read at once, twice the ring buffer's capacity: a fast producer must not block this loop.
const MAX_EVENTS_PER_READ: usize = 8192;
/// Maximum number of events kept until the daemon's process id is known.
const MAX_EARLY_EVENTS: usize = 65_536;

pub struct Calibration {
    /// Process id of this daemon in the initial pid namespace; `None` if the programs do not show its calls.
    pub own: Option<u32>,
    pub early: Vec<RadarEvent>,
}

/// Creates maps until an event shows one. It proves that the programs work, and has the daemon's process id.
pub fn calibrate(kernel: &LinuxKernel, programs: &mut RadarPrograms) -> Calibration {
    const ARRAY: u32 = 2;
    let name = format!("radar{:010x}", RandomState::new().hash_one(0_u8) & 0xff_ffff_ffff);
    let proof = MapSpec::sized(&name, ARRAY, 4, 4, 1);
    let mut early = Vec::new();
    let began = Instant::now();
    loop {
        let prove = || kernel.create_map(&proof, None).map(drop);
        match attempt(&name, &mut early, || programs.ring.take(), prove) {
            Ok(None) => {}
            Ok(own) => return Calibration { own, early },
            Err(error) => {
                tracing::warn!(%error, "the radar cannot be tried");
                return Calibration { own: None, early };
            }
        }
        let left = BLIND.saturating_sub(began.elapsed());
        if left.is_zero() || early.len() >= MAX_EARLY_EVENTS || programs.ring.wait(left.min(AGAIN)).is_err() {
            return Calibration { own: None, early };
        }
    }
}

/// Drains the ring buffer first, since a full one drops the event. Returns the process id of the map's event.
fn attempt(
    name: &str,
    early: &mut Vec<RadarEvent>,
    mut take: impl FnMut() -> Option<Vec<u8>>,
    prove: impl FnOnce() -> Result<(), KernelError>,
) -> Result<Option<u32>, KernelError> {
    let mut read = || -> Option<u32> {
        for _ in 0..MAX_EVENTS_PER_READ {
            let record = take()?;
            let Some(event) = RadarEvent::parse(&record) else { continue };
            if event.kind == kind::MAP_CREATE && event.name == name {
                return Some(event.process);
            }
            early.push(event);
        }
        None
    };
    // The event of the previous attempt may have arrived by now.
    let own = read();
    if own.is_some() {
        return Ok(own);
    }
    prove()?;
    Ok(read())
}

#[derive(Debug, Default)]
pub struct FinalEvents {
    pub early: Vec<RadarEvent>,
    pub news: Vec<CallDeltas>,
}

impl FinalEvents {
    /// Reads everything left in the maps, after the events that were read before.
    pub fn of(kernel: &LinuxKernel, programs: &mut RadarPrograms, mut early: Vec<RadarEvent>) -> Self {
        let records = std::iter::from_fn(|| programs.ring.take()).take(MAX_EVENTS_PER_READ);
        early.extend(records.filter_map(|record| RadarEvent::parse(&record)));
        let mut counts = CallCounts::default();
        // A call counts as lost only after two readings without its event.
        let readings = [(); 2].map(|()| counts.read(kernel, &programs.counts, &programs.floods));
        let known = |news: Result<CallDeltas, KernelError>| {
            news.inspect_err(|error| tracing::warn!(%error, "it is unknown what the radar lost")).ok()
        };
        Self { early, news: readings.into_iter().filter_map(known).collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.early.is_empty() && self.news.iter().all(|news| news.floods.is_empty() && news.lost == 0)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;

    use super::super::event::tests::record;
    use super::*;

    type Ring = RefCell<VecDeque<Vec<u8>>>;

    const ROOM: usize = 3;

    fn call(ring: &Ring, process: u32, kind: u32) {
        let mut ring = ring.borrow_mut();
        if ring.len() < ROOM {
            ring.push_back(record(process, kind, 0, b"x"));
        }
    }

    #[test]
    fn full_ring_is_drained_before_calibration_and_nothing_is_lost() {
        let ring = Ring::default();
        let mut early = Vec::new();
        let mut tried = |prove: &dyn Fn()| {
            let take = || ring.borrow_mut().pop_front();
            let own = attempt("wall", &mut early, take, || {
                prove();
                Ok(())
            });
            own.unwrap()
        };
        let make = || call(&ring, 99, kind::MAP_CREATE);
        (1..=3).for_each(|process| call(&ring, process, kind::PROG_LOAD));
        // Other processes fill the ring again before the map is created.
        let late = || {
            (4..=6).for_each(|process| call(&ring, process, kind::PROG_LOAD));
            make();
        };
        assert_eq!(tried(&late), None);
        assert_eq!(tried(&make), Some(99));
        let seen: Vec<u32> = early.iter().map(|event| event.process).collect();
        assert_eq!(seen, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_proof_that_comes_late_counts_and_no_other_is_made() {
        let ring = Ring::default();
        call(&ring, 99, kind::MAP_CREATE);
        let mut early = Vec::new();
        let own = attempt("wall", &mut early, || ring.borrow_mut().pop_front(), || panic!("not needed"));
        assert_eq!((own.unwrap(), early.len()), (Some(99), 0));
    }

    #[test]
    fn programs_that_show_no_map_of_this_daemon_show_what_they_saw() {
        let ring = Ring::default();
        call(&ring, 5, kind::PROG_LOAD);
        let mut early = Vec::new();
        let own = attempt("wall", &mut early, || ring.borrow_mut().pop_front(), || Ok(()));
        assert_eq!((own.unwrap(), early.len()), (None, 1));
        assert!(FinalEvents::default().is_empty());
        assert!(!FinalEvents { early, ..FinalEvents::default() }.is_empty());
    }
}
