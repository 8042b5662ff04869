//! Pauses of owners whose programs were detached for their cost.

use std::collections::BTreeSet;
use std::time::Duration;

use bpfman_model::{
    AttachPoint, AttachRequest, CpuAction, CpuLimit, CpuShare, FileReader, LinkId, Owner, OwningApplication,
    ProbeReader, ProcessScope, ProgramId, Reason,
};
use bpfmand_engine::{
    CpuOutcome, DryRunRequest, Engine, EngineError, LinkDetails, OverLimit, PausedFor, TrapLimit, excesses,
    trap_excesses,
};
use bpfmand_kernel::sim::SimKernel;

use crate::bench::{Ask as _, Bench};
use crate::simulated::bench;

const WINDOW: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_secs(60);

fn application(namespace: &str, name: &str) -> Owner {
    Owner::Application(OwningApplication::parse(Some(namespace), name).unwrap())
}

fn loaded(bench: &Bench<SimKernel>, engine: &Engine<SimKernel>, name: &str, owner: &Owner) -> ProgramId {
    let mut request = bench.request("programs", &[name]);
    request.owner = owner.clone();
    engine.loads(&request)[0]
}

fn probe() -> AttachPoint {
    let scope = ProcessScope { pid: None, container_pid: Some(7) };
    AttachPoint::Uprobe { target: "/bin/true".to_owned(), function: None, offset: 64, scope }
}

fn attach(
    engine: &Engine<SimKernel>,
    program: ProgramId,
    point: AttachPoint,
    (user, owner): (u32, &Owner),
) -> Result<LinkDetails, EngineError> {
    let (order, sharing, metadata) = Default::default();
    let owner = owner.clone();
    let request = AttachRequest { ttl: None, program, point, order, sharing, metadata, owner, group: None };
    engine.attach_by(&request, ProbeReader::from(FileReader { uid: user, ..FileReader::default() }))
}

fn links(engine: &Engine<SimKernel>, program: ProgramId) -> Vec<LinkId> {
    engine.describe_program(program).unwrap().managed.unwrap().links
}

fn of_breakpoints() -> TrapLimit {
    TrapLimit { share: CpuShare(100_000), nanoseconds: WINDOW.as_nanos() as u64 / 1_000 }
}

fn over_limit(bench: &Bench<SimKernel>, engine: &Engine<SimKernel>, program: ProgramId) -> OverLimit {
    let before = engine.read_cpu().unwrap();
    (0..200).for_each(|_| bench.kernel.ran(program, 1));
    let uses = engine.cpu_between(&before, &engine.read_cpu().unwrap());
    let [found] = &trap_excesses(&uses, WINDOW, of_breakpoints())[..] else { panic!("{uses:?}") };
    found.clone()
}

fn assert_paused(refused: &EngineError, of: &str, seconds: u64) {
    assert_eq!(refused.kind(), Reason::Precondition, "{refused}");
    let expected = Duration::from_secs(seconds);
    assert!(
        matches!(refused, EngineError::Paused { of: paused, left, .. } if paused == of && *left == expected),
        "{refused:?}"
    );
}

#[test]
fn agent_attaches_no_detached_probe_again_during_a_pause() {
    let bench = bench();
    let engine = bench.engine();
    let (evil, other) = (application("evil", "one"), application("shop", "web"));
    let agent = 60_750;
    let hot = loaded(&bench, &engine, "probe", &evil);
    attach(&engine, hot, probe(), (agent, &evil)).unwrap();
    assert_eq!(
        engine.limit_cpu(&over_limit(&bench, &engine, hot)).unwrap(),
        CpuOutcome::Detached { attachments: 1 }
    );
    let before = bench.kernel.snapshot();
    assert_paused(&attach(&engine, hot, probe(), (agent, &evil)).unwrap_err(), "namespace \"evil\"", 60);
    assert_eq!(bench.kernel.snapshot(), before);
    // The pause also holds for another name in the namespace, and for a program that is loaded again.
    for owner in [&application("evil", "two"), &evil] {
        let again = loaded(&bench, &engine, "probe", owner);
        assert_paused(
            &attach(&engine, again, probe(), (agent, owner)).unwrap_err(),
            "namespace \"evil\"",
            60,
        );
    }
    let others = loaded(&bench, &engine, "probe", &other);
    attach(&engine, others, probe(), (agent, &other)).unwrap();
    let packets = loaded(&bench, &engine, "alpha", &evil);
    attach(&engine, packets, bench.xdp(10), (agent, &evil)).unwrap();

    bench.kernel.pass_time(MINUTE);
    attach(&engine, hot, probe(), (agent, &evil)).unwrap();
    engine.limit_cpu(&over_limit(&bench, &engine, hot)).unwrap();
    assert_paused(&attach(&engine, hot, probe(), (agent, &evil)).unwrap_err(), "namespace \"evil\"", 120);
    attach(&engine, hot, probe(), (0, &evil)).unwrap();
    let link = links(&engine, hot)[0];
    engine.detach(link).unwrap();
    attach(&engine, hot, probe(), (agent, &evil)).unwrap();
}

