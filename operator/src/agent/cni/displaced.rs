//! Event about the node, where another program takes the plugin out of its network configuration.

use std::sync::PoisonError;
use std::time::Instant;

use bpfman_runtime::note::Note;
use k8s_openapi::api::core::v1::ObjectReference;

use crate::agent::shared::Shared;

const REASON: &str = "NetworkPluginDisplaced";
const MAX_NAME: usize = 256;

pub fn publish(shared: &Shared, file: &str) {
    let note = note(&shared.node, file);
    let about = about(&shared.node);
    let mut limiter = shared.limiter.lock().unwrap_or_else(PoisonError::into_inner);
    if limiter.admit(Instant::now(), &format!("node {}", shared.node), &note).is_ok() {
        tracing::warn!("{}", note.text);
        let events = shared.events.clone();
        tokio::spawn(async move { events.write_event(&about, note).await });
    }
}

/// Returns a node's reference as in the kubelet's events, whose uid is the node's name: tools look for that.
fn about(node: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(node.to_owned()),
        uid: Some(node.to_owned()),
        ..ObjectReference::default()
    }
}

fn note(node: &str, file: &str) -> Note {
    let file: String = file.chars().take(MAX_NAME).collect();
    let text = format!(
        "on node {node}: another program takes bpfman-cni out of {file} again and again, so pods start without their programs: \
         let the network plugin share the folder (Cilium: cni.exclusive=false)"
    );
    Note::warning(REASON, &file, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_names_node_file_and_setting() {
        let note = note("n1", "/etc/cni/net.d/05-cilium.conflist");
        assert!(note.warning && note.cause.ends_with("05-cilium.conflist"));
        for word in ["on node n1", "/etc/cni/net.d/05-cilium.conflist", "cni.exclusive=false"] {
            assert!(note.text.contains(word), "{}", note.text);
        }
        assert!(super::note("n1", &"x".repeat(9000)).text.len() < 1024, "an event has at most 1,024 bytes");
        assert_eq!(about("n1").kind.as_deref(), Some("Node"));
    }
}
