//! Checks that a request comes from the page itself: the browser also runs pages of other sites.

use std::net::SocketAddr;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, StatusCode};

use crate::answer::ConsoleRefusal;

#[derive(Clone, Debug)]
pub struct OwnNames {
    hosts: Vec<String>,
}

impl OwnNames {
    pub fn of(address: SocketAddr) -> Self {
        let port = address.port();
        Self { hosts: vec![address.to_string(), format!("localhost:{port}")] }
    }

    /// Refuses a request for another host name, which indicates DNS rebinding, or from a page of another origin.
    pub fn check(&self, headers: &HeaderMap, is_page: bool) -> Result<(), ConsoleRefusal> {
        let host = single(headers, HOST.as_str()).unwrap_or_default();
        if !self.hosts.iter().any(|own| own == host) {
            return Err(foreign("the request names another host than this console's"));
        }
        if let Some(origin) = headers.contains_key(ORIGIN).then(|| single(headers, ORIGIN.as_str())) {
            let own = origin.and_then(|origin| origin.strip_prefix("http://")) == Some(host);
            if !own {
                return Err(foreign("the request comes from a page of another origin"));
            }
        }
        // Browsers send this header themselves. The page is not secret and may be opened from any site.
        let site = single(headers, "sec-fetch-site");
        if !is_page && site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
            return Err(foreign("the request comes from another site"));
        }
        Ok(())
    }
}

/// Returns the value of a header; none if it is repeated, because readers may use different values.
fn single<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn foreign(message: &str) -> ConsoleRefusal {
    ConsoleRefusal::new(StatusCode::FORBIDDEN, "foreign", message)
        .with_hint("open the address that the command printed, in a window of its own")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn check(pairs: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        OwnNames::of("127.0.0.1:4000".parse().unwrap()).check(&headers, false).is_ok()
    }

    #[test]
    fn page_is_allowed_under_both_host_names() {
        assert!(check(&[("host", "127.0.0.1:4000")]));
        assert!(check(&[("host", "localhost:4000"), ("origin", "http://localhost:4000")]));
        assert!(check(&[("host", "127.0.0.1:4000"), ("sec-fetch-site", "same-origin")]));
    }

    #[test]
    fn other_hosts_and_origins_are_refused() {
        for pairs in [
            &[][..],
            &[("host", "evil.example:4000")],
            &[("host", "127.0.0.1:4001")],
            &[("host", "127.0.0.1")],
            &[("host", "127.0.0.1:4000"), ("host", "127.0.0.1:4000")],
            &[("host", "127.0.0.1:4000"), ("origin", "http://evil.example")],
            &[("host", "127.0.0.1:4000"), ("origin", "null")],
            &[("host", "127.0.0.1:4000"), ("origin", "http://127.0.0.1:4001")],
            &[("host", "127.0.0.1:4000"), ("origin", "https://127.0.0.1:4000")],
            &[("host", "127.0.0.1:4000"), ("origin", "http://localhost:4000")],
            &[("host", "127.0.0.1:4000"), ("sec-fetch-site", "cross-site")],
            &[("host", "127.0.0.1:4000"), ("sec-fetch-site", "same-site")],
        ] {
            assert!(!check(pairs), "{pairs:?}");
        }
    }
}
