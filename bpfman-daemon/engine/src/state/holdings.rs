//! What programs hold - pins, folders of maps, bytecode - found without going through all programs.

use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;
use std::sync::Arc;

use bpfmand_core::ProgramUid;

use crate::paths;
use crate::state::records::{MapRecord, PreviousRecord, ProgramRecord};

/// Who holds what.
#[derive(Debug, Default)]
pub struct Holdings {
    of_path: HashMap<String, Vec<ProgramUid>>,
    of_bytecode: HashMap<String, usize>,
}

impl Holdings {
    /// A version of a program is recorded from now on.
    pub fn add(&mut self, version: &ProgramRecord) {
        for path in version_paths(version) {
            self.of_path.entry(path).or_default().push(version.uid);
        }
        for blob in version.blobs() {
            *self.of_bytecode.entry(blob.as_str().to_owned()).or_default() += 1;
        }
    }

    /// It is no more.
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

    /// Programs that hold a pin or a folder, in no order.
    pub fn holders(&self, path: &str) -> &[ProgramUid] {
        self.of_path.get(path).map_or(&[], Vec::as_slice)
    }

    /// True if a version is of these bytes, or has them for its text.
    pub fn needs_bytecode(&self, blob: &str) -> bool {
        self.of_bytecode.contains_key(blob)
    }
}

/// Versions of programs before their last replacement. Reads as the map that it holds; every change goes through the
/// methods here, which keep what they hold.
#[derive(Debug, Default)]
pub struct Previous {
    all: BTreeMap<ProgramUid, Arc<PreviousRecord>>,
    /// What these versions hold.
    pub holdings: Holdings,
}

impl Deref for Previous {
    type Target = BTreeMap<ProgramUid, Arc<PreviousRecord>>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl Previous {
    /// Adds or replaces a record.
    pub fn insert(&mut self, uid: ProgramUid, previous: Arc<PreviousRecord>) {
        self.remove(&uid);
        self.holdings.add(&previous.program);
        self.all.insert(uid, previous);
    }

    /// Forgets a record.
    pub fn remove(&mut self, uid: &ProgramUid) -> Option<Arc<PreviousRecord>> {
        let previous = self.all.remove(uid)?;
        self.holdings.remove(&previous.program);
        Some(previous)
    }
}

/// Pins and folders of a version.
pub fn version_paths(version: &ProgramRecord) -> Vec<String> {
    let shared = version.maps.iter().filter_map(MapRecord::shared_pin);
    [paths::program(version.id), paths::maps(version.map_folder)]
        .into_iter()
        .chain(shared)
        .map(|path| path.display().to_string())
        .collect()
}
