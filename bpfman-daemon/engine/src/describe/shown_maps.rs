//! Maps of managed programs for display: with owners and types, including maps inside maps of maps.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bpfman_model::{BtfId, MapId, Owner, ProgramId};
use bpfmand_kernel::Kernel;
use bpfmand_object::{ProgramTypes, TypeNames};

use crate::describe::details::MapDetails;
use crate::describe::open_maps::UsedMap;
use crate::describe::writable_maps::why_read_only;
use crate::state::records::{MapRecord, ProgramRecord};
use crate::{Engine, EngineError};

/// Map for display.
#[derive(Clone, Debug)]
pub struct ShownMap {
    pub details: MapDetails,
    /// Owners of the programs that use it.
    pub owners: BTreeSet<Owner>,
    /// Names of the types of keys and values.
    pub types: TypeNames,
    /// Maps of maps that contain it; empty for a map that programs use directly.
    pub lies_in: Vec<MapId>,
    /// Reason why its entries cannot be set; `None` if they can.
    pub read_only_because: Option<String>,
}

/// List of maps.
#[derive(Debug, Default)]
pub struct ShownMaps {
    pub maps: Vec<ShownMap>,
    /// Maps of maps that are too large to be searched: their inner maps may be missing from the list.
    pub not_searched: Vec<MapId>,
}

#[derive(Debug, Default)]
struct ReadTypes(HashMap<BtfId, Option<Arc<ProgramTypes>>>);

impl<K: Kernel> Engine<K> {
    pub(super) fn maps_in_use(&self) -> BTreeMap<MapId, (MapRecord, Vec<Arc<ProgramRecord>>)> {
        let state = self.state();
        let mut maps: BTreeMap<MapId, (MapRecord, Vec<Arc<ProgramRecord>>)> = BTreeMap::new();
        for program in state.loaded() {
            for map in &program.maps {
                let Some(id) = map.id else { continue };
                let (_, users) = maps.entry(id).or_insert_with(|| (map.clone(), Vec::new()));
                users.push(Arc::clone(program));
            }
        }
        maps
    }

    /// Returns the maps of managed programs by id, including inner maps; optionally of one program only.
    pub fn shown_maps(&self, of: Option<ProgramId>) -> Result<ShownMaps, EngineError> {
        if let Some(program) = of.filter(|program| self.state().program(*program).is_none()) {
            return Err(EngineError::NoProgram(program));
        }
        let mut types = ReadTypes::default();
        let mut shown = Vec::new();
        for (id, (record, users)) in self.maps_in_use() {
            if of.is_some_and(|program| users.iter().all(|user| user.id != program)) {
                continue;
            }
            let map = UsedMap::of_programs(id, record, users);
            shown.extend(self.show_map_by(&map, &mut types)?);
        }
        let (direct, inner) = (self.maps_in_use(), self.inner_maps()?);
        let reached = inner.lies_in.iter().filter(|(id, outer)| {
            let is_shown = |outer: &MapId| shown.iter().any(|map| map.details.facts.id == *outer);
            !direct.contains_key(id) && outer.iter().any(is_shown)
        });
        let reached: Vec<MapId> = reached.map(|(id, _)| *id).collect();
        for id in reached {
            match self.find_inner_map(&inner, id) {
                Ok(map) => shown.extend(self.show_map_by(&map, &mut types)?),
                Err(EngineError::NoMapOfOurs(_) | EngineError::InnerMapOfOthers { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        shown.sort_unstable_by_key(|map| map.details.facts.id);
        let is_shown = |outer: &&MapId| shown.iter().any(|map| map.details.facts.id == **outer);
        let not_searched = inner.not_searched.iter().filter(is_shown).copied().collect();
        Ok(ShownMaps { maps: shown, not_searched })
    }

    pub fn show_map(&self, map: &UsedMap) -> Result<ShownMap, EngineError> {
        let shown = self.show_map_by(map, &mut ReadTypes::default())?;
        shown.ok_or(EngineError::NoMapOfOurs(map.id()))
    }

    fn show_map_by(&self, map: &UsedMap, types: &mut ReadTypes) -> Result<Option<ShownMap>, EngineError> {
        let Some(facts) = self.kernel.map(map.id())? else { return Ok(None) };
        let names = match self.types_of(map, types)? {
            Some(types) if map.lies_in().is_empty() => types.names(map.name()),
            _ => TypeNames::default(),
        };
        Ok(Some(ShownMap {
            owners: map.users().map(|(_, owner)| owner).collect(),
            types: names,
            lies_in: map.lies_in().to_vec(),
            read_only_because: why_read_only(map.name(), &facts),
            details: map.details(facts),
        }))
    }

    /// Returns the BTF of a program that uses a map, from the kernel; `None` if there is none.
    pub fn raw_types_of(&self, map: &UsedMap) -> Result<Option<Vec<u8>>, EngineError> {
        for (program, _) in map.users() {
            let Some(handle) = self.kernel.open_program(program)? else { continue };
            if let Some(types) = self.kernel.program_btf(&handle)? {
                return Ok(Some(types));
            }
        }
        Ok(None)
    }

    fn types_of(
        &self,
        map: &UsedMap,
        read: &mut ReadTypes,
    ) -> Result<Option<Arc<ProgramTypes>>, EngineError> {
        for (program, _) in map.users() {
            let Some(id) = self.kernel.program(program)?.and_then(|facts| facts.btf_id) else { continue };
            if let Some(known) = read.0.get(&id) {
                return Ok(known.clone());
            }
            let Some(handle) = self.kernel.open_program(program)? else { continue };
            let raw = self.kernel.program_btf(&handle)?;
            let types = raw.and_then(|raw| ProgramTypes::parse(raw).ok()).map(Arc::new);
            read.0.insert(id, types.clone());
            return Ok(types);
        }
        Ok(None)
    }
}
