//! Replace a load: a new version of all programs of one load in the place of the old ones, as one operation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bpfmand_core::{HookKey, LoadRequest, OperationId, ProgramId};
use bpfmand_kernel::{Kernel, LogRequest};
use bpfmand_object::ObjectFile;

use crate::describe::details::ProgramDetails;
use crate::engine::locks::{Held, Subject};
use crate::engine::undo::{retry_once, undoing};
use crate::load::Bytecode;
use crate::load::plan::LoadPlan;
use crate::replace::load_pairs::Pairing;
use crate::replace::maps::Fates;
use crate::replace::switch::{Change, Pair};
use crate::replace::{MapOutcome, MapPolicy, Overlay};
use crate::state::records::{LinkRecord, ProgramRecord};
use crate::state::{BlobId, Committed, MapGroup, Uncleared};
use crate::{Engine, EngineError};

/// A new version of a load.
#[derive(Clone, Debug)]
pub struct ReplaceLoadRequest {
    /// All programs of the load that is replaced.
    pub programs: Vec<ProgramId>,
    /// The new version. Its programs may be others. Where the old one shares the maps of a program, so does the new one.
    pub load: LoadRequest,
    /// What becomes of the maps.
    pub maps: MapPolicy,
}

/// What a replacement of a load did.
#[derive(Debug)]
pub struct ReplaceLoadOutcome {
    /// One entry a program, in the order of the request.
    pub programs: Vec<ProgramDetails>,
    /// One entry a map that applications see, in the order of the object.
    pub maps: Vec<MapOutcome>,
    /// Links that run a new version now.
    pub links_switched: usize,
    /// Old programs that had no new version.
    pub programs_removed: usize,
}

/// A load that nobody else changes, attaches or detaches now.
pub struct LockedLoad {
    _held: Vec<Held>,
    /// Its programs, by uid.
    pub old: Vec<Arc<ProgramRecord>>,
    /// Where they are attached.
    pub links: Vec<Arc<LinkRecord>>,
}

impl<K: Kernel> Engine<K> {
    /// Replaces all programs of a load by a new version.
    ///
    /// A program of the same name and type goes on: its uid and its links stay. One that has no new version leaves with
    /// its links; one that had no old version is loaded and nothing else. The new programs have the metadata of the
    /// request and one set of maps.
    ///
    /// Each hook of a chain switches once, atomically, all members of the load at the same moment: no packet meets one of
    /// the old version and one of the new. Hooks switch one after another. Links of tcx programs are updated one by one:
    /// where several programs of one load have links of their own at one hook, packets meet old and new for a moment.
    /// Links of trace points, probes, fentry, fexit and LSM cannot be updated by the kernel: the new version is attached
    /// before the old one ends.
    ///
    /// The old version is not kept: going back is another replacement, by the earlier bytecode.
    ///
    /// # Errors
    /// See [`EngineError`]; the old version stays everywhere then.
    pub fn replace_load(&self, request: &ReplaceLoadRequest) -> Result<ReplaceLoadOutcome, EngineError> {
        crate::load::check(&request.load)?;
        self.begin()?;
        // What makes no sense is said before a registry is asked.
        self.whole_load(&request.programs)?;
        let bytecode = self.fetch(&request.load)?;
        let origin = crate::load::origin(&request.load.source);
        let locked = self.lock_load(&request.programs)?;
        self.replace_load_by(&locked, request, &bytecode).map_err(|error| error.of(&origin))
    }

    /// Locks the programs of a load with all hooks where they are attached.
    fn lock_load(&self, ids: &[ProgramId]) -> Result<LockedLoad, EngineError> {
        self.admit_changes()?;
        // As for an unload: the map folders of what leaves must not be given out meanwhile.
        let mut held = vec![self.lock(Subject::SharedMaps)];
        let seen = self.whole_load(ids)?;
        held.extend(seen.iter().map(|program| self.lock(Subject::Program(program.uid))));
        // Others may have changed them before they were locked.
        let old = self.whole_load(ids)?;
        let uids = |programs: &[Arc<ProgramRecord>]| programs.iter().map(|p| p.uid).collect::<Vec<_>>();
        if uids(&seen) != uids(&old) {
            return Err(EngineError::Invalid("the load was changed by another request meanwhile".to_owned()));
        }
        let (links, hooks) = self.lock_links(&old);
        held.extend(hooks);
        Ok(LockedLoad { _held: held, old, links })
    }

    fn replace_load_by(
        &self,
        locked: &LockedLoad,
        request: &ReplaceLoadRequest,
        bytecode: &Bytecode,
    ) -> Result<ReplaceLoadOutcome, EngineError> {
        let load = &request.load;
        let object = ObjectFile::parse(Arc::clone(&bytecode.bytes))?;
        let pairing = Pairing::of(&locked.old, load, &object)?;
        let owner = self.owner_of_load(&locked.old, load.map_owner)?;
        let fates = self.load_fates(&locked.old, owner, &object, request.maps)?;
        self.keep_maps_of_sharers(&locked.old, &pairing, &fates)?;
        let operation = self.operation();
        let before: Vec<_> = {
            let state = self.state();
            locked.old.iter().filter_map(|program| state.previous.get(&program.uid).cloned()).collect()
        };
        // No unload may remove this bytecode between here and its record.
        let kept = self.keep_bytecode();
        let load = || self.load_versions(operation, locked, load, bytecode, &object, &pairing, &fates);
        let result = self.switch_load(operation, locked, &pairing, &fates, load);
        drop(kept);
        // What is still needed stays: the new one too, unless it was refused.
        self.drop_bytecode(&BlobId::of(&bytecode.bytes));
        locked.old.iter().for_each(|program| self.drop_bytecode(&program.blob));
        before.iter().for_each(|before| self.drop_bytecode(&before.program.blob));
        result
    }

