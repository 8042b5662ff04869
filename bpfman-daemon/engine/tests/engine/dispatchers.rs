//! Dispatchers in libxdp's protocol at a simulated kernel; the tests `libxdp` use the real `xdp-loader`.

use bpfman_model::{
    BoundText, FuncInfo, FunctionSpan, HookKind, Insn, MapRole, MapSpec, ProgramId, ProgramText, ProgramType,
    Reason, XdpRunsIn, op,
};
use bpfmand_engine::{Attached, DispatcherProgram, Engine, EngineError};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::{SimHandle, SimKernel, SimOptions};
use bpfmand_kernel::{EXTENSION, Extends, LinkTarget, ProgramKind, ProgramLoad};
use bpfmand_splice::{DISPATCHER_NAME, dispatcher, dispatcher_slot_type};

use crate::bench::{Ask as _, Bench};
use crate::scenes::Scene;
use crate::simulated::{bench, bench_of};

pub type Sim = Bench<SimKernel>;

fn passing(name: &str) -> BoundText {
    let insns = vec![Insn::new(0xb7, 0, 0, 0, 2), Insn::new(op::EXIT, 0, 0, 0, 0)];
    BoundText(ProgramText {
        name: name.to_owned(),
        license: "GPL".to_owned(),
        functions: vec![FunctionSpan { name: name.to_owned(), start: 0, len: insns.len() }],
        insns,
        btf: None,
        func_info: Vec::<FuncInfo>::new(),
        line_info: Vec::new(),
        frags: false,
        sleepable: false,
        modules: Vec::new(),
        jump_tables: Vec::new(),
    })
}

fn load(kernel: &SimKernel, text: &BoundText, kind: ProgramKind, extends: Option<Extends>) -> SimHandle {
    let load = ProgramLoad { extends, ..ProgramLoad::new(&text.0.name, text, kind) };
    kernel.load_program(&load).unwrap().program
}

fn configuration(version: u8, priorities: &[u32]) -> MapSpec {
    let mut bytes = vec![236, version, priorities.len() as u8, 0];
    let number = |slot: usize| priorities.get(slot).copied();
    for slot in 0..10 {
        bytes.extend(number(slot).map_or(0, |_| 1_u32 << 31 | 1 << 2).to_ne_bytes());
    }
    for slot in 0..10 {
        bytes.extend(number(slot).unwrap_or(0).to_ne_bytes());
    }
    bytes.extend([0; 40]);
    MapSpec {
        flags: 0x80,
        role: MapRole::Rodata,
        initial: bytes,
        ..MapSpec::sized("xdp_disp.rodata", 2, 4, 124, 1)
    }
}

pub fn put_dispatcher(bench: &Sim, version: u8, programs: &[(&str, u32)]) -> ProgramId {
    let kernel = &*bench.kernel;
    let key = kernel.find_hook(&bench.left(), HookKind::Xdp).unwrap();
    let priorities: Vec<u32> = programs.iter().map(|(_, priority)| *priority).collect();
    let map = kernel.create_map(&configuration(version, &priorities), None).unwrap();
    let text = dispatcher(programs.len(), kernel.map_of(&map).unwrap().id, false);
    assert_eq!(text.0.name, DISPATCHER_NAME);
    let handle = load(kernel, &text, ProgramType::Xdp.into(), None);
    let id = kernel.program_of(&handle).unwrap().id;
    let folder = bench.libxdp_pins.join(format!("dispatch-{}-{id}", key.ifindex));
    kernel.make_folder(&folder).unwrap();
    for (slot, (name, _)) in programs.iter().enumerate() {
        let pin = |what: &str| folder.join(format!("prog{slot}-{what}"));
        let place = Extends { program: id, function: dispatcher_slot_type(slot) };
        if kernel.features().freplace {
            let program = load(kernel, &passing(name), EXTENSION, Some(place));
            let link = kernel.attach(&program, &LinkTarget::Replacement(place)).unwrap();
            kernel.pin(&program, &pin("prog")).unwrap();
            kernel.pin(&link, &pin("link")).unwrap();
        } else {
            // This kernel cannot have dispatchers with programs in slots: pin a program only.
            let program = load(kernel, &passing(name), ProgramType::Xdp.into(), None);
            kernel.pin(&program, &pin("prog")).unwrap();
        }
    }
    let native = XdpRunsIn::Native;
    kernel.replace_unlinked_xdp(Some(&bench.netns), &key, native, Some(&handle), None).unwrap();
    id
}

