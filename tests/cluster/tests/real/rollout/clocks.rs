//! Wrong clocks of nodes and of controllers.

use std::path::Path;

use bpfman_application::rollout::RolloutPhase;
use bpfman_cluster_tests::wait;
use bpfman_tests::command::run;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

use super::fleet::{APPLICATION, Fleet};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollout_depends_on_no_clock_of_nodes_or_former_controllers() {
    let rollout = json!({ "waves": ["50%"], "soakSeconds": 2, "gates": { "maxErrors": 0 } });
    let Some(mut fleet) = Fleet::start(&[("6.1.0", 2), ("6.12.0", 2)], rollout).await else { return };
    let stable = fleet.rollout().await.stable_revision;
    fleet.agents.with(|world| {
        world.clocks.insert("6.1.0".to_owned(), "2199-12-31T23:59:59Z".to_owned());
        world.clocks.insert("6.12.0".to_owned(), "1970-01-01T00:00:00Z".to_owned());
    });
    fleet.release(2).await;
    fleet.until_phase(RolloutPhase::Soaking).await;

    // Simulate a previous controller with a clock a century ahead: the soak starts again.
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

async fn say(fleet: &Fleet, word: &str) {
    let annotations = json!({ "metadata": { "annotations": { "bpfman.io/rollout": word } } });
    fleet.applications.patch(APPLICATION, &PatchParams::default(), &Patch::Merge(annotations)).await.unwrap();
    wait::until(&format!("`{word}` is heard"), async || {
        !fleet.applications.get(APPLICATION).await.unwrap().annotations().contains_key("bpfman.io/rollout")
    })
    .await;
}

async fn told_at(fleet: &Fleet) -> Option<Timestamp> {
    let events: Api<Event> = Api::all(fleet.cluster.client().await);
    let events = events.list(&ListParams::default()).await.unwrap();
    events.items.into_iter().filter_map(|event| Some(event.event_time?.0)).max()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_whose_clock_is_hours_ahead_ends_no_soak_early() {
    let rollout = json!({ "waves": ["100%"], "soakSeconds": 3600, "gates": { "maxErrors": 0 } });
    let Some(mut fleet) = Fleet::start(&[("6.1.0", 2)], rollout).await else { return };
    let stable = fleet.rollout().await.stable_revision;
    fleet.release(2).await;
    fleet.until_phase(RolloutPhase::Soaking).await;
    say(&fleet, "nothing").await;
    let soaking = fleet.rollout().await;

    let library = fleet.cluster.path("ahead.so").display().to_string();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/ahead.c").display().to_string();
    run(&["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", &library, &source]);
    fleet.restart_controller_with(&[("LD_PRELOAD", &library), ("AHEAD", "7200")]);
    // The controller writes the effect of a command before it processes the next one.
    say(&fleet, "nothing").await;
    say(&fleet, "nothing more").await;
    let an_hour = SignedDuration::from_secs(3600);
    wait::until("its clock is ahead", async || {
        told_at(&fleet).await.is_some_and(|told| told > Timestamp::now() + an_hour)
    })
    .await;
    let now = fleet.rollout().await;
    assert_eq!(
        (now.phase, now.since, now.healthy_since),
        (soaking.phase, soaking.since, soaking.healthy_since)
    );

    fleet.kubectl_bpfman("promote filter").await.success();
    let end = fleet.until_stable(&stable).await;
    assert_eq!((end.failed_revision, fleet.run(2)), (None, 2));
    let soon = Timestamp::now() + SignedDuration::from_secs(60);
    for moment in [end.since, end.healthy_since, end.ordered_at].into_iter().flatten() {
        assert!(moment.parse::<Timestamp>().unwrap() < soon, "{moment}");
    }
}
