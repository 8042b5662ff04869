//! Chains that parse headers once: their members test the same fields, and write them and move them in between.
//!
//! `make fuzz-headers` runs more chains: `HEADERS_CHAINS` of each hook, from `HEADERS_SEED`.

use bpfmand_splice::SpliceOptions;

use crate::chain::Loaded;
use crate::generate::{self, Random};
use crate::kernel::{Packet, ProgramKind};
use crate::pool::{self, Shape};
use crate::together::Tally;

/// Number of chains for each pool of members.
const CHAINS: usize = 150;
const MEMBERS: usize = 60;
const PACKETS: usize = 24;

/// Returns packets in which most fields have values that members test.
fn packets(random: &mut Random, kind: ProgramKind) -> Vec<Packet> {
    let shape = Shape { packets: PACKETS, from: 40, range: 90, ..Shape::GENERATED };
    let mut packets = pool::packets(random, kind, shape);
    for packet in &mut packets {
        // Lengths that end right before, at and behind the fields that members test.
        if random.one_in(2) {
            packet.data.resize(random.pick(&[41, 42, 43, 46, 59, 60, 61]), 0);
        }
        let fields: [(usize, &[u8]); 6] = [
            (12, &[8, 0x88]),
            (13, &[0, 0xb5]),
            (14, &[0x45, 0x46, 0]),
            (23, &[17, 6]),
            (24, &[0, 128]),
            (26, &[0, 1]),
        ];
        for (at, values) in fields {
            if !random.one_in(6)
                && let Some(byte) = packet.data.get_mut(at)
            {
                *byte = random.pick(values);
            }
        }
        for at in 27..30 {
            packet.data.get_mut(at).into_iter().for_each(|byte| *byte = 0);
        }
    }
    packets
}

fn agree(kind: ProgramKind, chains: usize, seed: u64) -> Tally {
    let mut random = Random::new(seed);
    let maps = pool::generated_maps();
    let members: Vec<Loaded> = (0..MEMBERS)
        .map(|number| {
            let text = generate::parser(&mut random, kind, number);
            Loaded::new(format!("parser-{number}"), text, kind, &maps)
        })
        .collect();
    let members: Vec<&Loaded> = members.iter().collect();
    let mut tally = Tally::default();
    for number in 0..chains {
        let (drawn, options) = pool::draw(&mut random, kind, &members, Shape::GENERATED);
        let options = SpliceOptions { shares_headers: true, ..options };
        // Two chains of three let most packets go on to the end.
        let set = pool::wide(&mut random);
        let chain: Vec<_> = match number % 3 {
            0 => drawn,
            _ => drawn.into_iter().map(|(member, _)| (member, set)).collect(),
        };
        let packets = packets(&mut random, kind);
        if let Err(difference) = tally.check(kind, &chain, &maps, &options, &packets) {
            panic!("chain {number} of seed {seed}: {}: {difference}", pool::describe(&chain, &options));
        }
    }
    println!("{kind:?}, seed {seed}: {tally:?}");
    #[cfg(debug_assertions)]
    println!("proved equal, and too long to prove, in this process: {:?}", bpfmand_splice::proofs());
    tally
}

fn shared_chains_agree(kind: ProgramKind, seed: u64) {
    for seed in seed..seed + 2 {
        let tally = agree(kind, CHAINS, seed);
        assert!(tally.sharing * 3 > tally.chains, "too few chains share headers: {tally:?}");
        assert!(tally.unshared * 20 < tally.chains, "the verifier refused too many: {tally:?}");
    }
}

#[test]
fn xdp_chains_that_share_headers_do_what_members_do() {
    shared_chains_agree(ProgramKind::Xdp, 3000);
}

#[test]
fn tcx_chains_that_share_headers_do_what_members_do() {
    shared_chains_agree(ProgramKind::Tcx, 3100);
}

#[test]
fn clsact_chains_that_share_headers_do_what_members_do() {
    shared_chains_agree(ProgramKind::Clsact, 3200);
}

#[test]
#[ignore = "runs for minutes: make fuzz-headers"]
fn fuzz() {
    let setting = |name: &str, otherwise: u64| {
        std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
    };
    let (chains, first) = (setting("HEADERS_CHAINS", 7_000) as usize, setting("HEADERS_SEED", 10_000));
    let (mut all, mut sharing, mut unshared, mut packets) = (0, 0, 0, 0);
    for kind in [ProgramKind::Xdp, ProgramKind::Tcx, ProgramKind::Clsact] {
        for round in 0..chains.div_ceil(CHAINS) {
            let tally = agree(kind, CHAINS, first + round as u64);
            all += tally.chains;
            sharing += tally.sharing;
            unshared += tally.unshared;
            packets += tally.packets;
        }
    }
    println!(
        "{all} chains, {packets} packets: no difference; {sharing} share headers, {unshared} only as they were"
    );
}