#[test]
fn probe_that_its_owner_detached_in_time_begins_a_pause() {
    let bench = bench();
    let engine = bench.engine();
    let evil = application("evil", "one");
    let hot = loaded(&bench, &engine, "probe", &evil);
    let link = attach(&engine, hot, probe(), (60_750, &evil)).unwrap().record.id;
    engine.detach(link).unwrap();
    let outcome = engine.limit_cpu(&over_limit(&bench, &engine, hot)).unwrap();
    assert_eq!(outcome, CpuOutcome::Ended);
    let refused = attach(&engine, hot, probe(), (60_750, &evil)).unwrap_err();
    assert!(matches!(refused, EngineError::Paused { why: PausedFor::Breakpoints, .. }), "{refused:?}");
}

#[test]
fn names_of_a_namespace_share_one_limit_of_breakpoints() {
    let bench = bench();
    let engine = bench.engine();
    let names = ["one", "two", "three"].map(|name| application("evil", name));
    let programs = names.each_ref().map(|owner| loaded(&bench, &engine, "probe", owner));
    for (program, owner) in programs.iter().zip(&names) {
        attach(&engine, *program, probe(), (60_750, owner)).unwrap();
    }
    let before = engine.read_cpu().unwrap();
    for program in programs {
        (0..200).for_each(|_| bench.kernel.ran(program, 1));
    }
    let after = engine.read_cpu().unwrap();
    let uses = engine.cpu_between(&before, &after);
    let over = |traps: u64| {
        // Each probe alone is within the limit.
        let limit = TrapLimit {
            share: CpuShare(1_000_000 * traps / 1_000),
            nanoseconds: WINDOW.as_nanos() as u64 / 1_000,
        };
        trap_excesses(&uses, WINDOW, limit).len()
    };
    assert_eq!((over(599), over(600)), (1, 0), "{uses:?}");
}

/// Returns the outcome of the one excess of an owner that may use 5 % of a CPU in the window.
fn limited_window(engine: &Engine<SimKernel>, owner: &Owner, use_cpu: impl FnOnce()) -> CpuOutcome {
    let limit = CpuLimit { share: CpuShare(50_000), action: CpuAction::Detach };
    let before = engine.read_cpu().unwrap();
    use_cpu();
    let after = engine.read_cpu().unwrap();
    let limit_of = |one: &Owner| (one == owner).then_some(limit);
    let over = excesses(&engine.cpu_between(&before, &after), WINDOW, limit_of);
    let [found] = &over[..] else { panic!("{over:?}") };
    engine.limit_cpu(found).unwrap()
}

#[test]
fn program_detached_before_each_window_ends_is_limited() {
    let bench = bench();
    let engine = bench.engine();
    let team = Owner::Grant("team".to_owned());
    let hot = loaded(&bench, &engine, "alpha", &team);
    let window = || {
        limited_window(&engine, &team, || {
            let link = attach(&engine, hot, bench.xdp(10), (4711, &team)).unwrap().record.id;
            bench.kernel.ran(hot, u64::try_from(WINDOW.as_nanos()).unwrap() / 2);
            engine.detach(link).unwrap();
        })
    };
    assert_eq!(window(), CpuOutcome::Ended);
    assert_eq!(window(), CpuOutcome::Ended, "the first excess may be an accident");
    let other = loaded(&bench, &engine, "bravo", &team);
    for program in [hot, other] {
        let refused = attach(&engine, program, bench.xdp(10), (4711, &team)).unwrap_err();
        assert_paused(&refused, "grant \"team\"", 60);
    }
    bench.kernel.pass_time(MINUTE);
    attach(&engine, hot, bench.xdp(10), (4711, &team)).unwrap();
}

