use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, WWW_AUTHENTICATE};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde::Deserialize;

use crate::authorization::Authorization;
use crate::{RegistryAccess, RegistryError, tls_failure};
use bpfman_image_format::REFUSAL_LIMIT;
use bpfman_image_format::{Challenge, Credential, ImageReference, RegistryAnswer, causes};

pub(crate) const CONNECT: Duration = Duration::from_secs(10);
pub(crate) const ANSWER: Duration = Duration::from_secs(30);
pub(crate) const USER_AGENT: &str = concat!("bpfman/", env!("CARGO_PKG_VERSION"));
const MAX_REDIRECTS: usize = 5;
const TOKEN_LIMIT: u64 = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RegistryUse {
    Pull,
    Push,
}

impl RegistryUse {
    const fn actions(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "pull,push",
        }
    }
}

pub(crate) struct RegistryRequest<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) accept: Option<&'a str>,
    pub(crate) what: &'a str,
}

pub(crate) struct RegistryConnection {
    http: Client,
    registry: String,
    base: Url,
    scope: String,
    credential: Option<Credential>,
    authorization: Mutex<Option<Authorization>>,
}

impl RegistryConnection {
    pub(crate) fn new(
        image: &ImageReference,
        access: &RegistryAccess,
        use_of: RegistryUse,
    ) -> Result<Self, RegistryError> {
        let plain = access.is_plain(image);
        // Docker's registry has another host than the name in its images.
        let host = if image.registry() == "docker.io" { "index.docker.io" } else { image.registry() };
        let scheme = if plain { "http" } else { "https" };
        let base = format!("{scheme}://{host}/v2/{}/", image.repository());
        let base: Url = base.parse().map_err(|error| RegistryError::Client(format!("{base}: {error}")))?;
        let mut http = Client::builder().user_agent(USER_AGENT).connect_timeout(CONNECT).redirect(
            Policy::custom(|attempt| {
                let loses_tls = attempt.url().scheme() != "https"
                    && attempt.previous().iter().any(|url| url.scheme() == "https");
                if loses_tls || attempt.previous().len() > MAX_REDIRECTS {
                    return attempt.stop();
                }
                attempt.follow()
            }),
        );
        if image.is_loopback() {
            // No proxy is between this machine and itself.
            http = http.no_proxy();
        }
        http = match &access.authorities {
            Some(authorities) => http.tls_certs_only(authorities.certificates()?),
            // Plain HTTP needs no authorities, and works on machines without any.
            None if plain => http.tls_certs_only([]),
            None => http,
        };
        Ok(Self {
            http: http.build().map_err(|error| RegistryError::Client(causes(&error)))?,
            registry: image.registry().to_owned(),
            base,
            scope: format!("repository:{}:{}", image.repository(), use_of.actions()),
            credential: access.credential.clone(),
            authorization: Mutex::default(),
        })
    }

    pub(crate) fn url(&self, part: &str, what: &str) -> Result<Url, RegistryError> {
        self.base.join(part).map_err(|error| self.refused(what, format!("no address: {error}")))
    }

    /// Sends a request, and again with a token if the registry requests one. Returns answers of any status.
    pub(crate) async fn send(&self, request: &RegistryRequest<'_>) -> Result<Response, RegistryError> {
        // Fetch a token once more: the current one may have expired.
        let mut asked = false;
        loop {
            let mut sent = self.http.request(request.method.clone(), request.url.clone());
            if let Some(accept) = request.accept {
                sent = sent.header(ACCEPT, accept);
            }
            if let Some(authorization) = self.authorization() {
                let header = authorization.header().map_err(|_| self.no_header(request.what))?;
                sent = sent.header(AUTHORIZATION, header);
            }
            let response = self.in_time(sent.send()).await?.map_err(|error| self.broken(error))?;
            if response.status() != StatusCode::UNAUTHORIZED || asked {
                return Ok(response);
            }
            self.authorize(response, request.what).await?;
            asked = true;
        }
    }

    pub(crate) async fn good(&self, request: &RegistryRequest<'_>) -> Result<Response, RegistryError> {
        let response = self.send(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let is_missing = response.status() == StatusCode::NOT_FOUND;
        let answer = self.answer(response).await;
        if is_missing {
            let what = request.what;
            return Err(RegistryError::NotFound(match answer.unusual_words() {
                Some(words) => format!("{what} (the registry says {words})"),
                None => what.to_owned(),
            }));
        }
        Err(self.answered(request.what, &answer))
    }

    pub(crate) async fn renew_authorization(&self, what: &str) -> Result<bool, RegistryError> {
        let entrance = self.url("/v2/", what)?;
        let response =
            self.in_time(self.http.get(entrance).send()).await?.map_err(|error| self.broken(error))?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(false);
        }
        self.authorize(response, what).await.map(|()| true)
    }

