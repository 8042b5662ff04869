//! Whether the radar's programs see, and who this daemon is to them.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use bpfmand_core::MapSpec;
use bpfmand_kernel::KernelObjects as _;
use bpfmand_kernel::linux::LinuxKernel;

use super::event::{RadarEvent, kind};
use super::programs::RadarPrograms;

/// Programs that see nothing within this time do not work.
const BLIND: Duration = Duration::from_secs(2);

/// Makes a map of a name that nobody can guess, and waits until it is seen: which process is this daemon, and do the programs see
/// at all? What else is seen meanwhile comes along.
pub fn calibrate(kernel: &LinuxKernel, programs: &mut RadarPrograms) -> (Option<u32>, Vec<RadarEvent>) {
    /// `BPF_MAP_TYPE_ARRAY`.
    const ARRAY: u32 = 2;
    let name = format!("radar{:010x}", RandomState::new().hash_one(0_u8) & 0xff_ffff_ffff);
    let mut early = Vec::new();
    if let Err(error) = kernel.create_map(&MapSpec::sized(&name, ARRAY, 4, 4, 1), None) {
        tracing::warn!(%error, "the radar cannot be tried");
        return (None, early);
    }
    let began = Instant::now();
    loop {
        while let Some(record) = programs.ring.take() {
            let Some(event) = RadarEvent::parse(&record) else { continue };
            if event.kind == kind::MAP_CREATE && event.name == name {
                return (Some(event.process), early);
            }
            early.push(event);
        }
        let left = BLIND.saturating_sub(began.elapsed());
        if left.is_zero() || programs.ring.wait(left).is_err() {
            return (None, early);
        }
    }
}
