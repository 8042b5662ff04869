//! `bpfman image verify --key`: one signature, verified in this process.

use std::fs;
use std::path::Path;

use bpfman_registry::{PublicKey, verify_by_key};
use serde::Serialize;

use super::reach;
use crate::args::Global;
use crate::args::image::Verify;
use crate::args::registry::RegistryFlags;
use crate::command::progress::while_waiting;
use crate::error::CliError;
use crate::image_error::LocalImageError;
use crate::show;
use crate::show::CommandOutput;
use crate::show::block::Block;
use crate::show::screen::Screen;

#[derive(Clone, Serialize)]
struct VerifiedByKey {
    image: String,
    digest: String,
    key: String,
}

impl CommandOutput for VerifiedByKey {
    fn table(&self, screen: Screen) -> String {
        let mut block = Block::new("Verified");
        block.line("Image", &self.image).line("Digest", &self.digest).line("Key", &self.key);
        block.render(screen)
    }

    fn ids(&self) -> Vec<String> {
        vec![self.digest.clone()]
    }
}

pub async fn verify(global: &Global, command: Verify, key: &Path) -> Result<(), CliError> {
    let pem = fs::read_to_string(key).map_err(|source| CliError::File { path: key.to_path_buf(), source })?;
    let key = PublicKey::from_pem(&pem).map_err(LocalImageError::from)?;
    let Verify { image, plain_http, ca_file, .. } = command;
    let name = image.name.url().to_owned();
    let reference = reach::reference(&name)?;
    let flags = RegistryFlags { plain_http, ca_file, registry_auth: image.registry_auth };
    let access = reach::of(&reference, flags)?;
    let verifying = verify_by_key(&reference, &key, access);
    let signed = while_waiting(global, &format!("verifying {reference}"), verifying).await;
    let signed = signed.map_err(LocalImageError::from)?;
    let (digest, key) = (signed.digest.to_string(), signed.key.to_string());
    show::answer(global, &VerifiedByKey { image: name, digest, key })
}
