//! What can be asked of the store, within which bounds, and what comes back.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bpfman_image_format::{Credential, Digest, ImageReference, Labels};
use serde::{Deserialize, Serialize};

use crate::{Evidence, Signed, VerifiedBy};

/// When the registry is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FetchPolicy {
    /// At every load: the tag may have moved.
    Always,
    /// If the cache lacks something.
    #[default]
    IfNotPresent,
    /// Not at all.
    Never,
}

/// Bounds of everything that a registry can send.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of a manifest or index.
    pub manifest: u64,
    /// Bytes of a configuration.
    pub config: u64,
    /// Bytes of a layer as it is sent.
    pub layer: u64,
    /// Bytes of the manifest that lists signatures.
    pub signature_manifest: u64,
    /// Bytes of one signed payload.
    pub signature: u64,
    /// Documents that refer to one digest, signatures and others.
    pub referrers: usize,
    /// Signatures of one digest.
    pub signatures: usize,
    /// Loads that ask registries at the same time; others wait. What comes from the cache waits for none of them.
    pub pulls: usize,
    /// The same of one registry.
    pub pulls_of_one: usize,
    /// For a connection to be made.
    pub connect_timeout: Duration,
    /// For the next piece of an answer to come.
    pub read_timeout: Duration,
    /// The least that a registry has to send, once it sends something: so many bytes in each span of that time.
    pub least_bytes: u64,
    /// That time.
    pub least_time: Duration,
    /// For one whole load, waiting for others included.
    pub overall_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest: 1 << 20,
            config: 1 << 20,
            // Room for what stands beside the object; the object itself has a limit of its own.
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

/// What to load.
#[derive(Clone, Debug)]
pub struct ImageRequest {
    /// The image.
    pub image: ImageReference,
    /// When the registry is asked.
    pub pull_policy: FetchPolicy,
    /// For the registry. Of it only a keyed hash is kept.
    pub credential: Option<Credential>,
    /// Who asks.
    pub caller: Caller,
}

/// Who asks for an image: what they may use besides their own password.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Caller {
    /// Somebody who has no more than the password of the request.
    #[default]
    Other,
    /// Somebody who may use the passwords of this machine.
    Machine,
    /// The daemon, which hands out nothing of the image's content.
    Daemon,
}

/// Bytecode that the policy allows to run.
#[derive(Clone)]
pub struct VerifiedImage {
    /// The object file.
    pub bytes: Arc<[u8]>,
    /// Name of the object file in the image, where it has one.
    pub file_name: Option<String>,
    /// The image as it was asked for.
    pub image: ImageReference,
    /// What the name led to: digest of an index or a manifest.
    pub digest: Digest,
    /// Digest of the manifest for this machine's platform; the same where there is no index.
    pub manifest_digest: Digest,
    /// Digest of the object file.
    pub elf_digest: Digest,
    /// What the image says that the object holds. Advisory.
    pub labels: Labels,
    /// Digest of the layer as it was sent.
    pub layer_digest: Digest,
    /// Who vouches for it.
    pub verified_by: VerifiedBy,
    /// What the signers wrote, where signatures counted.
    pub signed: Option<Signed>,
}

impl VerifiedImage {
    /// What a program's record keeps of it.
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
