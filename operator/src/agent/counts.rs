//! How many programs and links there are for applications, as of the last look at each.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bpfman_apply::report::Report;

use bpfman_application::scope::ApplicationKey;

/// Programs and links by application.
#[derive(Debug, Default)]
pub struct Counts(Mutex<HashMap<ApplicationKey, (u64, u64)>>);

impl Counts {
    /// Notes those of one application.
    pub fn note(&self, key: &ApplicationKey, report: &Report) {
        let programs = report.programs.iter().filter(|program| program.id.is_some()).count();
        let links = report.programs.iter().flat_map(|program| &program.links);
        let links = links.filter(|link| link.id.is_some()).count();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(key.clone(), (programs as u64, links as u64));
    }

    /// Notes that one has none.
    pub fn forget(&self, key: &ApplicationKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// All programs, and all links.
    #[must_use]
    pub fn sum(&self) -> (u64, u64) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().fold((0, 0), |(programs, links), one| (programs + one.0, links + one.1))
    }
}
