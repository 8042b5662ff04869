use std::sync::Arc;

use bpfman_image_format::manifest;
use bpfman_image_format::{Descriptor, Digest, ImageReference, media, null_is_empty, referrers_tag};
use serde::Deserialize;

use super::copying::Copied;
use super::docker_archive;
use crate::ImageError;
use crate::staging::Staging;

const COSIGN: &str = "dev.cosignproject.cosign/";
const SHOWN: usize = 10;

#[derive(Clone, Debug)]
pub(super) struct NamedImage {
    pub(super) image: ImageReference,
    pub(super) digest: Digest,
}

pub(super) struct SignatureList {
    pub(super) of: Option<ImageReference>,
    pub(super) digest: Digest,
}

#[derive(Default)]
pub(super) struct ImportNames {
    pub(super) images: Vec<NamedImage>,
    pub(super) tags: Vec<(Option<String>, String, Digest)>,
    pub(super) lists: Vec<SignatureList>,
    pub(super) others: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Index {
    #[serde(deserialize_with = "null_is_empty")]
    manifests: Vec<Descriptor>,
}

struct Candidate {
    image: Option<ImageReference>,
    tag: Option<String>,
    digest: Digest,
}

impl ImportNames {
    pub(super) fn read(
        copied: Copied,
        staging: &Arc<Staging>,
        given: Option<&ImageReference>,
    ) -> Result<Self, ImageError> {
        let malformed =
            |why: String| ImageError::Malformed { what: copied.shown.clone(), source: why.into() };
        let entries = match (&copied.index, &copied.docker) {
            (Some(index), _) => {
                let index: Result<Index, _> = manifest::object(index);
                index.map_err(|why| malformed(format!("index.json: {why}")))?.manifests
            }
            (None, Some(_)) => docker_archive::entries(&copied, staging)?,
            (None, None) => {
                let why =
                    "it has neither index.json (an OCI layout) nor manifest.json (an archive of docker)";
                return Err(malformed(why.to_owned()));
            }
        };
        let mut names = Self::default();
        let candidates: Vec<_> = entries.into_iter().filter_map(|entry| names.sort(entry)).collect();
        names.images = match given {
            Some(given) => vec![chosen(&copied.shown, &candidates, given)?],
            None => named(&copied.shown, candidates)?,
        };
        Ok(names)
    }

    fn sort(&mut self, entry: Descriptor) -> Option<Candidate> {
        let digest = entry.digest;
        let kind = entry.annotations.get(media::COSIGN_KIND).and_then(|kind| kind.strip_prefix(COSIGN));
        // containerd's name comes first: it is always complete.
        let texts = [media::CONTAINERD_NAME, media::REF_NAME].map(|name| entry.annotations.get(name));
        let image = texts.iter().flatten().find_map(|text| text.parse::<ImageReference>().ok());
        match kind {
            Some("sigs") => {
                self.lists.push(SignatureList { of: image, digest });
                return None;
            }
            Some("image" | "imageIndex") | None => {}
            Some(_) => return None,
        }
        let tag = texts[1].filter(|_| image.is_none()).cloned();
        let signed = image
            .as_ref()
            .and_then(ImageReference::tag)
            .or(tag.as_deref())
            .filter(|tag| is_signature_tag(tag));
        if let Some(signed) = signed {
            self.tags.push((image.as_ref().map(ImageReference::name), signed.to_owned(), digest));
            return None;
        }
        if image.is_none() && tag.is_none() {
            self.others.push(entry.clone());
        }
        media::MANIFESTS.contains(&entry.media_type.as_str()).then_some(Candidate { image, tag, digest })
    }
}

fn named(shown: &str, candidates: Vec<Candidate>) -> Result<Vec<NamedImage>, ImageError> {
    let present = present(&candidates);
    let digest_and_name = |one: Candidate| Some(NamedImage { image: one.image?, digest: one.digest });
    let images: Vec<_> = candidates.into_iter().filter_map(digest_and_name).collect();
    if images.is_empty() {
        let why = "none of its images has a name that begins with a registry";
        return Err(ImageError::NoImportName { path: shown.to_owned(), why: why.to_owned(), present });
    }
    Ok(images)
}

/// Chooses the image with that name or tag, else the only named one, else the only one.
fn chosen(shown: &str, candidates: &[Candidate], given: &ImageReference) -> Result<NamedImage, ImageError> {
    let tag = given.tag().unwrap_or("latest");
    let has_digest = |one: &&Candidate| given.digest().is_none_or(|digest| digest == one.digest);
    let is_it = |one: &Candidate| one.image.as_ref().is_some_and(|image| image == given);
    let has_tag = |one: &Candidate| {
        one.tag.as_deref().or_else(|| one.image.as_ref().and_then(ImageReference::tag)) == Some(tag)
    };
    let has_name = |one: &Candidate| one.tag.is_some() || one.image.is_some();
    let tests: [&dyn Fn(&Candidate) -> bool; 4] = [&is_it, &has_tag, &has_name, &|_| true];
    for test in tests {
        let mut fitting: Vec<Digest> =
            candidates.iter().filter(has_digest).filter(|one| test(one)).map(|one| one.digest).collect();
        fitting.sort_unstable();
        fitting.dedup();
        if let [digest] = fitting[..] {
            return Ok(NamedImage { image: given.clone(), digest });
        }
    }
    let why = match candidates {
        [] => "it has no image".to_owned(),
        _ => format!("several of its images may be the one for the name {given}, or none is"),
    };
    Err(ImageError::NoImportName { path: shown.to_owned(), why, present: present(candidates) })
}

fn present(candidates: &[Candidate]) -> String {
    let text = |one: &Candidate| {
        let name = one.image.as_ref().map(ToString::to_string).or_else(|| one.tag.clone());
        name.unwrap_or_else(|| one.digest.to_string())
    };
    let names: Vec<String> = candidates.iter().take(SHOWN).map(text).collect();
    match candidates.len() {
        0 => "none".to_owned(),
        all if all > SHOWN => format!("{}, and {} more", names.join(", "), all - SHOWN),
        _ => names.join(", "),
    }
}

fn is_signature_tag(tag: &str) -> bool {
    let bare = tag.strip_suffix(".sig").unwrap_or(tag);
    let digest = bare.strip_prefix("sha256-").and_then(|hex| format!("sha256:{hex}").parse().ok());
    digest.is_some_and(|digest: Digest| bare == referrers_tag(digest))
}
