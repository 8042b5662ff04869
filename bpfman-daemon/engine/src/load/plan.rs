//! The kernel's part of a load: from an object to programs that are pinned below `pending`, and moved into place.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bpfman_model::uapi::map_type;
use bpfman_model::{
    BoundText, LoadLimits, LoadRequest, MapId, MapSpec, OperationId, ProgramFacts, ProgramText, ProgramType,
    TenantRules,
};
use bpfmand_kernel::{Kernel, KernelError, LogRequest, ProgramLoad, RefusalReason};
use bpfmand_object::SlotTarget;
use bpfmand_splice::{CountedLoops, guard_table};

use crate::engine::members::{MemberText, calls_kfuncs, is_tied, no_such_map};
use crate::guard::{TABLE, rules_of, runs_in_tasks};
use crate::load::global_bytes;
use crate::load::linked::{LinkedLoad, ResolvedProgram};
use crate::load::maps::HeldMaps;
use crate::load::verified::{VerifiedSoFar, check_text};
use crate::state::guard_record::ProgramGuard;
use crate::state::records::{MapRecord, ProgramRecord};
use crate::state::{ExtendsRecord, MapGroup};
use crate::{Engine, EngineError, paths};

pub struct LoadPlan<'a> {
    pub object: &'a LinkedLoad<'a>,
    pub globals: BTreeMap<String, Vec<u8>>,
    pub owner: Option<Arc<ProgramRecord>>,
    /// Maps of the previous version that are kept, by name; empty if there is an owner.
    pub inherited: BTreeMap<String, MapId>,
    pub tenant: Option<TenantRules>,
    pub group: MapGroup,
    pub log: LogRequest,
    /// True if it was loaded before: load limits do not apply.
    pub again: bool,
    /// True if an earlier version loaded it with CAP_PERFMON: the verifier may refuse it without.
    pub keeps_perfmon: bool,
    pub limits: LoadLimits,
}

impl<'a> LoadPlan<'a> {
    /// Creates the plan of a request, with the maps of its owner if it has one. Checks the global variables, and that
    /// the load leaves out no program that the object puts into an array.
    pub fn new(
        object: &'a LinkedLoad<'a>,
        load: &LoadRequest,
        owner: Option<Arc<ProgramRecord>>,
    ) -> Result<Self, EngineError> {
        // An owner's arrays were filled by its load.
        if owner.is_none() {
            check_slots(object)?;
        }
        object.check_returns_by_section(load)?;
        Ok(Self {
            object,
            globals: global_bytes(object, load)?,
            owner,
            inherited: BTreeMap::new(),
            tenant: rules_of(&load.owner, load.tenant.as_ref()),
            group: MapGroup::of(&load.owner, &load.metadata),
            log: if load.verifier_log { LogRequest::Always } else { LogRequest::OnFailure },
            again: false,
            keeps_perfmon: false,
            limits: load.limits,
        })
    }
}

pub struct LoadedProgram<H> {
    pub name: String,
    pub handle: H,
    pub facts: ProgramFacts,
    pub load_time: Duration,
    pub program_type: ProgramType,
    pub target: Option<String>,
    pub extends: Option<ExtendsRecord>,
    pub maps: Vec<MapRecord>,
    pub stack_depths: Option<Vec<u32>>,
    pub guard: Option<ProgramGuard>,
    pub member: Option<MemberText>,
    pub log: String,
    pub warnings: Vec<String>,
}

pub type TriedProgram<H> = (String, Result<LoadedProgram<H>, EngineError>);

pub struct Wanted<'a> {
    pub program: &'a ResolvedProgram,
    /// Its text, with the guard's test or the end of a narrowed program in front.
    pub text: Cow<'a, ProgramText>,
    pub front: Option<usize>,
    pub guard: Option<ProgramGuard>,
    pub loops: Option<CountedLoops>,
    pub is_in_array: bool,
}

