//! Metrics of chains: packets by member and verdict, and the time of members.

use bpfman_metrics::Exposition;
use bpfman_model::LinkId;
use bpfmand_engine::{ChainFigures, MemberFigures};

use super::labels::{MemberCount, MemberLabels, application};
use crate::catalogue as is;
use crate::monotonic_sums::MonotonicSums;

type MemberSums = MonotonicSums<(LinkId, MemberCount), MemberLabels, 1>;
type ChainSums = MonotonicSums<(String, &'static str), (String, &'static str), 1>;

const PROCEEDED: &str = "proceeded";
const FAILED: &str = "failed";
const SWAPS: &str = "swaps";
const SWAP_NANOSECONDS: &str = "swap nanoseconds";

pub fn add(
    samples: &mut Exposition,
    (member_sums, chain_sums): (&mut MemberSums, &mut ChainSums),
    chains: &[ChainFigures],
) {
    let (mut of_members, mut of_chains) = (Vec::new(), Vec::new());
    for chain in chains {
        let labels = [chain.hook.as_str(), chain.mode, chain.strategy];
        samples.add(&is::CHAIN_MEMBERS, labels, chain.members.len() as u64);
        for member in &chain.members {
            let labels = labels_of(chain, member);
            if let Some(nanoseconds) = member.time.and_then(|time| time.nanoseconds_per_run()) {
                samples.add(&is::MEMBER_RUN, labels.values(), nanoseconds / 1e9);
            }
            count(member, &labels, &mut of_members);
        }
        let nanoseconds = u64::try_from(chain.swaps.total.as_nanos()).unwrap_or(u64::MAX);
        let mut counts = vec![(SWAPS, chain.swaps.swaps), (SWAP_NANOSECONDS, nanoseconds)];
        if chain.counters {
            counts.extend([(PROCEEDED, chain.all_proceeded), (FAILED, chain.failed)]);
        }
        for (what, counted) in counts {
            let key = (chain.hook.clone(), what);
            of_chains.push((key.clone(), key, [counted]));
        }
    }
    for (labels, [packets]) in member_sums.take(of_members) {
        match labels.counted {
            MemberCount::Packets => samples.add(&is::MEMBER_PACKETS, labels.values(), *packets),
            MemberCount::Ended(verdict) => samples.add(&is::MEMBER_ENDED, labels.with(verdict), *packets),
            MemberCount::Shadowed(verdict) => {
                samples.add(&is::MEMBER_SHADOWED, labels.with(verdict), *packets)
            }
        }
    }
    for ((hook, what), [counted]) in chain_sums.take(of_chains) {
        match *what {
            SWAPS => samples.add(&is::CHAIN_SWAPS, [hook], *counted),
            SWAP_NANOSECONDS => samples.add(&is::CHAIN_SWAP_SECONDS, [hook], *counted as f64 / 1e9),
            PROCEEDED => samples.add(&is::CHAIN_PROCEEDED, [hook], *counted),
            _ => samples.add(&is::CHAIN_FAILED, [hook], *counted),
        }
    }
}

fn labels_of(chain: &ChainFigures, member: &MemberFigures) -> MemberLabels {
    MemberLabels {
        hook: chain.hook.clone(),
        program: member.program.name.clone(),
        owner: member.program.owner().to_string(),
        application: application(&member.program),
        counted: MemberCount::Packets,
    }
}

fn count(
    member: &MemberFigures,
    labels: &MemberLabels,
    into: &mut Vec<((LinkId, MemberCount), MemberLabels, [u64; 1])>,
) {
    let Some(counters) = &member.counters else { return };
    let ended = counters.ended.iter().map(|(verdict, packets)| (MemberCount::Ended(verdict), *packets));
    let shadowed =
        counters.shadowed.iter().map(|(verdict, packets)| (MemberCount::Shadowed(verdict), *packets));
    let all = [(MemberCount::Packets, counters.runs)].into_iter().chain(ended).chain(shadowed);
    into.extend(all.map(|(counted, packets)| {
        ((member.link, counted), MemberLabels { counted, ..labels.clone() }, [packets])
    }));
}
