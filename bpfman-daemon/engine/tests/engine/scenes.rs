//! Preconditions of operations, and the requests made then.

use std::collections::BTreeMap;
use std::path::Path;

use bpfman_model::{
    AttachPoint, AttachRequest, Direction, HookKey, HookKind, Interface, InterfaceMatch, KernelLinkId,
    LinkId, LoadRequest, MatchRequest, OrderIntent, ProceedOn, ProgramId,
};
use bpfmand_engine::{
    AdoptRequest, AdoptWhat, Engine, EngineError, HookChange, ReplaceRequest, SwitchCaller, UpdateLinkRequest,
};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::SimKernel;
use bpfmand_kernel::{LinkTarget, ListAnchor, XdpMode};

use crate::among_others::stranger;
use crate::bench::{Ask as _, Bench, tracepoint};
use crate::intents::{attach, intent};
use crate::points::clock;
use crate::replacements::replacement;
use crate::sockmaps::connections;
use crate::struct_ops::{PROGRAMS, steady};
use crate::whole_loads::version;

pub type Sim = Bench<SimKernel>;

#[derive(Clone, Debug, Default)]
pub struct Scene {
    pub programs: Vec<ProgramId>,
    pub links: Vec<LinkId>,
    pub theirs: Option<KernelLinkId>,
}

pub fn nothing(_: &Sim, _: &Engine<SimKernel>) -> Scene {
    Scene::default()
}

pub fn loaded(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let names = ["alpha", "bravo", "charlie", "tango", "tulip", "xray", "yankee", "trace"];
    Scene { programs: engine.loads(&bench.request("programs", &names)), ..Scene::default() }
}

pub fn attached(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let mut scene = loaded(bench, engine);
    let [alpha, bravo, _, tango, tulip, xray, yankee, trace] = scene.programs[..] else { panic!() };
    for (program, point) in [
        (alpha, bench.xdp(1)),
        (bravo, bench.xdp(1)),
        (tango, bench.tc(Direction::Ingress, 1)),
        (tulip, bench.tc(Direction::Ingress, 2)),
        (tulip, bench.tc(Direction::Egress, 2)),
        (xray, bench.tcx(1)),
        (yankee, bench.tcx(2)),
        (trace, tracepoint("sched_switch")),
        (trace, tracepoint("sched_process_exec")),
    ] {
        scene.links.push(engine.attached(program, point));
    }
    scene
}

pub fn at_places(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let mut scene = loaded_for_places(bench, engine);
    let netns = Some(bench.netns.clone());
    let points = [
        control_group(),
        AttachPoint::Netns { netns },
        AttachPoint::RawTracepoint { name: "sched_switch".to_owned() },
    ];
    for (program, point) in scene.programs.iter().zip(points) {
        scene.links.push(engine.attached(*program, point));
    }
    scene
}

pub fn in_order(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let programs = engine.loads(&bench.request("ordered", &["one", "two", "three"]));
    let first = engine.attached(programs[0], control_group());
    let second = attach(engine, programs[1], control_group(), intent("", &["one"], &[])).unwrap();
    Scene { programs, links: vec![first, second.record.id], ..Scene::default() }
}

pub fn loaded_for_places(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let names = ["no_connect", "no_listener", "raw_switch"];
    Scene { programs: engine.loads(&bench.request("points", &names)), ..Scene::default() }
}

pub fn loaded_for_cpus(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    Scene { programs: engine.loads(&bench.request("points", &["samples"])), ..Scene::default() }
}

pub fn loaded_for_sockets(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let names = ["no_stream", "nothing_sent"];
    Scene { programs: engine.loads(&bench.request("sockets", &names)), ..Scene::default() }
}

pub fn at_sockets(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let mut scene = loaded_for_sockets(bench, engine);
    scene.links = scene.programs.iter().map(|program| engine.attached(*program, connections())).collect();
    scene
}

pub fn loaded_functions(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    Scene { programs: engine.loads(&bench.request("struct_ops", &PROGRAMS)), ..Scene::default() }
}

pub fn at_functions(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let mut scene = loaded_functions(bench, engine);
    scene.links.push(engine.attached(scene.programs[0], steady()));
    scene
}

pub fn on_all_cpus(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let mut scene = loaded_for_cpus(bench, engine);
    scene.links.push(engine.attached(scene.programs[0], clock(None)));
    scene
}

pub fn in_old_file(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let programs = engine.loads(&bench.request("programs", &["probe"]));
    let point = crate::probed_files::probe("/usr/bin/app", Default::default());
    let links = vec![engine.attached(programs[0], point)];
    bench.kernel.replace_file("/usr/bin/app");
    Scene { programs, links, ..Scene::default() }
}

pub fn control_group() -> AttachPoint {
    AttachPoint::Cgroup { path: "/system.slice/web.service".parse().unwrap() }
}

