//! Clocks that are wrong: those of nodes, and that of the controller that went before.

use bpfman_application::rollout::RolloutPhase;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::fleet::{APPLICATION, Fleet};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_depends_neither_on_clocks_of_nodes_nor_on_that_of_the_controller_before() {
    let rollout = json!({ "waves": ["50%"], "soakSeconds": 2, "gates": { "maxErrors": 0 } });
    let Some(mut fleet) = Fleet::start(&[("6.1.0", 2), ("6.12.0", 2)], rollout).await else { return };
    let stable = fleet.rollout().await.stable_revision;
    fleet.agents.with(|world| {
        world.clocks.insert("6.1.0".to_owned(), "2199-12-31T23:59:59Z".to_owned());
        world.clocks.insert("6.12.0".to_owned(), "1970-01-01T00:00:00Z".to_owned());
    });
    fleet.release(2).await;
    fleet.until("the first wave soaks", |rollout| rollout.phase == RolloutPhase::Soaking).await;

    // The controller that wrote when that began was a century ahead. The soak counts anew from now.
    fleet.controller.kill();
    let ahead = "2126-01-01T00:00:00Z";
    let wrong =
        json!({ "status": { "rollout": { "since": ahead, "healthySince": ahead, "orderedAt": ahead } } });
    fleet
        .applications
        .patch_status(APPLICATION, &PatchParams::default(), &Patch::Merge(wrong))
        .await
        .unwrap();
    fleet.restart_controller();
    let end = fleet.until_stable(&stable).await;
    assert_eq!((end.failed_revision, fleet.run(2)), (None, 4));
    for moment in [end.since, end.healthy_since, end.ordered_at].into_iter().flatten() {
        assert!(moment.as_str() < ahead, "{moment}");
    }
}
