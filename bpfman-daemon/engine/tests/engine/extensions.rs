//! Extensions (freplace): attached while the extended program runs by itself, and kept together with it.

use bpfman_model::{
    AttachPoint, Direction, HookKind, LinkId, LoadRequest, Owner, ProgramId, ProgramType, Reason, TenantRules,
};
use bpfmand_engine::{
    Engine, EngineError, HookChange, HookCheck, MapPolicy, ReplaceLoadRequest, Standing, SwitchCaller,
    TraceLimits, TracePacket,
};
use bpfmand_kernel::Kernel;
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::{SimKernel, SimOptions};

use crate::bench::{Ask as _, Bench, Testable, pins};
use crate::replacements::replacement;
use crate::simulated::{bench as simulated_bench, bench_of};
use crate::struct_ops::kernel_types;

pub const EXTENDED: &str = "extended";

pub fn extension<K: Kernel>(bench: &Bench<K>, name: &str, of: impl ToString) -> LoadRequest {
    let mut request = bench.request(EXTENDED, &[name]);
    request.programs[0].target = Some(of.to_string());
    request
}

pub fn filter<K: Testable>(bench: &Bench<K>, engine: &Engine<K>) -> ProgramId {
    engine.loads(&bench.request(EXTENDED, &["filter"]))[0]
}

pub fn extended<K: Testable>(bench: &Bench<K>, engine: &Engine<K>) -> (ProgramId, ProgramId, LinkId) {
    let filter = filter(bench, engine);
    engine.attached(filter, bench.xdp(1));
    let drops = engine.loads(&extension(bench, "drops", filter))[0];
    (filter, drops, engine.attached(drops, AttachPoint::Freplace))
}

fn lacks<K: Testable>(bench: &Bench<K>) -> bool {
    if bench.kernel.features().freplace {
        return false;
    }
    println!("skipped: this kernel does not let programs replace functions of others (freplace)");
    let engine = bench.engine();
    let filter = filter(bench, &engine);
    let before = pins(&*bench.kernel, "".as_ref());
    let error = engine.load(&extension(bench, "drops", filter)).unwrap_err();
    assert_eq!(error.kind(), Reason::Unsupported, "{error}");
    assert!(error.to_string().contains("lets no program take the place"), "{error}");
    assert_eq!(pins(&*bench.kernel, "".as_ref()), before);
    true
}

fn refused<K: Testable, T>(
    bench: &Bench<K>,
    (kind, says): (Reason, &str),
    ask: impl FnOnce() -> Result<T, EngineError>,
) {
    let before = pins(&*bench.kernel, "".as_ref());
    let Err(error) = ask() else { panic!("not refused: {says}") };
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(says), "{error}");
    assert!(error.hint().is_some(), "{error}");
    assert_eq!(pins(&*bench.kernel, "".as_ref()), before, "{says}");
}

fn extensions_live_as_other_links_do<K: Testable>(bench: &Bench<K>) {
    if lacks(bench) {
        return;
    }
    let (filter, drops, link) = extended(bench, &bench.engine());
    let engine = bench.engine();
    let now = engine.describe_link(link).unwrap();
    assert_eq!(now.standing, Standing::Running, "a new daemon");
    bench.kernel.end_link(now.pin.as_ref().unwrap()).unwrap();
    assert!(matches!(engine.check_link(link).unwrap(), HookCheck::Mended(_)));
    assert_eq!(engine.describe_link(link).unwrap().standing, Standing::Running);
    let record = engine.describe_program(drops).unwrap().managed.unwrap().record;
    assert_eq!(record.target.as_deref(), Some(format!("{filter}:limit").as_str()));
    engine.detach(link).unwrap();
    assert!(engine.attached(drops, AttachPoint::Freplace) > link, "attached again");
    engine.unload(drops).unwrap();
    engine.unload(filter).unwrap();
    assert_eq!(pins(&*bench.kernel, "".as_ref()), Vec::<String>::new());
}

