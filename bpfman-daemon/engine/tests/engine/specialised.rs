//! Chains with the read-only data of their members folded in.

use bpfman_model::{HookKind, MapId, ProgramId};
use bpfmand_engine::Engine;
use bpfmand_kernel::Kernel;

use crate::bench::{Ask as _, Bench, Testable};

const XDP: HookKind = HookKind::Xdp;
const DROP: u32 = 1;

fn two<K: Testable>(bench: &Bench<K>, engine: &Engine<K>, verdict: u32) -> [ProgramId; 2] {
    let first = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let mut request = bench.request("programs", &["bravo"]);
    request.global_data.insert("verdict".to_owned(), verdict.to_ne_bytes().to_vec());
    let second = engine.loads(&request)[0];
    engine.attached(first, bench.xdp(1));
    engine.attached(second, bench.xdp(2));
    [first, second]
}

fn entry<K: Kernel>(bench: &Bench<K>, engine: &Engine<K>) -> ProgramId {
    engine.show_chain(&bench.left(), XDP).unwrap().segments[0].program
}

fn maps<K: Kernel>(bench: &Bench<K>, programs: &[ProgramId]) -> Vec<MapId> {
    let of = |id: &ProgramId| bench.kernel.program(*id).unwrap().unwrap().map_ids;
    let mut all: Vec<MapId> = programs.iter().flat_map(of).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn frozen<K: Kernel>(bench: &Bench<K>, programs: &[ProgramId]) -> Vec<MapId> {
    let is_frozen = |map: &MapId| bench.kernel.frozen_value(*map).unwrap().is_some();
    maps(bench, programs).into_iter().filter(is_frozen).collect()
}

fn read_only_data_is_a_part_of_the_chain<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let members = two(bench, &engine, DROP);
    assert_eq!(frozen(bench, &members).len(), 2);
    assert_eq!(frozen(bench, &[entry(bench, &engine)]), [], "nothing is read from them");
    assert_eq!(engine.show_chain(&bench.left(), XDP).unwrap().fallbacks, 0);
    assert!(engine.verify_chain(&bench.left(), XDP, None).unwrap().matches());
    drop(engine);
    let engine = bench.engine();
    assert!(engine.verify_chain(&bench.left(), XDP, None).unwrap().matches());
    let before = bench.kernel.program(entry(bench, &engine)).unwrap().unwrap().tag;
    engine.unload(members[1]).unwrap();
    engine.unload(members[0]).unwrap();
    two(bench, &engine, 2);
    assert_ne!(bench.kernel.program(entry(bench, &engine)).unwrap().unwrap().tag, before);
}

crate::on_both_kernels!(read_only_data_is_a_part_of_the_chain);

#[test]
fn linux_a_chain_answers_by_the_data_that_is_folded_into_it() {
    let bench = crate::linux::bench("specialised");
    let engine = bench.engine();
    two(&bench, &engine, DROP);
    assert_eq!(bench.kernel.verdict(entry(&bench, &engine)), DROP);
}

/// If the verifier accepts a member alone, it accepts it in a chain, folded or not.
#[test]
fn rejected_specialised_chain_is_built_from_plain_members() {
    const NOWHERE_ELSE: u32 = 424_242;
    let bench = crate::simulated::bench();
    bench.kernel.judge_constant(NOWHERE_ELSE.cast_signed(), true);
    let engine = bench.engine();
    let members = two(&bench, &engine, NOWHERE_ELSE);
    let view = engine.show_chain(&bench.left(), XDP).unwrap();
    assert_eq!((view.strategy, view.fallbacks), ("splice", 1));
    assert_eq!(frozen(&bench, &[entry(&bench, &engine)]), frozen(&bench, &members));
    assert!(engine.verify_chain(&bench.left(), XDP, None).unwrap().matches());
    drop(engine);
    assert!(bench.engine().verify_chain(&bench.left(), XDP, None).unwrap().matches());
}
