//! Cache of [`Figures`]: one reading for all concurrent requests. Constant facts of a program are read once.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bpfman_model::{LinkId, ProgramFacts, ProgramId, ProgramUid, RunCounts};
use bpfmand_kernel::Kernel;

use crate::chain::{ChainCounters, MemberTime, shares};
use crate::describe::figures::{
    ChainFigures, Figures, MapFigures, MemberFigures, ProgramFigures, ProgramPlaces,
};
use crate::describe::map_facts::KnownMaps;
use crate::state::chain_record::ChainRecord;
use crate::state::cpu_time::{ChainReading, MemberReading};
use crate::state::records::{HookRecord, LinkRecord, ProgramRecord};
use crate::{Engine, EngineError};

/// Cache of metrics. All readers of an engine share one.
#[derive(Debug, Default)]
pub struct FiguresCache(Mutex<CachedMetrics>);

#[derive(Debug, Default)]
struct CachedMetrics {
    last: Option<(Arc<Figures>, bool)>,
    facts: HashMap<ProgramId, Arc<ProgramFacts>>,
    maps: KnownMaps,
    chains: HashMap<ProgramId, ChainReading>,
    in_chains: HashMap<ProgramUid, u64>,
}

struct Records {
    programs: HashMap<ProgramId, Arc<ProgramRecord>>,
    links: Vec<Arc<LinkRecord>>,
    hooks: Vec<Arc<HookRecord>>,
}

impl FiguresCache {
    /// Returns a reading taken at `since` or later, with third-party programs if `others` is true.
    pub fn read<K: Kernel>(
        &self,
        engine: &Engine<K>,
        since: Instant,
        others: bool,
    ) -> Result<Arc<Figures>, EngineError> {
        let mut desk = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_enough = |last: &&(Arc<Figures>, bool)| last.0.at >= since && (last.1 || !others);
        if let Some((last, _)) = desk.last.as_ref().filter(is_enough) {
            return Ok(Arc::clone(last));
        }
        let figures = Arc::new(desk.take(engine, others)?);
        desk.last = Some((Arc::clone(&figures), others));
        Ok(figures)
    }
}

impl CachedMetrics {
    fn take<K: Kernel>(&mut self, engine: &Engine<K>, others: bool) -> Result<Figures, EngineError> {
        let at = Instant::now();
        let records = engine.figure_records();
        let chains = self.take_chains(engine, &records)?;
        let programs = self.take_programs(engine, &records, others)?;
        let maps = self.take_maps(engine, at)?;
        Ok(Figures { at, programs, chains, maps })
    }

    fn take_chains<K: Kernel>(
        &mut self,
        engine: &Engine<K>,
        records: &Records,
    ) -> Result<Vec<ChainFigures>, EngineError> {
        let mut entries: HashMap<ProgramId, Option<RunCounts>> = HashMap::new();
        let mut readings: HashMap<ProgramId, ChainReading> = HashMap::new();
        let mut chains = Vec::with_capacity(records.hooks.len());
        for hook in &records.hooks {
            let entry = hook.program;
            let counts = match entries.get(&entry) {
                Some(counts) => *counts,
                None => *entries.entry(entry).or_insert(engine.counts_of(entry)?),
            };
            let counters = match engine.chain_counters(&hook.key) {
                Err(EngineError::NoChain { .. }) => continue,
                counters => counters?,
            };
            let chain = hook.chain.as_ref();
            let times = chain.map(|chain| engine.chain_times(&hook.key, chain)).transpose()?.flatten();
            if let (Some(chain), Some(counts)) = (chain, counts) {
                let reading = chain_reading(chain, hook, counts, counters.as_ref(), times.as_deref());
                readings.entry(entry).or_default().add(reading);
            }
            let order = engine.state().members(&hook.key);
            let members = order.iter().enumerate().filter_map(|(at, link)| {
                let counted =
                    counters.as_ref().and_then(|all| all.links.iter().find(|one| one.link == link.id));
                Some(MemberFigures {
                    link: link.id,
                    program: engine.record(link.program)?,
                    shadow: link.sharing.shadow,
                    counters: counted.cloned(),
                    time: times.as_ref().and_then(|times| times.get(at).copied()),
                })
            });
            chains.push(ChainFigures {
                key: hook.key,
                hook: hook.key.kind.at(&hook.interface),
                mode: hook.mode(),
                strategy: hook.strategy.name(),
                entry,
                counts,
                counters: counters.is_some(),
                timing: times.is_some(),
                members: members.collect(),
                all_proceeded: counters.as_ref().map_or(0, |all| all.all_proceeded),
                failed: counters.as_ref().map_or(0, |all| all.failed),
                swaps: engine.swaps.of(&hook.key),
            });
        }
        for (entry, now) in &readings {
            // A new chain is accounted for from the next reading on.
            let Some(then) = self.chains.get(entry) else { continue };
            for (program, nanoseconds) in shares(then, now) {
                *self.in_chains.entry(program).or_default() += nanoseconds;
            }
        }
        self.chains = readings;
        chains.sort_by(|a, b| a.hook.cmp(&b.hook));
        Ok(chains)
    }