pub fn of_others(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    put_dispatcher(bench, 2, &[("first", 20), ("last", 60)]);
    let programs = engine.loads(&bench.request("programs", &["alpha", "bravo"]));
    Scene { programs, ..Scene::default() }
}

pub fn with_ours(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let mut scene = of_others(bench, engine);
    scene.links.push(engine.attached(scene.programs[0], bench.xdp(40)));
    scene
}

pub fn with_two_of_ours(bench: &Sim, engine: &Engine<SimKernel>) -> Scene {
    let mut scene = with_ours(bench, engine);
    scene.links.push(engine.attached(scene.programs[1], bench.xdp(10)));
    scene
}

pub fn names(bench: &Sim) -> Vec<String> {
    let kernel = &*bench.kernel;
    let folders = kernel.list_folder(&bench.libxdp_pins).unwrap();
    let [folder] = &folders[..] else { panic!("{folders:?}") };
    let pin = |slot: usize| bench.libxdp_pins.join(folder).join(format!("prog{slot}-prog"));
    let programs = (0..10).map_while(|slot| kernel.open_pin(&pin(slot)).unwrap());
    programs.map(|program| kernel.program_of(&program).unwrap().name).collect()
}

#[test]
fn program_takes_the_slot_of_its_priority_and_no_other_moves() {
    let bench = bench();
    let engine = bench.engine();
    let scene = with_two_of_ours(&bench, &engine);
    assert_eq!(names(&bench), ["bravo", "first", "alpha", "last"]);
    for link in scene.links {
        engine.detach(link).unwrap();
    }
    assert_eq!(names(&bench), ["first", "last"]);
    assert!(engine.chain(&bench.left(), HookKind::Xdp).is_none());
}

#[test]
fn refused_join_lists_the_programs_of_the_dispatcher() {
    let mut options = SimOptions::default();
    options.features.freplace = false;
    let bench = bench_of(options);
    let engine = bench.engine();
    let id = put_dispatcher(&bench, 2, &[("first", 20), ("last", 60)]);
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let error = engine.try_attach(alpha, bench.xdp(40)).unwrap_err();
    assert_eq!(error.kind(), Reason::Conflict);
    let (text, hint) = (error.to_string(), error.hint().unwrap().to_string());
    let EngineError::HookHeld(conflict) = error else { panic!("{error}") };
    let Attached::LibxdpDispatcher(dispatcher) = &conflict.attached else { panic!("{conflict:?}") };
    let found: Vec<_> =
        dispatcher.programs.iter().map(|program| (program.priority, program.name.as_str())).collect();
    assert_eq!(found, [(20, "first"), (60, "last")]);
    let [DispatcherProgram { id: first, .. }, ..] = &dispatcher.programs[..] else { panic!() };
    for part in [
        format!("program {id} \"xdp_dispatcher\""),
        "a dispatcher of libxdp (version 2) in native mode".to_owned(),
        format!("\"first\" (program {first}, priority 20)"),
        format!("dispatch-{}-{id}", bench.kernel.find_hook(&bench.left(), HookKind::Xdp).unwrap().ifindex),
    ] {
        assert!(text.contains(&part), "{text} does not say {part}");
    }
    assert!(hint.contains("freplace") && hint.contains("xdp-loader unload left --all"), "{hint}");
    assert_eq!(names(&bench), ["first", "last"]);
}

#[test]
fn a_dispatcher_that_is_not_understood_is_left_as_it_is() {
    for (version, missing, says) in
        [(3, false, "version 3 of the protocol"), (2, true, "of its 2 programs 1 are pinned")]
    {
        let bench = bench();
        let engine = bench.engine();
        let id = put_dispatcher(&bench, version, &[("first", 20), ("last", 60)]);
        let key = bench.kernel.find_hook(&bench.left(), HookKind::Xdp).unwrap();
        if missing {
            let folder = bench.libxdp_pins.join(format!("dispatch-{}-{id}", key.ifindex));
            bench.kernel.unpin(&folder.join("prog1-prog")).unwrap();
        }
        let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
        let error = engine.try_attach(alpha, bench.xdp(40)).unwrap_err();
        assert_eq!(error.kind(), Reason::Conflict);
        assert!(error.to_string().contains(says), "{error}");
        assert!(error.hint().is_some());
        let contents = bench.kernel.hook_contents(Some(&bench.netns), &key).unwrap();
        assert_eq!(contents.entries[0].program, Some(id));
        assert!(engine.all_links().is_empty());
    }
}
