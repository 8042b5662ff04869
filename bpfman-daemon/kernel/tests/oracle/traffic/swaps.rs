//! Chains of several programs, replaced under a flood: each packet runs all members of one generation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bpfman_model::{BoundText, Insn};
use bpfmand_splice::{Attempt, ChainStrategy, CounterLayout, ProceedMask, SpliceOptions};

use crate::chain::{Loaded, Maps};
use crate::kernel::{self, ProgramKind, XdpMode, interface};
use crate::objects::program;
use crate::together::{Together, options};

use super::wire::{self, Judged, Watchers, interfaces, lacks_tcx};

pub const MEMBERS: usize = 4;
const FIRST_STAMP: usize = 20;
const SWAPS: u32 = 50;

pub fn stamp(kind: ProgramKind, place: usize, generation: u8) -> BoundText {
    let (data, end, verdict) = if kind == ProgramKind::Xdp { (0, 4, 2) } else { (76, 80, -1) };
    let insns = vec![
        Insn::new(0x61, 2, 1, data, 0),
        Insn::new(0x61, 3, 1, end, 0),
        Insn::new(0xbf, 4, 2, 0, 0),
        Insn::new(0x07, 4, 0, 0, 32),
        Insn::new(0x2d, 4, 3, 1, 0),
        Insn::new(0x72, 2, 0, (FIRST_STAMP + place) as i16, i32::from(generation)),
        Insn::new(0xb7, 0, 0, 0, verdict),
        Insn::new(0x95, 0, 0, 0, 0),
    ];
    program("stamp", insns)
}

pub fn generation(kind: ProgramKind, attempt: Attempt, number: u8, maps: &Maps) -> Together {
    let members: Vec<Loaded> = (0..MEMBERS)
        .map(|place| Loaded::new(format!("generation {number}"), stamp(kind, place, number), kind, maps))
        .collect();
    let set = ProceedMask(if kind == ProgramKind::Xdp { 1 << 2 } else { 1 });
    let members: Vec<_> = members.iter().map(|member| (member, set)).collect();
    let options = SpliceOptions { attempt, counters: true, ..options(kind) };
    Together::new(kind, &members, maps, &options).unwrap()
}

pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Flood {
    pub fn start() -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = std::thread::spawn({
            let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
            move || {
                let mut frame = [0_u8; 64];
                frame[..6].fill(0xff);
                frame[12..14].copy_from_slice(&[0x88, 0xb5]);
                let sender = kernel::Sender::new(interface("in0")).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    sender.send(&frame).unwrap();
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { stop, sent, thread: Some(thread) }
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        self.sent()
    }
}

fn swaps(kind: ProgramKind, mode: Option<XdpMode>, attempt: Attempt) {
    interfaces();
    let (watchers, at) = (Watchers::new(), interface("in1"));
    let maps = Maps::default();
    let mut chain = generation(kind, attempt, 1, &maps);
    assert!(chain.plan.strategy == ChainStrategy::Cut || attempt == Attempt::AllStandalone);
    let layout = CounterLayout::new(chain.hook, MEMBERS);
    let link = match mode {
        Some(mode) => kernel::attach_xdp(&chain.entry, at, mode).unwrap(),
        None => kernel::attach_tcx_ingress(&chain.entry, at).unwrap(),
    };
    let _judge = watchers.stand("judge", at);
    let flood = Flood::start();
    let mut left_by = 0;
    for swap in 1..=SWAPS {
        // Packets that arrive now may have run the previous generation.
        let met = || chain.exits_at(layout, at).values().sum::<u64>();
        wire::until("packets came through", || met() > 20);
        let next = generation(kind, attempt, (swap % 250 + 1) as u8, &maps);
        kernel::replace(&link, &next.entry).unwrap();
        // Packets that still run the old chain need its arrays.
        let old = std::mem::replace(&mut chain, next);
        let exits = old.exits_at(layout, at);
        left_by += exits.values().sum::<u64>();
        assert_eq!(exits.keys().copied().collect::<Vec<_>>(), [all_proceeded(layout, kind)], "swap {swap}");
    }
    let sent = flood.end();
    wire::until("all packets were judged", || watchers.judged().whole >= sent || watchers.broken());
    let judged = watchers.judged();
    assert_eq!(judged, Judged { whole: sent, mixed: 0, unfiltered: 0 });
    left_by += chain.exits_at(layout, at).values().sum::<u64>();
    // Only packets counted between the replacement and the reading of the old counters may be missing.
    assert!(left_by <= sent && left_by + u64::from(SWAPS) * 64 >= sent, "{left_by} of {sent} were counted");
    println!("{kind:?} {mode:?} {attempt:?}: {SWAPS} swaps, {sent} packets, 0 mixed, 0 unfiltered");
}

fn all_proceeded(layout: CounterLayout, kind: ProgramKind) -> usize {
    layout.cell(layout.all_proceeded(), if kind == ProgramKind::Xdp { 2 } else { -1 })
}

#[test]
fn a_cut_xdp_chain_is_swapped_under_a_flood() {
    if !lacks_tcx() {
        swaps(ProgramKind::Xdp, Some(XdpMode::Native), Attempt::CutEach);
    }
}

#[test]
fn a_cut_generic_xdp_chain_is_swapped_under_a_flood() {
    if !lacks_tcx() {
        swaps(ProgramKind::Xdp, Some(XdpMode::Generic), Attempt::CutEach);
    }
}

#[test]
fn xdp_chain_of_separate_programs_is_swapped_under_a_flood() {
    if !lacks_tcx() {
        swaps(ProgramKind::Xdp, Some(XdpMode::Native), Attempt::AllStandalone);
    }
}

#[test]
fn a_cut_tc_chain_is_swapped_under_a_flood() {
    if !lacks_tcx() {
        swaps(ProgramKind::Tcx, None, Attempt::CutEach);
    }
}