#[test]
fn owner_that_unloads_before_each_window_ends_is_paused() {
    let bench = bench();
    let engine = bench.engine();
    let team = Owner::Grant("team".to_owned());
    let idle = loaded(&bench, &engine, "bravo", &team);
    let window = || {
        limited_window(&engine, &team, || {
            bench.kernel.ran(idle, 1);
            for _ in 0..2 {
                let hot = loaded(&bench, &engine, "alpha", &team);
                attach(&engine, hot, bench.xdp(10), (4711, &team)).unwrap();
                bench.kernel.ran(hot, u64::try_from(WINDOW.as_nanos()).unwrap() / 30);
                engine.unload(hot).unwrap();
            }
        })
    };
    assert_eq!(window(), CpuOutcome::Ended);
    assert_eq!(window(), CpuOutcome::Ended, "the first excess may be an accident");
    let refused = attach(&engine, idle, bench.xdp(10), (4711, &team)).unwrap_err();
    assert_paused(&refused, "grant \"team\"", 60);
}

#[test]
fn probe_that_its_owner_unloaded_in_time_begins_a_pause() {
    let bench = bench();
    let engine = bench.engine();
    let evil = application("evil", "one");
    let before = engine.read_cpu().unwrap();
    let hot = loaded(&bench, &engine, "probe", &evil);
    attach(&engine, hot, probe(), (60_750, &evil)).unwrap();
    (0..200).for_each(|_| bench.kernel.ran(hot, 1));
    engine.unload(hot).unwrap();
    let uses = engine.cpu_between(&before, &engine.read_cpu().unwrap());
    let [found] = &trap_excesses(&uses, WINDOW, of_breakpoints())[..] else { panic!("{uses:?}") };
    assert_eq!(engine.limit_cpu(found).unwrap(), CpuOutcome::Ended);
    let again = loaded(&bench, &engine, "probe", &application("evil", "two"));
    let refused = attach(&engine, again, probe(), (60_750, &evil)).unwrap_err();
    assert_paused(&refused, "namespace \"evil\"", 60);
}

#[test]
fn program_unloaded_after_the_window_begins_a_pause() {
    let bench = bench();
    let engine = bench.engine();
    let evil = application("evil", "one");
    let hot = loaded(&bench, &engine, "probe", &evil);
    attach(&engine, hot, probe(), (60_750, &evil)).unwrap();
    let found = over_limit(&bench, &engine, hot);
    engine.unload(hot).unwrap();
    assert_eq!(engine.limit_cpu(&found).unwrap(), CpuOutcome::Ended);
    let again = loaded(&bench, &engine, "probe", &evil);
    assert_paused(&attach(&engine, again, probe(), (60_750, &evil)).unwrap_err(), "namespace \"evil\"", 60);
}

#[test]
fn failed_attachment_by_root_ends_no_pause() {
    let bench = bench();
    let engine = bench.engine();
    let evil = application("evil", "one");
    let hot = loaded(&bench, &engine, "probe", &evil);
    attach(&engine, hot, probe(), (60_750, &evil)).unwrap();
    engine.limit_cpu(&over_limit(&bench, &engine, hot)).unwrap();
    let packets = loaded(&bench, &engine, "alpha", &evil);
    let AttachPoint::Xdp { priority, proceed_on, .. } = bench.xdp(10) else { panic!() };
    let absent = AttachPoint::Xdp { interface: bench.interface("absent"), priority, proceed_on };
    attach(&engine, packets, absent, (0, &evil)).unwrap_err();
    assert_paused(&attach(&engine, hot, probe(), (60_750, &evil)).unwrap_err(), "namespace \"evil\"", 60);
    attach(&engine, hot, probe(), (0, &evil)).unwrap();
    attach(&engine, hot, probe(), (60_750, &evil)).unwrap();
}

