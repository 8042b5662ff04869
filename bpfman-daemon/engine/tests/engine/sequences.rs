//! Random sequences of changes: after each, the chain equals the result of sorting from scratch, without leftovers.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bpfman_model::{
    AttachPoint, Direction, HookKind, LinkId, MAX_CHAIN_MEMBERS, MapId, ProceedOn, ProgramId, Reason,
    VerdictFamily,
};
use bpfmand_engine::Engine;
use bpfmand_kernel::sim::SimKernel;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;

use crate::bench::{Ask as _, Bench};
use crate::simulated::bench;

/// Two of them are the same function loaded twice, so that names are equal.
const PROGRAMS: [&str; 6] = ["alpha", "bravo", "charlie", "alpha", "tango", "tulip"];
const HOOKS: [HookKind; 3] =
    [HookKind::Xdp, HookKind::Tc(Direction::Ingress), HookKind::Tc(Direction::Egress)];

#[derive(Clone, Debug)]
enum Change {
    Attach { program: usize, hook: usize, priority: i32, proceed_on: u32 },
    Detach { at: usize },
    Unload { program: usize },
    Restart,
    Reboot,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        12 => (0..PROGRAMS.len(), 0..HOOKS.len(), 0..3_i32, 0..3_u32)
            .prop_map(|(program, hook, priority, proceed_on)| Change::Attach { program, hook, priority, proceed_on }),
        6 => any::<usize>().prop_map(|at| Change::Detach { at }),
        1 => (0..PROGRAMS.len()).prop_map(|program| Change::Unload { program }),
        1 => Just(Change::Restart),
        1 => Just(Change::Reboot),
    ]
}

#[derive(Clone, Debug)]
struct Member {
    link: LinkId,
    program: usize,
    hook: usize,
    priority: i32,
    proceed_on: u32,
}

#[derive(Debug, Default)]
struct Model {
    programs: BTreeMap<usize, ProgramId>,
    members: Vec<Member>,
    newcomers: [Option<LinkId>; HOOKS.len()],
}

impl Model {
    fn chain(&self, hook: usize) -> Vec<&Member> {
        let mut chain: Vec<&Member> = self.members.iter().filter(|member| member.hook == hook).collect();
        // Youngest first, then stable sorts from the weakest rule to the strongest.
        chain.sort_by_key(|member| std::cmp::Reverse(member.link));
        chain.sort_by_key(|member| PROGRAMS[member.program]);
        chain.sort_by_key(|member| Some(member.link) != self.newcomers[hook]);
        chain.sort_by_key(|member| member.priority);
        chain
    }
}

type Seen = (HashMap<[u8; 8], Vec<&'static str>>, HashMap<Vec<(&'static str, u32)>, [u8; 8]>);

fn family(hook: usize) -> VerdictFamily {
    HOOKS[hook].verdicts()
}

fn set(hook: usize, choice: u32) -> ProceedOn {
    let codes: &[i32] = match (choice, family(hook)) {
        (0, _) => &[],
        (1, VerdictFamily::Xdp) => &[2],
        (1, VerdictFamily::Tc) => &[0],
        (_, VerdictFamily::Xdp) => &[1, 2, 31],
        (_, VerdictFamily::Tc) => &[0, 3, 30],
    };
    ProceedOn::from_codes(family(hook), codes).unwrap()
}

fn point(bench: &Bench<SimKernel>, hook: usize, priority: i32, proceed_on: u32) -> AttachPoint {
    let (interface, proceed_on) = (bench.left(), set(hook, proceed_on));
    match HOOKS[hook].direction() {
        None => AttachPoint::Xdp { interface, priority, proceed_on },
        Some(direction) => AttachPoint::Tc { interface, direction, priority, proceed_on },
    }
}

fn load(bench: &Bench<SimKernel>, engine: &Engine<SimKernel>, model: &mut Model) {
    for (index, name) in PROGRAMS.iter().enumerate() {
        model.programs.entry(index).or_insert_with(|| {
            let mut request = bench.request("programs", &[name]);
            request.metadata.insert("index".to_owned(), index.to_string());
            engine.loads(&request)[0]
        });
    }
}

