//! Index of pins, map folders and bytecode in use by programs.

use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;
use std::sync::Arc;

use bpfman_model::ProgramUid;

use crate::paths;
use crate::state::records::{MapRecord, PreviousRecord, ProgramRecord};

#[derive(Debug, Default)]
pub struct PinUsers {
    of_path: HashMap<String, Vec<ProgramUid>>,
    of_bytecode: HashMap<String, usize>,
}

impl PinUsers {
    pub fn add(&mut self, version: &ProgramRecord) {
        for path in version_paths(version) {
            self.of_path.entry(path).or_default().push(version.uid);
        }
        for blob in version.blobs() {
            *self.of_bytecode.entry(blob.as_str().to_owned()).or_default() += 1;
        }
    }

    pub fn remove(&mut self, version: &ProgramRecord) {
        for path in version_paths(version) {
            if let Some(holders) = self.of_path.get_mut(&path) {
                if let Some(at) = holders.iter().position(|uid| *uid == version.uid) {
                    holders.swap_remove(at);
                }
                if holders.is_empty() {
                    self.of_path.remove(&path);
                }
            }
        }
        for blob in version.blobs() {
            if let Some(count) = self.of_bytecode.get_mut(blob.as_str()) {
                *count -= 1;
                if *count == 0 {
                    self.of_bytecode.remove(blob.as_str());
                }
            }
        }
    }

    pub fn holders(&self, path: &str) -> &[ProgramUid] {
        self.of_path.get(path).map_or(&[], Vec::as_slice)
    }

    pub fn needs_bytecode(&self, blob: &str) -> bool {
        self.of_bytecode.contains_key(blob)
    }
}

/// Versions of programs before their last replacement. Changes go through its methods, which maintain the index.
#[derive(Debug, Default)]
pub struct Previous {
    all: BTreeMap<ProgramUid, Arc<PreviousRecord>>,
    pub holdings: PinUsers,
}

impl Deref for Previous {
    type Target = BTreeMap<ProgramUid, Arc<PreviousRecord>>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl Previous {
    pub fn insert(&mut self, uid: ProgramUid, previous: Arc<PreviousRecord>) {
        self.remove(&uid);
        self.holdings.add(&previous.program);
        self.all.insert(uid, previous);
    }

    pub fn remove(&mut self, uid: &ProgramUid) -> Option<Arc<PreviousRecord>> {
        let previous = self.all.remove(uid)?;
        self.holdings.remove(&previous.program);
        Some(previous)
    }
}

pub fn version_paths(version: &ProgramRecord) -> Vec<String> {
    let shared = version.maps.iter().filter_map(MapRecord::shared_pin);
    [paths::program(version.id), paths::maps(version.map_folder)]
        .into_iter()
        .chain(shared)
        .map(|path| path.display().to_string())
        .collect()
}
