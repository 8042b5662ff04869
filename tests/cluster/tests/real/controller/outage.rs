//! Outages of the API server, and compacted history.

use bpfman_cluster_tests::wait;
use kube::api::{DeleteParams, Patch, PatchParams};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::{HELD, SUMS, answer, application, cluster, condition, controller, is, say, states, status};

#[tokio::test]
async fn a_controller_goes_on_after_an_outage_of_the_api_server() {
    let Some(cluster) = cluster().await else { return };
    cluster.node("n1", &[]).await;
    let uid = application(&cluster, "guard", json!({})).await;
    answer(&cluster, ("guard", &uid), "n1", json!({})).await;
    let mut controller = controller(&cluster, &SUMS);
    status(&cluster, "guard", "it is healthy", |status| is(status, "Success")).await;
    cluster.kill_api_server();
    cluster.start_api_server();
    say(&states(&cluster).await, "guard-n1", "n1", json!({ "conditions": [condition("Pending")] })).await;
    status(&cluster, "guard", "the change is seen", |status| is(status, "Pending")).await;
    assert!(controller.ended().is_none());
    controller.assert_outage_is_reported_once();
}

#[tokio::test]
async fn objects_deleted_during_an_outage_are_forgotten() {
    let Some(cluster) = cluster().await else { return };
    for name in ["n1", "n2"] {
        cluster.node(name, &[]).await;
    }
    let uid = application(&cluster, "guard", json!({})).await;
    for name in ["n1", "n2"] {
        answer(&cluster, ("guard", &uid), name, json!({})).await;
    }
    let listening =
        SUMS.map(
            |flag| if flag.starts_with("--metrics") { "--metrics-bind-address=127.0.0.1:9443" } else { flag },
        );
    let controller = controller(&cluster, &[&listening[..], &["--metrics-secure=false"]].concat());
    status(&cluster, "guard", "both are healthy", |status| is(status, "Success")).await;
    let lists = || metric(&cluster, "bpfman_controller_lists_total{kind=\"states\"}");
    let before = lists();

    // The stopped controller receives nothing, and the restarted server has no history: 410 Gone.
    let pid = Pid::from_raw(i32::try_from(controller.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    cluster.kill_api_server();
    cluster.start_api_server();
    let states = states(&cluster).await;
    let release = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    states.patch("guard-n2", &PatchParams::default(), &release).await.unwrap();
    states.delete("guard-n2", &DeleteParams::default()).await.unwrap();
    wait::until("the state is gone", async || states.get_opt("guard-n2").await.unwrap().is_none()).await;
    kill_process(pid, Signal::CONT).unwrap();

    let pending =
        status(&cluster, "guard", "the missing answer is missed", |status| is(status, "Pending")).await;
    assert_eq!(pending.summary.unwrap().ready, "1/2");
    assert!(lists() > before, "it was listed again");
    assert!(states.get("guard-n1").await.unwrap().metadata.finalizers.unwrap().contains(&HELD.to_owned()));
}

fn metric(cluster: &bpfman_cluster_tests::Cluster, name: &str) -> u64 {
    let text = cluster.inside(|| {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect("127.0.0.1:9443").unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    });
    let line =
        text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {text}"));
    line.trim().parse().unwrap()
}
