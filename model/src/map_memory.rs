use crate::{MapSpec, map_type};

/// Minimum size of a kernel page, in bytes.
const PAGE: u64 = 4096;
/// Memory of an entry of a hash or LPM trie besides key and value, including buckets: 48 to 64 bytes.
const NODE: u64 = 64;
/// Assumed number of kernel objects with an entry in a storage map: sockets, tasks or inodes of a busy node. Such maps have
/// no maximum number of entries, so that more objects use more memory.
const STORAGE_OBJECTS: u64 = 16_384;

impl MapSpec {
    /// Returns the memory of a full map, in bytes: about what the kernel charges for it, and never much less.
    ///
    /// Maps that grow with their entries count as full, because adding entries is not checked.
    #[must_use]
    pub fn memory(&self, cpus: u64) -> u64 {
        use crate::map_type::{
            ARENA, DEVMAP_HASH, HASH, HASH_OF_MAPS, LPM_TRIE, LRU_HASH, LRU_PERCPU_HASH, PERCPU_ARRAY,
            PERCPU_CGROUP_STORAGE, PERCPU_HASH, RHASH, RINGBUF, USER_RINGBUF,
        };
        let (key, value) = (u64::from(self.key_size), u64::from(self.value_size));
        let padded = value.next_multiple_of(8);
        let per_entry = match self.map_type {
            // The kernel rounds the size up to a power of two.
            RINGBUF | USER_RINGBUF => return u64::from(self.max_entries).next_power_of_two().max(PAGE),
            ARENA => PAGE,
            PERCPU_ARRAY => padded * cpus,
            PERCPU_CGROUP_STORAGE => padded * cpus + NODE,
            PERCPU_HASH | LRU_PERCPU_HASH => key + padded * cpus + NODE,
            HASH | LRU_HASH | RHASH | LPM_TRIE | HASH_OF_MAPS | DEVMAP_HASH => key + padded + NODE,
            kind if map_type::storage_helper(kind).is_some() => padded + NODE,
            // All arrays, including those of kernel pointers; queues, stacks and bloom filters.
            _ => padded.max(8),
        };
        let entries = match map_type::storage_helper(self.map_type) {
            Some(_) => STORAGE_OBJECTS,
            None => u64::from(self.max_entries),
        };
        let inner = self.inner.as_deref().map_or(0, |inner| inner.memory(cpus));
        per_entry.saturating_mul(entries).saturating_add(inner)
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
        for (spec, bytes) in [
            (spec(map_type::ARRAY, 4, 4096, 786_432), 3 << 30),
            (spec(map_type::ARRAY, 4, 5, 3), 24),
            (spec(map_type::PERCPU_ARRAY, 4, 8, 100), 100 * 8 * 16),
            // Small keys and values do not evade the limit: the kernel's overhead for an entry counts.
            (spec(map_type::HASH, 1, 1, 1 << 20), (1 + 8 + NODE) << 20),
            (spec(map_type::LRU_PERCPU_HASH, 4, 12, 10), 10 * (4 + 16 * 16 + NODE)),
            (spec(map_type::RINGBUF, 0, 0, 1 << 24), 1 << 24),
            (spec(map_type::RINGBUF, 0, 0, (1 << 24) + 1), 1 << 25),
            (spec(map_type::RINGBUF, 0, 0, 0), PAGE),
            (spec(map_type::ARENA, 0, 0, 1 << 20), 4 << 30),
            // Storage maps can have one entry for each kernel object.
            (spec(map_type::SK_STORAGE, 4, 4000, 0), (4000 + NODE) * STORAGE_OBJECTS),
            (spec(map_type::TASK_STORAGE, 4, 1, 0), (8 + NODE) * STORAGE_OBJECTS),
            (spec(map_type::PERCPU_CGROUP_STORAGE, 16, 8, 0), (8 * 16 + NODE) * STORAGE_OBJECTS),
            (spec(map_type::PROG_ARRAY, 4, 4, 10), 80),
            (spec(map_type::ARRAY, 4, u32::MAX, u32::MAX), (1_u64 << 32) * u64::from(u32::MAX)),
        ] {
            assert_eq!(spec.memory(16), bytes, "{spec:?}");
        }
        let outer = MapSpec {
            inner: Some(Box::new(spec(map_type::ARRAY, 4, 8, 10))),
            ..spec(map_type::ARRAY_OF_MAPS, 4, 4, 2)
        };
        assert_eq!(MapSpec::memory(&outer, 1), 16 + 80);
    }
}
