//! Where signatures are read from.

use bpfman_image_format::{Descriptor, Digest};

use crate::ImageError;

/// A place where images and their signatures lie side by side: a registry, or a layout.
pub(crate) trait SignatureSource: Sync {
    /// `registry/repository`.
    fn name(&self) -> &str;
    /// A manifest at a tag or digest; none if there is none.
    fn manifest(
        &self,
        target: &str,
        limit: u64,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, ImageError>> + Send;
    /// The pages of the list of what refers to a digest; none if there is no such list.
    fn referrers(
        &self,
        digest: Digest,
    ) -> impl Future<Output = Result<Option<Vec<Vec<u8>>>, ImageError>> + Send;
    /// Content by descriptor, checked.
    fn blob(
        &self,
        descriptor: &Descriptor,
        limit: u64,
    ) -> impl Future<Output = Result<Vec<u8>, ImageError>> + Send;
}
