//! Rates of chains and their members.

use std::collections::HashMap;

use bpfman_proto::ext::v1 as ext;

use super::{ChainRates, MemberRates, VerdictRate, Window, filled};

pub(super) fn chains(
    then: &ext::Figures,
    now: &ext::Figures,
    window: Window,
    timed: bool,
) -> Vec<ChainRates> {
    let before: HashMap<&str, &ext::ChainFigures> =
        then.chains.iter().map(|chain| (chain.hook.as_str(), chain)).collect();
    let mut hooks_of: HashMap<u32, usize> = HashMap::new();
    for chain in &now.chains {
        *hooks_of.entry(chain.entry_program_id).or_default() += 1;
    }
    let rates = |chain: &ext::ChainFigures| {
        let is_alone = hooks_of.get(&chain.entry_program_id) == Some(&1);
        one(before.get(chain.hook.as_str()).copied(), chain, window, timed, is_alone)
    };
    now.chains.iter().map(rates).collect()
}

/// Returns the rates of one chain. `is_alone`: no other hook runs the same chain.
fn one(
    then: Option<&ext::ChainFigures>,
    now: &ext::ChainFigures,
    window: Window,
    timed: bool,
    is_alone: bool,
) -> ChainRates {
    let none = ext::ChainFigures::default();
    let before = then.unwrap_or(&none);
    // A program that is new at the hook may have run elsewhere before: its rate is not known yet.
    let is_same = then.is_some_and(|then| then.entry_program_id == now.entry_program_id);
    let (runs, nanoseconds) =
        (now.runs.saturating_sub(before.runs), now.nanoseconds.saturating_sub(before.nanoseconds));
    let members: Vec<MemberRates> = now.members.iter().map(|of| member(before, of, window)).collect();
    let nanoseconds_per_packet = (timed && is_same && runs > 0).then(|| nanoseconds as f64 / runs as f64);
    let packets_per_second = match members.first().and_then(|first| first.packets_per_second) {
        None if timed && is_same && is_alone => Some(window.rate(0, runs)),
        counted => counted,
    };
    let cpu_percent = match (packets_per_second, nanoseconds_per_packet) {
        _ if !timed || !is_same => None,
        _ if is_alone => Some(window.percent(nanoseconds)),
        (Some(packets), Some(each)) => Some(packets * each / 1e7),
        (Some(_), None) => Some(0.0),
        (None, _) => None,
    };
    let was_counted = then.is_none_or(|then| then.counters);
    let counted = |then, now_| (now.counters && was_counted).then(|| window.rate(then, now_));
    ChainRates {
        hook: now.hook.clone(),
        mode: now.mode.clone(),
        strategy: now.strategy.clone(),
        cpu_percent,
        packets_per_second,
        nanoseconds_per_packet,
        counters: now.counters,
        timing: now.timing,
        all_proceeded_per_second: counted(before.all_proceeded, now.all_proceeded),
        failed_per_second: counted(before.failed, now.failed),
        members,
    }
}

fn member(then: &ext::ChainFigures, now: &ext::MemberFigures, window: Window) -> MemberRates {
    let none = ext::MemberFigures::default();
    let existing = then.members.iter().find(|member| member.link_id == now.link_id);
    let before = existing.unwrap_or(&none);
    // Counts that were kept while counters were off are from an earlier time.
    let was_counted = existing.is_none_or(|before| before.runs.is_some());
    let packets_of = |ended: &ext::VerdictCount| {
        let same = before.ended.iter().find(|before| before.verdict == ended.verdict);
        if was_counted { same.map_or(0, |same| same.packets) } else { ended.packets }
    };
    let ended = now.ended.iter().map(|ended| VerdictRate {
        verdict: ended.verdict.clone(),
        packets: ended.packets,
        per_second: window.rate(packets_of(ended), ended.packets),
    });
    MemberRates {
        link_id: now.link_id,
        program_id: now.program_id,
        program_name: now.program_name.clone(),
        owner: now.owner.clone(),
        image_digest: filled(&now.image_digest),
        shadow: now.shadow,
        packets_per_second: now
            .runs
            .filter(|_| was_counted)
            .map(|runs| window.rate(before.runs.unwrap_or(0), runs)),
        nanoseconds_per_run: recent_time(before, now).or(now.nanoseconds_per_run),
        ended: ended.collect(),
    }
}

