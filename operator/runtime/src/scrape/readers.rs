//! Authorization of metrics readers: the API server must accept the token and allow `get` of the path.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::{Api, Client};
use sha2::{Digest as _, Sha256};

use crate::manager::Manager;

/// Time for which a reader's permission is remembered: a scrape every 15 s costs two requests a minute instead of eight.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);

const REMEMBERED: usize = 64;

const ANSWER: Duration = Duration::from_secs(5);

/// Decision of the API server about a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReaderVerdict {
    /// The reader is allowed.
    Allowed,
    /// The token is missing or not accepted: 401.
    Unknown,
    /// The reader has no permission: 403.
    Refused { user: String },
}

/// Error that leaves the decision open: 503.
#[derive(Debug, thiserror::Error)]
pub enum DecisionUnavailable {
    #[error("the API server does not answer who may read metrics")]
    Away,
    /// The API server rejected the review, or the connection failed.
    #[error("the API server does not say who may read metrics: {0}")]
    Server(Box<kube::Error>),
}

/// Authorizer of readers.
pub struct Readers {
    client: Client,
    manager: Manager,
    /// Keyed by the hash of token and path, so that no tokens are kept in memory.
    allowed: Mutex<HashMap<[u8; 32], Instant>>,
}

impl Readers {
    /// Returns an authorizer that asks the API server through `client`.
    #[must_use]
    pub fn new(client: Client, manager: Manager) -> Self {
        Self { client, manager, allowed: Mutex::default() }
    }

    /// Decides whether the bearer of an `Authorization` header may get a path; an error denies access.
    pub async fn authorize(
        &self,
        authorization: Option<&str>,
        path: &str,
    ) -> Result<ReaderVerdict, DecisionUnavailable> {
        let Some(token) = authorization.and_then(bearer) else { return Ok(ReaderVerdict::Unknown) };
        let key = key(token, path);
        if self.remembers(&key, Instant::now()) {
            return Ok(ReaderVerdict::Allowed);
        }
        let asked = tokio::time::timeout(ANSWER, self.ask(token, path)).await;
        let verdict = asked
            .map_err(|_| DecisionUnavailable::Away)?
            .map_err(|error| DecisionUnavailable::Server(Box::new(error)))?;
        if verdict == ReaderVerdict::Allowed {
            self.remember(key, Instant::now());
        }
        Ok(verdict)
    }

    async fn ask(&self, token: &str, path: &str) -> kube::Result<ReaderVerdict> {
        let spec = TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let status = reviews.create(&self.manager.post(), &review).await?.status.unwrap_or_default();
        let Some(user) = status.user.filter(|_| status.authenticated == Some(true)) else {
            return Ok(ReaderVerdict::Unknown);
        };
        let name = user.username.clone().unwrap_or_default();
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let status =
            reviews.create(&self.manager.post(), &access(user, path)).await?.status.unwrap_or_default();
        Ok(if status.allowed { ReaderVerdict::Allowed } else { ReaderVerdict::Refused { user: name } })
    }

    fn remembers(&self, key: &[u8; 32], now: Instant) -> bool {
        let allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        allowed.get(key).is_some_and(|since| now.duration_since(*since) < REMEMBERED_FOR)
    }

    fn remember(&self, key: [u8; 32], now: Instant) {
        let mut allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        allowed.retain(|_, since| now.duration_since(*since) < REMEMBERED_FOR);
        if allowed.len() < REMEMBERED {
            allowed.insert(key, now);
        }
    }
}

fn access(user: UserInfo, path: &str) -> SubjectAccessReview {
    let attributes = NonResourceAttributes { path: Some(path.to_owned()), verb: Some("get".to_owned()) };
    let spec = SubjectAccessReviewSpec {
        user: user.username,
        uid: user.uid,
        groups: user.groups,
        extra: user.extra,
        non_resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    SubjectAccessReview { spec, ..SubjectAccessReview::default() }
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn key(token: &str, path: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update((token.len() as u64).to_le_bytes());
    hash.update(token);
    hash.update(path);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    fn server() -> (Readers, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            count.fetch_add(1, Ordering::Relaxed);
            async move {
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect_bytes().await?;
                let mut review: serde_json::Value = serde_json::from_slice(&body)?;
                review["status"] = if path.ends_with("/tokenreviews") {
                    match review["spec"]["token"] == "known" {
                        true => json!({ "authenticated": true, "user": { "username": "scraper" } }),
                        false => json!({ "authenticated": false, "user": {} }),
                    }
                } else {
                    assert_eq!(review["spec"]["user"], "scraper");
                    let asked = &review["spec"]["nonResourceAttributes"];
                    json!({ "allowed": *asked == json!({ "path": "/metrics", "verb": "get" }) })
                };
                let answer = serde_json::to_vec(&review)?;
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Response::new(Body::from(answer)))
            }
        });
        (Readers::new(Client::new(service, "default"), Manager::Agent), asked)
    }

    #[tokio::test]
    async fn api_server_authorizes_scrapes_and_its_answer_is_cached() {
        let (readers, asked) = server();
        for _ in 0..3 {
            let verdict = readers.authorize(Some("Bearer known"), "/metrics").await.unwrap();
            assert_eq!(verdict, ReaderVerdict::Allowed);
        }
        assert_eq!(asked.load(Ordering::Relaxed), 2, "who it is, and whether it may");
        let refused = ReaderVerdict::Refused { user: "scraper".to_owned() };
        assert_eq!(readers.authorize(Some("bearer known"), "/other").await.unwrap(), refused);
        assert_eq!(
            readers.authorize(Some("Bearer another"), "/metrics").await.unwrap(),
            ReaderVerdict::Unknown
        );
    }

    #[tokio::test]
    async fn request_without_token_needs_no_review() {
        let (readers, asked) = server();
        for header in [None, Some(""), Some("Bearer"), Some("Bearer "), Some("Basic known")] {
            assert_eq!(
                readers.authorize(header, "/metrics").await.unwrap(),
                ReaderVerdict::Unknown,
                "{header:?}"
            );
        }
        assert_eq!(asked.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn an_allowed_reader_is_asked_about_again_after_a_minute() {
        let (readers, _) = server();
        let (now, key) = (Instant::now(), key("known", "/metrics"));
        readers.remember(key, now);
        assert!(readers.remembers(&key, now + REMEMBERED_FOR - Duration::from_secs(1)));
        assert!(!readers.remembers(&key, now + REMEMBERED_FOR));
    }
}