fn check(bench: &Bench<SimKernel>, engine: &Engine<SimKernel>, model: &Model, seen: &mut Seen) {
    let kernel = bench.kernel.snapshot();
    let mut known: BTreeSet<ProgramId> = model.programs.values().copied().collect();
    let (mut hooks, mut joined) = (0, 0);
    for (hook, kind) in HOOKS.iter().enumerate() {
        let wanted = model.chain(hook);
        let Some(chain) = engine.chain(&bench.left(), *kind) else {
            assert!(wanted.is_empty(), "{kind:?} runs nothing instead of {wanted:?}");
            continue;
        };
        hooks += 1;
        let found: Vec<_> = chain
            .members
            .iter()
            .map(|m| (m.link.id, m.program.id, m.link.point.priority().unwrap()))
            .collect();
        let wanted_members: Vec<_> =
            wanted.iter().map(|m| (m.link, model.programs[&m.program], m.priority)).collect();
        assert_eq!(found, wanted_members, "{kind:?}");
        let entry = chain.entry.unwrap();
        if chain.strategy == "direct" {
            assert_eq!(entry.id, model.programs[&wanted[0].program]);
        } else {
            joined += 1;
            known.insert(entry.id);
            let code: Vec<(&str, u32)> =
                wanted.iter().map(|m| (PROGRAMS[m.program], set(hook, m.proceed_on).mask())).collect();
            let members: Vec<&'static str> = code.iter().map(|(name, _)| *name).collect();
            let found = seen.0.entry(entry.tag).or_insert_with(|| members.clone());
            assert_eq!(found, &members, "{kind:?}: {entry:?}");
            assert_eq!(*seen.1.entry(code).or_insert(entry.tag), entry.tag, "{kind:?}");
        }
        // Constants are folded into the chain.
        let maps = |id: &ProgramId| kernel.programs[id].maps.iter().copied().collect::<BTreeSet<_>>();
        let is_constant = |map: &MapId| chain.strategy != "direct" && kernel.maps[map].0.ends_with("rodata");
        let of_members = wanted.iter().flat_map(|m| maps(&model.programs[&m.program]));
        let wanted_maps: BTreeSet<_> = of_members.filter(|map| !is_constant(map)).collect();
        let is_counters = |map: &MapId| kernel.maps[map].0 == "chain_counters";
        let found_maps: BTreeSet<_> = maps(&entry.id).into_iter().filter(|map| !is_counters(map)).collect();
        assert_eq!(found_maps, wanted_maps);
    }
    assert_eq!(kernel.programs.keys().copied().collect::<BTreeSet<_>>(), known, "programs alive");
    assert_eq!(kernel.links.len() + kernel.filters.len(), hooks, "links and filters alive");
    // Each program has `counts`; XDP programs also have constants.
    let own = |program: &usize| if PROGRAMS[*program].starts_with('t') { 1 } else { 2 };
    // Each spliced chain has a pinned program and a pinned counter map.
    let maps = model.programs.keys().map(own).sum::<usize>() + joined;
    assert_eq!(kernel.maps.len(), maps, "maps alive");
    let pins = 2 * model.programs.len() + kernel.links.len() + 2 * joined;
    assert_eq!(kernel.pins.len(), pins, "{:?}", kernel.pins);
    assert!(engine.all_links().iter().all(|link| link.standing.is_running()));
}

fn play(bench: &Bench<SimKernel>, changes: &[Change]) {
    let (mut model, mut seen) = (Model::default(), Seen::default());
    let mut engine = bench.engine();
    load(bench, &engine, &mut model);
    for change in changes {
        match change {
            Change::Attach { program, hook, priority, proceed_on } => {
                let link =
                    engine.try_attach(model.programs[program], point(bench, *hook, *priority, *proceed_on));
                let fits = (PROGRAMS[*program].starts_with('t')) == (*hook > 0);
                let room = model.chain(*hook).len() < MAX_CHAIN_MEMBERS;
                match link {
                    Ok(link) => {
                        assert!(fits && room);
                        model.newcomers[*hook] = Some(link.record.id);
                        model.members.push(Member {
                            link: link.record.id,
                            program: *program,
                            hook: *hook,
                            priority: *priority,
                            proceed_on: *proceed_on,
                        });
                    }
                    Err(error) if !fits => assert_eq!(error.kind(), Reason::Precondition, "{error}"),
                    Err(error) => assert!(!room && error.kind() == Reason::Conflict, "{error}"),
                }
            }
            Change::Detach { .. } if model.members.is_empty() => {}
            Change::Detach { at } => {
                let gone = model.members.remove(at % model.members.len());
                engine.detach(gone.link).unwrap();
                model.newcomers[gone.hook] = None;
            }
            Change::Unload { program } => {
                engine.unload(model.programs.remove(program).unwrap()).unwrap();
                for member in model.members.iter().filter(|member| member.program == *program) {
                    model.newcomers[member.hook] = None;
                }
                model.members.retain(|member| member.program != *program);
                check(bench, &engine, &model, &mut seen);
                load(bench, &engine, &mut model);
            }
            Change::Restart => {
                drop(engine);
                engine = bench.engine();
            }
            Change::Reboot => {
                drop(engine);
                bench.kernel.reboot();
                engine = bench.engine();
                for id in engine.ids() {
                    let managed = engine.describe_program(id).unwrap().managed.unwrap();
                    model.programs.insert(managed.record.metadata["index"].parse().unwrap(), id);
                }
            }
        }
        check(bench, &engine, &model, &mut seen);
    }
}

fn config() -> Config {
    Config { cases: 24, failure_persistence: None, max_shrink_iters: 200, ..Config::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_sequence_gives_the_chain_that_sorting_from_scratch_gives(changes in vec(change(), 1..40)) {
        play(&bench(), &changes);
    }

    #[test]
    fn any_sequence_does_so_at_clsact(changes in vec(change(), 1..40)) {
        play(&Bench { tc_by_clsact: true, ..bench() }, &changes);
    }
}
