//! `bpfman image generate-key-pair`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bpfman_registry::SigningKey;
use serde::Serialize;

use crate::args::Global;
use crate::args::image::GenerateKeyPair;
use crate::error::CliError;
use crate::image_error::LocalImageError;
use crate::show;
use crate::show::CommandOutput;
use crate::show::screen::Screen;

/// Generates a key pair. Existing files are never overwritten: a lost key cannot be restored.
pub fn generate(global: &Global, command: &GenerateKeyPair) -> Result<(), CliError> {
    let with = |extension: &str| {
        let mut name = command.prefix.clone().into_os_string();
        name.push(extension);
        PathBuf::from(name)
    };
    let (private_key, public_key) = (with(".key"), with(".pub"));
    let key = SigningKey::generate().map_err(LocalImageError::from)?;
    let public = key.public_key().map_err(LocalImageError::from)?;
    let pem = key.to_pem().map_err(LocalImageError::from)?;
    // Create both files before writing either: if the second cannot be created, the first is removed.
    let mut private_file = create(&private_key, 0o600)?;
    let mut public_file = create(&public_key, 0o644).inspect_err(|_| {
        let _ = std::fs::remove_file(&private_key);
    })?;
    write(&mut private_file, &private_key, &pem)?;
    write(&mut public_file, &public_key, &public.to_pem())?;
    show::answer(global, &KeyPair { private_key, public_key, key: public.fingerprint().to_string() })
}

/// Creates a new file, with these permissions from the beginning.
fn create(path: &Path, mode: u32) -> Result<File, CliError> {
    let path = path.to_path_buf();
    OpenOptions::new().write(true).create_new(true).mode(mode).open(&path).map_err(|source| {
        match source.kind() {
            io::ErrorKind::AlreadyExists => CliError::Exists { path },
            _ => CliError::File { path, source },
        }
    })
}

fn write(file: &mut File, path: &Path, text: &str) -> Result<(), CliError> {
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|source| CliError::File { path: path.to_path_buf(), source })
}

#[derive(Clone, Serialize)]
struct KeyPair {
    private_key: PathBuf,
    public_key: PathBuf,
    key: String,
}

impl CommandOutput for KeyPair {
    fn table(&self, _: Screen) -> String {
        format!("private key: {}\npublic key:  {}\n", self.private_key.display(), self.public_key.display())
    }

    fn ids(&self) -> Vec<String> {
        vec![self.key.clone()]
    }
}
