//! Where signatures of a digest lie in a registry: cosign's tag, the referrers API, and the tag that stands in for it.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bpfman_image_format::{Descriptor, Digest, media, referrers_tag, signature_tag};
use serde::Deserialize;

use crate::bundle::PREDICATE;
use crate::signature::{Material, Signature};
use crate::{ImageError, Limits, manifest};

/// The parts of a manifest that holds signatures.
#[derive(Deserialize)]
struct SignatureManifest {
    subject: Option<Descriptor>,
    layers: Vec<Descriptor>,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

/// A place where images and their signatures lie side by side: a registry, or a layout.
pub(crate) trait Source: Sync {
    /// `registry/repository`.
    fn name(&self) -> &str;
    /// A manifest at a tag or digest; none if there is none.
    fn manifest(
        &self,
        target: &str,
        limit: u64,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, ImageError>> + Send;
    /// The pages of the list of what refers to a digest; none if there is no such list.
    fn referrers(
        &self,
        digest: Digest,
        limits: &Limits,
    ) -> impl Future<Output = Result<Option<Vec<Vec<u8>>>, ImageError>> + Send;
    /// Content by descriptor, checked.
    fn blob(
        &self,
        descriptor: &Descriptor,
        limit: u64,
    ) -> impl Future<Output = Result<Vec<u8>, ImageError>> + Send;
}

/// All signatures of `digest` that the source has, in every form that is read. Whether they are good is asked later.
pub(crate) async fn find<S: Source>(
    source: &S,
    digest: Digest,
    limits: &Limits,
) -> Result<Vec<Signature>, ImageError> {
    let mut search = Search { source, digest, limits, found: Vec::new() };
    search.tag().await?;
    search.referrers().await?;
    Ok(search.found)
}

struct Search<'a, S> {
    source: &'a S,
    digest: Digest,
    limits: &'a Limits,
    found: Vec<Signature>,
}

impl<S: Source> Search<'_, S> {
    /// cosign's own tag. It names the digest, the payloads in it are checked for it later.
    async fn tag(&mut self) -> Result<(), ImageError> {
        let tag = signature_tag(self.digest);
        let Some(bytes) = self.manifest(&tag).await? else { return Ok(()) };
        let manifest = self.parse::<SignatureManifest>(&bytes, &tag)?;
        self.layers(manifest.layers, &tag).await
    }

    async fn referrers(&mut self) -> Result<(), ImageError> {
        let before = self.found.len();
        if let Some(pages) = self.source.referrers(self.digest, self.limits).await? {
            let mut candidates = Vec::new();
            for page in pages {
                candidates.extend(self.parse::<Index>(&page, "the referrers")?.manifests);
            }
            self.candidates(candidates).await?;
        }
        if self.found.len() > before {
            return Ok(());
        }
        // No such API, or it was pushed to before the registry had one.
        let tag = referrers_tag(self.digest);
        let Some(bytes) = self.manifest(&tag).await? else { return Ok(()) };
        let index = self.parse::<Index>(&bytes, &tag)?;
        self.candidates(index.manifests).await
    }

    /// Looks at the layers of each, not at what the list says of its type: cosign 3 has no true word there.
    async fn candidates(&mut self, candidates: Vec<Descriptor>) -> Result<(), ImageError> {
        let most = self.limits.referrers;
        if candidates.len() > most {
            let why = format!("{} referrers; at most {most} are looked at", candidates.len());
            return Err(self.malformed("the referrers", why));
        }
        for candidate in candidates {
            // A longer one is an attestation or an image; signatures are short.
            if candidate.size > self.limits.signature_manifest {
                continue;
            }
            let place = candidate.digest.to_string();
            let Some(bytes) = self.manifest(&place).await? else { continue };
            // What refers is not always a manifest that has layers.
            let Ok(manifest) = manifest::object::<SignatureManifest>(&bytes) else { continue };
            if manifest.subject.is_none_or(|subject| subject.digest != self.digest) {
                continue;
            }
            let predicate = manifest.annotations.get("dev.sigstore.bundle.predicateType");
            if predicate.is_some_and(|kind| kind != PREDICATE) {
                continue;
            }
            self.layers(manifest.layers, &place).await?;
        }
        Ok(())
    }

    async fn layers(&mut self, layers: Vec<Descriptor>, place: &str) -> Result<(), ImageError> {
        let most = self.limits.signatures;
        let is_signature =
            |layer: &Descriptor| layer.media_type == media::SIMPLE_SIGNING || is_bundle(&layer.media_type);
        let layers: Vec<_> = layers.into_iter().filter(is_signature).collect();
        let count = self.found.len() + layers.len();
        if count > most {
            return Err(self.malformed(place, format!("{count} signatures; at most {most} are read")));
        }
        for layer in layers {
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
            let content = self.source.blob(&layer, self.limits.signature).await?;
            self.found.push(match simple {
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
            });
        }
        Ok(())
    }

    async fn manifest(&self, target: &str) -> Result<Option<Vec<u8>>, ImageError> {
        self.source.manifest(target, self.limits.signature_manifest).await
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, bytes: &[u8], place: &str) -> Result<T, ImageError> {
        manifest::object(bytes).map_err(|why| self.malformed(place, why))
    }

    fn malformed(&self, place: &str, why: String) -> ImageError {
        ImageError::Malformed { what: format!("the signature list {}:{place}", self.source.name()), why }
    }
}

/// Bundles of version 0.3 and what follows it; the media type was written in two ways.
fn is_bundle(media_type: &str) -> bool {
    media_type
        .strip_prefix("application/vnd.dev.sigstore.bundle")
        .is_some_and(|rest| rest.ends_with("+json") || rest.starts_with("+json"))
}
