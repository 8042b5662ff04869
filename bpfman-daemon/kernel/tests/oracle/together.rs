use std::collections::BTreeMap;

use bpfman_model::MapId;
use bpfmand_splice::{
    ArrayUse, Attempt, Bindings, COUNTER_ROWS, ChainPlan, CounterLayout, FragsRule, FrameRounding, Member,
    Splice, SpliceError, SpliceHook, SpliceOptions, TIMED_ONE_IN, TimeLayout, Timing, compile, plan,
};

use crate::chain::{Maps, Members, compare, descriptors};
use crate::kernel::{Map, Packet, Program, ProgramKind, kernel_version, load, possible_cpus};
use crate::objects::kernel_functions;

pub struct Together {
    pub entry: Program,
    pub plan: ChainPlan,
    pub hook: SpliceHook,
    /// Programs that parse headers once for several members.
    pub sharing: usize,
    counters: Option<Map>,
    ticks_and_samples: Option<[Map; 2]>,
    /// Kept open: the kernel empties arrays without a holder.
    _arrays: Vec<Map>,
}

#[derive(Debug)]
pub enum Refused {
    Splicer(SpliceError),
    Verifier(String),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Splicer(error) => write!(f, "the splicer refused: {error}"),
            Self::Verifier(log) => write!(f, "the verifier refused: {log}"),
        }
    }
}

pub fn options(kind: ProgramKind) -> SpliceOptions<'static> {
    let hook = match kind {
        ProgramKind::Xdp => SpliceHook::Xdp,
        ProgramKind::Tcx => SpliceHook::TcTcx,
        ProgramKind::Clsact => SpliceHook::TcClsact,
    };
    let rounding = if kernel_version() < (6, 12) { FrameRounding::To32 } else { FrameRounding::To16 };
    let functions = kernel_functions();
    SpliceOptions {
        rounding,
        frags: FragsRule::OnlyIfAll,
        throwing_kfuncs: &functions.throwing,
        deferring_kfuncs: &functions.deferring,
        ..SpliceOptions::new(hook)
    }
}

pub fn parts<'a>(members: &Members<'a>) -> Vec<Member<'a>> {
    members
        .iter()
        .map(|(loaded, set)| Member {
            kernel_stack_depths: Some(&loaded.depths),
            needs_own_btf: loaded.needs_own_btf,
            local_type_ids: &loaded.local_type_ids,
            verified_insns: Some(loaded.verified_insns),
            ..Member::new(&loaded.label, loaded.specialised.as_ref().unwrap_or(&loaded.text), *set)
        })
        .collect()
}

impl Together {
    pub fn new(
        kind: ProgramKind,
        members: &Members<'_>,
        maps: &Maps,
        options: &SpliceOptions<'_>,
    ) -> Result<Self, Refused> {
        let parts = parts(members);
        let plan = plan(&parts, options).map_err(Refused::Splicer)?;
        let layout = CounterLayout::new(options.hook, plan.members.len());
        let counters =
            options.counters.then(|| Map::create(6, 4, layout.value_size() as u32, COUNTER_ROWS, 0).unwrap());
        let arrays: Vec<Map> = plan.arrays.iter().map(|_| Map::empty_slot().unwrap()).collect();
        // Ids are indexes: first the maps of members, then the arrays, then the counters.
        let mut all = descriptors(&maps.spliced);
        let id = |place: usize| MapId(place as u32);
        let array_ids: Vec<MapId> = (0..arrays.len()).map(|number| id(all.len() + number)).collect();
        all.extend(descriptors(&arrays));
        let counters_id = counters.as_ref().map(|_| id(all.len()));
        all.extend(counters.iter().flat_map(|map| descriptors(std::slice::from_ref(map))));
        let ticks_and_samples = plan.timed.then(|| {
            let samples = TimeLayout::new(plan.members.len()).value_size() as u32;
            [(8, 1), (samples, COUNTER_ROWS)].map(|(bytes, rows)| Map::create(6, 4, bytes, rows, 0).unwrap())
        });
        let timing = ticks_and_samples.as_ref().map(|maps| {
            all.extend(descriptors(maps));
            Timing { ticks: id(all.len() - 2), samples: id(all.len() - 1), phase: 0 }
        });
        let bindings = Bindings { arrays: &array_ids, counters: counters_id, timing };
        let compiled = compile("chain", &parts, &plan, options, &bindings).map_err(Refused::Splicer)?;
        let load_all = |splices: &[Splice], what: &str| {
            let load = |(number, splice): (usize, &Splice)| {
                load(&splice.text, kind, &all)
                    .map_err(|log| Refused::Verifier(format!("{what} {number} of {}\n{log}", plan.reason())))
            };
            splices.iter().enumerate().map(load).collect::<Result<Vec<Program>, _>>()
        };
        let sharing = compiled.programs.iter().filter(|program| program.shared > 0).count();
        let mut programs = load_all(&compiled.programs, "program")?;
        let twins = load_all(&compiled.twins, "twin")?;
        for (array, holds) in arrays.iter().zip(&plan.arrays) {
            let program = match holds {
                ArrayUse::Segment(number) => &programs[*number],
                ArrayUse::Member(number) => &members[*number].0.own,
                ArrayUse::Twin(number) => &twins[*number],
            };
            array.hold(program).map_err(|error| Refused::Verifier(format!("{holds:?}: {error}")))?;
        }
        // The arrays keep the other programs alive.
        let entry = if programs.is_empty() { members[0].0.own.duplicate() } else { programs.swap_remove(0) };
        Ok(Self { entry, plan, hook: options.hook, sharing, counters, ticks_and_samples, _arrays: arrays })
    }

