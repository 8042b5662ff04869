//! Load: bytecode to loaded, pinned and recorded programs. All of them, or none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bpfmand_core::{
    BytecodeSource, LoadRequest, MapId, MapRole, MapSpec, OperationId, ProgramId, ProgramRequest,
    ProgramText, ProgramType, ProgramUid,
};
use bpfmand_kernel::{Kernel, LogRequest, ProgramLoad};
use bpfmand_object::{KconfigKind, KconfigValue, KernelBtf, ObjectFile, SlotTarget, TextOptions};
use bpfmand_store::Batch;

use crate::bytecode::read_file;
use crate::describe::ProgramDetails;
use crate::engine::encode;
use crate::locks::{Held, Subject};
use crate::members::no_such_map;
use crate::records::{self, MapRecord, ProgramRecord, SourceRecord};
use crate::undo::{Undo, insist};
use crate::{Engine, EngineError, paths};

/// Most programs of one load.
const MOST_PROGRAMS: usize = 64;
/// Most bytes of metadata, and of global variables, of one load: a record has to hold them.
const MOST_METADATA: usize = 16 << 10;
const MOST_GLOBALS: usize = 24 << 10;

/// What a load made.
#[derive(Debug)]
pub struct LoadOutcome {
    /// One entry a program, in the order of the request.
    pub programs: Vec<ProgramDetails>,
    /// The verifier's logs, in the same order, if they were asked for.
    pub logs: Vec<String>,
}

/// Bytecode with its origin.
struct Bytecode {
    bytes: Arc<[u8]>,
    source: SourceRecord,
}

/// A program that is about to be loaded.
struct Wanted {
    name: String,
    program_type: ProgramType,
    text: ProgramText,
    target: Option<String>,
    attach_btf_id: u32,
}

/// Maps in the order of the object, held and recorded; one that was left out is held by nobody.
type Maps<H> = (Vec<Option<H>>, Vec<MapRecord>);

/// What a load is made for: a request, or a record that a reboot left without its programs.
pub struct LoadPlan<'a> {
    /// The object.
    pub object: &'a ObjectFile,
    /// Its programs.
    pub programs: &'a [ProgramRequest],
    /// Values of global variables.
    pub globals: &'a BTreeMap<String, Vec<u8>>,
    /// Whose maps to use.
    pub owner: Option<Arc<ProgramRecord>>,
    /// Return the verifier's log.
    pub log: LogRequest,
}

/// One program that was loaded, pinned below `pending`.
pub struct LoadedProgram {
    /// The kernel's id.
    pub id: ProgramId,
    /// The kernel's tag.
    pub tag: [u8; 8],
    /// Exact type.
    pub program_type: ProgramType,
    /// Function or hook of fentry, fexit and LSM programs.
    pub target: Option<String>,
    /// All maps of the object.
    pub maps: Vec<MapRecord>,
    /// Bytes of stack of each function, where the kernel told them.
    pub stack_depths: Option<Vec<u32>>,
    /// The verifier's log, if it was asked for.
    pub log: String,
}

impl<K: Kernel> Engine<K> {
    /// Loads the programs of a request.
    ///
    /// # Errors
    /// See [`EngineError`]; nothing is loaded then.
    pub fn load(&self, request: &LoadRequest) -> Result<LoadOutcome, EngineError> {
        check(request)?;
        let bytecode = self.fetch(request)?;
        let object = ObjectFile::parse(Arc::clone(&bytecode.bytes))?;
        // Locks are taken in one order by all: shared maps before programs.
        let _shared = object.maps().iter().any(|map| map.pin_by_name).then(|| self.lock(Subject::SharedMaps));
        let owner = request.map_owner.map(|id| self.lock_owner(id)).transpose()?;
        let operation = self.operation();
        let plan = LoadPlan {
            object: &object,
            programs: &request.programs,
            globals: &request.global_data,
            owner: owner.as_ref().map(|(_, record)| Arc::clone(record)),
            log: if request.verifier_log { LogRequest::Always } else { LogRequest::OnFailure },
        };
        let mut undo = Undo::default();
        undo.push(|| self.remove_tree(&paths::pending(operation)));
        let loaded = match self.load_pending(operation, &plan) {
            Ok(loaded) => loaded,
            Err(error) => return Err(undo.run(error)),
        };
        let recorded = match self.record_load(request, &bytecode, &object, operation, &plan, &loaded) {
            Ok(recorded) => recorded,
            Err(error) => return Err(undo.run(error)),
        };
        undo.forget();
        self.step("load", "move into place");
        insist(|| self.place_programs(operation, &recorded))?;
        let programs = loaded
            .iter()
            .map(|program| insist(|| self.describe_program(program.id)))
            .collect::<Result<_, _>>()?;
        let logs =
            if request.verifier_log { loaded.into_iter().map(|p| p.log).collect() } else { Vec::new() };
        Ok(LoadOutcome { programs, logs })
    }

