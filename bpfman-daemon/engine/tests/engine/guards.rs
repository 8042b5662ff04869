//! Guards: the tasks for which each link of a tenant's program runs, over restarts, reboots and new versions.

use std::sync::Arc;

use bpfman_model::{
    AttachPoint, AttachRequest, CallerGroup, LoadRequest, Owner, OwningApplication, ProcessScope, ProgramId,
    ProgramType, Reason, TaskGroup, TaskScope, TenantRules,
};
use bpfmand_engine::{Engine, EngineError, GuardRefusal, LinkDetails, StepObserver};
use bpfmand_kernel::sim::SimKernel;
use bpfmand_kernel::{Kernel, KernelFacts as _, KernelObjects as _};

use bpfmand_splice::GuardedTasks;

use crate::bench::{Ask as _, Bench};
use crate::replacements::replacement;
use crate::simulated::bench;

fn of_namespace(load: LoadRequest) -> LoadRequest {
    let name = OwningApplication::parse(Some("shop"), "probe").unwrap();
    LoadRequest { owner: Owner::Application(name), ..load }
}

fn of_grant(load: LoadRequest) -> LoadRequest {
    let tenant = TenantRules { scope: TaskScope::Caller, helpers: Default::default() };
    LoadRequest { owner: Owner::Grant("tracing".to_owned()), tenant: Some(tenant), ..load }
}

fn probe(container_pid: Option<u32>) -> AttachPoint {
    probe_in(ProcessScope { pid: None, container_pid })
}

fn probe_in(scope: ProcessScope) -> AttachPoint {
    AttachPoint::Uprobe { target: "/bin/true".to_owned(), function: None, offset: 64, scope }
}

fn attach<K: Kernel>(
    engine: &Engine<K>,
    program: ProgramId,
    point: AttachPoint,
    group: Option<CallerGroup>,
) -> Result<LinkDetails, EngineError> {
    let (order, sharing, metadata, owner) = Default::default();
    engine.attach(&AttachRequest { ttl: None, program, point, order, sharing, metadata, owner, group })
}

fn group(bench: &Bench<SimKernel>, path: &str) -> CallerGroup {
    CallerGroup { path: path.to_owned(), tasks: bench.kernel.tasks_of_group(path).unwrap(), user: None }
}

fn entries(bench: &Bench<SimKernel>, engine: &Engine<SimKernel>, program: ProgramId) -> Vec<(u32, [u8; 32])> {
    let shown = engine.describe_program(program).unwrap().managed.unwrap();
    let table = bench.kernel.open_map(shown.record.guard.as_ref().unwrap().table.unwrap()).unwrap();
    let value = bench.kernel.map_entries(&table, 1).unwrap().remove(0).value;
    let entry = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).unwrap();
    // The first entry has the values that all others share.
    let filled = (0..).zip(value.chunks(32).map(entry)).skip(1);
    filled.filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0)).collect()
}

fn words(link: &LinkDetails) -> [u8; 32] {
    let guard = link.record.guard.as_ref().unwrap();
    bpfmand_splice::guard_entry(&GuardedTasks { group: guard.tasks, user: guard.user })
}

#[test]
fn each_link_has_a_guard_entry_rewritten_whenever_it_is_rebuilt() {
    let bench = bench();
    let engine = bench.engine();
    let program = engine.loads(&of_namespace(bench.request("programs", &["probe"])))[0];
    assert_eq!(entries(&bench, &engine, program), []);
    let one = attach(&engine, program, probe(Some(7)), None).unwrap();
    let two = attach(&engine, program, probe(Some(8)), None).unwrap();
    let expected = vec![(1, words(&one)), (2, words(&two))];
    assert_eq!(entries(&bench, &engine, program), expected);
    let now = engine.replace_program(&replacement(&bench, program, "programs")).unwrap().programs[0].id;
    assert_eq!(entries(&bench, &engine, now), expected);
    let back = engine.rollback_program(now, None).unwrap().programs[0].id;
    assert_eq!(entries(&bench, &engine, back), expected);
    engine.detach(one.record.id).unwrap();
    let three = attach(&engine, back, probe(Some(9)), None).unwrap();
    assert_eq!(entries(&bench, &engine, back), [(1, words(&three)), (2, words(&two))]);
    drop(engine);
    bench.engine();
}

#[test]
fn reboot_renews_guards_of_services_but_not_of_containers() {
    let bench = bench();
    let engine = bench.engine();
    let of_container = engine.loads(&of_namespace(bench.request("programs", &["probe"])))[0];
    let of_group = engine.loads(&of_grant(bench.request("programs", &["probe"])))[0];
    attach(&engine, of_container, probe(Some(7)), None).unwrap();
    let session = group(&bench, "/user.slice/user-7.slice/session-3.scope");
    attach(&engine, of_group, probe(None), Some(session)).unwrap();
    let service = group(&bench, "/system.slice/team.service");
    let service = attach(&engine, of_group, probe(None), Some(service)).unwrap();
    drop(engine);
    bench.kernel.reboot();
    let (engine, report) = bench.start();
    assert_eq!(report.problems.len(), 2, "{report:?}");
    assert!(
        report.problems.iter().all(|problem| problem.contains("whose number may be another one's by now")),
        "{report:?}"
    );
    let again = engine.describe_link(service.record.id).unwrap();
    assert_ne!(words(&again), words(&service));
    assert_eq!(entries(&bench, &engine, again.program.id), [(2, words(&again))]);
    assert!(matches!(again.record.guard.as_ref().unwrap().tasks, TaskGroup::ControlGroup { .. }));
}

