//! Requests to the API server, from its audit log.

use std::collections::BTreeMap;
use std::fs;

use serde::Deserialize;

use crate::Cluster;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub verb: String,
    /// Resource with its subresource, for example `clusterbpfapplicationstates/status`; empty for other URLs.
    pub resource: String,
    pub namespace: String,
    pub name: String,
    pub user: String,
    pub agent: String,
    pub code: u16,
    pub is_deprecated: bool,
}

impl Request {
    #[must_use]
    pub fn writes(&self) -> bool {
        !matches!(&*self.verb, "get" | "list" | "watch" | "head" | "options")
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Mark(u64);

impl Cluster {
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(fs::metadata(self.path("audit.log")).map_or(0, |file| file.len()))
    }

    #[must_use]
    pub fn requests_since(&self, mark: Mark) -> Vec<Request> {
        let bytes = fs::read(self.path("audit.log")).unwrap_or_default();
        let tail = &bytes[usize::try_from(mark.0).unwrap().min(bytes.len())..];
        let end = tail.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let lines = tail[..end].split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        lines.filter_map(|line| serde_json::from_slice::<Event>(line).unwrap().request()).collect()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    stage: String,
    verb: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: Object,
    #[serde(default)]
    response_status: Status,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Object {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
}

impl Event {
    fn request(self) -> Option<Request> {
        let told = if self.verb == "watch" { "ResponseStarted" } else { "ResponseComplete" };
        let Object { resource, subresource, namespace, name } = self.object_ref;
        let resource = if subresource.is_empty() { resource } else { format!("{resource}/{subresource}") };
        (self.stage == told).then_some(Request {
            verb: self.verb,
            resource,
            namespace,
            name,
            user: self.user.username,
            agent: self.user_agent,
            code: self.response_status.code,
            is_deprecated: self.annotations.get("k8s.io/deprecated").is_some_and(|value| value == "true"),
        })
    }
}