impl Wanted<'_> {
    pub fn as_load<'a>(&'a self, text: &'a BoundText, log: LogRequest) -> ProgramLoad<'a> {
        let program = self.program;
        ProgramLoad {
            attach_btf_id: program.attach_btf_id,
            attach_module: program.attach_module.as_deref(),
            extends: program.extends.as_ref().map(|extends| extends.place),
            without_perfmon: self.guard.as_ref().is_some_and(|guard| guard.without_perfmon),
            // Members of a chain share one stack: request the stack depths that the kernel computes.
            log: match log {
                LogRequest::OnFailure if program.program_type.is_chained() => LogRequest::StackDepths,
                other => other,
            },
            ..ProgramLoad::new(&program.name, text, program.kind())
        }
    }
}

/// Refuses, as libbpf does, a load without a program that the object puts into a slot: a tail call to the empty slot
/// would fall through, and pass packets that were to be dropped. A reload is exempt.
fn check_slots(object: &LinkedLoad<'_>) -> Result<(), EngineError> {
    let mut users = BTreeMap::new();
    for program in &object.programs {
        for map in program.linked.text.map_indexes() {
            users.entry(map).or_insert(program);
        }
    }
    for slot in object.initial_slots() {
        let SlotTarget::Program(name) = &slot.target else { continue };
        let (Some(map), Some(user)) = (object.maps().get(slot.map), users.get(&slot.map)) else { continue };
        // Another load may have filled a map that is shared by its name.
        if map.pin_by_name || object.programs.iter().any(|program| program.name == *name) {
            continue;
        }
        // The programs of one array have one type.
        let target = user.target.as_deref().map(|target| format!(":{target}")).unwrap_or_default();
        return Err(EngineError::Invalid(format!(
            "slot {} of map \"{}\" is for program \"{name}\", which the load leaves out, so a tail call to it would fall \
             through: add --programs {}:{name}{target}",
            slot.key,
            map.name,
            user.program_type.name()
        )));
    }
    Ok(())
}

impl<K: Kernel> Engine<K> {
    pub(crate) fn load_pending(
        &self,
        operation: OperationId,
        plan: &LoadPlan<'_>,
    ) -> Result<Vec<LoadedProgram<K::Handle>>, EngineError> {
        let folder = paths::pending(operation);
        self.load_programs(plan, Some(&folder))?.into_iter().map(|(_, loaded)| loaded).collect()
    }

    /// Loads programs. With a folder, pins them and stops at the first refusal; without one, in a dry run, tries all.
    pub(crate) fn load_programs(
        &self,
        plan: &LoadPlan<'_>,
        folder: Option<&Path>,
    ) -> Result<Vec<TriedProgram<K::Handle>>, EngineError> {
        let mut time = Duration::ZERO;
        let tried = self.load_each(plan, folder, &mut time);
        let are_all_loaded = |tried: &Vec<TriedProgram<_>>| tried.iter().all(|(_, loaded)| loaded.is_ok());
        if folder.is_none() || !tried.as_ref().is_ok_and(are_all_loaded) {
            self.charge_dropped(plan, time);
        }
        tried
    }

    fn load_each(
        &self,
        plan: &LoadPlan<'_>,
        folder: Option<&Path>,
        time: &mut Duration,
    ) -> Result<Vec<TriedProgram<K::Handle>>, EngineError> {
        let wanted = self.under_rules(plan)?;
        check_text(plan, &wanted)?;
        let specs = self.specs(plan)?;
        if let Some(folder) = folder {
            self.step("load", "make pending folder");
            self.kernel.make_folder(folder)?;
        }
        self.step("load", "create maps");
        let maps = self.create_maps(plan, &specs, &wanted, folder)?;
        let mut tried = Vec::with_capacity(wanted.len());
        let mut verified = VerifiedSoFar::default();
        for program in &wanted {
            let loaded = self.load_program(plan, program, &maps, time);
            let loaded = loaded.and_then(|loaded| self.within_steps(plan, program, loaded));
            let mut loaded = loaded.and_then(|loaded| verified.with(self, plan, loaded));
            if let (Some(folder), Ok(loaded)) = (folder, &mut loaded) {
                self.pin_program(plan, folder, loaded, &maps)?;
            }
            // Further programs would occupy the verifier in vain.
            let is_too_much = matches!(&loaded, Err(EngineError::Verified(_)));
            let is_last = is_too_much || folder.is_some() && loaded.is_err();
            tried.push((program.program.name.clone(), loaded));
            if is_last {
                return Ok(tried);
            }
        }
        if folder.is_some() {
            self.fill_slots(plan, &tried, &maps)?;
            self.fill_functions(plan, &tried, &maps)?;
        }
        Ok(tried)
    }

