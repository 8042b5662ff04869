//! Programs that share maps with replaced programs.

use std::collections::BTreeSet;
use std::sync::Arc;

use bpfman_model::{MapId, ProgramId};
use bpfmand_kernel::Kernel;

use crate::replace::maps::Fates;
use crate::replace::pairs::Pairing;
use crate::state::records::{MapRecord, ProgramRecord};
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    pub(crate) fn owner_of_load(
        &self,
        old: &[Arc<ProgramRecord>],
        asked: Option<ProgramId>,
    ) -> Result<Option<Arc<ProgramRecord>>, EngineError> {
        let first = old.first();
        let owner = first.and_then(|first| first.map_owner_uid).and_then(|owner| self.record(owner));
        let is_same = |asked: ProgramId| {
            // After a reboot the owner has another id than in the original request.
            owner.as_ref().is_some_and(|owner| owner.id == asked)
                || first.is_some_and(|first| first.map_owner == Some(asked))
        };
        match asked {
            Some(asked) if !is_same(asked) => Err(EngineError::MapOwner {
                owner: asked,
                reason: "the load that is replaced does not share its maps; unload that and load the new version to \
                         change whose maps it shares"
                    .to_owned(),
            }),
            _ => Ok(owner),
        }
    }

    pub(crate) fn keep_maps_of_sharers(
        &self,
        old: &[Arc<ProgramRecord>],
        pairing: &Pairing,
        fates: &Fates,
    ) -> Result<(), EngineError> {
        let kept: BTreeSet<MapId> = fates.kept().into_values().collect();
        let state = self.state();
        for owner in old {
            for sharer in state.programs.values().filter(|other| other.map_owner_uid == Some(owner.uid)) {
                let lost = |map: &&MapRecord| {
                    map.public && !map.shared && !map.id.is_some_and(|id| kept.contains(&id))
                };
                let why = match sharer.maps.iter().find(lost) {
                    Some(map) => format!("map \"{}\" would not go on", map.name),
                    None if pairing.is_removed(owner.uid) => {
                        format!("the new version has no program \"{}\" of its type", owner.name)
                    }
                    None => continue,
                };
                let sharers = format!("program {} (\"{}\")", sharer.id, sharer.name);
                return Err(EngineError::MapsShared { owner: owner.id, sharers, why });
            }
        }
        Ok(())
    }
}
