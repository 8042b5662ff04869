//! Reading from a registry, with every answer bounded.
//!
//! Manifests and blobs are asked for here rather than through oci-client, because its calls keep whatever a
//! registry sends in memory and follow any redirect.

use std::sync::{Mutex, PoisonError};

use bpfman_image_format::{Credential, Descriptor, Digest, Hasher, ImageReference, Progress, causes, media};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use reqwest::{Response, StatusCode};

use crate::{ImageError, Limits, challenge, redirect};

/// How the daemon names itself to registries.
pub(crate) const USER_AGENT: &str = concat!("bpfmand/", env!("CARGO_PKG_VERSION"));

/// One repository, reached with one credential.
pub(crate) struct Registry {
    http: reqwest::Client,
    image: ImageReference,
    credential: Option<Credential>,
    limits: Limits,
    /// Filled once the registry has asked for it.
    authorization: Mutex<Option<HeaderValue>>,
}

impl Registry {
    /// Makes the client; connects to nothing yet.
    pub(crate) fn new(
        image: &ImageReference,
        credential: Option<&Credential>,
        limits: Limits,
    ) -> Result<Self, ImageError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(limits.connect_timeout)
            .read_timeout(limits.read_timeout)
            .pool_max_idle_per_host(1)
            .redirect(redirect::policy());
        if image.is_loopback() {
            // No proxy stands between this machine and itself, and plain HTTP needs no authorities.
            builder = builder.no_proxy().tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| ImageError::Client(causes(&error)))?;
        Ok(Self {
            http,
            image: image.clone(),
            credential: credential.cloned(),
            limits,
            authorization: Mutex::new(None),
        })
    }

    /// Fetches the manifest at a tag or digest; answers its bytes and the digest computed from them.
    pub(crate) async fn manifest(&self, target: &str, limit: u64) -> Result<(Vec<u8>, Digest), ImageError> {
        let what = format!("the manifest {}:{target}", self.image.name());
        let mut response = self.get("manifests", target, Some(&media::MANIFESTS.join(", ")), &what).await?;
        let mut bytes = Vec::new();
        self.body(&mut response, &what, limit, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })
        .await?;
        let found = Digest::of(&bytes);
        // What the registry says the digest is does not count, only what was asked for.
        if let Ok(expected) = target.parse::<Digest>()
            && expected != found
        {
            return Err(ImageError::WrongDigest { what, expected, found });
        }
        Ok((bytes, found))
    }

    /// Streams a blob into `sink`, which must not use it before this returns `Ok`: only then size and digest are
    /// known to be right.
    pub(crate) async fn blob(
        &self,
        descriptor: &Descriptor,
        limit: u64,
        sink: &mut (dyn FnMut(&[u8]) -> Result<(), ImageError> + Send),
        progress: Option<Progress<'_>>,
    ) -> Result<(), ImageError> {
        let expected = descriptor.digest;
        let what = format!("the blob {expected} of {}", self.image.name());
        if descriptor.size > limit {
            return Err(ImageError::TooLarge { what, size: Some(descriptor.size), limit });
        }
        let mut response = self.get("blobs", &expected.to_string(), None, &what).await?;
        let mut hasher = Hasher::default();
        let mut done = 0;
        self.body(&mut response, &what, descriptor.size, &mut |piece| {
            hasher.update(piece);
            done += piece.len() as u64;
            if let Some(progress) = progress {
                progress(done, descriptor.size);
            }
            sink(piece)
        })
        .await?;
        if done != descriptor.size {
            let why = format!("{done} bytes came instead of {}", descriptor.size);
            return Err(ImageError::Malformed { what, why });
        }
        let found = hasher.finish();
        if found != expected {
            return Err(ImageError::WrongDigest { what, expected, found });
        }
        Ok(())
    }

    async fn body(
        &self,
        response: &mut Response,
        what: &str,
        limit: u64,
        sink: &mut (dyn FnMut(&[u8]) -> Result<(), ImageError> + Send),
    ) -> Result<(), ImageError> {
        let too_large = |size| ImageError::TooLarge { what: what.to_owned(), size, limit };
        if let Some(length) = response.content_length().filter(|length| *length > limit) {
            return Err(too_large(Some(length)));
        }
        let mut total = 0;
        while let Some(piece) = response.chunk().await.map_err(|error| self.failed(what, &error))? {
            total += piece.len() as u64;
            if total > limit {
                return Err(too_large(None));
            }
            sink(&piece)?;
        }
        Ok(())
    }

    async fn get(
        &self,
        kind: &str,
        target: &str,
        accept: Option<&str>,
        what: &str,
    ) -> Result<Response, ImageError> {
        let response = self.send(kind, target, accept, what).await?;
        let response = if response.status() == StatusCode::UNAUTHORIZED && self.authorization().is_none() {
            self.authorize(&response, what).await?;
            self.send(kind, target, accept, what).await?
        } else {
            response
        };
        let status = response.status();
        let registry = self.image.registry().to_owned();
        let what = what.to_owned();
        if status.is_success() {
            return Ok(response);
        }
        let why = format!("it answers {status}");
        Err(match status {
            StatusCode::NOT_FOUND => ImageError::NotFound { what },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                ImageError::Unauthorized { registry, what, why }
            }
            _ => ImageError::Unreachable { registry, what, why },
        })
    }

    async fn send(
        &self,
        kind: &str,
        target: &str,
        accept: Option<&str>,
        what: &str,
    ) -> Result<Response, ImageError> {
        let mut request = self.http.get(format!("{}/{kind}/{target}", base(&self.image)));
        if let Some(accept) = accept {
            request = request.header(ACCEPT, accept);
        }
        if let Some(authorization) = self.authorization() {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.send().await.map_err(|error| self.failed(what, &error))
    }

    fn authorization(&self) -> Option<HeaderValue> {
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers a registry's challenge, for this and the following requests.
    async fn authorize(&self, response: &Response, what: &str) -> Result<(), ImageError> {
        let header =
            challenge::answer(response.headers(), &self.image, self.credential.as_ref(), self.limits)
                .await
                .map_err(|why| ImageError::Unauthorized {
                registry: self.image.registry().to_owned(),
                what: what.to_owned(),
                why,
            })?;
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(header);
        Ok(())
    }

    fn failed(&self, what: &str, error: &reqwest::Error) -> ImageError {
        let (registry, what, why) = (self.image.registry().to_owned(), what.to_owned(), causes(error));
        if error.is_redirect() {
            return ImageError::Malformed { what, why };
        }
        ImageError::Unreachable { registry, what, why }
    }
}

/// Where a repository is: HTTPS everywhere but on this machine.
fn base(image: &ImageReference) -> String {
    let scheme = if image.is_loopback() { "http" } else { "https" };
    let host = match image.registry() {
        // Docker's registry does not answer at the name that its images bear.
        "docker.io" => "index.docker.io",
        other => other,
    };
    format!("{scheme}://{host}/v2/{}", image.repository())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_spoken_to_with_tls_unless_they_are_on_this_machine() {
        for (image, url) in [
            ("quay.io/a/b:c", "https://quay.io/v2/a/b"),
            ("10.0.0.1:5000/a", "https://10.0.0.1:5000/v2/a"),
            ("docker.io/a", "https://index.docker.io/v2/library/a"),
            ("127.0.0.1:5000/a", "http://127.0.0.1:5000/v2/a"),
            ("localhost/a", "http://localhost/v2/a"),
            ("[::1]:5000/a", "http://[::1]:5000/v2/a"),
        ] {
            assert_eq!(base(&image.parse().unwrap()), url);
        }
    }
}
