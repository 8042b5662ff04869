//! What becomes of the maps of a load that is replaced, decided before anything is made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bpfmand_core::{MapId, MapRole, MapSpec, ProgramId, ProgramUid};
use bpfmand_kernel::Kernel;
use bpfmand_object::ObjectFile;

use crate::replace::MapPolicy;
use crate::replace::load_pairs::Pairing;
use crate::replace::maps::{Fate, Fates, Holder};
use crate::state::records::{MapRecord, ProgramRecord};
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Whose maps the new version shares: those that the old one shares.
    pub(crate) fn owner_of_load(
        &self,
        old: &[Arc<ProgramRecord>],
        asked: Option<ProgramId>,
    ) -> Result<Option<Arc<ProgramRecord>>, EngineError> {
        let first = old.first();
        let owner = first.and_then(|first| first.map_owner_uid).and_then(|owner| self.record(owner));
        let is_same = |asked: ProgramId| {
            // After a reboot the owner has another id than the one that was asked for then.
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

    /// Decides what becomes of the maps of a load.
    pub(crate) fn load_fates(
        &self,
        old: &[Arc<ProgramRecord>],
        owner: Option<Arc<ProgramRecord>>,
        new: &ObjectFile,
        policy: MapPolicy,
    ) -> Result<Fates, EngineError> {
        if let (Some(owner), Some(first), MapPolicy::Fresh) = (&owner, old.first(), policy) {
            return Err(EngineError::Invalid(format!(
                "program {} shares the maps of program {}, so its new version cannot have new ones",
                first.id, owner.id
            )));
        }
        let load: Vec<ProgramUid> = old.iter().map(|program| program.uid).collect();
        let filled: BTreeSet<usize> = new.initial_slots().iter().map(|slot| slot.map).collect();
        let mut objects: BTreeMap<&str, ObjectFile> = BTreeMap::new();
        let mut maps = Vec::new();
        for (index, spec) in new.maps().iter().enumerate() {
            if spec.role != MapRole::Ordinary || (spec.pin_by_name && owner.is_none()) {
                continue;
            }
            let is_filled = filled.contains(&index) && owner.is_none();
            let fate = match holder(old, spec, policy)? {
                // Its slots are filled by the object that it comes with.
                Some((program, map)) if !is_filled => {
                    let blob = program.blob.as_str();
                    if !objects.contains_key(blob) {
                        objects.insert(blob, ObjectFile::parse(self.blobs.get(&program.blob)?)?);
                    }
                    match objects.get(blob) {
                        Some(before) => {
                            let holder = Holder { old: program, map, before, load: &load };
                            self.map_fate(&holder, new, spec, policy)?
                        }
                        None => Fate::New,
                    }
                }
                _ => Fate::New,
            };
            maps.push((spec.name.clone(), fate));
        }
        Ok(Fates { maps, owner })
    }

    /// Refuses what would take maps away from programs of other loads that share them.
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
                let lost = |map: &&MapRecord| map.public && !map.shared && !kept.contains(&map.id);
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

/// The program whose map of a name goes on; none if there is none, or it is not wanted.
fn holder<'h>(
    old: &'h [Arc<ProgramRecord>],
    spec: &MapSpec,
    policy: MapPolicy,
) -> Result<Option<(&'h Arc<ProgramRecord>, &'h MapRecord)>, EngineError> {
    if policy == MapPolicy::Fresh {
        return Ok(None);
    }
    let mut holders = old.iter().filter_map(|program| {
        let map = program.maps.iter().find(|map| map.public && map.name == spec.name)?;
        Some((program, map))
    });
    let Some((program, map)) = holders.next() else { return Ok(None) };
    match holders.find(|(_, other)| other.id != map.id) {
        None => Ok(Some((program, map))),
        // One of them was replaced by itself, with maps of its own.
        Some((other, _)) => Err(EngineError::MapDiffers {
            program: program.id,
            map: spec.name.clone(),
            why: format!("program {} of the same load has another one of that name", other.id),
        }),
    }
}
