use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bpfman_model::ProgramUid;

use crate::state::State;

#[derive(Debug, Default)]
pub struct LoadWarnings(Mutex<HashMap<ProgramUid, Vec<String>>>);

impl LoadWarnings {
    pub fn note(&self, state: &State, loaded: impl Iterator<Item = (ProgramUid, Vec<String>)>) {
        let mut all = self.all();
        all.retain(|uid, _| state.programs.contains_key(uid));
        all.extend(loaded.filter(|(_, warnings)| !warnings.is_empty()));
    }

    pub fn of(&self, uid: ProgramUid) -> Vec<String> {
        self.all().get(&uid).cloned().unwrap_or_default()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<ProgramUid, Vec<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
