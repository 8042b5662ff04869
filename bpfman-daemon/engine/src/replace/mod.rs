//! Replace: new versions of programs replace the old ones wherever they are attached, and can be rolled back.

mod declared;
mod lock;
mod maps;
mod pairs;
mod places;
mod sharers;
mod switch;
mod versions;

use std::collections::BTreeMap;
use std::sync::Arc;

use bpfman_model::{
    BytecodeSource, LoadLimits, LoadRequest, LoadTarget, LoadValues, ProgramId, ProgramRequest, TenantRules,
};
use bpfmand_kernel::Kernel;
use bpfmand_store::Blob;
pub use places::AllowedPlaces;

use crate::describe::details::ProgramDetails;
use crate::engine::map_sizes::MapSizes;
use crate::load::linked::LinkedLoad;
use crate::load::{Bytecode, origin};
use crate::replace::declared::Declared;
use crate::replace::lock::Locked;
use crate::replace::pairs::Pairing;
use crate::replace::versions::{NewVersions, Replacement};
use crate::state::records::{PreviousRecord, ProgramRecord};
use crate::{Engine, EngineError, paths};

/// Treatment of the maps of a replaced program. Maps of global variables are always new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MapPolicy {
    /// Keeps equal maps; copies maps that differ only in their number of entries; anything else is an error.
    #[default]
    Keep,
    /// Keeps equal maps; anything else is an error.
    ReuseOnly,
    /// Creates all maps new and empty, except those that are shared by name.
    Fresh,
}

/// Request to replace a program by a new version.
#[derive(Clone, Debug)]
pub struct ReplaceRequest {
    pub program: ProgramId,
    pub source: BytecodeSource,
    /// Function name in the new object; none keeps the name.
    pub name: Option<String>,
    /// Bytes of global variables, by name.
    pub global_data: BTreeMap<String, Vec<u8>>,
    /// Other values for the object. Maps without a size here keep the sizes set for the old version.
    pub values: LoadValues,
    pub maps: MapPolicy,
    /// Keeps the old version loaded, for [`Engine::rollback_program`].
    pub keep_old: bool,
    pub caller_uid: u32,
    /// Limits of this load, in addition to the daemon's own.
    pub limits: LoadLimits,
    /// Rules for the caller's programs: the new version must satisfy them and those of the old version.
    pub tenant: Option<TenantRules>,
    /// Attachments where the caller may run the program; none means all.
    pub places: Option<AllowedPlaces>,
}

/// Request to replace all programs of a load by a new version.
#[derive(Clone, Debug)]
pub struct ReplaceLoadRequest {
    /// All programs of the load to replace.
    pub programs: Vec<ProgramId>,
    /// New version. Its set of programs may differ. It keeps the map owner of the old version.
    pub load: LoadRequest,
    pub maps: MapPolicy,
    /// Attachments where the caller may run the programs; none means all.
    pub places: Option<AllowedPlaces>,
}

/// Result for one map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapOutcome {
    /// Name in the new object.
    pub name: String,
    pub fate: MapFate,
}

/// Treatment of a map of a replaced program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapFate {
    /// The new version uses the same map.
    Kept,
    /// Number of entries copied into a map of another size.
    Copied(u64),
    /// The new version has a new map.
    New,
}

impl MapFate {
    /// Returns "kept", "copied" or "new".
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Copied(_) => "copied",
            Self::New => "new",
        }
    }
}

#[derive(Debug)]
pub struct ReplaceOutcome {
    /// Programs in the order of the request. Replaced programs keep their uids and links, and have new kernel ids.
    pub programs: Vec<ProgramDetails>,
    /// Kernel id of the version that a rollback restores.
    pub previous: Option<ProgramId>,
    /// Maps that applications see; empty after a rollback to a version that was still loaded.
    pub maps: Vec<MapOutcome>,
    /// Number of links that run another version now.
    pub links_switched: usize,
    /// Number of old programs without a new version.
    pub programs_removed: usize,
}

impl<K: Kernel> Engine<K> {
    /// Replaces a program by a new version wherever it is attached. Its uid and its links stay; so does the old version
    /// after an error.
    ///
    /// Each hook switches atomically, one after another. Links of trace points, probes, fentry, fexit and LSM cannot be
    /// updated: both versions run for a moment. Changes that the old version makes to copied maps before the switch are
    /// lost.
    pub fn replace_program(&self, request: &ReplaceRequest) -> Result<ReplaceOutcome, EngineError> {
        let done = self.replace_one(request);
        self.work.load(&done);
        done
    }