    fn fetch(&self, request: &LoadRequest) -> Result<Bytecode, EngineError> {
        match &request.source {
            BytecodeSource::File(path) => Ok(Bytecode {
                bytes: read_file(path, request.caller_uid)?,
                source: SourceRecord::File { path: path.display().to_string() },
            }),
            BytecodeSource::Image { url, pull_policy, credentials } => {
                let image = self.images.fetch(url, *pull_policy, credentials.as_ref(), &|_, _| {})?;
                if let Some(missing) = request
                    .programs
                    .iter()
                    .find(|program| !image.programs.is_empty() && !image.programs.contains(&program.name))
                {
                    return Err(EngineError::Invalid(format!(
                        "image {url} has no program \"{}\"; its label names: {}",
                        missing.name,
                        image.programs.join(", ")
                    )));
                }
                Ok(Bytecode {
                    bytes: image.bytes,
                    source: SourceRecord::Image {
                        url: url.clone(),
                        pull_policy: *pull_policy,
                        digest: image.digest,
                        verified_by: image.verified_by,
                    },
                })
            }
        }
    }

    fn lock_owner(&self, id: ProgramId) -> Result<(Held, Arc<ProgramRecord>), EngineError> {
        self.lock_program(id).map_err(|_absent| EngineError::MapOwner {
            owner: id,
            reason: "it does not exist or is not managed by bpfman".to_owned(),
        })
    }

    /// Creates the maps and programs and pins them below `pending/<operation>`.
    pub(crate) fn load_pending(
        &self,
        operation: OperationId,
        plan: &LoadPlan<'_>,
    ) -> Result<Vec<LoadedProgram>, EngineError> {
        let wanted = self.resolve(plan)?;
        let mut specs = plan.object.with_globals(plan.globals)?;
        plan.object.set_kconfig(&mut specs, |variable| {
            kconfig(&variable.name, variable.kind, self.kernel.features().version)
        })?;
        let folder = paths::pending(operation);
        self.step("load", "make pending folder");
        self.kernel.make_folder(&folder)?;
        self.step("load", "create maps");
        let (handles, maps) = self.create_maps(plan, &specs, &wanted, &folder)?;
        let ids: Vec<MapId> = maps.iter().map(|map| map.id).collect();
        let mut loaded = Vec::with_capacity(wanted.len());
        let mut programs = BTreeMap::new();
        for program in &wanted {
            self.step("load", "load program");
            let bound = program.text.bind(&ids).map_err(|index| no_such_map(&program.name, index))?;
            let result = self.kernel.load_program(&ProgramLoad {
                name: &program.name,
                text: &bound,
                kind: program.program_type.into(),
                attach_btf_id: program.attach_btf_id,
                // Members of chains share one stack: their own share is best known from the kernel.
                log: match plan.log {
                    LogRequest::OnFailure if program.program_type.is_chained() => LogRequest::StackDepths,
                    other => other,
                },
            })?;
            let facts = self.kernel.program_of(&result.program)?;
            self.step("load", "pin program");
            self.kernel.pin(&result.program, &folder.join(format!("prog_{}", facts.id)))?;
            if plan.owner.is_none() {
                let pins = folder.join(format!("maps_{}", facts.id));
                self.kernel.make_folder(&pins)?;
                for (handle, map) in handles.iter().zip(&maps) {
                    if let (Some(handle), true) = (handle, map.public) {
                        self.kernel.pin(handle, &pins.join(&map.name))?;
                    }
                }
            }
            programs.insert(program.name.clone(), result.program);
            loaded.push(LoadedProgram {
                id: facts.id,
                tag: facts.tag,
                program_type: program.program_type,
                target: program.target.clone(),
                maps: maps.clone(),
                stack_depths: result.stack_depths,
                log: result.log,
            });
        }
        for slot in plan.object.initial_slots() {
            let value = match &slot.target {
                SlotTarget::Map(index) => handles.get(*index).and_then(Option::as_ref),
                // Programs that the request does not name are not loaded; their slots stay empty.
                SlotTarget::Program(name) => programs.get(name),
            };
            if let (Some(Some(map)), Some(value)) = (handles.get(slot.map), value) {
                self.kernel.fill_slot(map, slot.key, value)?;
            }
        }
        Ok(loaded)
    }

