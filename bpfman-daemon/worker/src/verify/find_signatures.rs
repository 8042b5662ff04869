use std::collections::BTreeSet;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bpfman_image_format::{Descriptor, Digest, manifest, media, null_is_empty, referrers_tag, signature_tag};
use serde::Deserialize;

use bpfmand_image::messages::{
    FoundSignatures, Material, Signature, SignaturePlace, SignatureSource, is_fault, is_unanswered,
};
use bpfmand_image::{ImageError, Limits};

use super::bundle::PREDICATE;

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

/// Returns the signatures of `digest` at one place of the source, in every supported format, within the limits. The
/// signatures are not verified here. Fails if the search cannot continue. A registry that does not answer is no error:
/// it is noted in the result.
pub(super) async fn find<S: SignatureSource>(
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

/// Unanswered requests after which a search ends: each may take as long as the registry likes.
const MAX_FAILURES: usize = 3;
/// Maximum size of a signature, in bytes: several times that of one with certificates.
const SIGNATURE: usize = 64 << 10;

struct Search<'a, S> {
    source: &'a S,
    digest: Digest,
    limits: &'a Limits,
    seen: BTreeSet<(Digest, Option<String>)>,
    found: FoundSignatures,
    layers: usize,
    failures: usize,
}

impl<S: SignatureSource> Search<'_, S> {
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
                // Keep the temporary error: it is more useful to the user than a permanent one.
                if self.found.unanswered.as_ref().is_none_or(|noted| !noted.may_pass()) {
                    self.found.unanswered = Some(error);
                }
                Ok(())
            }
            result => result,
        }
    }

    fn has_failed(&self) -> bool {
        self.failures >= MAX_FAILURES
    }

    /// Reads cosign's tag, which names the digest. Payloads are checked for the digest later.
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
        // The registry lacks the API, or the signature was pushed before it had one.
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

    /// Reads listed documents. The artifact type in the list is not used: cosign 3 writes a wrong one.
    async fn candidates(&mut self, candidates: Vec<Descriptor>) -> Result<(), ImageError> {
        let mut seen = BTreeSet::new();
        let candidates: Vec<_> =
            spread(candidates).into_iter().filter(|one| seen.insert(one.digest)).collect();
        self.found.cut |= candidates.len() > self.limits.referrers;
        for candidate in candidates.into_iter().take(self.limits.referrers) {
            // Signatures are short: a longer manifest is an attestation or an image.
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
        // A referrer need not be a manifest with layers.
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
                // Without the annotation it is no signature, whatever its media type.
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

/// Takes entries from both ends of a list in turn: however many entries are appended, old and new ones are both checked.
fn spread<T>(list: Vec<T>) -> Vec<T> {
    let mut list = std::collections::VecDeque::from(list);
    let mut spread = Vec::with_capacity(list.len());
    while let Some(first) = list.pop_front() {
        spread.push(first);
        spread.extend(list.pop_back());
    }
    spread
}

/// Returns whether the media type is that of a Sigstore bundle: `….v0.3+json`, or `…+json;version=0.1` before.
fn is_bundle(media_type: &str) -> bool {
    media_type
        .strip_prefix("application/vnd.dev.sigstore.bundle")
        .is_some_and(|rest| rest.ends_with("+json") || rest.starts_with("+json"))
}

#[cfg(test)]
mod tests {
    use bpfmand_image::messages::MAX_LAYERS;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::*;

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

    /// Attaching something to an image must not make it unloadable.
    #[tokio::test]
    async fn large_or_missing_layer_hides_no_signature() {
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