    fn fill_slots(
        &self,
        plan: &LoadPlan<'_>,
        loaded: &[TriedProgram<K::Handle>],
        (handles, _): &HeldMaps<K::Handle>,
    ) -> Result<(), EngineError> {
        let program_of = |wanted: &String| {
            let found = loaded.iter().find(|(name, _)| name == wanted);
            found.and_then(|(_, loaded)| loaded.as_ref().ok()).map(|loaded| &loaded.handle)
        };
        for (number, slot) in plan.object.initial_slots().iter().enumerate() {
            // Each update may take the kernel some milliseconds.
            if number % 64 == 0 {
                self.step("load", "fill slots");
            }
            let value = match &slot.target {
                SlotTarget::Map(index) => handles.get(*index).and_then(Option::as_ref),
                // A program may be missing if no program of the request uses its array.
                SlotTarget::Program(name) => program_of(name),
            };
            if let (Some(Some(map)), Some(value)) = (handles.get(slot.map), value) {
                self.kernel.fill_slot(map, slot.key, value)?;
            }
        }
        Ok(())
    }

    fn load_program(
        &self,
        plan: &LoadPlan<'_>,
        wanted: &Wanted<'_>,
        (_, maps): &HeldMaps<K::Handle>,
        time: &mut Duration,
    ) -> Result<LoadedProgram<K::Handle>, EngineError> {
        self.step("load", "load program");
        // The program keeps its table alive.
        let program = wanted.program;
        let is_guarded = wanted.guard.is_some() && runs_in_tasks(program.program_type);
        let table = is_guarded.then(|| self.kernel.create_map(&guard_table(), None)).transpose()?;
        let table_id =
            table.as_ref().map(|table| self.kernel.map_of(table)).transpose()?.map(|facts| facts.id);
        let id_of = |index: usize| if index == TABLE { table_id } else { maps.get(index)?.id };
        let bound = wanted.text.bind_by(id_of);
        let bound = bound.map_err(|index| no_such_map(&program.name, index))?;
        let log = self.log_on_credit(plan)?;
        let began = Instant::now();
        let loaded = self.charged(plan, time, || self.kernel.load_program(&wanted.as_load(&bound, log)));
        let load_time = began.elapsed();
        let counted = if loaded.is_ok() { &self.work.verified } else { &self.work.refused };
        counted.add(load_time);
        let loaded = loaded.map_err(|error| self.explained(error, plan.object, wanted))?;
        plan.object.warnings.iter().for_each(|what| tracing::warn!(program = program.name, "{what}"));
        let facts = self.kernel.program_of(&loaded.program)?;
        self.work.add_instructions(facts.verified_insns);
        let member = (program.program_type.is_chained() && wanted.front.is_none()).then(|| MemberText {
            needs_own_btf: is_tied(plan.object, &wanted.text),
            text: Arc::new(bound),
            local_type_ids: program.linked.local_type_ids.as_slice().into(),
            is_altered: false,
            specialised: Arc::default(),
        });
        Ok(LoadedProgram {
            member,
            name: program.name.clone(),
            facts,
            handle: loaded.program,
            load_time,
            program_type: program.program_type,
            target: program.target.clone(),
            extends: program.extends.as_ref().map(|extends| extends.record.clone()),
            maps: maps.clone(),
            stack_depths: loaded.stack_depths,
            guard: wanted.guard.clone().map(|guard| ProgramGuard { table: table_id, ..guard }),
            log: loaded.log,
            warnings: plan.object.warnings.iter().cloned().chain(loaded.warnings).collect(),
        })
    }

