//! Permissions of the packaged roles, checked by the API server's authorizer.

use std::path::Path;

use bpfman_cluster_tests::{Cluster, wait};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::api::{Api, PostParams};
use serde_json::json;

use super::{NAMESPACE, rights};

/// Group, resource with its subresource, verbs, namespace (empty: all), name (empty: any).
type Right = (&'static str, &'static str, &'static [&'static str], &'static str, &'static str);

const READ: &[&str] = &["get", "list", "watch"];
const ANY: &[&str] = &["get", "list", "watch", "create", "update", "patch", "delete"];

async fn wrong(cluster: &Cluster, user: &str, rights: &[Right], allowed: bool) -> Vec<String> {
    let reviews: Api<SubjectAccessReview> = Api::all(cluster.client().await);
    let mut wrong = Vec::new();
    for (group, resource, verbs, namespace, name) in rights {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        for verb in *verbs {
            let review = serde_json::from_value(json!({ "spec": { "user": user, "resourceAttributes": {
                "group": group, "resource": resource, "subresource": subresource, "verb": verb,
                "namespace": namespace, "name": name,
            } } }))
            .unwrap();
            let status = reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap();
            if status.allowed != allowed {
                wrong.push(format!(
                    "{user} {verb} {group}/{resource}/{subresource} {namespace}/{name}: allowed is {}",
                    status.allowed
                ));
            }
        }
    }
    wrong
}

fn account(name: &str) -> String {
    format!("system:serviceaccount:{NAMESPACE}:{name}")
}

