//! Where a registry may send this machine's requests.

use std::net::IpAddr;

use reqwest::Url;
use reqwest::redirect::Policy;

/// Redirects followed in a row. Registries use one, to where their content is stored.
const MAX_REDIRECTS: usize = 4;

/// A redirect that is not followed.
#[derive(Debug, thiserror::Error)]
#[error("it redirects to {0}, which is not followed")]
pub(crate) struct Refused(String);

/// Follows redirects within one origin, and to HTTPS on other hosts unless their address is one of this machine
/// or its private networks: a registry must not make the daemon call what only the daemon can reach.
///
/// A name that resolves to a private address is not caught here; that takes a firewall.
pub(crate) fn policy() -> Policy {
    Policy::custom(|attempt| {
        let allowed = attempt.previous().len() <= MAX_REDIRECTS
            && attempt.previous().first().is_some_and(|first| may_follow(first, attempt.url()));
        if allowed {
            return attempt.follow();
        }
        let target = attempt.url().clone();
        // Without its query, which may hold somebody's token.
        attempt.error(Refused(format!("{}://{}", target.scheme(), target.authority())))
    })
}

fn may_follow(from: &Url, to: &Url) -> bool {
    from.origin() == to.origin() || to.scheme() == "https" && !is_private(to)
}

fn is_private(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return true };
    let host = host.trim_matches(['[', ']']);
    match host.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V4(ip)) => {
            ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_multicast()
        }
        Ok(IpAddr::V6(ip)) => {
            ip.is_loopback()
                || ip.is_unique_local()
                || ip.is_unicast_link_local()
                || ip.is_unspecified()
                || ip.is_multicast()
        }
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_followed_only_where_they_can_do_no_harm() {
        let may = |from: &str, to: &str| may_follow(&from.parse().unwrap(), &to.parse().unwrap());
        assert!(may("https://quay.io/v2/a", "https://quay.io/v2/b"));
        assert!(may("https://quay.io/v2/a", "https://cdn.example.com/x?y"));
        assert!(may("http://127.0.0.1:5000/v2/a", "http://127.0.0.1:5000/b"));
        for to in [
            "http://cdn.example.com/x",
            "http://quay.io/v2/a",
            "https://127.0.0.1/x",
            "https://10.1.2.3/x",
            "https://169.254.169.254/latest",
            "https://[::1]/x",
            "https://[::ffff:10.0.0.1]/x",
            "https://[fd00::1]/x",
            "https://localhost/x",
            "https://0.0.0.0/x",
        ] {
            assert!(!may("https://quay.io/v2/a", to), "{to}");
        }
        assert!(!may("http://127.0.0.1:5000/a", "http://127.0.0.1:5001/a"));
        assert!(!may("http://127.0.0.1:5000/a", "http://10.0.0.1/a"));
    }
}
