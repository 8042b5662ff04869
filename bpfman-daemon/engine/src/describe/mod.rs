//! Descriptions of programs, maps, links and hooks: the records, together with the kernel's facts.

mod chains;
pub mod details;
pub mod details_chains;
pub mod entry_counts;
pub mod figures;
pub mod figures_cache;
mod foreign;
pub mod group_programs;
mod inner_maps;
mod iterator;
mod links;
pub mod list_hooks;
mod map_facts;
pub mod open_maps;
pub mod own_objects;
pub mod owners;
pub mod record_counts;
pub mod replaced;
pub mod settled;
pub mod shown_maps;
pub mod summary;
pub mod verify;
pub mod writable_maps;

use std::sync::Arc;

use bpfman_model::{ProgramFacts, ProgramId, Selector};
use bpfmand_kernel::Kernel;

use crate::describe::details::{ManagedProgram, MapDetails, PreviousVersion, ProgramDetails};
use crate::standing::lacking;
use crate::state::records::ProgramRecord;
use crate::state::{Loss, Standing, has_pair};
use crate::{Engine, EngineError, paths};

struct Seen {
    record: Option<Arc<ProgramRecord>>,
    facts: Option<ProgramFacts>,
    standing: Standing,
}

impl<K: Kernel> Engine<K> {
    /// Returns the managed programs that have this pair in their metadata, by id, each with whether the kernel runs it.
    pub fn programs_with(
        &self,
        key: &str,
        value: &str,
    ) -> Result<Vec<(Arc<ProgramRecord>, bool)>, EngineError> {
        let mut found: Vec<(Arc<ProgramRecord>, bool)> = {
            let state = self.state();
            let all = state.programs.values();
            let named = all.filter(|program| program.metadata.get(key).is_some_and(|found| found == value));
            named.map(|program| (Arc::clone(program), !state.lost.contains(&program.uid))).collect()
        };
        found.sort_unstable_by_key(|(program, _)| program.id);
        for (program, runs) in &mut found {
            *runs = *runs && self.kernel.program(program.id)?.is_some_and(|facts| facts.tag == program.tag);
        }
        Ok(found)
    }

    /// Returns the selected programs, by kernel id.
    pub fn list(&self, selector: &Selector) -> Result<Vec<ProgramDetails>, EngineError> {
        let ours_alone = selector.managed_only || !selector.metadata.is_empty();
        // Only the kernel's type of a third-party program is known, which can correspond to several of bpfman's.
        let may_be = |kernel_type: u32| {
            selector.kernel_type.is_none_or(|wanted| wanted == kernel_type)
                && selector.program_type.is_none_or(|wanted| wanted.kernel_type() == kernel_type)
        };
        let mut ids: Vec<ProgramId> = self.state().by_id.keys().copied().collect();
        if !ours_alone {
            ids.extend(self.kernel.program_ids()?);
        }
        ids.sort_unstable();
        ids.dedup();
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
            let Seen { record, facts, standing } = self.seen(id, record)?;
            match (&record, &facts) {
                (None, None) => continue,
                (None, Some(facts)) if ours_alone || !may_be(facts.kernel_type) => continue,
                _ => {}
            }
            let managed = record.map(|record| self.managed(&record, standing));
            found.push(ProgramDetails { id, facts, managed });
        }
        Ok(found)
    }

    /// Returns one program, managed or third-party.
    pub fn describe_program(&self, id: ProgramId) -> Result<ProgramDetails, EngineError> {
        let record = self.state().program(id).cloned();
        let Seen { record, facts, standing } = self.seen(id, record)?;
        if record.is_none() && facts.is_none() {
            return Err(EngineError::NoKernelProgram(id));
        }
        let managed = record.map(|record| self.managed(&record, standing));
        Ok(ProgramDetails { id, facts, managed })
    }

    /// Describes a program that the caller has just loaded and holds.
    pub(crate) fn describe_loaded(&self, record: &Arc<ProgramRecord>, facts: ProgramFacts) -> ProgramDetails {
        let managed = self.managed(record, Standing::Running);
        ProgramDetails { id: record.id, facts: Some(facts), managed: Some(managed) }
    }

    /// Compares a program in the kernel with its record; a record that was removed meanwhile is ignored.
    fn seen(&self, id: ProgramId, record: Option<Arc<ProgramRecord>>) -> Result<Seen, EngineError> {
        let facts = self.kernel.program(id)?;
        let Some(before) = record else { return Ok(Seen { record, facts, standing: Standing::Running }) };
        if let Some(why) = self.state().lost.why(&before.uid) {
            // The kernel may have reused its former id.
            return Ok(Seen { record: Some(before), facts: None, standing: Standing::NotLoaded { why } });
        }
        let standing = match &facts {
            None => Standing::lost(Loss::Unloaded),
            Some(facts) if facts.tag != before.tag => Standing::lost(Loss::OtherProgram),
            Some(_) => match lacking(&self.missing_map_pins(&before)?) {
                Some(part) => Standing::torn(part),
                None => self.lacking_own_pin(&before)?.map_or(Standing::Running, Standing::torn),
            },
        };
        let has_ended = || self.state().program(id).is_none_or(|now| now.uid != before.uid);
        let record = (standing.is_running() || !has_ended()).then_some(before);
        Ok(Seen { record, facts, standing })
    }

    fn managed(&self, record: &Arc<ProgramRecord>, standing: Standing) -> ManagedProgram {
        let (excess, left) = (self.excess_of(record), self.left(record.budget.ends.as_ref()));
        let state = self.state();
        ManagedProgram {
            excess,
            left,
            map_used_by: state.users_of_folder(record.map_folder),
            links: state.links_of(record.uid).map(|link| link.id).collect(),
            previous: state.previous.get(&record.uid).map(|previous| PreviousVersion {
                id: (previous.boot == self.boot).then_some(previous.program.id),
                bytecode_sha256: previous.program.blob.as_str().to_owned(),
            }),
            standing,
            record: Arc::clone(record),
        }
    }

    pub fn maps_of(&self, program: &ProgramDetails) -> Result<Vec<MapDetails>, EngineError> {
        let Some(facts) = &program.facts else { return Ok(Vec::new()) };
        let records: Vec<Arc<ProgramRecord>> = self.state().programs.values().cloned().collect();
        let own = self.state().program(program.id).cloned();
        let mut maps = Vec::with_capacity(facts.map_ids.len());
        for id in &facts.map_ids {
            let Some(facts) = self.kernel.map(*id)? else { continue };
            let known = own.as_ref().and_then(|record| record.maps.iter().find(|map| map.id == Some(*id)));
            let folder = own.as_ref().map(|record| paths::maps(record.map_folder));
            maps.push(MapDetails {
                name: known.map_or_else(|| facts.name.clone(), |map| map.name.clone()),
                pin: known.filter(|map| map.public).zip(folder).map(|(map, folder)| folder.join(&map.name)),
                used_by: records
                    .iter()
                    .filter(|record| record.maps.iter().any(|map| map.id == Some(*id)))
                    .map(|record| record.id)
                    .collect(),
                facts,
            });
        }
        Ok(maps)
    }
}