/// Returns the mean duration in nanoseconds of runs timed between the readings, without the clock's time.
fn recent_time(then: &ext::MemberFigures, now: &ext::MemberFigures) -> Option<f64> {
    // A chain that was rebuilt meanwhile counts from zero.
    let since = |then: u64, now: u64| now.checked_sub(then);
    let runs = since(then.timed_runs, now.timed_runs)?;
    let nanoseconds = since(then.timed_nanoseconds, now.timed_nanoseconds)?;
    let clock_samples = since(then.clock_samples, now.clock_samples)?;
    let clock = since(then.clock_nanoseconds, now.clock_nanoseconds)?;
    let mean = |sum: u64, number: u64| if number == 0 { 0.0 } else { sum as f64 / number as f64 };
    (runs > 0).then(|| (mean(nanoseconds, runs) - mean(clock, clock_samples)).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::super::rates;
    use super::super::tests::{member, reading};
    use super::*;

    fn chain(hook: &str, runs: u64, members: Vec<ext::MemberFigures>) -> ext::ChainFigures {
        ext::ChainFigures {
            hook: hook.to_owned(),
            entry_program_id: 90,
            runs,
            nanoseconds: runs * 100,
            counters: true,
            timing: true,
            members,
            ..Default::default()
        }
    }

    #[test]
    fn verdicts_and_times_are_those_of_the_window() {
        let with = |packets, timed: (u64, u64), clock: (u64, u64)| ext::MemberFigures {
            ended: vec![ext::VerdictCount { verdict: "drop".to_owned(), packets }],
            timed_runs: timed.0,
            timed_nanoseconds: timed.1,
            clock_samples: clock.0,
            clock_nanoseconds: clock.1,
            nanoseconds_per_run: Some(77.0),
            ..member(1, 7, packets * 2)
        };
        let then = reading(0, Vec::new(), vec![chain("xdp:eth0", 0, vec![with(10, (1, 500), (1, 40))])]);
        let now = reading(2, Vec::new(), vec![chain("xdp:eth0", 200, vec![with(110, (3, 800), (3, 120))])]);
        let rates_of = rates(&then, &now);
        let one = &rates_of.chains[0].members[0];
        assert_eq!(one.packets_per_second, Some(100.0));
        assert_eq!((one.ended[0].verdict.as_str(), one.ended[0].per_second), ("drop", 50.0));
        assert_eq!(one.nanoseconds_per_run, Some(110.0), "150 less 40 for the clock");
        let rates_of = rates(&now, &now);
        assert_eq!(rates_of.chains[0].members[0].nanoseconds_per_run, Some(77.0));
    }

    #[test]
    fn counts_of_a_chain_that_did_not_count_are_no_rate() {
        let with = |runs, packets| ext::MemberFigures {
            runs,
            ended: vec![ext::VerdictCount { verdict: "drop".to_owned(), packets }],
            ..member(1, 7, 0)
        };
        let uncounted = ext::ChainFigures {
            counters: false,
            ..chain("xdp:eth0", 0, vec![ext::MemberFigures { ended: Vec::new(), ..with(None, 0) }])
        };
        let counted = |runs| chain("xdp:eth0", 0, vec![with(Some(runs), runs)]);
        let of = |then: &ext::ChainFigures, now: &ext::ChainFigures| {
            let at = |at, chain: &ext::ChainFigures| reading(at, Vec::new(), vec![chain.clone()]);
            rates(&at(0, then), &at(1, now)).chains[0].members[0].clone()
        };
        let first = of(&uncounted, &counted(900));
        assert_eq!((first.packets_per_second, first.ended[0].per_second), (None, 0.0));
        let second = of(&counted(900), &counted(901));
        assert_eq!((second.packets_per_second, second.ended[0].per_second), (Some(1.0), 1.0));
        assert_eq!(second.ended[0].packets, 901);
    }

    #[test]
    fn hooks_that_run_one_chain_share_its_time_by_their_packets() {
        let both = |one, other| {
            vec![
                chain("xdp:eth0", one + other, vec![member(1, 7, one)]),
                chain("xdp:eth1", one + other, vec![member(2, 7, other)]),
            ]
        };
        let rates = rates(&reading(0, Vec::new(), both(0, 0)), &reading(1, Vec::new(), both(30_000, 10_000)));
        let cpu: Vec<_> = rates.chains.iter().map(|chain| chain.cpu_percent.unwrap()).collect();
        assert!((cpu[0] - 0.3).abs() < 1e-9 && (cpu[1] - 0.1).abs() < 1e-9, "{cpu:?}");
    }
}