    pub fn aim_at_twin(&self, twin: bool) -> bool {
        let Some([ticks, _]) = &self.ticks_and_samples else { return false };
        let before = if twin { u64::from(TIMED_ONE_IN) - 1 } else { 0 };
        ticks.update(&[0; 4], &before.to_ne_bytes().repeat(possible_cpus())).unwrap();
        twin
    }

    pub fn timed(&self) -> Option<Vec<u64>> {
        let [_, samples] = self.ticks_and_samples.as_ref()?;
        let layout = TimeLayout::new(self.plan.members.len());
        let mut sums = vec![0; layout.clock()];
        for (_, row) in samples.contents() {
            let cells = row.as_chunks::<8>().0;
            for (slot, sum) in sums.iter_mut().enumerate() {
                *sum += u64::from_ne_bytes(cells[layout.samples(slot)]);
            }
        }
        Some(sums)
    }

    pub fn exits(&self, layout: CounterLayout) -> Option<BTreeMap<usize, u64>> {
        // Test-run's packets come in by the loopback interface.
        self.counters.is_some().then(|| self.exits_at(layout, 1))
    }

    pub fn exits_at(&self, layout: CounterLayout, interface: u32) -> BTreeMap<usize, u64> {
        let rows = self.counters.as_ref().expect("the chain counts").contents();
        assert_eq!(rows.len(), COUNTER_ROWS as usize);
        let mut exits = BTreeMap::new();
        for (row, value) in rows {
            let row = u32::from_ne_bytes(row.try_into().unwrap());
            let cells = value.as_chunks::<8>().0.iter().map(|bytes| u64::from_ne_bytes(*bytes));
            for (cell, count) in cells.enumerate().filter(|(_, count)| *count > 0) {
                assert_eq!(row, CounterLayout::row(interface), "cell {cell} counts {count}");
                *exits.entry(cell % (layout.value_size() / 8)).or_default() += count;
            }
        }
        exits
    }
}

#[derive(Debug, Default)]
pub struct Tally {
    pub chains: usize,
    pub packets: usize,
    pub refused: usize,
    /// Numbers of chains by the attempt that the verifier accepted.
    pub fallbacks: BTreeMap<Attempt, usize>,
    /// Numbers of chains that parse headers once, and of chains that the verifier accepts only without this.
    pub sharing: usize,
    pub unshared: usize,
    pub cut: usize,
    pub timed: usize,
    pub behind_calls: usize,
    pub own: usize,
}

impl Tally {
    /// Checks a chain. Makes the next attempt after each refusal of the verifier, as the daemon does.
    pub fn check(
        &mut self,
        kind: ProgramKind,
        members: &Members<'_>,
        maps: &Maps,
        options: &SpliceOptions<'_>,
        packets: &[Packet],
    ) -> Result<(), String> {
        let mut options = *options;
        let chain = loop {
            match Together::new(kind, members, maps, &options) {
                Ok(chain) => break chain,
                // No chain offers these features to two members; random options may request them.
                Err(Refused::Splicer(
                    SpliceError::TwoTailCallers { .. }
                    | SpliceError::TailCallerTooEarly { .. }
                    | SpliceError::TooManyTailCalls { .. }
                    | SpliceError::FragsDisagree { .. },
                )) => {
                    self.refused += 1;
                    return Ok(());
                }
                Err(refused @ Refused::Splicer(_)) => return Err(refused.to_string()),
                Err(refused) if options.shares_headers => {
                    options.shares_headers = false;
                    self.unshared += 1;
                    println!("headers are not shared: {refused}");
                }
                Err(refused) => {
                    options.attempt = options.attempt.next().ok_or_else(|| refused.to_string())?;
                    *self.fallbacks.entry(options.attempt).or_default() += 1;
                    println!("fell back to {:?}: {refused}", options.attempt);
                }
            }
        };
        self.packets += compare(kind, members, &chain, maps, packets)
            .map_err(|difference| format!("{}\n{difference}", chain.plan.reason()))?;
        self.chains += 1;
        self.sharing += usize::from(chain.sharing > 0);
        self.cut += usize::from(chain.plan.segments.len() > 1);
        self.timed += usize::from(chain.plan.timed);
        let ways = |way| chain.plan.members.iter().filter(|member| member.way == way).count();
        self.behind_calls += ways(bpfmand_splice::JoinMode::Function);
        self.own += ways(bpfmand_splice::JoinMode::Standalone);
        Ok(())
    }
}

pub fn sum_of_cpus(value: &[u8]) -> Vec<u8> {
    let each = value.len() / possible_cpus();
    let mut sums = vec![0_u64; each / 8];
    for copy in value.chunks_exact(each) {
        for (sum, bytes) in sums.iter_mut().zip(copy.as_chunks::<8>().0) {
            *sum = sum.wrapping_add(u64::from_ne_bytes(*bytes));
        }
    }
    sums.iter().flat_map(|sum| sum.to_ne_bytes()).collect()
}
