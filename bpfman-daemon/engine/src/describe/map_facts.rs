//! Cache of the kernel's facts about maps: their memory is only in a text file (fdinfo), which is slow to read. Each
//! reading refreshes a part of the maps, so that none is older than [`STAYS`] under continuous reading.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bpfman_model::{MapFacts, MapId};

const STAYS: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
pub struct KnownMaps {
    of: HashMap<MapId, (Arc<MapFacts>, Instant)>,
    last: Option<Instant>,
}

impl KnownMaps {
    /// Returns the facts of maps. Calls `ask` for new and oldest ones, and omits maps without facts.
    pub fn facts<E>(
        &mut self,
        now: Instant,
        maps: impl Iterator<Item = MapId>,
        mut ask: impl FnMut(MapId) -> Result<Option<MapFacts>, E>,
    ) -> Result<BTreeMap<MapId, Arc<MapFacts>>, E> {
        let mut before = std::mem::take(&mut self.of);
        let mut known = Vec::new();
        let mut missing = Vec::new();
        for id in maps {
            match before.remove(&id) {
                Some((facts, since)) => known.push((since, id, facts)),
                None => missing.push(id),
            }
        }
        known.sort_by_key(|(since, id, _)| (*since, *id));
        let due = self.due(now, known.len());
        missing.extend(known.iter().take(due).map(|(_, id, _)| *id));
        self.of.extend(known.into_iter().skip(due).map(|(since, id, facts)| (id, (facts, since))));
        for id in missing {
            if let Some(facts) = ask(id)? {
                self.of.insert(id, (Arc::new(facts), now));
            }
        }
        self.last = Some(now);
        Ok(self.of.iter().map(|(id, (facts, _))| (*id, Arc::clone(facts))).collect())
    }

    /// Returns the number of maps to refresh, in proportion to the time since the last reading: all after [`STAYS`].
    fn due(&self, now: Instant, known: usize) -> usize {
        let since = self.last.map_or(STAYS, |last| now.saturating_duration_since(last)).min(STAYS);
        let share = known as f64 * since.as_secs_f64() / STAYS.as_secs_f64();
        (share.ceil() as usize).min(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(id: MapId) -> MapFacts {
        MapFacts {
            id,
            name: String::new(),
            map_type: 1,
            key_size: 4,
            value_size: 4,
            max_entries: 1,
            flags: 0,
            bytes_memlock: 0,
            frozen: false,
        }
    }

    fn asked(known: &mut KnownMaps, begun: Instant, seconds: u64, maps: u32) -> Vec<u32> {
        let mut asked = Vec::new();
        let ask = |id: MapId| {
            asked.push(id.0);
            Ok::<_, ()>(Some(facts(id)))
        };
        let facts = known.facts(begun + Duration::from_secs(seconds), (1..=maps).map(MapId), ask);
        assert_eq!(facts.map(|facts| facts.len()), Ok(maps as usize));
        asked
    }

    #[test]
    fn each_map_is_asked_for_once_a_minute_and_never_all_at_once() {
        let (mut known, begun) = (KnownMaps::default(), Instant::now());
        assert_eq!(asked(&mut known, begun, 0, 8), (1..=8).collect::<Vec<_>>(), "all are new");
        assert_eq!(asked(&mut known, begun, 15, 8), [1, 2]);
        assert_eq!(asked(&mut known, begun, 30, 8), [3, 4]);
        assert_eq!(asked(&mut known, begun, 45, 8), [5, 6]);
        assert_eq!(asked(&mut known, begun, 60, 9), [9, 7, 8], "a new one, and the oldest");
        assert_eq!(asked(&mut known, begun, 75, 9), [1, 2, 3], "a quarter of nine, and no less");
        let mut all = asked(&mut known, begun, 1000, 9);
        all.sort_unstable();
        assert_eq!(all, (1..=9).collect::<Vec<_>>());
    }

    #[test]
    fn missing_map_is_left_out_and_error_is_reported() {
        let (mut known, now) = (KnownMaps::default(), Instant::now());
        let none = known.facts(now, [MapId(1)].into_iter(), |_| Ok::<_, ()>(None));
        assert_eq!(none.map(|facts| facts.len()), Ok(0));
        assert_eq!(known.facts(now, [MapId(1)].into_iter(), |_| Err("refused")).err(), Some("refused"));
    }
}
