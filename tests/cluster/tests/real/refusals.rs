//! Invalid manifests are rejected by the API server itself, with the name of the field.

use bpfman_cluster_tests::Cluster;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::application::{everything, in_namespace, places, state};

/// Case: path into the object, value for it (`REMOVED`: the field is removed), text in the response.
type Case = (&'static str, Value, &'static str);

const REMOVED: Value = Value::Null;

fn common() -> Vec<Case> {
    vec![
        ("/spec", REMOVED, "spec"),
        ("/spec/nodeSelector", REMOVED, "spec.nodeSelector"),
        ("/spec/nodeSelector", json!("all"), "spec.nodeSelector"),
        ("/spec/nodeSelector", json!({ "matchExpressions": [{ "key": "a" }] }), "matchExpressions.operator"),
        ("/spec/byteCode", REMOVED, "spec.byteCode"),
        ("/spec/byteCode", json!({}), "spec.byteCode"),
        ("/spec/byteCode", json!({ "path": "/a.o", "image": { "url": "quay.io/a/b:c" } }), "spec.byteCode"),
        ("/spec/byteCode", json!({ "path": "relative.o" }), "spec.byteCode.path"),
        ("/spec/byteCode", json!({ "image": {} }), "spec.byteCode.image.url"),
        ("/spec/byteCode", json!({ "image": { "url": "" } }), "spec.byteCode.image.url"),
        ("/spec/byteCode", json!({ "image": { "url": "a".repeat(526) } }), "spec.byteCode.image.url"),
        (
            "/spec/byteCode",
            json!({ "image": { "url": "quay.io/a/b:c", "imagePullPolicy": "Sometimes" } }),
            "spec.byteCode.image.imagePullPolicy",
        ),
        (
            "/spec/byteCode",
            json!({ "image": { "url": "quay.io/a/b:c", "imagePullSecret": { "name": "pull" } } }),
            "imagePullSecret.namespace",
        ),
        (
            "/spec/byteCode",
            json!({ "image": { "url": "quay.io/a/b:c", "imagePullSecret": { "namespace": "x" } } }),
            "imagePullSecret.name",
        ),
        // The schema leaves the types of these values open: `admission` tests them.
        ("/spec/globalData", json!("AQ=="), "spec.globalData"),
        ("/spec/globalData", json!(["AQ=="]), "spec.globalData"),
        ("/spec/globals", json!({ "rate": 100 }), "spec.globals"),
        ("/spec/globals", json!({ "rate": "1".repeat(8193) }), "spec.globals"),
        ("/spec/mapSizes", json!({ "flows": 0 }), "spec.mapSizes"),
        ("/spec/mapSizes", json!({ "flows": 4_294_967_296_u64 }), "spec.mapSizes"),
        ("/spec/mapSizes", json!({ "flows": "1" }), "spec.mapSizes"),
        ("/spec/mapOwnerSelector", json!({ "matchLabels": { "a": 1 } }), "spec.mapOwnerSelector"),
        ("/spec/programs", REMOVED, "spec.programs"),
        ("/spec/programs", json!([]), "spec.programs"),
        ("/spec/programs/0/name", REMOVED, "spec.programs.name"),
        ("/spec/programs/0/name", json!(""), "spec.programs.name"),
        ("/spec/programs/0/name", json!("ab"), "spec.programs.name"),
        ("/spec/programs/0/name", json!("1st_program"), "spec.programs.name"),
        ("/spec/programs/0/name", json!("a".repeat(65)), "spec.programs.name"),
        ("/spec/programs/0/type", REMOVED, "spec.programs.type"),
        ("/spec/programs/0/type", json!("xdp"), "spec.programs.type"),
        ("/spec/programs/0/type", json!("LSM"), "spec.programs.type"),
        ("/spec/programs/0/xdp/links/0/interfaceSelector", REMOVED, "xdp.links.interfaceSelector"),
        ("/spec/programs/0/xdp/links/0/interfaceSelector", json!({}), "xdp.links.interfaceSelector"),
        (
            "/spec/programs/0/xdp/links/0/interfaceSelector",
            json!({ "interfaces": ["eth0"], "primaryNodeInterface": true }),
            "xdp.links.interfaceSelector",
        ),
        (
            "/spec/programs/0/xdp/links/0/interfaceSelector",
            json!({ "interfaces": "eth0" }),
            "interfaceSelector.interfaces",
        ),
        (
            "/spec/programs/0/xdp/links/0/interfaceSelector",
            json!({ "primaryNodeInterface": "yes" }),
            "interfaceSelector.primaryNodeInterface",
        ),
        (
            "/spec/programs/0/xdp/links/0/interfaceSelector",
            json!({ "interfacesDiscoveryConfig": { "interfaceAutoDiscovery": 1 } }),
            "interfacesDiscoveryConfig.interfaceAutoDiscovery",
        ),
        ("/spec/programs/0/xdp/links/0/networkNamespaces", json!({}), "networkNamespaces.pods"),
        ("/spec/programs/0/xdp/links/0/priority", json!(-1), "xdp.links.priority"),
        ("/spec/programs/0/xdp/links/0/priority", json!(1001), "xdp.links.priority"),
        ("/spec/programs/0/xdp/links/0/priority", json!("first"), "xdp.links.priority"),
        ("/spec/programs/0/xdp/links/0/proceedOn", json!(["OK"]), "xdp.links.proceedOn"),
        ("/spec/programs/0/xdp/links/0/order", json!({ "role": "" }), "xdp.links.order.role"),
        ("/spec/programs/0/xdp/links/0/order", json!({ "before": vec!["a"; 17] }), "xdp.links.order.before"),
        ("/spec/programs/0/xdp/links/0/onUnavailable", json!("maybe"), "xdp.links.onUnavailable"),
        ("/spec/programs/1/tc/links/0/direction", REMOVED, "tc.links.direction"),
        ("/spec/programs/1/tc/links/0/direction", json!("ingress"), "tc.links.direction"),
        ("/spec/programs/1/tc/links/0/proceedOn", json!(["Pass"]), "tc.links.proceedOn"),
        ("/spec/programs/1/tc/links/0/priority", json!(1001), "tc.links.priority"),
        ("/spec/programs/2/tcx/links/0/direction", REMOVED, "tcx.links.direction"),
        ("/spec/programs/2/tcx/links/0/direction", json!("Both"), "tcx.links.direction"),
        ("/spec/programs/2/tcx/links/0/priority", json!(-1), "tcx.links.priority"),
        ("/spec/rollout", json!({ "waves": ["101%"] }), "spec.rollout.waves"),
        ("/spec/rollout", json!({ "waves": ["half"] }), "spec.rollout.waves"),
        ("/spec/rollout", json!({ "waves": vec![1; 33] }), "spec.rollout.waves"),
        ("/spec/rollout", json!({ "maxUnavailable": "a few" }), "spec.rollout.maxUnavailable"),
        ("/spec/rollout", json!({ "maxFailed": true }), "spec.rollout.maxFailed"),
        ("/spec/rollout", json!({ "soakSeconds": 86401 }), "spec.rollout.soakSeconds"),
        ("/spec/rollout", json!({ "progressDeadlineSeconds": 0 }), "spec.rollout.progressDeadlineSeconds"),
        ("/spec/rollout", json!({ "preflight": "Maybe" }), "spec.rollout.preflight"),
        ("/spec/rollout", json!({ "onFailure": "Ignore" }), "spec.rollout.onFailure"),
        ("/spec/rollout", json!({ "paused": "no" }), "spec.rollout.paused"),
        ("/spec/rollout", json!({ "gates": { "maxNanosecondsPerRun": 0 } }), "gates.maxNanosecondsPerRun"),
        (
            "/spec/rollout",
            json!({ "gates": { "verdicts": [{ "maxPercent": 5 }] } }),
            "gates.verdicts.verdict",
        ),
        (
            "/spec/rollout",
            json!({ "gates": { "verdicts": [{ "verdict": "drop", "maxPercent": 101 }] } }),
            "gates.verdicts.maxPercent",
        ),
    ]
}