pub fn kept(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let mut scene = loaded(bench, engine);
    scene.links.push(engine.attached(scene.programs[0], bench.xdp(1)));
    let change = HookChange { keep_attached: Some(true), ..HookChange::default() };
    engine.set_hook(&bench.left(), HookKind::Xdp, &change, &SwitchCaller::root("user 0")).unwrap();
    scene
}

pub fn timed(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let scene = attached(bench, engine);
    let change = HookChange { timing: Some(true), ..HookChange::default() };
    engine.set_hook(&bench.left(), HookKind::Xdp, &change, &SwitchCaller::root("user 0")).unwrap();
    scene
}

pub fn left_by_client(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let lease = engine.hold_client_lease(0, 0).unwrap();
    let request = LoadRequest { lease: Some(lease), ..bench.request("programs", &["alpha"]) };
    let mut programs = engine.loads(&request);
    programs.extend(engine.loads(&bench.request("programs", &["bravo"])));
    let links =
        vec![engine.attached(programs[0], bench.xdp(10)), engine.attached(programs[1], bench.xdp(20))];
    engine.end_client_lease(lease);
    Scene { programs, links, ..Scene::default() }
}

pub fn kept_empty(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let scene = kept(bench, engine);
    engine.detach(scene.links[0]).unwrap();
    scene
}

pub fn attached_by_another(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let programs = engine.loads(&bench.request("programs", &["alpha"]));
    let kernel = &*bench.kernel;
    let theirs = crate::kernel_rules::program(kernel, bpfman_model::ProgramType::Xdp, 2, None);
    let HookKey { netns, ifindex, .. } = kernel.find_hook(&own("left"), HookKind::Xdp).unwrap();
    let target = LinkTarget::Xdp { home: netns.into(), netns: None, ifindex, mode: XdpMode::Generic };
    let link = kernel.attach(&theirs, &target).unwrap();
    kernel.pin(&link, Path::new(THEIRS)).unwrap();
    let theirs = Some(kernel.link_of(&link).unwrap().id);
    Scene { programs, theirs, ..Scene::default() }
}

pub fn tcx_by_another(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let programs = engine.loads(&bench.request("programs", &["xray"]));
    let kernel = &*bench.kernel;
    let theirs = crate::kernel_rules::program(kernel, bpfman_model::ProgramType::Tc, -1, None);
    let HookKey { netns, ifindex, .. } = kernel.find_hook(&own("left"), HookKind::Xdp).unwrap();
    let (direction, anchor) = (Direction::Ingress, ListAnchor::Last);
    let home = netns.into();
    let target = LinkTarget::Tcx { home, netns: None, ifindex, direction, anchor, expected_revision: None };
    let link = kernel.attach(&theirs, &target).unwrap();
    kernel.pin(&link, Path::new(THEIRS)).unwrap();
    let theirs = Some(kernel.link_of(&link).unwrap().id);
    Scene { programs, theirs, ..Scene::default() }
}

pub fn tcx_beside_ours(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let mut scene = tcx_by_another(bench, engine);
    let (interface, direction) = (own("left"), Direction::Ingress);
    scene
        .links
        .push(engine.attached(scene.programs[0], AttachPoint::Tcx { interface, direction, priority: 1 }));
    scene
}

pub fn adopted(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let mut scene = attached_by_another(bench, engine);
    scene.links.push(engine.adopt(&adoption(&scene, None)).unwrap().record.id);
    scene
}

pub fn adopted_beside_ours(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let mut scene = adopted(bench, engine);
    scene.links.push(engine.attached(scene.programs[0], at_own_left(bench)));
    scene
}

pub const THEIRS: &str = "theirs";

pub fn own(name: &str) -> Interface {
    Interface { name: name.to_owned(), netns: None }
}

pub fn at_own_left(bench: &Sim) -> AttachPoint {
    let proceed_on = bench.xdp(0).proceed_on().unwrap();
    AttachPoint::Xdp { interface: own("left"), priority: 1, proceed_on }
}

pub fn adoption(scene: &Scene, proceed_on: Option<ProceedOn>) -> AdoptRequest {
    AdoptRequest {
        what: AdoptWhat::Link(scene.theirs.unwrap()),
        // Without it, the search covers the machine's namespaces, which change meanwhile.
        interface: Some(own("left")),
        priority: 5,
        proceed_on,
        order: OrderIntent::default(),
        metadata: BTreeMap::new(),
        caller_uid: 0,
        owner: Default::default(),
    }
}

pub fn matched(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let programs = engine.loads(&bench.request("programs", &["alpha"]));
    let interfaces = InterfaceMatch::parse(["pod*"], [], [], [bench.netns.as_path()]).unwrap();
    let (point, order, metadata) = (bench.xdp(3), OrderIntent::default(), BTreeMap::new());
    let attach = AttachRequest {
        ttl: None,
        program: programs[0],
        point,
        order,
        sharing: bpfman_model::Sharing::default(),
        metadata,
        owner: Default::default(),
        group: None,
    };
    engine.attach_matching(&MatchRequest { attach, interfaces }).unwrap();
    bench.kernel.add_interface(Some(&bench.netns), "pod1").unwrap();
    Scene { programs, ..Scene::default() }
}

