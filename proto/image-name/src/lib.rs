//! Names of images: canonical registries, repositories, tags and digests. No I/O.

mod digest;
mod reference;
mod registry_host;

pub use digest::{Digest, DigestError, Hasher};
pub use reference::{ImageReference, ReferenceError};
pub use registry_host::{RegistryHost, RegistryHostError};