    fn replace_one(&self, request: &ReplaceRequest) -> Result<ReplaceOutcome, EngineError> {
        let _operation = self.begin()?;
        let seen = self.state().program(request.program).cloned();
        let seen = seen.ok_or(EngineError::NoProgram(request.program))?;
        let asked = (request.caller_uid, request.limits);
        let mut load =
            load_of_one(&seen, self.request_again(&seen)?, (&request.source, &request.global_data), asked);
        load.values.clone_from(&request.values);
        load.tenant = load.tenant.map(|rules| rules.narrowed_by(request.tenant.as_ref()));
        let sizes = MapSizes { asked: load.values.map_sizes.clone(), inherited: seen.map_sizes.clone() };
        if let (Some(name), Some(program)) = (&request.name, load.programs.first_mut())
            && !name.is_empty()
        {
            program.name.clone_from(name);
        }
        crate::load::check(&load)?;
        let bytecode = self.fetch(&load)?;
        let in_file = |error: EngineError| error.of(&origin(&request.source));
        let object =
            self.link_load(Arc::clone(bytecode.blob.bytes()), &load.programs, &sizes).map_err(in_file)?;
        let object = object.without_reader();
        check_hook(&object, &load).map_err(in_file)?;
        let mut declared = Declared::new(&bytecode, &object, request.maps);
        let lock = || self.lock_version(request.program);
        let locked = self.lock_declared(vec![seen], &mut declared, lock)?;
        self.ensure_places(&locked, request.places.as_ref())?;
        let version = Version { load: &load, bytecode: &bytecode, object: &object, declared: &declared };
        self.replace_version(&locked, &version, request.maps, request.keep_old).map_err(in_file)
    }

    /// Restores the version before the last replacement; the present version can be restored in turn.
    ///
    /// A version that is still loaded keeps its own maps, without later writes into copies. After a reboot it is loaded
    /// again, and keeps maps as for [`MapPolicy::Keep`].
    pub fn rollback_program(
        &self,
        id: ProgramId,
        places: Option<&AllowedPlaces>,
    ) -> Result<ReplaceOutcome, EngineError> {
        let _operation = self.begin()?;
        loop {
            let (present, previous) = self.version_before(id)?;
            let record = &previous.program;
            self.check_restorable(record)?;
            if previous.boot == self.boot && self.is_pinned_program(record)? {
                let locked = self.lock_version(id)?;
                self.ensure_places(&locked, places)?;
                if self.is_version_before(id, &previous)? {
                    return self.switch_back(&locked, record);
                }
                continue;
            }
            // The bytecode is stored locally: nothing is fetched.
            let source = BytecodeSource::File(self.options.bytecode_folder.join(record.blob.as_str()));
            // The version was loaded before: load limits do not apply.
            let asked = (record.caller_uid, LoadLimits::default());
            let load =
                &load_of_one(record, self.request_again(record)?, (&source, &record.global_data), asked);
            let bytecode =
                &Bytecode { blob: Blob::new(self.blobs.get(&record.blob)?), source: record.source.clone() };
            let sizes = MapSizes::recorded(&record.map_sizes);
            let object = self.link_load(Arc::clone(bytecode.blob.bytes()), &load.programs, &sizes)?;
            let object = &object.without_reader();
            let mut declared = Declared::new(bytecode, object, MapPolicy::Keep);
            let locked = self.lock_declared(vec![present], &mut declared, || self.lock_version(id))?;
            self.ensure_places(&locked, places)?;
            if self.is_version_before(id, &previous)? {
                let version = Version { load, bytecode, object, declared: &declared };
                return self.replace_version(&locked, &version, MapPolicy::Keep, true);
            }
        }
    }

    fn version_before(
        &self,
        id: ProgramId,
    ) -> Result<(Arc<ProgramRecord>, Arc<PreviousRecord>), EngineError> {
        let state = self.state();
        let present = state.program(id).ok_or(EngineError::NoProgram(id))?;
        let previous = state.previous.get(&present.uid).ok_or(EngineError::NoEarlierVersion(id))?;
        Ok((Arc::clone(present), Arc::clone(previous)))
    }

    /// Returns whether `seen` is still the version before. The caller holds the program's lock.
    fn is_version_before(&self, id: ProgramId, seen: &Arc<PreviousRecord>) -> Result<bool, EngineError> {
        Ok(Arc::ptr_eq(&self.version_before(id)?.1, seen))
    }

    fn switch_back(&self, locked: &Locked, record: &ProgramRecord) -> Result<ReplaceOutcome, EngineError> {
        let operation = self.operation();
        let pairing = &Pairing::of_one(&locked.old);
        let replacement = Replacement { operation, locked, pairing, keep_old: true };
        let budget = locked.old.first().map(|old| old.budget.of_next_version()).unwrap_or_default();
        self.switch_versions(&replacement, None, || {
            self.kernel.make_folder(&paths::pending(operation))?;
            let boot = self.boot.clone();
            Ok(vec![ProgramRecord { operation, boot, budget, ..record.clone() }.into()])
        })
    }

