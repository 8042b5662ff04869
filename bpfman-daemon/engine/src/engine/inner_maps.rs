//! What lies in maps of maps, as it was found last: whoever asks again soon gets the same answer.
//!
//! Finding it out walks all maps of maps of the daemon's programs, and all programs of the machine. Anybody who may read
//! may ask, as often as they like.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bpfmand_core::{MapId, ProgramId};

use crate::EngineError;
use crate::state::records::ProgramRecord;

/// An answer is good for so many times the time that finding it took: whoever asks all the time takes a twentieth of one
/// CPU, and on a machine with few maps nobody sees an old answer.
const GOOD_FOR: u32 = 20;
/// The longest that an answer is good for.
const LONGEST: Duration = Duration::from_secs(1);

/// What lies in maps of maps of programs of ours.
#[derive(Debug, Default)]
pub struct InnerMaps {
    /// In which.
    pub lies_in: BTreeMap<MapId, Vec<MapId>>,
    /// Programs that use those.
    pub users: BTreeMap<MapId, Vec<Arc<ProgramRecord>>>,
    /// Maps that programs of others use themselves, each with one of these.
    pub foreign: BTreeMap<MapId, ProgramId>,
    /// Maps of maps with more places than are looked through.
    pub not_searched: Vec<MapId>,
}

/// The last answer.
#[derive(Debug, Default)]
pub struct FoundInnerMaps(Mutex<Option<Kept>>);

#[derive(Debug)]
struct Kept {
    found: Arc<InnerMaps>,
    until: Instant,
}

impl FoundInnerMaps {
    /// The last answer while it is good, else a new one. Others wait for it meanwhile, and share it.
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

    /// A new answer, for who decides by it.
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
        let good_for = (now.duration_since(began) * GOOD_FOR).min(LONGEST);
        *kept = Some(Kept { found: Arc::clone(&found), until: now + good_for });
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn whoever_asks_again_at_once_shares_what_took_long_to_find() {
        let (maps, walks) = (FoundInnerMaps::default(), Cell::new(0));
        let slowly = || {
            walks.set(walks.get() + 1);
            // Its answer is good for a second.
            std::thread::sleep(Duration::from_millis(50));
            Ok(InnerMaps::default())
        };
        let first = maps.get_or_find(slowly).unwrap();
        assert!(Arc::ptr_eq(&first, &maps.get_or_find(slowly).unwrap()));
        assert_eq!(walks.get(), 1);
        assert!(!Arc::ptr_eq(&first, &maps.find(slowly).unwrap()), "who decides by it gets a new one");
        // A failure is nothing to share.
        let failing = FoundInnerMaps::default();
        assert!(failing.get_or_find(|| Err(EngineError::NoMapOfOurs(MapId(7)))).is_err());
        assert!(failing.get_or_find(slowly).is_ok());
    }
}
