//! `bpfman image labels`: labels of an image, read from its registry without a pull.

use std::collections::BTreeMap;

use bpfman_image_format::Platform;
use bpfman_registry::fetch_labels;
use serde::Serialize;

use super::reach;
use crate::args::Global;
use crate::args::image::ReadLabels;
use crate::command::progress::while_waiting;
use crate::error::CliError;
use crate::image_error::LocalImageError;
use crate::show;
use crate::show::CommandOutput;
use crate::show::block::Block;
use crate::show::screen::Screen;

pub async fn labels(global: &Global, command: ReadLabels) -> Result<(), CliError> {
    let image = command.image;
    let platform = Platform::host().ok_or_else(|| CliError::Invalid {
        what: "images are not made for this machine's architecture".to_owned(),
        hint: None,
    })?;
    let access = reach::of(&image, command.registry)?;
    let fetching = fetch_labels(&image, access, platform);
    let fetched = while_waiting(global, &format!("reading labels of {image}"), fetching).await;
    let fetched = fetched.map_err(LocalImageError::from)?;
    let labels = ImageLabels {
        image: image.to_string(),
        digest: fetched.digest.to_string(),
        programs: fetched.labels.programs,
        maps: fetched.labels.maps,
    };
    show::answer(global, &labels)
}

#[derive(Clone, Serialize)]
struct ImageLabels {
    image: String,
    digest: String,
    programs: BTreeMap<String, String>,
    maps: BTreeMap<String, String>,
}

impl CommandOutput for ImageLabels {
    fn table(&self, screen: Screen) -> String {
        let pairs = |names: &BTreeMap<String, String>| -> Vec<String> {
            names.iter().map(|(name, kind)| format!("{name}: {kind}")).collect()
        };
        let mut block = Block::new("Labels");
        block.line("Image", &self.image);
        block.line("Digest", &self.digest);
        block.lines("Programs", pairs(&self.programs));
        block.lines("Maps", pairs(&self.maps));
        block.render(screen)
    }

    fn ids(&self) -> Vec<String> {
        vec![self.digest.clone()]
    }
}
