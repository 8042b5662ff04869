//! Applications that are too large for a state object.

use bpfman_tests::compile;
use serde_json::json;

use super::equipment::{application, condition, links, start, until_state, xdp};

#[tokio::test]
async fn omitted_attachments_are_counted_in_the_state_object() {
    let Some((cluster, node, _agent)) = start("large").await else { return };
    let names: Vec<String> = (0..4_200).map(|number| format!("none{number:05}")).collect();
    let interfaces: Vec<&str> = names.iter().map(String::as_str).chain(["up0"]).collect();
    let object = compile::object("chain");
    cluster.apply_one(application("large", &object, json!([xdp("xdp_member", &interfaces, 50)]))).await;
    let state = until_state(&cluster, "large", "it says what is missing", |status| {
        status["conditions"][0]["reason"] == "Error" && status["programs"][0]["programId"].is_number()
    })
    .await;
    let message = condition(&state).1;
    for says in ["none00000", "; and 4195 more", " of 4201 attachments are not listed here, since the object"]
    {
        assert!(message.contains(says), "{message}");
    }
    let (size, shown) =
        (serde_json::to_vec(&state).unwrap().len(), &state.data["status"]["programs"][0]["xdp"]);
    assert!(size < 800 << 10 && message.len() < 4096, "{size} bytes: {message}");
    let listed = shown["links"].as_array().unwrap().len();
    assert!((3000..4201).contains(&listed), "{listed}");
    assert_eq!(links(&node).len(), 1);
}
