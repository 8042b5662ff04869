//! What pages ask, passed on to the controller; and what they have done, done as the user.

use std::time::Duration;

use bpfman_application::scope::Scope;
use bpfman_console::{ConsoleAnswer, ConsoleRefusal, ConsoleRequest, ConsoleSource};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use kube::client::Body;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::connect::ClientSession;
use crate::client::error::ClientError;
use crate::client::rollout_command;

/// Most bytes of an answer: a fleet of 5,000 nodes has a few hundred kilobytes.
const LARGEST_ANSWER: usize = 64 << 20;

/// How long the controller may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// The header with the user's token: the API server's proxy keeps `Authorization` to itself.
const TOKEN: &str = "x-bpfman-token";

/// A fleet, by its controller.
pub struct FleetSource {
    session: ClientSession,
    operator: String,
    token: String,
}

/// What a page has done to a rollout.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RolloutWord {
    namespace: Option<String>,
    name: String,
    word: Word,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Promote,
    Abort,
}

impl FleetSource {
    /// Of the operator in a namespace.
    pub const fn new(session: ClientSession, operator: String, token: String) -> Self {
        Self { session, operator, token }
    }

    async fn respond(&self, request: &ConsoleRequest) -> Result<ConsoleAnswer, ConsoleRefusal> {
        match (&request.method, request.path.as_str()) {
            (&Method::GET, "about") => Ok(ConsoleAnswer::json(&json!({
                "kind": "fleet", "where": "fleet", "version": env!("CARGO_PKG_VERSION"),
            }))),
            (&Method::GET, "fleet" | "node") => self.pass_on(request).await,
            (&Method::POST, "rollout") => self.rollout(&request.body).await,
            (&Method::GET, _) => Err(ConsoleRefusal::not_found(&request.path)),
            _ => {
                let message = "this console changes nothing but rollouts";
                Err(ConsoleRefusal::new(StatusCode::METHOD_NOT_ALLOWED, "invalid", message))
            }
        }
    }

    async fn pass_on(&self, request: &ConsoleRequest) -> Result<ConsoleAnswer, ConsoleRefusal> {
        let away = |error: String| {
            ConsoleRefusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unreachable",
                format!("the API server does not answer: {error}"),
            )
        };
        let (operator, path) = (&self.operator, &request.path);
        let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
        let uri = format!(
            "/api/v1/namespaces/{operator}/services/https:bpfman-console:console/proxy/api/{path}{query}"
        );
        let sent = Request::get(uri).header(TOKEN, &self.token).body(Body::empty());
        let sent = sent.map_err(|error| ConsoleRefusal::invalid(error.to_string()))?;
        let asked = async {
            let answer = self.session.client.send(sent).await.map_err(|error| away(error.to_string()))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, LARGEST_ANSWER).collect().await;
            Ok::<_, ConsoleRefusal>((head, body.map_err(|error| away(error.to_string()))?.to_bytes()))
        };
        // The API server itself waits for half a minute for pods that are not there.
        let late = |_| {
            let message =
                format!("no controller answers in namespace {operator} within {} s", ANSWER.as_secs());
            let hint = format!("`kubectl -n {operator} get pods` shows whether the operator runs");
            ConsoleRefusal::new(StatusCode::SERVICE_UNAVAILABLE, "unreachable", message).with_hint(hint)
        };
        let (head, body) = tokio::time::timeout(ANSWER, asked).await.map_err(late)??;
        if !head.status.is_success()
            && let Some(refusal) = of_server(head.status, &body, operator)
        {
            return Err(refusal);
        }
        Ok(ConsoleAnswer::json_text(head.status, body))
    }

    async fn rollout(&self, body: &[u8]) -> Result<ConsoleAnswer, ConsoleRefusal> {
        let asked: RolloutWord = serde_json::from_slice(body).map_err(|error| {
            ConsoleRefusal::invalid(format!("what is to be done is not said as it should be: {error}"))
        })?;
        let word = match asked.word {
            Word::Promote => "promote",
            Word::Abort => "abort",
        };
        let scope = if asked.namespace.is_some() { Scope::Namespaced } else { Scope::Cluster };
        let sent =
            rollout_command::send_to(&self.session, scope, asked.namespace.as_deref(), &asked.name, word)
                .await;
        sent.map(|text| ConsoleAnswer::json(&json!({ "message": text.trim_end() })))
            .map_err(|error| refusal(&error))
    }
}

impl ConsoleSource for FleetSource {
    async fn answer(&self, request: ConsoleRequest) -> ConsoleAnswer {
        self.respond(&request).await.unwrap_or_else(Into::into)
    }
}

/// What the API server itself says instead of the controller: it may not let the user through, or find nobody there.
fn of_server(status: StatusCode, body: &[u8], operator: &str) -> Option<ConsoleRefusal> {
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    if said.get("error").is_some() {
        return None;
    }
    let message =
        said["message"].as_str().map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    Some(match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ConsoleRefusal::new(StatusCode::FORBIDDEN, "denied", message)
            .with_hint(format!("an administrator can bind you to the Role bpfman-console-user of namespace {operator}")),
        StatusCode::NOT_FOUND => ConsoleRefusal::new(StatusCode::SERVICE_UNAVAILABLE, "unreachable", message).with_hint(
            format!("is the operator in namespace {operator}, and as new as this command? --operator-namespace says where it is"),
        ),
        _ => ConsoleRefusal::new(StatusCode::SERVICE_UNAVAILABLE, "unreachable", message)
            .with_hint(format!("`kubectl -n {operator} get pods` shows whether the operator runs")),
    })
}

fn refusal(error: &ClientError) -> ConsoleRefusal {
    let (status, reason) = match error {
        ClientError::Denied(..) => (StatusCode::FORBIDDEN, "denied"),
        ClientError::NoApplication { .. } | ClientError::NoRollout(..) => {
            (StatusCode::NOT_FOUND, "not-found")
        }
        ClientError::Away(..) => (StatusCode::SERVICE_UNAVAILABLE, "unreachable"),
        _ => (StatusCode::BAD_GATEWAY, "failed"),
    };
    let text = error.to_string();
    let (message, hint) = text.split_once('\n').unwrap_or((&text, ""));
    ConsoleRefusal::new(status, reason, message).with_hint(hint)
}
