//! Decides which maps of replaced programs the new version keeps, copies or creates, before anything is made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bpfman_model::{MapId, MapRole, MapSpec, ProgramId, ProgramUid};
use bpfmand_kernel::Kernel;
use bpfmand_object::ObjectFacts;

use crate::load::maps::MapDifference;
use crate::replace::declared::Declared;
use crate::replace::{MapFate, MapOutcome, MapPolicy};
use crate::state::records::ProgramRecord;
use crate::{Engine, EngineError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Keep(MapId),
    Copy(MapId),
    New,
}

#[derive(Debug)]
pub struct Fates {
    pub maps: Vec<(String, Fate)>,
    pub owner: Option<Arc<ProgramRecord>>,
}

impl Fates {
    pub fn kept(&self) -> BTreeMap<String, MapId> {
        let kept = |(name, fate): &(String, Fate)| match fate {
            Fate::Keep(id) => Some((name.clone(), *id)),
            Fate::Copy(_) | Fate::New => None,
        };
        self.maps.iter().filter_map(kept).collect()
    }
}

pub struct MapHolder<'h> {
    pub old: &'h ProgramRecord,
    pub map: MapId,
    pub before: &'h ObjectFacts,
    pub load: &'h [ProgramUid],
}

impl<K: Kernel> Engine<K> {
    pub(super) fn map_fates(
        &self,
        old: &[Arc<ProgramRecord>],
        asked_owner: Option<ProgramId>,
        (declared, new): (&Declared<'_>, &ObjectFacts),
        policy: MapPolicy,
    ) -> Result<Fates, EngineError> {
        let owner = self.owner_of_load(old, asked_owner)?;
        if let (Some(owner), Some(first), MapPolicy::Fresh) = (&owner, old.first(), policy) {
            return Err(EngineError::Invalid(format!(
                "program {} shares the maps of program {}, so its new version cannot have new ones",
                first.id, owner.id
            )));
        }
        let load: Vec<ProgramUid> = old.iter().map(|program| program.uid).collect();
        let filled: BTreeSet<usize> = new
            .initial_slots()
            .iter()
            .map(|slot| slot.map)
            .chain(new.struct_ops.iter().map(|ops| ops.map))
            .collect();
        let mut maps = Vec::new();
        for (index, spec) in new.maps().iter().enumerate() {
            if spec.role != MapRole::Ordinary || (spec.pin_by_name && owner.is_none()) {
                continue;
            }
            let is_filled = filled.contains(&index) && owner.is_none();
            let fate = match holder(old, spec, policy)? {
                // The new object fills the slots of this map.
                Some((program, map)) if !is_filled => {
                    let before = declared.by(program)?;
                    let holder = MapHolder { old: program, map, before, load: &load };
                    self.map_fate(&holder, new, spec, policy)?
                }
                _ => Fate::New,
            };
            maps.push((spec.name.clone(), fate));
        }
        Ok(Fates { maps, owner })
    }

    pub(crate) fn map_fate(
        &self,
        holder: &MapHolder<'_>,
        new: &ObjectFacts,
        spec: &MapSpec,
        policy: MapPolicy,
    ) -> Result<Fate, EngineError> {
        let MapHolder { old, map, before, load } = *holder;
        let fail =
            |why: String| Err(EngineError::MapDiffers { program: old.id, map: spec.name.clone(), why });
        let handle = self.kernel.open_map(map)?;
        let facts = self.kernel.map_of(&handle)?;
        if let Some(declared) = before.maps().iter().find(|declared| declared.name == spec.name) {
            if declared.flags != spec.flags {
                return fail(format!("flags {:#x} instead of {:#x}", declared.flags, spec.flags));
            }
            if let (Some((old_key, old_value)), Some((key, value))) =
                (before.map_shape(declared), new.map_shape(spec))
            {
                for (what, is, wanted) in [("key", old_key, key), ("value", old_value, value)] {
                    if is != wanted {
                        return fail(format!("its {what} is {is} instead of {wanted}"));
                    }
                }
            }
        }
        match self.difference(&handle, spec)? {
            None => Ok(Fate::Keep(map)),
            // The number of entries is compared last: everything else is equal.
            Some(difference @ MapDifference::Entries(..)) if policy == MapPolicy::Keep => {
                let users: Vec<String> = {
                    let state = self.state();
                    let uses = |other: &&Arc<ProgramRecord>| {
                        !load.contains(&other.uid) && other.maps.iter().any(|used| used.id == Some(map))
                    };
                    state.programs.values().filter(uses).map(|other| other.id.to_string()).collect()
                };
                if !users.is_empty() {
                    return fail(format!("{difference}, and program {} uses it too", users.join(", ")));
                }
                if !can_be_copied(facts.map_type) {
                    return fail(format!("{difference}, and maps of its type cannot be copied"));
                }
                Ok(Fate::Copy(map))
            }
            Some(difference) => fail(difference.to_string()),
        }
    }

    pub(crate) fn copy_maps(
        &self,
        fates: &Fates,
        new: &ProgramRecord,
    ) -> Result<Vec<MapOutcome>, EngineError> {
        let mut outcomes = Vec::with_capacity(fates.maps.len());
        for (name, fate) in &fates.maps {
            let fate = match fate {
                Fate::Keep(_) => MapFate::Kept,
                Fate::New => MapFate::New,
                Fate::Copy(from) => {
                    let to = new.maps.iter().find(|map| map.name == *name).and_then(|map| map.id);
                    let to = to.ok_or_else(|| EngineError::MapDiffers {
                        program: new.id,
                        map: name.clone(),
                        why: "the new version leaves it out".to_owned(),
                    })?;
                    let to = self.kernel.open_map(to)?;
                    let from = self.kernel.open_map(*from)?;
                    self.step("replace", "copy map");
                    MapFate::Copied(self.kernel.copy_map(&from, &to)? as u64)
                }
            };
            outcomes.push(MapOutcome { name: name.clone(), fate });
        }
        Ok(outcomes)
    }
}

const fn can_be_copied(map_type: u32) -> bool {
    use bpfman_model::map_type::{
        ARRAY, HASH, LPM_TRIE, LRU_HASH, LRU_PERCPU_HASH, PERCPU_ARRAY, PERCPU_HASH,
    };
    matches!(map_type, HASH | ARRAY | PERCPU_HASH | PERCPU_ARRAY | LRU_HASH | LRU_PERCPU_HASH | LPM_TRIE)
}

fn holder<'h>(
    old: &'h [Arc<ProgramRecord>],
    spec: &MapSpec,
    policy: MapPolicy,
) -> Result<Option<(&'h Arc<ProgramRecord>, MapId)>, EngineError> {
    if policy == MapPolicy::Fresh {
        return Ok(None);
    }
    let mut holders = old.iter().filter_map(|program| {
        let map = program.maps.iter().find(|map| map.public && map.name == spec.name)?;
        Some((program, map.id?))
    });
    let Some((program, map)) = holders.next() else { return Ok(None) };
    match holders.find(|(_, other)| *other != map) {
        None => Ok(Some((program, map))),
        Some((other, _)) => Err(EngineError::MapDiffers {
            program: program.id,
            map: spec.name.clone(),
            why: format!("program {} of the same load has another one of that name", other.id),
        }),
    }
}
