//! Adds the `not-ready` taint to nodes and removes it.

use bpfman_application::orders::NOT_READY_TAINT;
use k8s_openapi::api::core::v1::{Node, Taint};
use kube::Api;
use kube::api::Patch;
use serde_json::{Value, json};

use super::taint::TaintDecision;
use crate::controller::projection::READY_BOOT;
use crate::controller::write::act::{ApiWriter, WriteOutcome};
use bpfman_runtime::manager::Manager;

/// Executes a decision about a node. Taints can only be replaced as a whole: fails if the node changed since the read.
pub async fn mark(writer: &ApiWriter, name: &str, decision: TaintDecision) -> Result<(), WriteOutcome> {
    let nodes: Api<Node> = Api::all(writer.client.clone());
    let node = writer.record_result("taint", nodes.get(name).await)?;
    let Some(patch) = patch(&node, decision) else { return Ok(()) };
    let answer = nodes.patch(name, &Manager::Controller.patch(), &Patch::Merge(patch)).await;
    writer.record_result("taint", answer).map(|_| ())
}

fn patch(node: &Node, decision: TaintDecision) -> Option<Value> {
    let old = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let mut taints: Vec<Taint> = old.iter().filter(|taint| taint.key != NOT_READY_TAINT).cloned().collect();
    if decision == TaintDecision::Put {
        let (key, effect) = (NOT_READY_TAINT.to_owned(), "NoSchedule".to_owned());
        taints.push(Taint { key, effect, ..Taint::default() });
    }
    let mut metadata = json!({ "resourceVersion": node.metadata.resource_version });
    let mut changed = taints != old;
    let known = node.metadata.annotations.as_ref().and_then(|all| all.get(READY_BOOT));
    let wanted = match decision {
        TaintDecision::Settle => {
            node.status.as_ref().and_then(|status| status.node_info.as_ref()).map(|info| &info.boot_id)
        }
        TaintDecision::Clear => None,
        TaintDecision::Put | TaintDecision::Leave => known,
    };
    if known != wanted {
        metadata["annotations"] = json!({ READY_BOOT: wanted });
        changed = true;
    }
    changed.then(|| json!({ "metadata": metadata, "spec": { "taints": taints } }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn node(taints: Value) -> Node {
        serde_json::from_value(json!({
            "metadata": { "name": "n1", "resourceVersion": "7" },
            "spec": { "taints": taints },
            "status": { "nodeInfo": {
                "bootID": "b1", "architecture": "", "containerRuntimeVersion": "", "kernelVersion": "",
                "kubeProxyVersion": "", "kubeletVersion": "", "machineID": "", "operatingSystem": "", "osImage": "",
                "systemUUID": ""
            } }
        }))
        .unwrap()
    }

    #[test]
    fn taints_of_others_stay() {
        let other = json!({ "key": "gpu", "effect": "NoExecute" });
        let ours = json!({ "key": NOT_READY_TAINT, "effect": "NoSchedule" });
        let put = patch(&node(json!([other])), TaintDecision::Put).unwrap();
        assert_eq!(put["spec"]["taints"], json!([other, ours]));
        let settled = patch(&node(json!([other, ours])), TaintDecision::Settle).unwrap();
        assert_eq!(settled["spec"]["taints"], json!([other]));
        assert_eq!(settled["metadata"]["annotations"][READY_BOOT], "b1");
        assert_eq!(settled["metadata"]["resourceVersion"], "7");
    }

    #[test]
    fn unchanged_taint_is_not_written() {
        let ours = json!({ "key": NOT_READY_TAINT, "effect": "NoSchedule" });
        assert_eq!(patch(&node(json!([ours])), TaintDecision::Put), None);
        assert_eq!(patch(&node(json!([])), TaintDecision::Clear), None);
    }

    #[test]
    fn a_node_without_taints_of_ours_keeps_no_word_of_ours() {
        let mut settled = node(json!([]));
        settled.metadata.annotations = Some([(READY_BOOT.to_owned(), "b1".to_owned())].into());
        let cleared = patch(&settled, TaintDecision::Clear).unwrap();
        assert_eq!(cleared["metadata"]["annotations"], json!({ READY_BOOT: null }));
        assert_eq!(patch(&settled, TaintDecision::Settle), None);
    }
}
