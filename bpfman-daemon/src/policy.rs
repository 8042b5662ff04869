//! The signature policy, from files that only root can write.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Context as _;
use bpfmand_image::{Policy, PolicyFile};

use crate::config::Config;

/// Reads the policy. Without a file, signatures are enforced and no signer is trusted.
pub fn read(config: &Config) -> anyhow::Result<Policy> {
    let (path, required) = &config.policy;
    let file = match read_root_file(path) {
        Ok(text) => Some(
            PolicyFile::parse(&text, &mut read_root_file)
                .with_context(|| format!("signature policy {}", path.display()))?,
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !required => None,
        Err(error) => {
            return Err(error).with_context(|| format!("cannot trust signature policy {}", path.display()));
        }
    };
    Ok(Policy::resolve(file, config.signing))
}

/// Reads a file if nobody but root can change it.
pub fn read_root_file(path: &Path) -> io::Result<String> {
    let file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    let others_may_write = metadata.mode() & 0o022 != 0;
    if metadata.uid() != 0 || others_may_write {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{} must belong to root and be writable by nobody else", path.display()),
        ));
    }
    io::read_to_string(file)
}
