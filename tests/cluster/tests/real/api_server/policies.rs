//! Packaged ValidatingAdmissionPolicy on a server, with users whose tokens name their node, as from 1.30 on.

use std::path::Path;

use bpfman_cluster_tests::tokens::{Tokens, token};
use bpfman_cluster_tests::{Cluster, Setup, manifests, wait};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams,
};
use serde_json::{Value, json};

use crate::admission::{NAMESPACE, application, refusal, rights};

const POLICY: &str = "bpfman-state-objects";

fn policy() -> Vec<Value> {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/kubernetes/policies/state-objects.yaml");
    manifests::parse(&std::fs::read_to_string(file).unwrap())
}

pub async fn start() -> Option<(Cluster, Tokens)> {
    let (tokens, setup) = Tokens::prepare(Setup::default());
    let cluster = Cluster::own_with(setup)?;
    tokens.answer(&cluster);
    cluster.apply_definitions().await;
    rights(&cluster).await;
    for object in policy() {
        cluster.apply_one(object).await;
    }
    // The server applies a new policy within seconds.
    let probe = States::of(&cluster, "probe", "ClusterBpfApplicationState").await;
    let nobody = probe.api(&cluster, &token(NAMESPACE, "bpfman-agent", None)).await;
    wait::until("the policy is in force", async || {
        nobody.create(&dry_run(), &probe.object("one", "probe")).await.is_err()
    })
    .await;
    Some((cluster, tokens))
}

fn dry_run() -> PostParams {
    PostParams { dry_run: true, ..PostParams::default() }
}

struct States {
    resource: ApiResource,
    namespace: Option<&'static str>,
    like: Value,
}

impl States {
    async fn of(cluster: &Cluster, name: &str, kind: &str) -> Self {
        let namespace = (kind == "BpfApplicationState").then_some("shop");
        let mut owner = application(name, |spec| {
            spec["programs"][0]["xdp"]["links"][0]["networkNamespaces"] = json!({ "pods": {} });
        });
        owner["kind"] = json!(kind.trim_end_matches("State"));
        let mut like = json!({
            "apiVersion": "bpfman.io/v1alpha1", "kind": kind,
            "metadata": { "labels": { "bpfman.io/ownedByProgram": name } },
        });
        if let Some(namespace) = namespace {
            cluster.namespace(namespace).await;
            owner["metadata"]["namespace"] = json!(namespace);
            like["metadata"]["namespace"] = json!(namespace);
        }
        let uid = cluster.apply_one(owner.clone()).await.metadata.uid;
        like["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "bpfman.io/v1alpha1", "kind": owner["kind"], "name": name, "uid": uid, "controller": true,
        }]);
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("bpfman.io", "v1alpha1", kind));
        Self { resource, namespace, like }
    }

    async fn api(&self, cluster: &Cluster, token: &str) -> Api<DynamicObject> {
        let client = cluster.client_with(token).await;
        match self.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &self.resource),
            None => Api::all_with(client, &self.resource),
        }
    }

    fn object(&self, node: &str, name: &str) -> DynamicObject {
        self.changed(node, name, |_| {})
    }

    fn changed(&self, node: &str, name: &str, change: impl FnOnce(&mut Value)) -> DynamicObject {
        let mut object = self.like.clone();
        object["metadata"]["name"] = json!(name);
        object["metadata"]["labels"]["kubernetes.io/hostname"] = json!(node);
        change(&mut object["metadata"]);
        serde_json::from_value(object).unwrap()
    }
}

fn status(node: &str) -> Patch<Value> {
    Patch::Merge(json!({ "status": { "node": node, "updateCount": 1, "appLoadStatus": "NotLoaded" } }))
}

fn metadata(change: Value) -> Patch<Value> {
    Patch::Merge(json!({ "metadata": change }))
}

fn annotate(key: &str) -> Patch<Value> {
    metadata(json!({ "annotations": { key: "app-2" } }))
}

const UNBOUND: &str = "the agent's token is not bound to a pod on a node";
const FOREIGN: &str = "an agent writes only what its own node answers (label kubernetes.io/hostname)";
const ANSWER: &str = "an agent answers only for its own node (status.node)";
const PURPOSE: &str = "what a state object is for cannot change";
const OWNER: &str = "a state object has one owner, its application";
const ORDER: &str =
    "orders to a node (annotations bpfman.io/revision, soak) are written by the controller only";
const PREFLIGHT: &str = "an agent does not ask itself to try a revision (annotation bpfman.io/preflight)";

fn not_refused<T: std::fmt::Debug>(what: &str, answer: kube::Result<T>, message: &str) -> Option<String> {
    match answer {
        Err(kube::Error::Api(status))
            if status.message.contains(&format!("ValidatingAdmissionPolicy '{POLICY}'"))
                && status.message.contains(message) =>
        {
            None
        }
        other => Some(format!("{what}: expected {message:?}, got {other:?}")),
    }
}

