//! Members that are bound to a device: the whole chain is bound too, replaces an unbound chain and is replaced by one.

use bpfmand_splice::{Bindings, ChainStrategy, Member, ProceedMask, compile, plan};

use crate::chain::{Maps, descriptors};
use crate::kernel::{self, Map, Program, ProgramKind, XdpMode, interface};
use crate::objects;
use crate::together::options;

use super::swaps::{Flood, MEMBERS, generation, stamp};
use super::wire::{Judged, Watchers, interfaces, lacks_tcx, only_number, until};

const SWAPS: u8 = 20;
const PASS: ProceedMask = ProceedMask(1 << 2);

fn bound(number: u8, maps: &[Map], device: u32) -> Program {
    let kind = ProgramKind::Xdp;
    let asks = objects::text(&objects::compile("device.c"), "receive_hash");
    let stamps: Vec<_> = (0..MEMBERS).map(|place| stamp(kind, place, number)).collect();
    let mut members = vec![Member { device_bound: true, ..Member::new("device.c", &asks, PASS) }];
    members.extend(stamps.iter().map(|text| Member::new("stamp", text, PASS)));
    let options = options(kind);
    let plan = plan(&members, &options).unwrap();
    assert!(plan.device_bound && plan.strategy == ChainStrategy::Splice, "{}", plan.reason());
    let compiled = compile("bound", &members, &plan, &options, &Bindings::default()).unwrap();
    kernel::load_bound(&compiled.programs[0].text, &descriptors(maps), device).unwrap()
}

#[test]
fn device_bound_chain_alternates_with_an_ordinary_one() {
    if lacks_tcx() {
        return;
    }
    if !objects::kernel_has("bpf_xdp_metadata_rx_hash") {
        println!("skipped: this kernel has no bpf_xdp_metadata_rx_hash");
        return;
    }
    interfaces();
    let (watchers, at) = (Watchers::new(), interface("in1"));
    let maps = objects::maps(&objects::compile("device.c"));
    let no_maps = Maps::default();
    let first = bound(1, &maps, at);
    assert!(kernel::attach_xdp(&first, interface("out1"), XdpMode::Native).is_err(), "another interface");
    assert!(kernel::attach_xdp(&first, at, XdpMode::Generic).is_err(), "generic mode");
    let link = kernel::attach_xdp(&first, at, XdpMode::Native).unwrap();
    let _judge = watchers.stand("judge", at);
    let flood = Flood::start();
    for swap in 1..=SWAPS {
        let before = watchers.judged().whole;
        until("packets came through", || watchers.judged().whole > before + 20);
        if swap % 2 == 0 {
            kernel::replace(&link, &bound(swap + 1, &maps, at)).unwrap();
        } else {
            let ordinary = generation(ProgramKind::Xdp, Default::default(), swap + 1, &no_maps);
            kernel::replace(&link, &ordinary.entry).unwrap();
        }
    }
    let sent = flood.end();
    until("all packets were judged", || watchers.judged().whole >= sent || watchers.broken());
    assert_eq!(watchers.judged(), Judged { whole: sent, mixed: 0, unfiltered: 0 });
    let hashed = only_number(&maps[0]);
    assert!(hashed > 0 && hashed < sent, "the driver told the hash of {hashed} packets of {sent}");
    println!("{SWAPS} swaps, {sent} packets, 0 mixed, 0 unfiltered, {hashed} with a hash");
}