#[tokio::test]
async fn a_cluster_application_with_a_mistake_is_refused() {
    let mut cases = common();
    cases.extend([
        ("/spec/programs/3/fentry/function", REMOVED, "fentry.function"),
        (
            "/spec/programs/3/fentry/links",
            json!([{ "mode": "Attach" }, { "mode": "Attach" }]),
            "fentry.links",
        ),
        ("/spec/programs/3/fentry/links/0/mode", REMOVED, "fentry.links.mode"),
        ("/spec/programs/3/fentry/links/0/mode", json!("Detach"), "fentry.links.mode"),
        ("/spec/programs/4/fexit/function", json!("x"), "fexit.function"),
        ("/spec/programs/5/kprobe/links/0/function", REMOVED, "kprobe.links.function"),
        ("/spec/programs/5/kprobe/links/0/function", json!("4ever"), "kprobe.links.function"),
        ("/spec/programs/5/kprobe/links/0/offset", json!("4"), "kprobe.links.offset"),
        ("/spec/programs/6/kretprobe/links/0/function", json!(""), "kretprobe.links.function"),
        ("/spec/programs/7/tracepoint/links/0/name", REMOVED, "tracepoint.links.name"),
        ("/spec/programs/7/tracepoint/links/0/name", json!("/sys_enter"), "tracepoint.links.name"),
        ("/spec/programs/8/uprobe/links/0/target", REMOVED, "uprobe.links.target"),
        ("/spec/programs/8/uprobe/links/0/pid", json!("7"), "uprobe.links.pid"),
        ("/spec/programs/8/uprobe/links/0/containers", json!({}), "uprobe.links.containers.pods"),
        (
            "/spec/programs/8/uprobe/links/0/containers/containerNames",
            json!("main"),
            "containers.containerNames",
        ),
        ("/spec/programs/9/uretprobe/links/0/offset", json!(1.5), "uretprobe.links.offset"),
    ]);
    let Some(cluster) = Cluster::shared().await else { return };
    refused(&cluster, &everything("refused"), cases).await;
}

