//! Waves, and a controller that is killed in the middle of one.

use bpfman_application::rollout::RolloutPhase;
use serde_json::json;

use super::fleet::Fleet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_waves_over_twenty_nodes_survive_a_killed_controller() {
    let rollout = json!({ "waves": [3, "50%"], "manual": true });
    let Some(mut fleet) = Fleet::start(&[("6.1.0", 12), ("6.12.0", 8)], rollout).await else { return };
    let old = fleet.rollout().await.stable_revision;

    fleet.release(2).await;
    let first = fleet.until_phase(RolloutPhase::AwaitingPromotion).await;
    assert_eq!((first.wave, first.waves, fleet.run(2)), (1, 3, 3));
    assert_eq!(first.preflight.len(), 2, "one group a kernel: {:?}", first.preflight);
    let target = first.target_revision.clone().unwrap();
    assert!(target.ends_with("-000000000000"), "pinned to the digest of the preflight: {target}");

    fleet.kubectl_bpfman("promote filter").await.success();
    // The controller is killed as soon as the wave has started, before all nodes have their orders or have reported.
    fleet.until("the second wave began", |rollout| rollout.wave == 2).await;
    fleet.restart_controller();
    let second = fleet
        .until("the second wave is through", |rollout| {
            rollout.wave == 2 && rollout.phase == RolloutPhase::AwaitingPromotion
        })
        .await;
    assert_eq!((second.target_revision.as_deref(), fleet.run(2)), (Some(target.as_str()), 10));

    fleet.kubectl_bpfman("promote filter").await.success();
    fleet
        .until("the third wave is through", |rollout| {
            rollout.wave == 3 && rollout.phase == RolloutPhase::AwaitingPromotion
        })
        .await;
    fleet.kubectl_bpfman("promote filter").await.success();
    let end = fleet.until_stable(&old).await;
    assert_eq!((end.stable_revision.as_deref(), fleet.run(2)), (Some(target.as_str()), 20));
    assert_eq!(fleet.most_orders(&target), 1, "every order is written once");
    assert!(fleet.agents.with(|world| world.ran.values().all(|ran| ran.len() == 2)));
}
