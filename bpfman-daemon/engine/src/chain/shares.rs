//! Division of a chain's CPU time among its members.

use bpfman_model::ProgramUid;

use crate::state::cpu_time::{ChainReading, MemberReading};

/// Returns the time of each member between two readings of a chain, in nanoseconds. If all members are one program, it
/// is charged for all; without samples of members, no time is charged.
pub fn shares(then: &ChainReading, now: &ChainReading) -> Vec<(ProgramUid, u64)> {
    let took = now.nanoseconds.saturating_sub(then.nanoseconds);
    let Some(first) = now.members.first().map(|member| member.program) else { return Vec::new() };
    if now.members.iter().all(|member| member.program == first) {
        return vec![(first, took)];
    }
    let weight = |(then, now): (&MemberReading, &MemberReading)| {
        let packets = now.packets.saturating_sub(then.packets);
        let recent = now.time.since(&then.time).nanoseconds_per_run();
        let each = recent.or_else(|| now.time.nanoseconds_per_run()).unwrap_or(0.0);
        packets as f64 * each
    };
    let weights: Vec<f64> = then.members.iter().zip(&now.members).map(weight).collect();
    let all: f64 = weights.iter().sum();
    if all <= 0.0 {
        return Vec::new();
    }
    // Never charge more than the samples indicate: another member may be slow on packets that are not sampled.
    let scale = (took as f64 / all).min(1.0);
    let part = |(member, weight): (&MemberReading, &f64)| (member.program, (weight * scale) as u64);
    now.members.iter().zip(&weights).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::cpu_time::MemberTime;

    fn reading(nanoseconds: u64, members: &[(u64, u64, u64, u64)]) -> ChainReading {
        let member = |(program, packets, samples, nanoseconds): &(u64, u64, u64, u64)| MemberReading {
            program: ProgramUid(*program),
            packets: *packets,
            time: MemberTime { samples: *samples, nanoseconds: *nanoseconds, ..MemberTime::default() },
        };
        ChainReading { nanoseconds, members: members.iter().map(member).collect() }
    }

    fn shared(then: &ChainReading, now: &ChainReading) -> Vec<(u64, u64)> {
        shares(then, now).into_iter().map(|(uid, nanoseconds)| (uid.0, nanoseconds)).collect()
    }

    #[test]
    fn a_chains_time_is_divided_by_packets_and_by_what_each_takes() {
        let then = reading(1_000, &[(1, 100, 10, 1_000), (2, 100, 10, 1_000)]);
        let now = reading(110_000, &[(1, 1_100, 20, 2_000), (2, 200, 20, 101_000)]);
        assert_eq!(shared(&then, &now), [(1, 9_909), (2, 99_090)]);
        // The chain takes longer than the samples indicate: the difference is not charged.
        let now = reading(1_001_000, &[(1, 200, 20, 2_000), (2, 200, 20, 2_000)]);
        assert_eq!(shared(&then, &now), [(1, 10_000), (2, 10_000)]);
        let now = reading(21_000, &[(1, 200, 10, 1_000), (2, 200, 10, 1_000)]);
        assert_eq!(shared(&then, &now), [(1, 10_000), (2, 10_000)]);
    }

    #[test]
    fn unknown_times_are_not_charged() {
        let then = reading(0, &[(1, 0, 0, 0), (2, 0, 0, 0)]);
        let now = reading(5_000, &[(1, 100, 0, 0), (2, 100, 0, 0)]);
        assert_eq!(shared(&then, &now), []);
        let (then, now) = (reading(0, &[(1, 0, 0, 0)]), reading(5_000, &[(1, 100, 0, 0)]));
        assert_eq!(shared(&then, &now), [(1, 5_000)]);
    }
}