#[test]
fn guarded_program_without_known_tasks_is_not_attached() {
    let bench = bench();
    let engine = bench.engine();
    let of_container = engine.loads(&of_namespace(bench.request("programs", &["probe"])))[0];
    let of_group = engine.loads(&of_grant(bench.request("programs", &["probe"])))[0];
    let before = bench.kernel.snapshot();
    for (program, point, group, kind) in [
        (of_container, probe(None), Some(group(&bench, "/a.service")), Reason::Invalid),
        (of_container, probe(Some(0)), Some(group(&bench, "/a.service")), Reason::Precondition),
        (of_group, probe(Some(7)), None, Reason::Precondition),
    ] {
        let refused = attach(&engine, program, point, group).unwrap_err();
        assert_eq!(refused.kind(), kind, "{refused}");
    }
    let refused = attach(&engine, of_group, probe(None), None).unwrap_err();
    let EngineError::Guard(refusal) = refused else { panic!("{refused}") };
    assert!(matches!(*refusal, GuardRefusal::NoGroup(_)), "{refusal}");
    // Without the kernel's types no program can test the rights of a task.
    let of_user = CallerGroup { user: Some(7), ..group(&bench, "/a.service") };
    let EngineError::Guard(refusal) = attach(&engine, of_group, probe(None), Some(of_user)).unwrap_err()
    else {
        panic!("another refusal")
    };
    assert!(matches!(*refusal, GuardRefusal::NoUserTest(_)), "{refusal}");
    assert_eq!(bench.kernel.snapshot(), before);
}

struct NumberGivenAgain(Arc<SimKernel>);

impl StepObserver for NumberGivenAgain {
    fn before(&self, operation: &'static str, step: &'static str) {
        if (operation, step) == ("attach", "make pending folder") {
            self.0.begin_process(7);
        }
    }
}

#[test]
fn a_process_number_given_again_before_the_link_is_of_another() {
    let bench = bench();
    let engine = bench.watched(Arc::new(NumberGivenAgain(Arc::clone(&bench.kernel))));
    let mut load = bench.request("programs", &["probe"]);
    load.programs[0].program_type = ProgramType::Uretprobe;
    let of_container = engine.loads(&of_namespace(load.clone()))[0];
    let of_group = engine.loads(&of_grant(load))[0];
    let entry = engine.loads(&of_namespace(bench.request("programs", &["probe"])))[0];
    let of_process = probe_in(ProcessScope { pid: Some(7), container_pid: None });
    let before = bench.kernel.snapshot().links.len();
    for (program, point, group) in [
        (of_container, probe(Some(7)), None),
        (entry, probe(Some(7)), None),
        (of_group, of_process.clone(), Some(group(&bench, "/user.slice/user-7.slice"))),
    ] {
        bench.kernel.move_process(7, "/user.slice/user-7.slice");
        let refused = attach(&engine, program, point, group).unwrap_err();
        let EngineError::Guard(refusal) = refused else { panic!("{refused}") };
        assert!(matches!(*refusal, GuardRefusal::OtherProcess { pid: 7, .. }), "{refusal}");
        assert_eq!(bench.kernel.snapshot().links.len(), before, "nothing is left");
    }
    bench.kernel.move_process(7, "/user.slice/user-4711.slice");
    drop(engine);
    let engine = bench.engine();
    attach(&engine, of_group, of_process.clone(), Some(group(&bench, "/user.slice/user-7.slice")))
        .unwrap_err();
    bench.kernel.move_process(7, "/user.slice/user-7.slice");
    attach(&engine, of_group, of_process, Some(group(&bench, "/user.slice/user-7.slice"))).unwrap();
}

#[test]
fn program_in_an_applications_namespace_is_guarded_by_default() {
    let bench = bench();
    let engine = bench.engine();
    let roots = engine.loads(&bench.request("programs", &["probe"]))[0];
    let tenants = engine.loads(&of_namespace(bench.request("programs", &["probe"])))[0];
    let guard = |id| engine.describe_program(id).unwrap().managed.unwrap().record.guard.clone();
    assert_eq!(guard(roots), None);
    assert_eq!(guard(tenants).unwrap().rules, TenantRules::of_containers());
    attach(&engine, roots, probe(None), None).unwrap();
    let packets = engine.loads(&of_namespace(bench.request("programs", &["alpha"])))[0];
    assert_eq!(guard(packets).unwrap().table, None);
    engine.attached(packets, bench.xdp(1));
}

#[test]
fn recovery_reports_cluster_application_with_a_slash() {
    let bench = bench();
    let engine = bench.engine();
    let load = |name: &str, owner| LoadRequest {
        owner: Owner::Application(owner),
        metadata: [("bpfman.io/ProgramName".to_owned(), name.to_owned())].into(),
        ..bench.request("programs", &["probe"])
    };
    // An earlier version recorded it like this.
    let joined = engine.loads(&load("shop/wall", OwningApplication::recorded(None, "shop/wall")))[0];
    engine.loads(&load("wall", OwningApplication::recorded(None, "wall")));
    drop(engine);
    for _ in 0..2 {
        let (_engine, report) = bench.start();
        let [problem] = &report.problems[..] else { panic!("{report:?}") };
        let says = format!("program {joined} was loaded for the cluster application \"shop/wall\"");
        assert!(problem.contains(&says) && problem.contains("namespace shop"), "{problem}");
    }
}
