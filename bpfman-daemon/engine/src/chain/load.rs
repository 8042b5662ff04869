//! Loading of a chain: first the maps, then its programs from the last to the entry, all pinned below `pending`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bpfman_model::map_type::{PERCPU_ARRAY, PROG_ARRAY};
use bpfman_model::{HookKey, HookKind, Interface, MapId, MapSpec, ProgramFacts, ProgramType};
use bpfmand_kernel::{Kernel, KernelError, LogRequest, ProgramKind, ProgramLoad};
use bpfmand_splice::{
    ArrayUse, Bindings, COUNTER_ROWS, ChainPlan, CounterLayout, JoinMode, Member, Splice, SpliceOptions,
    TimeLayout, Timing, compile,
};

use crate::chain::build::{Joined, Wanted};
use crate::chain::built::Lease;
use crate::chain::ladder::{ChainInputs, PerfmonUse};
use crate::chain::refused::{Refused, member_at};
use crate::engine::undo::Cause;
use crate::error::UndoFailure;
use crate::state::chain_record::{
    CarriedRecord, ChainId, ChainRecord, Composition, SegmentRecord, TwinProgramRecord, TwinRecord,
};
use crate::{Engine, EngineError, paths};

struct Loading<'a, H> {
    plan: &'a ChainPlan,
    /// For each program, whether it is loaded without `CAP_PERFMON`.
    without_perfmon: Vec<bool>,
    arrays: Vec<(MapId, H)>,
    counters: Option<(MapId, H)>,
    timing: Option<Timing>,
}

impl<H> Loading<'_, H> {
    fn is_without_perfmon(&self, place: ArrayUse) -> bool {
        match place {
            ArrayUse::Segment(number) | ArrayUse::Twin(number) => {
                self.without_perfmon.get(number).is_some_and(|without| *without)
            }
            ArrayUse::Member(_) => false,
        }
    }
}

pub(crate) struct Programs {
    pub segments: Vec<SegmentRecord>,
    twins: Vec<TwinProgramRecord>,
    arrays: Vec<MapId>,
    counters: Option<MapId>,
    timing: Option<Timing>,
    pub jited_bytes: u32,
    /// Number of header tests and addresses that members reuse from earlier members.
    pub shared: u32,
}

pub(crate) enum Failure {
    Verifier(Box<Refused>),
    Other(EngineError),
}

impl Cause for Failure {
    fn not_undone(self, failures: Vec<UndoFailure>) -> Self {
        match self {
            Self::Other(error) => Self::Other(error.not_undone(failures)),
            // The next plan is tried anyway: recovery removes remains of this one.
            Self::Verifier(refused) => {
                tracing::warn!(?failures, "a chain that the verifier refused is not removed");
                Self::Verifier(refused)
            }
        }
    }
}

impl<E: Into<EngineError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

