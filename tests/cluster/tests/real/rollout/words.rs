//! Commands and queries of users by `kubectl-bpfman`.

use bpfman_application::rollout::RolloutPhase;
use serde_json::{Value, json};

use super::fleet::{Fleet, image};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_promote_abort_rehearse_and_are_told_why() {
    let rollout = json!({ "waves": [2], "manual": true });
    let Some(fleet) = Fleet::start(&[("6.1.0", 4), ("6.12.0", 2)], rollout).await else { return };
    let stable = fleet.rollout().await.stable_revision;

    fleet.release(2).await;
    fleet.until_phase(RolloutPhase::AwaitingPromotion).await;
    let all = fleet.kubectl_bpfman("status").await;
    assert!(all.stdout.contains("AwaitingPromotion 1/2"), "{}", all.stdout);
    let followed = fleet.kubectl_bpfman("status filter --follow").await;
    assert_eq!(followed.code, 21, "{followed:?}");
    for part in
        ["filter: Pending, AwaitingPromotion, wave 1 of 2, ", "of 6 nodes updated", "waits for somebody"]
    {
        assert!(followed.stdout.contains(part), "{part}: {followed:?}");
    }
    fleet.kubectl_bpfman("abort filter").await.success();
    let followed = fleet.kubectl_bpfman("status filter --follow -o json --timeout 600").await;
    assert_eq!(followed.code, 1, "{followed:?}");
    let last: Value = serde_json::from_str(followed.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["rollout"]["phase"], "Idle", "all nodes are back: {last}");
    let back = fleet
        .until("all are back", |rollout| {
            rollout.phase == RolloutPhase::Idle && rollout.failed_revision.is_some()
        })
        .await;
    assert_eq!((back.stable_revision, fleet.run(1)), (stable, 6));
    let report: Value =
        serde_json::from_str(&fleet.kubectl_bpfman("status filter -o json").await.stdout).unwrap();
    assert_eq!((&report["rollout"]["phase"], &report["summary"]["wanted"]), (&json!("Idle"), &json!(6)));

    let shown = fleet.kubectl_bpfman("explain node-6-12-0-00").await.success();
    for text in ["kernel 6.12.0", "filter: Success", "no pod of agent or daemon"] {
        assert!(shown.contains(text), "{text}: {shown}");
    }

    let good = fleet.kubectl_bpfman("rehearse --kernel 6.12.0 --operator-namespace bpfman").await.success();
    assert!(good.contains("Passed"), "{good}");
    fleet.agents.with(|world| world.refused.insert((image(1), "6.12.0".to_owned())));
    let bad = fleet.kubectl_bpfman("rehearse --kernel 6.12.0 --operator-namespace bpfman").await;
    assert_eq!(bad.code, 1, "{bad:?}");
    assert!(bad.stdout.contains("Failed") && bad.stdout.contains("R1 invalid mem access"), "{}", bad.stdout);
    assert_eq!(fleet.preflight_orders().await, 0);
    let left = fleet.cluster.kubectl(&["get", "controllerrevisions", "-A", "-o", "name"]);
    assert!(!left.stdout.contains("rehearsal"), "{}", left.stdout);

    for (words, says) in [
        ("promote filters", "there are filter"),
        ("rehearse --kernel 5.4.0", "Kernels here: 6.1.0, 6.12.0"),
        ("explain nowhere", "`kubectl get nodes` lists them"),
    ] {
        fleet.kubectl_bpfman(words).await.fails(5, &[says]);
    }
    let nobody = fleet.cluster.kubeconfig_with(&fleet.cluster.token("bpfman", "nobody").await);
    fleet.kubectl_bpfman_as(&nobody, "status").await.fails(4, &["you may not list"]);
}
