use bpfman_image_format::{Descriptor, Digest};

use crate::ImageError;

/// Source of images and their signatures: a registry or a layout.
pub trait SignatureSource: Sync {
    /// `registry/repository`.
    fn name(&self) -> &str;
    /// Returns the manifest at a tag or digest; `None` if it does not exist.
    fn manifest(
        &self,
        target: &str,
        limit: u64,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, ImageError>> + Send;
    /// Returns the pages of the list of referrers; `None` if the source has no such list.
    fn referrers(
        &self,
        digest: Digest,
    ) -> impl Future<Output = Result<Option<Vec<Vec<u8>>>, ImageError>> + Send;
    /// Returns content by descriptor, verified.
    fn blob(
        &self,
        descriptor: &Descriptor,
        limit: u64,
    ) -> impl Future<Output = Result<Vec<u8>, ImageError>> + Send;
}
