//! Adapter from the crate `image`: blocking calls over the image runtime, the threads of which write only to the cache.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use bpfman_image_format::{Credential, Digest, ImageReference, ReferenceError};
use bpfman_model::{BytecodeSource, Hint, PullPolicy, Reason};
use bpfman_proto::ext::v1 as wire;
use bpfmand_api::{ImageService, Prepared};
use bpfmand_engine::{FetchedImage, ImageAsk, ImageFailure, Images, ProgramRecord, Revocation, SourceRecord};
use bpfmand_image::{
    CachedImage, Caller, Category, Evidence, ImageRequest, ImageStore, ImportOutcome, RevokedRunning,
    VerifiedImage,
};
use bpfmand_observe::ImageCounts;
use tokio::sync::watch;

use crate::image_answers::{cached, digests, failure, failure_with, outcome, reference, verified};
use crate::image_runtime::ImageRuntime;
use crate::policy::{ImagePolicy, PolicySource};

pub type InUse = Box<dyn Fn() -> Option<Vec<String>> + Send + Sync>;

pub struct RegistryImages {
    store: Arc<ImageStore>,
    policy: Arc<PolicySource>,
    in_force: Mutex<Option<Arc<bpfmand_image::Policy>>>,
    runtime: ImageRuntime,
    in_use: OnceLock<InUse>,
    auth_users: BTreeSet<u32>,
    /// Results for images that requests prepared in advance, while these requests run.
    prepared: Mutex<Vec<(Wanted, Weak<Loaded>)>>,
    counts: Arc<ImageCounts>,
}

type Loaded = Result<VerifiedImage, ImageFailure>;

/// Key of a load: the image, the pull policy, user and password, and the kind of caller.
#[derive(Clone, PartialEq, Eq)]
struct Wanted {
    url: String,
    pull_policy: PullPolicy,
    password: Option<(String, String)>,
    caller: Caller,
}

impl Wanted {
    fn request(&self) -> Result<ImageRequest, ImageFailure> {
        Ok(ImageRequest {
            image: reference(&self.url)?,
            pull_policy: match self.pull_policy {
                PullPolicy::Always => bpfmand_image::FetchPolicy::Always,
                PullPolicy::IfNotPresent => bpfmand_image::FetchPolicy::IfNotPresent,
                PullPolicy::Never => bpfmand_image::FetchPolicy::Never,
            },
            credential: self.password.as_ref().map(|(user, password)| Credential::new(user, password)),
            caller: self.caller,
        })
    }
}

impl RegistryImages {
    /// Creates the adapter. Call its methods on threads that may block.
    pub fn new(
        store: ImageStore,
        policy: Arc<PolicySource>,
        runtime: ImageRuntime,
        auth_users: BTreeSet<u32>,
    ) -> Self {
        let (store, prepared, in_force) = (Arc::new(store), Mutex::default(), Mutex::default());
        let (in_use, counts) = (OnceLock::new(), Arc::default());
        Self { store, policy, in_force, runtime, in_use, auth_users, prepared, counts }
    }

    pub fn with_counts(mut self, counts: Arc<ImageCounts>) -> Self {
        self.counts = counts;
        self
    }

    fn wanted(&self, ask: ImageAsk<'_>) -> Wanted {
        Wanted {
            url: ask.url.to_owned(),
            pull_policy: ask.pull_policy,
            password: ask.credentials.map(|given| (given.username.clone(), given.password.clone())),
            caller: match self.auth_users.contains(&ask.caller_uid) {
                true => Caller::Machine,
                false => Caller::Other,
            },
        }
    }

    fn prepared(&self, wanted: &Wanted) -> Option<Arc<Loaded>> {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        prepared.retain(|(_, loaded)| loaded.strong_count() > 0);
        prepared.iter().rev().find(|(of, _)| of == wanted)?.1.upgrade()
    }

