//! How many entries a map has. The kernel does not tell: who wants to know has to read them.

use bpfmand_core::map_type::{HASH, HASH_OF_MAPS, LPM_TRIE, LRU_HASH, LRU_PERCPU_HASH, PERCPU_HASH};
use bpfmand_core::{MapFacts, MapId};
use bpfmand_kernel::{Kernel, MapPlace};

use crate::{Engine, EngineError};

/// Entries of a map, as they were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryCount {
    /// How many were read.
    pub entries: u64,
    /// Bytes of the keys and values that were read for that.
    pub bytes: u64,
    /// These are all.
    pub is_whole: bool,
}

/// Entries that a map may have to be counted.
///
/// The kernel has a bucket for each, and walks those that are empty within one call, without a pause and however few
/// entries were asked for: a tenant's empty table for a thousand million would hold a CPU for seconds.
const MOST_BUCKETS: u32 = 1 << 20;

/// True for maps whose entries come and go, and can be read at a bounded cost. All entries of an array are always there.
#[must_use]
pub const fn has_countable_entries(facts: &MapFacts) -> bool {
    let comes_and_goes =
        matches!(facts.map_type, HASH | LRU_HASH | PERCPU_HASH | LRU_PERCPU_HASH | LPM_TRIE | HASH_OF_MAPS);
    comes_and_goes && facts.max_entries <= MOST_BUCKETS
}

impl<K: Kernel> Engine<K> {
    /// Counts the entries of a map. Programs go on meanwhile: what comes and goes during that is counted or not. Reading
    /// by bpf(2) does not make an entry of an LRU map count as used.
    ///
    /// It ends behind about so many entries or bytes, and where programs change the map so fast that no walk comes to its
    /// end. None if the map is gone.
    ///
    /// # Errors
    /// The kernel refuses to let it be read.
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
