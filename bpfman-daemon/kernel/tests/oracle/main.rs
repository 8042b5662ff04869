//! The oracle: a spliced program does what its members do alone, one after another.
//!
//! Members run by `BPF_PROG_TEST_RUN` alone and folded in user space, against the splice of the same members, over
//! verdict, packet bytes, metadata or mark, and map contents. One differing bit is a bug.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a step that fails is a test that fails")]

mod chain;
mod generate;
mod kernel;
mod little_btf;
mod objects;
mod traffic;

use bpfmand_core::{Insn, op};
use bpfmand_splice::{Part, ProceedMask, Section, SpliceOptions};
use chain::{Loaded, Maps};
use generate::{ENTRIES, NOTE_BYTES, Random};
use kernel::{Map, Packet, ProgramKind};

const CHAINS: usize = 1200;
const PACKETS: usize = 5;
const POOL: usize = 300;

fn maps() -> Vec<Map> {
    vec![Map::create(2, 4, 8, ENTRIES, 0).unwrap(), Map::create(1, 4, NOTE_BYTES, ENTRIES * 2, 0).unwrap()]
}

fn set(random: &mut Random, kind: ProgramKind) -> ProceedMask {
    let default = if kind == ProgramKind::Xdp { 1 << 2 | 1 << 31 } else { 1 << 4 | 1 << 31 };
    ProceedMask(match random.below(8) {
        0 | 1 => default,
        2 => u32::MAX,
        3 => random.next() as u32,
        4 => 1 << random.below(10),
        5 => 1 << random.below(10) | 1 << random.below(32),
        6 => (random.next() as u32) & 0x3ff,
        _ if random.one_in(8) => 0,
        _ => default | 0x1f,
    })
}

fn packets(random: &mut Random, kind: ProgramKind) -> Vec<Packet> {
    (0..PACKETS)
        .map(|_| {
            let len = if random.one_in(10) { 24 } else { 64 + random.below(200) };
            let mut data: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
            if random.one_in(2) {
                // IPv4 with UDP.
                data[12..15].copy_from_slice(&[0x08, 0x00, 0x45]);
                data.get_mut(23).into_iter().for_each(|protocol| *protocol = 17);
            } else {
                data[12..14].copy_from_slice(&[0x88, 0xb5]);
            }
            let context = match kind {
                ProgramKind::Xdp => vec![4 * random.below(3) as u32],
                _ => (0..7).map(|_| random.next() as u32).collect(),
            };
            Packet { data, context }
        })
        .collect()
}

fn generated_chains_agree(kind: ProgramKind, seed: u64) {
    let mut random = Random::new(seed);
    let maps = Maps { alone: maps(), spliced: maps() };
    let descriptors = chain::descriptors(&maps.alone);
    let pool: Vec<Loaded> = (0..POOL)
        .map(|number| {
            let text = generate::program(&mut random, kind, number);
            Loaded::new(format!("generated-{number}"), text, kind, &descriptors)
        })
        .collect();
    pool_agrees(kind, &pool.iter().collect::<Vec<_>>(), &maps, CHAINS, seed + 100);
}

#[test]
fn generated_xdp_chains_do_what_their_members_do_alone() {
    generated_chains_agree(ProgramKind::Xdp, 1);
}

#[test]
fn generated_tcx_chains_do_what_their_members_do_alone() {
    generated_chains_agree(ProgramKind::Tcx, 2);
}

#[test]
fn generated_clsact_chains_do_what_their_members_do_alone() {
    generated_chains_agree(ProgramKind::Clsact, 3);
}

fn pool_agrees(kind: ProgramKind, pool: &[&Loaded], maps: &Maps, chains: usize, seed: u64) {
    let mut random = Random::new(seed);
    let mut compared = 0;
    for number in 0..chains {
        // In some chains most members go on, so that the last ones are reached too.
        let goes_on = random.one_in(3);
        let members: Vec<(&Loaded, ProceedMask)> = (0..=random.below(10))
            .map(|_| {
                let member = pool[random.below(pool.len() as u64) as usize];
                let narrow = !goes_on || random.one_in(8);
                (member, if narrow { set(&mut random, kind) } else { ProceedMask(u32::MAX) })
            })
            .collect();
        let packets = packets(&mut random, kind);
        match chain::check(kind, &members, maps, &packets) {
            Ok(agreed) => compared += agreed,
            Err(difference) => {
                let names: Vec<_> = members.iter().map(|(m, set)| (&m.label, set)).collect();
                panic!("chain {number} of {names:x?}: {difference}");
            }
        }
    }
    println!("{chains} chains, {compared} packets compared");
    assert!(compared > chains * PACKETS / 2, "too few packets were compared: {compared}");
}