    fn pin_program(
        &self,
        plan: &LoadPlan<'_>,
        folder: &Path,
        program: &mut LoadedProgram<K::Handle>,
        (handles, maps): &HeldMaps<K::Handle>,
    ) -> Result<(), EngineError> {
        let id = program.facts.id;
        self.step("load", "pin program");
        self.kernel.pin(&program.handle, &folder.join(format!("prog_{id}")))?;
        self.hold_maps(program, handles)?;
        if plan.owner.is_none() {
            let pins = folder.join(format!("maps_{id}"));
            self.kernel.make_folder(&pins)?;
            for (handle, map) in handles.iter().zip(maps) {
                if let (Some(handle), true) = (handle, map.public) {
                    self.kernel.pin(handle, &pins.join(&map.name))?;
                }
            }
        }
        Ok(())
    }

    /// Makes the program hold its maps: a map that only its pin holds would end when the pin is removed. Maps that refer to
    /// objects are excluded, because they could hold the program in turn.
    fn hold_maps(
        &self,
        program: &mut LoadedProgram<K::Handle>,
        handles: &[Option<K::Handle>],
    ) -> Result<(), EngineError> {
        for (handle, map) in handles.iter().zip(&program.maps) {
            let Some(handle) = handle.as_ref().filter(|_| map.public) else { continue };
            if map.id.is_some_and(|id| program.facts.map_ids.contains(&id)) {
                continue;
            }
            let kind = self.kernel.map_of(handle)?.map_type;
            if !map_type::holds_objects(kind) && !map_type::is_sockmap(kind) {
                self.kernel.bind_map(&program.handle, handle)?;
                program.facts.map_ids.extend(map.id);
            }
        }
        Ok(())
    }

    /// Adds type and release to an unexplained refusal: often the kernel lacks a feature that the type needs.
    pub(crate) fn with_type(&self, error: KernelError, program_type: ProgramType) -> KernelError {
        match error {
            KernelError::Refused { program, why: RefusalReason::Unsaid, log, source } => {
                let release = &self.kernel.features().release;
                let what = format!("it is of type {}, and this kernel is {release}", program_type.name());
                KernelError::Refused { program, why: RefusalReason::Supposed(what), log, source }
            }
            other => other,
        }
    }

    pub(crate) fn specs(&self, plan: &LoadPlan<'_>) -> Result<Vec<MapSpec>, EngineError> {
        let mut specs = plan.object.with_globals(&plan.globals)?;
        let values = self.kconfig(plan.object)?;
        plan.object.set_kconfig(&mut specs, |variable| values.get(&variable.name).cloned())?;
        Ok(specs)
    }

    fn under_rules<'a>(&self, plan: &LoadPlan<'a>) -> Result<Vec<Wanted<'a>>, EngineError> {
        let programs = &plan.object.programs;
        // A missing BTF is no error here: where containers have cgroups, guards need none. Packet programs have no guard.
        let asks = |program: &ResolvedProgram| {
            runs_in_tasks(program.program_type) || calls_kfuncs(&program.linked.text.insns)
        };
        let asks = plan.tenant.is_some() && programs.iter().any(asks);
        let kernel = asks.then(|| plan.object.types.btf().ok()).flatten();
        let wanted = programs.iter().map(|program| {
            let text = Cow::Borrowed(&program.linked.text);
            let is_of =
                |target: &SlotTarget| matches!(target, SlotTarget::Program(name) if *name == program.name);
            let is_in_array = plan.object.initial_slots().iter().any(|slot| is_of(&slot.target));
            let wanted = Wanted { program, text, front: None, guard: None, loops: None, is_in_array };
            match &plan.tenant {
                Some(rules) => self.check_and_guard(wanted, rules, kernel, plan),
                None => Ok(wanted),
            }
        });
        wanted.collect()
    }

    /// Moves the pins of programs and maps into place; idempotent.
    pub(crate) fn place_programs(
        &self,
        operation: OperationId,
        programs: &[Arc<ProgramRecord>],
    ) -> Result<(), EngineError> {
        let folder = paths::pending(operation);
        let pending = self.kernel.list_folder(&folder)?;
        self.place_shared_maps(&folder, &pending, programs)?;
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
        // Other pins there have no record: an earlier version reused the number of an interrupted start.
        self.kernel.remove_folder(&folder).or_else(|_not_empty| self.remove_tree(&folder))
    }
}
