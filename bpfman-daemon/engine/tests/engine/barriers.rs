//! Barriers against speculative reads: the verifier adds them to programs that are loaded without CAP_PERFMON.

use bpfman_model::{HookKind, ProgramId};
use bpfmand_engine::Engine;
use bpfmand_kernel::sim::SimKernel;

use crate::bench::{Ask as _, Bench};
use crate::ranks::of_namespace;
use crate::simulated::bench as simulated;

const XDP: HookKind = HookKind::Xdp;

fn of_tenant(bench: &Bench<SimKernel>, engine: &Engine<SimKernel>, name: &str) -> ProgramId {
    engine.loads(&of_namespace(bench.request("programs", &[name])))[0]
}

fn length(bench: &Bench<SimKernel>, engine: &Engine<SimKernel>) -> usize {
    engine.chain(&bench.left(), XDP).unwrap().entry.unwrap().bytes_xlated as usize / 8
}

fn barriers(bench: &Bench<SimKernel>) -> Vec<bool> {
    let programs = bench.kernel.snapshot().programs.into_values();
    let of_chain = programs.filter(|program| program.name.starts_with("xdp_chain"));
    of_chain.map(|program| program.without_perfmon).collect()
}

/// A tenant can make its member so complex that the verifier accepts the chain only with CAP_PERFMON.
#[test]
fn chain_too_complex_without_perfmon_keeps_barriers() {
    let bench = simulated();
    let engine = bench.engine();
    engine.attached(of_tenant(&bench, &engine, "alpha"), bench.xdp(1));
    let bravo = of_tenant(&bench, &engine, "bravo");
    let link = engine.attached(bravo, bench.xdp(2));
    assert_eq!(barriers(&bench), [true]);
    let joined = length(&bench, &engine);
    engine.detach(link).unwrap();
    bench.kernel.refuse_longer_without_perfmon(joined - 1);
    let attached = engine.try_attach(bravo, bench.xdp(2)).unwrap();
    let found = barriers(&bench);
    assert!(!found.is_empty() && found.iter().all(|has| *has), "{found:?}");
    assert_eq!(attached.warnings, [""; 0]);
    assert_eq!(engine.chains_without_barriers(), []);
    assert!(engine.show_chain(&bench.left(), XDP).unwrap().fallbacks > 0);
}

/// Only members of the machine are loaded with CAP_PERFMON, also in a chain with tenants' members.
#[test]
fn programs_of_the_machine_in_a_cut_chain_have_the_right() {
    let bench = simulated();
    let engine = bench.engine();
    engine.attached(of_tenant(&bench, &engine, "alpha"), bench.xdp(1));
    let bravo = engine.loads(&bench.request("programs", &["bravo"]))[0];
    let link = engine.attached(bravo, bench.xdp(2));
    assert_eq!(barriers(&bench), [true], "one program has both");
    let joined = length(&bench, &engine);
    engine.detach(link).unwrap();
    bench.kernel.refuse_longer_without_perfmon(joined - 1);
    engine.attached(bravo, bench.xdp(2));
    let mut found = barriers(&bench);
    found.sort_unstable();
    assert_eq!(found, [false, true]);
}

#[test]
fn chain_without_barriers_is_a_warning_and_a_finding() {
    let bench = simulated();
    let engine = bench.engine();
    engine.attached(of_tenant(&bench, &engine, "alpha"), bench.xdp(1));
    let bravo = engine.loads(&bench.request("programs", &["bravo"]))[0];
    bench.kernel.refuse_longer_without_perfmon(1);
    let attached = engine.try_attach(bravo, bench.xdp(2)).unwrap();
    let found = barriers(&bench);
    assert!(!found.is_empty() && found.iter().all(|has| !has), "{found:?}");
    let [warning] = &attached.warnings[..] else { panic!("{attached:?}") };
    assert!(warning.starts_with("xdp:left") && warning.contains("no barriers"), "{warning}");
    let text = || engine.chains_without_barriers().into_iter().map(|concern| concern.to_string());
    assert_eq!(&text().collect::<Vec<_>>(), &attached.warnings);
    drop(engine);
    let engine = bench.engine();
    assert_eq!(engine.chains_without_barriers().len(), 1);
    engine.detach(attached.record.id).unwrap();
    assert_eq!(engine.chains_without_barriers(), []);
}
