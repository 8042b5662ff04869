//! How a deployment is doing, from its DaemonSets. Pure.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// The three conditions of a `Config`. `error` is what could not be applied.
#[must_use]
pub fn conditions(
    old: &[Condition],
    generation: i64,
    daemon_sets: &[DaemonSet],
    error: Option<&str>,
    now: Timestamp,
) -> Vec<Condition> {
    let waiting: Vec<String> = daemon_sets.iter().filter_map(updating).collect();
    let missing: Vec<String> = daemon_sets.iter().filter_map(unavailable).collect();
    let make = |type_: &str, holds: bool, reason: &str, message: String| {
        let status = if holds { "True" } else { "False" };
        let same = old.iter().find(|condition| condition.type_ == type_ && condition.status == status);
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: Some(generation),
            last_transition_time: same.map_or_else(
                || Time(Timestamp::from_second(now.as_second()).unwrap_or(now)),
                |condition| condition.last_transition_time.clone(),
            ),
        }
    };
    let available = error.is_none() && missing.is_empty();
    vec![
        match available {
            true => make("Available", true, "Deployed", "Daemon and agent run on every node.".to_owned()),
            false => make("Available", false, "NotAvailable", or(missing.join(" "), error)),
        },
        match waiting.is_empty() && error.is_none() {
            true => {
                make("Progressing", false, "UpToDate", "Every pod has the current configuration.".to_owned())
            }
            false => make("Progressing", true, "RollingOut", or(waiting.join(" "), error)),
        },
        match error {
            None => make("Degraded", false, "Applied", "Everything was applied.".to_owned()),
            Some(error) => make("Degraded", true, "NotApplied", error.to_owned()),
        },
    ]
}

fn or(text: String, error: Option<&str>) -> String {
    if text.is_empty() { error.unwrap_or_default().to_owned() } else { text }
}

/// Pods that are not of the current version yet.
fn updating(set: &DaemonSet) -> Option<String> {
    let name = set.metadata.name.as_deref().unwrap_or_default();
    let status = set.status.as_ref()?;
    if status.observed_generation != set.metadata.generation {
        return Some(format!("{name}: Kubernetes has not looked at it yet."));
    }
    let updated = status.updated_number_scheduled.unwrap_or_default();
    let wanted = status.desired_number_scheduled;
    (updated < wanted).then(|| format!("{name}: {updated} of {wanted} pods are updated."))
}

/// Nodes where it does not run.
fn unavailable(set: &DaemonSet) -> Option<String> {
    let name = set.metadata.name.as_deref().unwrap_or_default();
    // A set that Kubernetes has not looked at says zero of zero.
    let seen = set.status.as_ref().filter(|status| status.observed_generation.unwrap_or_default() > 0);
    let Some(status) = seen else { return Some(format!("{name}: not scheduled yet.")) };
    let ready = status.number_available.unwrap_or_default();
    let wanted = status.desired_number_scheduled;
    (ready < wanted).then(|| format!("{name}: {ready} of {wanted} pods are available."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::*;

    fn set(updated: i32, available: i32, wanted: i32) -> DaemonSet {
        serde_json::from_value(json!({
            "metadata": { "name": "bpfman-daemon", "generation": 2 },
            "status": {
                "observedGeneration": 2, "desiredNumberScheduled": wanted, "updatedNumberScheduled": updated,
                "numberAvailable": available, "currentNumberScheduled": wanted, "numberMisscheduled": 0,
                "numberReady": available
            }
        }))
        .unwrap()
    }

    fn seen(sets: &[DaemonSet], error: Option<&str>) -> Vec<(String, String, String)> {
        let conditions = conditions(&[], 1, sets, error, Timestamp::UNIX_EPOCH);
        conditions
            .into_iter()
            .map(|condition| (condition.type_, condition.status, condition.message))
            .collect()
    }

    #[test]
    fn everything_is_there() {
        let states: Vec<_> = seen(&[set(3, 3, 3)], None).into_iter().map(|(_, status, _)| status).collect();
        assert_eq!(states, ["True", "False", "False"]);
    }

    #[test]
    fn a_rolling_update_says_how_far_it_is() {
        let seen = seen(&[set(1, 2, 3)], None);
        assert_eq!(seen[0].2, "bpfman-daemon: 2 of 3 pods are available.");
        assert_eq!((&*seen[1].1, &*seen[1].2), ("True", "bpfman-daemon: 1 of 3 pods are updated."));
    }

    #[test]
    fn a_set_that_was_not_looked_at_is_not_available() {
        let mut fresh = set(0, 0, 0);
        fresh.status.as_mut().unwrap().observed_generation = None;
        assert_eq!(seen(&[fresh], None)[0].2, "bpfman-daemon: not scheduled yet.");
    }

    #[test]
    fn what_could_not_be_applied_is_said() {
        let seen = seen(&[], Some("namespace bpfman: not found"));
        assert_eq!((&*seen[2].1, &*seen[2].2), ("True", "namespace bpfman: not found"));
        assert_eq!(&*seen[0].1, "False");
    }

    #[test]
    fn a_condition_keeps_its_time_while_its_status_stays() {
        let first = conditions(&[], 1, &[], None, Timestamp::UNIX_EPOCH);
        let later = conditions(&first, 2, &[], None, Timestamp::from_second(99).unwrap());
        assert_eq!(later[0].last_transition_time, first[0].last_transition_time);
        let broken = conditions(&first, 2, &[], Some("no"), Timestamp::from_second(99).unwrap());
        assert_ne!(broken[0].last_transition_time, first[0].last_transition_time);
    }
}