    /// Enables garbage collection of the cache. Images with the digests that `in_use` returns are kept.
    pub fn collect_but(&self, in_use: InUse) {
        let _ = self.in_use.set(in_use);
    }

    /// Applies the policy that its files contain now. Returns the error for all images while no policy is known.
    fn refresh(&self) -> Option<ImageFailure> {
        let ImagePolicy { rules: policy, unknown } = self.policy.images();
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        if !in_force.as_ref().is_some_and(|known| Arc::ptr_eq(known, &policy)) {
            self.store.set_policy((*policy).clone());
            *in_force = Some(policy);
        }
        unknown.map(|why| ImageFailure {
            kind: Reason::Signature,
            message: format!("no image is loaded until the policy has no mistake: {why}"),
            hint: Some(Hint::CheckPolicy(self.policy.other_file().map(Path::to_owned))),
        })
    }

    fn require_policy(&self) -> Result<(), ImageFailure> {
        self.refresh().map_or(Ok(()), Err)
    }

    fn load(
        &self,
        wanted: &Wanted,
        progress: Option<bpfman_image_format::TransferProgress<'_>>,
    ) -> Result<VerifiedImage, ImageFailure> {
        match self.prepared(wanted) {
            Some(loaded) => (*loaded).clone(),
            None => self.runtime.wait(self.load_now(wanted, progress)),
        }
    }

    async fn load_now(
        &self,
        wanted: &Wanted,
        progress: Option<bpfman_image_format::TransferProgress<'_>>,
    ) -> Result<VerifiedImage, ImageFailure> {
        self.require_policy()?;
        let (store, request) = (Arc::clone(&self.store), wanted.request()?);
        let (tell, mut told) = watch::channel((0, 0));
        let pulled = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&pulled);
        let work = self.runtime.run(async move {
            let report = move |done: u64, total: u64| {
                counted.fetch_max(done, Ordering::Relaxed);
                tell.send_replace((done, total));
            };
            store.load(&request, Some(&report)).await
        });
        let mut work = std::pin::pin!(work);
        let loaded = loop {
            tokio::select! {
                loaded = &mut work => break loaded?,
                Ok(()) = told.changed(), if progress.is_some() => {
                    let (done, total) = *told.borrow_and_update();
                    if let Some(progress) = progress {
                        progress(done, total);
                    }
                }
            }
        };
        if let pulled @ 1.. = pulled.load(Ordering::Relaxed) {
            self.counts.pulled(pulled);
        }
        let loaded = loaded.map_err(|error| failure_with(&error, self.policy.other_file()));
        self.counts.asked(outcome(&loaded));
        loaded
    }

    fn cached_images(&self) -> Result<Vec<CachedImage>, ImageFailure> {
        let store = Arc::clone(&self.store);
        self.runtime.wait_for(async move { store.images().await })?.map_err(|error| failure(&error))
    }

    /// A failure is only logged: a cache that is too large for a while is harmless.
    fn collect(&self, loaded: Digest) {
        let Some(in_use) = self.in_use.get().and_then(|in_use| in_use()) else { return };
        let mut keep = digests(&in_use);
        keep.insert(loaded);
        let store = Arc::clone(&self.store);
        self.runtime.begin(async move {
            match store.collect(keep).await {
                Ok(collected) if collected.images.is_empty() => {}
                Ok(collected) => {
                    tracing::info!(images = ?collected.images, bytes = collected.bytes, "collected")
                }
                Err(error) => tracing::warn!(%error, "the image cache cannot be collected"),
            }
        });
    }
}

impl Images for RegistryImages {
    fn allows_files(&self, uid: u32) -> Result<bool, ImageFailure> {
        let _of_images = self.refresh();
        Ok(self.store.policy().files().allows(uid))
    }

