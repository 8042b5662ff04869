//! Entries of maps, and which maps have them.

use bpfmand_core::MapFacts;
use bpfmand_core::map_type::{
    self, ARRAY, HASH, LPM_TRIE, LRU_HASH, LRU_PERCPU_HASH, PERCPU_ARRAY, PERCPU_HASH,
};

use crate::KernelError;

/// A key and its value, as bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MapEntry {
    /// As many bytes as the map's keys have.
    pub key: Vec<u8>,
    /// As many bytes as the map's values have; of per-CPU maps the values of all possible CPUs, each padded to 8 bytes.
    pub value: Vec<u8>,
}

/// True for an array of one value that programs may only read: of a frozen one the verifier takes the value for constant.
pub(crate) const fn is_one_constant(map: &MapFacts) -> bool {
    const BPF_F_RDONLY_PROG: u32 = 1 << 7;
    map.map_type == ARRAY && map.max_entries == 1 && map.flags & BPF_F_RDONLY_PROG != 0
}

/// What entries of a map of data are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Family {
    /// Keys are places, and all are always there.
    pub array: bool,
    /// Keys are prefixes.
    pub prefixes: bool,
    /// A value for each CPU.
    pub per_cpu: bool,
}

impl Family {
    /// Refuses maps that hold something else than data.
    pub fn of(action: &'static str, map: &MapFacts) -> Result<Self, KernelError> {
        let (array, prefixes, per_cpu) = match map.map_type {
            HASH | LRU_HASH => (false, false, false),
            PERCPU_HASH | LRU_PERCPU_HASH => (false, false, true),
            ARRAY => (true, false, false),
            PERCPU_ARRAY => (true, false, true),
            LPM_TRIE => (false, true, false),
            _ => {
                let reason = "only arrays, hash tables and LPM tries have entries of plain data";
                return Err(wrong(action, map, reason.to_owned()));
            }
        };
        Ok(Self { array, prefixes, per_cpu })
    }

    pub fn check_numbered_per_cpu(self, action: &'static str, map: &MapFacts) -> Result<(), KernelError> {
        if self.per_cpu && map.key_size == 4 {
            return Ok(());
        }
        let reason = format!("it is no per-CPU map with keys of 4 bytes; its keys have {}", map.key_size);
        Err(wrong(action, map, reason))
    }
}

/// Refuses maps that one cannot be copied into the other.
pub(crate) fn check_copy(
    from: &MapFacts,
    from_family: Family,
    to: &MapFacts,
    to_family: Family,
) -> Result<(), KernelError> {
    let target = || format!("map {} of type {}", describe(to), map_type::name(to.map_type));
    let reason = if from.id == to.id {
        "it cannot be copied into itself".to_owned()
    } else if from_family != to_family {
        format!("{} is of another family", target())
    } else if (from.key_size, from.value_size) != (to.key_size, to.value_size) {
        format!(
            "its keys and values have {} and {} bytes, those of {} {} and {}",
            from.key_size,
            from.value_size,
            target(),
            to.key_size,
            to.value_size
        )
    } else if from_family.array && from.max_entries > to.max_entries {
        format!("it has {} entries, and {} only {}", from.max_entries, target(), to.max_entries)
    } else {
        return Ok(());
    };
    Err(wrong("copy", from, reason))
}

/// Id and name.
pub(crate) fn describe(map: &MapFacts) -> String {
    format!("{} (\"{}\")", map.id, map.name)
}

pub(crate) fn wrong(action: &'static str, map: &MapFacts, reason: String) -> KernelError {
    KernelError::WrongMap { action, map: describe(map), map_type: map_type::name(map.map_type), reason }
}
