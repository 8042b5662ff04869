//! The room's door: a name goes in, verified bytecode comes out.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bpfman_image_format::{Digest, ImageReference, Labels, Platform, Progress};
use tokio::sync::{OwnedMutexGuard, Semaphore};

use crate::blocking::blocking;
use crate::cache::Cache;
use crate::import::{self, Imported, Outcome};
use crate::inventory::{Bounds, CachedImage, Collected, Entry};
use crate::manifest::Config;
use crate::registry::Registry;
use crate::session::Session;
use crate::unpack::unpack;
use crate::{
    Decision, ImageError, ImageRequest, Limits, Mode, Policy, PullPolicy, RegistrySettings, VerifiedBy,
    VerifiedImage,
};

/// Loads images by name, through a cache on disk and under a signature policy.
///
/// Runs on a tokio runtime with its I/O and time drivers enabled, of either kind. Holds no connection and no open
/// file between loads.
#[derive(Debug)]
pub struct ImageStore {
    cache: Arc<Cache>,
    policy: RwLock<Arc<Policy>>,
    limits: Limits,
    platform: Option<Platform>,
    pulls: Arc<Semaphore>,
    settings: RwLock<Arc<RegistrySettings>>,
    bounds: Bounds,
    /// Held for reading by every load, for writing by a collection: nothing goes that a load relies on.
    in_use: tokio::sync::RwLock<()>,
    /// One lock a repository that is being pulled, so that many loads of one image make one download.
    flights: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl ImageStore {
    /// A store that keeps images below `cache`. Does no I/O; the folders are made by the first pull.
    #[must_use]
    pub fn new(cache: PathBuf, policy: Policy) -> Self {
        Self::with_limits(cache, policy, Limits::default())
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(cache: PathBuf, policy: Policy, limits: Limits) -> Self {
        Self {
            cache: Arc::new(Cache::new(cache)),
            policy: RwLock::new(Arc::new(policy)),
            limits,
            platform: Platform::host(),
            pulls: Arc::new(Semaphore::new(limits.pulls)),
            settings: RwLock::default(),
            bounds: Bounds::default(),
            in_use: tokio::sync::RwLock::default(),
            flights: Mutex::default(),
        }
    }

    /// Chooses images for another platform than this machine's.
    #[must_use]
    pub fn for_platform(mut self, platform: Platform) -> Self {
        self.platform = Some(platform);
        self
    }

    /// Reaches registries as these settings say.
    #[must_use]
    pub fn with_settings(self, settings: RegistrySettings) -> Self {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        self
    }

    /// Keeps so much in the cache.
    #[must_use]
    pub fn with_bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another policy in force, for loads that start from now on.
    pub fn set_policy(&self, policy: Policy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }

    /// Loads an image: resolves, verifies, fetches what is missing, unpacks.
    ///
    /// Signatures are verified at every load, from the cache or not. `progress` is told about the layer only.
    pub async fn load(
        &self,
        request: &ImageRequest,
        progress: Option<Progress<'_>>,
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
        progress: Option<Progress<'_>>,
    ) -> Result<VerifiedImage, ImageError> {
        let platform = self.platform.ok_or(ImageError::Host(std::env::consts::ARCH))?;
        let policy = self.policy();
        let _in_use = self.in_use.read().await;
        // An image that no rule can allow causes no traffic at all.
        let decision = policy.decide(&request.image)?;
        let image = &request.image;
        if request.pull_policy != PullPolicy::Always {
            let offline = Session {
                cache: self.cache.clone(),
                limits: self.limits,
                image,
                registry: None,
                progress: None,
            };
            match self.run(&offline, false, &policy, decision, platform).await {
                // What the registry has now may help: a missing part, or a signature made since.
                Err(
                    error @ (ImageError::NotCached { .. }
                    | ImageError::Unsigned { .. }
                    | ImageError::Untrusted { .. }
                    | ImageError::WayBack { .. }),
                ) if request.pull_policy == PullPolicy::IfNotPresent => {
                    tracing::debug!(%image, %error, "not from the cache");
                }
                result => return result,
            }
        }
        let _flight = self.flight(image).await;
        let _pull = self.pulls.acquire().await;
        let ask = request.pull_policy == PullPolicy::Always;
        let credential = request.credential.as_ref();
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner).clone();
        // A helper may be asked for the password, and take its time.
        let registry = {
            let (image, credential, limits) = (image.clone(), credential.cloned(), self.limits);
            blocking(move || Registry::new(&image, credential.as_ref(), &settings, limits)).await?
        };
        let cache = self.cache.clone();
        let online = Session { cache, limits: self.limits, image, registry: Some(registry), progress };
        self.run(&online, ask, &policy, decision, platform).await
    }

    async fn run(
        &self,
        session: &Session<'_>,
        ask: bool,
        policy: &Policy,
        decision: Decision<'_>,
        platform: Platform,
    ) -> Result<VerifiedImage, ImageError> {
        let image = session.image;
        let resolved = match session.resolve(ask, policy, decision, platform).await {
            Err(
                error @ (ImageError::Unsigned { .. }
                | ImageError::Untrusted { .. }
                | ImageError::NotPinned { .. }
                | ImageError::WayBack { .. }),
            ) if policy.mode() == Mode::Warn => {
                // Resolved again without the rule; everything but the tag is cached by now.
                let mut resolved = session.resolve(ask, policy, Decision::Uncovered, platform).await?;
                resolved.verified_by = VerifiedBy::Warned { reason: error.to_string() };
                resolved
            }
            result => result?,
        };
        if let VerifiedBy::Warned { reason } = &resolved.verified_by {
            tracing::warn!(%image, digest = %resolved.digest, reason, "loading an image that the policy does not vouch for");
        }
        let malformed = |digest: Digest, why: String| ImageError::Malformed {
            what: format!("the image {digest} of {}", image.name()),
            why,
        };
        let manifest = &resolved.manifest;
        let layer = manifest
            .object()
            .ok_or_else(|| malformed(resolved.manifest_digest, "it has no layer".to_owned()))?;
        let config = if manifest.has_labels() {
            let config = session.document(&manifest.config, self.limits.config).await?;
            Config::parse(&config).map_err(|why| malformed(manifest.config.digest, why))?
        } else {
            Config::default()
        };
        if resolved.from_index
            && !config.architecture.is_empty()
            && config.architecture != platform.architecture()
        {
            // An index is not always signed itself: it must not hand out one platform's image for another's.
            let why = format!("the index offers it for {platform}, it says {}", config.architecture);
            return Err(malformed(resolved.manifest_digest, why));
        }
        let labels = Labels::read(&config.labels())
            .map_err(|source| ImageError::Label { image: image.to_string(), source })?;
        policy.check_digest(image, layer.digest)?;
        let (found, elf_digest) =
            session.layer(layer, |file| unpack(file, layer, image, platform.endian())).await?;
        policy.check_digest(image, elf_digest)?;
        let entry = Entry {
            name: image.name(),
            digest: resolved.digest,
            manifest: resolved.manifest_digest,
            object: elf_digest,
            members: [resolved.digest, resolved.manifest_digest, manifest.config.digest, layer.digest].into(),
        };
        // Also what another load fetched: whoever is told "loaded" may rely on it after a power cut.
        let cache = self.cache.clone();
        blocking(move || {
            cache.used(&entry)?;
            cache.settle()
        })
        .await?;
        Ok(VerifiedImage {
            bytes: found.bytes.into(),
            file_name: found.name,
            image: image.clone(),
            digest: resolved.digest,
            manifest_digest: resolved.manifest_digest,
            elf_digest,
            layer_digest: layer.digest,
            labels,
            verified_by: resolved.verified_by,
        })
    }

    /// What is in the cache.
    pub async fn images(&self) -> Result<Vec<CachedImage>, ImageError> {
        let cache = self.cache.clone();
        blocking(move || cache.images()).await
    }

    /// Removes what the bounds of the cache have no room for, if nobody loads just now. `keep` names the images that
    /// have to stay, by digest of index or manifest.
    pub async fn collect(&self, keep: BTreeSet<Digest>) -> Result<Collected, ImageError> {
        let Ok(_alone) = self.in_use.try_write() else { return Ok(Collected::default()) };
        let (cache, bounds) = (self.cache.clone(), self.bounds);
        blocking(move || cache.collect(&keep, bounds)).await
    }

    /// Removes every image that was not used for `age`, once no load is in progress.
    pub async fn prune(&self, keep: BTreeSet<Digest>, age: Duration) -> Result<Collected, ImageError> {
        let _alone = self.in_use.write().await;
        let (cache, bounds) = (self.cache.clone(), Bounds { age, ..self.bounds });
        blocking(move || cache.collect(&keep, bounds)).await
    }

    /// Takes the images and signatures of an OCI layout, a folder or a tar of one, into the cache, and says of each what
    /// the policy says of it. Touches no network.
    pub async fn import(&self, path: &std::path::Path) -> Result<Vec<Imported>, ImageError> {
        let images = {
            let _in_use = self.in_use.read().await;
            let (cache, limits, path) = (self.cache.clone(), self.limits, path.to_owned());
            let layout = blocking(move || import::copy(&cache, &path, &limits)).await?;
            import::names(&self.cache, &layout, &self.limits).await?
        };
        let mut imported = Vec::new();
        for (image, digest) in images {
            let request = ImageRequest { image, pull_policy: PullPolicy::Never, credential: None };
            let outcome = match self.load(&request, None).await {
                Ok(loaded) => Outcome::Verified(loaded.verified_by),
                Err(error) => Outcome::Refused(error.to_string()),
            };
            imported.push(Imported { name: request.image.to_string(), digest, outcome });
        }
        Ok(imported)
    }

    /// Waits until nobody else pulls from this repository.
    async fn flight(&self, image: &ImageReference) -> Flight<'_> {
        let name = image.name();
        // Made before the wait: whoever gives up waiting tidies up too.
        let mut flight = Flight { store: self, name: name.clone(), guard: None };
        let lock =
            self.flights.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default().clone();
        flight.guard = Some(lock.lock_owned().await);
        flight
    }
}

/// The right to pull from a repository; forgets the lock when nobody waits for it.
struct Flight<'a> {
    store: &'a ImageStore,
    name: String,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut flights = self.store.flights.lock().unwrap_or_else(PoisonError::into_inner);
        self.guard = None;
        // Two owners are the table and whoever waits; one is the table alone.
        if flights.get(&self.name).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            flights.remove(&self.name);
        }
    }
}
