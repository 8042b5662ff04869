//! Replace: a new version of a program takes the place of the old one, wherever it is attached, and can be taken back.

pub mod load;
mod load_maps;
mod load_pairs;
mod load_record;
mod maps;
mod switch;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bpfmand_core::{BytecodeSource, LoadRequest, OperationId, ProgramId, ProgramRequest, ProgramUid};
use bpfmand_kernel::{Kernel, LogRequest};
use bpfmand_object::ObjectFile;

use crate::describe::details::ProgramDetails;
use crate::engine::locks::Subject;
use crate::engine::undo::{retry_once, undoing};
use crate::load::Bytecode;
use crate::load::plan::{LoadPlan, LoadedProgram};
use crate::replace::maps::Fates;
use crate::replace::switch::{Change, Pair};
use crate::state::records::{LeftoverRecord, LinkRecord, MapRecord, PreviousRecord, ProgramRecord};
use crate::state::{BlobId, Changes, MapGroup, Uncleared, version_paths};
use crate::{Engine, EngineError, paths};

/// What becomes of the maps of a program that is replaced. Maps of global variables are always new: their contents
/// are the new version's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MapPolicy {
    /// Maps of the same name, type, sizes, flags and BTF go on; others that differ only in their number of entries are
    /// copied; anything else is an error.
    #[default]
    Keep,
    /// Only maps that are the same go on; anything else is an error.
    ReuseOnly,
    /// All maps are new and empty, except those that are shared by name.
    Fresh,
}

/// A new version of a program.
#[derive(Clone, Debug)]
pub struct ReplaceRequest {
    /// Which program is replaced.
    pub program: ProgramId,
    /// Where the new bytecode is.
    pub source: BytecodeSource,
    /// Function name in the new object; none: as it was.
    pub name: Option<String>,
    /// Bytes of global variables by name.
    pub global_data: BTreeMap<String, Vec<u8>>,
    /// What becomes of its maps.
    pub maps: MapPolicy,
    /// Keep the old version loaded, for [`Engine::rollback_program`].
    pub keep_old: bool,
    /// User id of the caller.
    pub caller_uid: u32,
}

/// What became of one map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapOutcome {
    /// Its name in the new object.
    pub name: String,
    /// What became of it.
    pub fate: MapFate,
}

/// What becomes of a map of a program that is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapFate {
    /// The new version uses the very map.
    Kept,
    /// The new version has one of another size, into which this many entries were copied.
    Copied(u64),
    /// The new version has a new one.
    New,
}

impl MapFate {
    /// "kept", "copied" or "new".
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Copied(_) => "copied",
            Self::New => "new",
        }
    }
}

/// What a replacement did.
#[derive(Debug)]
pub struct ReplaceOutcome {
    /// The program as it is now: its uid and links stayed, its kernel id is new.
    pub program: ProgramDetails,
    /// The version that can be taken back, by the kernel's id.
    pub previous: Option<ProgramId>,
    /// One entry a map that applications see, in the order of the object; none after a rollback to a version that was
    /// still loaded, with its own maps.
    pub maps: Vec<MapOutcome>,
    /// Links that run the other version now.
    pub links_switched: usize,
}

impl<K: Kernel> Engine<K> {
    /// Replaces a program by a new version, in all places where it is attached. Its uid and its links stay.
    ///
    /// Each hook switches atomically: a packet meets the old chain or the new one. Hooks switch one after another, so
    /// for some milliseconds some run the new version and others the old one. Links of trace points, probes, fentry,
    /// fexit and LSM cannot be updated by the kernel: the new version is attached before the old one ends, and for that
    /// moment both run. Entries of copied maps that the old version changes between the copy and the switch are lost.
    ///
    /// The old version stays loaded, pinned and with its maps until it is taken back, or the program is replaced or
    /// unloaded, unless the request says otherwise.
    ///
    /// # Errors
    /// See [`EngineError`]; the old version stays everywhere then.
    pub fn replace_program(&self, request: &ReplaceRequest) -> Result<ReplaceOutcome, EngineError> {
        self.begin()?;
        let seen = self.state().program(request.program).cloned();
        let seen = seen.ok_or(EngineError::NoProgram(request.program))?;
        let load = as_load(request, &seen);
        crate::load::check(&load)?;
        let bytecode = self.fetch(&load)?;
        let origin = crate::load::origin(&request.source);
        let locked = self.lock_version(request.program)?;
        self.replace_by(&locked, request.maps, request.keep_old, &load, &bytecode)
            .map_err(|error| error.of(&origin))
    }

