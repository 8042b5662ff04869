//! Every call to the kernel fails once, in every operation: after an error all is as before, for good.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bpfmand_core::{
    AttachPoint, AttachRequest, Direction, HookKind, Interface, InterfaceMatch, KernelLinkId, LinkId,
    LoadRequest, MatchRequest, OrderIntent, ProceedOn, ProgramId, VerdictFamily,
};
use bpfmand_engine::{
    AdoptRequest, AdoptWhat, Engine, EngineError, HookChange, ReplaceRequest, UpdateLinkRequest,
};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::SimKernel;
use bpfmand_kernel::{LinkTarget, TcxAnchor, XdpMode};

use crate::among_others::stranger;
use crate::bench::{Ask as _, Bench, tracepoint};
use crate::dispatchers::{of_others, with_ours, with_two_of_ours};
use crate::intents::{attach, intent};
use crate::replacements::replacement;
use crate::simulated::{bench, shape};
use crate::whole_loads::version;

type Sim = Bench<SimKernel>;

/// What an operation is done to.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    pub programs: Vec<ProgramId>,
    pub links: Vec<LinkId>,
    /// A link of someone else.
    pub theirs: Option<KernelLinkId>,
}

/// An operation, with what has to be there before it.
pub struct Case {
    pub name: &'static str,
    pub by_clsact: bool,
    pub before: fn(&Sim, &Engine<SimKernel>) -> Scene,
    pub operation: fn(&Sim, &Engine<SimKernel>, &Scene) -> Result<(), EngineError>,
}

fn nothing(_: &Sim, _: &Engine<SimKernel>) -> Scene {
    Scene::default()
}

fn loaded(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let names = ["alpha", "bravo", "charlie", "tango", "tulip", "xray", "yankee", "trace"];
    Scene { programs: engine.loads(&bench.request("programs", &names)), ..Scene::default() }
}

