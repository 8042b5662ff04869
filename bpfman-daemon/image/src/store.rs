//! The room's door: a name goes in, verified bytecode comes out.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bpfman_image_format::{
    BytecodeError, Digest, Endian, ImageReference, Labels, Platform, Progress, check_object,
};
use tokio::sync::{OwnedMutexGuard, Semaphore};

use crate::blocking::blocking;
use crate::cache::Cache;
use crate::layer::{self, LayerError};
use crate::manifest::Config;
use crate::session::Session;
use crate::{
    Decision, ImageError, ImageRequest, Limits, Mode, Policy, PullPolicy, VerifiedBy, VerifiedImage,
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
            flights: Mutex::default(),
        }
    }

    /// Chooses images for another platform than this machine's.
    #[must_use]
    pub fn for_platform(mut self, platform: Platform) -> Self {
        self.platform = Some(platform);
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
            match self.run(&offline, false, decision, policy.mode(), platform).await {
                // What the registry has now may help: a missing part, or a signature made since.
                Err(
                    error @ (ImageError::NotCached { .. }
                    | ImageError::Unsigned { .. }
                    | ImageError::Untrusted { .. }),
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
        let online = Session::connected(self.cache.clone(), self.limits, image, credential, progress)?;
        self.run(&online, ask, decision, policy.mode(), platform).await
    }

    async fn run(
        &self,
        session: &Session<'_>,
        ask: bool,
        decision: Decision<'_>,
        mode: Mode,
        platform: Platform,
    ) -> Result<VerifiedImage, ImageError> {
        let image = session.image;
        let resolved = match session.resolve(ask, decision, platform).await {
            Err(error @ (ImageError::Unsigned { .. } | ImageError::Untrusted { .. }))
                if mode == Mode::Warn =>
            {
                // Resolved again without the rule; everything but the tag is cached by now.
                let mut resolved = session.resolve(ask, Decision::Uncovered, platform).await?;
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
        // Every reader in the field takes the first layer, and the format has only one.
        let layer = manifest
            .layers
            .first()
            .ok_or_else(|| malformed(resolved.manifest_digest, "it has no layer".to_owned()))?;
        let config = session.blob(&manifest.config, self.limits.config, None).await?;
        let config = Config::parse(&config).map_err(|why| malformed(manifest.config.digest, why))?;
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
        let packed = session.blob(layer, self.limits.layer, session.progress).await?;
        let what = format!("the layer {} of {}", layer.digest, image.name());
        let (found, elf_digest) = unpack(packed, what, image, platform.endian()).await?;
        // Also what another load fetched: whoever is told "loaded" may rely on it after a power cut.
        let cache = self.cache.clone();
        blocking(move || cache.settle()).await?;
        Ok(VerifiedImage {
            bytes: found.bytes.into(),
            file_name: found.name,
            image: image.clone(),
            digest: resolved.digest,
            manifest_digest: resolved.manifest_digest,
            elf_digest,
            labels,
            verified_by: resolved.verified_by,
        })
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

/// Unpacks a layer and checks the object in it, off the runtime's own threads: it may take a while.
async fn unpack(
    packed: Vec<u8>,
    what: String,
    image: &ImageReference,
    expected: Endian,
) -> Result<(layer::Found, Digest), ImageError> {
    let image = image.to_string();
    let work = move || {
        let found = layer::decode(&packed).map_err(|error| match error {
            LayerError::TooLarge(limit) => ImageError::TooLarge { what: what.clone(), size: None, limit },
            LayerError::Malformed(why) => ImageError::Malformed { what: what.clone(), why },
        })?;
        let name = found.name.clone().unwrap_or_else(|| "the layer".to_owned());
        let unusable = |source| ImageError::Bytecode { image: image.clone(), source };
        let order = check_object(&name, &found.bytes).map_err(unusable)?;
        if order != expected {
            let platform = "this machine".to_owned();
            return Err(unusable(BytecodeError::Endian { name, found: order, expected, platform }));
        }
        let digest = Digest::of(&found.bytes);
        Ok((found, digest))
    };
    blocking(work).await
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
