//! The image room as the engine sees it: calls that block, over a runtime that does not.

use bpfman_image_format::{Credential, ImageReference};
use bpfmand_core::{Credentials, PullPolicy};
use bpfmand_engine::{FetchedImage, ImageFailure, ImageFailureKind, Images};
use bpfmand_image::{Category, ImageError, ImageRequest, ImageStore};
use tokio::runtime::Handle;

/// Images by way of the daemon's runtime.
pub struct RegistryImages {
    store: ImageStore,
    runtime: Handle,
}

impl RegistryImages {
    /// Images of a store. Calls must come from threads where blocking is allowed.
    pub const fn new(store: ImageStore, runtime: Handle) -> Self {
        Self { store, runtime }
    }
}

impl Images for RegistryImages {
    fn fetch(
        &self,
        url: &str,
        pull_policy: PullPolicy,
        credentials: Option<&Credentials>,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<FetchedImage, ImageFailure> {
        let image: ImageReference =
            url.parse().map_err(|error: bpfman_image_format::ReferenceError| failure(&error.into()))?;
        let request = ImageRequest {
            image,
            pull_policy: match pull_policy {
                PullPolicy::Always => bpfmand_image::PullPolicy::Always,
                PullPolicy::IfNotPresent => bpfmand_image::PullPolicy::IfNotPresent,
                PullPolicy::Never => bpfmand_image::PullPolicy::Never,
            },
            credential: credentials.map(|given| Credential::new(&given.username, &given.password)),
        };
        let found = self
            .runtime
            .block_on(self.store.load(&request, Some(progress)))
            .map_err(|error| failure(&error))?;
        Ok(FetchedImage {
            bytes: found.bytes,
            digest: found.digest.to_string(),
            verified_by: found.verified_by.to_string(),
            programs: found.labels.programs.into_keys().collect(),
        })
    }
}

fn failure(error: &ImageError) -> ImageFailure {
    let kind = match error.category() {
        Category::InvalidRequest | Category::Malformed => ImageFailureKind::Malformed,
        Category::NotFound | Category::NotCached => ImageFailureKind::NotFound,
        Category::Denied => ImageFailureKind::Signature,
        Category::Unauthorized => ImageFailureKind::Denied,
        Category::Unreachable => ImageFailureKind::Registry,
        Category::TooLarge => ImageFailureKind::TooLarge,
        Category::Storage => ImageFailureKind::Internal,
    };
    ImageFailure { kind, message: error.to_string(), hint: error.hint() }
}
