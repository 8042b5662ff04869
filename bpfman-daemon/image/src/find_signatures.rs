//! Where signatures of a digest lie in a registry: cosign's tag, the referrers API, and the tag that stands in for it.

use std::collections::BTreeSet;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bpfman_image_format::{Descriptor, Digest, manifest, media, null_is_empty, referrers_tag, signature_tag};
use serde::{Deserialize, Serialize};

use crate::bundle::PREDICATE;
use crate::found_signatures::FoundSignatures;
use crate::signature::{Material, Signature};
use crate::signature_source::SignatureSource;
use crate::{ImageError, Limits};

/// The parts of a manifest that holds signatures.
#[derive(Deserialize)]
struct SignatureManifest {
    subject: Option<Descriptor>,
    #[serde(deserialize_with = "null_is_empty")]
    layers: Vec<Descriptor>,
    #[serde(default, deserialize_with = "null_is_empty")]
    annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Index {
    #[serde(default, deserialize_with = "null_is_empty")]
    manifests: Vec<Descriptor>,
}

/// Where signatures are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SignaturePlace {
    /// cosign's own tag.
    Tag,
    /// The referrers API, and the tag that stands in for it.
    Referrers,
}

impl SignaturePlace {
    /// All places. What stands at the first is found with one question, and makes the others needless if it suffices.
    pub(crate) const ALL: [Self; 2] = [Self::Tag, Self::Referrers];
}

/// The signatures of `digest` that the source has at one place, in every form that is read, as many as the limits allow.
/// Whether they are good is asked later.
///
/// # Errors
/// Nothing can be asked any more. That a registry does not answer is none: it is noted beside what was found.
pub(crate) async fn find<S: SignatureSource>(
    source: &S,
    digest: Digest,
    limits: &Limits,
    place: SignaturePlace,
    layers: usize,
) -> Result<FoundSignatures, ImageError> {
    let (seen, found) = (BTreeSet::new(), FoundSignatures::default());
    let mut search = Search { source, digest, limits, seen, found, layers, failures: 0 };
    let result = match place {
        SignaturePlace::Tag => search.tag().await,
        SignaturePlace::Referrers => search.referrers().await,
    };
    search.go_on(result)?;
    Ok(search.found)
}

/// True if a search notes this and goes on: something is wrong with what lies there.
const fn is_fault(error: &ImageError) -> bool {
    matches!(
        error,
        ImageError::Malformed { .. }
            | ImageError::TooLarge { .. }
            | ImageError::WrongDigest { .. }
            | ImageError::NotFound { .. }
    )
}

/// True if the registry did not answer a question: there may be signatures elsewhere all the same.
const fn is_unanswered(error: &ImageError) -> bool {
    matches!(
        error,
        ImageError::Unauthorized { .. }
            | ImageError::Unreachable { .. }
            | ImageError::RegistryRefused { .. }
            | ImageError::Slow { .. }
    )
}

/// True if a search goes on after this. Failures of this machine end it.
pub(crate) const fn find_goes_on(error: &ImageError) -> bool {
    is_fault(error) || is_unanswered(error)
}

/// Layers that are tried for the signatures of one digest, whether they are there or not.
pub(crate) const MAX_LAYERS: usize = 1024;
/// Questions without an answer after which a search ends: each may take as long as a registry likes.
const MAX_FAILURES: usize = 3;
/// Bytes of one signature with all that is beside it: some times what a signature with its certificates has.
const SIGNATURE: usize = 64 << 10;

struct Search<'a, S> {
    source: &'a S,
    digest: Digest,
    limits: &'a Limits,
    /// Layers that were looked at: content, and the signature beside it.
    seen: BTreeSet<(Digest, Option<String>)>,
    found: FoundSignatures,
    /// Layers that may be tried.
    layers: usize,
    /// Questions that the registry did not answer.
    failures: usize,
}

