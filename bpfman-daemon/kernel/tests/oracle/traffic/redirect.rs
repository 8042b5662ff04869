use std::time::{Duration, Instant};

use bpfman_model::{BoundText, Insn};
use bpfmand_splice::ProceedMask;

use crate::chain::{Loaded, Maps};
use crate::kernel::{self, Map, ProgramKind, interface};
use crate::objects::program;
use crate::together::{Together, options};

use super::wire::{interfaces, lacks_tcx, only_number, send, sent};

const PIPE: ProceedMask = ProceedMask(1 << 4);
const PIPE_AND_REDIRECT: ProceedMask = ProceedMask(1 << 4 | 1 << 8);
const TC_ACT_PIPE: i32 = 3;
const TC_ACT_REDIRECT: i32 = 7;

fn redirect(interface: u32) -> [Insn; 3] {
    [
        Insn::new(0xb7, 1, 0, 0, interface.cast_signed()),
        Insn::new(0xb7, 2, 0, 0, 0),
        Insn::new(0x85, 0, 0, 0, 23),
    ]
}

fn counted(before: &[Insn], verdict: i32) -> BoundText {
    let mut insns = before.to_vec();
    insns.extend([
        Insn::new(0x62, 10, 0, -4, 0),
        Insn::new(0xbf, 2, 10, 0, 0),
        Insn::new(0x07, 2, 0, 0, -4),
        Insn::new(0x18, 1, 1, 0, 0),
        Insn::default(),
        Insn::new(0x85, 0, 0, 0, 1),
        Insn::new(0x15, 0, 0, 2, 0),
        Insn::new(0xb7, 1, 0, 0, 1),
        Insn::new(0xdb, 0, 1, 0, 0),
        Insn::new(0xb7, 0, 0, 0, verdict),
        Insn::new(0x95, 0, 0, 0, 0),
    ]);
    program("counted", insns)
}

/// Sends frames until `until`, called with the numbers of frames that ran all members and that left by `out0`, is true.
fn redirected(members: &[(BoundText, ProceedMask)], until: impl Fn(u64, u64) -> bool) -> u64 {
    let maps = Maps::new(|| vec![Map::create(2, 4, 8, 1, 0).unwrap()]);
    let loaded: Vec<Loaded> = members
        .iter()
        .map(|(text, _)| Loaded::new("traffic".to_owned(), text.clone(), ProgramKind::Tcx, &maps))
        .collect();
    let members: Vec<_> = loaded.iter().zip(members).map(|(member, (_, set))| (member, *set)).collect();
    let chain = Together::new(ProgramKind::Tcx, &members, &maps, &options(ProgramKind::Tcx)).unwrap();
    let _link = kernel::attach_tcx_ingress(&chain.entry, interface("in1")).unwrap();
    let before = sent("out0");
    let mut frame = vec![0xff; 64];
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    let deadline = Instant::now() + Duration::from_secs(150);
    loop {
        send(&frame);
        let counted = only_number(&maps.spliced[0]);
        let left = sent("out0") - before;
        if until(counted / members.len() as u64, left) {
            return left;
        }
        assert!(Instant::now() < deadline, "{counted} counted, {left} left");
    }
}

#[test]
fn a_noted_redirect_does_not_outlive_its_member() {
    if lacks_tcx() {
        return;
    }
    interfaces();
    let target = redirect(interface("out0"));
    let asks = counted(&target, TC_ACT_REDIRECT);
    let changed_its_mind = counted(&target, TC_ACT_PIPE);
    let never_asked = counted(&[], TC_ACT_REDIRECT);
    assert!(
        redirected(&[(asks.clone(), PIPE)], |_, left| left > 0) > 0,
        "the setup must be able to redirect"
    );
    let many = |passed, left| passed > 20 || left > 0;
    assert_eq!(redirected(&[(changed_its_mind, PIPE), (never_asked.clone(), PIPE)], many), 0);
    assert_eq!(redirected(&[(asks, PIPE_AND_REDIRECT), (never_asked, PIPE)], many), 0);
}
