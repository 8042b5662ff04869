use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use bpfman_application::condition::{Conditions, Readiness};

#[must_use]
pub fn conditions(make: Conditions<'_>, daemon_sets: &[DaemonSet], error: Option<&str>) -> Vec<Condition> {
    let waiting: Vec<String> = daemon_sets.iter().filter_map(updating).collect();
    let missing: Vec<String> = daemon_sets.iter().filter_map(unavailable).collect();
    let available = match error.is_none() && missing.is_empty() {
        true => make.one("Available", true, "Deployed", "Daemon and agent run on every node.".to_owned()),
        false => make.one("Available", false, "NotAvailable", or(missing.join(" "), error)),
    };
    let progressing = match waiting.is_empty() && error.is_none() {
        true => {
            make.one("Progressing", false, "UpToDate", "Every pod has the current configuration.".to_owned())
        }
        false => make.one("Progressing", true, "RollingOut", or(waiting.join(" "), error)),
    };
    let degraded = match error {
        None => make.one("Degraded", false, "Applied", "Everything was applied.".to_owned()),
        Some(error) => make.one("Degraded", true, "NotApplied", error.to_owned()),
    };
    let (progress, why) = if degraded.status == "True" {
        (Readiness::Stalled, &degraded)
    } else if progressing.status == "True" {
        (Readiness::Reconciling, &progressing)
    } else if available.status == "False" {
        (Readiness::Reconciling, &available)
    } else {
        (Readiness::Ready, &available)
    };
    let kstatus = make.readiness(progress, &why.reason, &why.message);
    [available, progressing, degraded].into_iter().chain(kstatus).collect()
}

fn or(text: String, error: Option<&str>) -> String {
    if text.is_empty() { error.unwrap_or_default().to_owned() } else { text }
}

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

fn unavailable(set: &DaemonSet) -> Option<String> {
    let name = set.metadata.name.as_deref().unwrap_or_default();
    // A DaemonSet that Kubernetes has not reconciled yet reports zero of zero pods.
    let seen = set.status.as_ref().filter(|status| status.observed_generation.unwrap_or_default() > 0);
    let Some(status) = seen else { return Some(format!("{name}: not scheduled yet.")) };
    let ready = status.number_available.unwrap_or_default();
    let wanted = status.desired_number_scheduled;
    (ready < wanted).then(|| format!("{name}: {ready} of {wanted} pods are available."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use k8s_openapi::jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn at_start(old: &[Condition]) -> Conditions<'_> {
        Conditions { old, generation: 1, now: Timestamp::UNIX_EPOCH }
    }

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
        let conditions = conditions(at_start(&[]), sets, error);
        conditions
            .into_iter()
            .map(|condition| (condition.type_, condition.status, condition.message))
            .collect()
    }

    #[test]
    fn everything_is_there() {
        let states: Vec<_> = seen(&[set(3, 3, 3)], None).into_iter().map(|(_, status, _)| status).collect();
        assert_eq!(states, ["True", "False", "False", "True", "False", "False"]);
    }

    #[test]
    fn deployment_is_ready_when_available_and_fully_updated() {
        let holding = |sets: &[DaemonSet], error| {
            let conditions = seen(sets, error).split_off(3);
            conditions.into_iter().find(|(_, status, _)| status == "True").unwrap()
        };
        assert_eq!(holding(&[set(3, 3, 3)], None).0, "Ready");
        let reconciling = |message: &str| ("Reconciling".to_owned(), "True".to_owned(), message.to_owned());
        assert_eq!(holding(&[set(3, 2, 3)], None), reconciling("bpfman-daemon: 2 of 3 pods are available."));
        assert_eq!(holding(&[set(1, 3, 3)], None), reconciling("bpfman-daemon: 1 of 3 pods are updated."));
        let (type_, _, message) = holding(&[set(3, 3, 3)], Some("namespace bpfman: not found"));
        assert_eq!((&*type_, &*message), ("Stalled", "namespace bpfman: not found"));
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
    fn failed_apply_is_in_the_conditions() {
        let seen = seen(&[], Some("namespace bpfman: not found"));
        assert_eq!((&*seen[2].1, &*seen[2].2), ("True", "namespace bpfman: not found"));
        assert_eq!(&*seen[0].1, "False");
    }
}
