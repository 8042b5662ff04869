//! Pull secrets for a registry with a password.

use std::time::Duration;

use bpfman_cluster_tests::{Cluster, Node};
use bpfman_tests::network::Namespace;
use bpfman_tests::registry::{PASSWORD, Registry, USER};
use bpfman_tests::{Daemon, Launch, compile};
use serde_json::{Value, json};

use super::equipment::{agent, application, condition, programs, until_state, until_success};

fn with_image(name: &str, image: &str, secret: Option<&str>) -> Value {
    let program = json!([{ "name": "xdp_member", "type": "XDP", "xdp": {} }]);
    let mut written = application(name, &compile::object("chain"), program);
    let mut code = json!({ "image": { "url": image, "imagePullPolicy": "Always" } });
    if let Some(secret) = secret {
        code["image"]["imagePullSecret"] = json!({ "name": secret, "namespace": "default" });
    }
    written["spec"]["byteCode"] = code;
    written
}

async fn secret(cluster: &Cluster, name: &str, form: &str, key: &str, content: &Value) {
    cluster
        .apply_one(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "namespace": "default" },
            "type": form, "stringData": { key: content.to_string() },
        }))
        .await;
}

#[tokio::test]
async fn images_are_pulled_as_whom_the_secret_names() {
    let Some(cluster) = Cluster::own() else { return };
    cluster.apply_definitions().await;
    let open = Registry::start();
    let closed = open.with_password();
    // The registry is in the test's own namespace, so that the daemon has to be there too.
    let daemon = Daemon::start_with(&Launch { policy: "mode = \"off\"\n".to_owned(), ..Launch::default() });
    let object = compile::object("chain").display().to_string();
    let name = open.image("team/chain:1");
    daemon.bpfman(&format!("image build -t {name} -b {object}")).success();
    daemon.bpfman(&format!("image push {name}")).success();
    cluster.node("secrets", &[("zone", "one")]).await;
    let node = Node {
        name: "secrets".to_owned(),
        daemon,
        network: Namespace::new("unused"),
        outside: Namespace::new("unused"),
    };
    let agent = agent(&cluster, "secrets", &node.daemon.socket());
    let image = closed.image("team/chain:1");
    let registry = closed.address().to_owned();

    cluster.apply_one(with_image("missing", &image, Some("missing"))).await;
    let failed = |status: &Value| status["conditions"][0]["reason"] == "Error";
    let state = until_state(&cluster, "missing", "the secret is missing", failed).await;
    assert_eq!(state.data["status"]["failure"]["reason"], "pull-secret");
    assert!(condition(&state).1.contains("pull secret default/missing: there is no such secret"));

    // A secret without an entry for this registry means anonymous access, which the registry denies.
    let other = json!({ "auths": { "quay.io": { "username": USER, "password": PASSWORD } } });
    secret(&cluster, "other", "kubernetes.io/dockerconfigjson", ".dockerconfigjson", &other).await;
    cluster.apply_one(with_image("anonymous", &image, Some("other"))).await;
    let state = until_state(&cluster, "anonymous", "the registry refuses", failed).await;
    assert_ne!(state.data["status"]["failure"]["reason"], "pull-secret", "{:?}", condition(&state));
    assert_eq!(programs(&node), [""; 0]);

    let auth =
        serde_json::to_value(k8s_openapi::ByteString(format!("{USER}:{PASSWORD}").into_bytes())).unwrap();
    let pair = json!({ "username": USER, "password": PASSWORD });
    let config = |entry: Value| json!({ "auths": { registry.clone(): entry } });
    for (name, form, key, content) in [
        ("auth", "kubernetes.io/dockerconfigjson", ".dockerconfigjson", config(json!({ "auth": auth }))),
        ("pair", "kubernetes.io/dockerconfigjson", ".dockerconfigjson", config(pair)),
        (
            "old",
            "kubernetes.io/dockercfg",
            ".dockercfg",
            json!({ format!("http://{registry}/v1/"): { "auth": auth } }),
        ),
    ] {
        secret(&cluster, name, form, key, &content).await;
        let made = cluster.apply_one(with_image(name, &image, Some(name))).await;
        let state = until_success(&cluster, &made).await;
        assert!(state.data["status"]["digest"].as_str().unwrap().starts_with("sha256:"), "{:?}", state.data);
    }
    let (log, states) = (agent.log(), super::equipment::states(&cluster, "auth").await);
    assert!(!log.contains(PASSWORD) && !format!("{states:?}").contains(PASSWORD));

    // Events must not cause requests for a secret that is already in use.
    let mark = cluster.mark();
    cluster.node("secrets", &[("zone", "one"), ("more", "x")]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let read = cluster.requests_since(mark);
    let again: Vec<_> =
        read.iter().filter(|request| request.resource == "secrets" && request.name == "auth").collect();
    assert!(again.is_empty(), "{again:?}");
}