#[tokio::test]
async fn an_agent_writes_its_own_nodes_state_and_no_other() {
    let Some((cluster, _tokens)) = start().await else { return };
    for kind in ["ClusterBpfApplicationState", "BpfApplicationState"] {
        let states = States::of(&cluster, "app", kind).await;
        let one = states.api(&cluster, &token(NAMESPACE, "bpfman-agent", Some("one"))).await;
        let two = states.api(&cluster, &token(NAMESPACE, "bpfman-agent", Some("two"))).await;
        let unbound = states.api(&cluster, &token(NAMESPACE, "bpfman-agent", None)).await;
        let (new, merge, delete) = (PostParams::default(), PatchParams::default(), DeleteParams::default());

        one.create(&new, &states.object("one", "a")).await.unwrap();
        one.patch_status("a", &merge, &status("one")).await.unwrap();
        one.patch("a", &merge, &metadata(json!({ "finalizers": ["bpfman.io/held"] }))).await.unwrap();
        let apply = PatchParams::apply("agent").force();
        one.patch("a", &apply, &Patch::Apply(&states.object("one", "a"))).await.unwrap();
        one.patch("b", &apply, &Patch::Apply(&states.object("one", "b"))).await.unwrap();

        let relabel = metadata(json!({ "labels": { "kubernetes.io/hostname": "two" } }));
        let wrong: Vec<String> = [
            // Writes to another node's object, by any verb; and a label that would make it the agent's own.
            not_refused("create", two.create(&new, &states.object("one", "c")).await, FOREIGN),
            not_refused("status", two.patch_status("a", &merge, &status("one")).await, FOREIGN),
            not_refused("status", two.patch_status("a", &merge, &status("two")).await, FOREIGN),
            not_refused(
                "patch",
                two.patch("a", &merge, &metadata(json!({ "finalizers": [] }))).await,
                FOREIGN,
            ),
            not_refused("take", two.patch("a", &merge, &relabel).await, FOREIGN),
            not_refused("delete", two.delete("a", &delete).await.map(drop), FOREIGN),
            // Writes that would make its own object another node's.
            not_refused("give away", one.patch("a", &merge, &relabel).await, FOREIGN),
            not_refused(
                "no labels",
                one.create(&new, &states.changed("one", "c", |metadata| metadata["labels"] = json!({})))
                    .await,
                FOREIGN,
            ),
            not_refused("answer", one.patch_status("a", &merge, &status("two")).await, ANSWER),
            // Writes that would make its own object that of another application.
            not_refused(
                "label",
                one.patch("a", &merge, &metadata(json!({ "labels": { "bpfman.io/ownedByProgram": "x" } })))
                    .await,
                PURPOSE,
            ),
            not_refused(
                "owner",
                one.patch("a", &merge, &metadata(json!({ "ownerReferences": [] }))).await,
                PURPOSE,
            ),
            not_refused(
                "no owner",
                one.create(
                    &new,
                    &states.changed("one", "c", |metadata| metadata["ownerReferences"] = json!([])),
                )
                .await,
                OWNER,
            ),
            not_refused(
                "owner of another kind",
                one.create(
                    &new,
                    &states.changed("one", "c", |metadata| {
                        metadata["ownerReferences"][0]["kind"] = json!("Config")
                    }),
                )
                .await,
                OWNER,
            ),
            not_refused("revision", one.patch("a", &merge, &annotate("bpfman.io/revision")).await, ORDER),
            not_refused("soak", one.patch("a", &merge, &annotate("bpfman.io/soak")).await, ORDER),
            not_refused(
                "preflight",
                one.patch("a", &merge, &annotate("bpfman.io/preflight")).await,
                PREFLIGHT,
            ),
            not_refused(
                "new with an order",
                one.create(
                    &new,
                    &states.changed("one", "c", |metadata| {
                        metadata["annotations"] = json!({ "bpfman.io/revision": "app-1" });
                    }),
                )
                .await,
                ORDER,
            ),
            // A token that is not bound to a pod belongs to no node.
            not_refused("create", unbound.create(&new, &states.object("one", "c")).await, UNBOUND),
            not_refused("create", unbound.create(&new, &states.object("", "c")).await, UNBOUND),
            not_refused("status", unbound.patch_status("a", &merge, &status("one")).await, UNBOUND),
            not_refused("delete", unbound.delete("a", &delete).await.map(drop), UNBOUND),
        ]
        .into_iter()
        .flatten()
        .collect();
        assert!(wrong.is_empty(), "{kind}\n{}", wrong.join("\n"));

        let now = one.get("a").await.unwrap();
        assert_eq!(now.data["status"]["node"], "one");
        assert_eq!(now.metadata.annotations, None);
        assert_eq!(one.get_opt("c").await.unwrap().map(|object| object.metadata.name), None);
        one.patch("a", &merge, &metadata(json!({ "finalizers": null }))).await.unwrap();
        for name in ["a", "b"] {
            one.delete(name, &delete).await.unwrap();
        }
    }
}

