//! Operations in every situation that takes a different path through the engine.

use bpfman_model::{AttachPoint, Direction, HookKind, ProceedOn, VerdictFamily};
use bpfmand_engine::{Engine, EngineError, HookChange, HookCheck, SwitchCaller, UpdateLinkRequest};
use bpfmand_kernel::sim::SimKernel;

use crate::bench::{Ask as _, tracepoint};
use crate::dispatchers::{of_others, with_ours, with_two_of_ours};
use crate::extensions::{EXTENDED, extension};
use crate::intents::{attach, intent};
use crate::points::clock;
use crate::replacements::replacement;
use crate::scenes::{
    Scene, Sim, adopted, adopted_beside_ours, adoption, among_others, at_extended, at_functions, at_own_left,
    at_places, at_sockets, at_two_interfaces, attached, attached_by_another, control_group, in_old_file,
    in_order, kept, kept_empty, left_by_client, load, load_replaced, loaded, loaded_extension,
    loaded_for_cpus, loaded_for_places, loaded_for_sockets, loaded_functions, matched, nothing, on_all_cpus,
    one_sharer, only, replaced, sharers, tcx_beside_ours, tcx_by_another, timed, update, waited_for,
};
use crate::sockmaps::connections;
use crate::struct_ops::{PROGRAMS, steady};

