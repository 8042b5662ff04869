//! Hosts that a registry may direct requests to: none that only the daemon can reach.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use bpfman_image_format::RegistryHost;
use bpfmand_frames::environment::PROXIES;
use reqwest::Url;

use bpfmand_image::AuthorizationError;
use bpfmand_image::messages::RepositoryPlace;

use super::private::{is_private_address, is_private_host};

#[derive(Debug)]
pub(crate) struct RegistryReach {
    origin: Url,
    others: BTreeSet<RegistryHost>,
    proxies: BTreeSet<String>,
    plain_http: bool,
    registry_is_private: AtomicBool,
}

impl RegistryReach {
    pub(crate) fn new(place: &RepositoryPlace, proxies: BTreeSet<String>) -> Option<Self> {
        let origin: Url = place.url("", "").parse().ok()?;
        let registry_is_private = AtomicBool::new(is_private_host(origin.host_str()?));
        let (others, plain_http) = (place.other_hosts.clone(), place.plain_http);
        Some(Self { origin, others, proxies, plain_http, registry_is_private })
    }

    /// Checks a token service: the request carries the caller's password, and the registry gets the answer.
    pub(crate) fn token_from(&self, realm: &Url) -> Result<(), AuthorizationError> {
        let to = shown(realm);
        if !realm.username().is_empty() || realm.password().is_some() {
            return Err(AuthorizationError::UserInRealm(to));
        }
        if realm.scheme() != "https" && !self.plain_http {
            return Err(AuthorizationError::NoTls(to));
        }
        if self.is_own(realm) {
            return Ok(());
        }
        let host = realm.host_str().unwrap_or_default();
        if realm.scheme() != "https" || is_private_host(host) || !self.is_of_its_site(host) {
            return Err(AuthorizationError::ForeignRealm(to));
        }
        Ok(())
    }

    /// Returns whether to follow a redirect: within one origin, to a configured host, or by TLS to a host
    /// that is not a private address literal. The resolver checks the addresses of names at connection time.
    pub(crate) fn redirects(&self, from: &Url, to: &Url) -> bool {
        from.origin() == to.origin()
            || self.is_named(to) && (to.scheme() == "https" || self.plain_http)
            || to.scheme() == "https" && !to.host_str().is_none_or(is_private_host)
    }

    pub(crate) fn note(&self, host: &str, addresses: impl IntoIterator<Item = IpAddr>) {
        if self.origin.host_str() == Some(host) && addresses.into_iter().any(is_private_address) {
            self.registry_is_private.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn connects(&self, host: &str, address: IpAddr) -> bool {
        let named = || self.others.iter().any(|other| other.host() == host) || self.proxies.contains(host);
        !is_private_address(address)
            || self.origin.host_str() == Some(host)
            || named()
            // Other services of a private registry's site are private as well; TLS proves that they belong to the site.
            || self.registry_is_private.load(Ordering::Relaxed) && self.is_of_its_site(host)
    }

    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.origin.origin() || self.is_named(url)
    }

    fn is_named(&self, url: &Url) -> bool {
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return false };
        format!("{host}:{port}").parse().is_ok_and(|host: RegistryHost| self.others.contains(&host))
    }

    /// Compares the last two labels of names, or the last three if these are short, as in `example.co.uk`.
    fn is_of_its_site(&self, host: &str) -> bool {
        let own = self.origin.host_str().unwrap_or_default();
        if own == host {
            return true;
        }
        if own.parse::<IpAddr>().is_ok() || host.parse::<IpAddr>().is_ok() {
            return false;
        }
        site(own).is_some_and(|own| site(host) == Some(own))
    }
}

fn site(host: &str) -> Option<Vec<&str>> {
    let mut labels: Vec<&str> = host.trim_end_matches('.').rsplit('.').collect();
    let wanted = match labels[..] {
        [top, second, ..] if top.len() == 2 && second.len() <= 3 => 3,
        _ => 2,
    };
    (labels.len() >= wanted).then(|| {
        labels.truncate(wanted);
        labels
    })
}

/// Returns the address without path and query, which may contain a token.
pub(crate) fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
}

