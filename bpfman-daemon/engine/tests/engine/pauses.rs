//! Pauses of owners whose programs were detached for what they cost.

use std::time::Duration;

use bpfman_model::{
    AttachPoint, AttachRequest, CpuAction, CpuExcess, CpuLimit, CpuShare, FileReader, LinkId, Owner,
    OwningApplication, ProbeReader, ProcessScope, ProgramId, ProgramUid, Reason,
};
use bpfmand_engine::{
    CpuOutcome, Engine, EngineError, LinkDetails, PausedFor, TrapLimit, excesses, trap_excesses,
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

fn uid(engine: &Engine<SimKernel>, program: ProgramId) -> ProgramUid {
    engine.describe_program(program).unwrap().managed.unwrap().record.uid
}

fn links(engine: &Engine<SimKernel>, program: ProgramId) -> Vec<LinkId> {
    engine.describe_program(program).unwrap().managed.unwrap().links
}

fn of_breakpoints() -> CpuExcess {
    CpuExcess {
        used: CpuShare(200_000),
        owner_used: Some(CpuShare(200_000)),
        limit: CpuLimit { share: CpuShare(100_000), action: CpuAction::Detach },
        window_ms: 1000,
        done: CpuAction::Detach,
        of_traps: true,
    }
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
        engine.limit_cpu(uid(&engine, hot), &of_breakpoints()).unwrap(),
        CpuOutcome::Detached { links: 1 }
    );
    let before = bench.kernel.snapshot();
    assert_paused(&attach(&engine, hot, probe(), (agent, &evil)).unwrap_err(), "namespace \"evil\"", 60);
    assert_eq!(bench.kernel.snapshot(), before);
    // Another name in the namespace, and a program that is loaded again.
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
    engine.limit_cpu(uid(&engine, hot), &of_breakpoints()).unwrap();
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
    let outcome = engine.limit_cpu(uid(&engine, hot), &of_breakpoints()).unwrap();
    assert_eq!(outcome, CpuOutcome::Detached { links: 0 });
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

#[test]
fn program_detached_before_each_window_ends_is_limited() {
    let bench = bench();
    let engine = bench.engine();
    let team = Owner::Grant("team".to_owned());
    let hot = loaded(&bench, &engine, "alpha", &team);
    let limit = CpuLimit { share: CpuShare(50_000), action: CpuAction::Detach };
    let limit_of = |owner: &Owner| (*owner == team).then_some(limit);
    let window = || {
        let before = engine.read_cpu().unwrap();
        let link = attach(&engine, hot, bench.xdp(10), (4711, &team)).unwrap().record.id;
        bench.kernel.ran(hot, u64::try_from(WINDOW.as_nanos()).unwrap() / 2);
        engine.detach(link).unwrap();
        let after = engine.read_cpu().unwrap();
        let over = excesses(&engine.cpu_between(&before, &after), WINDOW, limit_of);
        let [(program, excess)] = &over[..] else { panic!("{over:?}") };
        engine.limit_cpu(*program, excess).unwrap()
    };
    assert_eq!(window(), CpuOutcome::Detached { links: 0 });
    assert_eq!(window(), CpuOutcome::Detached { links: 0 }, "the first excess may be an accident");
    let other = loaded(&bench, &engine, "bravo", &team);
    for program in [hot, other] {
        let refused = attach(&engine, program, bench.xdp(10), (4711, &team)).unwrap_err();
        assert_paused(&refused, "grant \"team\"", 60);
    }
    bench.kernel.pass_time(MINUTE);
    attach(&engine, hot, bench.xdp(10), (4711, &team)).unwrap();
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
