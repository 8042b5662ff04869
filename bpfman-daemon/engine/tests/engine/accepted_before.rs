//! Programs of tenants that an earlier version accepted, but that a new load would refuse.

use std::cell::RefCell;

use bpfman_model::Reason;

use bpfmand_engine::Standing;

use crate::bench::{Ask as _, edit_records};
use crate::dispatcher_ranks::disown;
use crate::ranks::of_namespace;
use crate::simulated::bench;

#[test]
fn a_reboot_ends_no_program_that_was_accepted_before() {
    let bench = bench();
    let engine = bench.engine();
    let hops = engine.loads(&bench.request("hops", &["hops"]))[0];
    let link = engine.attached(hops, bench.xdp(1));
    drop(engine);
    disown(&bench, "hops", "application:shop/filter");
    bench.kernel.reboot();
    let engine = bench.engine();
    assert_eq!(engine.describe_link(link).unwrap().standing, Standing::Running);
    let [(program, why)] = &engine.unbounded_programs()[..] else { panic!() };
    assert_eq!(*program, engine.describe_link(link).unwrap().program.id);
    assert!(why.contains("tail call"), "{why}");
    engine.attached(engine.loads(&bench.request("programs", &["alpha"]))[0], bench.xdp(1));
    let refused = engine.load(&of_namespace(bench.request("hops", &["hops"]))).unwrap_err();
    assert_eq!(refused.kind(), Reason::Denied, "{refused}");
    assert!(refused.to_string().contains("tail call"), "{refused}");
    drop(engine);
    bench.kernel.reboot();
    let engine = bench.engine();
    assert_eq!(engine.describe_link(link).unwrap().standing, Standing::Running);
    assert_eq!(engine.unbounded_programs().len(), 1);
}

/// Without CAP_PERFMON, the verifier may refuse a program that it accepted with it.
#[test]
fn a_reboot_loads_with_perfmon_what_an_earlier_version_did() {
    let bench = bench();
    drop(bench.engine().loads(&of_namespace(bench.request("programs", &["alpha", "bravo"]))));
    let exchange = |value: Option<bool>| {
        let before = RefCell::new(Vec::new());
        edit_records(&bench, "programs", |program| {
            let guard = program["guard"].as_object_mut().unwrap();
            before.borrow_mut().push(guard.remove("without_perfmon").is_some());
            guard.extend(value.map(|value| ("without_perfmon".to_owned(), value.into())));
        });
        bench.kernel.reboot();
        drop(bench.engine());
        before.into_inner()
    };
    assert_eq!(exchange(None), [true, true], "a new load");
    assert_eq!(exchange(Some(true)), [false, false], "loaded again as an earlier version had loaded it");
    assert_eq!(exchange(None), [true, true], "loaded again without, as before");
}
