//! Validation of rollouts that could never end or never fail.

use bpfman_application::rollout::{Gates, Rollout};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::verdict::ReviewVerdict;

/// Validates a rollout, given the names of the application's programs.
pub fn check(verdict: &mut ReviewVerdict, rollout: &Rollout, programs: &[&str]) {
    waves(verdict, &rollout.waves);
    for (field, amount, least) in
        [("maxUnavailable", &rollout.max_unavailable, 1), ("maxFailed", &rollout.max_failed, 0)]
    {
        let Some((number, text)) = amount.as_ref().map(read) else { continue };
        if number < least {
            verdict.refuse(
                &format!("spec.rollout.{field}"),
                format!("{text} lets no node change: {least} or more is allowed"),
            );
        }
    }
    if let Some(given) = &rollout.gates {
        gates(verdict, given, programs);
        if rollout.soak_seconds == 0 {
            verdict.warn(
                "spec.rollout.gates",
                "they are looked at while a wave soaks, and soakSeconds is 0: set it to some minutes",
            );
        }
    }
}

/// Counts and percentages are not compared: that depends on the number of nodes.
fn waves(verdict: &mut ReviewVerdict, waves: &[IntOrString]) {
    let (mut count, mut percent) = (0, 0);
    for (at, wave) in waves.iter().enumerate() {
        let last = if matches!(wave, IntOrString::Int(_)) { &mut count } else { &mut percent };
        let (number, text) = read(wave);
        if number < 1 {
            verdict.refuse(
                &format!("spec.rollout.waves[{at}]"),
                format!("{text} is no node: 1 or more is allowed"),
            );
        } else if number <= *last {
            verdict.refuse(
                &format!("spec.rollout.waves[{at}]"),
                format!("{text} does not grow: a wave states how many nodes have the revision after it"),
            );
        }
        *last = (*last).max(number);
    }
}

fn read(amount: &IntOrString) -> (i32, String) {
    match amount {
        IntOrString::Int(number) => (*number, number.to_string()),
        IntOrString::String(text) => (text.trim_end_matches('%').parse().unwrap_or_default(), text.clone()),
    }
}

fn gates(verdict: &mut ReviewVerdict, gates: &Gates, programs: &[&str]) {
    let path = "spec.rollout.gates";
    if gates.max_nanoseconds_per_run.is_none() && gates.max_errors.is_none() && gates.verdicts.is_empty() {
        verdict.refuse(
            path,
            "they have no bound, so nothing can break them: give maxNanosecondsPerRun, maxErrors or verdicts",
        );
    }
    for (at, gate) in gates.verdicts.iter().enumerate() {
        let path = format!("{path}.verdicts[{at}]");
        match (gate.min_percent, gate.max_percent) {
            (None, None) => {
                verdict.refuse(&path, "it has no bound: give minPercent, maxPercent or both");
            }
            (Some(least), Some(most)) if least > most => {
                verdict.refuse(&path, format!("nothing is at least {least} % and at most {most} %"));
            }
            _ => {}
        }
        if let Some(program) = gate.program.as_ref().filter(|name| !programs.contains(&name.as_str())) {
            verdict.refuse(
                &format!("{path}.program"),
                format!("there is no program \"{program}\" in spec.programs: {}", programs.join(", ")),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::{Value, json};

    use super::*;

    fn checked(rollout: Value) -> ReviewVerdict {
        let mut verdict = ReviewVerdict::default();
        check(&mut verdict, &serde_json::from_value(rollout).unwrap(), &["filter", "count"]);
        verdict
    }

    #[test]
    fn a_rollout_that_can_end_is_taken() {
        let good = json!({
            "waves": [1, "5%", 10, "50%"], "maxUnavailable": "10%", "maxFailed": 0, "soakSeconds": 60,
            "gates": { "maxErrors": 0, "verdicts": [{ "program": "filter", "verdict": "drop", "maxPercent": 5 }] },
        });
        assert_eq!(checked(good), ReviewVerdict::default());
    }

    #[test]
    fn rollout_without_possible_end_is_refused_by_path() {
        for (rollout, says) in [
            (json!({ "waves": [5, 5] }), "waves[1]: 5 does not grow"),
            (json!({ "waves": ["50%", "5%"] }), "waves[1]: 5% does not grow"),
            (json!({ "waves": [0] }), "waves[0]: 0 is no node"),
            (json!({ "maxUnavailable": 0 }), "maxUnavailable: 0 lets no node change"),
            (json!({ "maxFailed": -1 }), "maxFailed: -1"),
            (json!({ "gates": {} }), "gates: they have no bound"),
            (json!({ "gates": { "minRuns": 5 } }), "gates: they have no bound"),
            (json!({ "gates": { "verdicts": [{ "verdict": "drop" }] } }), "verdicts[0]: it has no bound"),
            (
                json!({ "gates": { "verdicts": [{ "verdict": "drop", "minPercent": 9, "maxPercent": 2 }] } }),
                "at least 9 % and at most 2 %",
            ),
            (
                json!({ "gates": { "verdicts": [{ "verdict": "drop", "program": "flter", "maxPercent": 2 }] } }),
                "no program \"flter\" in spec.programs: filter, count",
            ),
        ] {
            let message = checked(rollout.clone()).message().unwrap_or_default();
            assert!(message.contains(says), "{rollout}: {message}");
        }
    }

    #[test]
    fn gates_without_soak_are_a_warning() {
        let verdict = checked(json!({ "gates": { "maxErrors": 0 } }));
        assert!(verdict.problems.is_empty() && verdict.warnings[0].contains("soakSeconds is 0"));
    }
}
