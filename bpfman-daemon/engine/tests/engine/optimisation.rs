//! Chains that parse headers once for all members: the switch of a hook, and its effect on the record.

use bpfman_model::{HookKind, Optimisation};
use bpfmand_engine::{ChainDetails, Engine, HookChange, SwitchCaller};

use crate::bench::{Ask as _, Bench, Testable};

const XDP: HookKind = HookKind::Xdp;

fn two<K: Testable>(bench: &Bench<K>, engine: &Engine<K>) {
    for (program, priority) in engine.loads(&bench.request("parsers", &["first", "second"])).iter().zip(1..) {
        engine.attached(*program, bench.xdp(priority));
    }
}

fn optimise<K: Testable>(bench: &Bench<K>, engine: &Engine<K>, level: Optimisation) -> ChainDetails {
    let change = HookChange { optimisation: Some(level), ..HookChange::default() };
    engine.set_hook(&bench.left(), XDP, &change, &SwitchCaller::root("user 0")).unwrap();
    assert!(engine.verify_chain(&bench.left(), XDP, None).unwrap().matches(), "{level:?}");
    engine.show_chain(&bench.left(), XDP).unwrap()
}

fn headers_are_shared_where_the_hook_says_so<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    two(bench, &engine);
    let before = engine.show_chain(&bench.left(), XDP).unwrap();
    assert_eq!(
        (before.optimisation, before.savings.shared),
        (Optimisation::None, 0),
        "there is no read-only data"
    );
    assert_eq!(before.switches.optimisation, Optimisation::Fold);
    let shared = optimise(bench, &engine, Optimisation::Share);
    assert_eq!((shared.optimisation, shared.fallbacks), (Optimisation::Share, 0));
    assert!(shared.savings.shared > 0);
    assert_ne!(shared.segments[0].tag, before.segments[0].tag);
    drop(engine);
    let engine = bench.engine();
    assert_eq!(engine.show_chain(&bench.left(), XDP).unwrap(), shared);
    assert!(engine.verify_chain(&bench.left(), XDP, None).unwrap().matches());
    let after = optimise(bench, &engine, Optimisation::None);
    assert_eq!((after.optimisation, after.segments[0].tag), (Optimisation::None, before.segments[0].tag));
}

/// Read-only data stays where it is, at the lowest level.
fn nothing_is_folded_at_the_lowest_level<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    for (program, priority) in engine.loads(&bench.request("programs", &["alpha", "bravo"])).iter().zip(1..) {
        engine.attached(*program, bench.xdp(priority));
    }
    let folded = engine.show_chain(&bench.left(), XDP).unwrap();
    assert_eq!(folded.optimisation, Optimisation::Fold);
    assert!(folded.savings.folded > 0);
    let plain = optimise(bench, &engine, Optimisation::None);
    assert_eq!((plain.optimisation, plain.savings.folded), (Optimisation::None, 0));
    assert_ne!(plain.segments[0].tag, folded.segments[0].tag);
}

crate::on_both_kernels!(headers_are_shared_where_the_hook_says_so, nothing_is_folded_at_the_lowest_level);

#[test]
fn refused_chain_with_shared_headers_is_built_without() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    two(&bench, &engine);
    let plain = engine.show_chain(&bench.left(), XDP).unwrap();
    bench.kernel.refuse_next("xdp_chain");
    let fallen = optimise(&bench, &engine, Optimisation::Share);
    assert_eq!((fallen.optimisation, fallen.fallbacks), (Optimisation::None, 1));
    assert_eq!(fallen.switches.optimisation, Optimisation::Share, "the switch stays where it is set");
    assert_eq!(fallen.segments[0].tag, plain.segments[0].tag);
    drop(engine);
    assert!(bench.engine().verify_chain(&bench.left(), XDP, None).unwrap().matches());
}
