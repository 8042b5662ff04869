use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bpfman_application::scope::Scope;
use bpfman_runtime::manager::Manager;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::{Api, Client};
use sha2::{Digest as _, Sha256};

const REMEMBERED_FOR: Duration = Duration::from_secs(15);

/// Time for which a valid token is reviewed again without waiting behind unknown ones.
const KNOWN_FOR: Duration = Duration::from_secs(3600);

const REMEMBERED: usize = 4096;

const ANSWER: Duration = Duration::from_secs(5);

const MAX_CONCURRENT_REQUESTS: usize = 16;

const GROUP: &str = "bpfman.io";

#[derive(Debug, thiserror::Error)]
pub enum PermissionLookupError {
    #[error("the API server does not answer who may see the fleet")]
    Away,
    #[error("the API server does not say who may see the fleet: {0}")]
    Server(Box<kube::Error>),
}

/// Client for token and access reviews, with a cache of their answers.
pub struct ConsoleRights {
    client: Client,
    users: Mutex<HashMap<[u8; 32], (Instant, UserInfo)>>,
    known: Mutex<HashMap<[u8; 32], Instant>>,
    allowed: Mutex<HashMap<[u8; 32], (Instant, bool)>>,
}

/// Permissions of a user on the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetPermissions {
    pub user: String,
    /// True if the user may list nodes: their names, kernels, and the state of applications on each.
    pub nodes: bool,
    /// True if the user may list cluster applications.
    pub cluster: bool,
    /// True if the user may list applications in all namespaces.
    pub all_namespaces: bool,
    /// Namespaces in which the user may list applications.
    pub namespaces: BTreeSet<String>,
    /// Applications of which the user may promote and abort the rollouts.
    pub may_change: BTreeSet<(Option<String>, String)>,
}

impl FleetPermissions {
    /// Returns whether the user may see applications of this namespace, or cluster applications.
    #[must_use]
    pub fn sees(&self, namespace: Option<&str>) -> bool {
        match namespace {
            None => self.cluster,
            Some(namespace) => self.all_namespaces || self.namespaces.contains(namespace),
        }
    }

    /// Returns whether the user may see nothing at all.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        !self.nodes && !self.cluster && !self.all_namespaces && self.namespaces.is_empty()
    }
}

impl ConsoleRights {
    /// Creates a client with empty caches.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, users: Mutex::default(), known: Mutex::default(), allowed: Mutex::default() }
    }

    /// Returns the user of a token that was reviewed a short time ago.
    pub fn remembered(&self, token: &str) -> Option<UserInfo> {
        remembered(&self.users, &Sha256::digest(token).into())
    }

    /// Returns whether the token was valid when it was reviewed last.
    pub fn knows(&self, token: &str) -> bool {
        let key: [u8; 32] = Sha256::digest(token).into();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&key).is_some_and(|since| since.elapsed() < KNOWN_FOR)
    }

    #[cfg(test)]
    pub(super) fn forget_users(&self) {
        self.users.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn note(&self, key: [u8; 32], is_valid: bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_valid {
            known.remove(&key);
            return;
        }
        if known.len() >= REMEMBERED {
            known.retain(|_, since| since.elapsed() < KNOWN_FOR);
        }
        if known.len() < REMEMBERED || known.contains_key(&key) {
            known.insert(key, Instant::now());
        }
    }

    /// Asks for the user of a token; `None` if the token is not valid.
    pub async fn who(&self, token: &str) -> Result<Option<UserInfo>, PermissionLookupError> {
        let key: [u8; 32] = Sha256::digest(token).into();
        let spec = TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let status = answered(reviews.create(&Manager::Controller.post(), &review)).await?.status;
        let status = status.unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true));
        self.note(key, user.is_some());
        if let Some(user) = &user {
            remember(&self.users, key, user.clone());
        }
        Ok(user)
    }

    /// Returns the permissions of a user on a fleet with applications in these namespaces.
    pub async fn sight(
        &self,
        user: &UserInfo,
        namespaces: &BTreeSet<String>,
    ) -> Result<FleetPermissions, PermissionLookupError> {
        let list = |group: &str, resource: &str, namespace: &str| ResourceAttributes {
            verb: Some("list".to_owned()),
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ResourceAttributes::default()
        };
        let mut sight = FleetPermissions {
            user: user.username.clone().unwrap_or_default(),
            nodes: self.may(user, list("", "nodes", "")).await?,
            cluster: self.may(user, list(GROUP, "clusterbpfapplications", "")).await?,
            all_namespaces: self.may(user, list(GROUP, "bpfapplications", "")).await?,
            ..FleetPermissions::default()
        };
        if !sight.all_namespaces {
            let questions = namespaces
                .iter()
                .map(|namespace| (namespace.clone(), list(GROUP, "bpfapplications", namespace)))
                .collect();
            sight.namespaces = self.those_allowed(user, questions).await?;
        }
        Ok(sight)
    }

    /// Returns the applications that a user may annotate, which is what `promote` and `abort` do.
    pub async fn changeable(
        &self,
        user: &UserInfo,
        applications: impl IntoIterator<Item = (Scope, Option<String>, String)>,
    ) -> Result<BTreeSet<(Option<String>, String)>, PermissionLookupError> {
        let question = |(scope, namespace, name): (Scope, Option<String>, String)| {
            let resource = match scope {
                Scope::Cluster => "clusterbpfapplications",
                Scope::Namespaced => "bpfapplications",
            };
            let attributes = ResourceAttributes {
                verb: Some("patch".to_owned()),
                group: Some(GROUP.to_owned()),
                resource: Some(resource.to_owned()),
                namespace: namespace.clone(),
                name: Some(name.clone()),
                ..ResourceAttributes::default()
            };
            ((namespace, name), attributes)
        };
        let questions = applications.into_iter().map(question).collect();
        self.those_allowed(user, questions).await
    }

    /// An error of any request fails the whole call: a partial answer would present allowed items as forbidden.
    async fn those_allowed<T: Ord>(
        &self,
        user: &UserInfo,
        questions: Vec<(T, ResourceAttributes)>,
    ) -> Result<BTreeSet<T>, PermissionLookupError> {
        let answers: Vec<Option<T>> = stream::iter(questions)
            .map(|(what, attributes)| async move {
                let allowed = self.may(user, attributes).await?;
                Ok::<_, PermissionLookupError>(allowed.then_some(what))
            })
            .buffer_unordered(MAX_CONCURRENT_REQUESTS)
            .try_collect()
            .await?;
        Ok(answers.into_iter().flatten().collect())
    }

    async fn may(
        &self,
        user: &UserInfo,
        attributes: ResourceAttributes,
    ) -> Result<bool, PermissionLookupError> {
        let spec = SubjectAccessReviewSpec {
            user: user.username.clone(),
            uid: user.uid.clone(),
            groups: user.groups.clone(),
            extra: user.extra.clone(),
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        };
        let key: [u8; 32] = Sha256::digest(serde_json::to_vec(&spec).unwrap_or_default()).into();
        if let Some(allowed) = remembered(&self.allowed, &key) {
            return Ok(allowed);
        }
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let status = answered(reviews.create(&Manager::Controller.post(), &review)).await?.status;
        let allowed = status.is_some_and(|status| status.allowed);
        remember(&self.allowed, key, allowed);
        Ok(allowed)
    }
}

