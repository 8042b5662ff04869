//! Status of applications: its content, and the number of writes.

use std::time::Instant;

use bpfman_cluster_tests::wait;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams};
use serde_json::json;

use super::{SUMS, answer, application, cluster, condition, controller, is, say, states, status};

#[tokio::test]
async fn application_summarizes_nodes_and_names_the_failure_of_one() {
    let Some(cluster) = cluster().await else { return };
    for name in ["n1", "n2", "n3"] {
        cluster.node(name, &[("tier", "edge")]).await;
    }
    cluster.node("core", &[("tier", "core")]).await;
    let uid = application(&cluster, "guard", json!({ "matchLabels": { "tier": "edge" } })).await;
    let _controller = controller(&cluster, &SUMS);
    let waiting = status(&cluster, "guard", "it waits for its nodes", |status| is(status, "Pending")).await;
    assert_eq!(waiting.summary.unwrap().wanted, 3);
    assert_eq!(waiting.observed_generation, Some(1));

    for name in ["n1", "n2"] {
        answer(&cluster, ("guard", &uid), name, json!({})).await;
    }
    let failure = json!({ "reason": "kernel-refused", "message": "R1 invalid mem access 'scalar'\nmore", "program": "pass" });
    let failed =
        json!({ "appLoadStatus": "LoadError", "conditions": [condition("Error")], "failure": failure });
    answer(&cluster, ("guard", &uid), "n3", failed).await;
    let failed = status(&cluster, "guard", "one failed, two are healthy", |status| {
        is(status, "Error") && status.summary.as_ref().is_some_and(|summary| summary.ready == "2/3")
    })
    .await;
    let [cause] = &failed.summary.as_ref().unwrap().causes[..] else { panic!("{failed:?}") };
    assert_eq!((&*cause.reason, &*cause.kernel, cause.nodes), ("kernel-refused", "6.1.0-44-amd64", 1));
    assert_eq!((&*cause.example, &*cause.message), ("n3", "R1 invalid mem access 'scalar'"));
    assert!(failed.conditions[0].message.contains("guard-n3"), "{failed:?}");

    say(&states(&cluster).await, "guard-n3", "n3", json!({ "failure": null })).await;
    let healthy = status(&cluster, "guard", "all are healthy", |status| is(status, "Success")).await;
    let summary = healthy.summary.unwrap();
    assert_eq!((summary.updated, summary.healthy, summary.failed), (3, 3, 0));
    assert!(summary.causes.is_empty());

    let events: Api<Event> = Api::all(cluster.client().await);
    for reason in ["NodesFailed", "Healthy"] {
        wait::until(&format!("there is an event {reason}"), async || {
            let all = events.list(&ListParams::default()).await.unwrap().items;
            all.iter().any(|event| event.reason.as_deref() == Some(reason))
        })
        .await;
    }
}

#[tokio::test]
async fn a_burst_costs_few_writes_and_no_change_costs_none() {
    let Some(cluster) = cluster().await else { return };
    let names: Vec<String> = (0..150).map(|number| format!("n{number:03}")).collect();
    for name in &names {
        cluster.node(name, &[("tier", "edge")]).await;
    }
    let uid = application(&cluster, "guard", json!({ "matchLabels": { "tier": "edge" } })).await;
    for name in &names {
        answer(&cluster, ("guard", &uid), name, json!({ "conditions": [condition("Pending")] })).await;
    }
    let _controller = controller(&cluster, &SUMS);
    status(&cluster, "guard", "all are waited for", |status| {
        is(status, "Pending") && status.summary.as_ref().is_some_and(|summary| summary.wanted == 150)
    })
    .await;

    let (mark, began) = (cluster.mark(), Instant::now());
    let states = states(&cluster).await;
    for name in &names {
        say(&states, &format!("guard-{name}"), name, json!({})).await;
    }
    let last = status(&cluster, "guard", "the last answer is counted", |status| is(status, "Success")).await;
    assert_eq!(last.summary.unwrap().ready, "150/150");
    let writes = |mark| {
        let requests = cluster.requests_since(mark);
        requests
            .iter()
            .filter(|request| request.resource == "clusterbpfapplications/status" && request.writes())
            .count()
    };
    // At most one write per second, the first at once.
    let most = usize::try_from(began.elapsed().as_secs()).unwrap() + 2;
    assert!((1..=most).contains(&writes(mark)), "{} writes, at most {most}", writes(mark));

    // A heartbeat and an unchanged status are ignored; a following change shows that they were processed.
    let mark = cluster.mark();
    cluster.node("n000", &[("tier", "edge"), ("unrelated", "yes")]).await;
    say(&states, "guard-n000", "n000", json!({ "updateCount": 2 })).await;
    application(&cluster, "other", json!({ "matchLabels": { "tier": "none" } })).await;
    status(&cluster, "other", "the other is looked at", |status| is(status, "Success")).await;
    let requests = cluster.requests_since(mark);
    let about_guard =
        |request: &&bpfman_cluster_tests::requests::Request| request.name == "guard" && request.writes();
    assert_eq!(requests.iter().filter(about_guard).count(), 0);
}
