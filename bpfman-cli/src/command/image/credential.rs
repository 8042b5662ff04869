//! Password for a registry: from the command line, else from docker's and podman's files.

use std::fs;
use std::io;

use bpfman_image_format::{AuthFile, Credential, ImageReference};

use crate::error::CliError;

/// Returns the given credential, or that of docker or podman; an existing but unreadable file is an error.
pub fn of(image: &ImageReference, given: Option<Credential>) -> Result<Option<Credential>, CliError> {
    if given.is_some() {
        return Ok(given);
    }
    for path in AuthFile::places(|name| std::env::var_os(name)) {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(CliError::File { path, source }),
        };
        let invalid = |error: bpfman_image_format::AuthFileError| CliError::Invalid {
            what: format!("{}: {error}", path.display()),
            hint: Some("--registry-auth takes the base64 of user:password instead".into()),
        };
        if let Some(found) = AuthFile::parse(&text).map_err(invalid)?.find(image).map_err(invalid)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
