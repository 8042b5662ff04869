//! Memory of the maps that an object declares.

use bpfman_model::MapSpec;
use serde::{Deserialize, Serialize};

/// Bytes of all maps that an object declares, for 1 CPU and for 4,096 CPUs: the size is linear in the number of CPUs,
/// so maps that need no more at both ends need no more in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclaredBytes {
    own: [u64; 2],
    /// Maps pinned by name, which another object may have created before.
    pinned: [u64; 2],
}

impl DeclaredBytes {
    pub fn of(maps: &[MapSpec]) -> Self {
        let sum = |pinned: bool| {
            let maps = maps.iter().filter(move |map| map.pin_by_name == pinned);
            [1, 4096].map(|cpus| maps.clone().fold(0, |sum: u64, map| sum.saturating_add(map.memory(cpus))))
        };
        Self { own: sum(false), pinned: sum(true) }
    }

    /// Returns whether no value exceeds the one of `other`. Both kinds are compared separately: a map that is shared by
    /// name must not become one of the load's own.
    pub fn is_within(self, other: Self) -> bool {
        let pairs = self.own.iter().zip(&other.own).chain(self.pinned.iter().zip(&other.pinned));
        pairs.into_iter().all(|(own, others)| own <= others)
    }
}

#[cfg(test)]
mod tests {
    use bpfman_model::map_type;

    use super::*;

    fn map(map_type: u32, max_entries: u32) -> MapSpec {
        MapSpec::sized("map", map_type, 4, 8, max_entries)
    }

    #[test]
    fn neither_more_entries_nor_more_of_each_processor_are_within() {
        let of = |map: &MapSpec| DeclaredBytes::of(std::slice::from_ref(map));
        let array = of(&map(map_type::ARRAY, 4096));
        assert!(array.is_within(array) && of(&map(map_type::ARRAY, 4095)).is_within(array));
        assert!(!of(&map(map_type::ARRAY, 4097)).is_within(array));
        let each = of(&map(map_type::PERCPU_ARRAY, 4096));
        assert_eq!(each.own[0], array.own[0]);
        assert!(!each.is_within(array) && array.is_within(each));
        assert!(!of(&map(map_type::PERCPU_ARRAY, 4000)).is_within(array));
    }

    #[test]
    fn a_pinned_map_is_not_exchanged_for_one_of_its_own() {
        let own = map(map_type::ARRAY, 4096);
        let pinned = MapSpec { pin_by_name: true, ..own.clone() };
        let both = [own, pinned].map(|map| DeclaredBytes::of(&[map]));
        assert!(!both[0].is_within(both[1]) && !both[1].is_within(both[0]));
    }
}
