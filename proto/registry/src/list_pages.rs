//! Addresses of the pages of a registry's list, for the client and for the daemon's worker.

use reqwest::Url;

/// Pages of one list, by the links from each to the next.
#[derive(Debug)]
pub struct ListPages {
    start: Url,
    page: Url,
    next: Option<Result<Url, PageError>>,
    read: usize,
    most: usize,
}

/// Reason why a list is not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    #[error("the next page has no address")]
    NoAddress,
    /// The next page is not of the same list: it could direct requests to another host.
    #[error("the next page is elsewhere")]
    Elsewhere,
    #[error("they have more than {0} pages")]
    TooMany(usize),
}

impl ListPages {
    /// Begins at the first page.
    #[must_use]
    pub fn of(start: Url, most: usize) -> Self {
        Self { page: start.clone(), next: Some(Ok(start.clone())), start, read: 0, most }
    }

    /// Returns the address of the next page; `None` after the last one, and after a failure.
    pub fn turn(&mut self) -> Result<Option<Url>, PageError> {
        let Some(page) = self.next.take().transpose()? else { return Ok(None) };
        if self.read == self.most {
            return Err(PageError::TooMany(self.most));
        }
        self.read += 1;
        self.page = page.clone();
        Ok(Some(page))
    }

    /// Notes the link that the registry sent with the page.
    pub fn link(&mut self, next: Option<&str>) {
        self.next = next.map(|next| match self.page.join(next) {
            Ok(next) if next.origin() == self.start.origin() && next.path() == self.start.path() => Ok(next),
            Ok(_) => Err(PageError::Elsewhere),
            Err(_) => Err(PageError::NoAddress),
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const START: &str = "https://registry.example:5000/v2/a/referrers/sha256:0";

    #[test]
    fn pages_of_the_same_list_are_read_up_to_a_limit() {
        let mut pages = ListPages::of(START.parse().unwrap(), 3);
        for (address, next) in
            [(START.to_owned(), "?n=2"), (format!("{START}?n=2"), "/v2/a/referrers/sha256:0?n=3")]
        {
            assert_eq!(pages.turn().unwrap().unwrap().as_str(), address);
            pages.link(Some(next));
        }
        assert_eq!(pages.turn().unwrap().unwrap().as_str(), format!("{START}?n=3"));
        pages.link(Some("?n=4"));
        assert!(matches!(pages.turn(), Err(PageError::TooMany(3))));
        assert_eq!(pages.turn().unwrap(), None);
    }

    #[test]
    fn pages_of_other_lists_and_hosts_are_refused() {
        for next in [
            "/v2/b/referrers/sha256:0",
            "sha256:1",
            "//evil.example/v2/a/referrers/sha256:0",
            "https://registry.example:5001/v2/a/referrers/sha256:0",
            "http://registry.example:5000/v2/a/referrers/sha256:0",
        ] {
            let mut pages = ListPages::of(START.parse().unwrap(), 3);
            pages.turn().unwrap().unwrap();
            pages.link(Some(next));
            assert!(matches!(pages.turn(), Err(PageError::Elsewhere)), "{next}");
        }
        let mut pages = ListPages::of(START.parse().unwrap(), 3);
        pages.turn().unwrap().unwrap();
        pages.link(Some("https://[::1"));
        assert!(matches!(pages.turn(), Err(PageError::NoAddress)));
    }
}
