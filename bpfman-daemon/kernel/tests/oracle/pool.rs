use bpfmand_splice::{Attempt, ProceedMask, SpliceOptions};

use crate::chain::{Loaded, Maps, Members};
use crate::generate::{self, ENTRIES, NOTE_BYTES, Random};
use crate::kernel::{Map, Packet, ProgramKind};
use crate::together::{Tally, options};

pub const PACKETS: usize = 5;
const GENERATED: usize = 300;

#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub from: u64,
    pub range: u64,
    pub short: bool,
    pub longest: u64,
    pub packets: usize,
}

impl Shape {
    pub const GENERATED: Self = Self { from: 64, range: 200, short: true, longest: 32, packets: PACKETS };
    /// Packets that are long enough for every member to shorten them.
    pub const LONG: Self = Self { from: 260, range: 260, short: false, longest: 32, packets: PACKETS };
}

pub fn packets(random: &mut Random, kind: ProgramKind, shape: Shape) -> Vec<Packet> {
    (0..shape.packets)
        .map(|_| {
            let short = shape.short && random.one_in(10);
            let len = if short { 24 } else { shape.from + random.below(shape.range) };
            let mut data: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
            if random.one_in(2) {
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

pub fn wide(random: &mut Random) -> ProceedMask {
    if random.below(2) == 0 { ProceedMask::EVERYTHING } else { ProceedMask(u32::MAX >> 1) }
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

pub const ATTEMPTS: [Attempt; 4] =
    [Attempt::First, Attempt::AllFunctions, Attempt::CutEach, Attempt::AllStandalone];

pub fn draw<'a>(
    random: &mut Random,
    kind: ProgramKind,
    pool: &[&'a Loaded],
    shape: Shape,
) -> (Vec<(&'a Loaded, ProceedMask)>, SpliceOptions<'static>) {
    // In some chains most members continue, so that the last ones are reached too.
    let goes_on = random.one_in(3);
    let longest = if random.one_in(12) { shape.longest } else { shape.longest.min(10) };
    let members = (0..=random.below(longest))
        .map(|_| {
            let narrow = !goes_on || random.one_in(8);
            (random.pick(pool), if narrow { set(random, kind) } else { wide(random) })
        })
        .collect();
    let options = SpliceOptions {
        counters: random.one_in(2),
        attempt: if random.one_in(3) { random.pick(&ATTEMPTS) } else { Attempt::First },
        as_subprograms: random.one_in(10),
        timing: random.one_in(4),
        ..options(kind)
    };
    (members, options)
}

pub fn describe(members: &Members<'_>, options: &SpliceOptions<'_>) -> String {
    let names: Vec<_> = members.iter().map(|(member, set)| (member.label.as_str(), set.0)).collect();
    let SpliceOptions { attempt, counters, timing, shares_headers, .. } = options;
    format!("{names:x?}, {attempt:?}, counters {counters}, timing {timing}, sharing {shares_headers}")
}

pub fn agrees(
    kind: ProgramKind,
    pool: &[&Loaded],
    maps: &Maps,
    chains: usize,
    seed: u64,
    shape: Shape,
) -> Tally {
    let mut random = Random::new(seed);
    let mut tally = Tally::default();
    for number in 0..chains {
        let (members, options) = draw(&mut random, kind, pool, shape);
        let options = SpliceOptions { shares_headers: number % 4 > 0, ..options };
        let packets = packets(&mut random, kind, shape);
        if let Err(difference) = tally.check(kind, &members, maps, &options, &packets) {
            panic!("chain {number} of seed {seed}: {}: {difference}", describe(&members, &options));
        }
    }
    println!("{kind:?}, seed {seed}: {tally:?}");
    assert!(tally.refused * 2 < chains, "too many chains cannot be: {}", tally.refused);
    assert!(
        tally.packets > (chains - tally.refused) * shape.packets / 2,
        "too few packets were compared: {}",
        tally.packets
    );
    tally
}

pub fn generated_maps() -> Maps {
    Maps::new(|| {
        vec![
            Map::create(2, 4, 8, ENTRIES, 0).unwrap(),
            Map::create(1, 4, NOTE_BYTES, ENTRIES * 2, 0).unwrap(),
            Map::settings(&generate::SETTING_BYTES).unwrap(),
        ]
    })
}

pub fn generated_pool(kind: ProgramKind, maps: &Maps, seed: u64) -> Vec<Loaded> {
    let mut random = Random::new(seed);
    (0..GENERATED)
        .map(|number| {
            let text = generate::program(&mut random, kind, number);
            Loaded::new(format!("generated-{number}"), text, kind, maps)
        })
        .collect()
}

fn generated_chains_agree(kind: ProgramKind, chains: usize, seed: u64) {
    let maps = generated_maps();
    let pool = generated_pool(kind, &maps, seed);
    let folded = pool.iter().filter(|member| member.specialised.is_some()).count();
    assert!(folded * 3 > GENERATED, "settings are folded into {folded} members only");
    let pool: Vec<&Loaded> = pool.iter().collect();
    let tally = agrees(kind, &pool, &maps, chains, seed + 100, Shape::GENERATED);
    assert_eq!(tally.fallbacks.len(), 0, "the verifier takes every chain of these members");
    assert!(
        [tally.cut, tally.timed, tally.behind_calls, tally.own].iter().all(|chains| *chains > 10),
        "{tally:?}"
    );
}

#[test]
fn generated_xdp_chains_do_what_their_members_do_alone() {
    generated_chains_agree(ProgramKind::Xdp, 500, 1);
}

#[test]
fn generated_tcx_chains_do_what_their_members_do_alone() {
    generated_chains_agree(ProgramKind::Tcx, 500, 2);
}

#[test]
fn generated_clsact_chains_do_what_their_members_do_alone() {
    generated_chains_agree(ProgramKind::Clsact, 500, 3);
}

#[test]
fn every_way_back_from_the_cheapest_chain_means_the_same() {
    for (kind, seed) in [(ProgramKind::Xdp, 20), (ProgramKind::Tcx, 21)] {
        let maps = generated_maps();
        let pool = generated_pool(kind, &maps, seed);
        let pool: Vec<&Loaded> = pool.iter().collect();
        let mut random = Random::new(seed);
        let mut tally = Tally::default();
        for number in 0..60 {
            let (members, options) = draw(&mut random, kind, &pool, Shape::GENERATED);
            let packets = packets(&mut random, kind, Shape::GENERATED);
            for attempt in ATTEMPTS {
                let options = SpliceOptions { attempt, shares_headers: number % 2 == 0, ..options };
                if let Err(difference) = tally.check(kind, &members, &maps, &options, &packets) {
                    panic!("chain {number}: {}: {difference}", describe(&members, &options));
                }
            }
        }
        println!("{kind:?}: {tally:?}");
    }
}
