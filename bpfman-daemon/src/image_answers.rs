//! Conversions between the crate `image` and its callers: names, digests, results and failures.

use std::collections::BTreeSet;
use std::path::Path;

use bpfman_image_format::{Digest, ImageReference};
use bpfman_model::Reason;
use bpfman_proto::ext::v1 as wire;
use bpfmand_engine::ImageFailure;
use bpfmand_image::{CachedImage, Category, ImageError, VerifiedBy, VerifiedImage};

pub fn reference(url: &str) -> Result<ImageReference, ImageFailure> {
    url.parse().map_err(|error: bpfman_image_format::ReferenceError| failure(&error.into()))
}

pub fn digests(texts: &[String]) -> BTreeSet<Digest> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

pub fn cached(image: CachedImage) -> wire::CachedImage {
    wire::CachedImage {
        name: image.name,
        tags: image.tags,
        digest: image.digest.to_string(),
        manifest_digest: image.manifest_digest.to_string(),
        object_digest: image.object_digest.to_string(),
        bytes: image.bytes,
        signatures: u32::try_from(image.signatures).unwrap_or(u32::MAX),
        last_used: image.last_used,
        program_ids: Vec::new(),
    }
}

pub fn verified(by: &VerifiedBy) -> wire::Verified {
    let (signed_digest, signed_at) = match by {
        VerifiedBy::Signers { subject, signed_at, .. } => (subject.to_string(), *signed_at),
        _ => (String::new(), None),
    };
    wire::Verified {
        summary: by.to_string(),
        rule: by.rule().unwrap_or_default().to_owned(),
        signers: by.signers().iter().map(ToString::to_string).collect(),
        signed_digest,
        signed_at,
    }
}

pub fn outcome(loaded: &Result<VerifiedImage, ImageFailure>) -> &'static str {
    match loaded {
        Ok(image) if matches!(image.verified_by, VerifiedBy::Signers { .. }) => "verified",
        Ok(_) => "unverified",
        Err(failure) => match failure.kind {
            Reason::Invalid => "malformed",
            kind => kind.name(),
        },
    }
}

pub fn failure(error: &ImageError) -> ImageFailure {
    failure_with(error, None)
}

/// For `policy` see [`ImageError::hint_with`].
pub fn failure_with(error: &ImageError, policy: Option<&Path>) -> ImageFailure {
    let kind = match error.category() {
        Category::InvalidRequest | Category::Malformed => Reason::Invalid,
        Category::NotFound | Category::NotCached => Reason::NotFound,
        Category::Denied => Reason::Signature,
        Category::Unauthorized => Reason::Denied,
        Category::Unreachable => Reason::Registry,
        Category::TooLarge => Reason::TooLarge,
        Category::Storage | Category::Worker => Reason::Internal,
    };
    ImageFailure { kind, message: error.to_string(), hint: error.hint_with(policy) }
}
