//! Gates of a rollout: compares program statistics with the configured bounds. Pure.

mod soak;

use std::collections::BTreeMap;

use bpfman_application::rollout::{Gates, VerdictGate};

pub use soak::{EventFigures, Soak};

/// Statistics of one program at one hook; for a program that handles events, at all of its hooks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SlotFigures {
    pub program: String,
    /// Hook, as shown to users.
    pub hook: String,
    /// Packets or events that reached the program; `None` if they are not counted.
    pub runs: Option<u64>,
    /// Packets that were not passed on, by verdict.
    pub ended: BTreeMap<String, u64>,
    /// Verdicts after which the next program runs.
    pub proceed_on: Vec<String>,
    /// Mean run time, in nanoseconds; `None` if unknown, for example while nothing ran.
    pub nanoseconds: Option<f64>,
    /// True if run times are measured.
    pub is_timed: bool,
    /// Packets lost in the chain, or events that the program missed.
    pub lost: u64,
    /// True if the program handles events and returns no verdicts.
    pub is_of_events: bool,
}

impl SlotFigures {
    /// Returns the difference to an earlier check. If a counter decreased, a new version reset it: its whole
    /// value counts.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let less = |now: u64, then: u64| now.checked_sub(then).unwrap_or(now);
        let mut slot = self.clone();
        slot.runs = self.runs.map(|runs| less(runs, earlier.runs.unwrap_or_default()));
        for (verdict, packets) in &mut slot.ended {
            *packets = less(*packets, earlier.ended.get(verdict).copied().unwrap_or_default());
        }
        slot.lost = less(self.lost, earlier.lost);
        slot
    }

    /// Returns the number of packets with a verdict; `None` if it is one of several verdicts that let the next program run:
    /// their packets are counted together.
    fn packets(&self, verdict: &str) -> Option<u64> {
        let runs = self.runs?;
        let ended = self.ended.get(verdict).copied().unwrap_or_default();
        if !self.proceed_on.iter().any(|one| one == verdict) {
            return Some(ended);
        }
        let mut others = self.proceed_on.iter().filter(|one| *one != verdict && *one != "dispatcher_return");
        if others.next().is_some() {
            return None;
        }
        Some(ended + runs.saturating_sub(self.ended.values().sum()))
    }
}

/// Result of comparing all gates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateVerdict {
    /// True if all gates hold.
    pub within: bool,
    /// Statistics, or which gate was broken by how much.
    pub message: String,
}

/// Compares the statistics with the gates. `links_off` is the number of attachments that were removed.
#[must_use]
pub fn evaluate(gates: &Gates, slots: &[SlotFigures], links_off: u64) -> GateVerdict {
    let mut broken = Vec::new();
    let enough = u64::from(gates.min_runs.unwrap_or(1)).max(1);
    for slot in slots {
        let place = format!("{} at {}", slot.program, slot.hook);
        broken.extend(lacking(gates, slot).map(|why| format!("{place}: {why}, and a gate needs it")));
        let runs = slot.runs.unwrap_or_default();
        if runs < enough {
            continue;
        }
        if let (Some(most), Some(mean)) = (gates.max_nanoseconds_per_run, slot.nanoseconds)
            && mean > f64::from(most)
        {
            broken.push(format!("{place} takes {mean:.0} ns a run, at most {most} are allowed"));
        }
        for gate in gates.verdicts.iter().filter(|gate| concerns(gate, slot)) {
            match slot.packets(&gate.verdict) {
                Some(packets) => broken.extend(broken_share(gate, &place, packets, runs)),
                None => broken.push(format!(
                    "the share of {} of {place} is not known, and a gate needs it: several verdicts let the next program run",
                    gate.verdict
                )),
            }
        }
    }
    let lost: u64 =
        slots.iter().map(|slot| slot.lost + slot.ended.get("aborted").copied().unwrap_or_default()).sum();
    let errors = lost + links_off;
    if let Some(most) = gates.max_errors
        && errors > u64::from(most)
    {
        broken.push(format!(
            "{errors} errors ({lost} packets or events lost, {links_off} attachments off), at most {most} are allowed"
        ));
    }
    let within = broken.is_empty();
    if within {
        broken.push(figures(slots, errors, enough));
        broken.extend(untimed(gates, slots, enough));
    }
    GateVerdict { within, message: broken.join("; ") }
}

