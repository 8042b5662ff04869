//! Attach points other than hooks of interfaces and probes: their links behave like others.

use std::path::PathBuf;

use bpfman_model::{
    AttachPoint, AttachRequest, CgroupPath, LinkId, LoadRequest, NetfilterFamily, NetfilterHook,
    NetfilterPlace, Owner, PerfEventPlace, ProcessScope, ProgramType, Reason, SampleRate, TenantRules,
};
use bpfmand_engine::{Engine, EngineError, HookCheck, LinkDetails, Standing};
use bpfmand_kernel::Kernel;
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::SimKernel;

use crate::bench::{Ask as _, Bench, Testable, pins};
use crate::replacements::replacement;
use crate::simulated::bench as simulated_bench;
use crate::strangers::force_off;

fn places<K: Testable>(bench: &Bench<K>) -> Vec<(&'static str, AttachPoint)> {
    let mut all = vec![
        ("raw_switch", AttachPoint::RawTracepoint { name: "sched_switch".to_owned() }),
        ("tcp_events", AttachPoint::Cgroup { path: "/".parse().unwrap() }),
        ("no_listener", AttachPoint::Netns { netns: Some(bench.netns.clone()) }),
    ];
    if bench.kernel.features().perf_links {
        all.push(("samples", clock(Some(0))));
    }
    if bench.kernel.features().netfilter_held {
        all.push(("no_packet", netfilter(bench, 0)));
    }
    if bench.kernel.features().uprobe_multi {
        let functions = vec!["strtold".to_owned(), "strtoull".to_owned()];
        let (target, scope) = ("libc".to_owned(), ProcessScope::default());
        all.push(("many_functions", AttachPoint::UprobeMulti { target, functions, scope }));
    }
    all
}

pub fn clock(cpu: Option<u32>) -> AttachPoint {
    let (event, rate) = ("cpu-clock".parse().unwrap(), SampleRate::Frequency(10));
    AttachPoint::PerfEvent { place: PerfEventPlace { event, rate, cpu, pid: None } }
}

pub fn netfilter<K: Kernel>(bench: &Bench<K>, priority: i32) -> AttachPoint {
    let (family, hook) = (NetfilterFamily::Ipv4, NetfilterHook::Input);
    let place = NetfilterPlace { family, hook, priority, defragment: false };
    AttachPoint::Netfilter { netns: Some(bench.netns.clone()), place }
}

fn attached<K: Testable>(bench: &Bench<K>, engine: &Engine<K>) -> Vec<LinkDetails> {
    let at = |(program, point): (&'static str, AttachPoint)| {
        let program = engine.loads(&bench.request("points", &[program]))[0];
        let link = engine.try_attach(program, point).unwrap();
        assert_eq!(link.standing, Standing::Running, "{}", link.record.point);
        link
    };
    places(bench).into_iter().map(at).collect()
}

fn links_are_pinned_until_they_are_detached<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    for link in attached(bench, &engine) {
        let pin = link.pin.clone().unwrap();
        assert!(bench.kernel.open_pin(&pin).unwrap().is_some());
        engine.detach(link.record.id).unwrap();
        assert!(bench.kernel.open_pin(&pin).unwrap().is_none(), "{}", link.record.point);
        engine.unload(link.program.id).unwrap();
    }
    assert_eq!(pins(&*bench.kernel, "".as_ref()), Vec::<String>::new());
}

fn links_outlive_the_daemon<K: Testable>(bench: &Bench<K>) {
    let before = attached(bench, &bench.engine());
    let engine = bench.engine();
    for link in before {
        let now = engine.describe_link(link.record.id).unwrap();
        assert_eq!(now.standing, Standing::Running);
        assert_eq!((now.kernel_link, &now.record), (link.kernel_link, &link.record));
    }
}

fn a_link_that_lost_its_pin_is_attached_again<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    for link in attached(bench, &engine) {
        let id = link.record.id;
        bench.kernel.end_link(&link.pin.unwrap()).unwrap();
        assert!(matches!(engine.check_link(id).unwrap(), HookCheck::Mended(_)), "{}", link.record.point);
        let now = engine.describe_link(id).unwrap();
        assert_eq!(now.standing, Standing::Running);
        assert_ne!(now.kernel_link, link.kernel_link);
    }
}

