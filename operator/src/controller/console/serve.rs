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

const ANSWER: Duration = Duration::from_secs(10);

/// Query of the controller's memory, executed by its loop between two events.
pub type ConsoleQuestion = Box<dyn FnOnce(&mut Memory) + Send>;

struct FleetConsole {
    rights: ConsoleRights,
    questions: mpsc::Sender<ConsoleQuestion>,
    places: Semaphore,
    refused: RefusedSources,
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
    let places = Semaphore::new(AT_A_TIME);
    let console = Arc::new(FleetConsole { rights, questions, places, refused: RefusedSources::default() });
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
    let answered = match console.places.try_acquire() {
        Ok(_place) => console.answer(source.ip(), token.as_deref(), &asked).await,
        Err(_) => {
            let message = format!("{AT_A_TIME} questions are being answered, as many as may be");
            Err(ConsoleRefusal::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message))
        }
    };
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
        if !self.refused.admits(source, Instant::now()) {
            let message = format!("too many tokens of {source} were refused: wait ten seconds");
            return Err(ConsoleRefusal::new(StatusCode::TOO_MANY_REQUESTS, "busy", message));
        }
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{Request, Response, StatusCode};
    use kube::Client;
    use kube::client::Body;

    use super::*;

    #[tokio::test]
    async fn wrong_tokens_of_a_pod_ask_the_api_server_a_few_times() {
        let reviews = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&reviews);
        let service = tower::service_fn(move |_: Request<Body>| {
            counted.fetch_add(1, Ordering::Relaxed);
            let review = br#"{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","metadata":{},"spec":{},"status":{}}"#;
            async { Ok::<_, std::convert::Infallible>(Response::new(Body::from(review.to_vec()))) }
        });
        let (questions, _memory) = mpsc::channel(1);
        let console = FleetConsole {
            rights: ConsoleRights::new(Client::new(service, "default")),
            questions,
            places: Semaphore::new(AT_A_TIME),
            refused: RefusedSources::default(),
        };
        let asked = ConsoleRequest {
            method: http::Method::GET,
            path: "about".to_owned(),
            query: String::new(),
            body: Default::default(),
        };
        let (pod, person) = ([10, 0, 0, 7].into(), [10, 0, 0, 8].into());
        let mut answers = Vec::new();
        for number in 0..40 {
            let refusal = console.answer(pod, Some(&format!("wrong-{number}")), &asked).await.unwrap_err();
            answers.push(refusal.status);
        }
        assert_eq!(reviews.load(Ordering::Relaxed), 10);
        assert_eq!(answers[9..11], [StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS]);
        console.answer(person, Some("another"), &asked).await.unwrap_err();
        assert_eq!(reviews.load(Ordering::Relaxed), 11, "another address is not held back");
    }
}
