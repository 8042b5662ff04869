//! XDP, by driver and generic: a chain does to real packets what its members do to packets of test-run.

use bpfmand_splice::{CounterLayout, ProceedMask, SpliceOptions};

use crate::chain::{Loaded, fold};
use crate::corpus::corpus_of;
use crate::generate::Random;
use crate::kernel::{self, Packet, ProgramKind, XdpMode, interface};
use crate::pool::ATTEMPTS;
use crate::together::{Together, options};

use super::wire::{self, BYTES, Watchers, interfaces, lacks_tcx};

const CHAINS: usize = 40;
const FRAMES: usize = 5;
const PASS: i32 = 2;

const MEMBERS: [&str; 16] = [
    "prefix_filter",
    "global_counter",
    "per_cpu_counter",
    "stack_array",
    "global_function",
    "looped",
    "locked",
    "cut_packet",
    "frame_of_480",
    "deep_leaf",
    "eight_frames",
    "untyped_functions",
    "least_recent",
    "ring_reserve",
    "leave_metadata",
    "take_metadata",
];

fn chains_agree(mode: XdpMode, seed: u64) {
    interfaces();
    let kind = ProgramKind::Xdp;
    let corpus = corpus_of(kind);
    let pool: Vec<&Loaded> =
        corpus.members.iter().filter(|member| MEMBERS.contains(&member.name())).collect();
    assert_eq!(pool.len(), MEMBERS.len());
    let (watchers, at) = (Watchers::new(), interface("in1"));
    let _witness = watchers.stand("witness", at);
    let mut random = Random::new(seed);
    let (mut passed, mut frames) = (0, 0);
    for number in 0..CHAINS {
        let members: Vec<(&Loaded, ProceedMask)> = (0..2 + random.below(6))
            .map(|_| (random.pick(&pool), random.pick(&[ProceedMask(1 << 2), ProceedMask(0x0f)])))
            .collect();
        let attempt = random.pick(&ATTEMPTS);
        let options = SpliceOptions { counters: true, attempt, ..options(kind) };
        let chain = Together::new(kind, &members, &corpus.maps, &options).unwrap();
        let layout = CounterLayout::new(options.hook, chain.plan.members.len());
        let names: Vec<&str> = members.iter().map(|(member, _)| member.name()).collect();
        let what = format!("chain {number}: {mode:?}, {names:?}, {}", chain.plan.reason());
        let _link = kernel::attach_xdp(&chain.entry, at, mode).unwrap();
        for _ in 0..FRAMES {
            let mut frame: Vec<u8> = (0..300 + random.below(200)).map(|_| random.next() as u8).collect();
            frame[..6].fill(0xff);
            frame[12..14].copy_from_slice(&[0x88, 0xb5]);
            let expected = fold(kind, &members, &Packet { data: frame.clone(), context: vec![0] }).unwrap();
            let (before, _) = watchers.witnessed();
            let counted = || chain.exits_at(layout, at).values().sum::<u64>();
            let exits = counted();
            wire::send(&frame);
            wire::until("the chain counted the frame", || counted() == exits + 1);
            frames += 1;
            if expected.verdict != PASS {
                continue;
            }
            passed += 1;
            wire::until(&format!("a frame passed: {what}"), || watchers.witnessed().0 == before + 1);
            let (_, seen) = watchers.witnessed();
            let data = &expected.packet.data[expected.packet.context[0] as usize..];
            assert_eq!(seen.length as usize, data.len(), "{what}");
            assert_eq!(seen.bytes, data[..BYTES.min(data.len())], "{what}");
        }
        assert_eq!(corpus.maps.difference(), None, "{what}");
    }
    println!("{mode:?}: {CHAINS} chains, {frames} frames, {passed} passed");
    // A frame that passed by mistake would have been counted with the next one that had to pass.
    assert_eq!(watchers.witnessed().0, passed);
    assert!(passed > frames / 4, "too few frames passed: {passed} of {frames}");
}

#[test]
fn native_xdp_chain_treats_real_packets_as_test_runs_do() {
    if !lacks_tcx() {
        chains_agree(XdpMode::Native, 50);
    }
}

#[test]
fn generic_xdp_chain_treats_real_packets_as_test_runs_do() {
    if !lacks_tcx() {
        chains_agree(XdpMode::Generic, 51);
    }
}