async fn answered<T>(asked: impl Future<Output = kube::Result<T>>) -> Result<T, PermissionLookupError> {
    let answer = tokio::time::timeout(ANSWER, asked).await.map_err(|_| PermissionLookupError::Away)?;
    answer.map_err(|error| PermissionLookupError::Server(Box::new(error)))
}

type Answers<T> = Mutex<HashMap<[u8; 32], (Instant, T)>>;

fn remembered<T: Clone>(answers: &Answers<T>, key: &[u8; 32]) -> Option<T> {
    let answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
    answers.get(key).filter(|(since, _)| since.elapsed() < REMEMBERED_FOR).map(|(_, answer)| answer.clone())
}

fn remember<T>(answers: &Answers<T>, key: [u8; 32], answer: T) {
    let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
    if answers.len() >= REMEMBERED {
        answers.retain(|_, (since, _)| since.elapsed() < REMEMBERED_FOR);
    }
    if answers.len() < REMEMBERED {
        answers.insert(key, (Instant::now(), answer));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    fn server(allowed: &'static str) -> (ConsoleRights, Arc<AtomicUsize>) {
        let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&most);
        let service = tower::service_fn(move |request: Request<Body>| {
            let open = Arc::clone(&open);
            seen.fetch_max(open.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            async move {
                let body = request.into_body().collect_bytes().await?;
                let mut review: Value = serde_json::from_slice(&body)?;
                let is_allowed = review["spec"]["resourceAttributes"]["namespace"] == allowed;
                review["status"] = json!({ "allowed": is_allowed });
                tokio::task::yield_now().await;
                open.fetch_sub(1, Ordering::Relaxed);
                let answer = serde_json::to_vec(&review)?;
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Response::new(Body::from(answer)))
            }
        });
        (ConsoleRights::new(Client::new(service, "default")), most)
    }

    #[tokio::test]
    async fn user_with_last_namespace_sees_and_changes_it() {
        let (rights, most) = server("n199");
        let user = UserInfo { username: Some("ann".to_owned()), ..UserInfo::default() };
        let namespaces: BTreeSet<String> = (0..200).map(|number| format!("n{number:03}")).collect();
        let sight = rights.sight(&user, &namespaces).await.unwrap();
        assert!(!sight.is_blind() && !sight.all_namespaces);
        assert_eq!(sight.namespaces, BTreeSet::from(["n199".to_owned()]));
        let applications =
            namespaces.iter().map(|one| (Scope::Namespaced, Some(one.clone()), "web".to_owned()));
        let changeable = rights.changeable(&user, applications).await.unwrap();
        assert_eq!(changeable, BTreeSet::from([(Some("n199".to_owned()), "web".to_owned())]));
        let most = most.load(Ordering::Relaxed);
        assert!(most <= MAX_CONCURRENT_REQUESTS, "{most} questions at the same time");
    }

    #[test]
    fn applications_are_seen_by_namespace() {
        let mut sight = FleetPermissions::default();
        assert!(sight.is_blind() && !sight.sees(None) && !sight.sees(Some("shop")));
        sight.namespaces.insert("shop".to_owned());
        assert!(
            !sight.is_blind() && sight.sees(Some("shop")) && !sight.sees(Some("other")) && !sight.sees(None)
        );
        sight.all_namespaces = true;
        assert!(sight.sees(Some("other")) && !sight.sees(None));
    }
}
