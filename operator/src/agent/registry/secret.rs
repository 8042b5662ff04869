//! Pull secrets: `kubernetes.io/dockerconfigjson` and the older `kubernetes.io/dockercfg`.
//!
//! Keys match as in the kubelet: by host, with `*` for a part of it, and by path prefix; the most specific entry wins.
//! Without an entry for the registry, access is anonymous.

use std::collections::BTreeMap;

use bpfman_apply::credentials::RegistryCredentials;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use regex::Regex;
use serde::Deserialize;

const DEFAULT_REGISTRY: &str = "docker.io";

const DEFAULT_REGISTRY_NAMES: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("it has neither .dockerconfigjson nor .dockercfg; its type is {0:?}")]
    NoConfig(String),
    #[error("{0} is not the JSON that a registry's configuration is")]
    NotJson(&'static str),
    #[error("the entry {entry:?} {what}")]
    Entry { entry: String, what: &'static str },
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

pub fn credentials(secret: &Secret, image: &str) -> Result<Option<RegistryCredentials>, SecretError> {
    let data = secret.data.clone().unwrap_or_default();
    let entries = if let Some(ByteString(json)) = data.get(".dockerconfigjson") {
        let config: Config =
            serde_json::from_slice(json).map_err(|_| SecretError::NotJson(".dockerconfigjson"))?;
        config.auths
    } else if let Some(ByteString(json)) = data.get(".dockercfg") {
        serde_json::from_slice(json).map_err(|_| SecretError::NotJson(".dockercfg"))?
    } else {
        return Err(SecretError::NoConfig(secret.type_.clone().unwrap_or_default()));
    };
    let wanted = Location::of_image(image);
    let found = entries
        .iter()
        .map(|(key, entry)| (Location::of_key(key), key, entry))
        .filter(|(location, ..)| location.covers(&wanted))
        .max_by_key(|(location, ..)| location.exactness());
    found.map(|(_, key, entry)| user(key, entry)).transpose()
}

fn user(key: &str, entry: &Entry) -> Result<RegistryCredentials, SecretError> {
    let bad = |what| SecretError::Entry { entry: key.to_owned(), what };
    if entry.auth.is_empty() {
        if entry.username.is_empty() || entry.password.is_empty() {
            return Err(bad("has neither auth nor both of username and password"));
        }
        return Ok(RegistryCredentials {
            username: entry.username.clone(),
            password: entry.password.clone(),
        });
    }
    // `ByteString` decodes the same base64 alphabet.
    let decoded = serde_json::from_value::<ByteString>(entry.auth.trim().into());
    let text = decoded.ok().and_then(|ByteString(bytes)| String::from_utf8(bytes).ok());
    let text = text.ok_or_else(|| bad("has an auth that is not base64 of text"))?;
    let (username, password) =
        text.split_once(':').ok_or_else(|| bad("has an auth without a colon between user and password"))?;
    Ok(RegistryCredentials {
        username: username.to_owned(),
        // Docker pads passwords with NUL.
        password: password.trim_matches('\0').to_owned(),
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Location {
    host: String,
    path: String,
}

impl Location {
    fn of_image(image: &str) -> Self {
        let name = image.split_once('@').map_or(image, |(name, _)| name);
        let (host, path) = match name.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
            _ => (DEFAULT_REGISTRY, name),
        };
        let path = match path.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => path,
            _ => path,
        };
        Self { host: registry(host), path: path.to_owned() }
    }

    fn of_key(key: &str) -> Self {
        let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
        let (host, path) = key.split_once('/').unwrap_or((key, ""));
        let path = path.trim_end_matches('/');
        let path = if path == "v1" || path == "v2" { "" } else { path };
        Self { host: registry(host), path: path.to_owned() }
    }

    fn covers(&self, image: &Self) -> bool {
        let path = image.path.strip_prefix(&self.path);
        host_matches(&self.host, &image.host)
            && path.is_some_and(|rest| self.path.is_empty() || rest.is_empty() || rest.starts_with('/'))
    }

    fn exactness(&self) -> (usize, bool, usize) {
        (self.path.len(), !self.host.contains('*'), self.host.len())
    }
}

fn registry(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    let host = host.strip_suffix(":443").map(str::to_owned).unwrap_or(host);
    if DEFAULT_REGISTRY_NAMES.contains(&host.as_str()) { DEFAULT_REGISTRY.to_owned() } else { host }
}

fn host_matches(pattern: &str, host: &str) -> bool {
    let port = |text: &str| text.split_once(':').map(|(_, port)| port.to_owned());
    let expression = regex::escape(pattern).replace(r"\*", "[^.:]*");
    port(pattern) == port(host)
        && Regex::new(&format!("^{expression}$")).is_ok_and(|expression| expression.is_match(host))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::{Value, json};

    use super::*;

    const IMAGE: &str = "quay.io:8443/team/firewall:v1";

    fn secret(key: &str, content: &str) -> Secret {
        Secret {
            data: Some(BTreeMap::from([(key.to_owned(), ByteString(content.as_bytes().to_vec()))])),
            type_: Some("kubernetes.io/some".to_owned()),
            ..Secret::default()
        }
    }

    fn config(auths: &Value) -> Secret {
        secret(".dockerconfigjson", &json!({ "auths": auths }).to_string())
    }

    fn user_of(secret: &Secret, image: &str) -> Option<String> {
        credentials(secret, image).unwrap().map(|user| format!("{}/{}", user.username, user.password))
    }

    /// Base64 of `ann:pass:word`.
    const AUTH: &str = "YW5uOnBhc3M6d29yZA==";

    #[test]
    fn every_documented_form_is_read() {
        let forms = [
            config(&json!({ "quay.io:8443": { "auth": AUTH } })),
            config(&json!({ "https://quay.io:8443/v2/": { "auth": AUTH, "email": "a@b" } })),
            config(&json!({ "quay.io:8443": { "username": "ann", "password": "pass:word" } })),
            config(&json!({ "quay.io:8443": { "username": "old", "password": "old", "auth": AUTH } })),
            secret(".dockercfg", &json!({ "quay.io:8443": { "auth": AUTH } }).to_string()),
        ];
        for form in forms {
            assert_eq!(user_of(&form, IMAGE).as_deref(), Some("ann/pass:word"), "{form:?}");
        }
    }

    #[test]
    fn no_entry_for_the_registry_is_anonymous() {
        let secret = config(&json!({
            "quay.io": { "auth": AUTH }, "example.com:8443": { "auth": AUTH }, "quay.io:8443/other": { "auth": AUTH }
        }));
        assert_eq!(user_of(&secret, IMAGE), None);
    }

    #[test]
    fn the_default_registry_is_found_under_all_its_names() {
        for key in
            ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "https://registry-1.docker.io"]
        {
            let secret = config(&json!({ key: { "auth": AUTH } }));
            for image in
                ["docker.io/team/firewall", "team/firewall:v1", "index.docker.io/team/firewall@sha256:12"]
            {
                assert!(user_of(&secret, image).is_some(), "{key} {image}");
            }
        }
    }

    #[test]
    fn the_most_exact_entry_counts() {
        let entry = |name: &str| json!({ "username": name, "password": "x" });
        let secret = config(&json!({
            "*.example.com": entry("star"), "eu.example.com": entry("host"), "eu.example.com/team": entry("path")
        }));
        for (image, user) in [
            ("us.example.com/team/x", Some("star/x")),
            ("eu.example.com/other/x", Some("host/x")),
            ("eu.example.com/team/x:v1", Some("path/x")),
            ("eu.example.com/teams/x", Some("host/x")),
            ("example.com/team/x", None),
            ("a.eu.example.com/team/x", None),
        ] {
            assert_eq!(user_of(&secret, image).as_deref(), user, "{image}");
        }
    }

    #[test]
    fn a_secret_of_no_use_says_why_and_shows_no_password() {
        for (secret, said) in [
            (
                secret("token", "x"),
                "neither .dockerconfigjson nor .dockercfg; its type is \"kubernetes.io/some\"",
            ),
            (secret(".dockerconfigjson", "hunter2"), ".dockerconfigjson is not the JSON"),
            (secret(".dockercfg", "[1]"), ".dockercfg is not the JSON"),
            (config(&json!({ "quay.io:8443": { "auth": "hunter2" } })), "\"quay.io:8443\" has an auth"),
            (config(&json!({ "quay.io:8443": { "auth": "aHVudGVyMg==" } })), "without a colon"),
            (config(&json!({ "quay.io:8443": { "username": "ann" } })), "neither auth nor both"),
        ] {
            let error = credentials(&secret, IMAGE).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn stars_stand_for_a_part_of_a_host() {
        for (pattern, host, expected) in [
            ("*.gcr.io", "eu.gcr.io", true),
            ("e*.gcr.io", "eu.gcr.io", true),
            ("e*u.gcr.io", "eu.gcr.io", true),
            ("e*uu.gcr.io", "eu.gcr.io", false),
            ("*.gcr.io", "eu.gcr.io:5000", false),
            ("*.*.io:5000", "eu.gcr.io:5000", true),
            ("*", "localhost", true),
        ] {
            assert_eq!(host_matches(pattern, host), expected, "{pattern} {host}");
        }
    }
}
