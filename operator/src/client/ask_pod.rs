//! Asks a pod over HTTP, by the API server's proxy: it decides whether the user may.

use std::time::Duration;

use axum::http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::connect::ClientSession;

/// The longest answer, 64 MiB: one node must not fill the client's memory.
const LARGEST: usize = 64 << 20;
/// So much of an answer that says why there is none is shown, characters.
const MESSAGE: usize = 300;

/// The node that a pod is bound to.
pub fn node_of(pod: &Pod) -> String {
    pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default()
}

/// The number of a port that a container has by this name.
pub fn port_of(pod: &Pod, name: &str) -> Option<i32> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports.find(|port| port.name.as_deref() == Some(name)).map(|port| port.container_port)
}

/// `GET path` of a pod's port named `http`; or why there is no answer. `path` begins with `/`.
pub async fn get(
    session: &ClientSession,
    pod: &Pod,
    path: &str,
    longest: Duration,
) -> Result<Vec<u8>, String> {
    let port = port_of(pod, "http").ok_or("its pod has no port named `http`")?;
    let meta = &pod.metadata;
    let (namespace, name) =
        (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    let uri = format!("/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy{path}");
    let request = Request::get(uri).body(kube::client::Body::empty()).map_err(|error| error.to_string())?;
    let answer = async {
        let answer = session.client.send(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LARGEST).collect().await;
        let body = body.map_err(|error| format!("its answer broke off: {error}"))?;
        Ok((status, body.to_bytes().to_vec()))
    };
    match tokio::time::timeout(longest, answer).await {
        Err(_late) => Err(format!("no answer within {} s", longest.as_secs())),
        Ok(Err(message)) => Err(message),
        Ok(Ok((status, body))) if status.is_success() => Ok(body),
        Ok(Ok((StatusCode::FORBIDDEN, _))) => {
            Err(format!("you may not get pods/proxy in namespace {namespace}: bind bpfman-top-role there"))
        }
        Ok(Ok((status, body))) => Err(format!("{status}: {}", reason(&body))),
    }
}

/// The message of the API server's status, or of the pod itself.
fn reason(body: &[u8]) -> String {
    let message = serde_json::from_slice::<Value>(body)
        .ok()
        .and_then(|status| status.get("message")?.as_str().map(str::to_owned));
    let message = message.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    message.trim().chars().take(MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_reason_is_what_the_server_or_the_pod_says() {
        assert_eq!(reason(br#"{"kind":"Status","message":"no endpoints"}"#), "no endpoints");
        assert_eq!(reason(b"somebody else takes a profile now\n"), "somebody else takes a profile now");
        assert_eq!(reason(&[b'x'; 1000]).len(), MESSAGE);
    }

    #[test]
    fn a_port_is_found_by_its_name_among_all_containers() {
        let pod: Pod = serde_json::from_value(json!({ "spec": { "containers": [
            { "name": "proxy", "ports": [{ "name": "admin", "containerPort": 1 }] },
            { "name": "side", "ports": [{ "name": "http", "containerPort": 8179 }] },
        ] } }))
        .unwrap();
        assert_eq!((port_of(&pod, "http"), port_of(&pod, "metrics")), (Some(8179), None));
    }
}
