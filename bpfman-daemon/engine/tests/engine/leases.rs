//! Leases of clients, and the objects that end with them.

use bpfman_model::{BytecodeSource, ClientLease, LoadRequest, ProgramId, Reason};
use bpfmand_engine::{Engine, LeasesTaken, MAX_LEASES, MAX_LEASES_OF_ONE, MapPolicy, ReplaceLoadRequest};
use bpfmand_kernel::sim::SimKernel;

use crate::bench::Ask as _;
use crate::replacements::replacement;
use crate::scenes::Sim;
use crate::simulated::bench;

fn leased(bench: &Sim, lease: ClientLease, program: &str) -> LoadRequest {
    LoadRequest { lease: Some(lease), ..bench.request("programs", &[program]) }
}

fn is_there(engine: &Engine<SimKernel>, program: ProgramId) -> bool {
    engine.manages(program)
}

#[test]
fn only_programs_loaded_under_a_lease_end_with_it() {
    let bench = bench();
    let engine = bench.engine();
    let [one, other] = [(); 2].map(|()| engine.hold_client_lease(0, 0).unwrap());
    let ends = engine.loads(&leased(&bench, one, "alpha"))[0];
    let goes_on = engine.loads(&leased(&bench, other, "bravo"))[0];
    let stays = engine.loads(&bench.request("programs", &["charlie"]))[0];
    engine.attached(ends, bench.xdp(10));
    engine.attached(goes_on, bench.xdp(20));
    assert!(engine.expire().unwrap().is_empty());
    assert_eq!(engine.next_deadline().unwrap(), None, "nothing is due while its client is there");
    engine.end_client_lease(one);
    assert!(engine.next_deadline().unwrap().unwrap().is_zero());
    let [expired] = &engine.expire().unwrap()[..] else { panic!() };
    assert_eq!((expired.programs.as_slice(), expired.links.len()), (&[ends][..], 1));
    assert!(!is_there(&engine, ends) && is_there(&engine, goes_on) && is_there(&engine, stays));
    engine.end_client_lease(other);
    assert_eq!(engine.expire().unwrap().len(), 1);
    assert!(!engine.has_deadlines() && is_there(&engine, stays));
}

#[test]
fn a_new_version_ends_with_the_lease_of_the_old_one() {
    let bench = bench();
    let engine = bench.engine();
    let lease = engine.hold_client_lease(0, 0).unwrap();
    let one = engine.loads(&leased(&bench, lease, "alpha"))[0];
    let one = engine.replace_program(&replacement(&bench, one, "second")).unwrap().programs[0].id;
    let load = LoadRequest {
        source: BytecodeSource::File(bench.file("second")),
        ..bench.request("programs", &["alpha", "bravo"])
    };
    let request = ReplaceLoadRequest { programs: vec![one], load, maps: MapPolicy::Keep, places: None };
    assert_eq!(engine.replace_load(&request).unwrap().programs.len(), 2);
    engine.end_client_lease(lease);
    assert_eq!(engine.expire().unwrap().len(), 2);
    assert!(!engine.has_deadlines());
}

#[test]
fn a_load_names_a_lease_that_its_user_holds() {
    let bench = bench();
    let engine = bench.engine();
    let lease = engine.hold_client_lease(7, 7).unwrap();
    for wrong in [lease, ClientLease(lease.0 + 100)] {
        let error = engine.load(&leased(&bench, wrong, "alpha")).unwrap_err();
        assert_eq!(error.kind(), Reason::Invalid);
        assert!(error.to_string().contains("user 0 holds no lease"), "{error}");
    }
    let mine = engine.hold_client_lease(0, 0).unwrap();
    engine.end_client_lease(mine);
    assert!(engine.load(&leased(&bench, mine, "alpha")).is_err());
    assert!(engine.list(&Default::default()).unwrap().is_empty());
}

#[test]
fn a_user_has_few_leases_and_all_together_have_not_many_more() {
    let bench = bench();
    let engine = bench.engine();
    let first = engine.hold_client_lease(7, 7).unwrap();
    for _ in 1..MAX_LEASES_OF_ONE {
        engine.hold_client_lease(7, 7).unwrap();
    }
    let taken = LeasesTaken { all: MAX_LEASES_OF_ONE, own: MAX_LEASES_OF_ONE };
    assert_eq!(engine.hold_client_lease(7, 7), Err(taken));
    assert_eq!(engine.hold_client_lease(100_007, 7), Err(taken));
    for user in 1000..1000 + (MAX_LEASES - 2 * MAX_LEASES_OF_ONE) as u32 {
        engine.hold_client_lease(user, user).unwrap();
    }
    let all = MAX_LEASES - MAX_LEASES_OF_ONE;
    assert_eq!(engine.hold_client_lease(8, 8), Err(LeasesTaken { all, own: 0 }));
    for _ in 0..MAX_LEASES_OF_ONE {
        engine.hold_client_lease(0, 0).unwrap();
    }
    engine.end_client_lease(first);
    assert!(engine.hold_client_lease(0, 0).is_err() && engine.hold_client_lease(8, 8).is_err());
}

#[test]
fn leases_end_with_the_daemon_that_gave_them() {
    let bench = bench();
    let engine = bench.engine();
    let lease = engine.hold_client_lease(0, 0).unwrap();
    let program = engine.loads(&leased(&bench, lease, "alpha"))[0];
    engine.attached(program, bench.xdp(10));
    drop(engine);
    let engine = bench.engine();
    assert!(is_there(&engine, program), "it is for who looks for what is over");
    for _ in 0..MAX_LEASES_OF_ONE {
        assert_ne!(engine.hold_client_lease(0, 0).unwrap(), lease);
    }
    assert_eq!(engine.expire().unwrap().len(), 1);
    assert!(!is_there(&engine, program));
}

#[test]
fn after_a_reboot_nothing_of_a_client_that_is_gone_runs_again() {
    let bench = bench();
    let engine = bench.engine();
    let lease = engine.hold_client_lease(0, 0).unwrap();
    let program = engine.loads(&leased(&bench, lease, "alpha"))[0];
    let stays = engine.loads(&bench.request("programs", &["bravo"]))[0];
    engine.attached(program, bench.xdp(10));
    engine.attached(stays, bench.xdp(20));
    drop(engine);
    bench.kernel.reboot();
    let (engine, report) = bench.start();
    assert!(report.problems.is_empty(), "{report:?}");
    let left = engine.list(&Default::default()).unwrap();
    let names: Vec<_> =
        left.iter().filter_map(|one| Some(one.managed.as_ref()?.record.name.clone())).collect();
    assert_eq!(names, ["bravo"]);
    assert!(!engine.has_deadlines());
}