    /// Takes the version before the last replacement back; the one that leaves can be taken back in turn.
    ///
    /// A version that is still loaded goes on with its own maps, as they are: what was written into copies since is not
    /// in them. One that a reboot ended is loaded again, and keeps maps as [`MapPolicy::Keep`] says.
    ///
    /// # Errors
    /// See [`EngineError`]; the present version stays everywhere then.
    pub fn rollback_program(&self, id: ProgramId) -> Result<ReplaceOutcome, EngineError> {
        self.begin()?;
        let locked = self.lock_version(id)?;
        let previous = self.state().previous.get(&locked.old.uid).cloned();
        let previous = previous.ok_or_else(|| {
            EngineError::Invalid(format!(
                "program {id} has no earlier version that could be taken back; a load that was replaced as a whole \
                 goes back by being replaced as a whole with the earlier bytecode"
            ))
        })?;
        let record = &previous.program;
        self.check_comes_back(record)?;
        if previous.boot == self.boot && self.is_loaded(record)? {
            let operation = self.operation();
            let new = ProgramRecord { operation, boot: self.boot.clone(), ..record.clone() };
            return self.switch_versions(&locked, operation, None, true, || {
                self.kernel.make_folder(&paths::pending(operation))?;
                Ok(new)
            });
        }
        let load = LoadRequest {
            source: BytecodeSource::File(std::path::PathBuf::new()),
            programs: vec![wanted(record, None)],
            metadata: BTreeMap::new(),
            global_data: record.global_data.clone(),
            map_owner: None,
            verifier_log: false,
            caller_uid: record.caller_uid,
        };
        let bytecode = Bytecode { bytes: self.blobs.get(&record.blob)?, source: record.source.clone() };
        self.replace_by(&locked, MapPolicy::Keep, true, &load, &bytecode)
    }

    /// True if the kernel still has a version as recorded, at its pin.
    fn is_loaded(&self, record: &ProgramRecord) -> Result<bool, EngineError> {
        let Some(pin) = self.kernel.open_pin(&paths::program(record.id))? else { return Ok(false) };
        let facts = self.kernel.program_of(&pin)?;
        Ok(facts.id == record.id && facts.tag == record.tag)
    }

    /// Locks a program with all hooks where it is attached.
    fn lock_version(&self, id: ProgramId) -> Result<LockedVersion, EngineError> {
        // As for an unload: the map folders of versions that leave must not be given out meanwhile.
        let mut held = vec![self.lock(Subject::SharedMaps)];
        let (program, old) = self.lock_program(id)?;
        held.push(program);
        if self.state().lost.contains(&old.uid) {
            return Err(EngineError::Invalid(format!(
                "program {id} (\"{}\") could not be loaded again after a reboot, so there is nothing to replace; \
                 unload it and load the new version",
                old.name
            )));
        }
        let (links, hooks) = self.lock_links(std::slice::from_ref(&old));
        held.extend(hooks);
        Ok(LockedVersion { _held: held, old, links })
    }

