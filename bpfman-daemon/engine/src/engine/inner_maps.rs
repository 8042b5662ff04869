//! Cache of the contents of maps of maps: finding them walks all programs of the machine, at any reader's request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bpfman_model::{MapId, ProgramId};

use crate::EngineError;
use crate::state::records::ProgramRecord;

/// Factor from the time of a walk to the lifetime of its result: requests use at most a twentieth of one CPU.
const GOOD_FOR: u32 = 20;
const MAX_AGE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub struct InnerMaps {
    pub lies_in: BTreeMap<MapId, Vec<MapId>>,
    pub users: BTreeMap<MapId, Vec<Arc<ProgramRecord>>>,
    /// Inner maps that third-party programs use directly, each with one of these programs.
    pub foreign: BTreeMap<MapId, ProgramId>,
    pub not_searched: Vec<MapId>,
}

#[derive(Debug, Default)]
pub struct FoundInnerMaps(Mutex<Option<Kept>>);

#[derive(Debug)]
struct Kept {
    found: Arc<InnerMaps>,
    until: Instant,
}

impl FoundInnerMaps {
    /// Returns the last result while it is fresh, or a new one, which concurrent callers share.
    pub fn get_or_find(
        &self,
        find: impl FnOnce() -> Result<InnerMaps, EngineError>,
    ) -> Result<Arc<InnerMaps>, EngineError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match kept.as_ref().filter(|kept| now < kept.until) {
            Some(Kept { found, .. }) => Ok(Arc::clone(found)),
            None => Self::find_into(&mut kept, find),
        }
    }

    pub fn find(
        &self,
        find: impl FnOnce() -> Result<InnerMaps, EngineError>,
    ) -> Result<Arc<InnerMaps>, EngineError> {
        Self::find_into(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), find)
    }

    fn find_into(
        kept: &mut Option<Kept>,
        find: impl FnOnce() -> Result<InnerMaps, EngineError>,
    ) -> Result<Arc<InnerMaps>, EngineError> {
        let began = Instant::now();
        let found = Arc::new(find()?);
        let now = Instant::now();
        let good_for = (now.duration_since(began) * GOOD_FOR).min(MAX_AGE);
        *kept = Some(Kept { found: Arc::clone(&found), until: now + good_for });
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn repeated_slow_search_is_shared() {
        let (maps, walks) = (FoundInnerMaps::default(), Cell::new(0));
        let slowly = || {
            walks.set(walks.get() + 1);
            std::thread::sleep(Duration::from_millis(50));
            Ok(InnerMaps::default())
        };
        let first = maps.get_or_find(slowly).unwrap();
        assert!(Arc::ptr_eq(&first, &maps.get_or_find(slowly).unwrap()));
        assert_eq!(walks.get(), 1);
        assert!(!Arc::ptr_eq(&first, &maps.find(slowly).unwrap()), "who decides by it gets a new one");
        let failing = FoundInnerMaps::default();
        assert!(failing.get_or_find(|| Err(EngineError::NoMapOfOurs(MapId(7)))).is_err());
        assert!(failing.get_or_find(slowly).is_ok());
    }
}