fn object_chains_agree(kind: ProgramKind, source: &str, seed: u64) {
    let object = objects::compile(source);
    let maps = Maps { alone: objects::maps(&object), spliced: objects::maps(&object) };
    let pool = objects::members(&object, source, kind, &chain::descriptors(&maps.alone), 0);
    let pool: Vec<&Loaded> = pool
        .iter()
        .filter(|member| {
            // Tests of their own: frames that show the stack or fill it, a tail call.
            let name = &member.text.0.name;
            !name.ends_with("_stack") && name != "jumper"
        })
        .collect();
    pool_agrees(kind, &pool, &maps, 150, seed);
}

#[test]
fn installed_objects_do_in_chains_what_they_do_alone() {
    let objects = objects::installed();
    if objects.is_empty() {
        println!("skipped: xdp-tools is not installed");
        return;
    }
    let mut maps = Maps { alone: Vec::new(), spliced: Vec::new() };
    let mut places = Vec::new();
    for (_, object) in &objects {
        places.push(maps.alone.len());
        maps.alone.extend(objects::maps(object));
        maps.spliced.extend(objects::maps(object));
    }
    let descriptors = chain::descriptors(&maps.alone);
    let members: Vec<Loaded> = objects
        .iter()
        .zip(places)
        .flat_map(|((name, object), first)| {
            objects::members(object, name, ProgramKind::Xdp, &descriptors, first)
        })
        .collect();
    pool_agrees(ProgramKind::Xdp, &members.iter().collect::<Vec<_>>(), &maps, 12, 7);
    // All ten filters at once, each going on.
    let ten: Vec<_> = members.iter().take(10).map(|member| (member, ProceedMask(0x7))).collect();
    let mut random = Random::new(8);
    let agreed = chain::check(ProgramKind::Xdp, &ten, &maps, &packets(&mut random, ProgramKind::Xdp));
    assert_eq!(agreed, Ok(PACKETS));
}

#[test]
fn compiled_xdp_members_do_in_chains_what_they_do_alone() {
    object_chains_agree(ProgramKind::Xdp, "xdp.c", 4);
}

#[test]
fn compiled_tc_members_do_in_chains_what_they_do_alone() {
    object_chains_agree(ProgramKind::Tcx, "tc.c", 5);
    object_chains_agree(ProgramKind::Clsact, "tc.c", 6);
}

/// Maps and members of tests/members/xdp.c, and one packet.
fn xdp_members() -> (Vec<Map>, Vec<Loaded>, Packet) {
    let object = objects::compile("xdp.c");
    let maps = objects::maps(&object);
    let members = objects::members(&object, "xdp.c", ProgramKind::Xdp, &chain::descriptors(&maps), 0);
    let packet = Packet { data: (0..64).collect(), context: vec![0] };
    (maps, members, packet)
}

fn named<'a>(members: &'a [Loaded], name: &str) -> &'a Loaded {
    members.iter().find(|member| member.text.0.name == name).unwrap()
}

const PASS: ProceedMask = ProceedMask(1 << 2);

#[test]
fn a_member_finds_no_stack_of_the_members_before_it() {
    let (maps, members, packet) = xdp_members();
    let chain = [(named(&members, "dirty_stack"), PASS), (named(&members, "read_stack"), PASS)];
    let joined = chain::join(&chain, &chain::options(ProgramKind::Xdp)).unwrap();
    let program = kernel::load(&joined.text, ProgramKind::Xdp, &chain::descriptors(&maps)).unwrap();
    let (verdict, _) = kernel::run(&program, ProgramKind::Xdp, &packet).unwrap();
    assert_eq!(verdict, 2);
    let leaked = maps.iter().map(Map::contents).find(|all| all.len() == 1 && all[0].1.len() == 256).unwrap();
    assert_eq!(leaked[0].1, vec![0; 256], "read_stack must find an empty frame");
}

