//! `make fuzz-chain`: the same generators for any length of time.
//!
//! Environment: `FUZZ_MINUTES` (or `FUZZ_PACKETS`) sets the length, `FUZZ_SEED` the first seed. Each round has a seed
//! of its own, printed when it ends and when it fails: `FUZZ_SEED` with this value repeats that round first.

use std::time::{Duration, Instant};

use crate::chain::Loaded;
use crate::corpus::corpus_of;
use crate::generate::Random;
use crate::kernel::ProgramKind;
use crate::pool::{self, Shape};

const CHAINS: usize = 400;
/// Packets per chain: more than in CI, since loading takes most of the time.
const PACKETS: usize = 100;

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
#[ignore = "runs for minutes: make fuzz-chain"]
fn fuzz() {
    let minutes = setting("FUZZ_MINUTES").unwrap_or(5);
    let most_packets = setting("FUZZ_PACKETS").unwrap_or(u64::MAX);
    let mut seed = setting("FUZZ_SEED").unwrap_or(1000);
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let (mut chains, mut packets, mut fallbacks) = (0, 0, 0);
    let corpora =
        [ProgramKind::Xdp, ProgramKind::Tcx, ProgramKind::Clsact].map(|kind| (kind, corpus_of(kind)));
    while Instant::now() < end && packets < most_packets {
        println!("seed {seed}");
        let (kind, corpus) = &corpora[Random::new(seed).below(3) as usize];
        let maps = pool::generated_maps();
        let generated = pool::generated_pool(*kind, &maps, seed);
        let generated: Vec<&Loaded> = generated.iter().collect();
        let real: Vec<&Loaded> = corpus.members.iter().collect();
        let tallies = [
            pool::agrees(
                *kind,
                &generated,
                &maps,
                CHAINS,
                seed,
                Shape { packets: PACKETS, ..Shape::GENERATED },
            ),
            pool::agrees(
                *kind,
                &real,
                &corpus.maps,
                CHAINS / 4,
                seed,
                Shape { packets: PACKETS, ..Shape::LONG },
            ),
        ];
        for tally in tallies {
            chains += tally.chains;
            packets += tally.packets as u64;
            fallbacks += tally.fallbacks.values().sum::<usize>();
        }
        seed += 1;
    }
    println!("{chains} chains, {packets} packets: no difference; {fallbacks} fell back; next seed {seed}");
}