pub(crate) fn proxies(variable: impl Fn(&str) -> Option<String>) -> BTreeSet<String> {
    let host = |text: String| {
        let with_scheme = if text.contains("://") { text } else { format!("http://{text}") };
        with_scheme.parse::<Url>().ok()?.host_str().map(str::to_owned)
    };
    PROXIES.into_iter().filter_map(variable).filter_map(host).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bpfmand_image::{RegistrySetting, RegistrySettings};

    fn reach(registry: &str, others: &[&str], plain_http: bool) -> RegistryReach {
        let setting = RegistrySetting {
            plain_http,
            other_hosts: others.iter().map(|host| host.parse().unwrap()).collect(),
            ..RegistrySetting::default()
        };
        let settings = RegistrySettings::new([(registry.parse().unwrap(), setting)].into(), None);
        let places = settings.places(&format!("{registry}/a").parse().unwrap(), None).unwrap();
        RegistryReach::new(&places[0], BTreeSet::new()).unwrap()
    }

    fn token(registry: &str, others: &[&str], realm: &str) -> bool {
        reach(registry, others, false).token_from(&realm.parse().unwrap()).is_ok()
    }

    #[test]
    fn tokens_may_come_from_the_registry_its_site_and_listed_hosts() {
        assert!(token("quay.io", &[], "https://quay.io/v2/auth"));
        assert!(token("docker.io", &[], "https://auth.docker.io/token"));
        assert!(token("registry.gitlab.com", &[], "https://gitlab.com/jwt/auth"));
        assert!(token("registry.example.co.uk", &[], "https://auth.example.co.uk/"));
        assert!(token("registry.corp:5000", &[], "https://registry.corp:5001/auth"));
        assert!(token("127.0.0.1:5000", &[], "http://127.0.0.1:5000/token"));
        assert!(token("127.0.0.1:5000", &["127.0.0.1:7000"], "http://127.0.0.1:7000/token"));
        assert!(token("nvcr.io", &["authn.nvidia.com"], "https://authn.nvidia.com/token"));
        assert!(token("10.0.0.1:5000", &["10.0.0.2"], "https://10.0.0.2/token"));
    }

    #[test]
    fn tokens_are_not_fetched_from_private_or_unrelated_hosts() {
        for (registry, realm) in [
            ("127.0.0.1:5000", "http://127.0.0.1:7000/internal/api?role=admin"),
            ("127.0.0.1:5000", "http://localhost:5000/token"),
            ("127.0.0.1:5000", "https://127.0.0.1:7000/token"),
            ("10.0.0.1:5000", "https://10.0.0.1:5001/token"),
            ("quay.io", "https://10.0.0.1/token"),
            ("quay.io", "https://100.64.0.1/token"),
            ("quay.io", "https://[64:ff9b::a00:1]/token"),
            ("quay.io", "https://localhost./token"),
            ("quay.io", "https://evil.example/token"),
            ("quay.io", "http://quay.io/token"),
            ("quay.io", "https://user:password@quay.io/token"),
            ("quay.io", "ftp://quay.io/token"),
            ("registry.example.co.uk", "https://evil.co.uk/token"),
            ("1.2.3.4", "https://1.2.3.5/token"),
        ] {
            assert!(!token(registry, &[], realm), "{registry} {realm}");
        }
    }

    #[test]
    fn redirects_are_followed_only_where_they_can_do_no_harm() {
        let may = |from: &str, to: &str| {
            let from: Url = from.parse().unwrap();
            reach(&shown(&from)[from.scheme().len() + 3..], &[], false).redirects(&from, &to.parse().unwrap())
        };
        assert!(may("https://quay.io/v2/a", "https://quay.io/v2/b"));
        assert!(may("https://quay.io/v2/a", "https://cdn.example.com/x?y"));
        assert!(may("http://127.0.0.1:5000/v2/a", "http://127.0.0.1:5000/b"));
        for to in [
            "http://cdn.example.com/x",
            "http://quay.io/v2/a",
            "https://127.0.0.1/x",
            "https://10.1.2.3/x",
            "https://100.64.1.1/x",
            "https://192.0.0.1/x",
            "https://169.254.169.254/latest",
            "https://[::1]/x",
            "https://[::ffff:10.0.0.1]/x",
            "https://[64:ff9b::a00:1]/x",
            "https://[fd00::1]/x",
            "https://localhost/x",
            "https://localhost./x",
            "https://0.0.0.0/x",
        ] {
            assert!(!may("https://quay.io/v2/a", to), "{to}");
        }
        assert!(!may("http://127.0.0.1:5000/a", "http://127.0.0.1:5001/a"));
        assert!(!may("http://127.0.0.1:5000/a", "http://10.0.0.1/a"));
        let named = reach("10.0.0.1:5000", &["10.0.0.2:9000"], true);
        assert!(named.redirects(&named.origin, &"http://10.0.0.2:9000/x".parse().unwrap()));
        assert!(!named.redirects(&named.origin, &"http://10.0.0.2:9001/x".parse().unwrap()));
    }

    #[test]
    fn private_addresses_are_contacted_only_if_configured() {
        let (private, public): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "1.1.1.1".parse().unwrap());
        let reach = reach("registry.corp.example", &["minio.example:9000"], false);
        for host in ["cdn.example.net", "auth.corp.example", "metadata.internal"] {
            assert!(reach.connects(host, public) && !reach.connects(host, private), "{host}");
        }
        assert!(reach.connects("registry.corp.example", private) && reach.connects("minio.example", private));
        reach.note("registry.corp.example", [private]);
        assert!(reach.connects("auth.corp.example", private) && !reach.connects("cdn.example.net", private));
    }

    #[test]
    fn proxies_are_those_of_the_environment() {
        let variable = |name: &str| match name {
            "HTTPS_PROXY" => Some("http://proxy.corp:3128".to_owned()),
            "all_proxy" => Some("other.corp:8080".to_owned()),
            _ => None,
        };
        assert_eq!(proxies(variable), ["other.corp", "proxy.corp"].map(str::to_owned).into());
    }
}
