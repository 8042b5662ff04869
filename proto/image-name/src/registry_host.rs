//! Hosts of registries in canonical form: a policy that names a registry must not be evaded by another name for it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const DOCKER: &str = "docker.io";
const DOCKER_ALIASES: [&str; 4] =
    ["index.docker.io", "registry-1.docker.io", "registry.docker.io", "registry.hub.docker.com"];

const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Canonical `host[:port]`: lower case, `docker.io` for Docker's, no default port (443; 80 for this machine).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistryHost(String);

/// Error of a text that is not the host of a registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RegistryHostError(pub(crate) &'static str);

impl Serialize for RegistryHost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RegistryHost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl RegistryHost {
    /// Returns the canonical form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns host or address, without port and brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        split(&self.0).map_or(&self.0, |(host, _)| host)
    }

    /// Returns whether the registry is on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(self.host())
    }

    /// Returns the canonical name of the registry, and for one on this machine its equivalent names.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let port =
            split(&self.0).and_then(|(_, port)| port).map(|port| format!(":{port}")).unwrap_or_default();
        let others = if self.is_loopback() { &LOOPBACK[..] } else { &[] };
        let others = others.iter().map(move |host| format!("{host}{port}"));
        std::iter::once(self.0.clone()).chain(others.filter(|name| *name != self.0))
    }
}

impl fmt::Display for RegistryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RegistryHost {
    type Err = RegistryHostError;

    fn from_str(text: &str) -> Result<Self, RegistryHostError> {
        const NEITHER: RegistryHostError =
            RegistryHostError("the registry is not a host name or address with an optional port");
        let (host, port) = split(text).ok_or(NEITHER)?;
        let port = port.map(port_number).transpose()?;
        let mut host = host.to_ascii_lowercase();
        if text.starts_with('[') {
            let address: Ipv6Addr = host.parse().map_err(|_| NEITHER)?;
            // An IPv4-mapped IPv6 address is the IPv4 address: a connection goes to that.
            host = match IpAddr::V6(address).to_canonical() {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            };
        } else {
            if !host.split('.').all(label_is_valid) {
                return Err(NEITHER);
            }
            if ends_in_number(&host) && host.parse::<Ipv4Addr>().is_err() {
                return Err(RegistryHostError(
                    "the registry is a short or unusual form of an address; write all four parts as decimal numbers",
                ));
            }
        }
        let usual = if is_loopback(host.trim_matches(['[', ']'])) { 80 } else { 443 };
        if DOCKER_ALIASES.contains(&host.as_str()) {
            DOCKER.clone_into(&mut host);
        }
        Ok(Self(match port {
            Some(port) if port != usual => format!("{host}:{port}"),
            _ => host,
        }))
    }
}

fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None => rest.is_empty().then_some((host, None)),
        };
    }
    Some(match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    })
}

fn port_number(text: &str) -> Result<u16, RegistryHostError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port = digits.then(|| text.parse().ok()).flatten().filter(|port| *port > 0);
    port.ok_or(RegistryHostError("the port of the registry is not a number from 1 to 65535"))
}

fn is_loopback(host: &str) -> bool {
    // Linux connects to this machine for the unspecified address, too.
    let is_here = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
    host == "localhost" || host.parse().is_ok_and(is_here)
}

fn label_is_valid(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Returns whether resolvers may read the host as an address (`127.1`, `2130706433`, `0x7f.1`: 127.0.0.1).
fn ends_in_number(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or(host);
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits(last) || last.strip_prefix("0x").is_some_and(hexadecimal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_registry_is_the_same_registry() {
        for (one, spellings) in [
            ("quay.io", vec!["Quay.IO", "quay.io:443", "QUAY.io:0443"]),
            ("quay.io:8443", vec!["Quay.io:08443"]),
            ("localhost:5000", vec!["LOCALHOST:5000", "localhost:05000"]),
            ("localhost", vec!["localhost:80"]),
            ("127.0.0.1", vec!["127.0.0.1:80", "[::ffff:127.0.0.1]", "[::FFFF:7f00:1]:80"]),
            ("10.0.0.1", vec!["10.0.0.1:443", "[::ffff:10.0.0.1]:443"]),
            ("[::1]:5000", vec!["[0:0:0:0:0:0:0:1]:5000", "[0::0001]:5000"]),
            ("[fd00::a]", vec!["[FD00::A]:443", "[fd00:0::a]"]),
            (
                "docker.io",
                vec![
                    "docker.io:443",
                    "index.docker.io",
                    "Index.Docker.IO:443",
                    "registry-1.docker.io",
                    "registry.hub.docker.com",
                ],
            ),
        ] {
            for spelling in spellings.into_iter().chain([one]) {
                assert_eq!(spelling.parse::<RegistryHost>().unwrap().as_str(), one, "{spelling}");
            }
        }
    }

    #[test]
    fn registry_of_this_machine_has_several_names() {
        let names = |text: &str| {
            let mut names: Vec<_> = text.parse::<RegistryHost>().unwrap().names().collect();
            names.sort_unstable();
            names
        };
        for text in ["localhost:5000", "127.0.0.1:5000", "[::1]:5000", "[::ffff:127.0.0.1]:5000"] {
            assert_eq!(names(text), ["127.0.0.1:5000", "[::1]:5000", "localhost:5000"], "{text}");
        }
        for text in ["0.0.0.0:5000", "[::]:5000", "[::ffff:0.0.0.0]:5000"] {
            assert!(names(text).contains(&"localhost:5000".to_owned()), "{text}");
        }
        assert_eq!(names("localhost:80"), ["127.0.0.1", "[::1]", "localhost"]);
        assert_eq!(
            names("127.0.0.2:5000"),
            ["127.0.0.1:5000", "127.0.0.2:5000", "[::1]:5000", "localhost:5000"]
        );
        assert_eq!([names("quay.io"), names("10.0.0.1:5000")], [["quay.io"], ["10.0.0.1:5000"]]);
    }

    #[test]
    fn similar_hosts_are_distinct() {
        for text in
            ["quay.io:80", "localhost:443", "index.docker.io.example.com", "0x7f.example", "xn--quay.io"]
        {
            assert_eq!(text.parse::<RegistryHost>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn forms_of_addresses_that_few_know_are_refused() {
        for text in [
            "127.1",
            "2130706433:5000",
            "0x7f.0.0.1",
            "0x7f000001",
            "127.0.0.0x1",
            "0177.0.0.1",
            "127.0.0.01",
            "1.2.3.4.5",
            "256.0.0.1",
            "registry.7",
            "localhost.",
            "quay.io.",
            "quay.io:0",
            "quay.io:65536",
            "quay.io:",
            "quay.io:+80",
            "[::1",
            "[::1]5",
            "[10.0.0.1]",
            "[fe80::1%eth0]",
            "::1",
            "",
        ] {
            assert!(text.parse::<RegistryHost>().is_err(), "{text}");
        }
    }
}