    fn revocation(&self, program: &ProgramRecord) -> Result<Option<Revocation>, ImageFailure> {
        let evidence = match &program.source {
            SourceRecord::Image { evidence, .. } => evidence,
            // Without a known policy, files are not checked, since only root loads them.
            SourceRecord::File { .. } | SourceRecord::Adopted { .. } if self.refresh().is_some() => {
                return Ok(None);
            }
            SourceRecord::File { .. } | SourceRecord::Adopted { .. } => "",
        };
        let finding = self.recheck(program.blob.as_str(), evidence)?;
        Ok(finding.map(|(why, detach)| Revocation { why, detach }))
    }

    fn refusal_now(&self, program: &ProgramRecord) -> Result<Option<String>, ImageFailure> {
        if let Some(revocation) = self.revocation(program)? {
            return Ok(Some(format!("it was revoked: {}", revocation.why)));
        }
        match &program.source {
            SourceRecord::Adopted { .. } => Ok(None),
            SourceRecord::File { .. } => {
                let caller_uid = program.caller_uid;
                let refused = !self.allows_files(caller_uid)?;
                Ok(refused.then(|| {
                    format!(
                        "user {caller_uid} loaded it from a file, which [files] in policy.toml forbids now"
                    )
                }))
            }
            SourceRecord::Image { url, evidence, .. } => {
                let (image, evidence) = (reference(url)?, serde_json::from_str::<Evidence>(evidence).ok());
                let store = Arc::clone(&self.store);
                let judged =
                    self.runtime.wait_for(async move { store.recheck(&image, evidence.as_ref()).await })?;
                match judged {
                    Ok(()) => Ok(None),
                    Err(error) if error.category() == Category::Denied => Ok(Some(error.to_string())),
                    Err(error) => Err(failure(&error)),
                }
            }
        }
    }

    fn fetch(
        &self,
        ask: ImageAsk<'_>,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<FetchedImage, ImageFailure> {
        let found = self.load(&self.wanted(ask), Some(progress))?;
        self.collect(found.digest);
        Ok(FetchedImage {
            digest: found.digest.to_string(),
            verified_by: found.verified_by.to_string(),
            evidence: serde_json::to_string(&found.evidence()).unwrap_or_default(),
            programs: found.labels.programs.into_keys().collect(),
            bytes: found.bytes,
        })
    }
}

