//! Maps of our programs as users see them: with owners and types, and with those that lie in maps of maps.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bpfmand_core::{BtfId, MapFacts, MapId, Owner, ProgramId, map_type};
use bpfmand_kernel::{Kernel, MapPlace};
use bpfmand_object::{ProgramTypes, TypeNames};

use crate::describe::details::MapDetails;
use crate::describe::open_maps::{UsedMap, WantedMap};
use crate::describe::writable_maps::why_read_only;
use crate::state::MapGroup;
use crate::state::records::{MapRecord, ProgramRecord};
use crate::{Engine, EngineError};

/// A map of ours, as users see it.
#[derive(Clone, Debug)]
pub struct ShownMap {
    /// What it is.
    pub details: MapDetails,
    /// Whose programs use it.
    pub owners: BTreeSet<Owner>,
    /// Names of the types of its keys and values.
    pub types: TypeNames,
    /// Maps of maps that it lies in; none for a map that programs use themselves.
    pub lies_in: Vec<MapId>,
    /// Why its entries cannot be set; none if they can.
    pub read_only_because: Option<String>,
}

/// What lies in maps of maps of programs of ours.
#[derive(Debug, Default)]
struct InnerMaps {
    /// In which.
    lies_in: BTreeMap<MapId, Vec<MapId>>,
    /// Programs that use those.
    users: BTreeMap<MapId, Vec<Arc<ProgramRecord>>>,
    /// Maps that programs of others use themselves, each with one of these.
    foreign: BTreeMap<MapId, ProgramId>,
}

impl InnerMaps {
    /// One of them, as the kernel describes it.
    fn find(&self, id: MapId, facts: Option<MapFacts>) -> Result<UsedMap, EngineError> {
        let lies_in = self.lies_in.get(&id).cloned().unwrap_or_default();
        let facts = facts.filter(|_| !lies_in.is_empty()).ok_or(EngineError::NoMapOfOurs(id))?;
        if let Some(program) = self.foreign.get(&id) {
            return Err(EngineError::InnerMapOfOthers { map: id, program: *program });
        }
        let users = lies_in.iter().filter_map(|outer| self.users.get(outer)).flatten();
        let programs: BTreeMap<_, _> = users.map(|program| (program.uid, Arc::clone(program))).collect();
        let group = MapGroup::default();
        let record = MapRecord { name: facts.name, id: Some(id), public: false, shared: false, group };
        Ok(UsedMap::inner(id, record, programs.into_values().collect(), lies_in))
    }
}

/// Types of programs that were read, by the kernel's id of them.
#[derive(Debug, Default)]
struct ReadTypes(HashMap<BtfId, Option<Arc<ProgramTypes>>>);

impl<K: Kernel> Engine<K> {
    /// A map of a program of ours, or one that lies in a map of maps of ours.
    ///
    /// Who has a right over the outer map has it over what lies in it: its programs reach that by themselves. But not where a
    /// program of others uses the inner map itself: nobody here can say whose it is.
    ///
    /// # Errors
    /// No program of ours reaches such a map, or one of others uses it too.
    pub fn find_map_or_inner(&self, wanted: &WantedMap) -> Result<UsedMap, EngineError> {
        match (self.find_map(wanted), wanted) {
            (Err(EngineError::NoMapOfOurs(_)), WantedMap::Id(id)) => self.find_inner_map(*id),
            (found, _) => found,
        }
    }

    fn find_inner_map(&self, id: MapId) -> Result<UsedMap, EngineError> {
        self.inner_maps()?.find(id, self.kernel.map(id)?)
    }

    /// Maps of programs of ours, with a record and all users of each.
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

    /// All maps that lie in maps of maps of programs of ours.
    fn inner_maps(&self) -> Result<InnerMaps, EngineError> {
        let mut inner = InnerMaps::default();
        for (id, (_, users)) in self.maps_in_use() {
            if self.kernel.map(id)?.is_some_and(|facts| map_type::holds_maps(facts.map_type)) {
                for found in self.ids_in(id)? {
                    inner.lies_in.entry(found).or_default().push(id);
                }
                inner.users.insert(id, users);
            }
        }
        if inner.lies_in.is_empty() {
            return Ok(inner);
        }
        // Of an adopted program the records have no maps, and of one that is lost a number that may be another's by now: what
        // counts as ours is what the records of loaded programs name.
        let ours: BTreeSet<(ProgramId, MapId)> = {
            let state = self.state();
            let maps = |program: &Arc<ProgramRecord>| {
                let id = program.id;
                let maps: Vec<_> = program.maps.iter().filter_map(move |map| Some((id, map.id?))).collect();
                maps
            };
            state.loaded().flat_map(maps).collect()
        };
        for id in self.kernel.program_ids()? {
            let facts = self.kernel.program(id)?;
            let used = facts.iter().flat_map(|facts| &facts.map_ids);
            inner.foreign.extend(used.filter(|map| !ours.contains(&(id, **map))).map(|map| (*map, id)));
        }
        Ok(inner)
    }

    /// Ids of the maps in a map of maps; none if that is gone.
    fn ids_in(&self, outer: MapId) -> Result<BTreeSet<MapId>, EngineError> {
        let mut inner = BTreeSet::new();
        let Ok(handle) = self.kernel.open_map_to_read(outer) else { return Ok(inner) };
        let mut place = Some(MapPlace::default());
        while let Some(at) = place {
            let page = self.kernel.map_page(&handle, &at)?;
            let ids = page.values.chunks_exact(4).filter_map(|id| id.try_into().ok());
            inner.extend(ids.map(|id| MapId(u32::from_ne_bytes(id))));
            place = page.next;
        }
        Ok(inner)
    }

    /// Maps of programs of ours by id, those in maps of maps among them; optionally those of one program alone.
    ///
    /// # Errors
    /// There is no such program, or the kernel refuses to tell.
    pub fn shown_maps(&self, of: Option<ProgramId>) -> Result<Vec<ShownMap>, EngineError> {
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
            match inner.find(id, self.kernel.map(id)?) {
                Ok(map) => shown.extend(self.show_map_by(&map, &mut types)?),
                // It went meanwhile, or it is not ours to show.
                Err(EngineError::NoMapOfOurs(_) | EngineError::InnerMapOfOthers { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        shown.sort_unstable_by_key(|map| map.details.facts.id);
        Ok(shown)
    }

    /// Describes a map.
    ///
    /// # Errors
    /// It is gone, or the kernel refuses to tell.
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

    /// Types of a program that uses a map, as the kernel has them; none if it has none.
    ///
    /// # Errors
    /// The kernel refuses to tell.
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
