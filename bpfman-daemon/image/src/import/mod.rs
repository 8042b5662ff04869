mod copying;
mod docker_archive;
mod names;
mod repository;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bpfman_image_format::manifest::{ImageDocument, MAX_INDEXES};
use bpfman_image_format::{Digest, ImageReference};

use crate::access::ImageCaller;
use crate::blocking::blocking;
use crate::session::{ArchivedImage, LoadSession};
use crate::staging::Staging;
use crate::worker::{DocumentAnswer, VerifierClient};
use crate::{ImageError, ImageStore, Limits, VerifiedBy};
use names::{ImportNames, NamedImage};
use repository::ImportedRepository;

/// Imported image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    pub name: String,
    /// Digest of index or manifest.
    pub digest: Digest,
    pub outcome: ImportOutcome,
}

/// Decision of the policy about an imported image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportOutcome {
    /// The image may be loaded.
    Verified(VerifiedBy),
    /// The image is refused, for this reason. None of it was kept.
    Refused(String),
}

impl ImageStore {
    /// Imports images and signatures of a layout, folder or archive, and returns the policy's decision for each,
    /// without the network. `name` selects the image with that tag, or the only one, and renames it.
    pub async fn import(
        &self,
        path: &Path,
        name: Option<&ImageReference>,
    ) -> Result<Vec<Imported>, ImageError> {
        let staging = Arc::new(Staging::new(self.cache.clone()));
        let (limits, beside) = (self.limits, Arc::clone(&staging));
        let (owned, given) = (path.to_owned(), name.cloned());
        let names = blocking(move || {
            let copied = copying::copy(&beside, &owned, &limits)?;
            ImportNames::read(copied, &beside, given.as_ref())
        })
        .await?;
        let mut imported = Vec::new();
        let seconds = self.limits.overall_timeout.as_secs();
        for named in &names.images {
            let NamedImage { image, digest } = named;
            // Each image has its own verifier: a hostile image cannot affect the others.
            let verifier = self.verifier();
            let taken = async {
                let brought = bring(&verifier, &staging, &names, named, &self.limits).await?;
                self.import_one(image, brought, &staging, &verifier).await
            };
            let late = || ImageError::Timeout { image: image.to_string(), seconds };
            let taken = tokio::time::timeout(self.limits.overall_timeout, taken).await;
            let outcome = match taken.unwrap_or_else(|_| Err(late())) {
                Ok(verified_by) => ImportOutcome::Verified(verified_by),
                Err(error) => ImportOutcome::Refused(error.to_string()),
            };
            imported.push(Imported { name: image.to_string(), digest: *digest, outcome });
        }
        Ok(imported)
    }

    async fn import_one(
        &self,
        image: &ImageReference,
        brought: ArchivedImage,
        staging: &Arc<Staging>,
        verifier: &Arc<VerifierClient>,
    ) -> Result<VerifiedBy, ImageError> {
        let platform = self.platform.ok_or(ImageError::Host(std::env::consts::ARCH))?;
        let policy = self.policy();
        let decision = policy.decide(image)?;
        let session = LoadSession {
            staging: Arc::clone(staging),
            brought: Some(brought),
            ..self.session(image, ImageCaller::Daemon, None, verifier, None)
        };
        let loaded = self.run(&session, false, &policy, decision, platform).await?;
        Ok(loaded.verified_by)
    }
}

const MAX_PLATFORMS: usize = 64;

/// Reads the signatures of an image in the layout. Nothing is kept until the policy allows it.
async fn bring(
    verifier: &VerifierClient,
    staging: &Arc<Staging>,
    names: &ImportNames,
    named: &NamedImage,
    limits: &Limits,
) -> Result<ArchivedImage, ImageError> {
    let source = ImportedRepository::new(staging, names, &named.image);
    let (mut subjects, mut read, mut depth) = (vec![named.digest], 0, 0);
    while read < subjects.len() && depth <= MAX_INDEXES {
        let level = read..subjects.len();
        read = subjects.len();
        depth += 1;
        for at in level {
            if let Some(bytes) = source.read(subjects[at], limits.manifest).await?
                && let DocumentAnswer::Read(ImageDocument::Index(entries)) = verifier.manifest(&bytes).await?
            {
                let room = MAX_PLATFORMS.saturating_sub(subjects.len() - 1);
                subjects.extend(entries.iter().take(room).map(|entry| entry.digest));
            }
        }
    }
    let mut signatures = BTreeMap::new();
    for subject in subjects {
        signatures.insert(subject, verifier.find_all_signatures(&source, subject, limits).await?.signatures);
    }
    Ok(ArchivedImage { digest: named.digest, signatures })
}
