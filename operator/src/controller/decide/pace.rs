//! Rate limit for status writes in which only counts change: every agent of a fleet receives each status. Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bpfman_application::application::ApplicationStatus;
use bpfman_application::rollout::RolloutStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::controller::projection::ApplicationId;

const NODES_A_SECOND: u64 = 500;

const MAX_DELAY: Duration = Duration::from_secs(10);

/// Time of the last status write of each application.
#[derive(Debug, Default)]
pub struct StatusPace(HashMap<ApplicationId, Instant>);

impl StatusPace {
    /// Admits a status write now, or returns when it is due.
    pub fn admit(
        &mut self,
        now: Instant,
        id: &ApplicationId,
        nodes: i32,
        only_counts: bool,
    ) -> Result<(), Instant> {
        let due = self.0.get(id).map(|last| *last + pause(nodes));
        match due.filter(|due| only_counts && now < *due) {
            Some(due) => Err(due),
            None => {
                self.0.insert(id.clone(), now);
                Ok(())
            }
        }
    }

    pub fn forget(&mut self, id: &ApplicationId) {
        self.0.remove(id);
    }
}

fn pause(nodes: i32) -> Duration {
    let seconds = u64::try_from(nodes).unwrap_or_default() / NODES_A_SECOND;
    Duration::from_secs(seconds.max(1)).min(MAX_DELAY)
}

/// Returns whether two statuses differ only in counts, and in messages that contain counts.
#[must_use]
pub fn only_counts(old: &ApplicationStatus, new: &ApplicationStatus) -> bool {
    let conditions = |status: &ApplicationStatus| {
        let word = |condition: &Condition| (condition.type_.clone(), condition.status.clone());
        status.conditions.iter().map(word).collect::<Vec<_>>()
    };
    let silent = |rollout: &Option<RolloutStatus>| {
        rollout.clone().map(|rollout| RolloutStatus { message: String::new(), ..rollout })
    };
    let causes = |status: &ApplicationStatus| {
        let causes = status.summary.iter().flat_map(|summary| &summary.causes);
        let mut causes: Vec<_> = causes.map(|cause| (cause.reason.clone(), cause.kernel.clone())).collect();
        causes.sort();
        causes
    };
    conditions(old) == conditions(new)
        && old.observed_generation == new.observed_generation
        && silent(&old.rollout) == silent(&new.rollout)
        && causes(old) == causes(new)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use bpfman_application::rollout::RolloutPhase;
    use serde_json::json;

    use super::*;

    fn status(condition: &str, ready: &str, phase: RolloutPhase) -> ApplicationStatus {
        let condition = json!({
            "type": condition, "status": "True", "reason": condition, "message": format!("{ready} nodes are done."),
            "lastTransitionTime": "2026-01-01T00:00:00Z"
        });
        ApplicationStatus {
            conditions: vec![serde_json::from_value(condition).unwrap()],
            rollout: Some(RolloutStatus { phase, message: ready.to_owned(), ..RolloutStatus::default() }),
            ..ApplicationStatus::default()
        }
    }

    #[test]
    fn changed_counts_are_minor_and_phases_and_conditions_are_not() {
        let before = status("Pending", "1/9", RolloutPhase::Progressing);
        assert!(only_counts(&before, &status("Pending", "2/9", RolloutPhase::Progressing)));
        assert!(!only_counts(&before, &status("Pending", "2/9", RolloutPhase::Soaking)));
        assert!(!only_counts(&before, &status("Error", "1/9", RolloutPhase::Progressing)));
        let mut other = before.clone();
        other.rollout.as_mut().unwrap().command = 1;
        assert!(!only_counts(&before, &other));
    }

    #[test]
    fn only_counts_of_a_large_fleet_are_delayed() {
        let (mut pace, id, start) = (StatusPace::default(), ApplicationId("u".into()), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(pace.admit(start, &id, 5_000, true), Ok(()));
        assert_eq!(pace.admit(after(1), &id, 5_000, true), Err(after(10)));
        assert_eq!(pace.admit(after(2), &id, 5_000, false), Ok(()));
        assert_eq!(pace.admit(after(10), &id, 5_000, true), Err(after(12)));
        assert_eq!(pace.admit(after(12), &id, 5_000, true), Ok(()));
    }

    #[test]
    fn small_fleet_is_written_every_second() {
        assert_eq!(pause(3), Duration::from_secs(1));
        assert_eq!(pause(2_500), Duration::from_secs(5));
        assert_eq!(pause(50_000), MAX_DELAY);
    }
}