/// Returns why a needed statistic is unavailable. Its gate then fails: a denied statistic must not pass a rollout.
fn lacking(gates: &Gates, slot: &SlotFigures) -> Option<&'static str> {
    let (is_timed, bounds_errors) = (gates.max_nanoseconds_per_run.is_some(), gates.max_errors.is_some());
    let of_verdicts = gates.verdicts.iter().any(|gate| concerns(gate, slot));
    if slot.is_of_events && gates.verdicts.iter().any(|gate| gate.program.as_ref() == Some(&slot.program)) {
        return Some("it is in no chain, which counts verdicts");
    }
    if slot.runs.is_none() && (is_timed || bounds_errors || of_verdicts) {
        return Some("its runs are not counted");
    }
    (is_timed && !slot.is_timed).then_some("its time is not measured")
}

fn concerns(gate: &VerdictGate, slot: &SlotFigures) -> bool {
    !slot.is_of_events && gate.program.as_ref().is_none_or(|program| *program == slot.program)
}

fn broken_share(gate: &VerdictGate, place: &str, packets: u64, runs: u64) -> Option<String> {
    let share = packets as f64 * 100.0 / runs as f64;
    let broken = |bound: String| {
        Some(format!("{place}: {share:.1} % of {runs} packets are {}, {bound} are allowed", gate.verdict))
    };
    if let Some(most) = gate.max_percent
        && share > f64::from(most)
    {
        return broken(format!("at most {most} %"));
    }
    if let Some(least) = gate.min_percent
        && share < f64::from(least)
    {
        return broken(format!("at least {least} %"));
    }
    None
}

fn figures(slots: &[SlotFigures], errors: u64, enough: u64) -> String {
    let sum = |is_of_events| -> u64 {
        slots.iter().filter(|slot| slot.is_of_events == is_of_events).filter_map(|slot| slot.runs).sum()
    };
    let (packets, events) = (sum(false), sum(true));
    let mut runs = format!("{packets} packets");
    if slots.iter().any(|slot| slot.is_of_events) {
        runs += &format!(", {events} events in samples");
    }
    if packets + events < enough {
        return format!("{runs}: too few to say more; {errors} errors");
    }
    let slowest = slots.iter().filter_map(|slot| slot.nanoseconds).reduce(f64::max);
    let time = slowest.map(|slowest| format!(", {slowest:.0} ns a run at most")).unwrap_or_default();
    format!("{runs}{time}, {errors} errors")
}

