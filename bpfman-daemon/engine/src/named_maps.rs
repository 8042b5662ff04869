//! Maps of an application, by the names that its users know: what is given to others.

use std::path::Path;
use std::sync::Arc;

use bpfmand_core::MapId;
use bpfmand_kernel::Kernel;

use crate::records::ProgramRecord;
use crate::{Engine, EngineError};

/// Metadata key of the name that an application's object has in Kubernetes.
pub const PROGRAM_NAME_KEY: &str = "bpfman.io/ProgramName";

/// A map that is held.
#[derive(Debug)]
pub struct NamedMap<H> {
    /// Name in the object.
    pub name: String,
    /// The kernel's id.
    pub id: MapId,
    /// Keeps it alive.
    pub handle: H,
}

/// Why maps cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamedMapsError {
    /// No program has the name.
    #[error("no program of \"{application}\" is loaded on this node")]
    NotLoaded {
        /// As asked for.
        application: String,
    },
    /// Programs have the name, and none of them is in the kernel.
    #[error("the programs of \"{application}\" are known on this node, but the kernel does not run them")]
    NotRunning {
        /// As asked for.
        application: String,
    },
    /// None of its programs has such a map.
    #[error("\"{application}\" has no map \"{map}\"; {}", if there.is_empty() { "it has none".to_owned() } else { format!("it has: {}", there.join(", ")) })]
    NoMap {
        /// As asked for.
        application: String,
        /// The map's name.
        map: String,
        /// The names that could have been asked for.
        there: Vec<String>,
    },
    /// Anything else.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl<K: Kernel> Engine<K> {
    /// Holds maps of an application. Programs of one load share all maps of their object, so any of them will do; where
    /// loads differ, each map is that of the program with the lowest id that has it. Only programs that the kernel runs
    /// count, and only maps that are pinned for applications: global variables are not.
    ///
    /// # Errors
    /// Nothing of that name is loaded, it has no such map, or the kernel refuses.
    pub fn maps_by_name(
        &self,
        application: &str,
        names: &[String],
    ) -> Result<Vec<NamedMap<K::Handle>>, NamedMapsError> {
        let programs = self.programs_of(application)?;
        let public = || programs.iter().flat_map(|program| program.maps.iter().filter(|map| map.public));
        let mut held = Vec::with_capacity(names.len());
        for name in names {
            let Some(map) = public().find(|map| map.name == *name) else {
                let mut there: Vec<String> = public().map(|map| map.name.clone()).collect();
                there.sort();
                there.dedup();
                return Err(NamedMapsError::NoMap {
                    application: application.to_owned(),
                    map: name.clone(),
                    there,
                });
            };
            let handle = self.kernel.open_map(map.id).map_err(EngineError::from)?;
            held.push(NamedMap { name: name.clone(), id: map.id, handle });
        }
        Ok(held)
    }

    /// Pins a held map at an absolute path, in a bpffs of others.
    ///
    /// # Errors
    /// The path is taken, or the kernel refuses.
    pub fn pin_for_others(&self, map: &NamedMap<K::Handle>, path: &Path) -> Result<(), EngineError> {
        Ok(self.kernel.pin(&map.handle, path)?)
    }

    /// True while programs can be loaded and changed: what is on disk is known.
    #[must_use]
    pub fn takes_changes(&self) -> bool {
        self.admit_changes().is_ok()
    }

    /// Programs of an application that the kernel runs, by id.
    fn programs_of(&self, application: &str) -> Result<Vec<Arc<ProgramRecord>>, NamedMapsError> {
        let mut known: Vec<Arc<ProgramRecord>> = {
            let state = self.state();
            let named = |program: &&Arc<ProgramRecord>| {
                program.metadata.get(PROGRAM_NAME_KEY).is_some_and(|name| name == application)
            };
            let all = state.programs.values().filter(named);
            all.filter(|program| !state.lost.contains(&program.uid)).cloned().collect()
        };
        if known.is_empty() {
            return Err(NamedMapsError::NotLoaded { application: application.to_owned() });
        }
        known.sort_unstable_by_key(|program| program.id);
        let mut running = Vec::with_capacity(known.len());
        for program in known {
            let facts = self.kernel.program(program.id).map_err(EngineError::from)?;
            if facts.is_some_and(|facts| facts.tag == program.tag) {
                running.push(program);
            }
        }
        if running.is_empty() {
            return Err(NamedMapsError::NotRunning { application: application.to_owned() });
        }
        Ok(running)
    }
}
