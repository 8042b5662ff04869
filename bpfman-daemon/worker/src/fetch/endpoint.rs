//! One address of a repository. Unlike with `oci-client`, which reads refusals and manifests to their end, every answer
//! is bounded in size and time, and redirects and names lead to no host that only the daemon can reach.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bpfman_image_format::{Descriptor, Digest, Hasher, causes, media, next_page};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_RANGE, HeaderValue, RANGE, WWW_AUTHENTICATE};
use reqwest::{Certificate, Method, Response, StatusCode, Url};

use bpfman_registry::{ListPages, PageError, tls_failure};
use bpfmand_image::messages::{RepositoryPlace, Sink};
use bpfmand_image::{Authorities, AuthorizationError, ImageError, Limits};

use super::pace::TransferPace;
use super::reach::{self, RegistryReach};
use super::resolver::{self, RegistryResolver};
use super::{challenge, redirect, refusal, retry};

const USER_AGENT: &str = concat!("bpfmand/", env!("CARGO_PKG_VERSION"));
const PAGES: usize = 16;

pub(crate) struct Endpoint {
    http: reqwest::Client,
    place: RepositoryPlace,
    reach: Arc<RegistryReach>,
    limits: Limits,
    authorization: Mutex<Option<HeaderValue>>,
    /// Attempts: one for a mirror, since the registry behind it is the retry.
    tries: u32,
    silent: AtomicBool,
}

#[derive(Clone, Copy)]
struct Ask<'a> {
    url: &'a str,
    accept: Option<&'a str>,
    from: u64,
    head: bool,
    what: &'a str,
}

impl Endpoint {
    pub(crate) fn new(place: RepositoryPlace, limits: Limits) -> Result<Self, ImageError> {
        let proxies = reach::proxies(|name| std::env::var(name).ok());
        let of = format!("the registry {}", place.registry);
        let no_address = || ImageError::Client { of: of.clone(), source: "its name makes no address".into() };
        let reach = Arc::new(RegistryReach::new(&place, proxies).ok_or_else(no_address)?);
        let resolver = RegistryResolver::new(Arc::clone(&reach), resolver::system);
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(limits.connect_timeout)
            .read_timeout(limits.read_timeout)
            .pool_max_idle_per_host(1)
            .dns_resolver(Arc::new(resolver))
            .redirect(redirect::policy(Arc::clone(&reach)));
        if place.loopback {
            // A proxy cannot reach this machine's loopback.
            builder = builder.no_proxy();
        }
        builder = match &place.authorities {
            Some(authorities) => builder.tls_certs_only(certificates(authorities)?),
            // Plain HTTP must work on machines without certificate authorities.
            None if place.plain_http => builder.tls_certs_only([]),
            None => builder,
        };
        let http = builder.build().map_err(|error| ImageError::Client { of, source: error.into() })?;
        let tries = if place.mirror { 1 } else { retry::TRIES };
        let silent = AtomicBool::new(false);
        Ok(Self { http, place, reach, limits, authorization: Mutex::new(None), tries, silent })
    }

    pub(crate) fn host(&self) -> &str {
        &self.place.host
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.place.mirror && self.silent.load(Ordering::Relaxed)
    }

    pub(crate) fn note(&self, error: &ImageError) {
        let is_silence = match error {
            ImageError::Unreachable { .. } | ImageError::Slow { .. } => true,
            ImageError::RegistryRefused { answer, .. } => answer.may_pass(),
            ImageError::Unauthorized { why, .. } => matches!(**why, AuthorizationError::Unreachable(..)),
            _ => false,
        };
        self.silent.fetch_or(is_silence, Ordering::Relaxed);
    }

    pub(crate) fn used_password(&self) -> bool {
        self.place.credential.is_some() && self.authorization().is_some()
    }

    pub(crate) async fn has(
        &self,
        kind: &str,
        target: &str,
        accept: Option<&str>,
        what: &str,
    ) -> Result<(), ImageError> {
        let url = self.place.url(kind, target);
        self.get(Ask { url: &url, accept, from: 0, head: true, what }).await.map(drop)
    }

