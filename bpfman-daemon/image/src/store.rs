use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bpfman_image_format::{Digest, ImageReference, Labels, Platform, TransferProgress};
use tokio::sync::Semaphore;

use crate::access::{ImageCaller, Right};
use crate::blocking::blocking;
use crate::cache::ImageCache;
use crate::error::ErrorCause;
use crate::inventory::{Bounds, CachedImage, Collected, InventoryEntry};
use crate::session::LoadSession;
use crate::staging::Staging;
use crate::turns::{RegistrySlot, Turns};
use crate::unresponsive_mirrors::UnresponsiveMirrors;
use crate::worker::{ConfigAnswer, ReadConfig, RegistryClient, StartWorker, Unpacked, VerifierClient};
use crate::{
    Caller, FetchPolicy, ImageError, ImageRequest, Limits, Mode, Policy, PolicyDecision, RegistrySettings,
    VerifiedBy, VerifiedImage,
};

const LOOKS: usize = 64;
/// Maximum time of a lookup. Lookups take milliseconds, unless they wait for the removal of images or for loads.
const LOOK: Duration = Duration::from_secs(30);

/// Loader of images by name, through a cache on disk and under a signature policy. Holds no connection between loads.
#[derive(Debug)]
pub struct ImageStore {
    pub(crate) cache: Arc<ImageCache>,
    policy: RwLock<Arc<Policy>>,
    pub(crate) limits: Limits,
    pub(crate) platform: Option<Platform>,
    pulls: Arc<Semaphore>,
    looks: Semaphore,
    settings: RwLock<Arc<RegistrySettings>>,
    bounds: Bounds,
    workers: Arc<dyn StartWorker>,
    /// Write-locked by a collection; read-locked by loads, but never while they wait for a registry.
    pub(crate) in_use: tokio::sync::RwLock<()>,
    /// One slot per repository, so that concurrent loads of one image download it once.
    flights: Turns,
    registries: Turns,
    silent_mirrors: Arc<UnresponsiveMirrors>,
}

impl ImageStore {
    /// Creates a store that keeps images below `cache`, with this starter of workers. Does no I/O; the first pull creates the folders.
    #[must_use]
    pub fn new(cache: PathBuf, policy: Policy, workers: Arc<dyn StartWorker>) -> Self {
        Self::with_limits(cache, policy, workers, Limits::default())
    }

    /// Creates a store with other limits.
    #[must_use]
    pub fn with_limits(
        cache: PathBuf,
        policy: Policy,
        workers: Arc<dyn StartWorker>,
        limits: Limits,
    ) -> Self {
        Self {
            cache: Arc::new(ImageCache::new(cache).with_room(room(Bounds::default(), limits))),
            policy: RwLock::new(Arc::new(policy)),
            limits,
            platform: Platform::host(),
            pulls: Arc::new(Semaphore::new(limits.pulls)),
            looks: Semaphore::new(LOOKS),
            settings: RwLock::default(),
            bounds: Bounds::default(),
            workers,
            in_use: tokio::sync::RwLock::default(),
            flights: Mutex::default(),
            registries: Mutex::default(),
            silent_mirrors: Arc::default(),
        }
    }

    /// Selects images for another platform than this machine's.
    #[must_use]
    pub fn for_platform(mut self, platform: Platform) -> Self {
        self.platform = Some(platform);
        self
    }

    #[must_use]
    pub fn with_settings(self, settings: RegistrySettings) -> Self {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        self
    }

    /// Sets the limits of the cache.
    #[must_use]
    pub fn with_bounds(self, bounds: Bounds) -> Self {
        let cache = ImageCache::new(self.cache.root().to_owned()).with_room(room(bounds, self.limits));
        Self { cache: Arc::new(cache), bounds, ..self }
    }

    /// Returns the policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the policy, for loads that start from now on.
    pub fn set_policy(&self, policy: Policy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }

    /// Loads an image. Signatures are verified at every load, even from the cache. `progress` reports the layer only.
    pub async fn load(
        &self,
        request: &ImageRequest,
        progress: Option<TransferProgress<'_>>,
    ) -> Result<VerifiedImage, ImageError> {
        let seconds = self.limits.overall_timeout.as_secs();
        let load = self.load_unbounded(request, progress);
        tokio::time::timeout(self.limits.overall_timeout, load)
            .await
            .unwrap_or_else(|_| Err(ImageError::Timeout { image: request.image.to_string(), seconds }))
    }

