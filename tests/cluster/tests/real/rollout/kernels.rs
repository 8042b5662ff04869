//! Versions that fail on one kernel.

use bpfman_application::rollout::{PreflightVerdict, RolloutPhase};
use serde_json::json;

use super::fleet::{Fleet, image};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_fails_on_one_kernel_comes_back_by_itself() {
    let kernels = [("6.1.0", 10), ("6.12.0", 10)];
    let Some(fleet) = Fleet::start(&kernels, json!({ "waves": [4, 12] })).await else { return };
    let stable = fleet.rollout().await.stable_revision;

    fleet.agents.with(|world| world.refused.insert((image(2), "6.1.0".to_owned())));
    fleet.release(2).await;
    let failed = fleet.until_phase(RolloutPhase::Failed).await;
    let verdict =
        |kernel: &str| failed.preflight.iter().find(|group| group.kernel == kernel).unwrap().verdict;
    assert_eq!(verdict("6.1.0"), PreflightVerdict::Failed);
    // One rejection ends the preflight, even if the node with the other kernel has not reported.
    assert_ne!(verdict("6.12.0"), PreflightVerdict::Failed);
    assert!(fleet.ever_ran(2).is_empty(), "{:?}", fleet.ever_ran(2));
    let shown = fleet.kubectl_bpfman("status filter").await;
    assert_eq!(shown.code, 1, "{shown:?}");
    assert!(shown.stdout.contains("R1 invalid mem access"), "{}", shown.stdout);

    // If a version passes the preflight but fails when it runs, the wave is rolled back.
    fleet.agents.with(|world| world.fails.insert((image(3), "6.1.0".to_owned())));
    fleet.release(3).await;
    let back = fleet
        .until("it came back", |rollout| {
            rollout.phase == RolloutPhase::Idle && rollout.failed_revision.is_some()
        })
        .await;
    assert_eq!(back.stable_revision, stable);
    let had = fleet.ever_ran(3);
    assert!(!had.is_empty() && had.len() <= 12, "{had:?}");
    assert_eq!(fleet.run(1), 20, "every node runs the stable version");

    let gates = json!({ "maxNanosecondsPerRun": 500 });
    fleet.agents.with(|world| world.slow.insert(image(4)));
    fleet.change(&json!({ "rollout": { "gates": gates, "soakSeconds": 1 } })).await;
    fleet.release(4).await;
    let back = fleet
        .until("the gate took it back", |rollout| {
            rollout.phase == RolloutPhase::Idle && rollout.message.contains("900 ns")
        })
        .await;
    assert_eq!((back.stable_revision, fleet.ever_ran(4).len(), fleet.run(1)), (stable.clone(), 4, 20));

    fleet.release(5).await;
    fleet.until_stable(&stable).await;
    assert_eq!(fleet.run(5), 20);
}
