use std::sync::Arc;

use bpfman_image_format::{Descriptor, Digest, ImageReference};
use serde_json::json;

use super::names::ImportNames;
use crate::ImageError;
use crate::blocking::blocking;
use crate::signature_source::SignatureSource;
use crate::staging::Staging;

pub(super) struct ImportedRepository<'a> {
    staging: &'a Arc<Staging>,
    names: &'a ImportNames,
    image: &'a ImageReference,
    name: String,
}

impl<'a> ImportedRepository<'a> {
    pub(super) fn new(staging: &'a Arc<Staging>, names: &'a ImportNames, image: &'a ImageReference) -> Self {
        Self { staging, names, image, name: image.name() }
    }

    pub(super) async fn read(&self, digest: Digest, limit: u64) -> Result<Option<Vec<u8>>, ImageError> {
        let staging = Arc::clone(self.staging);
        blocking(move || staging.blob(digest, limit)).await
    }

    /// Returns a tag's digest, also of another repository: a renamed image has signatures under its old name.
    fn tagged(&self, tag: &str) -> Option<Digest> {
        let of = |repository: Option<&str>| {
            let mut tags = self.names.tags.iter();
            tags.find(|(of, name, _)| name == tag && of.as_deref() == repository).map(|(.., digest)| *digest)
        };
        let any = || self.names.tags.iter().find(|(_, name, _)| name == tag).map(|(.., digest)| *digest);
        let found = of(Some(&self.name)).or_else(|| of(None)).or_else(any);
        found.or_else(|| {
            // A list without a tag holds signatures: it counts as the tag with this suffix.
            let mut lists = self.names.lists.iter().filter(|_| tag.ends_with(".sig"));
            let is_ours = |of: &Option<ImageReference>| of.as_ref().is_none_or(|of| of == self.image);
            let own = lists.clone().find(|list| is_ours(&list.of));
            own.or_else(|| lists.next()).map(|list| list.digest)
        })
    }
}

impl SignatureSource for ImportedRepository<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    async fn manifest(&self, target: &str, limit: u64) -> Result<Option<Vec<u8>>, ImageError> {
        match target.parse().ok().or_else(|| self.tagged(target)) {
            Some(digest) => self.read(digest, limit).await,
            None => Ok(None),
        }
    }

    async fn referrers(&self, _: Digest) -> Result<Option<Vec<Vec<u8>>>, ImageError> {
        if self.names.others.is_empty() {
            return Ok(None);
        }
        Ok(Some(vec![json!({ "manifests": self.names.others }).to_string().into_bytes()]))
    }

    async fn blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, ImageError> {
        let what = || format!("the blob {} of {}", descriptor.digest, self.name);
        if descriptor.size > limit {
            return Err(ImageError::TooLarge { what: what(), size: Some(descriptor.size), limit });
        }
        let missing = || ImageError::NotFound { what: what() };
        self.read(descriptor.digest, limit).await?.ok_or_else(missing)
    }
}
