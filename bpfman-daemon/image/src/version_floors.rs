//! Floors: the highest versions accepted so far, by repository and by rule. They forbid a rollback.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, PoisonError};

use bpfman_image_format::Digest;
use serde::{Deserialize, Serialize};

use crate::ImageError;
use crate::cache::{ImageCache, RECORD_LIMIT, read, storage};
use crate::version::Version;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FloorScope {
    Repository(String),
    Rule(String),
}

impl FloorScope {
    fn key(&self) -> String {
        match self {
            Self::Repository(name) => name.clone(),
            // Unambiguous: names of repositories contain no space.
            Self::Rule(pattern) => format!("rule {pattern}"),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Floor {
    name: String,
    annotation: String,
    version: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) annotation: String,
    pub(crate) version: Version,
    pub(crate) floors: BTreeSet<FloorScope>,
    pub(crate) raises: BTreeSet<FloorScope>,
}

impl ImageCache {
    pub(crate) fn forbidding(&self, offer: &Offer) -> Result<Option<Version>, ImageError> {
        let mut highest = None;
        for floor in &offer.floors {
            highest = highest.max(self.floor(floor, &offer.annotation)?);
        }
        Ok(highest.filter(|highest| offer.version < *highest))
    }

    pub(crate) fn accept(self: &Arc<Self>, offer: &Offer) -> Result<Option<Version>, ImageError> {
        let _one = self.floors_lock().lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(version) = self.forbidding(offer)? {
            return Ok(Some(version));
        }
        for floor in offer.floors.union(&offer.raises) {
            if self.floor(floor, &offer.annotation)?.is_none_or(|known| known < offer.version) {
                let (name, annotation) = (floor.key(), offer.annotation.clone());
                let path = self.floor_path(floor, &offer.annotation);
                self.record(&path, &Floor { name, annotation, version: offer.version.to_string() })?;
            }
        }
        self.settle()?;
        Ok(None)
    }

    fn floor(&self, of: &FloorScope, annotation: &str) -> Result<Option<Version>, ImageError> {
        let path = self.floor_path(of, annotation);
        let Some(bytes) = read(&path, RECORD_LIMIT)? else { return Ok(None) };
        // An unreadable record must not allow a rollback.
        let damaged = || storage(&path)(io::Error::new(io::ErrorKind::InvalidData, "the record is damaged"));
        let floor: Floor = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
        floor.version.parse().map(Some).map_err(|_| damaged())
    }

    fn floor_path(&self, of: &FloorScope, annotation: &str) -> std::path::PathBuf {
        let key = Digest::of(format!("{}\n{annotation}", of.key()).as_bytes()).hex();
        self.root().join("floors").join(key)
    }
}