/// Compares a chain of tests/members/xdp.c, by name, with its members alone.
fn xdp_chain_agrees(names: &[&str], set: ProceedMask) {
    let object = objects::compile("xdp.c");
    let maps = Maps { alone: objects::maps(&object), spliced: objects::maps(&object) };
    let members = objects::members(&object, "xdp.c", ProgramKind::Xdp, &chain::descriptors(&maps.alone), 0);
    let chain: Vec<_> = names.iter().map(|name| (named(&members, name), set)).collect();
    let packets = packets(&mut Random::new(9), ProgramKind::Xdp);
    let agreed = chain::check(ProgramKind::Xdp, &chain, &maps, &packets);
    assert_eq!(agreed, Ok(PACKETS), "{names:?}");
}

#[test]
fn behind_a_full_frame_members_get_their_context_all_the_same() {
    xdp_chain_agrees(&["global_counter", "full_stack", "full_stack", "global_counter"], PASS);
    // The last member may use every register.
    xdp_chain_agrees(&["full_stack", "per_cpu_counter", "prefix_filter"], PASS);
    // One before it may use some of them.
    xdp_chain_agrees(&["full_stack", "prefix_filter", "prefix_filter", "global_counter"], ProceedMask(0x0f));
    xdp_chain_agrees(&["prefix_filter", "per_cpu_counter", "full_stack"], ProceedMask(0x0f));
}

#[test]
fn the_last_member_may_tail_call() {
    xdp_chain_agrees(&["global_counter", "jumper"], PASS);
    xdp_chain_agrees(&["jumper"], PASS);
}

#[test]
fn a_chain_longer_than_a_short_jump_reaches_its_end() {
    let wide_jump = objects::program(
        "wide_jump",
        vec![Insn::new(op::JA32, 0, 0, 0, 0), Insn::new(0xb7, 0, 0, 0, 2), Insn::new(op::EXIT, 0, 0, 0, 0)],
    );
    if let Err(log) = kernel::load(&wide_jump, ProgramKind::Xdp, &[]) {
        assert!(kernel::kernel_version() < (6, 6), "{log}");
        println!("skipped: this kernel has no 32-bit jumps");
        return;
    }
    let mut random = Random::new(10);
    let maps = Maps { alone: maps(), spliced: maps() };
    let descriptors = chain::descriptors(&maps.alone);
    let members: Vec<Loaded> = (0..4)
        .map(|number| {
            let mut text = generate::program(&mut random, ProgramKind::Xdp, number);
            generate::lengthen(&mut text, 20_000);
            Loaded::new(format!("long-{number}"), text, ProgramKind::Xdp, &descriptors)
        })
        .collect();
    let members: Vec<_> = members.iter().map(|member| (member, ProceedMask(0x0404))).collect();
    let near = chain::options(ProgramKind::Xdp);
    let far = SpliceOptions { ja32: true, ..near };
    let packets = packets(&mut random, ProgramKind::Xdp);
    let spliced = chain::descriptors(&maps.spliced);
    // Without long jumps, members go behind calls.
    for (options, calls) in [(near, true), (far, false)] {
        let joined = chain::join(&members, &options).unwrap();
        let behind_call = |section: &Section| matches!(section.part, Part::Function { function: 0, .. });
        assert_eq!(joined.sections.iter().any(behind_call), calls);
        let program = kernel::load(&joined.text, ProgramKind::Xdp, &spliced).unwrap();
        let agreed = chain::compare(ProgramKind::Xdp, &members, &program, &maps, &packets);
        assert!(agreed.as_ref().is_ok_and(|packets| *packets > 1), "{agreed:?}");
    }
}

#[test]
fn the_verifier_never_counts_more_stack_than_the_instructions_show() {
    let (_, members, _) = xdp_members();
    for member in &members {
        // `splice` compares; here only that nothing is in the way of it.
        let options = chain::options(ProgramKind::Xdp);
        let joined = chain::join(&[(member, PASS)], &options);
        assert!(joined.is_ok(), "{}: {:?}", member.label, joined.err());
        assert_eq!(member.depths.len(), member.text.0.functions.len(), "{}", member.label);
    }
}
