//! Contradicting orders that no webhook has reviewed.

use bpfman_tests::compile;
use serde_json::{Value, json};

use super::equipment::{application, condition, links, start, until_state, until_success};

fn ordered(application_name: &str, program: &str, order: &Value) -> Value {
    let link = json!({ "interfaceSelector": { "interfaces": ["up0"] }, "order": order });
    let program = json!({ "name": program, "type": "XDP", "xdp": { "links": [link] } });
    application(application_name, &compile::object("chain"), json!([program]))
}

#[tokio::test]
async fn order_that_contradicts_another_application_is_reported() {
    let Some((cluster, node, _agent)) = start("orders").await else { return };
    let first = ordered("shop", "xdp_member", &json!({ "role": "shop", "before": ["role=wall"] }));
    let made = cluster.apply_one(first).await;
    until_success(&cluster, &made).await;
    let before = links(&node);

    let contradiction = ordered("wall", "xdp_another", &json!({ "role": "wall", "before": ["role=shop"] }));
    cluster.apply_one(contradiction).await;
    let state = until_state(&cluster, "wall", "the contradiction is said", |status| {
        status["conditions"][0]["reason"] == "Error"
    })
    .await;
    let (message, failure) = (condition(&state).1, &state.data["status"]["failure"]);
    assert_eq!((&failure["reason"], &failure["program"]), (&json!("conflict"), &json!("xdp_another")));
    assert!(message.contains("contradict") && message.contains("xdp_member"), "{message}");
    assert_eq!(links(&node), before);
    until_success(&cluster, &made).await;

    let behind = ordered("wall", "xdp_another", &json!({ "role": "wall", "after": ["role=shop"] }));
    let made = cluster.apply_one(behind).await;
    until_success(&cluster, &made).await;
    assert_eq!(links(&node).len(), 2);
}