    /// Replaces all programs of a load by a new version; after an error, the old version stays.
    ///
    /// A program of the same name and type keeps its uid and its links; others are removed or only loaded. Each chain
    /// switches once, atomically, for all members. Tcx links are updated one by one; links that the kernel cannot
    /// update are attached again beside the old ones. The old version is not kept.
    pub fn replace_load(&self, request: &ReplaceLoadRequest) -> Result<ReplaceOutcome, EngineError> {
        let done = self.replace_all(request);
        self.work.load(&done);
        done
    }

    fn replace_all(&self, request: &ReplaceLoadRequest) -> Result<ReplaceOutcome, EngineError> {
        let load = &request.load;
        crate::load::check(load)?;
        let _operation = self.begin()?;
        // Report invalid requests before a registry is contacted.
        let seen = self.whole_load(&request.programs)?;
        let bytecode = self.fetch(load)?;
        let in_file = |error: EngineError| error.of(&origin(&load.source));
        let owner = seen.first().and_then(|first| first.map_owner_uid);
        let sizes = self.map_sizes_of_version(load, owner);
        let object =
            self.link_load(Arc::clone(bytecode.blob.bytes()), &load.programs, &sizes).map_err(in_file)?;
        let object = object.without_reader();
        let mut declared = Declared::new(&bytecode, &object, request.maps);
        let locked = self.lock_declared(seen, &mut declared, || self.lock_load(&request.programs))?;
        // Report no conflict: node agents understand a conflict as one about maps.
        self.ensure_places(&locked, request.places.as_ref())
            .map_err(|error| EngineError::Invalid(error.to_string()))?;
        let replace = || {
            let pairing = &Pairing::of(&locked.old, load, &object)?;
            let fates = &self.map_fates(&locked.old, load.map_owner, (&declared, &object), request.maps)?;
            self.keep_maps_of_sharers(&locked.old, pairing, fates)?;
            let operation = self.operation();
            let replacement = Replacement { operation, locked: &locked, pairing, keep_old: false };
            let new = NewVersions { load, bytecode: &bytecode, object: &object, maps_from: None, fates };
            self.replace_by(&replacement, &new)
        };
        replace().map_err(in_file)
    }

    fn replace_version(
        &self,
        locked: &Locked,
        version: &Version<'_>,
        policy: MapPolicy,
        keep_old: bool,
    ) -> Result<ReplaceOutcome, EngineError> {
        let Version { load, bytecode, object, declared } = *version;
        let pairing = &Pairing::of_one(&locked.old);
        pairing.check_type(load, object)?;
        let fates = &self.map_fates(&locked.old, None, (declared, object), policy)?;
        let maps_from = locked.old.first().map(|old| old.load());
        let replacement = Replacement { operation: self.operation(), locked, pairing, keep_old };
        self.replace_by(&replacement, &NewVersions { load, bytecode, object, maps_from, fates })
    }
}

struct Version<'v> {
    load: &'v LoadRequest,
    bytecode: &'v Bytecode,
    object: &'v LinkedLoad<'v>,
    declared: &'v Declared<'v>,
}

fn load_of_one(
    program: &ProgramRecord,
    request: ProgramRequest,
    (source, global_data): (&BytecodeSource, &BTreeMap<String, Vec<u8>>),
    (caller_uid, limits): (u32, LoadLimits),
) -> LoadRequest {
    LoadRequest {
        metadata: program.metadata.clone(),
        global_data: global_data.clone(),
        caller_uid,
        owner: program.owner(),
        limits,
        tenant: program.guard.as_ref().map(|guard| guard.rules.clone()),
        ..LoadRequest::new(source.clone(), vec![request])
    }
}

/// Refuses a section for another cgroup hook, which the verifier may not detect.
fn check_hook(object: &LinkedLoad<'_>, load: &LoadRequest) -> Result<(), EngineError> {
    for program in &load.programs {
        let section = object.program(&program.name)?.attach_target.as_deref();
        if let (Some(LoadTarget::SocketHook), Some(section), Some(old)) =
            (program.program_type.load_target(), section, program.target.as_deref())
            && section != old
        {
            return Err(EngineError::Invalid(format!(
                "program \"{}\" is for the hook {section}, and the version that it replaces for {old}: load it beside that \
                 one, and attach it",
                program.name
            )));
        }
    }
    Ok(())
}
