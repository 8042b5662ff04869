//! Entries of maps, and the types of maps that have them.

use bpfman_model::MapFacts;
use bpfman_model::map_type::{
    self, ARRAY, ARRAY_OF_MAPS, HASH, HASH_OF_MAPS, LPM_TRIE, LRU_HASH, LRU_PERCPU_HASH, PERCPU_ARRAY,
    PERCPU_HASH, QUEUE, STACK,
};

use crate::KernelError;

/// Key and value of an entry, as bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MapEntry {
    /// Key, with as many bytes as the map's keys have.
    pub key: Vec<u8>,
    /// Value; for a per-CPU map, the values of all possible CPUs, each padded to 8 bytes.
    pub value: Vec<u8>,
}

/// Returns whether the map is a frozen, read-only array of one value: a constant for the verifier.
pub(crate) const fn is_one_constant(map: &MapFacts) -> bool {
    const BPF_F_WRONLY: u32 = 1 << 4;
    const BPF_F_RDONLY_PROG: u32 = 1 << 7;
    map.frozen
        && map.map_type == ARRAY
        && map.max_entries == 1
        && map.flags & (BPF_F_RDONLY_PROG | BPF_F_WRONLY) == BPF_F_RDONLY_PROG
}

/// Consecutive entries of a map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapPage {
    /// Keys, each of the map's key size.
    pub keys: Vec<u8>,
    /// Values, each as in [`MapEntry`].
    pub values: Vec<u8>,
    pub count: usize,
    /// Place of the following entries; `None` after the last.
    pub next: Option<MapPlace>,
    /// Set if a change by programs would restart the walk: it ends here, with entries missing.
    pub cut_short: bool,
}

/// Place in a walk over the entries of a map. The default is the beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapPlace {
    pub(crate) at: Option<Vec<u8>>,
    /// Entries per batch; 0 if unknown.
    pub(crate) room: usize,
    pub(crate) by_keys: bool,
    first: Option<Vec<u8>>,
    read: u64,
}

impl MapPlace {
    pub(crate) fn after(&self, page: &MapPage, at: Option<Vec<u8>>, room: usize, by_keys: bool) -> Self {
        let size = page.keys.len().checked_div(page.count).unwrap_or(0);
        let first = self.first.clone().or_else(|| page.keys.get(..size).map(<[u8]>::to_vec));
        let first = first.filter(|first| !first.is_empty());
        Self { at, room, by_keys, first, read: self.read + page.count as u64 }
    }
}

impl MapPage {
    /// Ends the walk at the first entry that was read already: a walk by keys restarts if its key is gone.
    pub(crate) fn end_where_it_begins_again(&mut self, map: &MapFacts, by_keys: bool, from: &MapPlace) {
        let size = map.key_size as usize;
        if !by_keys || size == 0 {
            return;
        }
        let first = from.first.clone().or_else(|| self.keys.get(..size).map(<[u8]>::to_vec));
        let skipped = usize::from(from.first.is_none());
        let again = self.keys.chunks_exact(size).skip(skipped).position(|key| Some(key) == first.as_deref());
        // The first key may be gone, too.
        let too_many = from.read + self.count as u64 > u64::from(map.max_entries);
        if again.is_none() && !too_many {
            return;
        }
        let kept = again.map_or(self.count, |at| at + skipped);
        let kept = kept.min((u64::from(map.max_entries).saturating_sub(from.read)) as usize);
        let value = self.values.len().checked_div(self.count).unwrap_or(0);
        self.keys.truncate(size * kept);
        self.values.truncate(value * kept);
        (self.count, self.next, self.cut_short) = (kept, None, true);
    }
}

/// Condition for writing an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EntryRule {
    #[default]
    /// Always.
    Any,
    /// Only if there is no entry with this key.
    Create,
    /// Only if there is an entry with this key.
    Existing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Family {
    /// Keys are indexes, all of which exist.
    pub array: bool,
    pub prefixes: bool,
    pub per_cpu: bool,
    pub maps: bool,
    /// A new entry goes to the end of a queue or to the top of a stack.
    pub keyless: bool,
}

impl Family {
    pub fn of(action: &'static str, map: &MapFacts) -> Result<Self, KernelError> {
        let family = Self::of_type(map.map_type).filter(|family| !family.maps && !family.keyless);
        family.ok_or_else(|| {
            let reason = "only arrays, hash tables and LPM tries have entries of plain data";
            wrong(action, map, reason.to_owned())
        })
    }

    pub fn of_walk(action: &'static str, map: &MapFacts) -> Result<Self, KernelError> {
        let family = Self::of_type(map.map_type).filter(|family| !family.keyless);
        family.ok_or_else(|| {
            let reason =
                "only arrays, hash tables, LPM tries and maps of maps have entries that can be listed";
            wrong(action, map, reason.to_owned())
        })
    }

    pub fn of_entry(action: &'static str, map: &MapFacts) -> Result<Self, KernelError> {
        Self::of_type(map.map_type).ok_or_else(|| {
            let reason =
                "only arrays, hash tables, LPM tries, maps of maps, queues and stacks have entries to read";
            wrong(action, map, reason.to_owned())
        })
    }

    const fn of_type(kind: u32) -> Option<Self> {
        const HASH_TABLE: Family =
            Family { array: false, prefixes: false, per_cpu: false, maps: false, keyless: false };
        Some(match kind {
            HASH | LRU_HASH => HASH_TABLE,
            PERCPU_HASH | LRU_PERCPU_HASH => Self { per_cpu: true, ..HASH_TABLE },
            ARRAY => Self { array: true, ..HASH_TABLE },
            PERCPU_ARRAY => Self { array: true, per_cpu: true, ..HASH_TABLE },
            LPM_TRIE => Self { prefixes: true, ..HASH_TABLE },
            ARRAY_OF_MAPS => Self { array: true, maps: true, ..HASH_TABLE },
            HASH_OF_MAPS => Self { maps: true, ..HASH_TABLE },
            QUEUE | STACK => Self { keyless: true, ..HASH_TABLE },
            _ => return None,
        })
    }

    pub fn check_numbered_per_cpu(self, action: &'static str, map: &MapFacts) -> Result<(), KernelError> {
        if self.per_cpu && map.key_size == 4 {
            return Ok(());
        }
        let reason = format!("it is no per-CPU map with keys of 4 bytes; its keys have {}", map.key_size);
        Err(wrong(action, map, reason))
    }
}

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

pub(crate) fn describe(map: &MapFacts) -> String {
    format!("{} (\"{}\")", map.id, map.name)
}

pub(crate) fn wrong(action: &'static str, map: &MapFacts, reason: String) -> KernelError {
    KernelError::WrongMap { action, map: describe(map), map_type: map_type::name(map.map_type), reason }
}