impl<K: Kernel> Engine<K> {
    pub(super) fn load_chain(
        &self,
        key: &HookKey,
        interface: &Interface,
        members: &[Joined],
        wanted: &Wanted,
        composition: Composition,
    ) -> Result<Lease<'_, K>, EngineError> {
        // A member that cannot be read blocks changes of the whole hook: name it.
        let text = |member: &Joined| {
            self.member(&member.program).map_err(|error| match error {
                EngineError::Reader(why) => {
                    let (id, owner) = (member.program.id, member.program.owner());
                    EngineError::Reader(format!("{why} (program {id} of {owner}, a member of this hook)"))
                }
                other => other,
            })
        };
        let texts = members.iter().map(text);
        let texts = texts.collect::<Result<Vec<_>, _>>()?;
        let taken = self.load_best(&ChainInputs { key, interface, members, texts: &texts, wanted }, true)?;
        let Programs { segments, twins, arrays, counters, timing, .. } = taken.programs;
        let record = ChainRecord {
            id: taken.id,
            composition,
            boot: self.boot.clone(),
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            fallbacks: taken.fallbacks,
            attempt: taken.attempt,
            as_subprograms: wanted.as_subprograms,
            specialised: taken.specialised,
            savings: taken.savings,
            has_perfmon: taken.has_perfmon,
            segments,
            arrays,
            counters,
            twin: timing.map(|Timing { ticks, samples, phase }| TwinRecord {
                ticks,
                phase,
                times: samples,
                programs: twins,
            }),
            members: carried(members, &taken.plan),
            reason: taken.plan.reason(),
        };
        Ok(Lease::take(self, Arc::new(record), *key))
    }

    pub(super) fn load_plan(
        &self,
        id: Option<ChainId>,
        recipe: &ChainInputs<'_>,
        parts: &[Member<'_>],
        (planned, perfmon): (&ChainPlan, PerfmonUse),
        options: &SpliceOptions<'_>,
    ) -> Result<Programs, Failure> {
        let kind = recipe.key.kind;
        let folder = id.map(paths::pending_chain);
        if let Some(folder) = &folder {
            self.step("chain", "make pending folder");
            self.kernel.make_folder(folder)?;
        }
        let pin = |name: &str| folder.as_ref().map(|folder| folder.join(name));
        let without_perfmon = planned.segments.iter().map(|segment| {
            let mut members = recipe.members[segment.members.clone()].iter();
            perfmon == PerfmonUse::NotForTenants && members.any(Joined::is_without_perfmon)
        });
        let without_perfmon = without_perfmon.collect();
        let mut loading =
            Loading { plan: planned, without_perfmon, arrays: Vec::new(), counters: None, timing: None };
        for number in 0..planned.arrays.len() {
            let map = self.make_map(&array_of_one_program(), pin(&paths::array(number)).as_deref())?;
            loading.arrays.push(map);
        }
        if options.counters {
            let layout = CounterLayout::new(options.hook, planned.members.len());
            loading.counters = Some(self.make_map(&counters_of(layout), pin(paths::COUNTERS).as_deref())?);
        }
        // Hold these maps until the loaded programs keep them alive: a dry run pins nothing.
        let mut _times = None;
        if planned.timed {
            let layout = TimeLayout::new(planned.members.len());
            let (ticks, kept_ticks) = self.make_map(&ticks_until_timed(), pin(paths::TICKS).as_deref())?;
            let (samples, kept_samples) = self.make_map(&times_of(layout), pin(paths::TIMES).as_deref())?;
            loading.timing = Some(Timing { ticks, samples, phase: self.options.timed_packet });
            _times = Some((kept_ticks, kept_samples));
        }
        let arrays: Vec<MapId> = loading.arrays.iter().map(|(id, _)| *id).collect();
        let bindings = Bindings {
            arrays: &arrays,
            counters: loading.counters.as_ref().map(|(id, _)| *id),
            timing: loading.timing,
        };
        let name = program_name(kind);
        let compiled = compile(name, parts, planned, options, &bindings)
            .map_err(|source| EngineError::Unplanned(Box::new(source)))?;
        for (used, (_, array)) in planned.arrays.iter().zip(&loading.arrays) {
            if let ArrayUse::Member(member) = used {
                let alone = self.loaded_program(recipe.members[*member].program.id)?;
                self.kernel.fill_slot(array, 0, &alone)?;
            }
        }
        // From the last: the target of a tail call must exist before the call.
        let mut jited_bytes = 0_u32;
        let mut twins = Vec::with_capacity(compiled.twins.len());
        for (number, program) in compiled.twins.iter().enumerate().rev() {
            let place = (ArrayUse::Twin(number), pin(&paths::twin(number)));
            let facts = self.load_one(kind, place, program, &loading, parts)?;
            jited_bytes = jited_bytes.saturating_add(facts.bytes_jited);
            twins.push(TwinProgramRecord { program: facts.id, tag: facts.tag });
        }
        twins.reverse();
        let shared = compiled.programs.iter().map(|program| program.shared).sum();
        let mut segments = Vec::with_capacity(compiled.programs.len());
        for (number, program) in compiled.programs.iter().enumerate().rev() {
            let place = (ArrayUse::Segment(number), pin(&paths::segment(number)));
            let facts = self.load_one(kind, place, program, &loading, parts)?;
            jited_bytes = jited_bytes.saturating_add(facts.bytes_jited);
            let segment = &planned.segments[number];
            segments.push(SegmentRecord {
                program: facts.id,
                tag: facts.tag,
                first: segment.members.start as u32,
                members: segment.members.len() as u32,
                verified_insns: facts.verified_insns,
                reason: segment.reason.as_ref().map(ToString::to_string).unwrap_or_default(),
            });
        }
        segments.reverse();
        let Loading { counters, timing, .. } = loading;
        let counters = counters.map(|(id, _)| id);
        Ok(Programs { segments, twins, arrays, counters, timing, jited_bytes, shared })
    }

    fn load_one(
        &self,
        kind: HookKind,
        (place, pin): (ArrayUse, Option<PathBuf>),
        program: &Splice,
        loading: &Loading<'_, K::Handle>,
        parts: &[Member<'_>],
    ) -> Result<ProgramFacts, Failure> {
        self.step("chain", "load");
        let load = ProgramLoad {
            without_perfmon: loading.is_without_perfmon(place),
            log: LogRequest::UnlessTooComplex,
            ..ProgramLoad::new(&program.text.0.name, &program.text, program_kind(kind))
        };
        let loaded = match self.work.chain_programs.during(|| self.kernel.load_program(&load)) {
            Ok(loaded) => loaded,
            Err(source @ KernelError::Refused { .. }) => {
                let member = member_at(&source, program).and_then(|member| parts.get(member));
                let member = member.map(|member| member.label.to_owned());
                let shares_headers = program.shared > 0;
                return Err(Failure::Verifier(Box::new(Refused { member, shares_headers, source })));
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(pin) = pin {
            self.step("chain", "pin");
            self.kernel.pin(&loaded.program, &pin)?;
        }
        for (used, (_, array)) in loading.plan.arrays.iter().zip(&loading.arrays) {
            if *used == place {
                self.kernel.fill_slot(array, 0, &loaded.program)?;
            }
        }
        Ok(self.kernel.program_of(&loaded.program)?)
    }

    pub(super) fn make_map(
        &self,
        spec: &MapSpec,
        pin: Option<&Path>,
    ) -> Result<(MapId, K::Handle), EngineError> {
        self.step("chain", "create map");
        let map = self.kernel.create_map(spec, None)?;
        if let Some(pin) = pin {
            self.kernel.pin(&map, pin)?;
        }
        Ok((self.kernel.map_of(&map)?.id, map))
    }
}

fn carried(members: &[Joined], planned: &ChainPlan) -> Vec<CarriedRecord> {
    let ways = members.iter().zip(&planned.members);
    ways.map(|(member, plan)| CarriedRecord {
        program: member.program.uid,
        shadow: member.link.sharing.shadow,
        way: plan.way,
        reason: plan.reason.as_ref().map(ToString::to_string).unwrap_or_default(),
        runs: (plan.way == JoinMode::Standalone).then_some(member.program.id),
    })
    .collect()
}

pub(super) fn program_kind(kind: HookKind) -> ProgramKind {
    if kind == HookKind::Xdp { ProgramType::Xdp.into() } else { ProgramType::Tc.into() }
}

/// Returns the name of a chain's programs, without the interface: many interfaces may share one chain.
pub const fn program_name(kind: HookKind) -> &'static str {
    match kind {
        HookKind::Xdp => "xdp_chain",
        HookKind::Tc(_) | HookKind::Tcx(_) => "tc_chain",
    }
}

fn array_of_one_program() -> MapSpec {
    MapSpec::sized("chain_next", PROG_ARRAY, 4, 4, 1)
}

fn counters_of(layout: CounterLayout) -> MapSpec {
    MapSpec::sized("chain_counters", PERCPU_ARRAY, 4, layout.value_size() as u32, COUNTER_ROWS)
}

fn ticks_until_timed() -> MapSpec {
    MapSpec::sized("chain_ticks", PERCPU_ARRAY, 4, 8, 1)
}

fn times_of(layout: TimeLayout) -> MapSpec {
    MapSpec::sized("chain_times", PERCPU_ARRAY, 4, layout.value_size() as u32, COUNTER_ROWS)
}
