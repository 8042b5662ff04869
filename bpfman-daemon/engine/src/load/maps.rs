//! The maps of a load: created, taken from their owner, or shared by name.

use std::collections::BTreeSet;
use std::path::Path;

use bpfman_model::{MapRole, MapSpec, map_type};
use bpfmand_kernel::{Kernel, KernelError};

use crate::load::plan::{LoadPlan, Wanted};
use crate::state::MapGroup;
use crate::state::records::{MapRecord, ProgramRecord};
use crate::{Engine, EngineError};

pub type HeldMaps<H> = (Vec<Option<H>>, Vec<MapRecord>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapDifference {
    #[error("type {0} instead of {1}")]
    Type(u32, u32),
    #[error("key size {0} instead of {1}")]
    KeySize(u32, u32),
    #[error("value size {0} instead of {1}")]
    ValueSize(u32, u32),
    #[error("entries {0} instead of {1}")]
    Entries(u32, u32),
}

impl MapDifference {
    fn advice(self, map: &str) -> String {
        match self {
            Self::Entries(is, _) => format!("; ask for as many: --map-size {map}={is}"),
            Self::Type(..) | Self::KeySize(..) | Self::ValueSize(..) => String::new(),
        }
    }
}

impl<K: Kernel> Engine<K> {
    /// Creates the object's maps, or uses those of the owner and shared ones. Shared maps without a pin are pinned in the
    /// folder.
    pub(crate) fn create_maps(
        &self,
        plan: &LoadPlan<'_>,
        specs: &[MapSpec],
        wanted: &[Wanted<'_>],
        folder: Option<&Path>,
    ) -> Result<HeldMaps<K::Handle>, EngineError> {
        self.check_map_memory(plan, specs)?;
        let used: BTreeSet<usize> = wanted.iter().flat_map(|program| program.text.map_indexes()).collect();
        // Types are optional: if the kernel refuses them, maps are created without.
        let btf = plan.object.btf.as_ref().and_then(|bytes| self.kernel.load_btf(bytes).ok());
        let cpus = self.possible_cpus();
        let mut handles = Vec::with_capacity(specs.len());
        let mut records = Vec::with_capacity(specs.len());
        for (index, spec) in specs.iter().enumerate() {
            if let Some(ops) = plan.object.struct_ops.iter().find(|ops| ops.map == index) {
                let handle = self.map_of_functions(plan, ops, spec, btf.as_ref())?;
                records.push(MapRecord {
                    name: spec.name.clone(),
                    id: handle.as_ref().map(|map| self.kernel.map_of(map)).transpose()?.map(|facts| facts.id),
                    public: handle.is_some(),
                    shared: false,
                    group: MapGroup::default(),
                    bytes: spec.memory(cpus),
                });
                handles.push(handle);
                continue;
            }
            let public = spec.role == MapRole::Ordinary;
            let mut group = MapGroup::default();
            let owned = match &plan.owner {
                Some(owner) if public => Some(self.map_of_owner(owner, spec)?),
                None if public => {
                    let inherited = plan.inherited.get(&spec.name);
                    if let (Some(id), true) = (inherited, spec.pin_by_name) {
                        group = self.group_of_inherited(&spec.name, *id, &plan.group)?;
                    }
                    inherited.map(|id| self.kernel.open_map(*id)).transpose()?
                }
                _ => None,
            };
            let handle = match owned {
                Some(handle) => Some(handle),
                None if spec.pin_by_name => {
                    let (handle, of) = self.shared_map(spec, btf.as_ref(), plan)?;
                    group = of;
                    Some(handle)
                }
                None => match self.create_map(spec, btf.as_ref(), plan) {
                    Ok(handle) => Some(handle),
                    Err(error) if !used.contains(&index) => {
                        tracing::warn!(%error, "a map that no loaded program uses was left out");
                        None
                    }
                    Err(error) => return Err(error.into()),
                },
            };
            // An owner's map differs from the shared map of its name, unless the owner shares it.
            let of_owner = plan.owner.as_ref().map(|owner| {
                owner.maps.iter().find(|map| map.shared && map.name == spec.name).map(|map| map.group.clone())
            });
            let shared_with = match of_owner {
                _ if !spec.pin_by_name => None,
                Some(of_owner) => of_owner,
                None => Some(group),
            };
            let facts = handle.as_ref().map(|map| self.kernel.map_of(map)).transpose()?;
            if let (Some(folder), Some(group), Some(map), Some(facts)) =
                (folder, &shared_with, &handle, &facts)
            {
                self.pin_shared_map(map, facts.id, group, &spec.name, folder)?;
            }
            records.push(MapRecord {
                name: spec.name.clone(),
                // A map that was left out keeps its place, so that the others keep their numbers.
                id: facts.as_ref().map(|facts| facts.id),
                public: public && handle.is_some(),
                shared: shared_with.is_some(),
                group: shared_with.unwrap_or_default(),
                // A declaration without a size uses the existing map.
                bytes: match facts {
                    Some(facts) if spec.max_entries == 0 => {
                        MapSpec { max_entries: facts.max_entries, ..spec.clone() }.memory(cpus)
                    }
                    _ => spec.memory(cpus),
                },
            });
            handles.push(handle);
        }
        Ok((handles, records))
    }

    fn map_of_owner(&self, owner: &ProgramRecord, spec: &MapSpec) -> Result<K::Handle, EngineError> {
        let fail = |reason: String| EngineError::MapOwner { owner: owner.id, reason };
        let map = owner.maps.iter().find(|map| map.public && map.name == spec.name);
        let id =
            map.and_then(|map| map.id).ok_or_else(|| fail(format!("it has no map \"{}\"", spec.name)))?;
        let handle = self.kernel.open_map(id)?;
        match self.difference(&handle, spec)? {
            None => Ok(handle),
            Some(difference) => {
                let advice = difference.advice(&spec.name);
                Err(fail(format!("its map \"{}\" has another shape: {difference}{advice}", spec.name)))
            }
        }
    }

    fn shared_map(
        &self,
        spec: &MapSpec,
        btf: Option<&K::Handle>,
        plan: &LoadPlan<'_>,
    ) -> Result<(K::Handle, MapGroup), EngineError> {
        if let Some((handle, of)) = self.find_shared_map(spec, &plan.group)? {
            return match self.difference(&handle, spec)? {
                None => Ok((handle, of)),
                Some(difference) => {
                    let reason = format!("{difference}{}", difference.advice(&spec.name));
                    Err(EngineError::SharedMap { name: spec.name.clone(), reason })
                }
            };
        }
        Ok((self.create_map(spec, btf, plan)?, plan.group.clone()))
    }

    fn create_map(
        &self,
        spec: &MapSpec,
        btf: Option<&K::Handle>,
        plan: &LoadPlan<'_>,
    ) -> Result<K::Handle, KernelError> {
        match &plan.tenant {
            Some(_) => self.kernel.create_map_of_tenant(spec, btf),
            None => self.kernel.create_map(spec, btf),
        }
    }

    pub(crate) fn difference(
        &self,
        handle: &K::Handle,
        spec: &MapSpec,
    ) -> Result<Option<MapDifference>, EngineError> {
        use MapDifference::{Entries, KeySize, Type, ValueSize};
        let found = self.kernel.map_of(handle)?;
        let entries = match spec.max_entries {
            0 => found.max_entries,
            asked if map_type::is_ring(spec.map_type) => {
                map_type::ring_bytes(asked, self.kernel.features().page_size)
            }
            asked => asked,
        };
        Ok(match (found.map_type, found.key_size, found.value_size, found.max_entries) {
            (is, ..) if is != spec.map_type => Some(Type(is, spec.map_type)),
            (_, is, ..) if is != spec.key_size => Some(KeySize(is, spec.key_size)),
            (_, _, is, _) if is != spec.value_size => Some(ValueSize(is, spec.value_size)),
            (.., is) if is != entries => Some(Entries(is, entries)),
            _ => None,
        })
    }
}