fn extended_program_cannot_be_changed<K: Testable>(bench: &Bench<K>) {
    if lacks(bench) {
        return;
    }
    let engine = bench.engine();
    let (filter, drops, link) = extended(bench, &engine);
    let by = format!("it is extended by program {drops} (\"drops\", link {link})");
    refused(bench, (Reason::Precondition, &by), || engine.unload(filter));
    refused(bench, (Reason::Precondition, &by), || {
        engine.replace_program(&replacement(bench, filter, EXTENDED))
    });
    let load = bench.request(EXTENDED, &["filter"]);
    let whole = ReplaceLoadRequest { programs: vec![filter], load, maps: MapPolicy::Keep, places: None };
    refused(bench, (Reason::Precondition, &by), || engine.replace_load(&whole));
    // The kernel accepts a new version of an attached extension only after the old link is gone.
    let held = format!("while link {link} attaches it");
    refused(bench, (Reason::Conflict, &held), || {
        engine.replace_program(&replacement(bench, drops, EXTENDED))
    });
    engine.detach(link).unwrap();
    let by = format!("it is extended by program {drops} (\"drops\")");
    refused(bench, (Reason::Precondition, &by), || engine.unload(filter));
    let new = engine.replace_program(&replacement(bench, drops, EXTENDED)).unwrap().programs[0].id;
    engine.attached(new, AttachPoint::Freplace);
    engine.detach(engine.all_links().last().unwrap().record.id).unwrap();
    let back = engine.rollback_program(new, None).unwrap().programs[0].id;
    engine.attached(back, AttachPoint::Freplace);
    engine.unload(back).unwrap();
    engine.replace_program(&replacement(bench, filter, EXTENDED)).unwrap();
}

fn program_that_cannot_be_extended_is_refused<K: Testable>(bench: &Bench<K>) {
    if lacks(bench) {
        return;
    }
    let engine = bench.engine();
    let (filter, drops, _) = extended(bench, &engine);
    let ask = |name: &str, of: String| engine.load(&extension(bench, name, of));
    let none = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let load = |says: (Reason, &str), name: &str, of: String| refused(bench, says, || ask(name, of));
    load((Reason::Invalid, "no program is named"), "drops", String::new());
    load((Reason::Invalid, "\"limit\" is no id of a program"), "drops", "limit".to_owned());
    load((Reason::Invalid, "no function of program"), "anywhere", filter.to_string());
    load((Reason::NotFound, "program 4000000000, which does not exist"), "drops", "4000000000".to_owned());
    load((Reason::Invalid, "is an extension itself"), "aborts", drops.to_string());
    load((Reason::NotFound, "no function \"nothing\""), "anywhere", format!("{filter}:nothing"));
    load((Reason::NotFound, "limit"), "drops", none.to_string());
    load((Reason::Invalid, "\"own\" of program"), "anywhere", format!("{filter}:own"));
    load((Reason::Invalid, "takes 1 arguments instead of 2"), "takes_less", filter.to_string());
    // An extension for an occupied function can be loaded, but not attached: the kernel attaches one per function.
    let aborts = ask("aborts", filter.to_string()).unwrap().programs[0].id;
    let by = format!("replaced already, by program {drops} (\"drops\")");
    refused(bench, (Reason::Conflict, &by), || engine.try_attach(aborts, AttachPoint::Freplace));
    let twice = "already attached";
    let error = engine.try_attach(drops, AttachPoint::Freplace).unwrap_err();
    assert!(error.to_string().contains(twice), "{error}");
    let error = engine.try_attach(filter, AttachPoint::Freplace).unwrap_err();
    assert_eq!(error.kind(), Reason::Precondition, "{error}");
    let mut both = bench.request(EXTENDED, &["beside", "drops"]);
    let beside = engine.loads(&bench.request(EXTENDED, &["beside"]))[0];
    both.programs[1].target = Some(beside.to_string());
    let whole =
        ReplaceLoadRequest { programs: vec![beside], load: both, maps: MapPolicy::Keep, places: None };
    refused(bench, (Reason::Invalid, "which the same load replaces"), || engine.replace_load(&whole));
}

/// Chains run copies of their members, to which extensions do not apply.
fn an_extended_program_is_not_spliced<K: Testable>(bench: &Bench<K>) {
    if lacks(bench) {
        return;
    }
    let engine = bench.engine();
    let filter = filter(bench, &engine);
    let beside = engine.loads(&bench.request(EXTENDED, &["beside"]))[0];
    let drops = engine.loads(&extension(bench, "drops", filter))[0];
    engine.attached(filter, bench.xdp(1));
    let second = engine.attached(beside, bench.xdp(2));
    let says = format!("program {filter} (\"filter\") does not run by itself at xdp:left");
    refused(bench, (Reason::Conflict, &says), || engine.try_attach(drops, AttachPoint::Freplace));
    engine.detach(second).unwrap();
    let link = engine.attached(drops, AttachPoint::Freplace);
    let says = format!("which its extension by program {drops} (\"drops\"), link {link} does not reach");
    refused(bench, (Reason::Conflict, &says), || engine.try_attach(beside, bench.xdp(2)));
    let timed = HookChange { timing: Some(true), ..HookChange::default() };
    refused(bench, (Reason::Conflict, &says), || {
        engine.set_hook(&bench.left(), HookKind::Xdp, &timed, &SwitchCaller::root("user 0"))
    });
    assert_eq!(engine.names(&bench.left(), HookKind::Xdp), ["filter"]);
    assert_eq!(engine.describe_link(link).unwrap().standing, Standing::Running);
    engine.detach(link).unwrap();
    engine.attached(beside, bench.xdp(2));
    assert_eq!(engine.names(&bench.left(), HookKind::Xdp), ["filter", "beside"]);
}

