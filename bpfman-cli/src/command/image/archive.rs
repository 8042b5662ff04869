//! `bpfman image save` and `load`: images for machines without a network.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use bpfman_image_format::{ImageReference, OciLayout};
use bpfman_proto::ext::v1 as ext;
use serde::Serialize;

use super::{connect, reach};
use crate::args::Global;
use crate::args::image::Save;
use crate::command::progress::{ProgressLine, warn, while_waiting};
use crate::error::CliError;
use crate::exit::Exit;
use crate::image_error::LocalImageError;
use crate::show;
use crate::show::CommandOutput;
use crate::show::screen::Screen;
use crate::show::table::TextTable;

pub async fn save(global: &Global, command: Save) -> Result<(), CliError> {
    let access = reach::of(&command.image, command.registry)?;
    let beside = command.archive.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = beside.unwrap_or(Path::new(".")).join(format!(".bpfman-save-{}", std::process::id()));
    let progress = Mutex::new(ProgressLine::new(global, &format!("saving {}", command.image)));
    let show_progress =
        |bytes, total| progress.lock().unwrap_or_else(PoisonError::into_inner).at(bytes, total);
    let saved = async {
        let layout = OciLayout::open_or_create(&folder).map_err(LocalImageError::from)?;
        let saved = bpfman_registry::save(&command.image, &layout, &access, Some(&show_progress)).await?;
        bpfman_registry::archive(&layout, &command.archive)?;
        Ok::<_, LocalImageError>(saved)
    }
    .await;
    // Clear the progress line before the answer or the error.
    drop(progress);
    // Remove the temporary folder, also after a failure.
    let _ = std::fs::remove_dir_all(&folder);
    let saved = saved?;
    saved.warnings.iter().for_each(|text| warn(text));
    let archive = command.archive.display().to_string();
    let (image, digest) = (saved.name, saved.digest.to_string());
    show::answer(global, &SavedImage { image, digest, archive, signatures: saved.signatures })
}

pub async fn load(global: &Global, path: &Path, name: Option<&ImageReference>) -> Result<(), CliError> {
    let path = std::path::absolute(path)
        .map_err(|source| CliError::File { path: path.to_path_buf(), source })?
        .display()
        .to_string();
    let mut client = connect(global).await?;
    let waiting = format!("loading images of {path}");
    let imported = client.images.import_images(ext::ImportImagesRequest {
        path: path.clone(),
        name: name.map(ToString::to_string).unwrap_or_default(),
    });
    let imported = while_waiting(global, &waiting, imported).await?.into_inner();
    let images = imported.images.into_iter().map(|image| ImportedImage {
        image: image.name,
        digest: image.digest,
        verified_by: image.verified.map(|verified| verified.summary),
        refused: (!image.refusal.is_empty()).then_some(image.refusal),
    });
    let imported = Imported(images.collect());
    show::answer(global, &imported)?;
    let refused = imported.0.iter().filter(|image| image.refused.is_some()).count();
    if refused == 0 {
        return Ok(());
    }
    Err(CliError::Several {
        what: format!("{refused} of {} images of {path} refused", imported.0.len()),
        exit: Exit::Registry,
    })
}

#[derive(Clone, Serialize)]
struct SavedImage {
    image: String,
    digest: String,
    archive: String,
    signatures: usize,
}

impl CommandOutput for SavedImage {
    fn table(&self, _: Screen) -> String {
        let signed = if self.signatures == 0 { " (it has no signature)" } else { "" };
        format!("{}@{} is in {}{signed}\n", self.image, self.digest, self.archive)
    }

    fn ids(&self) -> Vec<String> {
        vec![self.digest.clone()]
    }
}

#[derive(Serialize)]
struct Imported(Vec<ImportedImage>);

#[derive(Clone, Serialize)]
struct ImportedImage {
    image: String,
    digest: String,
    verified_by: Option<String>,
    refused: Option<String>,
}

impl CommandOutput for Imported {
    fn table(&self, screen: Screen) -> String {
        let mut table = TextTable::new(&["Image", "Digest", "Policy"]);
        for image in &self.0 {
            let refused = || format!("refused: {}", image.refused.clone().unwrap_or_default());
            let policy = image.verified_by.clone().unwrap_or_else(refused);
            table.row(vec![image.image.clone(), image.digest.clone(), policy]);
        }
        table.render(screen)
    }

    fn ids(&self) -> Vec<String> {
        self.0.iter().map(|image| image.digest.clone()).collect()
    }
}
