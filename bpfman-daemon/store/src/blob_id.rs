use std::sync::Arc;

use bpfman_model::hexadecimal;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// SHA-256 of an object file, as 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BlobId(String);

impl BlobId {
    /// Returns the id of contents.
    pub fn of(bytes: &[u8]) -> Self {
        Self(hexadecimal(&Sha256::digest(bytes)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Contents with their id.
#[derive(Clone, Debug)]
pub struct Blob {
    id: BlobId,
    bytes: Arc<[u8]>,
}

impl Blob {
    /// Computes the id of contents.
    pub fn new(bytes: Arc<[u8]>) -> Self {
        Self { id: BlobId::of(&bytes), bytes }
    }

    pub const fn id(&self) -> &BlobId {
        &self.id
    }

    pub const fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }
}