    /// Loads the new versions, below `pending`, and makes their records.
    #[expect(clippy::too_many_arguments, reason = "the parts of one plan, each made by another step before")]
    fn load_versions(
        &self,
        operation: OperationId,
        locked: &LockedLoad,
        load: &LoadRequest,
        bytecode: &Bytecode,
        object: &ObjectFile,
        pairing: &Pairing,
        fates: &Fates,
    ) -> Result<Vec<Arc<ProgramRecord>>, EngineError> {
        let plan = LoadPlan {
            object,
            programs: &load.programs,
            globals: &load.global_data,
            owner: fates.owner.clone(),
            inherited: fates.kept(),
            group: MapGroup::of(&load.metadata),
            log: if load.verifier_log { LogRequest::Always } else { LogRequest::OnFailure },
            again: false,
        };
        let loaded = self.load_pending(operation, &plan)?;
        self.step("replace", "keep bytecode");
        let blob = self.blobs.put(&bytecode.bytes)?;
        let first = locked.old.first();
        let record = |((wanted, loaded), old): (_, &Option<Arc<ProgramRecord>>)| {
            let (wanted, loaded): (&bpfmand_core::ProgramRequest, crate::load::plan::LoadedProgram) =
                (wanted, loaded);
            Arc::new(ProgramRecord {
                uid: old.as_ref().map_or_else(|| bpfmand_core::ProgramUid(self.number()), |old| old.uid),
                operation,
                origin: None,
                name: wanted.name.clone(),
                program_type: loaded.program_type,
                source: bytecode.source.clone(),
                blob: blob.clone(),
                license: object.license().to_owned(),
                metadata: load.metadata.clone(),
                global_data: load.global_data.clone(),
                map_owner: load.map_owner.or_else(|| first.and_then(|first| first.map_owner)),
                map_owner_uid: first.and_then(|first| first.map_owner_uid),
                target: loaded.target,
                caller_uid: load.caller_uid,
                boot: self.boot.clone(),
                id: loaded.id,
                tag: loaded.tag,
                map_folder: fates.owner.as_ref().map_or(loaded.id, |owner| owner.map_folder),
                maps: loaded.maps,
                stack_depths: loaded.stack_depths,
            })
        };
        Ok(load.programs.iter().zip(loaded).zip(&pairing.successors).map(record).collect())
    }

    /// Puts the new versions, which `load` loads below `pending`, into all places of the old ones, and records them.
    fn switch_load(
        &self,
        operation: OperationId,
        locked: &LockedLoad,
        pairing: &Pairing,
        fates: &Fates,
        load: impl FnOnce() -> Result<Vec<Arc<ProgramRecord>>, EngineError>,
    ) -> Result<ReplaceLoadOutcome, EngineError> {
        let leaving: Vec<_> =
            locked.links.iter().filter(|link| pairing.is_removed(link.program)).cloned().collect();
        // Before what undoes it, so that they outlive that.
        let (mut built, mut _overlay) = (Vec::new(), None);
        let (new, pairs, switched, committed) = undoing(|undo| {
            undo.push(|| self.undo_pending_of(operation));
            let new = load()?;
            let pairs = pairs(locked, &new, pairing);
            _overlay = Some(Overlay::put(self, pairs.iter().map(|pair| &pair.new)));
            let fates = new.first().map(|first| (fates, &**first));
            let change = Change { pairs: &pairs, leaving: &leaving, fates };
            let mut switched = self.switch(&change, &mut built, undo)?;
            switched.leftover = self.leave_load(&locked.old, &new, switched.leftover);
            self.step("replace", "record");
            let committed = self.commit_load(operation, &new, &pairing.removed, &leaving, &switched)?;
            Ok::<_, EngineError>((new, pairs, switched, committed))
        })?;
        pairing.removed.iter().for_each(|program| self.members.remove(program.uid));
        drop(_overlay);
        self.step("replace", "move into place");
        retry_once(|| self.place_replaced_links(operation))?;
        retry_once(|| self.place_programs(operation, &new))?;
        self.settle_chains(built)?;
        let left: BTreeSet<HookKey> = leaving.iter().filter_map(|link| link.hook).collect();
        let hooks = left.iter().copied().collect();
        let Committed { operations, ended } = committed;
        let waiting = Uncleared { operations, leftover: switched.leftover, hooks, ended };
        let cleared = self.clear_or_wait("replace", waiting);
        left.iter().for_each(|key| self.keep_order(key));
        cleared?;
        let describe = |program: &Arc<ProgramRecord>| retry_once(|| self.describe_program(program.id));
        Ok(ReplaceLoadOutcome {
            programs: new.iter().map(describe).collect::<Result<_, _>>()?,
            maps: switched.maps,
            links_switched: pairs.iter().map(|pair| pair.links.len()).sum(),
            programs_removed: pairing.removed.len(),
        })
    }
}

/// Programs that go on, with their links.
fn pairs(locked: &LockedLoad, new: &[Arc<ProgramRecord>], pairing: &Pairing) -> Vec<Pair> {
    let mut links: BTreeMap<_, Vec<Arc<LinkRecord>>> = BTreeMap::new();
    for link in &locked.links {
        links.entry(link.program).or_default().push(Arc::clone(link));
    }
    let pair = |(new, old): (&Arc<ProgramRecord>, &Option<Arc<ProgramRecord>>)| {
        let old = Arc::clone(old.as_ref()?);
        Some(Pair { links: links.remove(&old.uid).unwrap_or_default(), old, new: Arc::clone(new) })
    };
    new.iter().zip(&pairing.successors).filter_map(pair).collect()
}
