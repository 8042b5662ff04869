//! Waiting until packets have left old programs.

use std::os::fd::OwnedFd;

use bpfmand_core::MapSpec;
use bpfmand_core::map_type::{ARRAY, ARRAY_OF_MAPS};

use super::{create_map, slots};
use crate::KernelError;

/// Waits a grace period of RCU, inside of which every program that does not sleep runs.
///
/// A call that changes a map of maps returns only after one (`maybe_wait_bpf_programs`, Linux 4.20 and later), so that
/// its caller knows that no program uses the inner map any more: the one thing that the kernel lets users wait for
/// RCU by on every machine (membarrier(2) does not wait with a single CPU). The maps are made for the purpose and go
/// with this call, so that an idle daemon holds nothing.
pub fn wait() -> Result<(), KernelError> {
    let inner = create_map::create(&array(ARRAY, None), None)?;
    let outer: OwnedFd = create_map::create(&array(ARRAY_OF_MAPS, Some(Box::new(array(ARRAY, None)))), None)?;
    slots::fill(&outer, 0, &inner)
}

fn array(map_type: u32, inner: Option<Box<MapSpec>>) -> MapSpec {
    MapSpec { inner, ..MapSpec::sized("grace", map_type, 4, 4, 1) }
}
