use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bpfman_image_format::{AuthFile, Credential, ImageReference, RegistryHost, pem};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ImageError;
use crate::der::is_der_sequence;

/// Settings of this machine, by registry.
#[derive(Clone, Debug, Default)]
pub struct RegistrySettings {
    registries: BTreeMap<RegistryHost, RegistrySetting>,
    auth: Option<Arc<AuthFile>>,
}

/// Settings of one registry.
#[derive(Clone, Debug, Default)]
pub struct RegistrySetting {
    /// Mirrors to try first, in order: `host[:port]`, optionally with a path to prepend to the repository's.
    pub mirrors: Vec<String>,
    /// Certificate authorities in PEM; they replace those of this machine.
    pub authorities: Option<Authorities>,
    /// Set if plain HTTP is used.
    pub plain_http: bool,
    /// Further hosts to which the registry may direct requests, such as a token service at another site.
    pub other_hosts: BTreeSet<RegistryHost>,
}

/// Certificate authorities of a registry, in PEM. The worker parses the certificates themselves.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Authorities(String);

impl Authorities {
    /// Accepts PEM certificates only: another block would later be reported as an untrusted registry.
    ///
    /// # Errors
    /// Fails if a block is no certificate by its label and its first bytes, or if there is none.
    pub fn from_pem(pem: &[u8]) -> Result<Self, ImageError> {
        let wrong = |why: &str| ImageError::Client {
            of: "a registry's certificate authorities, which have to be PEM certificates".to_owned(),
            source: why.into(),
        };
        let text = std::str::from_utf8(pem).map_err(|_| wrong("it is no text"))?;
        let mut blocks = pem::blocks(text).peekable();
        if blocks.peek().is_none() {
            return Err(wrong("there is no certificate"));
        }
        if blocks.any(|(label, der)| label != "CERTIFICATE" || !is_der_sequence(&der)) {
            return Err(wrong("a block is no certificate"));
        }
        Ok(Self(text.to_owned()))
    }

    #[must_use]
    pub fn pem(&self) -> &str {
        &self.0
    }
}

/// Serialization for a fetcher. `Credential` has none of its own, so that none is written by mistake.
mod user_and_password {
    use super::{Credential, Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        credential: &Option<Credential>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        credential.as_ref().map(|given| (given.user(), given.password())).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Credential>, D::Error> {
        let given = Option::<(String, String)>::deserialize(deserializer)?;
        Ok(given.map(|(user, password)| Credential::new(user, password)))
    }
}

/// Address of a repository: of its registry, or of a mirror.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RepositoryPlace {
    /// Host that is connected to.
    pub host: String,
    /// Path of the repository there.
    pub repository: String,
    /// Set if plain HTTP is used.
    pub plain_http: bool,
    /// Set on loopback: no proxy is used.
    pub loopback: bool,
    /// Certificate authorities, instead of those of this machine.
    pub authorities: Option<Authorities>,
    /// Further hosts that requests may be directed to.
    pub other_hosts: BTreeSet<RegistryHost>,
    #[serde(with = "user_and_password")]
    pub credential: Option<Credential>,
    /// Name of the registry in messages.
    pub registry: String,
    /// Set if another address is tried when this one fails.
    pub mirror: bool,
}

impl RegistrySettings {
    /// Creates settings by registry, with a password file in docker's and podman's format.
    #[must_use]
    pub fn new(registries: BTreeMap<RegistryHost, RegistrySetting>, auth: Option<AuthFile>) -> Self {
        Self { registries, auth: auth.map(Arc::new) }
    }

    pub(crate) fn without_passwords(&self) -> Self {
        Self { auth: None, ..self.clone() }
    }

    pub(crate) fn has_password(&self, image: &ImageReference) -> bool {
        self.auth.as_ref().is_some_and(|file| file.may_have(image))
    }

    /// Returns the addresses of a repository: mirrors first, the registry last. Only the registry gets the request's
    /// credential. Fails if the password of the registry itself cannot be read.
    pub fn places(
        &self,
        image: &ImageReference,
        credential: Option<&Credential>,
    ) -> Result<Vec<RepositoryPlace>, ImageError> {
        let setting = self.registries.get(image.registry_host());
        let mut places = Vec::new();
        for mirror in setting.map(|setting| setting.mirrors.as_slice()).unwrap_or_default() {
            let path = format!("{mirror}/{}", image.repository());
            let place = path.parse().map_err(ImageError::from).and_then(|path| self.place(&path, None));
            match place {
                Ok(place) => places.push(RepositoryPlace { mirror: true, ..place }),
                Err(error) => tracing::warn!(%error, mirror, "a mirror is left out"),
            }
        }
        places.push(self.place(image, credential)?);
        Ok(places)
    }