pub fn sharers(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let mut programs = engine.loads(&bench.request("sharing", &["host", "guest"]));
    let mut request = bench.request("sharing", &["guest"]);
    request.map_owner = programs.first().copied();
    programs.extend(engine.loads(&request));
    Scene { programs, ..Scene::default() }
}

pub fn one_sharer(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    Scene { programs: engine.loads(&bench.request("sharing", &["host"])), ..Scene::default() }
}

pub fn load(engine: &Engine<SimKernel>, request: &LoadRequest) -> Result<(), EngineError> {
    engine.load(request).map(drop)
}

pub fn update(
    engine: &Engine<SimKernel>,
    link: LinkId,
    priority: i32,
    after: &[&str],
) -> Result<(), EngineError> {
    let order = Some(intent("moved", &[], after));
    let request = UpdateLinkRequest { priority: Some(priority), order, ..UpdateLinkRequest::of(link) };
    engine.update_link(&request).map(drop)
}

pub fn waited_for(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let programs = engine.loads(&bench.request("programs", &["xray", "yankee"]));
    let first =
        attach(engine, programs[0], bench.tcx(1), intent("", &[], &["role=moved"])).unwrap().record.id;
    let links = vec![first, engine.attached(programs[1], bench.tcx(2))];
    Scene { programs, links, ..Scene::default() }
}

pub fn among_others(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    bench.kernel.make_folder(std::path::Path::new("strangers")).unwrap();
    stranger(bench, "guard", 1, ListAnchor::Last);
    let programs = engine.loads(&bench.request("programs", &["tango"]));
    let point = bench.tc(Direction::Ingress, 1);
    let link = attach(engine, programs[0], point, intent("", &["foreign:guard"], &[])).unwrap().record.id;
    Scene { programs, links: vec![link], ..Scene::default() }
}

pub fn replaced(
    bench: &Sim,
    engine: &Engine<SimKernel>,
    scene: &Scene,
    keep_old: bool,
) -> Result<(), EngineError> {
    let request = ReplaceRequest { keep_old, ..replacement(bench, scene.programs[0], "second") };
    engine.replace_program(&request).map(drop)
}

pub fn loaded_extension(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let filter = crate::extensions::filter(bench, engine);
    let filter_link = engine.attached(filter, bench.xdp(1));
    let drops = engine.loads(&crate::extensions::extension(bench, "drops", filter))[0];
    Scene { programs: vec![drops, filter], links: vec![filter_link], ..Scene::default() }
}

pub fn at_extended(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let mut scene = loaded_extension(bench, engine);
    scene.links.insert(0, engine.attached(scene.programs[0], AttachPoint::Freplace));
    scene
}

pub fn load_replaced(
    bench: &Sim,
    engine: &Engine<SimKernel>,
    scene: &Scene,
    object: &'static str,
    names: &[&str],
) -> Result<(), EngineError> {
    engine.replace_load(&version(bench, &scene.programs, object, names)).map(drop)
}

pub fn at_two_interfaces(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let mut scene = only(bench, engine, &["alpha", "charlie"], 0);
    let AttachPoint::Xdp { proceed_on, .. } = bench.xdp(1) else { panic!() };
    let right = AttachPoint::Xdp { interface: bench.interface("right"), priority: 1, proceed_on };
    scene.links.push(engine.attached(scene.programs[1], right));
    let change = HookChange { keep_attached: Some(true), ..HookChange::default() };
    engine
        .set_hook(&bench.interface("right"), HookKind::Xdp, &change, &SwitchCaller::root("user 0"))
        .unwrap();
    scene
}

pub fn only(bench: &Sim, engine: &Engine<SimKernel>, names: &[&str], replaced: usize) -> Scene {
    let loaded = if names.is_empty() { &["alpha"] } else { names };
    let mut scene = Scene { programs: engine.loads(&bench.request("programs", loaded)), ..Scene::default() };
    for (name, program) in names.iter().zip(scene.programs.clone()) {
        let points = match *name {
            "tulip" => vec![bench.tc(Direction::Ingress, 1), bench.tc(Direction::Egress, 1)],
            "tango" => vec![bench.tc(Direction::Ingress, 2)],
            "xray" | "yankee" => vec![bench.tcx(1)],
            "trace" => ["sched_switch", "sched_process_exec"].map(tracepoint).to_vec(),
            _ => vec![bench.xdp(1)],
        };
        scene.links.extend(points.into_iter().map(|point| engine.attached(program, point)));
    }
    for _ in 0..replaced {
        let request = replacement(bench, scene.programs[0], "second");
        scene.programs[0] = engine.replace_program(&request).unwrap().programs[0].id;
    }
    scene
}
