//! Access to a registry, by flags or by the daemon's configuration, which also applies to its pulls.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bpfman_image_format::{Credential, ImageReference, ReferenceError, RegistryHost};
use bpfman_registry::RegistryAccess;
use bpfmand_image::{Authorities, ImageError, RegistrySetting, RegistrySettings};
use serde::Deserialize;

use super::credential;
use super::memory_limit::limit_memory;
use crate::args::registry::RegistryFlags;
use crate::error::CliError;
use crate::image_error::LocalImageError;

const CONFIG: &str = "/etc/bpfman/bpfman.toml";
const CONFIG_VARIABLE: &str = "BPFMAN_CONFIG";

/// Table `[registries."HOST"]`, without mirrors and other hosts, which are for pulls only.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct RegistryTable {
    plain_http: bool,
    ca_file: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Configuration {
    registries: BTreeMap<String, RegistryTable>,
}

pub fn of(image: &ImageReference, flags: RegistryFlags) -> Result<RegistryAccess, CliError> {
    let RegistryFlags { plain_http, ca_file, registry_auth } = flags;
    access(image, registry_auth, chosen(image, plain_http, ca_file)?)
}

/// Parses the name of an image.
pub fn reference(name: &str) -> Result<ImageReference, CliError> {
    name.parse()
        .map_err(|error: ReferenceError| CliError::Invalid { what: format!("{name}: {error}"), hint: None })
}

/// Returns the settings of the image's registry for workers.
pub fn settings(
    image: &ImageReference,
    plain_http: bool,
    ca_file: Option<PathBuf>,
) -> Result<RegistrySettings, CliError> {
    let RegistryTable { plain_http, ca_file } = chosen(image, plain_http, ca_file)?;
    let authorities = match ca_file {
        Some(path) => {
            let pem = fs::read(&path).map_err(|source| CliError::File { path, source })?;
            let invalid = |error: ImageError| CliError::Invalid { what: error.to_string(), hint: None };
            Some(Authorities::from_pem(&pem).map_err(invalid)?)
        }
        None => None,
    };
    let setting = RegistrySetting { plain_http, authorities, ..RegistrySetting::default() };
    Ok(RegistrySettings::new([(image.registry_host().clone(), setting)].into(), None))
}

fn chosen(
    image: &ImageReference,
    plain_http: bool,
    ca_file: Option<PathBuf>,
) -> Result<RegistryTable, CliError> {
    let is_given = plain_http || ca_file.is_some();
    if is_given { Ok(RegistryTable { plain_http, ca_file }) } else { configured(image) }
}

pub fn with_password(image: &ImageReference, given: Option<Credential>) -> Result<RegistryAccess, CliError> {
    access(image, given, configured(image)?)
}

fn access(
    image: &ImageReference,
    given: Option<Credential>,
    table: RegistryTable,
) -> Result<RegistryAccess, CliError> {
    let access = RegistryAccess::default()
        .with_credential(credential::of(image, given)?)
        .with_plain_http(table.plain_http);
    // Limit memory only after the password is known: a credential helper would inherit the limit.
    limit_memory().map_err(LocalImageError::Memory)?;
    let Some(path) = table.ca_file else { return Ok(access) };
    let pem = fs::read(&path).map_err(|source| CliError::File { path, source })?;
    Ok(access.with_authorities(&pem).map_err(LocalImageError::from)?)
}

/// Returns the configuration's entry for a registry. A file that is missing or forbidden counts as empty.
fn configured(image: &ImageReference) -> Result<RegistryTable, CliError> {
    let path = std::env::var_os(CONFIG_VARIABLE).map_or_else(|| PathBuf::from(CONFIG), PathBuf::from);
    match fs::read_to_string(&path) {
        Ok(text) => table(&path, &text, image),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            Ok(RegistryTable::default())
        }
        Err(source) => Err(CliError::File { path, source }),
    }
}

fn table(path: &Path, text: &str, image: &ImageReference) -> Result<RegistryTable, CliError> {
    let configuration: Configuration = toml::from_str(text).map_err(|error| CliError::Invalid {
        what: format!("{}: {}", path.display(), error.message()),
        hint: Some("--plain-http or --ca-file sets how to reach the registry instead".into()),
    })?;
    let is_it = |host: &String| host.parse::<RegistryHost>().is_ok_and(|host| host == *image.registry_host());
    let mut tables = configuration.registries.into_iter();
    Ok(tables.find(|(host, _)| is_it(host)).map(|(_, table)| table).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registry_is_found_by_every_spelling_of_its_host() {
        let text = "[images]\ncache_mib = 1\n\
                    [registries.\"Registry.Corp:5000\"]\nplain_http = true\nmirrors = [\"m.corp\"]\n\
                    [registries.\"quay.io:443\"]\nca_file = \"/ca.pem\"\n";
        let of = |image: &str| table(Path::new("x"), text, &image.parse().unwrap()).unwrap();
        assert!(of("registry.corp:5000/a/b:1").plain_http);
        assert_eq!(of("quay.io/a").ca_file, Some(PathBuf::from("/ca.pem")));
        assert_eq!(of("registry.corp/a"), RegistryTable::default());
        let error = table(Path::new("x"), "registries = 3", &"quay.io/a".parse().unwrap()).unwrap_err();
        assert!(error.to_string().starts_with("x: "), "{error}");
    }
}
