//! Load: turns bytecode into loaded, pinned and recorded programs, all or none.

mod addresses;
mod ahead;
pub mod extension;
mod kconfig;
mod kept_reader;
mod kernel_types;
pub mod linked;
mod map_group;
mod map_memory;
pub mod maps;
pub mod plan;
mod policy_recheck;
pub mod record;
mod refused;
mod steps;
pub mod struct_ops;
mod tenant;
mod verified;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bpfman_model::{BytecodeSource, LoadRequest, ProgramId, ProgramUid};
use bpfmand_kernel::Kernel;
use bpfmand_object::{ObjectError, ObjectFacts};
use bpfmand_store::Blob;

use crate::describe::details::ProgramDetails;
use crate::engine::bytecode::{ImageAsk, read_file};
use crate::engine::locks::{Guard, Subject};
use crate::engine::undo::{retry_once, undoing};
use crate::guard::rules_of;
use crate::load::ahead::BytecodeAhead;
use crate::load::kept_reader::KeptReader;
use crate::load::plan::LoadPlan;
use crate::load::record::LoadRecorder;
use crate::load::struct_ops::check_own;
use crate::state::budget_record::ProgramBudget;
use crate::state::records::{ProgramRecord, SourceRecord};
use crate::state::{Changes, MapGroup, check_metadata, ensure_fits};
use crate::{Engine, EngineError};

const MAX_PROGRAMS: usize = 64;

/// Maximum size of a load's global variables with their names, in bytes: a record stores them.
const MAX_GLOBALS: usize = 24 << 10;

#[derive(Debug)]
pub struct LoadOutcome {
    /// Loaded programs, in the order of the request.
    pub programs: Vec<ProgramDetails>,
    /// Verifier logs in the same order, if requested.
    pub logs: Vec<String>,
}

pub struct Bytecode {
    pub blob: Blob,
    pub source: SourceRecord,
}

impl<K: Kernel> Engine<K> {
    pub fn load(&self, request: &LoadRequest) -> Result<LoadOutcome, EngineError> {
        let done = self.load_all(request);
        self.work.load(&done);
        done
    }

    fn load_all(&self, request: &LoadRequest) -> Result<LoadOutcome, EngineError> {
        check(request)?;
        let _operation = self.begin()?;
        let bytecode = self.fetch(request)?;
        self.load_bytecode(request, &bytecode).map_err(|error| error.of(&origin(&request.source)))
    }

    fn load_bytecode(&self, request: &LoadRequest, bytecode: &Bytecode) -> Result<LoadOutcome, EngineError> {
        let sizes = self.map_sizes(request);
        let ahead = BytecodeAhead::begin(self, &bytecode.blob);
        let object = self.link_load(Arc::clone(bytecode.blob.bytes()), &request.programs, &sizes)?;
        let _kept_reader = KeptReader::of(self, &object);
        check_own(&object, &request.programs, request.map_owner)?;
        // Lock order: memory and shared maps before programs.
        let _memory = self.alone_of_owner(&MapGroup::of(&request.owner, &request.metadata));
        let _shared = object.holds_several().then(|| self.lock(Subject::SharedMaps));
        let owner = request.map_owner.map(|id| self.lock_owner(id)).transpose()?;
        let held = owner.as_ref().map(|(_, owner)| owner.uid);
        let tenant = rules_of(&request.owner, request.tenant.as_ref()).is_some();
        let _extended = self.lock_extended(&object.programs, (held, &[]), (&request.owner, tenant))?;
        let operation = self.operation();
        let budget = self.budget_of(request)?;
        let plan = LoadPlan::new(&object, request, owner.as_ref().map(|(_, record)| Arc::clone(record)))?;
        // Lock new programs until their pins are in place: an unload that finished earlier would leave pins behind.
        let mut _new = Vec::new();
        let (mut loaded, recorded) = undoing(|undo| {
            undo.push(|| self.undo_pending_of(operation));
            let loaded = self.load_pending(operation, &plan)?;
            let uids: Vec<_> = loaded.iter().map(|_| ProgramUid(self.number())).collect();
            _new.extend(uids.iter().map(|uid| self.lock(Subject::Program(*uid))));
            // Keep unloads from removing this bytecode before its record is written.
            let _kept_bytecode = self.keep_bytecode();
            // Undo runs after `_kept_bytecode` is released.
            undo.push_sure(|| self.drop_bytecode([bytecode.blob.id()]));
            self.step("load", "keep bytecode");
            ahead.finish()?;
            let (texts, files) = self.keep_texts(&object);
            undo.push_sure(move || self.drop_bytecode(&files));
            let recorder = LoadRecorder {
                operation,
                load: request,
                bytecode,
                plan: &plan,
                budget: budget.clone(),
                boot: &self.boot,
            };
            let programs = loaded.iter().zip(uids).zip(texts);
            let programs = programs.map(|((program, uid), text)| recorder.record(uid, program, text));
            let programs: Vec<_> = programs.map(Arc::new).collect();
            let mut changes = Changes::default();
            programs.iter().for_each(|program| changes.put_program(Arc::clone(program)));
            self.step("load", "record");
            self.commit(changes)?;
            Ok::<_, EngineError>((loaded, programs))
        })?;
        for (program, loaded) in recorded.iter().zip(&mut loaded) {
            self.keep_member(program, loaded.member.take());
        }
        self.step("load", "move into place");
        retry_once(|| self.place_programs(operation, &recorded))?;
        let described = recorded.iter().zip(&loaded);
        let programs =
            described.map(|(record, loaded)| self.describe_loaded(record, loaded.facts.clone())).collect();
        let logs = loaded.into_iter().filter(|_| request.verifier_log).map(|program| program.log).collect();
        Ok(LoadOutcome { programs, logs })
    }

