use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use axum::serve::IncomingStream;
use bpfman_application::scope::Scope;
use bpfman_console::{ConsoleAnswer, ConsoleRefusal, ConsoleRequest};
use k8s_openapi::api::authentication::v1::UserInfo;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::fleet::FleetFacts;
use super::node::ExplainedNode;
use super::refused_sources::RefusedSources;
use super::rights::{ConsoleRights, FleetPermissions, PermissionLookupError};
use crate::controller::memory::Memory;
use bpfman_runtime::tls::TlsListener;

/// Header with the user's token, because the API server's proxy strips `Authorization`.
const TOKEN: &str = "x-bpfman-token";

const AT_A_TIME: usize = 32;

/// Maximum number of unknown tokens that wait for their review. Known tokens do not wait with them.
const WAITING: usize = 64;

/// Time between two reviews for addresses whose tokens were refused; [`WAITING`] of them take less than [`ANSWER`].
const PACE: Duration = Duration::from_millis(100);

const ANSWER: Duration = Duration::from_secs(10);

/// Query of the controller's memory, executed by its loop between two events.
pub type ConsoleQuestion = Box<dyn FnOnce(&mut Memory) + Send>;

struct FleetConsole {
    rights: ConsoleRights,
    questions: mpsc::Sender<ConsoleQuestion>,
    places: Semaphore,
    waiting: Semaphore,
    one_by_one: tokio::sync::Mutex<()>,
    refused: RefusedSources,
}

impl FleetConsole {
    fn new(rights: ConsoleRights, questions: mpsc::Sender<ConsoleQuestion>) -> Self {
        Self {
            rights,
            questions,
            places: Semaphore::new(AT_A_TIME),
            waiting: Semaphore::new(WAITING),
            one_by_one: tokio::sync::Mutex::default(),
            refused: RefusedSources::default(),
        }
    }
}

#[derive(Clone, Copy)]
struct Source(SocketAddr);

impl Connected<IncomingStream<'_, TlsListener>> for Source {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// Serves the console's requests, restricted to each user's permissions.
pub async fn serve_console(
    rights: ConsoleRights,
    listener: TlsListener,
    questions: mpsc::Sender<ConsoleQuestion>,
) -> std::io::Result<()> {
    let console = Arc::new(FleetConsole::new(rights, questions));
    let router = Router::new().route("/api/{*path}", get(answer)).with_state(console);
    axum::serve(listener, router.into_make_service_with_connect_info::<Source>()).await
}

async fn answer(
    State(console): State<Arc<FleetConsole>>,
    ConnectInfo(Source(source)): ConnectInfo<Source>,
    request: Request,
) -> Response {
    let token = request.headers().get(TOKEN).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let asked = ConsoleRequest {
        method: request.method().clone(),
        path: request.uri().path().trim_start_matches("/api/").to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        body: Default::default(),
    };
    let answered = console.answer(source.ip(), token.as_deref(), &asked).await;
    answered.unwrap_or_else(Into::into).into_response().map(Body::new)
}

impl FleetConsole {
    async fn answer(
        &self,
        source: IpAddr,
        token: Option<&str>,
        asked: &ConsoleRequest,
    ) -> Result<ConsoleAnswer, ConsoleRefusal> {
        let user = match token {
            Some(token) => self.user(source, token).await?,
            None => None,
        };
        let Some(user) = user else {
            return Err(ConsoleRefusal::new(
                StatusCode::UNAUTHORIZED,
                "denied",
                "the API server knows no account of this token",
            )
            .with_hint("log in to the cluster again, and start `kubectl bpfman console` again"));
        };
        let _place = self.places.try_acquire().map_err(|_full| {
            let message = format!("{AT_A_TIME} questions are being answered, as many as may be");
            ConsoleRefusal::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
        })?;
        match asked.path.as_str() {
            "about" => {
                Ok(ConsoleAnswer::json(&json!({ "kind": "fleet", "version": env!("CARGO_PKG_VERSION") })))
            }
            "fleet" => self.fleet(&user).await,
            "node" => {
                let name = asked.asked("name").ok_or_else(|| ConsoleRefusal::invalid("which node?"))?;
                self.node(&user, name).await
            }
            _ => Err(ConsoleRefusal::not_found(&asked.path)),
        }
    }

