use std::time::Duration;

use bpfman_application::scope::Scope;
use bpfman_console::{ConsoleAnswer, ConsoleRefusal, ConsoleRequest, ConsoleSource};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use kube::client::Body;
use serde::Deserialize;
use serde_json::{Value, json};

use super::user_token::UserToken;
use crate::client::connect::ClientSession;
use crate::client::error::ClientError;
use crate::client::rollout_command;

const MAX_ANSWER: usize = 64 << 20;

const ANSWER: Duration = Duration::from_secs(10);

/// Header with the user's token: the API server's proxy strips `Authorization`.
const TOKEN: &str = "x-bpfman-token";

pub struct FleetSource {
    session: ClientSession,
    operator: String,
    token: UserToken,
}

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
    pub const fn new(session: ClientSession, operator: String, token: UserToken) -> Self {
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
        let token = self.token().await?;
        let (operator, path) = (&self.operator, &request.path);
        let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
        let uri = format!(
            "/api/v1/namespaces/{operator}/services/https:bpfman-console:console/proxy/api/{path}{query}"
        );
        let sent = Request::get(uri).header(TOKEN, token).body(Body::empty());
        let sent = sent.map_err(|error| ConsoleRefusal::invalid(error.to_string()))?;
        let asked = async {
            let answer = self.session.client.send(sent).await.map_err(|error| away(error.to_string()))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            Ok::<_, ConsoleRefusal>((head, body.map_err(|error| away(error.to_string()))?.to_bytes()))
        };
        // The API server itself waits half a minute for an unreachable pod.
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

    /// A login program may prompt the user, who may not respond.
    async fn token(&self) -> Result<String, ConsoleRefusal> {
        let token = match tokio::time::timeout(ANSWER, self.token.now()).await {
            Ok(token) => token,
            Err(_late) => Err(ClientError::Token(format!("no answer within {} s", ANSWER.as_secs()))),
        };
        token.map_err(|error| refusal(&error))
    }

    async fn rollout(&self, body: &[u8]) -> Result<ConsoleAnswer, ConsoleRefusal> {
        let asked: RolloutWord = serde_json::from_slice(body)
            .map_err(|error| ConsoleRefusal::invalid(format!("the request is malformed: {error}")))?;
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

fn of_server(status: StatusCode, body: &[u8], operator: &str) -> Option<ConsoleRefusal> {
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    if said.get("error").is_some() {
        return None;
    }
    let message =
        said["message"].as_str().map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    let (status, reason, hint) = match status {
        StatusCode::UNAUTHORIZED => {
            let hint = "log in to the cluster again, and start `kubectl bpfman console` again";
            (status, "denied", hint.to_owned())
        }
        StatusCode::FORBIDDEN => {
            let role = format!("the Role bpfman-console-user of namespace {operator}");
            (status, "denied", format!("an administrator can bind you to {role}"))
        }
        StatusCode::NOT_FOUND => {
            let hint = format!("is the operator in namespace {operator}, and as new as this command?");
            let hint = format!("{hint} --operator-namespace sets where it is");
            (StatusCode::SERVICE_UNAVAILABLE, "unreachable", hint)
        }
        _ => {
            let hint = format!("`kubectl -n {operator} get pods` shows whether the operator runs");
            (StatusCode::SERVICE_UNAVAILABLE, "unreachable", hint)
        }
    };
    Some(ConsoleRefusal::new(status, reason, message).with_hint(hint))
}

fn refusal(error: &ClientError) -> ConsoleRefusal {
    let (status, reason) = match error {
        ClientError::Token(..) | ClientError::NoToken | ClientError::LoggedOut(..) => {
            (StatusCode::UNAUTHORIZED, "denied")
        }
        ClientError::Denied(..) => (StatusCode::FORBIDDEN, "denied"),
        ClientError::NoApplication { .. } | ClientError::NoRollout(..) => {
            (StatusCode::NOT_FOUND, "not-found")
        }
        ClientError::Away(..) => (StatusCode::SERVICE_UNAVAILABLE, "unreachable"),
        _ => (StatusCode::BAD_GATEWAY, "failed"),
    };
    let text = error.to_string();
    let (message, hint) = text.split_once('\n').unwrap_or((&text, ""));
    ConsoleRefusal::new(status, reason, message).with_hint(hint.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use http::Response;
    use kube::Client;

    use super::*;

    fn told_of(status: StatusCode, body: &str) -> ConsoleRefusal {
        of_server(status, body.as_bytes(), "bpfman").unwrap()
    }

    fn session() -> ClientSession {
        let service = tower::service_fn(|request: Request<Body>| {
            let is_known = request.headers().get(TOKEN).is_some_and(|token| token == "new");
            let (code, body) = match is_known {
                true => (200_u16, json!({ "applications": [] })),
                false => (401, json!({ "error": { "reason": "denied", "message": "no account" } })),
            };
            let body = Body::from(body.to_string().into_bytes());
            async move { Response::builder().status(code).body(body) }
        });
        ClientSession { client: Client::new(service, "default"), namespace: "default".to_owned() }
    }

    #[tokio::test]
    async fn each_request_has_the_current_token_and_expiry_is_no_absence() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "old").unwrap();
        let source = FleetSource::new(session(), "bpfman".to_owned(), UserToken::File(file.clone()));
        let request = ConsoleRequest {
            method: Method::GET,
            path: "fleet".to_owned(),
            query: String::new(),
            body: Default::default(),
        };
        let status = async || source.respond(&request).await.map(|answer| answer.into_response().status());
        assert_eq!(status().await, Ok(StatusCode::UNAUTHORIZED));
        std::fs::write(&file, "new").unwrap();
        assert_eq!(status().await, Ok(StatusCode::OK));
        std::fs::remove_file(&file).unwrap();
        let refusal = status().await.unwrap_err();
        assert_eq!((refusal.status, refusal.reason.as_str()), (StatusCode::UNAUTHORIZED, "denied"));
        assert!(refusal.hint.contains("Log in to the cluster again"), "{refusal:?}");
    }

    #[test]
    fn the_api_server_says_who_has_to_log_in_and_who_may_not() {
        let body = r#"{"kind":"Status","message":"Unauthorized"}"#;
        let refusal = told_of(StatusCode::UNAUTHORIZED, body);
        assert_eq!((refusal.status, refusal.reason.as_str()), (StatusCode::UNAUTHORIZED, "denied"));
        assert!(refusal.hint.contains("log in to the cluster again"), "{refusal:?}");
        let refusal = told_of(StatusCode::FORBIDDEN, r#"{"message":"you cannot get services/proxy"}"#);
        assert_eq!(refusal.status, StatusCode::FORBIDDEN);
        assert!(refusal.hint.contains("bpfman-console-user"), "{refusal:?}");
        assert_eq!(told_of(StatusCode::BAD_GATEWAY, "").status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(of_server(StatusCode::UNAUTHORIZED, br#"{"error":{"reason":"denied"}}"#, "bpfman").is_none());
    }
}