    /// Checks the requested programs against the object and links their text.
    fn resolve(&self, plan: &LoadPlan<'_>) -> Result<Vec<Wanted>, EngineError> {
        let types = plan
            .programs
            .iter()
            .map(|program| plan.object.resolve_type(&program.name, program.program_type))
            .collect::<Result<Vec<_>, _>>()?;
        let needs_btf =
            plan.programs.iter().zip(&types).any(|(program, kind)| {
                kind.needs_load_target() || plan.object.needs_kernel_btf(&program.name)
            });
        let kernel_btf = needs_btf.then(|| self.kernel_btf()).transpose()?;
        let options = TextOptions { kernel_btf: kernel_btf.as_ref(), features: self.btf_features() };
        plan.programs
            .iter()
            .zip(types)
            .map(|(program, program_type)| {
                let target = load_target(plan.object, program, program_type)?;
                Ok(Wanted {
                    name: program.name.clone(),
                    program_type,
                    text: plan.object.text(&program.name, &options)?,
                    attach_btf_id: match (&target, &kernel_btf) {
                        (Some(target), Some(kernel)) => {
                            attach_id(&program.name, program_type, target, kernel)?
                        }
                        _ => 0,
                    },
                    target,
                })
            })
            .collect()
    }

    /// Creates the object's maps, or takes those of the owner and those that are shared by name.
    fn create_maps(
        &self,
        plan: &LoadPlan<'_>,
        specs: &[MapSpec],
        wanted: &[Wanted],
        folder: &Path,
    ) -> Result<Maps<K::Handle>, EngineError> {
        let used: BTreeSet<usize> = wanted.iter().flat_map(|program| program.text.map_indexes()).collect();
        let typed = specs.iter().any(|spec| spec.btf_key_type_id != 0 || spec.btf_value_type_id != 0);
        let btf = match plan.object.btf(self.btf_features()) {
            // Types are a comfort: where the kernel refuses them, maps are made without.
            Some(bytes) if typed => self.kernel.load_btf(&bytes).ok(),
            _ => None,
        };
        let mut handles = Vec::with_capacity(specs.len());
        let mut records = Vec::with_capacity(specs.len());
        for (index, spec) in specs.iter().enumerate() {
            let public = spec.role == MapRole::Ordinary;
            let owned = match &plan.owner {
                Some(owner) if public => Some(self.map_of_owner(owner, spec)?),
                _ => None,
            };
            let handle = match owned {
                Some(handle) => Some(handle),
                None if spec.pin_by_name => Some(self.shared_map(spec, btf.as_ref(), folder)?),
                None => match self.kernel.create_map(spec, btf.as_ref()) {
                    Ok(handle) => Some(handle),
                    Err(error) if !used.contains(&index) => {
                        tracing::warn!(%error, "a map that no loaded program uses was left out");
                        None
                    }
                    Err(error) => return Err(error.into()),
                },
            };
            records.push(MapRecord {
                name: spec.name.clone(),
                // A map that was left out keeps its place, so that the others keep their numbers. No map has id 0.
                id: handle.as_ref().map_or(Ok(MapId(0)), |h| self.kernel.map_of(h).map(|facts| facts.id))?,
                public: public && handle.is_some(),
                shared: spec.pin_by_name && plan.owner.is_none(),
            });
            handles.push(handle);
        }
        Ok((handles, records))
    }