#[tonic::async_trait]
impl ImageService for RegistryImages {
    async fn prepare(
        &self,
        source: &BytecodeSource,
        caller_uid: u32,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Prepared {
        let BytecodeSource::Image { url, pull_policy, credentials } = source else {
            return Prepared::default();
        };
        let ask = ImageAsk { url, pull_policy: *pull_policy, credentials: credentials.as_ref(), caller_uid };
        let wanted = self.wanted(ask);
        let loaded = Arc::new(self.load_now(&wanted, Some(progress)).await);
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        prepared.retain(|(_, loaded)| loaded.strong_count() > 0);
        prepared.push((wanted, Arc::downgrade(&loaded)));
        Prepared::holding(loaded)
    }

    fn list(&self) -> Result<Vec<wire::CachedImage>, ImageFailure> {
        let images = self.cached_images()?;
        Ok(images.into_iter().map(cached).collect())
    }

    fn inspect(&self, image: &str) -> Result<wire::InspectImageResponse, ImageFailure> {
        let wanted = reference(image)?;
        let images = self.cached_images()?;
        let is_wanted = |image: &CachedImage| {
            image.name == wanted.name()
                && match wanted.digest() {
                    Some(digest) => image.digest == digest,
                    None => image.tags.contains(&wanted.target()),
                }
        };
        let found = images.into_iter().find(is_wanted).ok_or_else(|| ImageFailure {
            kind: Reason::NotFound,
            message: format!("{wanted} is not in the cache"),
            hint: Some(Hint::Lines(vec![Hint::PullImage(image.to_owned()), Hint::ListImages])),
        })?;
        let mut shown = wire::InspectImageResponse { image: Some(cached(found)), ..Default::default() };
        // The daemon's own identity suffices: only names and labels are returned, never the content.
        let wanted = Wanted {
            url: image.to_owned(),
            pull_policy: PullPolicy::Never,
            password: None,
            caller: Caller::Daemon,
        };
        match self.load(&wanted, None) {
            Ok(loaded) => {
                shown.verified = Some(verified(&loaded.verified_by));
                shown.programs = loaded.labels.programs.into_iter().collect();
                shown.maps = loaded.labels.maps.into_iter().collect();
            }
            Err(refused) => shown.refusal = refused.message,
        }
        Ok(shown)
    }

    fn verify(
        &self,
        source: &BytecodeSource,
        caller_uid: u32,
    ) -> Result<wire::VerifyImageResponse, ImageFailure> {
        let BytecodeSource::Image { url, pull_policy, credentials } = source else {
            let message = "no image is named".to_owned();
            return Err(ImageFailure { kind: Reason::Invalid, message, hint: None });
        };
        let ask = ImageAsk { url, pull_policy: *pull_policy, credentials: credentials.as_ref(), caller_uid };
        let loaded = self.load(&self.wanted(ask), None)?;
        Ok(wire::VerifyImageResponse {
            digest: loaded.digest.to_string(),
            verified: Some(verified(&loaded.verified_by)),
        })
    }

    fn prune(&self, keep: &[String], unused_seconds: u64) -> Result<wire::PruneImagesResponse, ImageFailure> {
        let age = Duration::from_secs(unused_seconds);
        let (store, keep) = (Arc::clone(&self.store), digests(keep));
        let pruned = self.runtime.wait_for(async move { store.prune(keep, age).await })?;
        let pruned = pruned.map_err(|error| failure(&error))?;
        Ok(wire::PruneImagesResponse { images: pruned.images, bytes: pruned.bytes })
    }

    fn import(&self, path: &str, name: Option<&str>) -> Result<wire::ImportImagesResponse, ImageFailure> {
        self.require_policy()?;
        let path = Path::new(path);
        if !path.is_absolute() {
            return Err(ImageFailure {
                kind: Reason::Invalid,
                message: format!("\"{}\" is not an absolute path", path.display()),
                hint: None,
            });
        }
        let name: Option<ImageReference> =
            name.map(str::parse).transpose().map_err(|error: ReferenceError| failure(&error.into()))?;
        let (store, path) = (Arc::clone(&self.store), path.to_owned());
        let imported = self.runtime.wait_for(async move { store.import(&path, name.as_ref()).await })?;
        let imported = imported.map_err(|error| failure_with(&error, self.policy.other_file()))?;
        let images = imported.into_iter().map(|image| {
            let (verified, refusal) = match image.outcome {
                ImportOutcome::Verified(by) => (Some(verified(&by)), String::new()),
                ImportOutcome::Refused(why) => (None, why),
            };
            wire::ImportedImage { name: image.name, digest: image.digest.to_string(), verified, refusal }
        });
        Ok(wire::ImportImagesResponse { images: images.collect() })
    }

    fn recheck(&self, bytecode_sha256: &str, evidence: &str) -> Result<Option<(String, bool)>, ImageFailure> {
        self.require_policy()?;
        let policy = self.store.policy();
        // For files, and for programs loaded by an older version, only the digest of the bytecode is known.
        let evidence = serde_json::from_str::<Evidence>(evidence).ok();
        let signers = evidence.as_ref().map(|evidence| evidence.verified_by.signers()).unwrap_or_default();
        let mut known = evidence.as_ref().map(|evidence| evidence.digests.clone()).unwrap_or_default();
        known.extend(format!("sha256:{bytecode_sha256}").parse::<Digest>());
        let finding = policy.revoked().finding(&known, signers);
        Ok(finding.map(|why| (why, policy.revoked().running == RevokedRunning::Detach)))
    }
}