impl<S: SignatureSource> Search<'_, S> {
    /// Notes what is wrong with what lies there, or that the registry does not answer, and goes on.
    fn go_on(&mut self, result: Result<(), ImageError>) -> Result<(), ImageError> {
        match result {
            Err(error) if is_fault(&error) => {
                tracing::debug!(%error, "a signature that cannot be read");
                self.found.fault.get_or_insert(error);
                Ok(())
            }
            Err(error) if is_unanswered(&error) => {
                tracing::debug!(%error, "a question about signatures without an answer");
                self.failures += 1;
                // One that may be answered later says more than one that never will.
                if self.found.unanswered.as_ref().is_none_or(|noted| !noted.may_pass()) {
                    self.found.unanswered = Some(error);
                }
                Ok(())
            }
            result => result,
        }
    }

    /// True if the registry failed so often that it is not asked any more.
    fn has_failed(&self) -> bool {
        self.failures >= MAX_FAILURES
    }

    /// cosign's own tag. It names the digest, the payloads in it are checked for it later.
    async fn tag(&mut self) -> Result<(), ImageError> {
        let tag = signature_tag(self.digest);
        let Some(bytes) = self.manifest(&tag).await? else { return Ok(()) };
        let manifest = self.parse::<SignatureManifest>(&bytes, &tag)?;
        self.layers(manifest.layers).await
    }

    async fn referrers(&mut self) -> Result<(), ImageError> {
        let before = self.found.signatures.len();
        let result = self.listed().await;
        self.go_on(result)?;
        if self.found.signatures.len() > before {
            return Ok(());
        }
        // No such API, or it was pushed to before the registry had one.
        let tag = referrers_tag(self.digest);
        let Some(bytes) = self.manifest(&tag).await? else { return Ok(()) };
        let index = self.parse::<Index>(&bytes, &tag)?;
        self.candidates(index.manifests).await
    }

    async fn listed(&mut self) -> Result<(), ImageError> {
        let Some(pages) = self.source.referrers(self.digest).await? else { return Ok(()) };
        let mut candidates = Vec::new();
        for page in pages {
            candidates.extend(self.parse::<Index>(&page, "the referrers")?.manifests);
        }
        self.candidates(candidates).await
    }

    /// Looks at the layers of each, not at what the list says of its type: cosign 3 has no true word there.
    async fn candidates(&mut self, candidates: Vec<Descriptor>) -> Result<(), ImageError> {
        let mut seen = BTreeSet::new();
        let candidates: Vec<_> =
            spread(candidates).into_iter().filter(|one| seen.insert(one.digest)).collect();
        self.found.cut |= candidates.len() > self.limits.referrers;
        for candidate in candidates.into_iter().take(self.limits.referrers) {
            // A longer one is an attestation or an image; signatures are short.
            if candidate.size > self.limits.signature_manifest {
                continue;
            }
            if self.has_failed() {
                break;
            }
            let result = self.candidate(&candidate.digest.to_string()).await;
            self.go_on(result)?;
        }
        Ok(())
    }

    async fn candidate(&mut self, place: &str) -> Result<(), ImageError> {
        let Some(bytes) = self.manifest(place).await? else { return Ok(()) };
        // What refers is not always a manifest that has layers.
        let Ok(manifest) = manifest::object::<SignatureManifest>(&bytes) else { return Ok(()) };
        if manifest.subject.is_none_or(|subject| subject.digest != self.digest) {
            return Ok(());
        }
        let predicate = manifest.annotations.get("dev.sigstore.bundle.predicateType");
        if predicate.is_some_and(|kind| kind != PREDICATE) {
            return Ok(());
        }
        self.layers(manifest.layers).await
    }

    async fn layers(&mut self, layers: Vec<Descriptor>) -> Result<(), ImageError> {
        for layer in spread(layers) {
            let is_signature = layer.media_type == media::SIMPLE_SIGNING || is_bundle(&layer.media_type);
            let beside = layer.annotations.get(media::SIGNATURE_ANNOTATION).cloned();
            if !is_signature || !self.seen.insert((layer.digest, beside)) {
                continue;
            }
            if self.has_failed() {
                return Ok(());
            }
            if self.found.signatures.len() == self.limits.signatures || self.found.tried == self.layers {
                self.found.cut = true;
                return Ok(());
            }
            self.found.tried += 1;
            let simple = if layer.media_type == media::SIMPLE_SIGNING {
                let decoded = |text: &String| BASE64_STANDARD.decode(text).ok();
                // Without one it is no signature, whatever it says that it is.
                let Some(signature) = layer.annotations.get(media::SIGNATURE_ANNOTATION).and_then(decoded)
                else {
                    continue;
                };
                Some(signature)
            } else {
                None
            };
            let content = match self.source.blob(&layer, self.limits.signature).await {
                Ok(content) => content,
                Err(error) => {
                    self.go_on(Err(error))?;
                    continue;
                }
            };
            let signature = match simple {
                Some(signature) => {
                    let annotation = |name: &str| layer.annotations.get(name).cloned();
                    let material = Material {
                        certificate: annotation("dev.sigstore.cosign/certificate"),
                        chain: annotation("dev.sigstore.cosign/chain"),
                        log: annotation("dev.sigstore.cosign/bundle"),
                        timestamp: annotation("dev.sigstore.cosign/rfc3161timestamp"),
                    };
                    Signature::SimpleSigning { payload: content, signature, material }
                }
                None => Signature::Bundle { json: content },
            };
            if signature.size() > SIGNATURE {
                let what = format!("a signature of {}@{}", self.source.name(), self.digest);
                let (size, limit) = (Some(signature.size() as u64), SIGNATURE as u64);
                self.go_on(Err(ImageError::TooLarge { what, size, limit }))?;
                continue;
            }
            self.found.signatures.push(signature);
        }
        Ok(())
    }

    async fn manifest(&self, target: &str) -> Result<Option<Vec<u8>>, ImageError> {
        self.source.manifest(target, self.limits.signature_manifest).await
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, bytes: &[u8], place: &str) -> Result<T, ImageError> {
        manifest::object(bytes).map_err(|why| ImageError::Malformed {
            what: format!("the signature list {}:{place}", self.source.name()),
            source: why.into(),
        })
    }
}