    fn map_of_owner(&self, owner: &ProgramRecord, spec: &MapSpec) -> Result<K::Handle, EngineError> {
        let fail = |reason: String| EngineError::MapOwner { owner: owner.id, reason };
        let map = owner
            .maps
            .iter()
            .find(|map| map.public && map.name == spec.name)
            .ok_or_else(|| fail(format!("it has no map \"{}\"", spec.name)))?;
        let handle = self.kernel.open_map(map.id)?;
        match self.difference(&handle, spec)? {
            None => Ok(handle),
            Some(difference) => {
                Err(fail(format!("its map \"{}\" has another shape: {difference}", spec.name)))
            }
        }
    }

    fn shared_map(
        &self,
        spec: &MapSpec,
        btf: Option<&K::Handle>,
        folder: &Path,
    ) -> Result<K::Handle, EngineError> {
        if let Some(handle) = self.kernel.open_pin(&paths::shared(&spec.name))? {
            return match self.difference(&handle, spec)? {
                None => Ok(handle),
                Some(reason) => Err(EngineError::SharedMap { name: spec.name.clone(), reason }),
            };
        }
        let handle = self.kernel.create_map(spec, btf)?;
        self.kernel.pin(&handle, &folder.join(format!("shared_{}", spec.name)))?;
        Ok(handle)
    }

    /// What keeps an existing map from serving as the one an object declares.
    fn difference(&self, handle: &K::Handle, spec: &MapSpec) -> Result<Option<String>, EngineError> {
        let found = self.kernel.map_of(handle)?;
        let pairs = [
            ("type", found.map_type, spec.map_type),
            ("key size", found.key_size, spec.key_size),
            ("value size", found.value_size, spec.value_size),
            // The kernel or the loader chose the size of these.
            (
                "entries",
                found.max_entries,
                if spec.max_entries == 0 { found.max_entries } else { spec.max_entries },
            ),
        ];
        let ring = matches!(spec.map_type, 27 | 31);
        Ok(pairs
            .iter()
            .find(|(what, is, wanted)| is != wanted && !(ring && *what == "entries" && is >= wanted))
            .map(|(what, is, wanted)| format!("{what} {is} instead of {wanted}")))
    }

    fn record_load(
        &self,
        request: &LoadRequest,
        bytecode: &Bytecode,
        object: &ObjectFile,
        operation: OperationId,
        plan: &LoadPlan<'_>,
        loaded: &[LoadedProgram],
    ) -> Result<Vec<ProgramRecord>, EngineError> {
        self.step("load", "keep bytecode");
        // No unload may remove this bytecode between here and its record.
        let _kept = self.keep_bytecode();
        let blob = self.blobs.put(&bytecode.bytes)?;
        let mut batch = Batch::new();
        let mut entries = Vec::new();
        for (program, wanted) in loaded.iter().zip(&request.programs) {
            let record = ProgramRecord {
                uid: ProgramUid(self.number()),
                operation,
                name: wanted.name.clone(),
                program_type: program.program_type,
                source: bytecode.source.clone(),
                blob: blob.clone(),
                license: object.license().to_owned(),
                metadata: request.metadata.clone(),
                global_data: request.global_data.clone(),
                map_owner: request.map_owner,
                map_owner_uid: plan.owner.as_ref().map(|owner| owner.uid),
                target: program.target.clone(),
                caller_uid: request.caller_uid,
                id: program.id,
                tag: program.tag,
                map_folder: plan.owner.as_ref().map_or(program.id, |owner| owner.map_folder),
                maps: program.maps.clone(),
                stack_depths: program.stack_depths.clone(),
            };
            batch.put(records::PROGRAMS, record.uid.to_string().as_bytes(), encode(&record)?);
            entries.push(record);
        }
        self.step("load", "record");
        self.commit(batch)?;
        let mut state = self.state();
        for record in &entries {
            state.put_program(record.clone());
        }
        drop(state);
        Ok(entries)
    }

