//! Recovery of programs: finds them in the kernel, or loads them again from stored bytecode.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bpfman_model::{LoadLimits, MapId, OperationId, ProgramId, ProgramUid};
use bpfmand_kernel::{Kernel, LogRequest};

use crate::engine::RecoveryReport;
use crate::engine::map_sizes::MapSizes;
use crate::engine::pin_finding::PinFinding;
use crate::engine::undo::{retry_once, undoing};
use crate::guard::rules_of_program;
use crate::load::linked::LinkedLoad;
use crate::load::plan::{LoadPlan, LoadedProgram};
use crate::recover::passes::Pass;
use crate::state::records::{MapRecord, ProgramRecord};
use crate::state::{Changes, MapGroup, Renewed};
use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    pub(crate) fn recover_programs(&self, report: &mut RecoveryReport) -> HashSet<ProgramUid> {
        let all: Vec<Arc<ProgramRecord>> = self.state().programs.values().cloned().collect();
        // If two records have one id, a start was interrupted: the later record is the one of this boot.
        let mut newest: HashMap<ProgramId, OperationId> = HashMap::new();
        for program in &all {
            let newest = newest.entry(program.id).or_insert(program.operation);
            *newest = program.operation.max(*newest);
        }
        let mut lost: BTreeMap<OperationId, Vec<Arc<ProgramRecord>>> = BTreeMap::new();
        let mut without_boot = Vec::new();
        for program in all {
            let stale = newest.get(&program.id) != Some(&program.operation);
            match if stale { Ok(false) } else { self.is_still_loaded(&program) } {
                Ok(true) => {
                    report.adopted += 1;
                    let pinned = self.pin_maps_again(&program).map(drop);
                    report.note(format!("pinning the maps of program {} again", program.id), pinned);
                    if program.boot.is_empty() {
                        without_boot.push(program);
                    }
                }
                Ok(false) => lost.entry(program.operation).or_default().push(program),
                Err(error) => report.problems.push(format!("program {}: {error}", program.id)),
            }
        }
        let result = self.record_boot(&without_boot);
        report.note("recording the boot of programs", result);
        let reloaded = self.reload_all(order_of_reloads(lost), report);
        self.state().index_ids();
        reloaded
    }

    /// Returns the map owner, or, if it was removed, the first running program that shares its maps, or the program
    /// itself if its maps are still pinned.
    fn owner_of(&self, program: &Arc<ProgramRecord>) -> Result<Option<Arc<ProgramRecord>>, EngineError> {
        if let Some(owner) = program.map_owner_uid {
            let state = self.state();
            let shares = |other: &&Arc<ProgramRecord>| {
                other.map_owner_uid == Some(owner) && other.uid != program.uid && self.is_of_this_boot(other)
            };
            let successor = || state.programs.values().find(shares);
            let owner = state.programs.get(&owner).filter(|owner| owner.uid != program.uid);
            if let Some(owner) = owner.or_else(successor) {
                if self.is_of_this_boot(owner) {
                    return Ok(Some(Arc::clone(owner)));
                }
                // The owner's recorded map ids may belong to other maps now.
                let reason = "it was not loaded again itself".to_owned();
                return Err(EngineError::MapOwner { owner: owner.id, reason });
            }
        }
        Ok(self.keeps_maps(program)?.then(|| Arc::clone(program)))
    }

    pub(crate) fn is_of_this_boot(&self, program: &ProgramRecord) -> bool {
        program.boot.is_empty() || program.boot == self.boot
    }

    /// Returns whether the maps are still pinned. After a reboot, another program may have their folder.
    fn keeps_maps(&self, program: &ProgramRecord) -> Result<bool, EngineError> {
        let taken = self.state().programs.values().any(|other| {
            other.map_folder == program.map_folder
                && other.operation > program.operation
                && other.map_owner_uid != Some(program.uid)
        });
        let mut public = program.maps.iter().filter(|map| map.public).peekable();
        if taken || public.peek().is_none() {
            return Ok(false);
        }
        for map in public {
            let pin = paths::maps(program.map_folder).join(&map.name);
            let Some(id) = map.id else { continue };
            if self.find_map_at(&pin, id)? != PinFinding::Own {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns whether the kernel has the program, and restores its pin. An id of an earlier boot belongs to another
    /// program, even of the same bytecode; records without a boot are compared by id and tag alone.
    pub(crate) fn is_still_loaded(&self, program: &ProgramRecord) -> Result<bool, EngineError> {
        if !self.is_of_this_boot(program) {
            return Ok(false);
        }
        let found = self.find_program_of(program)?;
        if found == PinFinding::Own {
            return Ok(true);
        }
        match self.kernel.open_program(program.id)? {
            Some(handle) if self.kernel.program_of(&handle)?.tag == program.tag => {
                self.free_pin(&program.pin(), found)?;
                self.kernel.pin(&handle, &program.pin())?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn record_boot(&self, programs: &[Arc<ProgramRecord>]) -> Result<(), EngineError> {
        let mut changes = Changes::default();
        for old in programs {
            changes.put_program(ProgramRecord { boot: self.boot.clone(), ..(**old).clone() });
        }
        self.commit(changes).map(drop)
    }

    pub(super) fn read_lost(
        &self,
        programs: &[Arc<ProgramRecord>],
        pass: Pass,
    ) -> Result<LinkedLoad<'_>, EngineError> {
        let Some(first) = programs.first() else {
            return Err(EngineError::Fault("a load has no program".to_owned()));
        };
        self.check_may_run(first)?;
        let bytes = retry_once(|| Ok(self.blobs.get(&first.blob)?))?;
        let object = match pass {
            Pass::First => self.options.objects.read(bytes)?,
            Pass::Second => self.options.objects.read_again(bytes)?,
        };
        let requests =
            programs.iter().map(|program| self.request_again(program)).collect::<Result<Vec<_>, _>>()?;
        let object = object.sized(&MapSizes::recorded(&first.map_sizes))?;
        self.link_object(object, &requests).map(LinkedLoad::without_reader)
    }

    /// Loads the programs of one load again, under the same uids. An outer error means that no program was loaded. An
    /// inner error means that the programs were loaded and recorded, but their pins were not moved.
    pub(super) fn reload(
        &self,
        programs: &[Arc<ProgramRecord>],
        object: &LinkedLoad<'_>,
        renewed: &mut Renewed,
    ) -> Result<Result<(), EngineError>, EngineError> {
        let Some(first) = programs.first() else { return Ok(Ok(())) };
        let owner = self.owner_of(first)?;
        let operation = self.operation();
        let plan = LoadPlan {
            object,
            globals: first.global_data.clone(),
            owner: owner.clone(),
            inherited: inherited(first, renewed),
            tenant: rules_of_program(first),
            group: MapGroup::of(&first.owner(), &first.metadata),
            log: LogRequest::OnFailure,
            // An object that declares more than at its first load must fit the limits for any load.
            again: first.declared.is_none_or(|at_load| object.declares_no_more_than(at_load)),
            keeps_perfmon: !programs
                .iter()
                .any(|program| program.guard.as_ref().is_some_and(|guard| guard.without_perfmon)),
            limits: LoadLimits::default(),
        };
        let entries = undoing(|undo| {
            undo.push(|| self.undo_pending_of(operation));
            let loaded = self.load_pending(operation, &plan)?;
            self.record_reload(operation, (programs, object), loaded, owner.as_deref(), renewed)
        })?;
        self.step("recover", "move into place");
        Ok(retry_once(|| self.place_programs(operation, &entries)))
    }

    fn record_reload(
        &self,
        operation: OperationId,
        (programs, object): (&[Arc<ProgramRecord>], &LinkedLoad<'_>),
        loaded: Vec<LoadedProgram<K::Handle>>,
        owner: Option<&ProgramRecord>,
        renewed: &mut Renewed,
    ) -> Result<Vec<Arc<ProgramRecord>>, EngineError> {
        let mut changes = Changes::default();
        let mut entries = Vec::with_capacity(loaded.len());
        let mut members = Vec::with_capacity(loaded.len());
        let (texts, _) = self.keep_texts(object);
        for ((old, new), text) in programs.iter().zip(loaded).zip(texts) {
            note_renewed(old, &new.maps, renewed);
            members.push(new.member);
            let record = Arc::new(ProgramRecord {
                operation,
                origin: Some(old.load()),
                boot: self.boot.clone(),
                id: new.facts.id,
                tag: new.facts.tag,
                maps: new.maps,
                target: new.target,
                extends: new.extends,
                stack_depths: new.stack_depths,
                guard: new.guard,
                text,
                declared: Some(object.declared()),
                warnings: new.warnings,
                map_folder: match owner {
                    None => new.facts.id,
                    Some(owner) if Some(owner.uid) == programs.first().map(|first| first.uid) => {
                        old.map_folder
                    }
                    Some(owner) => owner.map_folder,
                },
                ..(**old).clone()
            });
            changes.put_program(Arc::clone(&record));
            entries.push(record);
        }
        self.step("recover", "record");
        self.commit(changes)?;
        entries.iter().zip(members).for_each(|(program, member)| self.keep_member(program, member));
        Ok(entries)
    }
}

/// Sorts loads: map owners first, by their smaller uids; extensions after the programs that they extend.
pub(super) fn order_of_reloads(
    loads: BTreeMap<OperationId, Vec<Arc<ProgramRecord>>>,
) -> Vec<Vec<Arc<ProgramRecord>>> {
    let mut loads: Vec<_> = loads.into_values().collect();
    loads.sort_by_key(|programs| {
        let first = programs.first().map(|program| program.uid);
        let extended = programs.iter().filter_map(|program| program.extended()).max();
        (first.max(extended), extended.is_some())
    });
    loads
}

fn note_renewed(old: &ProgramRecord, maps: &[MapRecord], renewed: &mut Renewed) {
    let origin = old.load();
    for map in old.maps.iter().filter(|map| map.public) {
        let new = maps.iter().find(|new| new.public && new.name == map.name);
        if let (Some(id), Some(new)) = (map.id, new.and_then(|new| new.id)) {
            renewed.entry((origin, map.name.clone(), id)).or_insert(new);
        }
    }
}

fn inherited(program: &ProgramRecord, renewed: &Renewed) -> BTreeMap<String, MapId> {
    let origin = program.load();
    let map = |map: &MapRecord| Some((map.name.clone(), *renewed.get(&(origin, map.name.clone(), map.id?))?));
    program.maps.iter().filter(|map| map.public).filter_map(map).collect()
}
