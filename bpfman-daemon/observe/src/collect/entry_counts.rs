//! Entry counts of maps, determined outside of scrapes because counting reads all entries.
//!
//! A scrape returns earlier counts, and starts a new pass if they are old. A pass reads a bounded number of entries,
//! starting with the maps not counted for the longest time; with many large maps, a pass counts only some of them. Maps
//! that were too large come last, so that they do not delay others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bpfman_model::MapId;
use bpfmand_engine::{Engine, MapFigures, has_countable_entries};
use bpfmand_kernel::Kernel;

const STAYS: Duration = Duration::from_secs(30);
const OLD: Duration = Duration::from_secs(600);
const MAX_OF_MAP: u64 = 65_536;
/// Maximum number of entries per pass: some hundredths of a second of one CPU.
const MAX_OF_PASS: u64 = 4 * MAX_OF_MAP;
/// Maximum size of keys and values per pass, in bytes, since values may be large.
const MAX_BYTES: u64 = 64 << 20;
const MAX_BYTES_OF_MAP: u64 = MAX_BYTES / 4;

#[derive(Debug, Default)]
pub struct EntryCounts(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    of: HashMap<MapId, Try>,
    counting: bool,
    ended: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Try {
    /// `None` if the map had too many entries, or could not be read.
    entries: Option<u64>,
    at: Instant,
}

impl EntryCounts {
    /// Locks the counts. A panic cannot leave them inconsistent: each change is of one entry.
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn known(&self, now: Instant) -> HashMap<MapId, u64> {
        let counts = self.lock();
        let young = counts.of.iter().filter(|(_, tried)| now.duration_since(tried.at) < OLD);
        young.filter_map(|(id, tried)| Some((*id, tried.entries?))).collect()
    }

    /// Starts a pass over these maps in a thread, unless one is running or the last is recent.
    pub fn count_beside<K: Kernel>(self: &Arc<Self>, engine: &Arc<Engine<K>>, maps: &[MapFigures]) {
        let Some(order) = self.begin(maps, Instant::now()) else { return };
        let (counts, engine) = (Arc::clone(self), Arc::clone(engine));
        let pass = move || counts.pass(&engine, &order);
        if let Err(error) = std::thread::Builder::new().name("map-entries".to_owned()).spawn(pass) {
            tracing::warn!(%error, "entries of maps are not counted now: no thread can be started");
            self.lock().counting = false;
        }
    }

    fn begin(&self, maps: &[MapFigures], now: Instant) -> Option<Vec<MapId>> {
        let mut counts = self.lock();
        if counts.counting || counts.ended.is_some_and(|ended| now.duration_since(ended) < STAYS) {
            return None;
        }
        counts.of.retain(|id, _| maps.iter().any(|map| map.id == *id));
        let countable = maps.iter().filter(|map| has_countable_entries(&map.facts));
        let mut order: Vec<_> = countable.map(|map| map.id).collect();
        order.sort_by_key(|id| {
            let tried = counts.of.get(id);
            (tried.is_some_and(|tried| tried.entries.is_none()), tried.map(|tried| tried.at), *id)
        });
        counts.counting = !order.is_empty();
        counts.counting.then_some(order)
    }

    fn pass<K: Kernel>(&self, engine: &Engine<K>, order: &[MapId]) {
        let _ends = Ends(self);
        let (mut entries, mut bytes) = (0, 0);
        for id in order {
            if entries >= MAX_OF_PASS || bytes >= MAX_BYTES {
                break;
            }
            let counted = match engine.count_entries(*id, MAX_OF_MAP, MAX_BYTES_OF_MAP) {
                Ok(counted) => counted,
                Err(error) => {
                    tracing::debug!(map = id.0, %error, "entries of a map cannot be counted");
                    None
                }
            };
            entries += counted.map_or(0, |counted| counted.entries);
            bytes += counted.map_or(0, |counted| counted.bytes);
            let whole = counted.filter(|counted| counted.is_whole);
            let tried = Try { entries: whole.map(|counted| counted.entries), at: Instant::now() };
            self.lock().of.insert(*id, tried);
        }
    }
}

struct Ends<'a>(&'a EntryCounts);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        let mut counts = self.0.lock();
        (counts.counting, counts.ended) = (false, Some(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bpfman_model::{MapFacts, map_type};

    use super::*;

    fn map(id: u32, map_type: u32) -> MapFigures {
        let facts = MapFacts {
            id: MapId(id),
            name: String::new(),
            map_type,
            key_size: 4,
            value_size: 4,
            max_entries: 8,
            flags: 0,
            bytes_memlock: 0,
            frozen: false,
        };
        MapFigures {
            id: MapId(id),
            name: "flows".to_owned(),
            facts: Arc::new(facts),
            owners: BTreeSet::new(),
            programs: Vec::new(),
        }
    }

    #[test]
    fn maps_that_were_not_counted_for_the_longest_come_first() {
        let (counts, now) = (EntryCounts::default(), Instant::now());
        let maps = [map(1, map_type::HASH), map(2, map_type::ARRAY), map(3, map_type::LRU_HASH)];
        assert_eq!(counts.begin(&maps, now), Some(vec![MapId(1), MapId(3)]), "all of an array is there");
        assert_eq!(counts.begin(&maps, now), None, "one pass at a time");
        counts.lock().of.insert(MapId(1), Try { entries: Some(7), at: now });
        counts.lock().of.insert(MapId(9), Try { entries: Some(7), at: now });
        drop(Ends(&counts));
        assert_eq!(counts.begin(&maps, now), None, "the last is young enough");
        let later = Instant::now() + STAYS;
        assert_eq!(counts.begin(&maps, later), Some(vec![MapId(3), MapId(1)]));
        assert_eq!(counts.known(later), HashMap::from([(MapId(1), 7)]), "what is gone is forgotten");
        assert_eq!(counts.known(now + OLD), HashMap::new(), "a count does not stay for ever");
    }

    #[test]
    fn too_large_maps_come_last_no_matter_when_they_were_tried() {
        let (counts, now) = (EntryCounts::default(), Instant::now());
        let maps = [map(1, map_type::HASH), map(2, map_type::HASH)];
        counts.lock().of.insert(MapId(1), Try { entries: None, at: now });
        counts.lock().of.insert(MapId(2), Try { entries: Some(7), at: now + STAYS });
        assert_eq!(counts.begin(&maps, now + STAYS), Some(vec![MapId(2), MapId(1)]));
    }

    #[test]
    fn tables_for_very_many_entries_are_not_walked() {
        let mut large = map(1, map_type::HASH);
        large.facts = Arc::new(MapFacts { max_entries: (1 << 20) + 1, ..(*large.facts).clone() });
        assert_eq!(EntryCounts::default().begin(&[large], Instant::now()), None);
    }
}