fn programs_of_other_types_are_refused<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, raw] = ["alpha", "raw_switch"].map(|name| {
        let file = if name == "alpha" { "programs" } else { "points" };
        engine.loads(&bench.request(file, &[name]))[0]
    });
    let places = places(bench);
    for (_, point) in &places {
        let error = engine.try_attach(alpha, point.clone()).unwrap_err();
        assert!(matches!(error, EngineError::WrongPoint { .. }), "{error}");
    }
    let error = engine.try_attach(raw, bench.xdp(1)).unwrap_err();
    assert_eq!(error.kind(), Reason::Precondition, "{error}");
    let [_, first, ..] = &places[..] else { panic!("places") };
    assert!(engine.try_attach(raw, first.1.clone()).is_err());
    assert_eq!(engine.all_links().len(), 0);
}

fn a_raw_trace_point_takes_a_program_once<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [link, ..] = &attached(bench, &engine)[..] else { panic!("a link") };
    let error = engine.try_attach(link.program.id, link.record.point.clone()).unwrap_err();
    assert!(
        matches!(error, EngineError::AlreadyThere { link: there, .. } if there == link.record.id),
        "{error}"
    );
}

/// If the kernel can replace a link's program, no event is missed. Two netfilter programs cannot have one priority.
fn a_new_version_takes_the_place_of_the_old_one<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    for link in attached(bench, &engine) {
        let (id, old) = (link.record.id, link.program.id);
        let replaced = engine.replace_program(&replacement(bench, old, "points"));
        let now = engine.describe_link(id).unwrap();
        assert_eq!(now.standing, Standing::Running, "{}", link.record.point);
        if matches!(link.record.point, AttachPoint::Netfilter { .. }) {
            let error = replaced.unwrap_err();
            assert_eq!(error.kind(), Reason::Conflict);
            assert!(error.to_string().ends_with(&format!("link {id} is there")), "{error}");
            assert!(error.hint().unwrap().to_string().contains(&format!("`bpfman detach {id}`")));
            assert_eq!((now.program.id, now.kernel_link), (old, link.kernel_link));
            continue;
        }
        replaced.unwrap();
        assert_ne!(now.program.id, old);
        let keeps = link.record.point.has_updatable_link();
        assert_eq!(now.kernel_link == link.kernel_link, keeps, "{}", link.record.point);
    }
    drop(engine);
    assert!(bench.engine().all_links().iter().all(|link| link.standing == Standing::Running));
}

fn a_hook_that_a_type_does_not_have_is_refused<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let mut request = bench.request("points", &["no_connect"]);
    request.programs[0].target = Some("egress".to_owned());
    let error = engine.load(&request).unwrap_err();
    assert_eq!(error.kind(), Reason::Invalid);
    let text = error.to_string();
    assert!(text.contains("\"egress\", which type cgroup_sock_addr does not have: one of bind4"), "{text}");
    request.programs[0].target = Some("connect6".to_owned());
    let loaded = engine.loads(&request)[0];
    let record = engine.describe_program(loaded).unwrap().managed.unwrap().record;
    assert_eq!(record.target.as_deref(), Some("connect6"));
    assert_eq!(record.program_type, ProgramType::CgroupSockAddr);
}

fn a_new_version_for_another_hook_is_refused<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let mut request = bench.request("points", &["no_connect"]);
    request.programs[0].target = Some("bind4".to_owned());
    let old = engine.loads(&request)[0];
    let error = engine.replace_program(&replacement(bench, old, "points")).unwrap_err();
    assert_eq!(error.kind(), Reason::Invalid);
    assert!(
        error.to_string().contains("is for the hook connect4, and the version that it replaces for bind4"),
        "{error}"
    );
    assert_eq!(engine.ids(), [old]);
}

/// These programs cannot be restricted to the tenant's own tasks or packets.
fn tenants_load_no_types_without_a_guard<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    for program in ["no_connect", "no_listener", "no_packet", "tcp_events", "dissect", "samples"] {
        let tenant = Some(TenantRules::of_containers());
        let request = LoadRequest { tenant, ..bench.request("points", &[program]) };
        let error = engine.load(&request).unwrap_err();
        assert_eq!(error.kind(), Reason::Denied, "{error}");
        assert!(error.to_string().contains("no guard keeps programs of this type"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.to_string().contains("let root load it")));
    }
    assert_eq!((engine.ids().len(), pins(&*bench.kernel, "".as_ref()).len()), (0, 0));
}

