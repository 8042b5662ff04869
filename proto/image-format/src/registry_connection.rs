//! Requests to one registry: its address, its challenges, bounded answers.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde::Deserialize;

use crate::registry_words::{REFUSAL_LIMIT, registry_words};
use crate::{Challenge, Credential, ImageReference, RegistryAccess, RegistryError, causes};

/// Time for a connection to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// Time for the next piece of an answer to come, beside the time that sending takes.
const ANSWER: Duration = Duration::from_secs(30);
/// The least that an upload has to send in one second, in bytes: slower ones are given up.
const MIN_UPLOAD: u64 = 16 << 10;
/// Redirects that are followed.
const MAX_REDIRECTS: usize = 5;
/// Bytes of a token service's answer.
const TOKEN_LIMIT: u64 = 64 << 10;

/// Permissions that are asked for.
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

/// One request.
pub(crate) struct RegistryRequest<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) accept: Option<&'a str>,
    /// Media type and content.
    pub(crate) content: Option<(&'a str, Bytes)>,
    /// For messages.
    pub(crate) what: &'a str,
}

/// The connection to one repository, with one credential.
pub(crate) struct RegistryConnection {
    http: Client,
    registry: String,
    /// `SCHEME://HOST/v2/REPOSITORY/`.
    base: Url,
    scope: String,
    credential: Option<Credential>,
    /// Filled once the registry has asked for it.
    authorization: Mutex<Option<HeaderValue>>,
}