/// Everything of `loaded`, attached: two members at each chain, two tcx links, two trace points.
fn attached(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
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

/// One member at a hook that stays attached without it.
fn kept(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let mut scene = loaded(bench, engine);
    scene.links.push(engine.attached(scene.programs[0], bench.xdp(1)));
    let change = HookChange { keep_attached: Some(true), ..HookChange::default() };
    engine.set_hook(&bench.left(), HookKind::Xdp, &change, "user 0").unwrap();
    scene
}

fn timed(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let scene = attached(bench, engine);
    let change = HookChange { timing: Some(true), ..HookChange::default() };
    engine.set_hook(&bench.left(), HookKind::Xdp, &change, "user 0").unwrap();
    scene
}

fn kept_empty(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let scene = kept(bench, engine);
    engine.detach(scene.links[0]).unwrap();
    scene
}

/// A program that someone else attached, in the daemon's own namespace.
fn attached_by_another(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let programs = engine.loads(&bench.request("programs", &["alpha"]));
    let kernel = &*bench.kernel;
    let theirs = crate::kernel_rules::program(kernel, bpfmand_core::ProgramType::Xdp, 2, None);
    let ifindex = kernel.find_hook(&own("left"), HookKind::Xdp).unwrap().ifindex;
    let target = LinkTarget::Xdp { netns: None, ifindex, mode: XdpMode::Generic };
    let link = kernel.attach(&theirs, &target).unwrap();
    kernel.pin(&link, Path::new(THEIRS)).unwrap();
    let theirs = Some(kernel.link_of(&link).unwrap().id);
    Scene { programs, theirs, ..Scene::default() }
}

fn tcx_by_another(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let programs = engine.loads(&bench.request("programs", &["xray"]));
    let kernel = &*bench.kernel;
    let theirs = crate::kernel_rules::program(kernel, bpfmand_core::ProgramType::Tc, -1, None);
    let ifindex = kernel.find_hook(&own("left"), HookKind::Xdp).unwrap().ifindex;
    let (direction, anchor) = (Direction::Ingress, TcxAnchor::Last);
    let target = LinkTarget::Tcx { netns: None, ifindex, direction, anchor, expected_revision: None };
    let link = kernel.attach(&theirs, &target).unwrap();
    kernel.pin(&link, Path::new(THEIRS)).unwrap();
    let theirs = Some(kernel.link_of(&link).unwrap().id);
    Scene { programs, theirs, ..Scene::default() }
}

fn tcx_beside_ours(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let mut scene = tcx_by_another(bench, engine);
    let (interface, direction) = (own("left"), Direction::Ingress);
    scene
        .links
        .push(engine.attached(scene.programs[0], AttachPoint::Tcx { interface, direction, priority: 1 }));
    scene
}

fn adopted(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let mut scene = attached_by_another(bench, engine);
    scene.links.push(engine.adopt(&adoption(&scene, None)).unwrap().record.id);
    scene
}

fn adopted_beside_ours(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let mut scene = adopted(bench, engine);
    scene.links.push(engine.attached(scene.programs[0], at_own_left(bench)));
    scene
}

/// Where the stranger keeps its link.
const THEIRS: &str = "theirs";

pub fn own(name: &str) -> Interface {
    Interface { name: name.to_owned(), netns: None }
}

fn at_own_left(bench: &Sim) -> AttachPoint {
    let proceed_on = bench.xdp(0).proceed_on().unwrap();
    AttachPoint::Xdp { interface: own("left"), priority: 1, proceed_on }
}

fn adoption(scene: &Scene, proceed_on: Option<ProceedOn>) -> AdoptRequest {
    AdoptRequest {
        what: AdoptWhat::Link(scene.theirs.unwrap()),
        // Elsewhere are the machine's own namespaces, which come and go.
        interface: Some(own("left")),
        priority: 5,
        proceed_on,
        order: OrderIntent::default(),
        metadata: BTreeMap::new(),
        caller_uid: 0,
    }
}

fn matched(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let programs = engine.loads(&bench.request("programs", &["alpha"]));
    let interfaces = InterfaceMatch::parse(["pod*"], [], [], [bench.netns.as_path()]).unwrap();
    let (point, order, metadata) = (bench.xdp(3), OrderIntent::default(), BTreeMap::new());
    let attach = AttachRequest {
        program: programs[0],
        point,
        order,
        sharing: bpfmand_core::Sharing::default(),
        metadata,
    };
    engine.attach_matching(&MatchRequest { attach, interfaces }).unwrap();
    bench.kernel.add_interface(Some(&bench.netns), "pod1").unwrap();
    Scene { programs, ..Scene::default() }
}

fn sharers(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let mut programs = engine.loads(&bench.request("sharing", &["host", "guest"]));
    let mut request = bench.request("sharing", &["guest"]);
    request.map_owner = programs.first().copied();
    programs.extend(engine.loads(&request));
    Scene { programs, ..Scene::default() }
}

fn one_sharer(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    Scene { programs: engine.loads(&bench.request("sharing", &["host"])), ..Scene::default() }
}

fn load(engine: &Engine<SimKernel>, request: &LoadRequest) -> Result<(), EngineError> {
    engine.load(request).map(drop)
}

fn update(
    engine: &Engine<SimKernel>,
    link: LinkId,
    priority: i32,
    after: &[&str],
) -> Result<(), EngineError> {
    let order = Some(intent("moved", &[], after));
    let request = UpdateLinkRequest { priority: Some(priority), order, ..UpdateLinkRequest::of(link) };
    engine.update_link(&request).map(drop)
}

/// Two tcx links, of which the first will run after whoever has a role.
fn waited_for(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let programs = engine.loads(&bench.request("programs", &["xray", "yankee"]));
    let first =
        attach(engine, programs[0], bench.tcx(1), intent("", &[], &["role=moved"])).unwrap().record.id;
    let links = vec![first, engine.attached(programs[1], bench.tcx(2))];
    Scene { programs, links, ..Scene::default() }
}

/// A chain that wants to run before a stranger.
fn among_others(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    bench.kernel.make_folder(std::path::Path::new("strangers")).unwrap();
    stranger(bench, "guard", 1, TcxAnchor::Last);
    let programs = engine.loads(&bench.request("programs", &["tango"]));
    let point = bench.tc(Direction::Ingress, 1);
    let link = attach(engine, programs[0], point, intent("", &["foreign:guard"], &[])).unwrap().record.id;
    Scene { programs, links: vec![link], ..Scene::default() }
}

/// Replaces the first program.
fn replaced(
    bench: &Sim,
    engine: &Engine<SimKernel>,
    scene: &Scene,
    keep_old: bool,
) -> Result<(), EngineError> {
    let request = ReplaceRequest { keep_old, ..replacement(bench, scene.programs[0], "second") };
    engine.replace_program(&request).map(drop)
}

/// Replaces all programs of the scene by others of one object.
fn load_replaced(
    bench: &Sim,
    engine: &Engine<SimKernel>,
    scene: &Scene,
    object: &'static str,
    names: &[&str],
) -> Result<(), EngineError> {
    engine.replace_load(&version(bench, &scene.programs, object, names)).map(drop)
}

/// Programs of one load at the two hooks of `left` and `right` for XDP, the last of them alone at `right`.
fn at_two_interfaces(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let mut scene = only(bench, engine, &["alpha", "charlie"], 0);
    let AttachPoint::Xdp { proceed_on, .. } = bench.xdp(1) else { panic!() };
    let right = AttachPoint::Xdp { interface: bench.interface("right"), priority: 1, proceed_on };
    scene.links.push(engine.attached(scene.programs[1], right));
    let change = HookChange { keep_attached: Some(true), ..HookChange::default() };
    engine.set_hook(&bench.interface("right"), HookKind::Xdp, &change, "user 0").unwrap();
    scene
}

/// Only these programs, each attached where it can be, the first replaced so many times.
fn only(bench: &Sim, engine: &Engine<SimKernel>, names: &[&str], replaced: usize) -> Scene {
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

macro_rules! case {
    ($name:expr, $before:expr, |$bench:ident, $engine:ident, $scene:ident| $operation:expr) => {
        case!($name, false, $before, |$bench, $engine, $scene| $operation)
    };
    ($name:expr, $clsact:expr, $before:expr, |$bench:ident, $engine:ident, $scene:ident| $operation:expr) => {
        Case {
            name: $name,
            by_clsact: $clsact,
            before: $before,
            operation: |$bench, $engine, $scene| {
                let _ = ($bench, $scene);
                $operation
            },
        }
    };
}

/// Every operation in every situation that takes another way through the engine.
pub fn cases() -> Vec<Case> {
    const EGRESS: Direction = Direction::Egress;
    const INGRESS: Direction = Direction::Ingress;
    vec![
        case!("adopt a program alone", attached_by_another, |b, e, s| e.adopt(&adoption(s, None)).map(drop)),
        case!("adopt a program that needs a check", attached_by_another, |b, e, s| {
            // Not what the program alone would do, so the link is swapped.
            let wide = ProceedOn::from_codes(VerdictFamily::Xdp, &[1, 2, 3]).unwrap();
            e.adopt(&adoption(s, Some(wide))).map(drop)
        }),
        case!("adopt a tcx link", tcx_by_another, |b, e, s| e.adopt(&adoption(s, None)).map(drop)),
        case!("adopt a tcx link beside ours", tcx_beside_ours, |b, e, s| e
            .adopt(&adoption(s, None))
            .map(drop)),
        case!("attach beside an adopted program", adopted, |b, e, s| {
            e.try_attach(s.programs[0], at_own_left(b)).map(drop)
        }),
        case!("detach the adopted program, the last", adopted, |b, e, s| e.detach(s.links[0])),
        case!("detach the adopted program, others stay", adopted_beside_ours, |b, e, s| e.detach(s.links[0])),
        case!("detach ours beside the adopted program", adopted_beside_ours, |b, e, s| e.detach(s.links[1])),
        case!("attach to a new interface that matches", matched, |b, e, s| {
            let report = e.follow_interfaces(Some(&b.netns))?;
            match report.problems.into_iter().next() {
                None => Ok(()),
                Some(problem) => Err(EngineError::Denied(problem)),
            }
        }),
        case!("load one", nothing, |b, e, s| load(e, &b.request("programs", &["alpha"]))),
        case!("load two", loaded, |b, e, s| load(e, &b.request("programs", &["alpha", "tango"]))),
        case!("load with a shared map", nothing, |b, e, s| load(e, &b.request("sharing", &["host"]))),
        case!("load with a map shared already", one_sharer, |b, e, s| load(
            e,
            &b.request("sharing", &["host", "guest"])
        )),
        case!("load with an owner", loaded, |b, e, s| {
            let mut request = b.request("programs", &["delta"]);
            request.map_owner = Some(s.programs[0]);
            load(e, &request)
        }),
        case!("attach the first of a chain", loaded, |b, e, s| e
            .try_attach(s.programs[0], b.xdp(1))
            .map(drop)),
        case!("attach the third of a chain", attached, |b, e, s| e
            .try_attach(s.programs[2], b.xdp(1))
            .map(drop)),
        case!("attach the first to tc", loaded, |b, e, s| e
            .try_attach(s.programs[3], b.tc(INGRESS, 1))
            .map(drop)),
        case!("attach the third to tc", attached, |b, e, s| e
            .try_attach(s.programs[3], b.tc(INGRESS, 0))
            .map(drop)),
        case!("attach the first to clsact", true, loaded, |b, e, s| e
            .try_attach(s.programs[3], b.tc(INGRESS, 1))
            .map(drop)),
        case!("attach the third to clsact", true, attached, |b, e, s| e
            .try_attach(s.programs[3], b.tc(INGRESS, 0))
            .map(drop)),
        case!(
            "attach to tcx",
            |b, e| {
                let mut scene = loaded(b, e);
                scene.links.push(e.attached(scene.programs[5], b.tcx(5)));
                scene
            },
            |b, e, s| e.try_attach(s.programs[6], b.tcx(1)).map(drop)
        ),
        case!("attach to a trace point", loaded, |b, e, s| e
            .try_attach(s.programs[7], tracepoint("sched_switch"))
            .map(drop)),
        case!("attach beside programs of libxdp", of_others, |b, e, s| e
            .try_attach(s.programs[0], b.xdp(40))
            .map(drop)),
        case!("attach a second beside programs of libxdp", with_ours, |b, e, s| e
            .try_attach(s.programs[1], b.xdp(10))
            .map(drop)),
        case!("update a priority beside programs of libxdp", with_ours, |b, e, s| update(
            e,
            s.links[0],
            90,
            &[]
        )),
        case!("detach the last beside programs of libxdp", with_ours, |b, e, s| e.detach(s.links[0])),
        case!("detach one of two beside programs of libxdp", with_two_of_ours, |b, e, s| e
            .detach(s.links[0])),
        case!("update a priority", attached, |b, e, s| update(e, s.links[0], 9, &[])),
        case!("update a priority at tc", attached, |b, e, s| update(e, s.links[2], 9, &[])),
        case!("update a priority at clsact", true, attached, |b, e, s| update(e, s.links[2], 9, &[])),
        case!("update a priority at tcx", |b, e| only(b, e, &["xray", "yankee"], 0), |b, e, s| {
            update(e, s.links[0], 9, &[])
        }),
        case!("update an intent at tcx", |b, e| only(b, e, &["xray", "yankee"], 0), |b, e, s| {
            update(e, s.links[0], 1, &["yankee"])
        }),
        case!("update a role that another waits for", waited_for, |b, e, s| update(e, s.links[1], 2, &[])),
        case!("update an intent of a chain among others", among_others, |b, e, s| {
            update(e, s.links[0], 1, &["foreign:guard"])
        }),
        case!("update an intent", attached, |b, e, s| update(e, s.links[0], 1, &["bravo"])),
        case!("replace one that is nowhere", |b, e| only(b, e, &[], 0), |b, e, s| replaced(b, e, s, true)),
        case!("replace one in a chain", |b, e| only(b, e, &["alpha", "bravo"], 0), |b, e, s| replaced(
            b, e, s, true
        )),
        case!("replace one at two hooks", |b, e| only(b, e, &["tulip", "tango"], 0), |b, e, s| replaced(
            b, e, s, true
        )),
        case!(
            "replace one at two clsact hooks",
            true,
            |b, e| only(b, e, &["tulip", "tango"], 0),
            |b, e, s| replaced(b, e, s, true)
        ),
        case!("replace one at tcx", |b, e| only(b, e, &["xray", "yankee"], 0), |b, e, s| replaced(
            b, e, s, true
        )),
        case!("replace one at two trace points", |b, e| only(b, e, &["trace"], 0), |b, e, s| replaced(
            b, e, s, true
        )),
        case!("replace a replaced one", |b, e| only(b, e, &["alpha", "bravo"], 1), |b, e, s| replaced(
            b, e, s, true
        )),
        case!("replace one by its version before", |b, e| only(b, e, &["alpha", "bravo"], 1), |b, e, s| e
            .rollback_program(s.programs[0])
            .map(drop)),
        case!("replace one at tcx by its version before", |b, e| only(b, e, &["xray"], 1), |b, e, s| e
            .rollback_program(s.programs[0])
            .map(drop)),
        case!("replace a load in one chain", |b, e| only(b, e, &["alpha", "bravo"], 0), |b, e, s| {
            load_replaced(b, e, s, "second", &["bravo", "alpha"])
        }),
        case!("replace a load that is nowhere", |b, e| only(b, e, &[], 0), |b, e, s| {
            load_replaced(b, e, s, "second", &["alpha", "echo"])
        }),
        case!(
            "replace a load in many places",
            |b, e| only(b, e, &["alpha", "charlie", "tulip", "trace"], 0),
            |b, e, s| load_replaced(b, e, s, "second", &["alpha", "trace", "echo"])
        ),
        case!("replace a load at tcx", |b, e| only(b, e, &["xray", "yankee"], 0), |b, e, s| {
            load_replaced(b, e, s, "second", &["xray"])
        }),
        case!("replace a load at clsact", true, |b, e| only(b, e, &["tango", "tulip"], 0), |b, e, s| {
            load_replaced(b, e, s, "second", &["tango"])
        }),
        case!("replace a load by nothing of its names", |b, e| only(b, e, &["alpha"], 0), |b, e, s| {
            load_replaced(b, e, s, "second", &["echo"])
        }),
        case!("replace a load of which one leaves a hook that is kept", at_two_interfaces, |b, e, s| {
            load_replaced(b, e, s, "second", &["alpha"])
        }),
        case!(
            "replace a load of which one was replaced",
            |b, e| only(b, e, &["alpha", "bravo"], 1),
            |b, e, s| load_replaced(b, e, s, "second", &["alpha", "bravo"])
        ),
        case!(
            "replace a load with more room in its map",
            |b, e| only(b, e, &["alpha", "bravo"], 0),
            |b, e, s| load_replaced(b, e, s, "grown", &["alpha", "bravo"])
        ),
        case!("replace a load beside programs of libxdp", with_two_of_ours, |b, e, s| {
            load_replaced(b, e, s, "second", &["alpha", "bravo"])
        }),
        case!("replace a load of which one leaves programs of libxdp", with_two_of_ours, |b, e, s| {
            load_replaced(b, e, s, "second", &["bravo"])
        }),
        case!("replace a load of which all leave programs of libxdp", with_two_of_ours, |b, e, s| {
            load_replaced(b, e, s, "second", &["echo"])
        }),
        case!("replace a load with maps that are shared by name", one_sharer, |b, e, s| {
            load_replaced(b, e, s, "sharing", &["host", "guest"])
        }),
        case!("unload a replaced one", |b, e| only(b, e, &["alpha", "bravo"], 1), |b, e, s| e
            .unload(s.programs[0])),
        case!("detach one of two", attached, |b, e, s| e.detach(s.links[0])),
        case!("detach one of two at tc", attached, |b, e, s| e.detach(s.links[2])),
        case!("detach one of two at clsact", true, attached, |b, e, s| e.detach(s.links[2])),
        case!("set counters off", attached, |b, e, s| {
            let change = HookChange { counters: Some(false), ..HookChange::default() };
            e.set_hook(&b.left(), HookKind::Xdp, &change, "user 0").map(drop)
        }),
        case!("set timing on", attached, |b, e, s| {
            let change = HookChange { timing: Some(true), ..HookChange::default() };
            e.set_hook(&b.left(), HookKind::Xdp, &change, "user 0").map(drop)
        }),
        case!("set timing off", timed, |b, e, s| {
            let change = HookChange { timing: Some(false), ..HookChange::default() };
            e.set_hook(&b.left(), HookKind::Xdp, &change, "user 0").map(drop)
        }),
        case!("detach one of two that are timed", timed, |b, e, s| e.detach(s.links[0])),
        case!("set a hook on hold", attached, |b, e, s| {
            let change = HookChange { held: Some(true), ..HookChange::default() };
            e.set_hook(&b.left(), HookKind::Xdp, &change, "user 0").map(drop)
        }),
        case!("set members apart", attached, |b, e, s| {
            let change = HookChange { as_subprograms: Some(true), ..HookChange::default() };
            e.set_hook(&b.left(), HookKind::Xdp, &change, "user 0").map(drop)
        }),
        case!("set a hook without members free", kept_empty, |b, e, s| {
            let change = HookChange { keep_attached: Some(false), ..HookChange::default() };
            e.set_hook(&b.left(), HookKind::Xdp, &change, "user 0").map(drop)
        }),
        case!("detach the last of a hook that is kept", kept, |b, e, s| e.detach(s.links[0])),
        case!("detach the last", attached, |b, e, s| e.detach(s.links[4])),
        case!("detach the last at clsact", true, attached, |b, e, s| e.detach(s.links[4])),
        case!("detach from tcx", attached, |b, e, s| e.detach(s.links[5])),
        case!("detach from a trace point", attached, |b, e, s| e.detach(s.links[7])),
        case!("unload one that is nowhere", loaded, |b, e, s| e.unload(s.programs[0])),
        case!("unload one in a chain", attached, |b, e, s| e.unload(s.programs[0])),
        case!("unload one at two hooks", attached, |b, e, s| e.unload(s.programs[4])),
        case!("unload one at two clsact hooks", true, attached, |b, e, s| e.unload(s.programs[4])),
        case!("unload one at two trace points", attached, |b, e, s| e.unload(s.programs[7])),
        case!("unload an owner", sharers, |b, e, s| e.unload(s.programs[0])),
        case!("unload the last with a shared map", one_sharer, |b, e, s| e.unload(s.programs[0])),
        case!("attach to egress of clsact", true, attached, |b, e, s| e
            .try_attach(s.programs[3], b.tc(EGRESS, 0))
            .map(drop)),
    ]
}

/// A bench and an engine in the situation before the operation.
fn set_up(case: &Case) -> (Sim, Engine<SimKernel>, Scene) {
    let bench = Bench { tc_by_clsact: case.by_clsact, ..bench() };
    let engine = bench.engine();
    let scene = (case.before)(&bench, &engine);
    (bench, engine, scene)
}

/// The records on disk, without the name of the bench's folder.
fn records(bench: &Sim) -> Vec<String> {
    let folder = bench.folder.path().display().to_string();
    let text = |(key, value): (String, Vec<u8>)| {
        format!("{key} {}", String::from_utf8_lossy(&value).replace(&folder, ""))
    };
    bench.records().into_iter().map(text).collect()
}

/// A record without the number of its operation.
fn anonymous(record: &str) -> String {
    let Some((before, after)) = record.split_once("\"operation\":") else { return record.to_owned() };
    format!("{before}{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
}

fn fail_every_call(case: &Case) {
    let (bench, engine, scene) = set_up(case);
    bench.kernel.note_calls();
    (case.operation)(&bench, &engine, &scene).unwrap();
    let calls = bench.kernel.calls();
    let links_after = engine.all_links();
    let after = shape(&bench.kernel.snapshot());
    drop(engine);
    let records_after = records(&bench);
    let records_before = {
        let (bench, engine, _) = set_up(case);
        drop(engine);
        records(&bench)
    };
    let mut wrong = Vec::new();
    for (at, call) in calls.iter().enumerate() {
        let (bench, engine, scene) = set_up(case);
        let before = bench.kernel.snapshot();
        let links_before = engine.all_links();
        let kernel = Arc::clone(&bench.kernel);
        kernel.fail_call(at as u64 + 1);
        let result = (case.operation)(&bench, &engine, &scene);
        assert!(!kernel.failure_pending(), "{}: call {at} ({call}) did not come", case.name);
        let what = format!("{}, call {} of {}, {call}, answered {result:?}", case.name, at + 1, calls.len());
        let check = |when: &str, engine: &Engine<SimKernel>, wrong: &mut Vec<String>| {
            let now = kernel.snapshot();
            match &result {
                // Folders are made when they are needed and may stay.
                Err(_) => {
                    if shape(&now) != shape(&before) {
                        wrong.push(format!(
                            "{what}\n    {when}: the kernel is not as before:{}",
                            differences(&shape(&before), &shape(&now))
                        ));
                    }
                    if engine.all_links() != links_before && when != "restarted" {
                        wrong.push(format!("{what}\n    {when}: links are not as before"));
                    }
                }
                Ok(()) => {
                    if shape(&now) != after {
                        wrong.push(format!(
                            "{what}\n    {when}: the kernel is not as after:{}",
                            differences(&after, &shape(&now))
                        ));
                    }
                    if engine.all_links().len() != links_after.len() {
                        wrong.push(format!("{what}\n    {when}: links are not as after"));
                    }
                }
            }
        };
        check("at once", &engine, &mut wrong);
        drop(engine);
        let wanted = if result.is_ok() { &records_after } else { &records_before };
        // What is tried again is another operation.
        let same = |found: &[String]| match case.name.starts_with("update") {
            true => found.iter().map(|r| anonymous(r)).eq(wanted.iter().map(|r| anonymous(r))),
            false => found == wanted,
        };
        if !same(&records(&bench)) {
            wrong.push(format!("{what}\n    records: {:#?}\n    instead of {wanted:#?}", records(&bench)));
        }
        let (engine, report) = bench.start();
        check("restarted", &engine, &mut wrong);
        drop(engine);
        if !same(&records(&bench)) {
            wrong.push(format!(
                "{what}\n    restarted: records: {:#?}\n    instead of {wanted:#?}",
                records(&bench)
            ));
        }
        if !report.problems.is_empty() {
            wrong.push(format!("{what}\n    recovery: {report:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Lines that only one of two shapes has.
pub fn differences(
    wanted: &std::collections::BTreeMap<String, Vec<String>>,
    found: &std::collections::BTreeMap<String, Vec<String>>,
) -> String {
    let mut text = String::new();
    for (key, lines) in wanted {
        let others = &found[key];
        let minus =
            lines.iter().filter(|line| !others.contains(line)).map(|line| format!("\n      - {key}: {line}"));
        let plus =
            others.iter().filter(|line| !lines.contains(line)).map(|line| format!("\n      + {key}: {line}"));
        text.extend(minus.chain(plus));
        if lines.len() != others.len() {
            text.push_str(&format!("\n      {key}: {} instead of {}", others.len(), lines.len()));
        }
    }
    text
}

fn fail_every_call_of(operation: &str) {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for case in cases().iter().filter(|case| case.name.starts_with(operation)) {
        seen += 1;
        let result = std::panic::catch_unwind(|| fail_every_call(case));
        if let Err(panic) = result {
            wrong.push(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| case.name.to_owned()));
        }
    }
    assert!(seen > 3, "{operation} has cases");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_load_that_fails_anywhere_leaves_all_as_it_was() {
    fail_every_call_of("load");
}

#[test]
fn an_attach_that_fails_anywhere_leaves_all_as_it_was() {
    fail_every_call_of("attach");
}

#[test]
fn an_adoption_that_fails_anywhere_leaves_all_as_it_was() {
    fail_every_call_of("adopt");
}

#[test]
fn a_detach_that_fails_anywhere_leaves_all_as_it_was() {
    fail_every_call_of("detach");
}

#[test]
fn an_unload_that_fails_anywhere_leaves_all_as_it_was() {
    fail_every_call_of("unload");
}

#[test]
fn an_update_that_fails_anywhere_leaves_all_as_it_was() {
    fail_every_call_of("update");
}

#[test]
fn a_switch_of_a_hook_that_fails_anywhere_leaves_all_as_it_was() {
    fail_every_call_of("set");
}

#[test]
fn a_replacement_that_fails_anywhere_leaves_all_as_it_was() {
    fail_every_call_of("replace");
}

#[test]
fn a_hook_of_someone_else_is_left_alone() {
    let bench = bench();
    let engine = bench.engine();
    let programs = engine.loads(&bench.request("programs", &["alpha", "bravo"]));
    // Someone attaches by himself what happens to be our program.
    let (_stranger, before) = {
        use bpfmand_kernel::{LinkTarget, XdpMode};
        let program = bench.kernel.open_program(programs[0]).unwrap().unwrap();
        let key = bench.kernel.find_hook(&bench.left(), HookKind::Xdp).unwrap();
        let target = LinkTarget::Xdp { netns: Some(&bench.netns), ifindex: key.ifindex, mode: XdpMode::Auto };
        (bench.kernel.attach(&program, &target).unwrap(), bench.kernel.snapshot())
    };
    let error = engine.try_attach(programs[1], bench.xdp(0)).unwrap_err();
    assert_eq!(error.kind(), bpfmand_engine::ErrorKind::Conflict);
    assert_eq!(shape(&bench.kernel.snapshot()), shape(&before));
}
