//! HTTP requests to pods through the API server's proxy, which checks the user's permission.

use std::time::Duration;

use axum::http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use thiserror::Error;

use super::connect::ClientSession;

/// Maximum size of a pod's response, so that one node does not exhaust the client's memory.
const MAX_RESPONSE: usize = 64 << 20;
const MESSAGE: usize = 300;

#[derive(Debug, Error)]
pub enum PodSilence {
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
    #[error("{0}")]
    Broken(String),
    #[error("you may not get pods/proxy in namespace {0}: bind bpfman-top-role there")]
    Denied(String),
    #[error("{0}: {1}")]
    Refused(StatusCode, String),
}

pub fn node_of(pod: &Pod) -> String {
    pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default()
}

pub fn port_of(pod: &Pod, name: &str) -> Option<i32> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports.find(|port| port.name.as_deref() == Some(name)).map(|port| port.container_port)
}

pub async fn get(
    session: &ClientSession,
    pod: &Pod,
    (port, path): (i32, &str),
    longest: Duration,
) -> Result<Vec<u8>, PodSilence> {
    let meta = &pod.metadata;
    let (namespace, name) =
        (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    let uri = format!("/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy{path}");
    let request = Request::get(uri).body(kube::client::Body::empty());
    let request = request.map_err(|error| PodSilence::Broken(error.to_string()))?;
    let answer = async {
        let answer = session.client.send(request).await;
        let answer = answer.map_err(|error| PodSilence::Broken(error.to_string()))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_RESPONSE).collect().await;
        let body = body.map_err(|error| PodSilence::Broken(format!("its answer broke off: {error}")))?;
        Ok::<_, PodSilence>((status, body.to_bytes().to_vec()))
    };
    let (status, body) =
        tokio::time::timeout(longest, answer).await.map_err(|_late| PodSilence::Late(longest))??;
    match status {
        status if status.is_success() => Ok(body),
        StatusCode::FORBIDDEN => Err(PodSilence::Denied(namespace.to_owned())),
        status => Err(PodSilence::Refused(status, reason(&body))),
    }
}

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

    use axum::http::Response;
    use kube::Client;
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn answer_of_a_pod_is_limited_in_size() {
        let service = tower::service_fn(|_: Request<Body>| async {
            Ok::<_, std::io::Error>(Response::new(Body::from(vec![0_u8; MAX_RESPONSE + 1])))
        });
        let client = Client::new(service, "default");
        let session = ClientSession { client, namespace: "default".to_owned() };
        let pod: Pod = serde_json::from_value(json!({ "metadata": { "name": "agent" } })).unwrap();
        let silence = get(&session, &pod, (8175, "/figures"), Duration::from_secs(60)).await.unwrap_err();
        assert!(silence.to_string().starts_with("its answer broke off: "), "{silence}");
    }

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
