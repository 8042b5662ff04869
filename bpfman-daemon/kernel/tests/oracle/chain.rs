//! Meaning of a chain: its members run alone, one after another. Written from the documentation, not from the splicer:
//! the second verdict table is deliberate.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, RawFd};

use bpfman_model::{BoundText, MapId};
use bpfmand_splice::{ChainStrategy, CounterLayout, ProceedMask, ReadOnlyMap, specialised};

use crate::kernel::{Map, Packet, Program, ProgramKind, load, load_verified, run};
use crate::together::Together;

pub struct Loaded {
    pub label: String,
    pub text: BoundText,
    pub specialised: Option<BoundText>,
    pub alone: Program,
    /// Program loaded with the chains' maps, for chains that run it unchanged.
    pub own: Program,
    pub depths: Vec<u32>,
    pub verified_insns: u32,
    pub needs_own_btf: bool,
    pub local_type_ids: Vec<usize>,
}

impl Loaded {
    pub fn new(label: String, text: BoundText, kind: ProgramKind, maps: &Maps) -> Self {
        let (alone, verified) = load_verified(&text, kind, &descriptors(&maps.alone))
            .unwrap_or_else(|log| panic!("{label} alone: {log}"));
        let own = load(&text, kind, &descriptors(&maps.spliced)).unwrap();
        let (depths, verified_insns) = (verified.depths, verified.insns);
        let loaded = Self {
            label,
            text,
            specialised: None,
            alone,
            own,
            depths,
            verified_insns,
            needs_own_btf: false,
            local_type_ids: Vec::new(),
        };
        loaded.specialised(maps)
    }

    pub fn specialised(mut self, maps: &Maps) -> Self {
        let frozen = maps.spliced.iter().enumerate().filter_map(|(place, map)| {
            Some(ReadOnlyMap { map: MapId(place as u32), value: map.read_only.as_deref()? })
        });
        self.specialised = specialised(&self.text, &self.local_type_ids, &frozen.collect::<Vec<_>>());
        self
    }

    pub fn name(&self) -> &str {
        &self.text.0.name
    }
}

pub type Members<'a> = [(&'a Loaded, ProceedMask)];

/// Maps for the members alone and for chains, initially equal.
#[derive(Default)]
pub struct Maps {
    pub alone: Vec<Map>,
    pub spliced: Vec<Map>,
}

impl Maps {
    pub fn new(mut make: impl FnMut() -> Vec<Map>) -> Self {
        Self { alone: make(), spliced: make() }
    }

    pub fn difference(&self) -> Option<String> {
        let pairs = self.alone.iter().zip(&self.spliced).enumerate();
        pairs
            // Deferred work has no promised time; the heads of lists and trees show addresses.
            .filter(|(_, (map, _))| !["fired", "queues", "trees"].contains(&map.name.as_str()))
            .map(|(place, (alone, together))| {
                (place, alone.name.as_str(), alone.contents(), together.contents())
            })
            .find(|(_, _, alone, together)| alone != together)
            .map(|(place, name, alone, together)| {
                format!("map {place} {name}\n alone   {alone:?}\n chained {together:?}")
            })
    }

    fn level(&self) {
        for (alone, together) in self.alone.iter().zip(&self.spliced) {
            for (key, value) in alone.contents() {
                // A frozen map cannot be written, and the members did not write it either.
                let _ = together.update(&key, &value);
            }
        }
    }
}

pub fn descriptors(maps: &[Map]) -> Vec<RawFd> {
    maps.iter().map(|map| map.fd.as_raw_fd()).collect()
}

/// XDP: bit n is code n; TC: bit n is code n - 1.
fn proceeds(kind: ProgramKind, set: u32, code: i32) -> bool {
    let bit = if kind == ProgramKind::Xdp { i64::from(code) } else { i64::from(code) + 1 };
    set == u32::MAX || (0..=31).contains(&bit) && set & (1 << bit) != 0
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

pub struct Folded {
    pub verdict: i32,
    pub packet: Packet,
    ended: Option<(usize, i32)>,
    last: i32,
    shadowed: Vec<(usize, i32)>,
}

/// Returns `None` if a packet got too short to be run on.
pub fn fold(kind: ProgramKind, members: &Members<'_>, packet: &Packet) -> Option<Folded> {
    let mut packet = packet.clone();
    let (mut last, mut shadowed) = (0, Vec::new());
    for (place, (member, set)) in members.iter().enumerate() {
        let (code, left) = run(&member.alone, kind, &packet).ok()?;
        (packet, last) = (left, code);
        if set.0 == u32::MAX {
            shadowed.push((place, code));
        }
        if !proceeds(kind, set.0, code) {
            return Some(Folded {
                verdict: answer(kind, Some(code)),
                packet,
                ended: Some((place, code)),
                last,
                shadowed,
            });
        }
    }
    Some(Folded { verdict: answer(kind, None), packet, ended: None, last, shadowed })
}

pub fn compare(
    kind: ProgramKind,
    members: &Members<'_>,
    chain: &Together,
    maps: &Maps,
    packets: &[Packet],
) -> Result<usize, String> {
    let mut compared = 0;
    let mut exits = BTreeMap::<usize, u64>::new();
    let layout = CounterLayout::new(chain.hook, chain.plan.members.len());
    let mut timed = vec![0; chain.plan.members.len()];
    for (number, packet) in packets.iter().enumerate() {
        let Some(expected) = fold(kind, members, packet) else {
            // The fold ended halfway and left its maps in between: make the maps equal again.
            maps.level();
            continue;
        };
        let mut expected = expected;
        if chain.plan.strategy == ChainStrategy::Direct {
            // Exception: a member alone on its hook returns 31, which libxdp's dispatcher reserves, unchanged.
            let dispatcher_return = expected.last == 31;
            expected.verdict = if dispatcher_return { 31 } else { expected.verdict };
        }
        if chain.aim_at_twin(number % 2 == 1) {
            let ran = expected.ended.map_or(members.len(), |(place, _)| place + 1);
            timed.iter_mut().take(ran).for_each(|samples| *samples += 1);
        }
        let got = run(&chain.entry, kind, packet).map_err(|error| format!("packet {number}: {error}"))?;
        if got != (expected.verdict, expected.packet.clone()) {
            let alone = (expected.verdict, &expected.packet);
            return Err(format!(
                "packet {number} {packet:?}\n alone   {alone:?} ended at {:?}\n chained {got:?}",
                expected.ended
            ));
        }
        let cell = match expected.ended {
            Some((slot, code)) => layout.cell(slot, code),
            None => layout.cell(layout.all_proceeded(), answer(kind, None)),
        };
        *exits.entry(cell).or_default() += 1;
        for (slot, code) in &expected.shadowed {
            *exits.entry(layout.cell(*slot, *code)).or_default() += 1;
        }
        compared += 1;
    }
    if let Some(difference) = maps.difference() {
        return Err(difference);
    }
    if let Some(counted) = chain.exits(layout)
        && counted != exits
    {
        return Err(format!("exits by cell\n alone   {exits:?}\n counted {counted:?}"));
    }
    if let Some(samples) = chain.timed()
        && samples != timed
    {
        return Err(format!("times taken of each member: {samples:?}, {timed:?} expected"));
    }
    Ok(compared)
}