/// Types that the published API lacks; rules are tested in `api_server::rules`.
#[tokio::test]
async fn a_program_of_a_place_with_a_mistake_is_refused() {
    let Some(cluster) = Cluster::shared().await else { return };
    let cases = vec![
        (
            "/spec/programs/0/rawTracepoint/links/0/name",
            json!("sched/sched_switch"),
            "rawTracepoint.links.name",
        ),
        ("/spec/programs/2/target", json!(""), "spec.programs.target"),
        ("/spec/programs/2/loadedFor/links/0/mode", json!("Detach"), "loadedFor.links.mode"),
        ("/spec/programs/6/cgroup/links/0/path", json!("web.service"), "cgroup.links.path"),
        ("/spec/programs/14/netns/links/1/netnsPath", json!("blue"), "netns.links.netnsPath"),
        ("/spec/programs/16/netfilter/links/0/priority", REMOVED, "netfilter.links.priority"),
        ("/spec/programs/16/netfilter/links/0/hook", json!("ingress"), "netfilter.links.hook"),
        ("/spec/programs/17/kprobeMulti/links/0/functions", json!([]), "kprobeMulti.links.functions"),
        ("/spec/programs/20/uprobeMulti/links/0/target", REMOVED, "uprobeMulti.links.target"),
        ("/spec/programs/23/perfEvent/links/0/frequency", json!(0), "perfEvent.links.frequency"),
        ("/spec/programs/24/sockmap/links/0/map", json!("a/b"), "sockmap.links.map"),
        ("/spec/programs/27/usdt/links/0/provider", REMOVED, "usdt.links.provider"),
        ("/spec/programs/28/ksyscall/links/0/name", json!("open at"), "ksyscall.links.name"),
        ("/spec/programs/30/netkit/links/0/interface", json!(""), "netkit.links.interface"),
        ("/spec/programs/31/type", json!("Socketfilter"), "spec.programs.type"),
    ];
    refused(&cluster, &places("places"), cases).await;
}

