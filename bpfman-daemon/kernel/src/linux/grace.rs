use std::os::fd::OwnedFd;

use bpfman_model::MapSpec;
use bpfman_model::map_type::{ARRAY, ARRAY_OF_MAPS};

use super::{create_map, slots};
use crate::KernelError;

/// Waits for an RCU grace period, within which every non-sleepable program finishes: a change of a map of maps takes
/// one (`maybe_wait_bpf_programs`, Linux 4.20); membarrier(2) does not wait with a single CPU.
pub fn wait() -> Result<(), KernelError> {
    let inner = create_map::create(&array(ARRAY, None), None)?;
    let outer: OwnedFd = create_map::create(&array(ARRAY_OF_MAPS, Some(Box::new(array(ARRAY, None)))), None)?;
    slots::fill(&outer, 0, &inner)
}

fn array(map_type: u32, inner: Option<Box<MapSpec>>) -> MapSpec {
    MapSpec { inner, ..MapSpec::sized("grace", map_type, 4, 4, 1) }
}