/// From both ends by turns: lists grow at one end, so that whoever adds to one later cannot push everything older, nor
/// everything younger, beyond what is looked at.
fn spread<T>(list: Vec<T>) -> Vec<T> {
    let mut list = std::collections::VecDeque::from(list);
    let mut spread = Vec::with_capacity(list.len());
    while let Some(first) = list.pop_front() {
        spread.push(first);
        spread.extend(list.pop_back());
    }
    spread
}

/// Bundles of version 0.3 and what follows it; the media type was written in two ways.
fn is_bundle(media_type: &str) -> bool {
    media_type
        .strip_prefix("application/vnd.dev.sigstore.bundle")
        .is_some_and(|rest| rest.ends_with("+json") || rest.starts_with("+json"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::*;

    /// A repository whose signature tag leads to these layers, of which only the content `good` is there.
    struct Listed {
        layers: Vec<serde_json::Value>,
        asked: AtomicUsize,
    }

    impl SignatureSource for Listed {
        fn name(&self) -> &str {
            "quay.io/a"
        }

        async fn manifest(&self, target: &str, _: u64) -> Result<Option<Vec<u8>>, ImageError> {
            let list = json!({ "layers": self.layers });
            Ok(target.ends_with(".sig").then(|| serde_json::to_vec(&list).unwrap()))
        }

        async fn referrers(&self, _: Digest) -> Result<Option<Vec<Vec<u8>>>, ImageError> {
            Ok(None)
        }

        async fn blob(&self, descriptor: &Descriptor, _: u64) -> Result<Vec<u8>, ImageError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let is_there = descriptor.digest == Digest::of(b"good");
            let missing = || ImageError::NotFound { what: descriptor.digest.to_string() };
            is_there.then(|| b"good".to_vec()).ok_or_else(missing)
        }
    }

    fn layer(content: &[u8], certificate: &str) -> serde_json::Value {
        json!({
            "mediaType": media::SIMPLE_SIGNING, "digest": Digest::of(content), "size": content.len(),
            "annotations": {
                media::SIGNATURE_ANNOTATION: "AAAA", "dev.sigstore.cosign/certificate": certificate,
            },
        })
    }

    /// Whoever may attach something to an image must not be able to make it unloadable.
    #[tokio::test]
    async fn what_is_too_large_or_missing_stands_in_no_ones_way() {
        let large = "x".repeat(SIGNATURE);
        let layers = vec![layer(b"good", &large), layer(b"good", "small")];
        let source = Listed { layers, asked: AtomicUsize::default() };
        let found = find(&source, Digest::of(b"image"), &Limits::default(), SignaturePlace::Tag, MAX_LAYERS)
            .await
            .unwrap();
        assert_eq!((found.signatures.len(), found.cut), (0, false), "one content is looked at once");
        assert!(matches!(found.fault, Some(ImageError::TooLarge { .. })), "{found:?}");

        let mut layers: Vec<_> = (0..5000).map(|at: u32| layer(&at.to_le_bytes(), "")).collect();
        layers.insert(0, layer(b"good", ""));
        let source = Listed { layers, asked: AtomicUsize::default() };
        let found = find(&source, Digest::of(b"image"), &Limits::default(), SignaturePlace::Tag, MAX_LAYERS)
            .await
            .unwrap();
        assert_eq!((found.signatures.len(), found.cut), (1, true));
        assert_eq!(source.asked.into_inner(), MAX_LAYERS);
    }

    #[test]
    fn lists_are_looked_at_from_both_ends() {
        assert_eq!(spread(vec![1, 2, 3, 4, 5]), [1, 5, 2, 4, 3]);
        assert!(spread(Vec::<u8>::new()).is_empty());
    }
}
