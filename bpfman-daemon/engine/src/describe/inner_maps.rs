//! Search, within bounds, for maps inside the maps of maps of managed programs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bpfman_model::{MapFacts, MapId, ProgramId, map_type};
use bpfmand_kernel::{Kernel, MapPlace};

use crate::describe::open_maps::{UsedMap, WantedMap};
use crate::engine::inner_maps::InnerMaps;
use crate::state::MapGroup;
use crate::state::records::{MapRecord, ProgramRecord};
use crate::{Engine, EngineError};

/// Maximum number of entries that one search reads, each by two system calls: some tenths of a second.
const MAX_PLACES: usize = 1 << 18;

impl<K: Kernel> Engine<K> {
    /// Returns a map of a managed program, or an inner map of one, for use: never answered from the cache.
    ///
    /// Access to the outer map includes its inner maps, because its programs reach them anyway. An inner map that a
    /// third-party program uses directly is refused: its owner is unknown.
    pub fn find_map_or_inner(&self, wanted: &WantedMap) -> Result<UsedMap, EngineError> {
        let found = self.find_map(wanted);
        self.or_inner(found, wanted, || self.found_inner_maps.find(|| self.search_inner_maps()))
    }

    /// Returns the map for display, from a cache that is at most a second old.
    pub fn find_shown_map(&self, wanted: &WantedMap) -> Result<UsedMap, EngineError> {
        let found = self.find_map(wanted);
        self.or_inner(found, wanted, || self.inner_maps())
    }

    fn or_inner(
        &self,
        found: Result<UsedMap, EngineError>,
        wanted: &WantedMap,
        inner: impl FnOnce() -> Result<Arc<InnerMaps>, EngineError>,
    ) -> Result<UsedMap, EngineError> {
        match (found, wanted) {
            (Err(EngineError::NoMapOfOurs(_)), WantedMap::Id(id)) => self.find_inner_map(&*inner()?, *id),
            (found, _) => found,
        }
    }

    pub(super) fn find_inner_map(&self, inner: &InnerMaps, id: MapId) -> Result<UsedMap, EngineError> {
        let facts: Option<MapFacts> = self.kernel.map(id)?;
        let lies_in = inner.lies_in.get(&id).cloned().unwrap_or_default();
        let Some(facts) = facts.filter(|_| !lies_in.is_empty()) else {
            return Err(EngineError::NoMapOfOurs(id));
        };
        if let Some(program) = inner.foreign.get(&id) {
            return Err(EngineError::InnerMapOfOthers { map: id, program: *program });
        }
        let users = lies_in.iter().filter_map(|outer| inner.users.get(outer)).flatten();
        let programs: BTreeMap<_, _> = users.map(|program| (program.uid, Arc::clone(program))).collect();
        let group = MapGroup::default();
        let record =
            MapRecord { name: facts.name, id: Some(id), public: false, shared: false, group, bytes: 0 };
        Ok(UsedMap::inner(id, record, programs.into_values().collect(), lies_in))
    }

    pub(super) fn inner_maps(&self) -> Result<Arc<InnerMaps>, EngineError> {
        self.found_inner_maps.get_or_find(|| self.search_inner_maps())
    }

    fn search_inner_maps(&self) -> Result<InnerMaps, EngineError> {
        let mut inner = InnerMaps::default();
        let mut places = MAX_PLACES;
        for (id, (_, users)) in self.maps_in_use() {
            let Some(facts) = self.kernel.map(id)?.filter(|facts| map_type::holds_maps(facts.map_type))
            else {
                continue;
            };
            let (ids, is_whole) = self.ids_in(&facts, &mut places)?;
            for found in ids {
                inner.lies_in.entry(found).or_default().push(id);
            }
            inner.users.insert(id, users);
            inner.not_searched.extend((!is_whole).then_some(id));
        }
        if inner.lies_in.is_empty() {
            return Ok(inner);
        }
        // Exclude lost programs, whose ids may be reused. The record of an adopted program names no maps.
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

    /// Returns the ids of inner maps, none if the map is gone, and whether all entries were read.
    fn ids_in(&self, outer: &MapFacts, places: &mut usize) -> Result<(BTreeSet<MapId>, bool), EngineError> {
        let mut inner = BTreeSet::new();
        let Ok(handle) = self.kernel.open_map_to_read(outer.id) else { return Ok((inner, true)) };
        let mut place = Some(MapPlace::default());
        // An array has all of its entries: the cost of a walk is known in advance.
        if outer.map_type == map_type::ARRAY_OF_MAPS {
            let all = outer.max_entries as usize;
            if all > *places {
                return Ok((inner, false));
            }
            *places -= all;
        }
        while let Some(at) = place {
            if *places == 0 {
                return Ok((inner, false));
            }
            let page = self.kernel.map_page(&handle, &at)?;
            let ids = page.values.chunks_exact(4).filter_map(|id| id.try_into().ok());
            inner.extend(ids.map(|id| MapId(u32::from_ne_bytes(id))));
            if outer.map_type != map_type::ARRAY_OF_MAPS {
                // A page without entries has a cost, too.
                *places = places.saturating_sub(page.count.max(1));
            }
            place = page.next;
        }
        Ok((inner, true))
    }
}
