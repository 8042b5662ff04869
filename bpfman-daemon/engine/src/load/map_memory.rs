//! How much memory the maps of one load may take: an object of a few kilobytes can ask for gigabytes.

use bpfmand_core::MapSpec;
use bpfmand_kernel::Kernel;

use crate::load::plan::LoadPlan;
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Refuses maps that would take too much memory together, before the kernel is asked for the first. Those that are
    /// there already, because their owner, the version before or another object made them, cost nothing more.
    pub(crate) fn check_map_memory(&self, plan: &LoadPlan<'_>, specs: &[MapSpec]) -> Result<(), EngineError> {
        let limit =
            plan.limits.map_bytes.map_or(self.options.map_bytes, |own| own.min(self.options.map_bytes));
        // What ran before a reboot runs again, whatever the limit is now.
        if plan.again {
            return Ok(());
        }
        let cpus = u64::from(self.kernel.features().possible_cpus.max(1));
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
            _ => Ok(()),
        }
    }

    /// Whether a load takes a map that is there already.
    fn has_map(&self, plan: &LoadPlan<'_>, spec: &MapSpec) -> Result<bool, EngineError> {
        let is_public = spec.role == bpfmand_core::MapRole::Ordinary;
        let is_taken = is_public && (plan.owner.is_some() || plan.inherited.contains_key(&spec.name));
        Ok(is_taken || spec.pin_by_name && self.find_shared_map(spec, &plan.group)?.is_some())
    }
}