crate::on_both_kernels!(
    an_extended_program_is_not_spliced,
    extensions_live_as_other_links_do,
    program_that_cannot_be_extended_is_refused,
    extended_program_cannot_be_changed,
);

fn tenant<K: Testable>(bench: &Bench<K>, grant: &str, names: &[&str]) -> LoadRequest {
    LoadRequest {
        owner: Owner::Grant(grant.to_owned()),
        tenant: Some(TenantRules::of_containers()),
        ..bench.request(EXTENDED, names)
    }
}

#[test]
fn tenants_extend_what_is_their_own_and_never_its_guard() {
    let bench = simulated_bench();
    let engine = bench.engine();
    let [filter, watch] = engine.loads(&tenant(&bench, "a", &["filter", "watch"]))[..] else { panic!() };
    let of_root = self::filter(&bench, &engine);
    let of = |grant: &str, name: &str, of: String| {
        let mut request = tenant(&bench, grant, &[name]);
        request.programs[0].target = Some(of);
        engine.load(&request)
    };
    let says = |error: EngineError, says: &str| {
        assert_eq!(error.kind(), Reason::Denied, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    };
    says(of("b", "drops", filter.to_string()).unwrap_err(), "is not of the same owner");
    says(of("a", "drops", of_root.to_string()).unwrap_err(), "is not of the same owner");
    says(of("a", "instead_of_watch", watch.to_string()).unwrap_err(), "which is guarded there");
    says(of("a", "reads_memory", watch.to_string()).unwrap_err(), "bpf_probe_read_kernel");
    let mut goes_on = LoadRequest {
        tenant: Some(TenantRules::of_containers()),
        ..bench.request("extends_on", &["goes_on"])
    };
    goes_on.owner = Owner::Grant("a".to_owned());
    goes_on.programs[0].program_type = ProgramType::Freplace;
    goes_on.programs[0].target = Some(filter.to_string());
    says(engine.load(&goes_on).unwrap_err(), "a tail call in an extension");
    assert_eq!(engine.ids().len(), 3);
    let drops = of("a", "drops", filter.to_string()).unwrap().programs[0].id;
    engine.attached(drops, AttachPoint::Freplace);
    of("a", "watches_more", watch.to_string()).unwrap();
    engine.loads(&extension(&bench, "aborts", filter));
}

#[test]
fn extensions_return_after_reboot_before_their_targets_run() {
    let bench = simulated_bench();
    let (_, drops, link) = extended(&bench, &bench.engine());
    bench.kernel.reboot();
    let squatter = bench_load(&bench);
    let engine = bench.engine();
    let now = engine.describe_link(link).unwrap();
    assert_eq!(now.standing, Standing::Running);
    let record = engine.describe_program(now.program.id).unwrap().managed.unwrap().record;
    let filter = engine.list_links(None, None, &Default::default()).unwrap();
    let filter = filter.iter().find(|link| link.record.hook.is_some()).unwrap().program.id;
    assert_eq!(record.target, Some(format!("{filter}:limit")));
    assert_ne!(record.id, drops, "the kernel's ids are new ones");
    let state = bench.kernel.snapshot();
    let of_extension = state.links.iter().find(|(_, link)| link.program == record.id).unwrap();
    let of_filter = state.links.iter().find(|(_, link)| link.program == filter).unwrap();
    assert!(of_extension.0 < of_filter.0, "links are numbered as they are made");
    assert!(of_extension.1.place.contains(&format!("of program {filter}")), "{}", of_extension.1.place);
    refused(&bench, (Reason::Precondition, "it is extended by"), || engine.unload(filter));
    drop(squatter);
}

fn bench_load(bench: &Bench<SimKernel>) -> Vec<bpfmand_kernel::sim::SimHandle> {
    use bpfman_model::{BoundText, Insn, op};
    let insns = vec![Insn::new(0xb7, 0, 0, 0, 2), Insn::new(op::EXIT, 0, 0, 0, 0)];
    let text = BoundText::of_one_function("theirs", "GPL", insns);
    let load = bpfmand_kernel::ProgramLoad::new("theirs", &text, ProgramType::Xdp.into());
    (0..5).map(|_| bench.kernel.load_program(&load).unwrap().program).collect()
}

#[test]
fn an_extension_whose_program_is_not_back_is_lost_and_says_why() {
    let bench = simulated_bench();
    let engine = bench.engine();
    let _ = extended(&bench, &engine);
    drop(engine);
    bench.kernel.reboot();
    bench.kernel.refuse("filter");
    let (engine, report) = bench.start();
    let of = |name: &str| report.problems.iter().find(|problem| problem.contains(name)).cloned();
    let problem = of("loading drops again").unwrap_or_default();
    assert!(problem.contains("program \"filter\", which could not be loaded again"), "{:?}", report.problems);
    drop(engine);
    bench.kernel.accept("filter");
    let (engine, report) = bench.start();
    assert_eq!((report.reloaded, report.problems), (2, Vec::new()));
    assert!(engine.all_links().iter().all(|link| link.standing == Standing::Running));
}

#[test]
fn extension_of_third_party_program_ends_with_the_boot() {
    let bench = simulated_bench();
    let engine = bench.engine();
    let theirs = {
        let ours = filter(&bench, &engine);
        let handle = bench.kernel.open_program(ours).unwrap();
        engine.unload(ours).unwrap();
        (ours, handle)
    };
    assert!(!engine.manages(theirs.0));
    let drops = engine.loads(&extension(&bench, "drops", theirs.0))[0];
    let link = engine.attached(drops, AttachPoint::Freplace);
    drop(engine);
    let engine = bench.engine();
    assert_eq!(engine.describe_link(link).unwrap().standing, Standing::Running, "a new daemon");
    drop(engine);
    bench.kernel.reboot();
    let (engine, report) = bench.start();
    let says = format!("program {} of others, which a reboot ended", theirs.0);
    assert!(report.problems.iter().any(|problem| problem.contains(&says)), "{:?}", report.problems);
    engine.unload(engine.all_links()[0].program.id).unwrap();
}

#[test]
fn extended_member_of_tc_is_traced_for_real_alone() {
    let bench = simulated_bench();
    let engine = bench.engine();
    let gate = engine.loads(&bench.request(EXTENDED, &["gate"]))[0];
    engine.attached(gate, bench.tcx(1));
    let other = engine.loads(&extension(&bench, "judges_otherwise", gate))[0];
    let (kind, packet) = (HookKind::Tcx(Direction::Ingress), TracePacket { data: vec![0; 64], mark: 0 });
    let trace = |kind| {
        let limits = TraceLimits { members: None, sends_nothing: true };
        engine.trace_chain(&bench.left(), kind, std::slice::from_ref(&packet), limits)
    };
    let may_send = |kind| matches!(trace(kind), Err(EngineError::TraceMaySend { .. }));
    assert!(!may_send(kind), "not attached yet");
    engine.attached(other, AttachPoint::Freplace);
    assert!(may_send(kind));
    assert_eq!(trace(kind).unwrap_err().kind(), Reason::Precondition);
    // XDP programs send no packets in a test run.
    let _ = extended(&bench, &engine);
    assert!(!may_send(HookKind::Xdp));
}

#[test]
fn kernels_without_extensions_are_named() {
    let mut options = SimOptions { btf: Some(kernel_types()), ..SimOptions::default() };
    options.features.freplace = false;
    assert!(lacks(&bench_of(options)));
}

#[test]
fn linux_replaced_function_runs_the_extension_while_attached() {
    const PASS: u32 = 2;
    const DROP: u32 = 1;
    let bench = crate::linux::bench("extension");
    if lacks(&bench) {
        return;
    }
    let engine = bench.engine();
    let (filter, drops, link) = extended(&bench, &engine);
    assert_eq!(bench.kernel.verdict(filter), DROP);
    drop(engine);
    assert_eq!(bench.kernel.verdict(filter), DROP, "no daemon needed");
    let engine = bench.engine();
    engine.detach(link).unwrap();
    assert_eq!(bench.kernel.verdict(filter), PASS, "detached");
    engine.attached(drops, AttachPoint::Freplace);
    assert_eq!(bench.kernel.verdict(filter), DROP, "attached again");
    engine.unload(drops).unwrap();
    assert_eq!(bench.kernel.verdict(filter), PASS, "unloaded");
    let whole = engine.loads(&extension(&bench, "passes_none", format!("{filter}:filter")))[0];
    engine.attached(whole, AttachPoint::Freplace);
    assert_eq!(bench.kernel.verdict(filter), DROP, "the whole program");
}