    /// Returns the budget and lease. If the lease ends after this check, the programs still end once they are recorded.
    fn budget_of(&self, request: &LoadRequest) -> Result<ProgramBudget, EngineError> {
        let ends = self.deadline(request.ttl)?;
        if let Some(lease) = request.lease {
            self.client_leases.ensure_held(lease, request.caller_uid)?;
        }
        let (cpu, measured, lease) = (request.cpu, request.measured, request.lease);
        Ok(ProgramBudget { cpu, measured, excess: None, ends, lease })
    }

    pub(crate) fn fetch(&self, request: &LoadRequest) -> Result<Bytecode, EngineError> {
        match &request.source {
            BytecodeSource::File(path) => Ok(Bytecode {
                blob: Blob::new(read_file(
                    path,
                    request.caller_uid,
                    self.options.images.allows_files(request.caller_uid)?,
                )?),
                source: SourceRecord::File { path: path.display().to_string() },
            }),
            BytecodeSource::Image { url, pull_policy, credentials } => {
                let ask = ImageAsk {
                    url,
                    pull_policy: *pull_policy,
                    credentials: credentials.as_ref(),
                    caller_uid: request.caller_uid,
                };
                let image = self.options.images.fetch(ask, &|_, _| {})?;
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
                    blob: Blob::new(image.bytes),
                    source: SourceRecord::Image {
                        url: url.clone(),
                        pull_policy: *pull_policy,
                        digest: image.digest,
                        verified_by: image.verified_by,
                        evidence: image.evidence,
                    },
                })
            }
        }
    }

    pub(crate) fn lock_owner(&self, id: ProgramId) -> Result<(Guard, Arc<ProgramRecord>), EngineError> {
        let refuse = |reason: &str| EngineError::MapOwner { owner: id, reason: reason.to_owned() };
        let (held, record) = self
            .lock_program(id)
            .map_err(|_absent| refuse("it does not exist or is not managed by bpfman"))?;
        if self.state().lost.contains(&record.uid) {
            return Err(refuse("it could not be loaded again after a reboot"));
        }
        Ok((held, record))
    }
}

pub fn origin(source: &BytecodeSource) -> String {
    match source {
        BytecodeSource::File(path) => path.display().to_string(),
        BytecodeSource::Image { url, .. } => format!("image {url}"),
    }
}

pub fn check(request: &LoadRequest) -> Result<(), EngineError> {
    let invalid = |message: String| Err(EngineError::Invalid(message));
    if request.programs.is_empty() {
        return invalid("the load names no program".to_owned());
    }
    if request.programs.len() > MAX_PROGRAMS {
        return invalid(format!(
            "the load names {} programs; one load takes at most {MAX_PROGRAMS}",
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
    check_metadata(&request.metadata)?;
    check_values(request)
}

fn check_values(request: &LoadRequest) -> Result<(), EngineError> {
    let texts = request.values.globals.iter().map(|(name, text)| name.len() + text.len()).sum();
    ensure_fits("the text of the global data", texts, MAX_GLOBALS)?;
    let names = request.values.map_sizes.keys().map(String::len).sum();
    ensure_fits("names of maps with other sizes", names, MAX_GLOBALS)?;
    check_globals(&request.global_data)
}

/// A short text may stand for a large variable, and one variable may have many names: check the total size first.
fn global_bytes(
    object: &ObjectFacts,
    request: &LoadRequest,
) -> Result<BTreeMap<String, Vec<u8>>, EngineError> {
    let names = request.values.globals.keys();
    let sizes = names.map(|name| Ok(name.len() + object.global_size(name)?));
    let named = sizes.sum::<Result<usize, ObjectError>>()?;
    ensure_fits("the global data", named, MAX_GLOBALS)?;
    let globals = object.global_bytes(&request.global_data, &request.values)?;
    check_globals(&globals)?;
    Ok(globals)
}

fn check_globals(globals: &BTreeMap<String, Vec<u8>>) -> Result<(), EngineError> {
    let bytes = globals.iter().map(|(name, bytes)| name.len() + bytes.len()).sum();
    ensure_fits("the global data", bytes, MAX_GLOBALS)
}