/// Returns a note about programs without a run time yet, which pass: a chain times one packet in 1,024.
fn untimed(gates: &Gates, slots: &[SlotFigures], enough: u64) -> Option<String> {
    gates.max_nanoseconds_per_run?;
    let is_untimed =
        |slot: &&SlotFigures| slot.nanoseconds.is_none() && slot.runs.unwrap_or_default() >= enough;
    let names: Vec<_> =
        slots.iter().filter(is_untimed).map(|slot| format!("{} at {}", slot.program, slot.hook)).collect();
    (!names.is_empty()).then(|| format!("no run was timed yet of {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(runs: u64, ended: &[(&str, u64)]) -> SlotFigures {
        SlotFigures {
            program: "filter".to_owned(),
            hook: "xdp:eth0".to_owned(),
            runs: Some(runs),
            ended: ended.iter().map(|(verdict, packets)| ((*verdict).to_owned(), *packets)).collect(),
            proceed_on: vec!["pass".to_owned(), "dispatcher_return".to_owned()],
            nanoseconds: Some(80.0),
            is_timed: true,
            lost: 0,
            is_of_events: false,
        }
    }

    fn share(verdict: &str, min: Option<i32>, max: Option<i32>) -> Gates {
        let gate =
            VerdictGate { program: None, verdict: verdict.to_owned(), min_percent: min, max_percent: max };
        Gates { verdicts: vec![gate], ..Gates::default() }
    }

    #[test]
    fn a_share_of_drops_out_of_bounds_is_named() {
        let slots = [slot(200, &[("drop", 50)])];
        assert!(evaluate(&share("drop", None, Some(25)), &slots, 0).within);
        let word = evaluate(&share("drop", None, Some(24)), &slots, 0);
        assert!(!word.within);
        assert_eq!(
            word.message,
            "filter at xdp:eth0: 25.0 % of 200 packets are drop, at most 24 % are allowed"
        );
        assert!(!evaluate(&share("drop", Some(26), None), &slots, 0).within);
    }

    #[test]
    fn packets_that_go_on_have_the_one_verdict_that_lets_them() {
        let mut slots = [slot(200, &[("drop", 50)])];
        assert!(evaluate(&share("pass", Some(75), Some(75)), &slots, 0).within);
        slots[0].proceed_on.push("tx".to_owned());
        let word = evaluate(&share("pass", Some(100), None), &slots, 0);
        assert!(!word.within && word.message.contains("is not known"), "{word:?}");
    }

    #[test]
    fn gate_without_its_figure_does_not_hold() {
        let timed = Gates { max_nanoseconds_per_run: Some(100), ..Gates::default() };
        let errors = Gates { max_errors: Some(5), ..Gates::default() };
        let not_timed = SlotFigures { nanoseconds: None, is_timed: false, ..slot(200, &[]) };
        let not_counted = SlotFigures { runs: None, ..not_timed.clone() };
        for (gates, slot, why) in [
            (&timed, &not_timed, "its time is not measured"),
            (&timed, &not_counted, "its runs are not counted"),
            (&errors, &not_counted, "its runs are not counted"),
            (&share("drop", None, Some(25)), &not_counted, "its runs are not counted"),
        ] {
            let word = evaluate(gates, std::slice::from_ref(slot), 0);
            assert!(!word.within && word.message.contains(why), "{word:?}");
        }
        let idle = SlotFigures { nanoseconds: None, ..slot(0, &[]) };
        assert!(evaluate(&timed, std::slice::from_ref(&idle), 0).within);
        let sampled_none = SlotFigures { nanoseconds: None, ..slot(100, &[]) };
        let verdict = evaluate(&timed, &[idle, sampled_none], 0);
        assert!(
            verdict.within && verdict.message.ends_with("no run was timed yet of filter at xdp:eth0"),
            "{verdict:?}"
        );
        assert!(evaluate(&errors, &[not_timed], 0).within);
        // A verdict gate that names a program without verdicts does not hold either.
        let mut gates = share("drop", None, Some(25));
        let of_events = SlotFigures { is_of_events: true, ..slot(0, &[]) };
        assert!(evaluate(&gates, std::slice::from_ref(&of_events), 0).within);
        gates.verdicts[0].program = Some("filter".to_owned());
        assert!(!evaluate(&gates, &[of_events], 0).within);
    }

    #[test]
    fn time_counts_only_after_enough_packets() {
        let gates = |min_runs| Gates {
            max_nanoseconds_per_run: Some(79),
            min_runs: Some(min_runs),
            ..Gates::default()
        };
        assert!(!evaluate(&gates(200), &[slot(200, &[])], 0).within);
        let word = evaluate(&gates(201), &[slot(200, &[])], 0);
        assert!(word.within && word.message.contains("too few"), "{word:?}");
    }

    #[test]
    fn errors_are_aborted_and_lost_packets_and_links_that_came_off() {
        let gates = Gates { max_errors: Some(5), ..Gates::default() };
        let mut slots = [slot(10, &[("aborted", 2)])];
        slots[0].lost = 2;
        assert!(evaluate(&gates, &slots, 1).within);
        let word = evaluate(&gates, &slots, 2);
        assert!(!word.within && word.message.starts_with("6 errors (4 packets"), "{word:?}");
    }

    #[test]
    fn earlier_counts_are_subtracted_and_resets_detected() {
        let (before, now) = (slot(100, &[("drop", 90)]), slot(150, &[("drop", 91), ("tx", 1)]));
        let since = now.since(&before);
        assert_eq!(since.runs, Some(50));
        assert_eq!((since.ended["drop"], since.ended["tx"]), (1, 1));
        assert_eq!(slot(7, &[]).since(&before).runs, Some(7));
    }

    #[test]
    fn a_gate_of_another_program_is_not_its() {
        let mut gates = share("drop", None, Some(0));
        gates.verdicts[0].program = Some("other".to_owned());
        assert!(evaluate(&gates, &[slot(10, &[("drop", 10)])], 0).within);
    }
}
