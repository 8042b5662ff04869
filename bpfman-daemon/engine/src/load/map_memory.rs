//! How much memory the maps of one load may take: an object of a few kilobytes can ask for gigabytes.

use bpfmand_core::MapSpec;
use bpfmand_kernel::Kernel;

use crate::load::plan::LoadPlan;
use crate::{Engine, EngineError};

/// What a page of the kernel has at least, in bytes.
const PAGE: u64 = 4096;
/// What the kernel keeps besides key and value for an entry of a hash or LPM trie, buckets included: 48 to 64 bytes.
const NODE: u64 = 64;

/// `enum bpf_map_type` numbers whose memory is not key and value times entries.
mod map_type {
    pub const HASH: u32 = 1;
    pub const PERCPU_HASH: u32 = 5;
    pub const PERCPU_ARRAY: u32 = 6;
    pub const LRU_HASH: u32 = 9;
    pub const LRU_PERCPU_HASH: u32 = 10;
    pub const LPM_TRIE: u32 = 11;
    pub const HASH_OF_MAPS: u32 = 13;
    pub const PERCPU_CGROUP_STORAGE: u32 = 21;
    pub const DEVMAP_HASH: u32 = 25;
    pub const RINGBUF: u32 = 27;
    pub const USER_RINGBUF: u32 = 31;
    pub const ARENA: u32 = 33;
}

/// What a map takes when it is full, in bytes: about what the kernel charges for it, and never much less.
///
/// Maps that grow with their entries count whole: whoever fills them does not ask again.
fn bytes_of(spec: &MapSpec, cpus: u64) -> u64 {
    use map_type::{
        ARENA, DEVMAP_HASH, HASH, HASH_OF_MAPS, LPM_TRIE, LRU_HASH, LRU_PERCPU_HASH, PERCPU_ARRAY,
        PERCPU_CGROUP_STORAGE, PERCPU_HASH, RINGBUF, USER_RINGBUF,
    };
    let (key, value) = (u64::from(spec.key_size), u64::from(spec.value_size));
    let padded = value.next_multiple_of(8);
    let per_entry = match spec.map_type {
        RINGBUF | USER_RINGBUF => 1,
        ARENA => PAGE,
        PERCPU_ARRAY | PERCPU_CGROUP_STORAGE => padded * cpus,
        PERCPU_HASH | LRU_PERCPU_HASH => key + padded * cpus + NODE,
        HASH | LRU_HASH | LPM_TRIE | HASH_OF_MAPS | DEVMAP_HASH => key + padded + NODE,
        // Arrays of whatever kind, the kernel's pointers included, queues, stacks, filters.
        _ => padded.max(8),
    };
    let inner = spec.inner.as_deref().map_or(0, |inner| bytes_of(inner, cpus));
    per_entry.saturating_mul(u64::from(spec.max_entries)).saturating_add(inner)
}

impl<K: Kernel> Engine<K> {
    /// Refuses maps that would take too much memory together, before the kernel is asked for the first. Those that are
    /// there already, because their owner, the version before or another object made them, cost nothing more.
    pub(crate) fn check_map_memory(&self, plan: &LoadPlan<'_>, specs: &[MapSpec]) -> Result<(), EngineError> {
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
            let bytes = bytes_of(spec, cpus);
            sum = sum.saturating_add(bytes);
            if bytes > largest.0 {
                largest = (bytes, Some(spec));
            }
        }
        match largest {
            (bytes, Some(largest)) if sum > self.map_bytes => Err(EngineError::MapMemory {
                mib: sum >> 20,
                limit_mib: self.map_bytes >> 20,
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

#[cfg(test)]
mod tests {

    use super::*;

    fn spec(map_type: u32, key_size: u32, value_size: u32, max_entries: u32) -> MapSpec {
        MapSpec::sized("m", map_type, key_size, value_size, max_entries)
    }

    #[test]
    fn every_kind_of_map_counts_what_it_can_take() {
        const ARRAY: u32 = 2;
        const PROG_ARRAY: u32 = 3;
        const ARRAY_OF_MAPS: u32 = 12;
        for (spec, bytes) in [
            (spec(ARRAY, 4, 4096, 786_432), 3 << 30),
            (spec(ARRAY, 4, 5, 3), 24),
            (spec(map_type::PERCPU_ARRAY, 4, 8, 100), 100 * 8 * 16),
            // Small keys and values are no way round: the kernel's own part of an entry counts.
            (spec(map_type::HASH, 1, 1, 1 << 20), (1 + 8 + NODE) << 20),
            (spec(map_type::LRU_PERCPU_HASH, 4, 12, 10), 10 * (4 + 16 * 16 + NODE)),
            (spec(map_type::RINGBUF, 0, 0, 1 << 24), 1 << 24),
            (spec(map_type::ARENA, 0, 0, 1 << 20), 4 << 30),
            (spec(PROG_ARRAY, 4, 4, 10), 80),
            (spec(ARRAY, 4, u32::MAX, u32::MAX), (1_u64 << 32) * u64::from(u32::MAX)),
        ] {
            assert_eq!(bytes_of(&spec, 16), bytes, "{spec:?}");
        }
        let outer = MapSpec { inner: Some(Box::new(spec(ARRAY, 4, 8, 10))), ..spec(ARRAY_OF_MAPS, 4, 4, 2) };
        assert_eq!(bytes_of(&outer, 1), 16 + 80);
    }
}