    pub(crate) async fn document(
        &self,
        kind: &str,
        target: &str,
        accept: &str,
        what: &str,
        limit: u64,
    ) -> Result<Vec<u8>, ImageError> {
        let url = self.place.url(kind, target);
        let ask = Ask { url: &url, accept: Some(accept), from: 0, head: false, what };
        Ok(self.read(ask, limit).await?.0)
    }

    pub(crate) async fn referrers(
        &self,
        digest: Digest,
        what: &str,
        limits: &Limits,
    ) -> Result<Vec<Vec<u8>>, ImageError> {
        let first = self.place.url("referrers", &digest.to_string());
        let malformed = |source| ImageError::Malformed { what: what.to_owned(), source };
        let start: Url = first.parse().map_err(|_| malformed("its address is none".into()))?;
        let (mut pages, mut list) = (Vec::new(), ListPages::of(start, PAGES));
        loop {
            let url = match list.turn() {
                Ok(Some(url)) => url,
                Ok(None) | Err(PageError::TooMany(_)) => return Ok(pages),
                Err(error) => return Err(malformed(error.into())),
            };
            let ask = Ask { url: url.as_str(), accept: Some(media::OCI_INDEX), from: 0, head: false, what };
            let (page, next) = self.read(ask, limits.manifest).await?;
            pages.push(page);
            list.link(next.as_deref());
        }
    }