    async fn user(&self, source: IpAddr, token: &str) -> Result<Option<UserInfo>, ConsoleRefusal> {
        if let Some(user) = self.rights.remembered(token) {
            return Ok(Some(user));
        }
        if self.rights.knows(token) {
            return self.rights.who(token).await.map_err(unsaid);
        }
        let _waiting = self.waiting.try_acquire().map_err(|_full| {
            let message = format!("{WAITING} unknown tokens wait for their review: try again in ten seconds");
            ConsoleRefusal::new(StatusCode::TOO_MANY_REQUESTS, "busy", message)
        })?;
        if !self.refused.is_crowded(source, Instant::now()) {
            return self.review(source, token).await;
        }
        let _turn = self.one_by_one.lock().await;
        tokio::time::sleep(PACE).await;
        self.review(source, token).await
    }

    async fn review(&self, source: IpAddr, token: &str) -> Result<Option<UserInfo>, ConsoleRefusal> {
        let user = self.rights.who(token).await.map_err(unsaid)?;
        if user.is_none() {
            self.refused.count(source, Instant::now());
        }
        Ok(user)
    }

    async fn fleet(&self, user: &UserInfo) -> Result<ConsoleAnswer, ConsoleRefusal> {
        let mut sight = self.sight(user).await?;
        let seen = sight.clone();
        let in_rollouts = self
            .ask(move |memory| -> Vec<(Scope, Option<String>, String)> {
                let views = memory.applications().map(|view| view.application);
                let seen = views.filter(|one| one.rollout.is_some() && seen.sees(one.namespace.as_deref()));
                seen.map(|one| (one.scope, one.namespace.clone(), one.name.clone())).collect()
            })
            .await?;
        sight.may_change = self.rights.changeable(user, in_rollouts).await.map_err(unsaid)?;
        let facts = self.ask(move |memory| FleetFacts::new(memory, &sight)).await?;
        Ok(ConsoleAnswer::json(&facts))
    }

    async fn node(&self, user: &UserInfo, name: String) -> Result<ConsoleAnswer, ConsoleRefusal> {
        let sight = self.sight(user).await?;
        if !sight.nodes {
            return Err(denied(&sight.user, "list nodes", "a role with `list` of nodes, such as view"));
        }
        let asked = name.clone();
        let facts = self.ask(move |memory| ExplainedNode::new(memory, &sight, &asked)).await?;
        let no_node =
            || ConsoleRefusal::new(StatusCode::NOT_FOUND, "not-found", format!("there is no node {name:?}"));
        facts.map(|facts| ConsoleAnswer::json(&facts)).ok_or_else(no_node)
    }

    async fn sight(&self, user: &UserInfo) -> Result<FleetPermissions, ConsoleRefusal> {
        let namespaces = self
            .ask(|memory| -> BTreeSet<String> {
                memory.applications().filter_map(|view| view.application.namespace.clone()).collect()
            })
            .await?;
        let sight = self.rights.sight(user, &namespaces).await.map_err(unsaid)?;
        if sight.is_blind() {
            let roles = "the ClusterRole bpfman-clusterbpfapplication-viewer-role or bpfman-bpfapplication-viewer-role";
            return Err(denied(&sight.user, "list applications of eBPF programs, nor nodes", roles));
        }
        Ok(sight)
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Result<T, ConsoleRefusal> {
        let late = || {
            ConsoleRefusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unreachable",
                "the controller does not answer in time",
            )
        };
        let (told, answer) = oneshot::channel();
        let question: ConsoleQuestion = Box::new(move |memory| {
            let _gone = told.send(question(memory));
        });
        let asked = async {
            self.questions.send(question).await.map_err(|_| late())?;
            answer.await.map_err(|_| late())
        };
        tokio::time::timeout(ANSWER, asked).await.unwrap_or_else(|_| Err(late()))
    }
}

