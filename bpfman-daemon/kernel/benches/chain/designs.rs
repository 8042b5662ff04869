use std::time::Duration;

use bpfmand_object::ObjectFile;
use bpfmand_splice::{Attempt, ProceedMask, SpliceOptions};

use crate::chain::Loaded;
use crate::kernel::{Map, Program, ProgramKind, thread_cpu_time};
use crate::objects::{Corpus, compile_text};
use crate::sources;
use crate::together::{Together, options};

pub struct MeasuredProgram {
    pub program: Program,
    corpus: Corpus,
    chain: Option<Together>,
}

impl MeasuredProgram {
    pub fn counted(&self) -> u64 {
        let maps = if self.chain.is_some() { &self.corpus.maps.spliced } else { &self.corpus.maps.alone };
        let counters = maps.iter().filter(|map| map.name.starts_with("count"));
        counters
            .flat_map(Map::contents)
            .map(|(_, value)| u64::from_ne_bytes(value.try_into().expect("a counter of eight bytes")))
            .sum()
    }
}

/// Returns the verdicts after which a chain continues: the default of XDP hooks, `TC_ACT_UNSPEC` for TC.
fn set(kind: ProgramKind) -> ProceedMask {
    ProceedMask(if kind == ProgramKind::Xdp { 1 << 2 | 1 << 31 } else { 1 })
}

pub fn single(kind: ProgramKind, source: &str, name: &str) -> MeasuredProgram {
    let mut corpus = Corpus::default();
    corpus.add(kind, name, &compile_text(source), |_| true);
    MeasuredProgram { program: corpus.named(name).alone.duplicate(), corpus, chain: None }
}

pub fn tail_calls(kind: ProgramKind, members: usize, drop: bool) -> MeasuredProgram {
    let mut corpus = Corpus::default();
    corpus.add(kind, "tail calls", &compile_text(&sources::tail_calls(kind, members, drop)), |_| true);
    let next = corpus.maps.alone.iter().find(|map| map.name == "next").expect("the source has it");
    for number in 0..members {
        let program = &corpus.named(&format!("link{number}")).alone;
        next.hold_at(number as u32, program).expect("the array takes its programs");
    }
    MeasuredProgram { program: corpus.named("link0").alone.duplicate(), corpus, chain: None }
}

#[derive(Clone, Copy, Debug)]
pub struct Ours {
    pub counters: bool,
    /// Compiles in a timed copy of the chain, which one packet in 1,024 takes.
    pub timing: bool,
    pub attempt: Attempt,
    pub specialised: bool,
    pub shares_headers: bool,
}

impl Ours {
    pub const PLAIN: Self = Self {
        counters: false,
        timing: false,
        attempt: Attempt::First,
        specialised: true,
        shares_headers: false,
    };
    pub const SHARED: Self = Self { shares_headers: true, ..Self::PLAIN };
    pub const AS_LOADED: Self = Self { specialised: false, ..Self::PLAIN };
    pub const COUNTED: Self = Self { counters: true, ..Self::PLAIN };
    pub const TIMED: Self = Self { timing: true, ..Self::COUNTED };
    pub const CALLS: Self = Self { attempt: Attempt::AllFunctions, ..Self::PLAIN };
}

pub fn ours(kind: ProgramKind, programs: &[(&ObjectFile, &str)], how: Ours) -> MeasuredProgram {
    remade(kind, programs, how).0
}

/// Returns a chain, and the CPU time of making it after its members are loaded.
pub fn remade(kind: ProgramKind, programs: &[(&ObjectFile, &str)], how: Ours) -> (MeasuredProgram, Duration) {
    let mut corpus = Corpus::default();
    for (object, name) in programs {
        corpus.add(kind, name, object, |program| program == *name);
    }
    if !how.specialised {
        corpus.members.iter_mut().for_each(|member| member.specialised = None);
    }
    let members: Vec<(&Loaded, ProceedMask)> =
        corpus.members.iter().map(|member| (member, set(kind))).collect();
    let options = SpliceOptions {
        counters: how.counters,
        timing: how.timing,
        attempt: how.attempt,
        shares_headers: how.shares_headers,
        ja32: true,
        ..options(kind)
    };
    let start = thread_cpu_time();
    let chain = Together::new(kind, &members, &corpus.maps, &options)
        .unwrap_or_else(|refused| panic!("{kind:?} chain of {}: {refused}", members.len()));
    let took = thread_cpu_time() - start;
    (MeasuredProgram { program: chain.entry.duplicate(), corpus, chain: Some(chain) }, took)
}
