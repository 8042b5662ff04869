//! Memory limits of the maps of one load, and of one owner: an object of a few kilobytes can request gigabytes.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

use bpfman_model::{MapId, MapSpec, map_type};
use bpfmand_kernel::Kernel;

use crate::engine::locks::{Guard, Subject};
use crate::engine::orphaned_maps::programs;
use crate::error::GuardRefusal;
use crate::load::plan::LoadPlan;
use crate::state::MapGroup;
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Refuses maps that would take too much memory, or memory without a bound. Existing maps cost nothing more.
    pub(crate) fn check_map_memory(&self, plan: &LoadPlan<'_>, specs: &[MapSpec]) -> Result<(), EngineError> {
        // Programs that ran before a reboot are loaded again even if the limit is lower now.
        if plan.again {
            return Ok(());
        }
        check_unbounded(plan, specs)?;
        let limit =
            plan.limits.map_bytes.map_or(self.options.map_bytes, |own| own.min(self.options.map_bytes));
        let cpus = self.possible_cpus();
        let mut sum = 0_u64;
        let mut largest = (0, None);
        for spec in specs {
            if self.has_map(plan, spec)? {
                continue;
            }
            let bytes = spec.memory(cpus);
            sum = sum.saturating_add(bytes);
            if bytes > largest.0 {
                largest = (bytes, Some(spec));
            }
        }
        match largest {
            (bytes, Some(largest)) if sum > limit => Err(EngineError::MapMemory {
                mib: sum >> 20,
                limit_mib: limit >> 20,
                largest: largest.name.clone(),
                entries: largest.max_entries,
                largest_mib: bytes >> 20,
                cpus,
            }),
            _ => self.check_owners_memory(&plan.group, sum),
        }
    }

    fn check_owners_memory(&self, group: &MapGroup, more: u64) -> Result<(), EngineError> {
        if group.is_unlimited() || more == 0 {
            return Ok(());
        }
        let options = &self.options;
        let limits = [
            (options.map_bytes_of_owner, Some(group), "maps.mib_per_owner"),
            (options.map_bytes_of_owners, None, "maps.mib_of_owners"),
        ];
        for (limit, of, setting) in limits {
            let Some(limit) = limit else { continue };
            let used = self.bytes_of_maps(of);
            let enough = limit.saturating_sub(used.saturating_add(more));
            let used = used.saturating_add(self.bytes_of_left_maps(of, enough));
            if used.saturating_add(more) > limit {
                let owner = of.map_or_else(
                    || "all owners but root and cluster applications".to_owned(),
                    ToString::to_string,
                );
                let [used_mib, more_mib, limit_mib] =
                    [used, more, limit].map(|bytes| bytes.div_ceil(1 << 20));
                return Err(EngineError::OwnersMapMemory { owner, used_mib, more_mib, limit_mib, setting });
            }
        }
        Ok(())
    }

    fn bytes_of_maps(&self, group: Option<&MapGroup>) -> u64 {
        let state = self.state();
        let mut maps: BTreeMap<MapId, u64> = BTreeMap::new();
        for program in programs(&state) {
            let of = MapGroup::of(&program.owner(), &program.metadata);
            if group.map_or(!of.is_unlimited(), |group| of == *group) {
                for map in &program.maps {
                    let Some(id) = map.id else { continue };
                    // Records of earlier versions have no bytes of a map that they declare without a size.
                    let bytes = maps.entry(id).or_default();
                    *bytes = map.bytes.max(*bytes);
                }
            }
        }
        maps.values().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }

    /// Locks the loads of a limited owner, so that each counts the maps of the others.
    pub(crate) fn alone_of_owner(&self, group: &MapGroup) -> Option<Guard> {
        let number = BuildHasherDefault::<DefaultHasher>::default().hash_one(group);
        (!group.is_unlimited()).then(|| self.lock(Subject::MapMemory(number)))
    }

    pub(crate) fn possible_cpus(&self) -> u64 {
        u64::from(self.kernel.features().possible_cpus.max(1))
    }

    fn has_map(&self, plan: &LoadPlan<'_>, spec: &MapSpec) -> Result<bool, EngineError> {
        let is_public = spec.role == bpfman_model::MapRole::Ordinary;
        let is_taken = is_public && (plan.owner.is_some() || plan.inherited.contains_key(&spec.name));
        Ok(is_taken || spec.pin_by_name && self.find_shared_map(spec, &plan.group)?.is_some())
    }
}

/// Refuses maps of a tenant whose entries are made for objects of the kernel, unless root granted the helper that makes
/// them: programs and user space make one for each socket or task, so their number cannot be limited.
fn check_unbounded(plan: &LoadPlan<'_>, specs: &[MapSpec]) -> Result<(), EngineError> {
    let Some(rules) = &plan.tenant else { return Ok(()) };
    for spec in specs.iter().flat_map(|spec| [Some(spec), spec.inner.as_deref()]).flatten() {
        let Some(helper) = map_type::storage_helper(spec.map_type) else { continue };
        if !rules.helpers.contains(helper) {
            let (map, map_type) = (spec.name.clone(), map_type::name(spec.map_type));
            return Err(GuardRefusal::UnboundedMap { map, map_type, helper }.into());
        }
    }
    Ok(())
}
