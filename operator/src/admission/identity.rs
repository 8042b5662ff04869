//! Identity of a caller: the agent of a node, the controller, or another user.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};

/// Name of the agents' service account, in any namespace.
pub const AGENT: &str = "bpfman-agent";

/// Name of the controller's service account.
pub const CONTROLLER: &str = "bpfman-operator";

const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// Timeout of a token review, which must end before the API server gives up.
const ANSWER: Duration = Duration::from_secs(3);

/// Twice the number of agents in the largest clusters.
const REMEMBERED: usize = 20_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallerIdentity {
    /// The agent of a node.
    Agent {
        node: String,
    },
    Controller,
    /// A member of the group `system:masters`.
    Master,
    /// Any other user with permission for the request.
    Other {
        name: String,
    },
}

/// Reason for which the node of an agent is unknown.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownCaller {
    /// The token is not bound to a pod, so that it could be used anywhere.
    #[error(
        "the token of {0} is not bound to a pod, so its node is unknown: mount a projected service \
         account token (servers before 1.21 do not by themselves)"
    )]
    Unbound(String),
    /// The pod is not the one to which the token is bound.
    #[error("the token of {user} was made for the pod {pod}, and {why}")]
    Pod { user: String, pod: String, why: String },
    #[error("the node of the pod {pod} cannot be looked up: {why}; it is tried again when the agent is")]
    Away { pod: String, why: String },
}

/// Determines the identity of callers.
pub struct AgentIdentity {
    client: Client,
    namespace: String,
    nodes: Mutex<HashMap<String, String>>,
}

impl AgentIdentity {
    /// Creates the lookup for a controller in a namespace.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { client, namespace: namespace.to_owned(), nodes: Mutex::default() }
    }

    /// Returns the identity of a user; an error if the user is an agent on an unknown node.
    pub async fn who(&self, user: &UserInfo) -> Result<CallerIdentity, UnknownCaller> {
        let name = user.username.clone().unwrap_or_default();
        match account(&name) {
            Some((namespace, AGENT)) => {
                self.node(user, &name, namespace).await.map(|node| CallerIdentity::Agent { node })
            }
            Some((namespace, CONTROLLER)) if namespace == self.namespace => Ok(CallerIdentity::Controller),
            _ if user.groups.iter().flatten().any(|group| group == "system:masters") => {
                Ok(CallerIdentity::Master)
            }
            _ => Ok(CallerIdentity::Other { name }),
        }
    }

    async fn node(&self, user: &UserInfo, name: &str, namespace: &str) -> Result<String, UnknownCaller> {
        if let Some(node) = extra(user, NODE_NAME) {
            return Ok(node.to_owned());
        }
        let (Some(pod), Some(uid)) = (extra(user, POD_NAME), extra(user, POD_UID)) else {
            return Err(UnknownCaller::Unbound(name.to_owned()));
        };
        let known = self.nodes.lock().unwrap_or_else(PoisonError::into_inner).get(uid).cloned();
        if let Some(node) = known {
            return Ok(node);
        }
        let full = format!("{namespace}/{pod}");
        let away = |why: String| UnknownCaller::Away { pod: full.clone(), why };
        let refused =
            |why: &str| UnknownCaller::Pod { user: name.to_owned(), pod: full.clone(), why: why.to_owned() };
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let found = tokio::time::timeout(ANSWER, pods.get_opt(pod)).await;
        let found =
            found.map_err(|_| away("no answer".to_owned()))?.map_err(|error| away(error.to_string()))?;
        let node = node_of(found.as_ref(), uid).map_err(refused)?;
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if nodes.len() >= REMEMBERED {
            nodes.clear();
        }
        nodes.insert(uid.to_owned(), node.clone());
        Ok(node)
    }
}

fn node_of(pod: Option<&Pod>, uid: &str) -> Result<String, &'static str> {
    let pod = pod.ok_or("there is no such pod any more")?;
    if pod.metadata.uid.as_deref() != Some(uid) {
        return Err("another pod has that name now");
    }
    let spec = pod.spec.as_ref();
    if spec.and_then(|spec| spec.service_account_name.as_deref()) != Some(AGENT) {
        return Err("that pod has another service account");
    }
    let node = spec.and_then(|spec| spec.node_name.clone()).filter(|node| !node.is_empty());
    node.ok_or("that pod is on no node yet")
}

fn account(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix("system:serviceaccount:")?.split_once(':')
}

fn extra<'a>(user: &'a UserInfo, key: &str) -> Option<&'a str> {
    match user.extra.as_ref()?.get(key)?.as_slice() {
        [value] if !value.is_empty() => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::{Value, json};

    use super::*;

    fn pod(value: Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_the_agents_pod_that_a_token_was_made_for_says_its_node() {
        let spec = json!({ "nodeName": "n1", "serviceAccountName": AGENT, "containers": [] });
        let good = pod(json!({ "metadata": { "uid": "u1" }, "spec": spec }));
        assert_eq!(node_of(Some(&good), "u1"), Ok("n1".to_owned()));
        assert!(node_of(Some(&good), "u2").is_err());
        assert!(node_of(None, "u1").is_err());
        let pending = json!({ "serviceAccountName": AGENT, "containers": [] });
        assert!(node_of(Some(&pod(json!({ "metadata": { "uid": "u1" }, "spec": pending }))), "u1").is_err());
        let other = json!({ "nodeName": "n1", "serviceAccountName": "default", "containers": [] });
        assert!(node_of(Some(&pod(json!({ "metadata": { "uid": "u1" }, "spec": other }))), "u1").is_err());
    }

    #[test]
    fn a_value_that_is_given_twice_is_none() {
        let user: UserInfo =
            serde_json::from_value(json!({ "extra": { NODE_NAME: ["a", "b"], POD_NAME: ["p"] } })).unwrap();
        assert_eq!((extra(&user, NODE_NAME), extra(&user, POD_NAME)), (None, Some("p")));
    }
}
