//! Loading a chain: maps first, then its programs from the last to the entry, all pinned below `pending`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bpfmand_core::{HookKey, HookKind, Interface, MapId, MapSpec, ProgramFacts};
use bpfmand_kernel::{Kernel, KernelError, LogRequest, ProgramKind, ProgramLoad};
use bpfmand_splice::{
    ArrayUse, Attempt, Bindings, COUNTER_ROWS, ChainPlan, CounterLayout, Member, Splice, SpliceOptions,
    TimeLayout, Timing, Way, compile, plan,
};

use crate::chain::build::{Joined, Wanted};
use crate::chain::built::Lease;
use crate::chain::refused::{Refused, member_at};
use crate::engine::undo::{Cause, undoing};
use crate::state::chain_record::{
    CarriedBy, CarriedRecord, ChainId, ChainRecord, Composition, SegmentRecord, TwinProgramRecord, TwinRecord,
};
use crate::state::hook_names::hook_text;
use crate::{Engine, EngineError, paths};

const PROG_ARRAY: u32 = 3;
const PERCPU_ARRAY: u32 = 6;

/// A chain as far as it is loaded.
pub(crate) struct Loading<'a, H> {
    plan: &'a ChainPlan,
    arrays: Vec<(MapId, H)>,
    counters: Option<(MapId, H)>,
    timing: Option<Timing>,
}

/// The programs of a chain.
pub(crate) struct Programs {
    pub segments: Vec<SegmentRecord>,
    twins: Vec<TwinProgramRecord>,
    /// Bytes of machine code, of all of them.
    pub jited_bytes: u32,
}

/// Why a plan did not become a chain.
pub(crate) enum Failure {
    /// The verifier refused one of its programs: another plan may pass.
    Verifier(Box<Refused>),
    /// Anything else.
    Other(EngineError),
}

