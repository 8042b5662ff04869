//! Numbers of entries of maps. The kernel does not report them: the entries must be read.

use bpfman_model::map_type::{HASH, HASH_OF_MAPS, LPM_TRIE, LRU_HASH, LRU_PERCPU_HASH, PERCPU_HASH};
use bpfman_model::{MapFacts, MapId};
use bpfmand_kernel::{Kernel, MapPlace};

use crate::{Engine, EngineError};

/// Result of a count of a map's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryCount {
    /// Number of entries that were read.
    pub entries: u64,
    /// Bytes of the keys and values that were read.
    pub bytes: u64,
    /// True if all entries were read.
    pub is_whole: bool,
}

/// Maximum capacity of a counted map. The kernel walks empty buckets within one call, without a pause: a tenant's empty
/// table for a thousand million entries would occupy a CPU for seconds.
const MAX_BUCKETS: u32 = 1 << 20;

/// Returns whether a map's entries come and go, and can be read at a bounded cost. Arrays are always full.
#[must_use]
pub const fn has_countable_entries(facts: &MapFacts) -> bool {
    let comes_and_goes =
        matches!(facts.map_type, HASH | LRU_HASH | PERCPU_HASH | LRU_PERCPU_HASH | LPM_TRIE | HASH_OF_MAPS);
    comes_and_goes && facts.max_entries <= MAX_BUCKETS
}

impl<K: Kernel> Engine<K> {
    /// Counts the entries of a map, while programs keep running; `None` if the map is gone. Stops after about
    /// `most_entries` entries or `most_bytes` bytes, or if the map changes too fast. Does not mark an entry of an LRU
    /// map as used.
    pub fn count_entries(
        &self,
        map: MapId,
        most_entries: u64,
        most_bytes: u64,
    ) -> Result<Option<EntryCount>, EngineError> {
        let handle = match self.kernel.open_map_to_read(map) {
            Ok(handle) => handle,
            Err(error) => return if self.kernel.map(map)?.is_none() { Ok(None) } else { Err(error.into()) },
        };
        let mut counted = EntryCount { entries: 0, bytes: 0, is_whole: true };
        let mut place = Some(MapPlace::default());
        while let Some(at) = place {
            let page = self.kernel.map_page(&handle, &at)?;
            counted.entries += page.count as u64;
            counted.bytes += (page.keys.len() + page.values.len()) as u64;
            place = page.next;
            let is_enough = counted.entries > most_entries || counted.bytes > most_bytes;
            if page.cut_short || is_enough && place.is_some() {
                return Ok(Some(EntryCount { is_whole: false, ..counted }));
            }
        }
        Ok(Some(counted))
    }
}