    async fn load_unbounded(
        &self,
        request: &ImageRequest,
        progress: Option<TransferProgress<'_>>,
    ) -> Result<VerifiedImage, ImageError> {
        let platform = self.platform.ok_or(ImageError::Host(std::env::consts::ARCH))?;
        let policy = self.policy();
        // An image that no rule can allow causes no network traffic.
        let decision = policy.decide(&request.image)?;
        let image = &request.image;
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner).clone();
        let settings = match request.caller {
            Caller::Machine | Caller::Daemon => settings,
            Caller::Other => Arc::new(settings.without_passwords()),
        };
        let asker = self.asker(request, &settings).await?;
        if request.pull_policy != FetchPolicy::Always {
            let _look = self.looks.acquire().await;
            let offline = self.session(image, asker.clone(), None, &self.verifier(), None);
            let _in_use = self.in_use.read().await;
            let looked = self.run(&offline, false, &policy, decision, platform);
            let late = || ImageError::Timeout { image: image.to_string(), seconds: LOOK.as_secs() };
            match tokio::time::timeout(LOOK, looked).await.unwrap_or_else(|_| Err(late())) {
                // The registry may help: with missing content, newer signatures, or a confirmation for this caller.
                Err(
                    error @ (ImageError::NotCached { .. }
                    | ImageError::NotYours { .. }
                    | ImageError::Unsigned { .. }
                    | ImageError::Untrusted { .. }
                    | ImageError::WayBack { .. }),
                ) if request.pull_policy == FetchPolicy::IfNotPresent => {
                    tracing::debug!(%image, %error, "not from the cache");
                }
                result => return result,
            }
        }
        // From here on, only loads of the same repository or registry wait for this one, or all if very many run.
        let _flight = RegistrySlot::take(&self.flights, image.name(), 1).await;
        let _place =
            RegistrySlot::take(&self.registries, image.registry().to_owned(), self.limits.pulls_of_one).await;
        let _pull = self.pulls.acquire().await;
        let ask = request.pull_policy == FetchPolicy::Always;
        let places = {
            let (image, credential) = (image.clone(), request.credential.clone());
            blocking(move || settings.places(&image, credential.as_ref())).await?
        };
        let (workers, silent) = (&*self.workers, &self.silent_mirrors);
        let registry = RegistryClient::open(workers, image.name(), places, self.limits, silent).await?;
        let online = self.session(image, asker, Some(registry), &self.verifier(), progress);
        self.run(&online, ask, &policy, decision, platform).await
    }

    async fn asker(
        &self,
        request: &ImageRequest,
        settings: &RegistrySettings,
    ) -> Result<ImageCaller, ImageError> {
        if request.caller == Caller::Daemon {
            return Ok(ImageCaller::Daemon);
        }
        Ok(ImageCaller::With(match &request.credential {
            Some(credential) => {
                let (cache, image, credential) =
                    (self.cache.clone(), request.image.clone(), credential.clone());
                blocking(move || cache.right_of(&image, &credential)).await?
            }
            None if settings.has_password(&request.image) => Right::Machine,
            None => Right::Everybody,
        }))
    }

    pub(crate) fn verifier(&self) -> Arc<VerifierClient> {
        Arc::new(VerifierClient::new(Arc::clone(&self.workers)))
    }

    pub(crate) fn session<'a>(
        &self,
        image: &'a ImageReference,
        asker: ImageCaller,
        registry: Option<RegistryClient>,
        verifier: &Arc<VerifierClient>,
        progress: Option<TransferProgress<'a>>,
    ) -> LoadSession<'a> {
        LoadSession {
            cache: self.cache.clone(),
            staging: Arc::new(Staging::new(self.cache.clone())),
            limits: self.limits,
            image,
            asker,
            registry,
            verifier: Arc::clone(verifier),
            brought: None,
            progress,
            confirmed: Mutex::default(),
            found: Mutex::default(),
        }
    }

    pub(crate) async fn run(
        &self,
        session: &LoadSession<'_>,
        ask: bool,
        policy: &Policy,
        decision: PolicyDecision<'_>,
        platform: Platform,
    ) -> Result<VerifiedImage, ImageError> {
        let image = session.image;
        let resolved = match session.resolve(ask, policy, decision, platform).await {
            Err(
                error @ (ImageError::Unsigned { .. }
                | ImageError::SignaturesUnanswered { .. }
                | ImageError::Untrusted { .. }
                | ImageError::NotPinned { .. }
                | ImageError::WayBack { .. }),
            ) if policy.mode() == Mode::Warn => {
                // Resolve again without the rule; everything but the tag is cached by now.
                let mut resolved = session.resolve(ask, policy, PolicyDecision::Uncovered, platform).await?;
                let (digest, reason) = (resolved.digest, error.to_string());
                let what = "loading an image that the policy does not vouch for";
                match error {
                    ImageError::Unsigned { .. } => tracing::info!(%image, %digest, reason, "{what}"),
                    _ => tracing::warn!(%image, %digest, reason, "{what}"),
                }
                resolved.verdict.verified_by = VerifiedBy::Warned { reason };
                resolved
            }
            result => result?,
        };
        let malformed = |digest: Digest, source: ErrorCause| ImageError::Malformed {
            what: format!("the image {digest} of {}", image.name()),
            source,
        };
        let (manifest, allowed) = (&resolved.manifest, resolved.allowed);
        let ReadConfig { architecture, labels } = if manifest.has_labels() {
            let config = session.document(&manifest.config, self.limits.config, allowed).await?;
            match session.verifier.config(&config).await? {
                ConfigAnswer::Read(config) => config,
                ConfigAnswer::Malformed(why) => return Err(malformed(manifest.config.digest, why.into())),
                ConfigAnswer::Label(why) => {
                    return Err(ImageError::Label { image: image.to_string(), source: why.into() });
                }
            }
        } else {
            ReadConfig { architecture: String::new(), labels: Labels::default() }
        };
        if !resolved.indexes.is_empty() && !architecture.is_empty() && architecture != platform.architecture()
        {
            // An index may be unsigned: it must not serve one platform's image for another's.
            let why = format!("the index offers it for {platform}, it says {architecture}");
            return Err(malformed(resolved.manifest_digest, why.into()));
        }
        let (layers, Unpacked { object, object_digest: elf_digest }) =
            session.object_of(&resolved, policy, platform.endian()).await?;
        policy.check_digest(image, elf_digest)?;
        let entry = InventoryEntry {
            name: image.name(),
            digest: resolved.digest,
            manifest: resolved.manifest_digest,
            object: elf_digest,
            members: resolved
                .indexes
                .iter()
                .copied()
                .chain([resolved.manifest_digest, manifest.config.digest])
                .chain(layers.iter().map(|layer| layer.digest))
                .collect(),
        };
        let layer_digest = layers.last().map_or(elf_digest, |layer| layer.digest);
        self.let_in(session, &resolved, entry).await?;
        Ok(VerifiedImage {
            bytes: object.bytes.into(),
            file_name: object.name,
            image: image.clone(),
            digest: resolved.digest,
            manifest_digest: resolved.manifest_digest,
            elf_digest,
            layer_digest,
            labels,
            verified_by: resolved.verdict.verified_by,
            signed: resolved.verdict.signed,
        })
    }

    pub async fn images(&self) -> Result<Vec<CachedImage>, ImageError> {
        let cache = self.cache.clone();
        blocking(move || cache.images()).await
    }

    /// Removes images beyond the cache's limits, except `keep`, by digest of index or manifest.
    pub async fn collect(&self, keep: BTreeSet<Digest>) -> Result<Collected, ImageError> {
        self.remove(keep, self.bounds).await
    }

    /// Removes images that were not used for `age`, or exceed the cache's size, except `keep`.
    pub async fn prune(&self, keep: BTreeSet<Digest>, age: Duration) -> Result<Collected, ImageError> {
        self.remove(keep, Bounds { age, ..self.bounds }).await
    }

    async fn remove(&self, keep: BTreeSet<Digest>, bounds: Bounds) -> Result<Collected, ImageError> {
        let _alone = self.in_use.write().await;
        let cache = self.cache.clone();
        blocking(move || cache.collect(&keep, bounds)).await
    }
}

fn room(bounds: Bounds, limits: Limits) -> u64 {
    bounds.bytes.max(limits.layer + limits.config + 2 * limits.manifest)
}
