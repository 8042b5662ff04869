//! Direct access to a registry through its mirrors, with retries, and with every answer bounded.

use bpfman_image_format::{Descriptor, Digest, media};

use bpfmand_image::messages::{RepositoryPlace, Sink};
use bpfmand_image::{ImageError, Limits};

use super::endpoint::Endpoint;

pub(crate) struct RegistryEndpoints {
    name: String,
    endpoints: Vec<Endpoint>,
}

impl RegistryEndpoints {
    pub(crate) fn new(
        name: String,
        places: Vec<RepositoryPlace>,
        limits: Limits,
    ) -> Result<Self, ImageError> {
        let endpoints =
            places.into_iter().map(|place| Endpoint::new(place, limits)).collect::<Result<_, _>>()?;
        Ok(Self { name, endpoints })
    }

    fn asked(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().filter(|endpoint| !endpoint.is_silent())
    }

    pub(crate) fn silent_mirrors(&self) -> Vec<String> {
        let silent = self.endpoints.iter().filter(|endpoint| endpoint.is_silent());
        silent.map(|endpoint| endpoint.host().to_owned()).collect()
    }

    pub(crate) async fn manifest(&self, target: &str, limit: u64) -> Result<Vec<u8>, ImageError> {
        let what = format!("the manifest {}:{target}", self.name);
        let accept = media::MANIFESTS.join(", ");
        let mut failures = Failures::default();
        for endpoint in self.asked() {
            let fetched = async {
                let bytes = endpoint.document("manifests", target, &accept, &what, limit).await?;
                let found = Digest::of(&bytes);
                // Only the requested digest counts, not the one in the registry's header.
                if let Ok(expected) = target.parse::<Digest>()
                    && expected != found
                {
                    return Err(ImageError::WrongDigest { what: what.clone(), expected, found });
                }
                Ok(bytes)
            };
            match fetched.await {
                Ok(found) => return Ok(found),
                Err(error) => failures.note(error, endpoint),
            }
        }
        Err(failures.last(what))
    }

    pub(crate) async fn pages(
        &self,
        digest: Digest,
        limits: &Limits,
    ) -> Result<Option<Vec<Vec<u8>>>, ImageError> {
        let what = format!("the referrers of {}@{digest}", self.name);
        let mut failures = Failures::default();
        for endpoint in self.asked() {
            match endpoint.referrers(digest, &what, limits).await {
                Ok(pages) => return Ok(Some(pages)),
                Err(error) => failures.note(error, endpoint),
            }
        }
        match failures.last(what) {
            ImageError::NotFound { .. } => Ok(None),
            error => Err(error),
        }
    }

    pub(crate) fn used_password(&self) -> bool {
        self.endpoints.iter().any(Endpoint::used_password)
    }

    pub(crate) async fn check_manifest(&self, digest: Digest) -> Result<(), ImageError> {
        let what = format!("the manifest {digest} of {}", self.name);
        self.has("manifests", digest, Some(&media::MANIFESTS.join(", ")), what).await
    }

    pub(crate) async fn check_blob(&self, descriptor: &Descriptor) -> Result<(), ImageError> {
        let what = format!("the blob {} of {}", descriptor.digest, self.name);
        self.has("blobs", descriptor.digest, None, what).await
    }

    async fn has(
        &self,
        kind: &str,
        digest: Digest,
        accept: Option<&str>,
        what: String,
    ) -> Result<(), ImageError> {
        let mut failures = Failures::default();
        for endpoint in self.asked() {
            match endpoint.has(kind, &digest.to_string(), accept, &what).await {
                Ok(()) => return Ok(()),
                Err(error) => failures.note(error, endpoint),
            }
        }
        Err(failures.last(what))
    }

    pub(crate) async fn blob(
        &self,
        descriptor: &Descriptor,
        limit: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), ImageError> {
        let what = format!("the blob {} of {}", descriptor.digest, self.name);
        if descriptor.size > limit {
            return Err(ImageError::TooLarge { what, size: Some(descriptor.size), limit });
        }
        let mut failures = Failures::default();
        for endpoint in self.asked() {
            match endpoint.blob(descriptor, &what, sink).await {
                Ok(()) => return Ok(()),
                Err(error @ ImageError::Storage { .. }) => return Err(error),
                Err(error) => failures.note(error, endpoint),
            }
            sink.restart()?;
        }
        Err(failures.last(what))
    }
}

/// Error of the last address that failed. The registry itself comes after its mirrors.
#[derive(Default)]
struct Failures {
    last: Option<ImageError>,
}

impl Failures {
    fn note(&mut self, error: ImageError, endpoint: &Endpoint) {
        endpoint.note(&error);
        if let Some(before) = self.last.replace(error) {
            tracing::warn!(error = %before, next = endpoint.host(), "a mirror does not have it");
        }
    }

    fn last(self, what: String) -> ImageError {
        self.last.unwrap_or(ImageError::NotFound { what })
    }
}