#[tokio::test]
async fn orders_are_the_controllers_and_all_else_is_as_roles_allow() {
    let Some((cluster, _tokens)) = start().await else { return };
    // An account with the agent's permissions and another name, and an agent in another namespace.
    cluster.namespace("elsewhere").await;
    for account in ["editor", "bpfman-agent"] {
        cluster.account("elsewhere", account).await;
        cluster
            .apply_one(json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": { "name": format!("elsewhere-{account}") },
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "bpfman-agent" },
                "subjects": [{ "kind": "ServiceAccount", "name": account, "namespace": "elsewhere" }],
            }))
            .await;
    }
    let states = States::of(&cluster, "app", "ClusterBpfApplicationState").await;
    let (new, merge, delete) = (PostParams::default(), PatchParams::default(), DeleteParams::default());
    let controller = states.api(&cluster, &token(NAMESPACE, "bpfman-operator", Some("any"))).await;
    let editor = states.api(&cluster, &token("elsewhere", "editor", None)).await;
    let agent = states.api(&cluster, &token("elsewhere", "bpfman-agent", Some("one"))).await;
    let master = Api::all_with(cluster.client().await, &states.resource);

    agent.create(&new, &states.object("one", "a")).await.unwrap();
    let refused = [
        not_refused("agent", agent.create(&new, &states.object("two", "b")).await, FOREIGN),
        not_refused("agent", agent.patch("a", &merge, &annotate("bpfman.io/revision")).await, ORDER),
        not_refused("editor", editor.patch("a", &merge, &annotate("bpfman.io/revision")).await, ORDER),
        not_refused("editor", editor.patch("a", &merge, &annotate("bpfman.io/soak")).await, ORDER),
    ];
    let wrong: Vec<String> = refused.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // The controller writes orders for any node; an agent cannot withdraw them.
    controller.patch("a", &merge, &annotate("bpfman.io/revision")).await.unwrap();
    controller.patch("a", &merge, &annotate("bpfman.io/preflight")).await.unwrap();
    agent.patch_status("a", &merge, &status("one")).await.unwrap();
    let taken_back = metadata(json!({ "annotations": { "bpfman.io/revision": null } }));
    let wrong = not_refused("agent", agent.patch("a", &merge, &taken_back).await, ORDER);
    assert_eq!(wrong, None);
    // Users may order preflights on any node, and remove the results.
    editor.patch("a", &merge, &annotate("bpfman.io/preflight")).await.unwrap();
    editor.patch_status("a", &merge, &status("two")).await.unwrap();
    master.patch("a", &merge, &annotate("bpfman.io/soak")).await.unwrap();
    master.patch("a", &merge, &metadata(json!({ "annotations": null }))).await.unwrap();
    controller.delete("a", &delete).await.unwrap();
    master.create(&new, &states.object("two", "b")).await.unwrap();
    editor.delete("b", &delete).await.unwrap();

    // The policy grants no permissions: RBAC applies first.
    let refused = refusal(controller.create(&new, &states.object("one", "c")).await);
    assert!(refused.contains("cannot create resource"), "{refused}");
}

/// kube-controller-manager writes its warnings to `status.typeChecking`.
#[tokio::test]
async fn its_expressions_go_with_the_schemas_of_our_definitions() {
    let Some(cluster) = Cluster::own_with(Setup { full: true, ..Setup::default() }) else { return };
    cluster.apply_definitions().await;
    let policy = policy().into_iter().find(|object| object["kind"] == "ValidatingAdmissionPolicy").unwrap();
    let warnings = async |policy: &Value| {
        cluster.apply_one(policy.clone()).await;
        let name = policy["metadata"]["name"].as_str().unwrap();
        let shown = wait::some("the policy is checked", async || {
            let words = ["get", "validatingadmissionpolicy", name, "-o", "json"];
            let shown = cluster.kubectl(&words).json();
            let checked = shown["status"]["observedGeneration"] == shown["metadata"]["generation"];
            checked.then_some(shown["status"]["typeChecking"].clone())
        })
        .await;
        shown["expressionWarnings"].to_string()
    };
    // Each generation is checked once, against the kinds known then: change the policy until the field is reported.
    let misspelt = policy.to_string().replace("object.status.node ==", "object.status.nodes ==");
    let mut misspelt: Value = serde_json::from_str(&misspelt).unwrap();
    let mut generation = 0;
    wait::until("a field that there is none of is found", async || {
        generation += 1;
        misspelt["spec"]["validations"][2]["message"] = json!(format!("generation {generation}"));
        let found = warnings(&misspelt).await;
        found.contains("spec.validations[2].expression") && found.contains("undefined field 'nodes'")
    })
    .await;
    assert_eq!(warnings(&policy).await, "null");
}
