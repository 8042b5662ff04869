use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bpfman_image_format::{Credential, Digest, ImageReference, Labels};
use serde::{Deserialize, Serialize};

use crate::{Evidence, Signed, VerifiedBy};

/// Condition for using the registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FetchPolicy {
    /// Every load uses the registry: the tag may have moved.
    Always,
    /// A load uses the registry if the cache lacks something.
    #[default]
    IfNotPresent,
    /// The registry is not used.
    Never,
}

/// Limits on everything that a registry can send.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Size of a manifest or index, in bytes.
    pub manifest: u64,
    /// Size of a configuration, in bytes.
    pub config: u64,
    /// Compressed size of a layer, in bytes.
    pub layer: u64,
    /// Size of the manifest that lists signatures, in bytes.
    pub signature_manifest: u64,
    /// Size of one signed payload, in bytes.
    pub signature: u64,
    /// Number of documents that refer to one digest, signatures and others.
    pub referrers: usize,
    /// Number of signatures of one digest.
    pub signatures: usize,
    /// Number of concurrent loads that use registries; further ones wait. Loads from the cache do not wait.
    pub pulls: usize,
    /// Number of concurrent loads that use the same registry.
    pub pulls_of_one: usize,
    /// Timeout for a connection.
    pub connect_timeout: Duration,
    /// Timeout for the next piece of an answer.
    pub read_timeout: Duration,
    /// Minimum number of bytes in each `least_time` of a transfer.
    pub least_bytes: u64,
    /// Time span of `least_bytes`.
    pub least_time: Duration,
    /// Timeout for a whole load, including the wait for other loads.
    pub overall_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest: 1 << 20,
            config: 1 << 20,
            // Leaves space for other files beside the object, which has a limit of its own.
            layer: 96 << 20,
            signature_manifest: 1 << 20,
            signature: 64 << 10,
            referrers: 256,
            signatures: 128,
            pulls: 128,
            pulls_of_one: 8,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(15),
            least_bytes: 16 << 10,
            least_time: Duration::from_secs(15),
            overall_timeout: Duration::from_secs(120),
        }
    }
}

/// Request to load an image.
#[derive(Clone, Debug)]
pub struct ImageRequest {
    pub image: ImageReference,
    /// Condition for using the registry.
    pub pull_policy: FetchPolicy,
    /// Credential for the registry. Only a keyed hash of it is stored.
    pub credential: Option<Credential>,
    /// Caller that requests the image.
    pub caller: Caller,
}

/// Caller of a load: decides which credentials apply besides those of the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Caller {
    /// A caller with only the credentials of the request.
    #[default]
    Other,
    /// A caller that may use the credentials of this machine.
    Machine,
    /// The daemon itself, which does not hand out the content.
    Daemon,
}

/// Bytecode that the policy allows to run.
#[derive(Clone)]
pub struct VerifiedImage {
    /// The object file.
    pub bytes: Arc<[u8]>,
    /// Name of the object file in the image, if any.
    pub file_name: Option<String>,
    pub image: ImageReference,
    /// Digest that the name resolved to, of an index or manifest.
    pub digest: Digest,
    /// Digest of the manifest for this machine's platform; equals `digest` if there is no index.
    pub manifest_digest: Digest,
    /// Digest of the object file.
    pub elf_digest: Digest,
    /// Labels that describe the object. Advisory.
    pub labels: Labels,
    pub layer_digest: Digest,
    /// Reason why the policy allows the image.
    pub verified_by: VerifiedBy,
    /// Content of the signatures, if signatures were counted.
    pub signed: Option<Signed>,
}

impl VerifiedImage {
    /// Returns the evidence for the program's record.
    #[must_use]
    pub fn evidence(&self) -> Evidence {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Evidence {
            digests: vec![self.digest, self.manifest_digest, self.layer_digest, self.elf_digest],
            verified_by: self.verified_by.clone(),
            signed: self.signed.clone(),
            verified_at: now.map_or(0, |since| since.as_secs()),
        }
    }
}

impl fmt::Debug for VerifiedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedImage")
            .field("image", &self.image.to_string())
            .field("digest", &self.digest)
            .field("elf_digest", &self.elf_digest)
            .field("verified_by", &self.verified_by)
            .finish_non_exhaustive()
    }
}