crate::on_both_kernels!(
    links_are_pinned_until_they_are_detached,
    links_outlive_the_daemon,
    a_link_that_lost_its_pin_is_attached_again,
    programs_of_other_types_are_refused,
    a_raw_trace_point_takes_a_program_once,
    tenants_load_no_types_without_a_guard,
    a_new_version_for_another_hook_is_refused,
    a_new_version_takes_the_place_of_the_old_one,
    a_hook_that_a_type_does_not_have_is_refused,
);

#[test]
fn links_come_back_after_a_reboot() {
    let bench: Bench<SimKernel> = simulated_bench();
    let engine = bench.engine();
    let mut before = attached(&bench, &engine);
    // After a reboot, the kernel needs the target again, which names one of several hooks of the type.
    let program = engine.loads(&bench.request("points", &["no_connect"]))[0];
    let group = AttachPoint::Cgroup { path: "/web".parse().unwrap() };
    before.push(engine.try_attach(program, group).unwrap());
    drop(engine);
    bench.kernel.reboot();
    let engine = bench.engine();
    for link in before {
        let now = engine.describe_link(link.record.id).unwrap();
        assert_eq!((now.standing, now.record.point.clone()), (Standing::Running, link.record.point.clone()));
    }
}

fn attach_packets(
    bench: &Bench<SimKernel>,
    engine: &Engine<SimKernel>,
    owner: Owner,
) -> Result<LinkId, EngineError> {
    let request = AttachRequest {
        ttl: None,
        program: engine.loads(&bench.request("points", &["no_packet"]))[0],
        point: netfilter(bench, 7),
        order: Default::default(),
        sharing: Default::default(),
        metadata: Default::default(),
        owner,
        group: None,
    };
    engine.attach(&request).map(|link| link.record.id)
}

#[test]
fn link_in_the_way_is_named_to_its_owner_and_root() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let link = attach_packets(&bench, &engine, Owner::User(1000)).unwrap();
    for (owner, is_named) in [(Owner::Root, true), (Owner::User(1000), true), (Owner::User(1001), false)] {
        let error = attach_packets(&bench, &engine, owner).unwrap_err();
        let text = format!("{error} {}", error.hint().unwrap());
        assert!(text.contains("takes one program"), "{text}");
        assert_eq!(text.contains(&format!("link {link}")), is_named, "{text}");
        assert_eq!(text.contains("bpfman detach"), is_named, "{text}");
    }
}

#[test]
fn link_in_the_way_of_one_that_was_lost_is_named_to_its_owner() {
    for (owner, is_named) in [(Owner::User(1000), true), (Owner::User(1001), false)] {
        let bench = crate::simulated::bench();
        let engine = bench.engine();
        let lost = attach_packets(&bench, &engine, Owner::User(1000)).unwrap();
        bench.kernel.end_link(&PathBuf::from(format!("links/{lost}"))).unwrap();
        let there = attach_packets(&bench, &engine, owner).unwrap();
        drop(engine);
        let (_engine, report) = bench.start();
        let [problem] = &report.problems[..] else { panic!("{report:?}") };
        let reason = problem.strip_prefix(&format!("link {lost}: ")).unwrap();
        assert!(reason.contains("takes one program"), "{reason}");
        assert_eq!(reason.ends_with(&format!("link {there} is there")), is_named, "{reason}");
        assert!(is_named || reason.contains("a link of another owner"), "{reason}");
    }
}

#[test]
fn cgroup_made_again_is_not_taken_for_the_first() {
    let bench = crate::simulated::bench();
    let mut engine = bench.engine();
    let path: CgroupPath = "/web".parse().unwrap();
    let program = engine.loads(&bench.request("points", &["no_connect"]))[0];
    let link = engine.attached(program, AttachPoint::Cgroup { path: path.clone() });
    for again in [false, true] {
        if again {
            drop(engine);
            engine = bench.engine();
        }
        bench.kernel.make_group_again(&path);
        let state = || engine.describe_link(link).unwrap().standing;
        assert_eq!((state().name(), state().is_running()), ("gone", false));
        assert!(state().cause().contains("its cgroup was deleted, another one has its path"), "{}", state());
        assert!(matches!(engine.check_link(link).unwrap(), HookCheck::Mended(_)));
        assert!(state().is_running());
    }
    force_off(&bench, &format!("links/{link}"));
    assert_eq!(engine.describe_link(link).unwrap().standing.name(), "lost");
}
