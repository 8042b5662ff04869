//! Programs and their maps: the records, with the kernel's facts beside them.

mod chains;
pub mod details;
pub mod details_chains;
mod explain;
mod findings;
mod foreign;
mod links;
pub mod list_hooks;
pub mod run_sample;
pub mod verify;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use bpfmand_core::{LinkId, ProgramFacts, ProgramId, ProgramUid, Selector};
use bpfmand_kernel::Kernel;

use crate::describe::details::{ManagedProgram, MapDetails, PreviousVersion, ProgramDetails, ProgramSource};
use crate::state::records::{ProgramRecord, SourceRecord};
use crate::state::{Loss, Standing, State, has_pair};
use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    /// Programs that a selector picks, by kernel id.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    pub fn list(&self, selector: &Selector) -> Result<Vec<ProgramDetails>, EngineError> {
        let ours_alone =
            selector.managed_only || !selector.metadata.is_empty() || selector.program_type.is_some();
        let mut ids: Vec<ProgramId> = self.state().by_id.keys().copied().collect();
        if !ours_alone {
            ids.extend(self.kernel.program_ids()?);
        }
        ids.sort_unstable();
        ids.dedup();
        let relations = Relations::of_all(&self.state());
        let mut found = Vec::new();
        for id in ids {
            let record = self.state().program(id).cloned();
            if let Some(record) = &record {
                let fits = selector.program_type.is_none_or(|wanted| wanted == record.program_type)
                    && selector.kernel_type.is_none_or(|wanted| wanted == record.program_type.kernel_type())
                    && selector.metadata.iter().all(|(key, value)| has_pair(&record.metadata, key, value));
                if !fits {
                    continue;
                }
            }
            // A program of someone else may go away between the list and this question.
            let facts = self.kernel.program(id)?;
            match (&record, &facts) {
                (None, None) => continue,
                (None, Some(facts))
                    if ours_alone
                        || selector.kernel_type.is_some_and(|wanted| wanted != facts.kernel_type) =>
                {
                    continue;
                }
                _ => {}
            }
            let managed = record.map(|record| self.managed(&record, facts.as_ref(), &relations));
            found.push(ProgramDetails { id, facts, managed });
        }
        Ok(found)
    }

    /// One program, of ours or of others.
    ///
    /// # Errors
    /// There is none of that id.
    pub fn describe_program(&self, id: ProgramId) -> Result<ProgramDetails, EngineError> {
        let record = self.state().program(id).cloned();
        let facts = self.kernel.program(id)?;
        if record.is_none() && facts.is_none() {
            return Err(EngineError::NoKernelProgram(id));
        }
        let managed = record.map(|record| {
            let relations = Relations::of(&self.state(), &record);
            self.managed(&record, facts.as_ref(), &relations)
        });
        Ok(ProgramDetails { id, facts, managed })
    }

    fn managed(
        &self,
        record: &ProgramRecord,
        facts: Option<&ProgramFacts>,
        relations: &Relations,
    ) -> ManagedProgram {
        let state = self.state();
        ManagedProgram {
            uid: record.uid,
            name: record.name.clone(),
            program_type: record.program_type,
            source: match &record.source {
                SourceRecord::File { path } => ProgramSource::File(PathBuf::from(path)),
                SourceRecord::Adopted { link, pin } => {
                    ProgramSource::Adopted { link: *link, pin: pin.as_ref().map(PathBuf::from) }
                }
                SourceRecord::Image { url, pull_policy, digest, verified_by, evidence } => {
                    ProgramSource::Image {
                        url: url.clone(),
                        pull_policy: *pull_policy,
                        digest: digest.clone(),
                        verified_by: verified_by.clone(),
                        evidence: evidence.clone(),
                    }
                }
            },
            // Of an adopted program nobody has the bytecode.
            bytecode_sha256: if record.is_adopted() {
                String::new()
            } else {
                record.blob.as_str().to_owned()
            },
            license: record.license.clone(),
            metadata: record.metadata.clone(),
            global_data: record.global_data.clone(),
            map_owner: record.map_owner,
            map_folder: paths::maps(record.map_folder),
            pin: paths::program(record.id),
            map_used_by: relations.users.get(&record.map_folder).cloned().unwrap_or_default(),
            links: relations.links.get(&record.uid).cloned().unwrap_or_default(),
            target: record.target.clone(),
            previous: state.previous.get(&record.uid).map(|previous| PreviousVersion {
                id: (previous.boot == self.boot).then_some(previous.program.id),
                bytecode_sha256: previous.program.blob.as_str().to_owned(),
            }),
            caller_uid: record.caller_uid,
            standing: match facts {
                None => Standing::lost(Loss::Unloaded),
                Some(facts) if facts.tag != record.tag => Standing::lost(Loss::OtherProgram),
                Some(_) => Standing::Running,
            },
        }
    }

    /// The maps of a program.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    pub fn maps_of(&self, program: &ProgramDetails) -> Result<Vec<MapDetails>, EngineError> {
        let Some(facts) = &program.facts else { return Ok(Vec::new()) };
        let records: Vec<Arc<ProgramRecord>> = self.state().programs.values().cloned().collect();
        let own = self.state().program(program.id).cloned();
        let mut maps = Vec::with_capacity(facts.map_ids.len());
        for id in &facts.map_ids {
            let Some(facts) = self.kernel.map(*id)? else { continue };
            let known = own.as_ref().and_then(|record| record.maps.iter().find(|map| map.id == *id));
            let folder = own.as_ref().map(|record| paths::maps(record.map_folder));
            maps.push(MapDetails {
                name: known.map_or_else(|| facts.name.clone(), |map| map.name.clone()),
                pin: known.filter(|map| map.public).zip(folder).map(|(map, folder)| folder.join(&map.name)),
                used_by: records
                    .iter()
                    .filter(|record| record.maps.iter().any(|map| map.id == *id))
                    .map(|record| record.id)
                    .collect(),
                facts,
            });
        }
        Ok(maps)
    }
}

/// Which programs use which map folder, and whose links there are: found in one look at all records, however many programs
/// are to be described.
struct Relations {
    /// Kernel ids, ascending.
    users: HashMap<ProgramId, Vec<ProgramId>>,
    /// By id.
    links: HashMap<ProgramUid, Vec<LinkId>>,
}

impl Relations {
    fn of_all(state: &State) -> Self {
        let mut users: HashMap<_, Vec<_>> = HashMap::new();
        for program in state.programs.values() {
            users.entry(program.map_folder).or_default().push(program.id);
        }
        users.values_mut().for_each(|ids| ids.sort_unstable());
        let mut links: HashMap<_, Vec<_>> = HashMap::new();
        for link in state.links.values() {
            links.entry(link.program).or_default().push(link.id);
        }
        Self { users, links }
    }

    fn of(state: &State, record: &ProgramRecord) -> Self {
        let users = state.users_of_folder(record.map_folder);
        let links = state.links_of(record.uid).map(|link| link.id).collect();
        Self { users: [(record.map_folder, users)].into(), links: [(record.uid, links)].into() }
    }
}
