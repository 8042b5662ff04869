//! What a chain means: its members run alone, one after another, folded here. Written from the documentation, not
//! from the splicer: the verdict table below is a second one on purpose.

use std::os::fd::{AsRawFd, RawFd};

use bpfmand_core::BoundText;
use bpfmand_splice::{
    FrameRounding, HookKind, Member, ProceedMask, Splice, SpliceError, SpliceOptions, splice,
};

use crate::kernel::{Map, Packet, Program, ProgramKind, kernel_version, load, run, stack_depths};

/// A member and its program loaded alone.
pub struct Loaded {
    pub label: String,
    pub text: BoundText,
    pub alone: Program,
    /// The verifier's count of each function's stack.
    pub depths: Vec<u32>,
}

impl Loaded {
    pub fn new(label: String, text: BoundText, kind: ProgramKind, maps: &[RawFd]) -> Self {
        let alone = load(&text, kind, maps).unwrap_or_else(|log| panic!("{label} alone: {log}"));
        let depths = stack_depths(&text, kind, maps).unwrap();
        Self { label, text, alone, depths }
    }
}

/// One set of maps for the members alone, one for the splice, alike at first.
pub struct Maps {
    pub alone: Vec<Map>,
    pub spliced: Vec<Map>,
}

pub fn descriptors(maps: &[Map]) -> Vec<RawFd> {
    maps.iter().map(|map| map.fd.as_raw_fd()).collect()
}

pub fn options(kind: ProgramKind) -> SpliceOptions<'static> {
    let hook = match kind {
        ProgramKind::Xdp => HookKind::Xdp,
        ProgramKind::Tcx => HookKind::TcTcx,
        ProgramKind::Clsact => HookKind::TcClsact,
    };
    let rounding = if kernel_version() < (6, 12) { FrameRounding::To32 } else { FrameRounding::To16 };
    SpliceOptions { rounding, ..SpliceOptions::new(hook) }
}

/// True if the chain goes on. XDP: bit n is code n; TC: bit n is code n - 1.
fn proceeds(kind: ProgramKind, set: u32, code: i32) -> bool {
    let bit = if kind == ProgramKind::Xdp { i64::from(code) } else { i64::from(code) + 1 };
    (0..=31).contains(&bit) && set & (1 << bit) != 0
}

fn answer(kind: ProgramKind, stopped: Option<i32>) -> i32 {
    match (kind, stopped) {
        (ProgramKind::Xdp, None) => 2,
        (ProgramKind::Tcx | ProgramKind::Clsact, None) => -1,
        (ProgramKind::Xdp | ProgramKind::Clsact, Some(code)) => code,
        (ProgramKind::Tcx, Some(0 | 1)) => 0,
        (ProgramKind::Tcx, Some(2 | 4 | 5 | 8)) => 2,
        (ProgramKind::Tcx, Some(7)) => 7,
        (ProgramKind::Tcx, Some(_)) => -1,
    }
}

/// The chain's answer and packet, members alone. None if a packet got too short to be run on.
fn fold(kind: ProgramKind, members: &[(&Loaded, ProceedMask)], packet: &Packet) -> Option<(i32, Packet)> {
    let mut packet = packet.clone();
    for (member, set) in members {
        let (code, left) = run(&member.alone, kind, &packet).ok()?;
        packet = left;
        if !proceeds(kind, set.0, code) {
            return Some((answer(kind, Some(code)), packet));
        }
    }
    Some((answer(kind, None), packet))
}

pub fn join(members: &[(&Loaded, ProceedMask)], options: &SpliceOptions<'_>) -> Result<Splice, SpliceError> {
    let members: Vec<Member<'_>> = members
        .iter()
        .map(|(loaded, set)| Member {
            redirect_may_proceed: true,
            kernel_stack_depths: Some(&loaded.depths),
            ..Member::new(&loaded.label, &loaded.text, *set)
        })
        .collect();
    splice("chain", &members, options)
}

/// Runs the chain both ways over the packets; says what differed.
pub fn compare(
    kind: ProgramKind,
    members: &[(&Loaded, ProceedMask)],
    spliced: &Program,
    maps: &Maps,
    packets: &[Packet],
) -> Result<usize, String> {
    let mut compared = 0;
    for (number, packet) in packets.iter().enumerate() {
        let Some(expected) = fold(kind, members, packet) else {
            // The fold ended halfway and its maps with it: start level again.
            level(maps);
            continue;
        };
        let got = run(spliced, kind, packet).map_err(|error| format!("packet {number}: {error}"))?;
        if got != expected {
            return Err(format!("packet {number} {packet:?}\n alone   {expected:?}\n spliced {got:?}"));
        }
        compared += 1;
    }
    for (place, (alone, together)) in maps.alone.iter().zip(&maps.spliced).enumerate() {
        let (alone, together) = (alone.contents(), together.contents());
        if alone != together {
            return Err(format!("map {place}\n alone   {alone:?}\n spliced {together:?}"));
        }
    }
    Ok(compared)
}

fn level(maps: &Maps) {
    for (alone, together) in maps.alone.iter().zip(&maps.spliced) {
        for (key, value) in alone.contents() {
            // A frozen map cannot be written, and was not by the members either.
            let _ = together.update(&key, &value);
        }
    }
}

/// Splices, loads and compares; a program that the verifier refuses is a failure.
pub fn check(
    kind: ProgramKind,
    members: &[(&Loaded, ProceedMask)],
    maps: &Maps,
    packets: &[Packet],
) -> Result<usize, String> {
    let joined = join(members, &options(kind)).map_err(|error| error.to_string())?;
    let program = load(&joined.text, kind, &descriptors(&maps.spliced))?;
    compare(kind, members, &program, maps, packets)
}