    fn replace_by(
        &self,
        locked: &LockedVersion,
        policy: MapPolicy,
        keep_old: bool,
        load: &LoadRequest,
        bytecode: &Bytecode,
    ) -> Result<ReplaceOutcome, EngineError> {
        let old = &locked.old;
        let object = ObjectFile::parse(Arc::clone(&bytecode.bytes))?;
        let fates = self.map_fates(old, &object, policy)?;
        let operation = self.operation();
        let plan = LoadPlan {
            object: &object,
            programs: &load.programs,
            globals: &load.global_data,
            owner: fates.owner.clone(),
            inherited: fates.kept(),
            group: MapGroup::of(&old.metadata),
            log: LogRequest::OnFailure,
            again: false,
        };
        let before = self.state().previous.get(&old.uid).cloned();
        // No unload may remove this bytecode between here and its record.
        let kept = self.keep_bytecode();
        let result = self.switch_versions(locked, operation, Some(&fates), keep_old, || {
            let mut all = self.load_pending(operation, &plan)?;
            let blob = self.blobs.put(&bytecode.bytes)?;
            let loaded = all.pop().ok_or(EngineError::NoProgram(old.id))?;
            same_kind(old, &loaded)?;
            let name = load.programs.first().map(|program| program.name.clone());
            Ok(ProgramRecord {
                operation,
                origin: Some(old.origin.unwrap_or(old.operation)),
                name: name.unwrap_or_else(|| old.name.clone()),
                source: bytecode.source.clone(),
                blob,
                license: object.license().to_owned(),
                global_data: load.global_data.clone(),
                caller_uid: load.caller_uid,
                boot: self.boot.clone(),
                id: loaded.id,
                tag: loaded.tag,
                map_folder: fates.owner.as_ref().map_or(loaded.id, |owner| owner.map_folder),
                maps: loaded.maps,
                stack_depths: loaded.stack_depths,
                ..(**old).clone()
            })
        });
        drop(kept);
        // What is still needed stays: the version before, and the new one unless it was refused.
        self.drop_bytecode(&BlobId::of(&bytecode.bytes));
        self.drop_bytecode(&old.blob);
        if let Some(before) = before {
            self.drop_bytecode(&before.program.blob);
        }
        result
    }

    /// Puts another version of a program, which `load` loads below `pending`, into all its places, and records it.
    fn switch_versions(
        &self,
        locked: &LockedVersion,
        operation: OperationId,
        fates: Option<&Fates>,
        keep_old: bool,
        load: impl FnOnce() -> Result<ProgramRecord, EngineError>,
    ) -> Result<ReplaceOutcome, EngineError> {
        // Before what undoes it, so that they outlive that.
        let (mut built, mut _overlay) = (Vec::new(), None);
        let (new, switched, versions, committed) = undoing(|undo| {
            undo.push(|| self.undo_pending_of(operation));
            let new = Arc::new(load()?);
            _overlay = Some(Overlay::put(self, [&new]));
            let pair =
                Pair { old: Arc::clone(&locked.old), new: Arc::clone(&new), links: locked.links.clone() };
            let change = Change { pairs: &[pair], leaving: &[], fates: fates.map(|fates| (fates, &*new)) };
            let switched = self.switch(&change, &mut built, undo)?;
            let versions = self.versions(&locked.old, &new, keep_old);
            let mut changes = Changes::default();
            changes.put_program(Arc::clone(&new));
            changes.set_previous(new.uid, versions.previous.clone());
            switched.hooks.iter().for_each(|hook| changes.put_hook(hook.clone()));
            if let Some(leftover) = &versions.leftover {
                changes.leave(operation, leftover.clone());
            }
            self.step("replace", "record");
            let committed = self.commit(changes)?;
            Ok::<_, EngineError>((new, switched, versions, committed))
        })?;
        drop(_overlay);
        self.step("replace", "move into place");
        retry_once(|| self.place_replaced_links(operation))?;
        retry_once(|| self.place_programs(operation, std::slice::from_ref(&new)))?;
        self.settle_chains(built)?;
        if let Some(leftover) = versions.leftover {
            self.clear_or_wait("replace", Uncleared::without_hooks(committed.operations, leftover))?;
        }
        Ok(ReplaceOutcome {
            program: retry_once(|| self.describe_program(new.id))?,
            previous: versions.previous.map(|previous| previous.program.id),
            maps: switched.maps,
            links_switched: locked.links.len(),
        })
    }

