//! TC: a chain against its members as a row of tcx links, on real packets.

use bpfmand_splice::{ProceedMask, SpliceOptions};

use crate::chain::Loaded;
use crate::generate::Random;
use crate::kernel::{self, Link, ProgramKind, interface};
use crate::objects::{self, Corpus};
use crate::pool::ATTEMPTS;
use crate::together::{Together, options};

use super::wire::{self, BYTES, Seen, Watchers, interfaces, lacks_tcx};

const CHAINS: usize = 15;
const FRAMES: usize = 4;

/// A row of links continues at -1 only: members are compiled with it in place of PIPE.
const AS_LINKS_DO: ProceedMask = ProceedMask(1);

const MEMBERS: [&str; 12] = [
    "hand_over",
    "take_over",
    "store_bytes",
    "longer",
    "load_absolute",
    "write_directly",
    "read_directly",
    "longer_tail",
    "push_tag",
    "pop_tag",
    "set_class",
    "read_class",
];

fn frames(random: &mut Random) -> Vec<Vec<u8>> {
    (0..FRAMES)
        .map(|_| {
            let mut frame: Vec<u8> = (0..200 + random.below(300)).map(|_| random.next() as u8).collect();
            frame[..6].fill(0xff);
            let kind: [u8; 2] = random.pick(&[[0x08, 0x00], [0x88, 0xb5], [0x81, 0x00]]);
            frame[12..14].copy_from_slice(&kind);
            if kind == [0x81, 0x00] {
                frame[16..18].copy_from_slice(&[0x88, 0xb5]);
            }
            frame
        })
        .collect()
}

/// Sends a frame, and a marker that shows when it is through. Returns `None` if the frame was dropped.
fn through(watchers: &Watchers, frame: &[u8]) -> Option<Seen> {
    let mut marker = [0xff; 64];
    marker[12..14].copy_from_slice(&[0x88, 0xb6]);
    let (arrived, (before, _)) = (watchers.arrived(), watchers.witnessed());
    wire::send(frame);
    wire::send(&marker);
    wire::until("the frame and its marker arrived", || watchers.arrived() == arrived + 2);
    let (count, seen) = watchers.witnessed();
    (count > before).then_some(seen)
}

fn row(members: &[&Loaded], interface: u32) -> Vec<Link> {
    members.iter().map(|member| kernel::attach_tcx_ingress(&member.alone, interface).unwrap()).collect()
}

/// Chains have distinct members, since a hook accepts a program only once.
fn rows_agree(seed: u64, tapped: bool) {
    interfaces();
    let kind = ProgramKind::Tcx;
    let mut corpus = Corpus::default();
    for source in ["tc.c", "packets.c"] {
        let text = objects::source(source).replace("TC_ACT_PIPE", "TC_ACT_UNSPEC");
        corpus.add(kind, source, &objects::compile_text(&text), |name| MEMBERS.contains(&name));
    }
    assert_eq!(corpus.members.len(), MEMBERS.len());
    let (watchers, at) = (Watchers::new(), interface("in1"));
    let tap = tapped.then(|| kernel::tap(at).unwrap());
    let mut random = Random::new(seed);
    let mut came_through = 0;
    for number in 0..CHAINS {
        let mut left: Vec<&Loaded> = corpus.members.iter().collect();
        let members: Vec<&Loaded> = (0..2 + random.below(5))
            .map(|_| left.swap_remove(random.below(left.len() as u64) as usize))
            .collect();
        let frames = frames(&mut random);
        let options =
            SpliceOptions { counters: random.one_in(2), attempt: random.pick(&ATTEMPTS), ..options(kind) };
        let with_sets: Vec<_> = members.iter().map(|member| (*member, AS_LINKS_DO)).collect();
        let chain = Together::new(kind, &with_sets, &corpus.maps, &options).unwrap();
        let run = |links: &dyn Fn() -> Vec<Link>| -> Vec<Option<Seen>> {
            let _gate = watchers.stand("gate", at);
            let _links = links();
            let _witness = watchers.stand("witness", at);
            frames.iter().map(|frame| through(&watchers, frame)).collect()
        };
        let alone = run(&|| row(&members, at));
        let together = run(&|| vec![kernel::attach_tcx_ingress(&chain.entry, at).unwrap()]);
        let names: Vec<&str> = members.iter().map(|member| member.name()).collect();
        assert_eq!(alone, together, "chain {number}: {names:?}, {}", chain.plan.reason());
        assert_eq!(corpus.maps.difference(), None, "chain {number}: {names:?}");
        came_through += alone.iter().flatten().count();
        // Each frame arrives twice, each time with a marker after it. Writers change copies of their own.
        for frame in tap.iter().flat_map(|_| [&frames, &frames]).flatten() {
            let copies = kernel::receive(tap.as_ref().unwrap(), 2).unwrap();
            // A tag is removed before the tap.
            let untagged = [&frame[..12], &frame[if frame[12] == 0x81 { 16 } else { 12 }..]].concat();
            assert_eq!(copies[0][..BYTES], untagged[..BYTES], "chain {number}: the tap's copy");
        }
    }
    println!("{CHAINS} chains, {came_through} frames came through");
    assert!(came_through >= CHAINS, "too few frames came through: {came_through}");
}

#[test]
fn a_tc_chain_does_to_real_packets_what_a_row_of_links_does() {
    if !lacks_tcx() {
        rows_agree(40, false);
    }
}

#[test]
fn a_tc_chain_leaves_the_copies_of_a_tap_alone() {
    if !lacks_tcx() {
        rows_agree(41, true);
    }
}
