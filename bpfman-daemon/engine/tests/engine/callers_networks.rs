//! Calls for the caller's own network namespace, whose path leads to another one by the time that they act.

use bpfman_model::{HookKind, LinkId, ProgramId, Reason};
use bpfmand_engine::{
    AllowedPlaces, CallersNetwork, Engine, EngineError, HookChange, Measurement, ReplaceRequest,
    SwitchCaller, TraceLimits, TracePacket, UpdateLinkRequest,
};
use bpfmand_kernel::sim::SimKernel;

use crate::bench::{Ask as _, Bench};
use crate::replacements::replacement;
use crate::simulated::bench;

type Call = fn(&Bench<SimKernel>, &Engine<SimKernel>, ProgramId, LinkId) -> Result<(), EngineError>;

const XDP: HookKind = HookKind::Xdp;

const CALLS: [(&str, Call); 10] = [
    ("set a hook", |bench, engine, _, _| {
        let change = HookChange { counters: Some(false), ..HookChange::default() };
        engine.set_hook(&bench.left(), XDP, &change, &SwitchCaller::root("user 0")).map(drop)
    }),
    ("trace", |bench, engine, _, _| {
        let packets = [TracePacket { data: vec![0; 64], mark: 0 }];
        let limits = TraceLimits { members: None, sends_nothing: false };
        engine.trace_chain(&bench.left(), XDP, &packets, limits).map(drop)
    }),
    ("verify", |bench, engine, _, _| engine.verify_chain(&bench.left(), XDP, None).map(drop)),
    ("time members", |bench, engine, _, _| {
        engine.begin_client_measurement(Measurement::Times, &bench.left(), XDP, None).map(drop)
    }),
    ("owners", |bench, engine, _, _| engine.owners_at_hook(&bench.left(), XDP).map(drop)),
    ("owner of a freeze", |bench, engine, _, _| engine.owner_of_freeze(&bench.left(), XDP).map(drop)),
    ("show", |bench, engine, _, _| engine.show_chain(&bench.left(), XDP).map(drop)),
    ("update a link", |_, engine, _, link| {
        engine.update_link(&UpdateLinkRequest { priority: Some(7), ..UpdateLinkRequest::of(link) }).map(drop)
    }),
    ("attach", |bench, engine, program, _| {
        engine.attached(program, bench.xdp(30));
        Ok(())
    }),
    ("replace", |bench, engine, program, _| {
        let links = engine.all_links().iter().map(|link| link.record.id).collect();
        let places = AllowedPlaces { links, matchings: [].into() };
        let request = replacement(bench, program, "second");
        engine.replace_program(&ReplaceRequest { places: Some(places), ..request }).map(drop)
    }),
];

#[test]
fn calls_act_in_the_namespace_that_was_compared() {
    let bench = bench();
    let engine = bench.engine();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let link = engine.attached(alpha, bench.xdp(10));
    let own = bench.home().inode;
    let before = (bench.kernel.snapshot(), engine.chain(&bench.left(), XDP).unwrap());
    for (what, call) in CALLS.iter().filter(|(what, _)| *what != "attach") {
        let refused =
            CallersNetwork::during(Some(own + 1), || call(&bench, &engine, alpha, link)).unwrap_err();
        assert_eq!(refused.kind(), Reason::Denied, "{what}: {refused}");
        assert!(refused.to_string().contains("changed meanwhile"), "{what}: {refused}");
    }
    assert_eq!((bench.kernel.snapshot(), engine.chain(&bench.left(), XDP).unwrap()), before);
    // A simulated kernel runs no packets.
    for (what, call) in CALLS.into_iter().filter(|(what, _)| *what != "trace") {
        CallersNetwork::during(Some(own), || call(&bench, &engine, alpha, link))
            .unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}
