use reqwest::Method;

use crate::registry_connection::{RegistryConnection, RegistryRequest};
use crate::{ListPages, PageError, RegistryError};
use bpfman_image_format::{Digest, ImageReference, media, next_page};

const PAGE_LIMIT: u64 = 4 << 20;
const MAX_PAGES: usize = 32;

/// The list of an image's referrers, which a registry answers page by page.
pub(crate) struct ReferrerPages<'a> {
    connection: &'a RegistryConnection,
    what: String,
    pages: ListPages,
}

impl<'a> ReferrerPages<'a> {
    pub(crate) fn of(
        connection: &'a RegistryConnection,
        image: &ImageReference,
        digest: Digest,
    ) -> Result<Self, RegistryError> {
        let what = format!("the referrers of {}@{digest}", image.name());
        let start = connection.url(&format!("referrers/{digest}"), &what)?;
        Ok(Self { connection, what, pages: ListPages::of(start, MAX_PAGES) })
    }

    /// Returns the next page; `None` after the last one, and after a failure.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, RegistryError> {
        let refused = |error: PageError| self.connection.refused(&self.what, error.to_string());
        let Some(url) = self.pages.turn().map_err(refused)? else { return Ok(None) };
        let (method, accept, what) = (Method::GET, Some(media::OCI_INDEX), self.what.as_str());
        let mut response = self.connection.good(&RegistryRequest { method, url, accept, what }).await?;
        let next = next_page(response.headers());
        let page = self.connection.body(&mut response, PAGE_LIMIT).await?;
        self.pages.link(next.as_deref());
        Ok(Some(page))
    }
}