#[tokio::test]
async fn a_namespaced_application_with_a_mistake_is_refused() {
    let mut cases = common();
    cases.extend([
        ("/spec/programs/0/type", json!("KProbe"), "spec.programs.type"),
        ("/spec/programs/0/type", json!("TracePoint"), "spec.programs.type"),
        ("/spec/programs/0/type", json!("FEntry"), "spec.programs.type"),
        ("/spec/programs/0/xdp/links/0/networkNamespaces", REMOVED, "xdp.links.networkNamespaces"),
        ("/spec/programs/1/tc/links/0/networkNamespaces", REMOVED, "tc.links.networkNamespaces"),
        ("/spec/programs/2/tcx/links/0/networkNamespaces", REMOVED, "tcx.links.networkNamespaces"),
        ("/spec/programs/3/uprobe/links/0/containers", REMOVED, "uprobe.links.containers"),
        ("/spec/programs/4/uretprobe/links/0/containers", REMOVED, "uretprobe.links.containers"),
    ]);
    let Some(cluster) = Cluster::shared().await else { return };
    cluster.namespace("refused").await;
    refused(&cluster, &in_namespace("refused", "refused"), cases).await;
}

#[tokio::test]
async fn a_config_with_a_mistake_is_refused() {
    let good = json!({
        "apiVersion": "bpfman.io/v1alpha1", "kind": "Config", "metadata": { "name": "refused" },
        "spec": {
            "configuration": "[signing]\nallow_unsigned = true\n",
            "agent": { "image": "quay.io/acme/operator:v1" }, "daemon": { "image": "quay.io/acme/daemon:v1" },
            "overrides": [{ "apiVersion": "apps/v1", "kind": "DaemonSet", "namespace": "bpfman", "name": "x", "unmanaged": true }],
        },
    });
    let cases = vec![
        ("/spec/configuration", REMOVED, "spec.configuration"),
        ("/spec/configuration", json!(""), "spec.configuration"),
        ("/spec/agent", REMOVED, "spec.agent"),
        ("/spec/agent/image", json!(""), "spec.agent.image"),
        ("/spec/agent/healthProbePort", json!(0), "spec.agent.healthProbePort"),
        ("/spec/agent/healthProbePort", json!(65536), "spec.agent.healthProbePort"),
        ("/spec/daemon", REMOVED, "spec.daemon"),
        ("/spec/daemon/image", REMOVED, "spec.daemon.image"),
        ("/spec/overrides/0/unmanaged", REMOVED, "spec.overrides.unmanaged"),
        ("/spec/overrides/0/kind", REMOVED, "spec.overrides"),
    ];
    let Some(cluster) = Cluster::shared().await else { return };
    refused(&cluster, &good, cases).await;
}

/// Agents write state objects; the schema prevents a faulty agent from writing unreadable ones.
#[tokio::test]
async fn a_state_with_a_mistake_is_refused() {
    let cases = vec![
        ("/status/updateCount", REMOVED, "status.updateCount"),
        ("/status/node", REMOVED, "status.node"),
        ("/status/appLoadStatus", REMOVED, "status.appLoadStatus"),
        ("/status/programs/0/programLinkStatus", REMOVED, "status.programs.programLinkStatus"),
        ("/status/programs/0/programId", json!("7"), "status.programs.programId"),
        ("/status/programs/0/xdp/links/0/uuid", REMOVED, "xdp.links.uuid"),
        ("/status/programs/0/xdp/links/0/shouldAttach", REMOVED, "xdp.links.shouldAttach"),
        // The published operator sets this very reason, and the server rejects it.
        ("/status/conditions/0/reason", json!("Unload Error"), "status.conditions.reason"),
        ("/status/conditions/0/status", json!("Maybe"), "status.conditions.status"),
        (
            "/status/conditions/0/lastTransitionTime",
            json!("yesterday"),
            "status.conditions.lastTransitionTime",
        ),
    ];
    let Some(cluster) = Cluster::shared().await else { return };
    refused(&cluster, &state("refused", "node"), cases).await;
}

