//! Locks by volume: one call at a time for each volume; calls for different volumes run concurrently.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{CsiError, VolumeId};

#[derive(Debug, Default)]
pub struct HeldVolumes(Mutex<HashSet<VolumeId>>);

#[derive(Debug)]
pub struct HeldVolume<'a> {
    all: &'a HeldVolumes,
    volume: VolumeId,
}

impl HeldVolumes {
    /// Locks a volume, or returns an error if another call holds it. The kubelet retries.
    pub fn take(&self, volume: &VolumeId) -> Result<HeldVolume<'_>, CsiError> {
        if !self.guard().insert(volume.clone()) {
            return Err(CsiError::Busy { volume: volume.to_string() });
        }
        Ok(HeldVolume { all: self, volume: volume.clone() })
    }

    /// Locks the set. A panic cannot leave it inconsistent: every change is one insertion or removal.
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
    fn volume_in_use_is_refused_to_others_and_other_volumes_are_not() {
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