pub struct Case {
    pub name: &'static str,
    pub by_clsact: bool,
    pub before: fn(&Sim, &Engine<SimKernel>) -> Scene,
    pub operation: fn(&Sim, &Engine<SimKernel>, &Scene) -> Result<(), EngineError>,
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

fn unnamed(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let scene = attached(bench, engine);
    crate::namespaces::leave_name(bench);
    scene
}

pub fn cases() -> Vec<Case> {
    const EGRESS: Direction = Direction::Egress;
    const INGRESS: Direction = Direction::Ingress;
    vec![
        case!("adopt a program alone", attached_by_another, |b, e, s| e.adopt(&adoption(s, None)).map(drop)),
        case!("adopt a program that needs a check", attached_by_another, |b, e, s| {
            // The set differs from the program's default, so that the link's program is replaced.
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
        case!("check a probe whose file was replaced", in_old_file, |_b, e, s| match e
            .check_link(s.links[0])?
        {
            HookCheck::Mended(_) => Ok(()),
            other => Err(EngineError::Denied(format!("{other:?}"))),
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
        case!("attach to a cgroup", loaded_for_places, |b, e, s| e
            .try_attach(s.programs[0], control_group())
            .map(drop)),
        case!("attach between two of a cgroup", in_order, |b, e, s| {
            attach(e, s.programs[2], control_group(), intent("", &["one"], &["two"])).map(drop)
        }),
        case!("update the order of a cgroup", in_order, |b, e, s| {
            let order = Some(intent("", &[], &["one"]));
            e.update_link(&UpdateLinkRequest { order, ..UpdateLinkRequest::of(s.links[1]) }).map(drop)
        }),
        case!("detach one of an ordered cgroup", in_order, |b, e, s| e.detach(s.links[0])),
        case!("attach to a perf event on all CPUs", loaded_for_cpus, |b, e, s| e
            .try_attach(s.programs[0], clock(None))
            .map(drop)),
        case!("attach to a sockmap", loaded_for_sockets, |b, e, s| e
            .try_attach(s.programs[0], connections())
            .map(drop)),
        case!("detach from a sockmap", at_sockets, |b, e, s| e.detach(s.links[0])),
        case!("replace one at a sockmap", at_sockets, |b, e, s| e
            .replace_program(&replacement(b, s.programs[0], "sockets"))
            .map(drop)),
        case!("replace a load at a sockmap", at_sockets, |b, e, s| {
            load_replaced(b, e, s, "sockets", &["no_stream", "nothing_sent"])
        }),
        case!("load a struct_ops map", nothing, |b, e, s| load(e, &b.request("struct_ops", &PROGRAMS))),
        case!("attach a struct_ops map", loaded_functions, |b, e, s| e
            .try_attach(s.programs[0], steady())
            .map(drop)),
        case!("detach a struct_ops map", at_functions, |b, e, s| e.detach(s.links[0])),
        case!("replace a struct_ops map", at_functions, |b, e, s| {
            load_replaced(b, e, s, "struct_ops", &PROGRAMS)
        }),
        case!("load an extension", loaded_extension, |b, e, s| load(
            e,
            &extension(b, "aborts", s.programs[1])
        )),
        case!("attach an extension", loaded_extension, |b, e, s| e
            .try_attach(s.programs[0], AttachPoint::Freplace)
            .map(drop)),
        case!("detach an extension", at_extended, |b, e, s| e.detach(s.links[0])),
        case!("unload an extension", at_extended, |b, e, s| e.unload(s.programs[0])),
        case!("replace an extension", loaded_extension, |b, e, s| e
            .replace_program(&replacement(b, s.programs[0], EXTENDED))
            .map(drop)),
        case!("detach a program that is extended", at_extended, |b, e, s| e.detach(s.links[1])),
        case!("detach from a perf event on all CPUs", on_all_cpus, |b, e, s| e.detach(s.links[0])),
        case!("replace one at a perf event on all CPUs", on_all_cpus, |b, e, s| e
            .replace_program(&replacement(b, s.programs[0], "points"))
            .map(drop)),
        case!("unload one at a perf event on all CPUs", on_all_cpus, |b, e, s| e.unload(s.programs[0])),
        case!("detach from a cgroup", at_places, |b, e, s| e.detach(s.links[0])),
        case!("replace one of a cgroup", at_places, |b, e, s| e
            .replace_program(&replacement(b, s.programs[0], "points"))
            .map(drop)),
        case!("replace one of a namespace", at_places, |b, e, s| e
            .replace_program(&replacement(b, s.programs[1], "points"))
            .map(drop)),
        case!("replace a load at places of all kinds", at_places, |b, e, s| {
            load_replaced(b, e, s, "points", &["no_connect", "no_listener", "raw_switch"])
        }),
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
            .rollback_program(s.programs[0], None)
            .map(drop)),
        case!("replace one at tcx by its version before", |b, e| only(b, e, &["xray"], 1), |b, e, s| e
            .rollback_program(s.programs[0], None)
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
            e.set_hook(&b.left(), HookKind::Xdp, &change, &SwitchCaller::root("user 0")).map(drop)
        }),
        case!("set timing on", attached, |b, e, s| {
            let change = HookChange { timing: Some(true), ..HookChange::default() };
            e.set_hook(&b.left(), HookKind::Xdp, &change, &SwitchCaller::root("user 0")).map(drop)
        }),
        case!("unload what a client left", left_by_client, |b, e, s| {
            let failed = e.expire()?.into_iter().find_map(|one| one.failure);
            failed.map_or(Ok(()), Err)
        }),
        case!("set timing off", timed, |b, e, s| {
            let change = HookChange { timing: Some(false), ..HookChange::default() };
            e.set_hook(&b.left(), HookKind::Xdp, &change, &SwitchCaller::root("user 0")).map(drop)
        }),
        case!("detach one of two that are timed", timed, |b, e, s| e.detach(s.links[0])),
        case!("set a hook on hold", attached, |b, e, s| {
            let change = HookChange { held: Some(true), ..HookChange::default() };
            e.set_hook(&b.left(), HookKind::Xdp, &change, &SwitchCaller::root("user 0")).map(drop)
        }),
        case!("set members apart", attached, |b, e, s| {
            let change = HookChange { as_subprograms: Some(true), ..HookChange::default() };
            e.set_hook(&b.left(), HookKind::Xdp, &change, &SwitchCaller::root("user 0")).map(drop)
        }),
        case!("set a hook without members free", kept_empty, |b, e, s| {
            let change = HookChange { keep_attached: Some(false), ..HookChange::default() };
            e.set_hook(&b.left(), HookKind::Xdp, &change, &SwitchCaller::root("user 0")).map(drop)
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
        case!("detach one of two at clsact, without its name", true, unnamed, |b, e, s| e.detach(s.links[2])),
        case!("detach the last at clsact, without its name", true, unnamed, |b, e, s| e.detach(s.links[4])),
        case!("unload one at two clsact hooks, without their name", true, unnamed, |b, e, s| {
            e.unload(s.programs[4])
        }),
        case!("attach to egress of clsact", true, attached, |b, e, s| e
            .try_attach(s.programs[3], b.tc(EGRESS, 0))
            .map(drop)),
    ]
}