impl Cause for Failure {
    fn not_undone(self, failures: Vec<String>) -> Self {
        match self {
            Self::Other(error) => Self::Other(error.not_undone(failures)),
            // Another plan is tried all the same: what is left of this one is in nobody's way, and recovery removes it.
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
    /// Plans, compiles and loads a chain. If the verifier refuses it, the next plan gives up some of the speed.
    pub(super) fn load_chain(
        &self,
        key: &HookKey,
        interface: &Interface,
        members: &[Joined],
        wanted: &Wanted,
        composition: Composition,
    ) -> Result<Lease<'_, K>, EngineError> {
        let texts =
            members.iter().map(|member| self.member(&member.program)).collect::<Result<Vec<_>, _>>()?;
        let special = self.special_of(members, &texts)?;
        let mut options = self.splice_options(wanted, &special);
        let parts = self.parts(members, &texts)?;
        let cannot =
            |source| EngineError::Chain { hook: hook_text(key, interface), source: Box::new(source) };
        let mut first: Option<Box<Refused>> = None;
        let mut tried: Vec<ChainPlan> = Vec::new();
        let mut fallbacks = 0;
        let mut attempt = Some(Attempt::First);
        while let Some(now) = attempt {
            attempt = now.next();
            options.attempt = now;
            let planned = match (plan(&parts, &options), &first) {
                (Ok(planned), _) => planned,
                (Err(source), None) => return Err(cannot(source)),
                // A way that these members cannot go at all is no way round what the verifier refused.
                (Err(_), Some(_)) => continue,
            };
            if tried.iter().any(|other| is_same_way(other, &planned)) {
                continue;
            }
            // A number for each, so that nothing of a failed one is left in the way.
            let id = ChainId(self.number());
            let loaded = undoing(|undo| {
                undo.push(|| self.undo_pending_of(bpfmand_core::OperationId(id.0)));
                self.load_plan(Some(id), key, members, &parts, &planned, &options)
            });
            match loaded {
                Ok((loading, programs)) => {
                    let record = ChainRecord {
                        id,
                        composition,
                        boot: self.boot.clone(),
                        made_by: env!("CARGO_PKG_VERSION").to_owned(),
                        fallbacks,
                        attempt: now.into(),
                        as_subprograms: wanted.as_subprograms,
                        segments: programs.segments,
                        arrays: loading.arrays.iter().map(|(id, _)| *id).collect(),
                        counters: loading.counters.as_ref().map(|(id, _)| *id),
                        twin: loading.timing.map(|Timing { ticks, samples }| TwinRecord {
                            ticks,
                            times: samples,
                            programs: programs.twins,
                        }),
                        members: carried(members, &planned),
                        reason: planned.reason(),
                    };
                    return Ok(Lease::take(self, Arc::new(record), *key));
                }
                Err(Failure::Verifier(refused)) => {
                    tracing::warn!(
                        hook = hook_text(key, interface),
                        attempt = %now,
                        error = %refused.source,
                        "the verifier refused a chain of members that pass alone"
                    );
                    fallbacks += 1;
                    first.get_or_insert(refused);
                    tried.push(planned);
                }
                Err(Failure::Other(EngineError::Unplanned(source))) => {
                    if first.is_none() {
                        return Err(cannot(*source));
                    }
                    tried.push(planned);
                }
                Err(Failure::Other(error)) => return Err(error),
            }
        }
        match first {
            Some(refused) => Err(EngineError::ChainRefused {
                hook: hook_text(key, interface),
                member: refused.member,
                log: refused.log,
                ways: tried.len(),
                source: Box::new(refused.source),
            }),
            None => Err(EngineError::Invalid("a chain without a plan".to_owned())),
        }
    }

    /// Loads a plan: pinned as this chain, or by descriptors alone.
    pub(crate) fn load_plan<'p>(
        &self,
        id: Option<ChainId>,
        key: &HookKey,
        members: &[Joined],
        parts: &[Member<'_>],
        planned: &'p ChainPlan,
        options: &SpliceOptions<'_>,
    ) -> Result<(Loading<'p, K::Handle>, Programs), Failure> {
        let folder = id.map(paths::pending_chain);
        if let Some(folder) = &folder {
            self.step("chain", "make pending folder");
            self.kernel.make_folder(folder)?;
        }
        let pin = |name: &str| folder.as_ref().map(|folder| folder.join(name));
        let mut loading = Loading { plan: planned, arrays: Vec::new(), counters: None, timing: None };
        for number in 0..planned.arrays.len() {
            let map = self.make_map(&array_of_one_program(), pin(&paths::array(number)).as_deref())?;
            loading.arrays.push(map);
        }
        if options.counters {
            let layout = CounterLayout::new(options.hook, planned.members.len());
            loading.counters = Some(self.make_map(&counters_of(layout), pin(paths::COUNTERS).as_deref())?);
        }
        // Pins and programs keep the maps: nothing is written to them here.
        let mut _times = None;
        if planned.timed {
            let layout = TimeLayout::new(planned.members.len());
            let (ticks, kept_ticks) = self.make_map(&ticks_until_timed(), pin(paths::TICKS).as_deref())?;
            let (samples, kept_samples) = self.make_map(&times_of(layout), pin(paths::TIMES).as_deref())?;
            loading.timing = Some(Timing { ticks, samples });
            _times = Some((kept_ticks, kept_samples));
        }
        let arrays: Vec<MapId> = loading.arrays.iter().map(|(id, _)| *id).collect();
        let bindings = Bindings {
            arrays: &arrays,
            counters: loading.counters.as_ref().map(|(id, _)| *id),
            timing: loading.timing,
        };
        let name = program_name(key.kind);
        let compiled = compile(name, parts, planned, options, &bindings)
            .map_err(|source| EngineError::Unplanned(Box::new(source)))?;
        for (member, array) in planned.arrays.iter().zip(&loading.arrays).filter_map(|(used, (_, map))| {
            if let ArrayUse::Member(member) = used { Some((*member, map)) } else { None }
        }) {
            let program = &members[member].program;
            let alone =
                self.kernel.open_program(program.id)?.ok_or(EngineError::NoKernelProgram(program.id))?;
            self.kernel.fill_slot(array, 0, &alone)?;
        }
        // From the last to the first: what a tail call leads to is there before the call.
        let mut jited_bytes = 0_u32;
        let mut twins = Vec::with_capacity(compiled.twins.len());
        for (number, program) in compiled.twins.iter().enumerate().rev() {
            let place = (ArrayUse::Twin(number), pin(&paths::twin(number)));
            let facts = self.load_one(key, place, program, &loading, parts)?;
            jited_bytes = jited_bytes.saturating_add(facts.bytes_jited);
            twins.push(TwinProgramRecord { program: facts.id, tag: facts.tag });
        }
        twins.reverse();
        let mut segments = Vec::with_capacity(compiled.programs.len());
        for (number, program) in compiled.programs.iter().enumerate().rev() {
            let place = (ArrayUse::Segment(number), pin(&paths::segment(number)));
            let facts = self.load_one(key, place, program, &loading, parts)?;
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
        Ok((loading, Programs { segments, twins, jited_bytes }))
    }

    /// Loads one of a chain's programs, pins it where that is wanted, and puts it where others reach it.
    fn load_one(
        &self,
        key: &HookKey,
        (place, pin): (ArrayUse, Option<PathBuf>),
        program: &Splice,
        loading: &Loading<'_, K::Handle>,
        parts: &[Member<'_>],
    ) -> Result<ProgramFacts, Failure> {
        self.step("chain", "load");
        let loaded = self.kernel.load_program(&ProgramLoad {
            name: &program.text.0.name,
            text: &program.text,
            kind: program_kind(key.kind),
            attach_btf_id: 0,
            attach_module: None,
            extends: None,
            device: None,
            log: LogRequest::OnFailure,
        });
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(KernelError::Refused { program: name, summary, log, source }) => {
                let member = member_at(&log, program).and_then(|member| parts.get(member));
                return Err(Failure::Verifier(Box::new(Refused {
                    member: member.map(|member| member.label.to_owned()),
                    log: log.clone(),
                    source: KernelError::Refused { program: name, summary, log, source },
                })));
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

/// Two attempts may come to the same plan.
fn is_same_way(one: &ChainPlan, other: &ChainPlan) -> bool {
    let ways = |plan: &ChainPlan| plan.members.iter().map(|member| member.way).collect::<Vec<_>>();
    let cuts = |plan: &ChainPlan| plan.segments.iter().map(|s| s.members.clone()).collect::<Vec<_>>();
    one.strategy == other.strategy
        && ways(one) == ways(other)
        && cuts(one) == cuts(other)
        && one.arrays == other.arrays
}

fn carried(members: &[Joined], planned: &ChainPlan) -> Vec<CarriedRecord> {
    let ways = members.iter().zip(&planned.members);
    ways.map(|(member, plan)| CarriedRecord {
        program: member.program.uid,
        way: match plan.way {
            Way::Inline => CarriedBy::Inline,
            Way::Function => CarriedBy::Function,
            Way::Own => CarriedBy::Own,
        },
        reason: plan.reason.as_ref().map(ToString::to_string).unwrap_or_default(),
    })
    .collect()
}

/// What the kernel has to know of a chain's programs.
pub(super) const fn program_kind(kind: HookKind) -> ProgramKind {
    match kind {
        HookKind::Xdp => ProgramKind { kernel_type: 6, expected_attach_type: 37 },
        HookKind::Tc(_) | HookKind::Tcx(_) => ProgramKind { kernel_type: 3, expected_attach_type: 0 },
    }
}

/// The name of a chain's programs. It says nothing of the interface: many run the same ones.
pub const fn program_name(kind: HookKind) -> &'static str {
    match kind {
        HookKind::Xdp => "xdp_chain",
        HookKind::Tc(_) | HookKind::Tcx(_) => "tc_chain",
    }
}

fn array_of_one_program() -> MapSpec {
    map("chain_next", PROG_ARRAY, 4, 1)
}

fn counters_of(layout: CounterLayout) -> MapSpec {
    map("chain_counters", PERCPU_ARRAY, layout.value_size() as u32, COUNTER_ROWS)
}

fn ticks_until_timed() -> MapSpec {
    map("chain_ticks", PERCPU_ARRAY, 8, 1)
}

fn times_of(layout: TimeLayout) -> MapSpec {
    map("chain_times", PERCPU_ARRAY, layout.value_size() as u32, COUNTER_ROWS)
}

fn map(name: &str, map_type: u32, value_size: u32, max_entries: u32) -> MapSpec {
    MapSpec::sized(name, map_type, 4, value_size, max_entries)
}