    /// Renames what a load pinned below `pending` to where it belongs. Running it again is fine.
    pub(crate) fn place_programs(
        &self,
        operation: OperationId,
        programs: &[ProgramRecord],
    ) -> Result<(), EngineError> {
        let folder = paths::pending(operation);
        let pending = self.kernel.list_folder(&folder)?;
        for name in &pending {
            if let Some(map) = name.strip_prefix("shared_") {
                self.kernel.make_folder(Path::new(paths::SHARED))?;
                self.kernel.rename(&folder.join(name), &paths::shared(map))?;
            }
        }
        for program in programs {
            let (pin, maps) = (format!("prog_{}", program.id), format!("maps_{}", program.id));
            if pending.contains(&maps) {
                self.kernel.make_folder(Path::new(paths::MAPS))?;
                self.kernel.rename(&folder.join(&maps), &paths::maps(program.id))?;
            }
            if pending.contains(&pin) {
                self.kernel.rename(&folder.join(&pin), &paths::program(program.id))?;
            }
        }
        Ok(self.kernel.remove_folder(&folder)?)
    }
}

fn check(request: &LoadRequest) -> Result<(), EngineError> {
    let invalid = |message: String| Err(EngineError::Invalid(message));
    if request.programs.is_empty() {
        return invalid("the load names no program".to_owned());
    }
    if request.programs.len() > MOST_PROGRAMS {
        return invalid(format!(
            "the load names {} programs; one load takes at most {MOST_PROGRAMS}",
            request.programs.len()
        ));
    }
    let mut names = BTreeSet::new();
    for program in &request.programs {
        if program.name.is_empty() {
            return invalid("a program of the load has no name".to_owned());
        }
        if !names.insert(&program.name) {
            return invalid(format!("the load names program \"{}\" twice", program.name));
        }
    }
    let too_large = |what: &str, size: usize, limit: usize| {
        Err(EngineError::TooLarge { what: what.to_owned(), size: size as u64, limit: limit as u64 })
    };
    let metadata = crate::attach::metadata_size(&request.metadata);
    if metadata > MOST_METADATA {
        return too_large("the metadata", metadata, MOST_METADATA);
    }
    let globals = request.global_data.iter().map(|(name, bytes)| name.len() + bytes.len()).sum();
    if globals > MOST_GLOBALS {
        return too_large("the global data", globals, MOST_GLOBALS);
    }
    Ok(())
}

/// What an fentry, fexit or LSM program is for: as the request says, else as its section says.
fn load_target(
    object: &ObjectFile,
    program: &ProgramRequest,
    program_type: ProgramType,
) -> Result<Option<String>, EngineError> {
    if !program_type.needs_load_target() {
        return Ok(None);
    }
    let asked = program.target.clone().filter(|target| !target.is_empty());
    match asked.or(object.program(&program.name)?.attach_target.clone()) {
        Some(target) => Ok(Some(target)),
        None => Err(EngineError::Invalid(format!(
            "program \"{}\" of type {program_type} needs the name of the {} it is for",
            program.name,
            if program_type == ProgramType::Lsm { "hook" } else { "kernel function" },
        ))),
    }
}

/// The kernel's BTF id of what an fentry, fexit or LSM program is for.
fn attach_id(
    program: &str,
    program_type: ProgramType,
    target: &str,
    kernel: &KernelBtf,
) -> Result<u32, EngineError> {
    let (id, what) = match program_type {
        ProgramType::Lsm => (kernel.lsm_hook_id(target), "LSM hook"),
        _ => (kernel.function_id(target), "function that BTF describes"),
    };
    id.ok_or_else(|| {
        EngineError::Invalid(format!(
            "the kernel has no {what} \"{target}\", which program \"{program}\" is for"
        ))
    })
}

/// Values of the kernel's configuration that can be told without its configuration file.
fn kconfig(name: &str, _: KconfigKind, (major, minor): (u32, u32)) -> Option<KconfigValue> {
    match name {
        "LINUX_KERNEL_VERSION" => Some(KconfigValue::Number(u64::from((major << 16) | (minor << 8)))),
        _ => None,
    }
}