    pub(crate) fn authorization(&self) -> Option<Authorization> {
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn answer(&self, mut response: Response) -> RegistryAnswer {
        // If the body cannot be read, the status alone is reported.
        let body = self.body(&mut response, REFUSAL_LIMIT as u64).await.unwrap_or_default();
        RegistryAnswer::new(response.status(), response.headers(), &body)
    }

    pub(crate) async fn body(&self, response: &mut Response, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let mut bytes = Vec::new();
        loop {
            let piece = self.in_time(response.chunk()).await?.map_err(|error| self.broken(error))?;
            let Some(piece) = piece else { return Ok(bytes) };
            if bytes.len() as u64 + piece.len() as u64 > limit {
                return Err(self.refused(response.url().path(), format!("it sends more than {limit} bytes")));
            }
            bytes.extend_from_slice(&piece);
        }
    }

    async fn authorize(&self, response: Response, what: &str) -> Result<(), RegistryError> {
        let challenges = challenges(response.headers());
        let bearer = Challenge::of_scheme(&challenges, "bearer").and_then(|challenge| {
            let realm = challenge.parameter("realm")?;
            Some((realm, challenge.parameter("service")))
        });
        let authorization = match (bearer, &self.credential) {
            (Some((realm, service)), _) => Authorization::Bearer(self.token(realm, service, what).await?),
            (None, Some(credential)) if Challenge::of_scheme(&challenges, "basic").is_some() => {
                Authorization::Basic(credential.clone())
            }
            (None, Some(_)) => return Err(self.answered(what, &self.answer(response).await)),
            (None, None) => {
                let why = "it wants a user and a password, and none were given".to_owned();
                return Err(self.unauthorized(what, why));
            }
        };
        authorization.header().map_err(|_| self.no_header(what))?;
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(authorization);
        Ok(())
    }

    async fn token(&self, realm: &str, service: Option<&str>, what: &str) -> Result<String, RegistryError> {
        let refused = |why: String| self.unauthorized(what, why);
        let mut url: Url =
            realm.parse().map_err(|_| refused("it names no address to get a token from".to_owned()))?;
        let host = url.host_str().unwrap_or_default().to_owned();
        if url.scheme() != "https" && (self.base.scheme() == "https" || url.scheme() != "http") {
            return Err(refused(format!("it wants credentials sent to {host}, without TLS")));
        }
        let mut query = url.query_pairs_mut();
        if let Some(service) = service {
            query.append_pair("service", service);
        }
        query.append_pair("scope", &self.scope);
        drop(query);
        let mut request = self.http.get(url);
        if let Some(credential) = &self.credential {
            let header = Authorization::Basic(credential.clone()).header();
            request = request.header(AUTHORIZATION, header.map_err(|_| self.no_header(what))?);
        }
        let late = |_| refused(format!("no token from {host} in {} s", ANSWER.as_secs()));
        let mut response = tokio::time::timeout(ANSWER, request.send())
            .await
            .map_err(late)?
            .map_err(|error| refused(format!("no token from {host}: {}", causes(&error.without_url()))))?;
        if !response.status().is_success() {
            let answer = self.answer(response).await;
            return Err(refused(format!("no token from {host}: it answers {answer}")));
        }
        let answer = self.body(&mut response, TOKEN_LIMIT).await?;
        TokenAnswer::read(&answer).ok_or_else(|| refused(format!("{host} gives no token")))
    }

    async fn in_time<T>(&self, waits: impl Future<Output = T>) -> Result<T, RegistryError> {
        let late = |_| self.unreachable(format!("nothing came in {} s", ANSWER.as_secs()));
        tokio::time::timeout(ANSWER, waits).await.map_err(late)
    }

    pub(crate) fn broken(&self, error: reqwest::Error) -> RegistryError {
        let (tls, why) = (tls_failure(&error), causes(&error.without_url()));
        RegistryError::Unreachable { registry: self.registry.clone(), why, tls }
    }

    pub(crate) fn unreachable(&self, why: String) -> RegistryError {
        RegistryError::Unreachable { registry: self.registry.clone(), why, tls: None }
    }

    pub(crate) fn answered(&self, what: &str, answer: &RegistryAnswer) -> RegistryError {
        let why = format!("it answers {answer}");
        if matches!(answer.status(), 401 | 403) {
            self.unauthorized(what, why)
        } else {
            self.refused(what, why)
        }
    }

    fn no_header(&self, what: &str) -> RegistryError {
        self.unauthorized(what, "no header can carry its credential".to_owned())
    }

    pub(crate) fn unauthorized(&self, what: &str, why: String) -> RegistryError {
        RegistryError::Unauthorized { registry: self.registry.clone(), what: what.to_owned(), why }
    }

    pub(crate) fn refused(&self, what: &str, why: String) -> RegistryError {
        RegistryError::Refused { registry: self.registry.clone(), what: what.to_owned(), why }
    }
}

fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    Challenge::read(headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()))
}

/// Answer of a token service. The token has one of two names; the other may be present, but empty.
#[derive(Deserialize)]
pub struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

impl TokenAnswer {
    /// Returns the token in an answer; none if it has none.
    #[must_use]
    pub fn read(answer: &[u8]) -> Option<String> {
        let answer: Self = serde_json::from_slice(answer).ok()?;
        [answer.token, answer.access_token].into_iter().flatten().find(|token| !token.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_the_first_name_that_is_not_empty() {
        for (answer, token) in [
            (r#"{"token":"a","access_token":"b"}"#, Some("a")),
            (r#"{"token":"","access_token":"b"}"#, Some("b")),
            (r#"{"token":null,"access_token":"b","expires_in":300}"#, Some("b")),
            (r#"{"access_token":"b"}"#, Some("b")),
            (r#"{"token":""}"#, None),
            (r#"{"token":3}"#, None),
            ("[]", None),
            ("", None),
        ] {
            assert_eq!(TokenAnswer::read(answer.as_bytes()).as_deref(), token, "{answer}");
        }
    }
}
