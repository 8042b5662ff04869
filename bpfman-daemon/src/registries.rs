//! The tables `[images]` and `[registries]` of the configuration: registries, and the limits of the image cache.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bpfman_image_format::{AuthFile, ImageReference, RegistryHost};
use bpfmand_image::{Authorities, Bounds, RegistrySetting, RegistrySettings};
use serde::Deserialize;

use crate::policy::file::read_root_file;

const AUTH: &str = "/etc/bpfman/auth.json";
const MIB: u64 = 1 << 20;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ImagesTable {
    cache_mib: Option<u64>,
    cache_days: Option<u64>,
    auth_file: Option<PathBuf>,
    auth_users: Option<Vec<u32>>,
}

/// The table `[registries."HOST"]`. Unknown keys are errors.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistryTable {
    mirrors: Vec<String>,
    ca_file: Option<PathBuf>,
    plain_http: bool,
    other_hosts: Vec<String>,
}

pub fn bounds(images: &ImagesTable) -> Bounds {
    let default = Bounds::default();
    Bounds {
        bytes: images.cache_mib.map_or(default.bytes, |mib| mib.saturating_mul(MIB)),
        age: images.cache_days.map_or(default.age, |days| Duration::from_secs(days.saturating_mul(86_400))),
    }
}

pub fn auth_users(images: &ImagesTable) -> BTreeSet<u32> {
    images.auth_users.clone().map_or_else(|| BTreeSet::from([0]), |users| users.into_iter().collect())
}

pub fn settings(
    images: &ImagesTable,
    registries: BTreeMap<String, RegistryTable>,
) -> anyhow::Result<RegistrySettings> {
    let mut settings = BTreeMap::new();
    for (host, table) in registries {
        // Reject a path: the administrator meant a repository, which would never match.
        let Ok(name) = host.parse::<RegistryHost>() else {
            bail!(
                "configuration: registries.\"{host}\" is not the host of a registry, with its port if it has one"
            );
        };
        for mirror in &table.mirrors {
            if format!("{mirror}/x").parse::<ImageReference>().is_err() {
                bail!(
                    "configuration: mirror \"{mirror}\" of {host} is not a registry, with a path if it needs one"
                );
            }
        }
        if table.plain_http && table.ca_file.is_some() {
            bail!("configuration: registries.\"{host}\" has plain_http and ca_file; one of them is wrong");
        }
        let authorities = table.ca_file.as_deref().map(|path| authorities(&host, path)).transpose()?;
        let other = |other: &String| {
            other.parse::<RegistryHost>().map_err(|error| {
                anyhow::anyhow!(
                    "configuration: other_hosts \"{other}\" of {host}: {error}, as in auth.example.com:8443"
                )
            })
        };
        let setting = RegistrySetting {
            mirrors: table.mirrors,
            authorities,
            plain_http: table.plain_http,
            other_hosts: table.other_hosts.iter().map(other).collect::<anyhow::Result<_>>()?,
        };
        if settings.insert(name.clone(), setting).is_some() {
            bail!("configuration: registries.\"{host}\" means {name}, which has a table already");
        }
    }
    let (path, named) = match &images.auth_file {
        Some(path) => (path.as_path(), true),
        None => (Path::new(AUTH), false),
    };
    // The file can name programs that the daemon runs, so it must be root's.
    let auth = match read_root_file(path) {
        Ok(text) => Some(AuthFile::parse(&text).with_context(|| format!("passwords {}", path.display()))?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named => None,
        Err(error) => return Err(error).with_context(|| format!("cannot read passwords {}", path.display())),
    };
    Ok(RegistrySettings::new(settings, auth))
}

fn authorities(host: &str, path: &Path) -> anyhow::Result<Authorities> {
    let pem = read_root_file(path)
        .with_context(|| format!("configuration: ca_file {} of {host}", path.display()))?;
    Authorities::from_pem(pem.as_bytes())
        .with_context(|| format!("configuration: ca_file {} of {host}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<RegistrySettings> {
        settings(&ImagesTable::default(), toml::from_str(text).unwrap())
    }

    #[test]
    fn mistakes_in_the_tables_are_named() {
        for (text, part) in [
            ("[\"quay.io/team\"]\n", "quay.io/team"),
            ("[\"127.1\"]\n", "127.1"),
            ("[\"quay.io\"]\nother_hosts = [\"https://auth.example\"]\n", "https://auth.example"),
            ("[\"quay.io\"]\n[\"Quay.IO:443\"]\n", "has a table already"),
            ("[\"quay.io\"]\nmirrors = [\"mirror\"]\n", "mirror"),
            ("[\"quay.io\"]\nca_file = \"/none\"\n", "/none"),
            ("[\"quay.io\"]\nca_file = \"/none\"\nplain_http = true\n", "one of them"),
        ] {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.contains(part), "{error}");
        }
        assert!(toml::from_str::<RegistryTable>("plain-http = true").is_err());
        read("[\"quay.io\"]\nmirrors = [\"10.0.0.1:5000/quay\"]\n[\"10.0.0.1:5000\"]\nplain_http = true\n")
            .unwrap();
    }

    #[test]
    fn the_cache_is_bounded_in_mebibytes_and_days() {
        assert_eq!(auth_users(&ImagesTable::default()), [0].into());
        assert_eq!(auth_users(&toml::from_str("auth_users = [0, 65532]").unwrap()), [0, 65532].into());
        assert_eq!(auth_users(&toml::from_str("auth_users = []").unwrap()), [].into());
        let table: ImagesTable = toml::from_str("cache_mib = 64\ncache_days = 2").unwrap();
        assert_eq!(bounds(&table), Bounds { bytes: 64 << 20, age: Duration::from_secs(2 * 86_400) });
    }
}
