//! Replace: new versions of programs take the place of the old ones, wherever they are attached, and one can be taken
//! back.

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

use bpfmand_core::{
    BytecodeSource, LoadLimits, LoadRequest, LoadTarget, LoadValues, ProgramId, ProgramRequest, TenantRules,
};
use bpfmand_kernel::Kernel;
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
    /// What is set of the object besides. Maps whose sizes it does not name have those that were set of the old version.
    pub values: LoadValues,
    /// What becomes of its maps.
    pub maps: MapPolicy,
    /// Keep the old version loaded, for [`Engine::rollback_program`].
    pub keep_old: bool,
    /// User id of the caller.
    pub caller_uid: u32,
    /// How much it may take, besides what the daemon allows each.
    pub limits: LoadLimits,
    /// Rules for the caller's programs: the new version is held to them and to those of the old one.
    pub tenant: Option<TenantRules>,
    /// The places in which the caller may run it; none: all.
    pub places: Option<AllowedPlaces>,
}

/// A new version of a load.
#[derive(Clone, Debug)]
pub struct ReplaceLoadRequest {
    /// All programs of the load that is replaced.
    pub programs: Vec<ProgramId>,
    /// The new version. Its programs may be others. Where the old one shares the maps of a program, so does the new one.
    pub load: LoadRequest,
    /// What becomes of the maps.
    pub maps: MapPolicy,
    /// The places in which the caller may run it; none: all.
    pub places: Option<AllowedPlaces>,
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
    /// The programs as they are now, in the order of the request. Those that went on have their uids and links, and new
    /// kernel ids.
    pub programs: Vec<ProgramDetails>,
    /// The version that can be taken back, by the kernel's id.
    pub previous: Option<ProgramId>,
    /// One entry a map that applications see, in the order of the object; none after a rollback to a version that was
    /// still loaded, with its own maps.
    pub maps: Vec<MapOutcome>,
    /// Links that run the other version now.
    pub links_switched: usize,
    /// Old programs that had no new version.
    pub programs_removed: usize,
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
        let done = self.replace_one(request);
        self.work.load(&done);
        done
    }

    fn replace_one(&self, request: &ReplaceRequest) -> Result<ReplaceOutcome, EngineError> {
        self.begin()?;
        let seen = self.state().program(request.program).cloned();
        let seen = seen.ok_or(EngineError::NoProgram(request.program))?;
        let asked = (request.caller_uid, request.limits);
        let mut load =
            load_of_one(&seen, self.request_again(&seen)?, (&request.source, &request.global_data), asked);
        load.values.clone_from(&request.values);
        load.tenant = load.tenant.map(|rules| rules.narrowed_by(request.tenant.as_ref()));
        // Maps go on as large as they are.
        let sizes = MapSizes { asked: load.values.map_sizes.clone(), inherited: seen.map_sizes.clone() };
        if let (Some(name), Some(program)) = (&request.name, load.programs.first_mut())
            && !name.is_empty()
        {
            program.name.clone_from(name);
        }
        crate::load::check(&load)?;
        let bytecode = self.fetch(&load)?;
        let in_file = |error: EngineError| error.of(&origin(&request.source));
        let object = self.link_load(Arc::clone(&bytecode.bytes), &load.programs, &sizes).map_err(in_file)?;
        check_hook(&object, &load).map_err(in_file)?;
        let mut declared = Declared::new(&bytecode, &object, request.maps);
        let lock = || self.lock_version(request.program);
        let locked = self.lock_declared(vec![seen], &mut declared, lock)?;
        self.ensure_places(&locked, request.places.as_ref())?;
        let version = Version { load: &load, bytecode: &bytecode, object: &object, declared: &declared };
        self.replace_version(&locked, &version, request.maps, request.keep_old).map_err(in_file)
    }

    /// Takes the version before the last replacement back; the one that leaves can be taken back in turn.
    ///
    /// A version that is still loaded goes on with its own maps, as they are: what was written into copies since is not
    /// in them. One that a reboot ended is loaded again, and keeps maps as [`MapPolicy::Keep`] says.
    ///
    /// # Errors
    /// See [`EngineError`]; the present version stays everywhere then.
    pub fn rollback_program(
        &self,
        id: ProgramId,
        places: Option<&AllowedPlaces>,
    ) -> Result<ReplaceOutcome, EngineError> {
        self.begin()?;
        loop {
            let (present, previous) = self.version_before(id)?;
            let record = &previous.program;
            self.check_comes_back(record)?;
            if previous.boot == self.boot && self.is_pinned_program(record)? {
                let locked = self.lock_version(id)?;
                self.ensure_places(&locked, places)?;
                if self.is_version_before(id, &previous)? {
                    return self.switch_back(&locked, record);
                }
                continue;
            }
            // Its bytecode is kept: nothing is fetched from where it came from.
            let source = BytecodeSource::File(self.options.bytecode_folder.join(record.blob.as_str()));
            // It was loaded before: limits of loads do not count.
            let asked = (record.caller_uid, LoadLimits::default());
            let load =
                &load_of_one(record, self.request_again(record)?, (&source, &record.global_data), asked);
            let bytecode = &Bytecode { bytes: self.blobs.get(&record.blob)?, source: record.source.clone() };
            let sizes = MapSizes::recorded(&record.map_sizes);
            let object = &self.link_load(Arc::clone(&bytecode.bytes), &load.programs, &sizes)?;
            let mut declared = Declared::new(bytecode, object, MapPolicy::Keep);
            let locked = self.lock_declared(vec![present], &mut declared, || self.lock_version(id))?;
            self.ensure_places(&locked, places)?;
            if self.is_version_before(id, &previous)? {
                let version = Version { load, bytecode, object, declared: &declared };
                return self.replace_version(&locked, &version, MapPolicy::Keep, true);
            }
        }
    }

    /// A program, and the version before its last replacement.
    fn version_before(
        &self,
        id: ProgramId,
    ) -> Result<(Arc<ProgramRecord>, Arc<PreviousRecord>), EngineError> {
        let state = self.state();
        let present = state.program(id).ok_or(EngineError::NoProgram(id))?;
        let previous = state.previous.get(&present.uid).ok_or(EngineError::NoEarlierVersion(id))?;
        Ok((Arc::clone(present), Arc::clone(previous)))
    }

    /// False if somebody replaced the program since. The caller has locked it.
    fn is_version_before(&self, id: ProgramId, seen: &Arc<PreviousRecord>) -> Result<bool, EngineError> {
        Ok(Arc::ptr_eq(&self.version_before(id)?.1, seen))
    }

    /// Puts a version back that is still loaded, in the place of the one that is locked.
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
    pub fn replace_load(&self, request: &ReplaceLoadRequest) -> Result<ReplaceOutcome, EngineError> {
        let done = self.replace_all(request);
        self.work.load(&done);
        done
    }

    fn replace_all(&self, request: &ReplaceLoadRequest) -> Result<ReplaceOutcome, EngineError> {
        let load = &request.load;
        crate::load::check(load)?;
        self.begin()?;
        // What makes no sense is said before a registry is asked.
        let seen = self.whole_load(&request.programs)?;
        let bytecode = self.fetch(load)?;
        let in_file = |error: EngineError| error.of(&origin(&load.source));
        let owner = seen.first().and_then(|first| first.map_owner_uid);
        let sizes = self.map_sizes_of_version(load, owner);
        let object = self.link_load(Arc::clone(&bytecode.bytes), &load.programs, &sizes).map_err(in_file)?;
        let mut declared = Declared::new(&bytecode, &object, request.maps);
        let locked = self.lock_declared(seen, &mut declared, || self.lock_load(&request.programs))?;
        // Node agents take a conflict for one about maps.
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

    /// Replaces the one program that is locked.
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

/// Another version of one program.
struct Version<'v> {
    load: &'v LoadRequest,
    bytecode: &'v Bytecode,
    object: &'v LinkedLoad<'v>,
    /// What it and the present version declare.
    declared: &'v Declared<'v>,
}

/// A load of another version of a program.
fn load_of_one(
    program: &ProgramRecord,
    request: ProgramRequest,
    (source, global_data): (&BytecodeSource, &BTreeMap<String, Vec<u8>>),
    (caller_uid, limits): (u32, LoadLimits),
) -> LoadRequest {
    LoadRequest {
        source: source.clone(),
        programs: vec![request],
        metadata: program.metadata.clone(),
        global_data: global_data.clone(),
        values: LoadValues::default(),
        map_owner: None,
        verifier_log: false,
        caller_uid,
        owner: program.owner(),
        limits,
        cpu: None,
        measured: false,
        ttl: None,
        lease: None,
        tenant: program.guard.as_ref().map(|guard| guard.rules.clone()),
    }
}

/// Refuses a new version whose section says another hook of a control group than the old version is for: the verifier may
/// not tell the one's program from the other's.
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