    fn take_programs<K: Kernel>(
        &mut self,
        engine: &Engine<K>,
        records: &Records,
        others: bool,
    ) -> Result<Vec<ProgramFigures>, EngineError> {
        let of_chains: HashSet<ProgramId> =
            records.hooks.iter().flat_map(|hook| programs_of_chain(hook)).collect();
        let mut places: HashMap<ProgramUid, ProgramPlaces> = HashMap::new();
        for link in &records.links {
            places.entry(link.program).or_default().add(link);
        }
        let mut programs = Vec::new();
        let mut facts = HashMap::new();
        // A machine may have many more programs than the managed ones.
        let ids = match others {
            true => engine.kernel.program_ids()?,
            false => records.programs.keys().copied().collect::<BTreeSet<_>>().into_iter().collect(),
        };
        for id in ids {
            let record = records.programs.get(&id);
            if record.is_none() && of_chains.contains(&id) {
                continue;
            }
            let Some(handle) = engine.open_for_reading(id)? else { continue };
            let known = match self.facts.get(&id) {
                Some(known) => Arc::clone(known),
                None => Arc::new(engine.kernel.program_of(&handle)?),
            };
            facts.insert(id, Arc::clone(&known));
            programs.push(ProgramFigures {
                id,
                record: record.cloned(),
                facts: known,
                counts: engine.kernel.run_counts(&handle)?,
                in_chains: record.and_then(|record| self.in_chains.get(&record.uid)).copied().unwrap_or(0),
                places: record.and_then(|record| places.remove(&record.uid)).unwrap_or_default(),
            });
        }
        self.facts = facts;
        let loaded: HashSet<ProgramUid> = records.programs.values().map(|record| record.uid).collect();
        self.in_chains.retain(|program, _| loaded.contains(program));
        Ok(programs)
    }

    fn take_maps<K: Kernel>(
        &mut self,
        engine: &Engine<K>,
        now: Instant,
    ) -> Result<Vec<MapFigures>, EngineError> {
        let in_use = engine.maps_in_use();
        let known = self.maps.facts(now, in_use.keys().copied(), |id| engine.kernel.map(id))?;
        let mut maps = Vec::with_capacity(known.len());
        for (id, (record, users)) in in_use {
            let Some(facts) = known.get(&id) else { continue };
            maps.push(MapFigures {
                id,
                name: record.name,
                facts: Arc::clone(facts),
                owners: users.iter().map(|user| user.owner()).collect(),
                programs: users.iter().map(|user| user.id).collect(),
            });
        }
        Ok(maps)
    }
}

impl<K: Kernel> Engine<K> {
    fn figure_records(&self) -> Records {
        let state = self.state();
        Records {
            programs: state.loaded().map(|program| (program.id, Arc::clone(program))).collect(),
            links: state.links.values().cloned().collect(),
            hooks: state.hooks.values().cloned().collect(),
        }
    }

    fn counts_of(&self, id: ProgramId) -> Result<Option<RunCounts>, EngineError> {
        let program = self.kernel.open_program(id)?;
        Ok(program.map(|program| self.kernel.run_counts(&program)).transpose()?)
    }
}

fn programs_of_chain(hook: &HookRecord) -> impl Iterator<Item = ProgramId> {
    let chains = hook.chain.iter().chain(hook.folding.as_ref().map(|folding| &folding.chain));
    chains.flat_map(|chain| {
        let segments = chain.segments.iter().map(|segment| segment.program);
        segments.chain(chain.twin.iter().flat_map(|twin| twin.programs.iter().map(|one| one.program)))
    })
}

fn chain_reading(
    chain: &ChainRecord,
    hook: &HookRecord,
    counts: RunCounts,
    counters: Option<&ChainCounters>,
    times: Option<&[MemberTime]>,
) -> ChainReading {
    let runs: BTreeMap<LinkId, u64> =
        counters.into_iter().flat_map(|all| &all.links).map(|one| (one.link, one.runs)).collect();
    let member = |(at, program): (usize, ProgramUid)| MemberReading {
        program,
        packets: hook.slots.get(at).and_then(|link| runs.get(link)).copied().unwrap_or(0),
        time: times.and_then(|times| times.get(at).copied()).unwrap_or_default(),
    };
    let members = chain.members.iter().map(|member| member.program).enumerate().map(member).collect();
    ChainReading { nanoseconds: counts.nanoseconds, members }
}
