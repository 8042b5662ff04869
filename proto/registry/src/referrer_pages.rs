use reqwest::{Method, Url};

use crate::RegistryError;
use crate::registry_connection::{RegistryConnection, RegistryRequest};
use bpfman_image_format::{Digest, ImageReference, media, next_page};

const PAGE_LIMIT: u64 = 4 << 20;
const MAX_PAGES: usize = 32;

/// The list of an image's referrers, which a registry answers page by page.
pub(crate) struct ReferrerPages<'a> {
    connection: &'a RegistryConnection,
    what: String,
    start: Url,
    next: Option<Result<Url, RegistryError>>,
    read: usize,
}

impl<'a> ReferrerPages<'a> {
    pub(crate) fn of(
        connection: &'a RegistryConnection,
        image: &ImageReference,
        digest: Digest,
    ) -> Result<Self, RegistryError> {
        let what = format!("the referrers of {}@{digest}", image.name());
        let start = connection.url(&format!("referrers/{digest}"), &what)?;
        Ok(Self { connection, what, next: Some(Ok(start.clone())), start, read: 0 })
    }

    /// Returns the next page; `None` after the last one, and after a failure.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, RegistryError> {
        let Some(url) = self.next.take().transpose()? else { return Ok(None) };
        if self.read == MAX_PAGES {
            return Err(self.refused(format!("they have more than {MAX_PAGES} pages")));
        }
        self.read += 1;
        let (method, accept, what) = (Method::GET, Some(media::OCI_INDEX), self.what.as_str());
        let request = RegistryRequest { method, url: url.clone(), accept, what };
        let mut response = self.connection.good(&request).await?;
        let next = next_page(response.headers());
        let page = self.connection.body(&mut response, PAGE_LIMIT).await?;
        self.next = next.map(|next| self.place_of(&url, &next));
        Ok(Some(page))
    }

    /// Refuses pages of other lists: they could direct requests to another host.
    fn place_of(&self, page: &Url, next: &str) -> Result<Url, RegistryError> {
        let next = page.join(next).map_err(|error| self.refused(format!("the next page is at {error}")))?;
        if next.origin() != self.start.origin() || next.path() != self.start.path() {
            return Err(self.refused("the next page is elsewhere".to_owned()));
        }
        Ok(next)
    }

    fn refused(&self, why: String) -> RegistryError {
        self.connection.refused(&self.what, why)
    }
}
