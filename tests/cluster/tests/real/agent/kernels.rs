//! Nodes with a kernel that lacks a feature of an application.

use bpfman_application::application::ClusterBpfApplication;
use bpfman_application::summary::Summary;
use bpfman_cluster_tests::{Cluster, Node, Operator, wait};
use bpfman_tests::{Launch, compile, skip};
use kube::api::DynamicObject;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::equipment::{agent, application, condition, programs, states};

async fn until_said(cluster: &Cluster, node: &str, word: &str) -> DynamicObject {
    wait::some(&format!("{word} on {node}"), async || {
        let all = states(cluster, "traced").await;
        all.into_iter()
            .find(|state| state.labels()["kubernetes.io/hostname"] == node && condition(state).0 == word)
    })
    .await
}

async fn until_summed(cluster: &Cluster, what: &str, holds: impl Fn(&Summary) -> bool) -> Summary {
    let applications: Api<ClusterBpfApplication> = Api::all(cluster.client().await);
    wait::some(what, async || {
        let status = applications.get("traced").await.ok()?.status?;
        status.summary.filter(|summary| holds(summary))
    })
    .await
}

#[tokio::test]
async fn lacking_kernel_is_named_and_counts_only_on_selected_nodes() {
    let Some(cluster) = Cluster::own() else { return };
    cluster.apply_definitions().await;
    cluster.namespace("bpfman").await;
    // A kernel without BTF does not have this file.
    let hide = "mount -t tmpfs none /sys/kernel/btf && exec \"$@\"";
    let wrapper = ["unshare", "--mount", "--propagation=private", "sh", "-c", hide, "sh"].map(str::to_owned);
    let flags = vec!["--allow-private-mounts".to_owned()];
    let launch = Launch { wrapper: wrapper.to_vec(), flags, ..Launch::default() };
    let without = Node::start_with(&cluster, "without-types", &[("zone", "one")], launch).await;
    let with = Node::start(&cluster, "with-types", &[("zone", "one")]).await;
    let _agents = [&without, &with].map(|node| agent(&cluster, &node.name, &node.daemon.socket()));
    let flags =
        ["--no-deploy", "--assume-agents", "--health-probe-bind-address=0", "--metrics-bind-address=0"];
    let _controller = Operator::start(&cluster, "controller", &cluster.kubeconfig(), &flags, &[]);
    let function = json!({ "function": "vfs_read" });
    let traced = json!([{ "name": "on_fentry", "type": "FEntry", "fentry": function }]);
    cluster.apply_one(application("traced", &compile::object("probes"), traced)).await;

    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let state = until_said(&cluster, "without-types", "Error").await;
    let message = condition(&state).1;
    for says in
        [format!("this kernel ({})", release.trim()).as_str(), "BTF", "fentry", "CONFIG_DEBUG_INFO_BTF"]
    {
        assert!(message.contains(says), "{message}");
    }
    assert_eq!(state.data["status"]["failure"]["reason"], "unsupported");
    assert_eq!(state.data["status"]["kernel"], release.trim());
    assert_eq!(programs(&without), [""; 0]);
    let failed = if skip::refused("sample_fentry") {
        let message = condition(&until_said(&cluster, "with-types", "Error").await).1;
        assert!(message.contains("of type fentry") && message.contains(release.trim()), "{message}");
        2
    } else {
        until_said(&cluster, "with-types", "Success").await;
        1
    };
    let summary = until_summed(&cluster, "all have answered", |summary| summary.failed == failed).await;
    assert_eq!(summary.wanted, 2);
    assert!(
        summary.causes.iter().any(|cause| cause.reason == "unsupported" && cause.kernel == release.trim())
    );

    // A node that is no longer selected is not a failure.
    cluster.node("without-types", &[("zone", "two")]).await;
    // Its leftovers still count as a cause until its agent has removed them.
    until_summed(&cluster, "the other is left", |summary| {
        summary.wanted == 1 && summary.causes.iter().all(|cause| cause.reason != "unsupported")
    })
    .await;
    wait::until("it has no state object", async || {
        states(&cluster, "traced")
            .await
            .iter()
            .all(|state| state.labels()["kubernetes.io/hostname"] == "with-types")
    })
    .await;
}