    pub(crate) async fn blob(
        &self,
        descriptor: &Descriptor,
        what: &str,
        sink: &mut dyn Sink,
    ) -> Result<(), ImageError> {
        let url = self.place.url("blobs", &descriptor.digest.to_string());
        let (size, expected) = (descriptor.size, descriptor.digest);
        let (mut hasher, mut done, mut tries) = (Hasher::default(), 0, 1);
        'again: loop {
            let mut response =
                self.get(Ask { url: &url, accept: None, from: done, head: false, what }).await?;
            if done > 0 && !continues_at(&response, done) {
                sink.restart()?;
                (hasher, done) = (Hasher::default(), 0);
            }
            let mut pace = TransferPace::new(&self.limits);
            let too_large =
                |size| ImageError::TooLarge { what: what.to_owned(), size, limit: descriptor.size };
            if let Some(length) = response.content_length().filter(|length| *length > size - done) {
                return Err(too_large(Some(done.saturating_add(length))));
            }
            loop {
                let piece = match response.chunk().await {
                    Ok(Some(piece)) => piece,
                    Ok(None) => break 'again,
                    Err(error) if tries < self.tries && retry::error(&error) => {
                        tracing::debug!(what, done, error = %causes(&error), "the transfer broke off");
                        tokio::time::sleep(retry::pause(tries)).await;
                        tries += 1;
                        continue 'again;
                    }
                    Err(error) => return Err(self.failed(what, error)),
                };
                if !pace.keeps_up(piece.len()) {
                    return Err(self.slow(what));
                }
                done += piece.len() as u64;
                if done > size {
                    return Err(too_large(None));
                }
                hasher.update(&piece);
                sink.write(&piece)?;
            }
        }
        if done != size {
            let source = format!("{done} bytes came instead of {size}").into();
            return Err(ImageError::Malformed { what: what.to_owned(), source });
        }
        let found = hasher.finish();
        if found != expected {
            return Err(ImageError::WrongDigest { what: what.to_owned(), expected, found });
        }
        Ok(())
    }

    async fn read(&self, ask: Ask<'_>, limit: u64) -> Result<(Vec<u8>, Option<String>), ImageError> {
        let what = ask.what;
        let too_large = |size| ImageError::TooLarge { what: what.to_owned(), size, limit };
        let mut tries = 1;
        'again: loop {
            let mut response = self.get(ask).await?;
            if let Some(length) = response.content_length().filter(|length| *length > limit) {
                return Err(too_large(Some(length)));
            }
            let next = next_page(response.headers());
            let (mut bytes, mut pace) = (Vec::new(), TransferPace::new(&self.limits));
            loop {
                match response.chunk().await {
                    Ok(Some(piece)) if !pace.keeps_up(piece.len()) => return Err(self.slow(what)),
                    Ok(Some(piece)) => bytes.extend_from_slice(&piece),
                    Ok(None) => return Ok((bytes, next)),
                    Err(error) if tries < self.tries && retry::error(&error) => {
                        tokio::time::sleep(retry::pause(tries)).await;
                        tries += 1;
                        continue 'again;
                    }
                    Err(error) => return Err(self.failed(what, error)),
                }
                if bytes.len() as u64 > limit {
                    return Err(too_large(None));
                }
            }
        }
    }

    async fn get(&self, ask: Ask<'_>) -> Result<Response, ImageError> {
        let mut tries = 1;
        // The token of an earlier request may have expired: each request may fetch a new one.
        let mut asked = false;
        let response = loop {
            let wait = match self.send(ask).await {
                Ok(response) if is_challenge(&response) && !asked => {
                    asked = true;
                    self.authorize(&response, ask.what).await?;
                    continue;
                }
                Ok(response) if tries < self.tries && retry::status(response.status()) => {
                    match retry::wait(tries, Some(response.headers())) {
                        Some(wait) => wait,
                        None => break response,
                    }
                }
                Ok(response) => break response,
                Err(error) if tries < self.tries && retry::error(&error) => retry::pause(tries),
                Err(error) => return Err(self.failed(ask.what, error)),
            };
            tokio::time::sleep(wait).await;
            tries += 1;
        };
        let status = response.status();
        let registry = self.place.registry.clone();
        let what = ask.what.to_owned();
        if status.is_success() {
            return Ok(response);
        }
        let answer = refusal::read(response, &self.limits).await;
        if status == StatusCode::NOT_FOUND {
            let what = match answer.unusual_words() {
                Some(words) => format!("{what} (the registry says {words})"),
                None => what,
            };
            return Err(ImageError::NotFound { what });
        }
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let why = Box::new(AuthorizationError::Refused(answer));
                ImageError::Unauthorized { registry, what, why }
            }
            _ => ImageError::RegistryRefused { registry, what, answer },
        })
    }

    async fn send(&self, ask: Ask<'_>) -> Result<Response, reqwest::Error> {
        let method = if ask.head { Method::HEAD } else { Method::GET };
        let mut request = self.http.request(method, ask.url);
        if let Some(accept) = ask.accept {
            request = request.header(ACCEPT, accept);
        }
        if ask.from > 0 {
            request = request.header(RANGE, format!("bytes={}-", ask.from));
        }
        if let Some(authorization) = self.authorization() {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.send().await
    }

    fn authorization(&self) -> Option<HeaderValue> {
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn authorize(&self, response: &Response, what: &str) -> Result<(), ImageError> {
        let header =
            challenge::answer(&self.http, response.headers(), &self.place, &self.reach, &self.limits).await;
        let header = header.map_err(|why| {
            let registry = self.place.registry.clone();
            ImageError::Unauthorized { registry, what: what.to_owned(), why: Box::new(why) }
        })?;
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(header);
        Ok(())
    }

    fn slow(&self, what: &str) -> ImageError {
        ImageError::Slow {
            registry: self.place.registry.clone(),
            what: what.to_owned(),
            bytes: self.limits.least_bytes,
            seconds: self.limits.least_time.as_secs(),
        }
    }

    fn failed(&self, what: &str, error: reqwest::Error) -> ImageError {
        let what = what.to_owned();
        if error.is_redirect() {
            return ImageError::Malformed { what, source: error.into() };
        }
        let (registry, tls) = (self.place.registry.clone(), tls_failure(&error));
        ImageError::Unreachable { registry, what, tls, source: error.into() }
    }
}

fn certificates(authorities: &Authorities) -> Result<Vec<Certificate>, ImageError> {
    Certificate::from_pem_bundle(authorities.pem().as_bytes()).map_err(|error| ImageError::Client {
        of: "a registry's certificate authorities, which have to be PEM certificates".to_owned(),
        source: error.into(),
    })
}

fn is_challenge(response: &Response) -> bool {
    response.status() == StatusCode::UNAUTHORIZED && response.headers().contains_key(WWW_AUTHENTICATE)
}

fn continues_at(response: &Response, from: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    response.status() == StatusCode::PARTIAL_CONTENT
        && range.is_some_and(|range| range.starts_with(&format!("bytes {from}-")))
}