fn denied(user: &str, what: &str, role: &str) -> ConsoleRefusal {
    ConsoleRefusal::new(StatusCode::FORBIDDEN, "denied", format!("{user} may not {what}"))
        .with_hint(format!("an administrator can bind you to {role}"))
}

fn unsaid(error: PermissionLookupError) -> ConsoleRefusal {
    ConsoleRefusal::new(StatusCode::SERVICE_UNAVAILABLE, "unreachable", error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{Request, Response, StatusCode};
    use kube::Client;
    use kube::client::Body;

    use super::*;

    fn console() -> (Arc<FleetConsole>, Arc<AtomicUsize>) {
        let reviews = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&reviews);
        let service = tower::service_fn(move |request: Request<Body>| {
            let counted = Arc::clone(&counted);
            async move {
                let body = request.into_body().collect_bytes().await?;
                let mut review: serde_json::Value = serde_json::from_slice(&body)?;
                counted.fetch_add(1, Ordering::Relaxed);
                let is_valid =
                    review["spec"]["token"].as_str().is_some_and(|token| token.starts_with("valid"));
                review["status"] = json!({ "authenticated": is_valid, "user": { "username": "ann" } });
                let answer = serde_json::to_vec(&review)?;
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Response::new(Body::from(answer)))
            }
        });
        let (questions, _memory) = mpsc::channel(1);
        (Arc::new(FleetConsole::new(ConsoleRights::new(Client::new(service, "default")), questions)), reviews)
    }

    async fn ask(console: &FleetConsole, source: IpAddr, token: &str) -> StatusCode {
        let asked = ConsoleRequest {
            method: http::Method::GET,
            path: "about".to_owned(),
            query: String::new(),
            body: Default::default(),
        };
        match console.answer(source, Some(token), &asked).await {
            Ok(_) => StatusCode::OK,
            Err(refusal) => refusal.status,
        }
    }

    const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7));

    #[tokio::test(start_paused = true)]
    async fn wrong_tokens_ask_the_api_server_ten_times_a_second() {
        let (console, reviews) = console();
        for number in 0..10 {
            assert_eq!(ask(&console, PROXY, &format!("wrong-{number}")).await, StatusCode::UNAUTHORIZED);
        }
        let mut flood = tokio::task::JoinSet::new();
        for number in 0..200 {
            let console = Arc::clone(&console);
            flood.spawn(async move { ask(&console, PROXY, &format!("flood-{number}")).await });
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let asked = reviews.load(Ordering::Relaxed) - 10;
        assert!((5..=11).contains(&asked), "{asked}");
        let answers = flood.join_all().await;
        let count = |status| answers.iter().filter(|answer| **answer == status).count();
        assert_eq!((count(StatusCode::UNAUTHORIZED), count(StatusCode::TOO_MANY_REQUESTS)), (64, 136));
    }

    #[tokio::test(start_paused = true)]
    async fn valid_token_is_answered_behind_an_address_of_wrong_ones() {
        let (console, _) = console();
        assert_eq!(ask(&console, PROXY, "valid-ann").await, StatusCode::OK);
        for number in 0..30 {
            assert_eq!(ask(&console, PROXY, &format!("wrong-{number}")).await, StatusCode::UNAUTHORIZED);
        }
        assert!(console.refused.is_crowded(PROXY, Instant::now()));
        assert_eq!(ask(&console, PROXY, "valid-bob").await, StatusCode::OK, "an unknown one waits its turn");
        let mut flood = tokio::task::JoinSet::new();
        for number in 0..200 {
            let console = Arc::clone(&console);
            flood.spawn(async move { ask(&console, PROXY, &format!("flood-{number}")).await });
        }
        // The runtime polls some tens of tasks at a time.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(console.waiting.available_permits(), 0);
        console.rights.forget_users();
        assert_eq!(ask(&console, PROXY, "valid-ann").await, StatusCode::OK, "a known one waits for no other");
        assert!(console.waiting.available_permits() < WAITING, "the flood still waits");
    }
}
