//! Whether the radar's programs see, and who this daemon is to them.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use bpfmand_core::MapSpec;
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::{KernelError, KernelObjects as _};

use super::counts::{CallCounts, CallNews};
use super::event::{RadarEvent, kind};
use super::programs::RadarPrograms;

/// Programs that see nothing within this time do not work.
const BLIND: Duration = Duration::from_secs(2);
/// A map that is not seen is made again after this time, or with the next event.
const AGAIN: Duration = Duration::from_millis(50);
/// Events that are read at once: twice what the ring takes. Who fills it faster than it is read keeps nobody
/// here.
const AT_ONCE: usize = 8192;
/// Events that are kept until it is known who this daemon is.
const MOST_EARLY: usize = 65_536;

/// What came of trying programs.
pub struct Calibration {
    /// This daemon's process, as the machine counts; none: they do not show what it does.
    pub own: Option<u32>,
    /// What else was seen until then.
    pub early: Vec<RadarEvent>,
}

/// Makes maps of a name that nobody can guess, until one is seen: which process is this daemon, and do the
/// programs see at all?
pub fn calibrate(kernel: &LinuxKernel, programs: &mut RadarPrograms) -> Calibration {
    /// `BPF_MAP_TYPE_ARRAY`.
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
        if left.is_zero() || early.len() >= MOST_EARLY || programs.ring.wait(left.min(AGAIN)).is_err() {
            return Calibration { own: None, early };
        }
    }
}

/// Reads what is there, makes the map of this name, and reads on: whose process was it? Events of others are
/// kept.
///
/// What finds the ring full has no event. So there has to be room before the map is made.
fn attempt(
    name: &str,
    early: &mut Vec<RadarEvent>,
    mut take: impl FnMut() -> Option<Vec<u8>>,
    prove: impl FnOnce() -> Result<(), KernelError>,
) -> Result<Option<u32>, KernelError> {
    let mut read = || -> Option<u32> {
        for _ in 0..AT_ONCE {
            let record = take()?;
            let Some(event) = RadarEvent::parse(&record) else { continue };
            if event.kind == kind::MAP_CREATE && event.name == name {
                return Some(event.process);
            }
            early.push(event);
        }
        None
    };
    // That of the attempt before may be there by now.
    let own = read();
    if own.is_some() {
        return Ok(own);
    }
    prove()?;
    Ok(read())
}

/// What programs saw and counted with which the radar does not go on.
#[derive(Debug, Default)]
pub struct LastSightings {
    /// Calls of which there are events.
    pub early: Vec<RadarEvent>,
    /// Those that were only counted.
    pub news: Vec<CallNews>,
}

impl LastSightings {
    /// All that is left in their maps, behind what was read already.
    pub fn of(kernel: &LinuxKernel, programs: &mut RadarPrograms, mut early: Vec<RadarEvent>) -> Self {
        let records = std::iter::from_fn(|| programs.ring.take()).take(AT_ONCE);
        early.extend(records.filter_map(|record| RadarEvent::parse(&record)));
        let mut counts = CallCounts::default();
        // Calls are lost that are missing at two readings.
        let readings = [(); 2].map(|()| counts.read(kernel, &programs.counts, &programs.floods));
        let known = |news: Result<CallNews, KernelError>| {
            news.inspect_err(|error| tracing::warn!(%error, "nobody knows what the radar lost")).ok()
        };
        Self { early, news: readings.into_iter().filter_map(known).collect() }
    }

    /// True where nothing was seen.
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

    /// Records that a ring takes.
    const ROOM: usize = 3;

    /// A call in a ring, if that has room.
    fn call(ring: &Ring, process: u32, kind: u32) {
        let mut ring = ring.borrow_mut();
        if ring.len() < ROOM {
            ring.push_back(record(process, kind, 0, b"x"));
        }
    }

    #[test]
    fn a_full_ring_is_emptied_before_the_proof_is_made_and_nothing_in_it_is_dropped() {
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
        // Others fill the ring again before the map is made.
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
        assert!(LastSightings::default().is_empty());
        assert!(!LastSightings { early, ..LastSightings::default() }.is_empty());
    }
}