    /// Which versions stay and which leave.
    fn versions(&self, old: &ProgramRecord, new: &ProgramRecord, keep_old: bool) -> Versions {
        let before = self.state().previous.get(&old.uid).cloned();
        // Taken back: the two change places.
        let before = before.filter(|before| before.program.id != new.id || before.boot != self.boot);
        let previous = keep_old.then(|| PreviousRecord { program: old.clone(), boot: self.boot.clone() });
        let mut leaving: Vec<&ProgramRecord> =
            before.iter().filter(|before| before.boot == self.boot).map(|before| &before.program).collect();
        if !keep_old {
            leaving.push(old);
        }
        let staying: Vec<&ProgramRecord> =
            std::iter::once(new).chain(previous.iter().map(|previous| &previous.program)).collect();
        let leftover = (!leaving.is_empty()).then(|| self.leave_versions(&leaving, &staying));
        Versions { previous, leftover }
    }

    /// What goes with versions of programs, but not with those that stay or with anybody else.
    pub(crate) fn leave_versions(
        &self,
        leaving: &[&ProgramRecord],
        staying: &[&ProgramRecord],
    ) -> LeftoverRecord {
        let changing: Vec<ProgramUid> = leaving.iter().map(|version| version.uid).collect();
        let kept: HashSet<String> = staying.iter().flat_map(|version| version_paths(version)).collect();
        let mut leftover = LeftoverRecord::default();
        for version in leaving {
            let [pin, folder] = [paths::program(version.id), paths::maps(version.map_folder)];
            leftover.pins.push(pin.display().to_string());
            leftover.folders.push(folder.display().to_string());
            let shared = version.maps.iter().filter_map(MapRecord::shared_pin);
            leftover.pins.extend(shared.map(|pin| pin.display().to_string()));
        }
        let state = self.state();
        let is_free = |path: &String| !kept.contains(path) && !state.is_claimed(path, &changing);
        leftover.pins.retain(is_free);
        leftover.folders.retain(is_free);
        leftover
    }
}

/// A program that nobody else changes, attaches or detaches now.
pub struct LockedVersion {
    _held: Vec<crate::engine::locks::Held>,
    /// As it is now.
    pub old: Arc<ProgramRecord>,
    /// Where it is attached.
    pub links: Vec<Arc<LinkRecord>>,
}

/// What is to be recorded of the versions of a program.
struct Versions {
    previous: Option<PreviousRecord>,
    leftover: Option<LeftoverRecord>,
}

/// Shows new versions to those who build chains, as long as it lives.
pub struct Overlay<'a, K: Kernel>(&'a Engine<K>, Vec<ProgramUid>);

impl<'a, K: Kernel> Overlay<'a, K> {
    /// The caller holds the programs and all their hooks.
    pub fn put<'n>(engine: &'a Engine<K>, new: impl IntoIterator<Item = &'n Arc<ProgramRecord>>) -> Self {
        let mut state = engine.state();
        let mut uids = Vec::new();
        for version in new {
            state.replacing.insert(version.uid, Arc::clone(version));
            uids.push(version.uid);
        }
        drop(state);
        Self(engine, uids)
    }
}

impl<K: Kernel> Drop for Overlay<'_, K> {
    fn drop(&mut self) {
        self.0.state().replacing.retain(|uid, _| !self.1.contains(uid));
    }
}

fn wanted(old: &ProgramRecord, name: Option<&String>) -> ProgramRequest {
    ProgramRequest {
        name: name.unwrap_or(&old.name).clone(),
        program_type: old.program_type,
        target: old.target.clone(),
    }
}

fn as_load(request: &ReplaceRequest, old: &ProgramRecord) -> LoadRequest {
    LoadRequest {
        source: request.source.clone(),
        programs: vec![wanted(old, request.name.as_ref().filter(|name| !name.is_empty()))],
        metadata: BTreeMap::new(),
        global_data: request.global_data.clone(),
        map_owner: None,
        verifier_log: false,
        caller_uid: request.caller_uid,
    }
}

/// Links stay, so they must be able to take the new version.
fn same_kind(old: &ProgramRecord, new: &LoadedProgram) -> Result<(), EngineError> {
    if old.program_type != new.program_type {
        return Err(EngineError::Invalid(format!(
            "the new version is of type {} and the old one of type {}; a program is replaced by one of its own type",
            new.program_type, old.program_type
        )));
    }
    Ok(())
}