#[test]
fn refused_loads_of_an_owner_are_verified_for_a_bounded_time() {
    let bench = bench();
    let engine = bench.engine();
    bench.kernel.refuse("alpha");
    bench.kernel.refuse_after(Duration::from_secs(6));
    let load = |owner: &Owner| {
        let mut request = bench.request("programs", &["alpha"]);
        request.owner = owner.clone();
        engine.load(&request).unwrap_err()
    };
    let evil = application("evil", "one");
    for _ in 0..2 {
        let refused = load(&evil).to_string();
        assert!(refused.contains("R2 !read_ok"), "{refused}");
    }
    for owner in [&application("evil", "two"), &evil] {
        let refused = load(owner).to_string();
        assert!(!refused.contains("R2") && refused.contains("the verifier's log is left out"), "{refused}");
    }
    let verified = bench.kernel.refused_loads("alpha");
    let refused = load(&evil);
    assert!(matches!(refused, EngineError::Paused { why: PausedFor::Refusals, .. }), "{refused:?}");
    assert_eq!(bench.kernel.refused_loads("alpha"), verified, "the verifier is not asked");
    for owner in [Owner::Grant("team".to_owned()), Owner::Root] {
        assert!(load(&owner).to_string().contains("R2 !read_ok"));
    }
    bench.kernel.pass_time(Duration::from_secs(240));
    assert!(load(&evil).to_string().contains("R2 !read_ok"));
    for _ in 0..9 {
        load(&Owner::Root);
    }
    assert!(load(&Owner::Root).to_string().contains("R2 !read_ok"), "root is not limited");
}

fn assert_credit_used(bench: &Bench<SimKernel>, engine: &Engine<SimKernel>, owner: &Owner) {
    let mut request = bench.request("programs", &["alpha"]);
    request.owner = owner.clone();
    let refused = engine.load(&request).unwrap_err();
    assert!(matches!(refused, EngineError::Paused { why: PausedFor::Refusals, .. }), "{refused:?}");
}

#[test]
fn valid_programs_of_a_refused_load_are_charged() {
    let bench = bench();
    let engine = bench.engine();
    bench.kernel.refuse("bravo");
    bench.kernel.verify_for(Duration::from_secs(12));
    let evil = application("evil", "one");
    let mut request = bench.request("programs", &["alpha", "bravo"]);
    request.owner = evil.clone();
    for _ in 0..2 {
        let refused = engine.load(&request).unwrap_err();
        assert!(!matches!(refused, EngineError::Paused { .. }), "{refused:?}");
    }
    assert_credit_used(&bench, &engine, &evil);
    bench.kernel.pass_time(Duration::from_secs(240));
    for _ in 0..3 {
        loaded(&bench, &engine, "alpha", &evil);
    }
}

#[test]
fn dry_runs_are_charged() {
    let bench = bench();
    let engine = bench.engine();
    bench.kernel.verify_for(Duration::from_secs(12));
    let evil = application("evil", "one");
    for _ in 0..2 {
        let mut load = bench.request("programs", &["alpha"]);
        load.owner = evil.clone();
        let outcome = engine
            .dry_run(&DryRunRequest { load, attachments: Vec::new(), replaces: BTreeSet::new(), group: None })
            .unwrap();
        assert_eq!(outcome.programs.len(), 1);
    }
    assert_credit_used(&bench, &engine, &evil);
}

#[test]
fn chains_that_the_verifier_refuses_are_charged() {
    let bench = bench();
    let engine = bench.engine();
    let evil = application("evil", "one");
    let alone = loaded(&bench, &engine, "bravo", &evil);
    attach(&engine, alone, bench.xdp(10), (60_750, &evil)).unwrap();
    let member = loaded(&bench, &engine, "alpha", &evil);
    bench.kernel.refuse_longer_than(1);
    bench.kernel.refuse_after(Duration::from_secs(30));
    let refused = attach(&engine, member, bench.xdp(10), (60_750, &evil)).unwrap_err();
    assert!(matches!(refused, EngineError::ChainRefused { .. }), "{refused:?}");
    let refused = attach(&engine, member, bench.xdp(10), (60_750, &evil)).unwrap_err();
    assert!(matches!(refused, EngineError::Paused { why: PausedFor::Refusals, .. }), "{refused:?}");
    assert_credit_used(&bench, &engine, &evil);
}