#[tokio::test]
async fn an_agent_may_do_what_it_does_and_nothing_beyond() {
    let Some(cluster) = Cluster::shared().await else { return };
    rights(&cluster).await;
    let agent = account("bpfman-agent");
    let ours = "bpfman.io";
    let mut all = Vec::new();
    let needed: &[Right] = &[
        ("", "nodes", READ, "", ""),
        ("", "pods", READ, "", ""),
        ("apps", "controllerrevisions", &["get"], "shop", "app-1"),
        (ours, "clusterbpfapplications", READ, "", ""),
        (ours, "bpfapplications", READ, "", ""),
        (ours, "clusterbpfapplicationstates", ANY, "", ""),
        (ours, "bpfapplicationstates", ANY, "shop", ""),
        (ours, "clusterbpfapplicationstates/status", &["patch"], "", ""),
        (ours, "bpfapplicationstates/status", &["patch"], "shop", ""),
        (ours, "clusterbpfapplications/finalizers", &["update"], "", ""),
        (ours, "bpfapplications/finalizers", &["update"], "shop", ""),
        ("events.k8s.io", "events", &["create"], "shop", ""),
        ("authentication.k8s.io", "tokenreviews", &["create"], "", ""),
        ("authorization.k8s.io", "subjectaccessreviews", &["create"], "", ""),
    ];
    all.extend(wrong(&cluster, &agent, needed, true).await);
    let writes: &[&str] = &["create", "update", "patch", "delete", "deletecollection"];
    let refused: &[Right] = &[
        ("events.k8s.io", "events", &["get", "list", "update", "patch", "delete"], "shop", ""),
        ("", "nodes", writes, "", ""),
        ("", "nodes/status", &["update", "patch"], "", ""),
        ("", "nodes/proxy", &["get", "create"], "", ""),
        ("", "secrets", ANY, NAMESPACE, ""),
        ("", "secrets", &["get"], "shop", "pull"),
        ("", "secrets", &["get"], NAMESPACE, "bpfman-admission-certificates"),
        ("", "pods", writes, NAMESPACE, ""),
        ("", "pods/exec", &["get", "create"], NAMESPACE, ""),
        ("", "pods/status", &["update", "patch"], NAMESPACE, ""),
        ("", "configmaps", writes, NAMESPACE, ""),
        ("", "serviceaccounts/token", &["create"], NAMESPACE, "bpfman-operator"),
        ("apps", "controllerrevisions", writes, "shop", ""),
        ("apps", "daemonsets", writes, NAMESPACE, ""),
        ("coordination.k8s.io", "leases", writes, NAMESPACE, ""),
        (ours, "clusterbpfapplications", writes, "", ""),
        (ours, "clusterbpfapplications/status", &["update", "patch"], "", ""),
        (ours, "bpfapplications", writes, "shop", ""),
        (ours, "bpfapplications/status", &["update", "patch"], "shop", ""),
        (ours, "clusterbpfapplicationstates", &["deletecollection"], "", ""),
        (ours, "configs", ANY, "", ""),
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations", ANY, "", "bpfman-admission"),
        ("rbac.authorization.k8s.io", "clusterroles", &["create", "bind", "escalate"], "", ""),
    ];
    all.extend(wrong(&cluster, &agent, refused, false).await);
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[tokio::test]
async fn namespace_grants_pull_secrets_to_agents_by_its_own_role() {
    let Some(cluster) = Cluster::shared().await else { return };
    rights(&cluster).await;
    cluster.namespace("giving").await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/kubernetes/pull-secrets");
    cluster.kubectl(&["apply", "-n", "giving", "-k", folder.to_str().unwrap()]).success();
    let agent = account("bpfman-agent");
    // The API server applies new roles with a short delay.
    let given: &[Right] = &[("", "secrets", &["get"], "giving", "regcred")];
    wait::until("the role counts", async || wrong(&cluster, &agent, given, true).await.is_empty()).await;
    let mut all = Vec::new();
    let refused: &[Right] = &[
        ("", "secrets", &["list", "watch"], "giving", ""),
        ("", "secrets", &["get"], "giving", "another"),
        ("", "secrets", &["update", "patch", "delete"], "giving", "regcred"),
        ("", "secrets", &["get"], "default", "regcred"),
    ];
    all.extend(wrong(&cluster, &agent, refused, false).await);
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[tokio::test]
async fn the_controller_may_do_what_it_does_and_nothing_beyond() {
    let Some(cluster) = Cluster::shared().await else { return };
    rights(&cluster).await;
    let controller = account("bpfman-operator");
    let ours = "bpfman.io";
    let webhooks = "validatingwebhookconfigurations";
    let certificates = "bpfman-admission-certificates";
    let mut all = Vec::new();
    let needed: &[Right] = &[
        ("", "nodes", &["get", "list", "watch", "patch"], "", ""),
        ("", "pods", READ, NAMESPACE, ""),
        ("", "namespaces", &["get", "patch"], "", NAMESPACE),
        ("", "secrets", &["get", "update"], NAMESPACE, certificates),
        ("", "configmaps", &["list", "watch"], "", ""),
        ("", "configmaps", &["create", "patch", "delete"], NAMESPACE, "bpfman-config"),
        ("", "events", &["create", "patch"], "shop", ""),
        ("events.k8s.io", "events", &["create", "patch"], "shop", ""),
        ("apps", "daemonsets", &["list", "watch"], "", ""),
        ("apps", "daemonsets", &["create", "patch", "delete"], NAMESPACE, ""),
        ("apps", "controllerrevisions", &["list", "create", "delete"], "shop", ""),
        ("storage.k8s.io", "csidrivers", &["list", "watch", "create"], "", ""),
        ("storage.k8s.io", "csidrivers", &["get", "patch", "delete"], "", "csi.bpfman.io"),
        ("coordination.k8s.io", "leases", &["get", "create", "update"], NAMESPACE, ""),
        ("scheduling.k8s.io", "priorityclasses", &["get"], "", ""),
        (ours, "clusterbpfapplications", &["get", "list", "watch", "patch"], "", ""),
        (ours, "bpfapplications", &["get", "list", "watch", "patch"], "shop", ""),
        (ours, "clusterbpfapplications/status", &["patch"], "", ""),
        (ours, "bpfapplications/status", &["patch"], "shop", ""),
        (ours, "clusterbpfapplicationstates", &["get", "list", "watch", "patch", "delete"], "", ""),
        (ours, "bpfapplicationstates", &["get", "list", "watch", "patch", "delete"], "shop", ""),
        (ours, "configs", &["get", "list", "watch", "create", "patch"], "", ""),
        (ours, "configs/status", &["patch"], "", ""),
        ("admissionregistration.k8s.io", webhooks, &["get", "update"], "", "bpfman-admission"),
        ("authentication.k8s.io", "tokenreviews", &["create"], "", ""),
        ("authorization.k8s.io", "subjectaccessreviews", &["create"], "", ""),
    ];
    all.extend(wrong(&cluster, &controller, needed, true).await);
    let writes: &[&str] = &["create", "update", "patch", "delete"];
    let refused: &[Right] = &[
        ("scheduling.k8s.io", "priorityclasses", writes, "", ""),
        ("storage.k8s.io", "csidrivers", &["update", "patch", "delete"], "", "csi.example.com"),
        ("", "nodes", &["create", "delete", "update"], "", ""),
        ("", "secrets", &["list", "watch", "create", "delete"], NAMESPACE, ""),
        ("", "secrets", &["get", "update", "patch"], NAMESPACE, "another"),
        ("", "secrets", &["get"], "shop", "pull"),
        ("", "configmaps", &["get", "create", "update", "patch", "delete"], NAMESPACE, "bpfman-policy"),
        ("", "pods", writes, NAMESPACE, ""),
        ("", "pods", READ, "shop", ""),
        ("", "pods/exec", &["create"], NAMESPACE, ""),
        ("", "configmaps", writes, "kube-system", ""),
        ("apps", "daemonsets", writes, "kube-system", ""),
        ("apps", "deployments", ANY, NAMESPACE, ""),
        ("", "namespaces", &["patch"], "", "kube-system"),
        ("", "serviceaccounts/token", &["create"], NAMESPACE, "bpfman-agent"),
        (ours, "clusterbpfapplications", &["create", "delete"], "", ""),
        (ours, "clusterbpfapplicationstates/status", &["update", "patch"], "", ""),
        ("admissionregistration.k8s.io", webhooks, &["get", "update", "patch"], "", "another"),
        ("admissionregistration.k8s.io", webhooks, &["create", "delete"], "", ""),
        ("rbac.authorization.k8s.io", "clusterroles", ANY, "", ""),
        ("rbac.authorization.k8s.io", "clusterroles", &["bind", "escalate"], "", ""),
    ];
    all.extend(wrong(&cluster, &controller, refused, false).await);
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[tokio::test]
async fn namespace_editor_reaches_no_other_and_no_cluster_application() {
    let Some(cluster) = Cluster::shared().await else { return };
    rights(&cluster).await;
    cluster.namespace("editors").await;
    let bind = |name: &str, role: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": { "name": name, "namespace": "editors" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name }],
        })
    };
    cluster.apply_one(bind("alice", "bpfman-bpfapplication-editor-role")).await;
    cluster.apply_one(bind("bob", "bpfman-bpfapplication-viewer-role")).await;
    let (ours, writes): (_, &[&str]) = ("bpfman.io", &["create", "update", "patch", "delete"]);
    let mut all = Vec::new();
    let edits: &[Right] = &[(ours, "bpfapplications", ANY, "editors", "")];
    wait::until("alice's role counts", async || wrong(&cluster, "alice", edits, true).await.is_empty()).await;
    let views: &[Right] = &[
        (ours, "bpfapplications", READ, "editors", ""),
        (ours, "bpfapplicationstates", READ, "editors", ""),
    ];
    all.extend(wrong(&cluster, "alice", views, true).await);
    wait::until("bob's role counts", async || wrong(&cluster, "bob", views, true).await.is_empty()).await;
    let refused: &[Right] = &[
        (ours, "bpfapplicationstates", writes, "editors", ""),
        (ours, "bpfapplicationstates/status", &["update", "patch"], "editors", ""),
        (ours, "bpfapplications/status", &["update", "patch"], "editors", ""),
        (ours, "bpfapplications", ANY, "default", ""),
        (ours, "clusterbpfapplications", ANY, "", ""),
        (ours, "configs", ANY, "", ""),
        ("", "secrets", &["get"], "editors", ""),
    ];
    all.extend(wrong(&cluster, "alice", refused, false).await);
    all.extend(wrong(&cluster, "bob", refused, false).await);
    all.extend(wrong(&cluster, "bob", &[(ours, "bpfapplications", writes, "editors", "")], false).await);
    assert!(all.is_empty(), "{}", all.join("\n"));
}
