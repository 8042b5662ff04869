//! One call at a time for each volume; calls for different volumes go side by side.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{CsiError, VolumeId};

/// Volumes that a call works on.
#[derive(Debug, Default)]
pub struct HeldVolumes(Mutex<HashSet<VolumeId>>);

/// A volume that a call works on, until this is dropped.
#[derive(Debug)]
pub struct HeldVolume<'a> {
    all: &'a HeldVolumes,
    volume: VolumeId,
}

impl HeldVolumes {
    /// Takes a volume, or answers that another call has it. The kubelet asks again.
    pub fn take(&self, volume: &VolumeId) -> Result<HeldVolume<'_>, CsiError> {
        if !self.guard().insert(volume.clone()) {
            return Err(CsiError::Busy { volume: volume.to_string() });
        }
        Ok(HeldVolume { all: self, volume: volume.clone() })
    }

    /// A panic while the set was locked leaves it whole: every change of it is one insertion or removal.
    fn guard(&self) -> MutexGuard<'_, HashSet<VolumeId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HeldVolume<'_> {
    fn drop(&mut self) {
        self.all.guard().remove(&self.volume);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_volume_in_work_is_refused_to_others_and_other_volumes_are_not() {
        let all = HeldVolumes::default();
        let (a, b) = (VolumeId::parse("a").unwrap(), VolumeId::parse("b").unwrap());
        let held = all.take(&a).unwrap();
        let refused = all.take(&a).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Aborted);
        all.take(&b).unwrap();
        drop(held);
        all.take(&a).unwrap();
    }
}