impl RegistryConnection {
    /// Makes the client; connects to nothing yet.
    pub(crate) fn new(
        image: &ImageReference,
        access: RegistryAccess,
        use_of: RegistryUse,
    ) -> Result<Self, RegistryError> {
        let failed = |error: &dyn std::error::Error| RegistryError::Client(causes(error));
        let plain = access.plain_http || image.is_loopback() && access.authorities.is_none();
        // Docker's registry does not answer at the name that its images bear.
        let host = if image.registry() == "docker.io" { "index.docker.io" } else { image.registry() };
        let scheme = if plain { "http" } else { "https" };
        let base = format!("{scheme}://{host}/v2/{}/", image.repository());
        let base: Url = base.parse().map_err(|error| RegistryError::Client(format!("{base}: {error}")))?;
        let mut http = Client::builder()
            .user_agent(concat!("bpfman/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .redirect(Policy::custom(|attempt| {
                let loses_tls = attempt.url().scheme() != "https"
                    && attempt.previous().iter().any(|url| url.scheme() == "https");
                if loses_tls || attempt.previous().len() > MAX_REDIRECTS {
                    return attempt.stop();
                }
                attempt.follow()
            }));
        if image.is_loopback() {
            // No proxy stands between this machine and itself.
            http = http.no_proxy();
        }
        http = match access.authorities {
            Some(authorities) => http.tls_certs_only(authorities),
            // Plain HTTP needs no authorities, and works where there are none.
            None if plain => http.tls_certs_only([]),
            None => http,
        };
        Ok(Self {
            http: http.build().map_err(|error| failed(&error))?,
            registry: image.registry().to_owned(),
            base,
            scope: format!("repository:{}:{}", image.repository(), use_of.actions()),
            credential: access.credential,
            authorization: Mutex::default(),
        })
    }

    /// The address of a part of the repository.
    pub(crate) fn url(&self, part: &str, what: &str) -> Result<Url, RegistryError> {
        self.base.join(part).map_err(|error| self.refused(what, format!("no address: {error}")))
    }

    /// The address of an upload, by the header `Location` of the answer that begins it.
    pub(crate) fn upload_url(&self, begun: &Response, what: &str) -> Result<Url, RegistryError> {
        let location = begun.headers().get(reqwest::header::LOCATION).and_then(|value| value.to_str().ok());
        let location =
            location.ok_or_else(|| self.refused(what, "it names no place to upload to".to_owned()))?;
        let mut url = begun
            .url()
            .join(location)
            .map_err(|error| self.refused(what, format!("its place to upload to is none: {error}")))?;
        // Registries behind a proxy that ends TLS often name themselves without it.
        if self.base.scheme() == "https" && url.scheme() == "http" && url.host_str() == self.base.host_str() {
            let port = self.base.port();
            if url.set_scheme("https").and_then(|()| url.set_port(port)).is_err() {
                return Err(self.refused(what, "its place to upload to is none".to_owned()));
            }
        }
        if url.scheme() != self.base.scheme() && url.scheme() != "https" {
            let host = url.host_str().unwrap_or_default().to_owned();
            return Err(self.refused(what, format!("it wants the upload sent to {host} without TLS")));
        }
        Ok(url)
    }

    /// Sends a request, and again with a token where the registry asks for one. An answer with the status of a failure is
    /// an answer.
    pub(crate) async fn send(&self, request: &RegistryRequest<'_>) -> Result<Response, RegistryError> {
        // A token that was fetched before may have expired since: it is fetched once more.
        let mut asked = false;
        loop {
            let own = request.url.origin() == self.base.origin();
            let mut sent = self.http.request(request.method.clone(), request.url.clone());
            if let Some(accept) = request.accept {
                sent = sent.header(ACCEPT, accept);
            }
            // Storage of somebody else gets no credential of ours: its address has what it needs.
            if let Some(authorization) = self.authorization().filter(|_| own) {
                sent = sent.header(AUTHORIZATION, authorization);
            }
            let mut size = 0;
            if let Some((media_type, content)) = &request.content {
                size = content.len() as u64;
                sent = sent.header(CONTENT_TYPE, *media_type).body(content.clone());
            } else if request.method == Method::POST {
                // Some servers answer 411 to a POST that does not say that it is empty.
                sent = sent.header(reqwest::header::CONTENT_LENGTH, 0);
            }
            let time = ANSWER + Duration::from_secs(size / MIN_UPLOAD);
            let response = tokio::time::timeout(time, sent.send())
                .await
                .map_err(|_| self.unreachable(format!("no answer in {} s", time.as_secs())))?
                .map_err(|error| self.broken(error))?;
            if response.status() != StatusCode::UNAUTHORIZED || asked || !own {
                return Ok(response);
            }
            self.authorize(response, request.what).await?;
            asked = true;
        }
    }

    /// A good answer; any other is an error, told with the registry's own words.
    pub(crate) async fn good(&self, request: &RegistryRequest<'_>) -> Result<Response, RegistryError> {
        let response = self.send(request).await?;
        if response.status().is_success() { Ok(response) } else { Err(self.refusal(response, request).await) }
    }

    /// The error that an answer stands for.
    pub(crate) async fn refusal(&self, response: Response, request: &RegistryRequest<'_>) -> RegistryError {
        let (status, what) = (response.status(), request.what);
        let why = self.answer(response).await;
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.unauthorized(what, why),
            StatusCode::NOT_FOUND if matches!(request.method, Method::GET | Method::HEAD) => {
                RegistryError::NotFound(what.to_owned())
            }
            _ => self.refused(what, why),
        }
    }

    /// Status and words of an answer.
    async fn answer(&self, mut response: Response) -> String {
        let status = response.status();
        let retry_after = response.headers().get(reqwest::header::RETRY_AFTER);
        let wait = retry_after.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        // A body that cannot be read says nothing; the status does.
        let body = self.body(&mut response, REFUSAL_LIMIT as u64).await.unwrap_or_default();
        let words = registry_words(&body).map(|words| format!(": {words}")).unwrap_or_default();
        let wait = wait.map(|seconds| format!("; it asks to wait for {seconds} s")).unwrap_or_default();
        format!("it answers {status}{words}{wait}")
    }

    /// The content of an answer, up to a limit.
    pub(crate) async fn body(&self, response: &mut Response, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let mut bytes = Vec::new();
        loop {
            let piece = tokio::time::timeout(ANSWER, response.chunk())
                .await
                .map_err(|_| self.unreachable(format!("nothing more came in {} s", ANSWER.as_secs())))?
                .map_err(|error| self.broken(error))?;
            let Some(piece) = piece else { return Ok(bytes) };
            if bytes.len() as u64 + piece.len() as u64 > limit {
                return Err(self.refused(response.url().path(), format!("it sends more than {limit} bytes")));
            }
            bytes.extend_from_slice(&piece);
        }
    }

    fn authorization(&self) -> Option<HeaderValue> {
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers a registry's challenge, for this and the following requests.
    async fn authorize(&self, response: Response, what: &str) -> Result<(), RegistryError> {
        let challenges = challenges(response.headers());
        let bearer = Challenge::of_scheme(&challenges, "bearer").and_then(|challenge| {
            let realm = challenge.parameter("realm")?;
            Some((realm, challenge.parameter("service")))
        });
        let header = match (bearer, &self.credential) {
            (Some((realm, service)), _) => format!("Bearer {}", self.token(realm, service, what).await?),
            (None, Some(credential)) if Challenge::of_scheme(&challenges, "basic").is_some() => {
                credential.basic()
            }
            (None, Some(_)) => return Err(self.unauthorized(what, self.answer(response).await)),
            (None, None) => {
                let why = "it wants a user and a password, and none were given".to_owned();
                return Err(self.unauthorized(what, why));
            }
        };
        let header = self.secret(&header, what)?;
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(header);
        Ok(())
    }

    /// A header that is kept out of logs.
    fn secret(&self, text: &str, what: &str) -> Result<HeaderValue, RegistryError> {
        let mut header = HeaderValue::try_from(text)
            .map_err(|_| self.unauthorized(what, "no header can carry its token".to_owned()))?;
        header.set_sensitive(true);
        Ok(header)
    }

    /// Asks the service that the registry names for a token.
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
            request = request.header(AUTHORIZATION, self.secret(&credential.basic(), what)?);
        }
        let late = |_| refused(format!("no token from {host} in {} s", ANSWER.as_secs()));
        let mut response = tokio::time::timeout(ANSWER, request.send())
            .await
            .map_err(late)?
            .map_err(|error| refused(format!("no token from {host}: {}", causes(&error.without_url()))))?;
        if !response.status().is_success() {
            let answer = self.answer(response).await;
            return Err(refused(format!("no token from {host}: {answer}")));
        }
        let answer = self.body(&mut response, TOKEN_LIMIT).await?;
        TokenAnswer::read(&answer).ok_or_else(|| refused(format!("{host} gives no token")))
    }

    fn broken(&self, error: reqwest::Error) -> RegistryError {
        self.unreachable(causes(&error.without_url()))
    }

    fn unreachable(&self, why: String) -> RegistryError {
        RegistryError::Unreachable { registry: self.registry.clone(), why }
    }

    fn unauthorized(&self, what: &str, why: String) -> RegistryError {
        RegistryError::Unauthorized { registry: self.registry.clone(), what: what.to_owned(), why }
    }

    pub(crate) fn refused(&self, what: &str, why: String) -> RegistryError {
        RegistryError::Refused { registry: self.registry.clone(), what: what.to_owned(), why }
    }
}

/// The challenges of an answer.
fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    Challenge::read(headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()))
}

/// The answer of a token service: one of two names, of which the other may be there and empty.
#[derive(Deserialize)]
pub struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

impl TokenAnswer {
    /// The token in an answer; none if it has none.
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