/// Applies each case alone, and asserts that the server rejects the object with 422 and the field's name.
async fn refused(cluster: &Cluster, good: &Value, cases: Vec<Case>) {
    let api = cluster.api_of(good).await.unwrap();
    if !good["status"].is_null() {
        // A status can only be sent for an existing object.
        let mut bare = good.clone();
        bare.as_object_mut().unwrap().remove("status");
        cluster.apply_one(bare).await;
    }
    ask(&api, good).await.unwrap();
    let mut wrong = Vec::new();
    for (path, value, names) in cases {
        let case = format!("{path} = {value}");
        match ask(&api, &changed(good, path, value)).await {
            Err(kube::Error::Api(status))
                if status.code == 422 && without_indices(&status.message).contains(names) => {}
            Err(other) => wrong.push(format!("{case}: expected 422 for {names}, got {other}")),
            Ok(taken) => wrong.push(format!("{case}: expected 422 for {names}, was taken: {}", taken.data)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn without_indices(message: &str) -> String {
    let mut parts = message.split('[');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| match part.split_once(']') {
        Some((index, rest)) if index.parse::<u32>().is_ok() => text + rest,
        _ => text + "[" + part,
    })
}

async fn ask(api: &Api<DynamicObject>, object: &Value) -> kube::Result<DynamicObject> {
    if !object["status"].is_null() {
        let name = object["metadata"]["name"].as_str().unwrap();
        let merge = Patch::Merge(json!({ "status": object["status"] }));
        return api.patch_status(name, &PatchParams { dry_run: true, ..Default::default() }, &merge).await;
    }
    let object: DynamicObject = serde_json::from_value(object.clone()).unwrap();
    api.create(&PostParams { dry_run: true, ..Default::default() }, &object).await
}

fn changed(object: &Value, path: &str, value: Value) -> Value {
    let mut object = object.clone();
    let (parent, field) = path.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap_or_else(|| panic!("nothing at {parent}"));
    let parent = parent.as_object_mut().unwrap_or_else(|| panic!("no object before {path}"));
    if value == REMOVED {
        parent.remove(field).unwrap_or_else(|| panic!("nothing at {path}"));
    } else {
        parent.insert(field.to_owned(), value);
    }
    object
}

#[tokio::test]
async fn an_application_that_is_too_large_is_refused_with_the_bound() {
    let Some(cluster) = Cluster::shared().await else { return };
    let mut application = everything("too-many");
    let program = |number: usize| json!({ "name": format!("program_{number}"), "type": "XDP", "xdp": {} });
    application["spec"]["programs"] = (0..65).map(program).collect();
    let Err(kube::Error::Api(status)) = cluster.try_apply(application.clone()).await else {
        panic!("65 programs are taken")
    };
    let message = &status.message;
    assert!(
        status.code == 422 && message.contains("spec.programs") && message.contains("64 items"),
        "{message}"
    );
    application["spec"]["programs"].as_array_mut().unwrap().pop();
    cluster.try_apply(application).await.unwrap();

    // A request that is too large for the server's database is rejected by the server itself, for every client.
    let mut application = everything("too-large");
    let link = application["spec"]["programs"][0]["xdp"]["links"][0].clone();
    application["spec"]["programs"][0]["xdp"]["links"] = vec![link; 7_500].into();
    let file = tempfile_of(&application);
    let outcome = cluster.kubectl(&["create", "-f", file.path().to_str().unwrap()]);
    assert_ne!(outcome.code, 0);
    assert!(outcome.stderr.contains("too large"), "{}", outcome.stderr);
}

fn tempfile_of(object: &Value) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    std::fs::write(file.path(), object.to_string()).unwrap();
    file
}