    fn place(
        &self,
        image: &ImageReference,
        credential: Option<&Credential>,
    ) -> Result<RepositoryPlace, ImageError> {
        let registry = image.registry().to_owned();
        let setting = self.registries.get(image.registry_host()).cloned().unwrap_or_default();
        let credential = match (credential, &self.auth) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(file)) => file.find(image).map_err(|error| ImageError::Unauthorized {
                registry: registry.clone(),
                what: image.name(),
                why: Box::new(error.into()),
            })?,
            (None, None) => None,
        };
        Ok(RepositoryPlace {
            host: match registry.as_str() {
                // Docker's registry answers under another name than its images have.
                "docker.io" => "index.docker.io".to_owned(),
                other => other.to_owned(),
            },
            repository: image.repository().to_owned(),
            plain_http: setting.plain_http || image.is_loopback() && setting.authorities.is_none(),
            loopback: image.is_loopback(),
            authorities: setting.authorities,
            other_hosts: setting.other_hosts,
            credential,
            registry,
            mirror: false,
        })
    }
}

impl RepositoryPlace {
    /// Returns the URL of a part of the repository.
    pub fn url(&self, kind: &str, target: &str) -> String {
        let scheme = if self.plain_http { "http" } else { "https" };
        format!("{scheme}://{}/v2/{}/{kind}/{target}", self.host, self.repository)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(settings: &RegistrySettings, image: &str) -> Vec<String> {
        let places = settings.places(&image.parse().unwrap(), None).unwrap();
        places.iter().map(|place| place.url("blobs", "x")).collect()
    }

    #[test]
    fn registries_use_tls_unless_they_are_on_this_machine() {
        for (image, url) in [
            ("quay.io/a/b:c", "https://quay.io/v2/a/b/blobs/x"),
            ("10.0.0.1:5000/a", "https://10.0.0.1:5000/v2/a/blobs/x"),
            ("docker.io/a", "https://index.docker.io/v2/library/a/blobs/x"),
            ("127.0.0.1:5000/a", "http://127.0.0.1:5000/v2/a/blobs/x"),
            ("localhost/a", "http://localhost/v2/a/blobs/x"),
            ("[::1]:5000/a", "http://[::1]:5000/v2/a/blobs/x"),
        ] {
            assert_eq!(urls(&RegistrySettings::default(), image), [url]);
        }
    }

    #[test]
    fn mirrors_come_first_and_plain_http_only_where_it_is_written() {
        let mirror = RegistrySetting { plain_http: true, ..RegistrySetting::default() };
        let origin = RegistrySetting {
            mirrors: vec!["mirror.example:5000/quay".to_owned(), "other.example".to_owned()],
            ..RegistrySetting::default()
        };
        let registries = BTreeMap::from([("quay.io", origin), ("mirror.example:5000", mirror)]);
        let registries = registries.into_iter().map(|(host, of)| (host.parse().unwrap(), of)).collect();
        let settings = RegistrySettings::new(registries, None);
        assert_eq!(
            urls(&settings, "quay.io/a/b"),
            [
                "http://mirror.example:5000/v2/quay/a/b/blobs/x",
                "https://other.example/v2/a/b/blobs/x",
                "https://quay.io/v2/a/b/blobs/x",
            ]
        );
    }

    #[test]
    fn mirror_whose_password_cannot_be_read_is_left_out() {
        let origin = RegistrySetting {
            mirrors: vec!["token.example".to_owned(), "helper.example".to_owned(), "good.example".to_owned()],
            ..RegistrySetting::default()
        };
        let auth =
            r#"{"auths":{"token.example":{"identitytoken":"x"}},"credHelpers":{"helper.example":"../x"}}"#;
        let auth = AuthFile::parse(auth).unwrap();
        let settings = RegistrySettings::new([("quay.io".parse().unwrap(), origin)].into(), Some(auth));
        assert_eq!(
            urls(&settings, "quay.io/a"),
            ["https://good.example/v2/a/blobs/x", "https://quay.io/v2/a/blobs/x"]
        );
        assert!(settings.places(&"token.example/a".parse().unwrap(), None).is_err());
    }

    #[test]
    fn authorities_that_are_none_are_refused() {
        for text in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(Authorities::from_pem(text.as_bytes()).is_err(), "{text}");
        }
    }
}
