//! `bpfman image list`, `inspect`, `verify` and `prune`: the daemon's cache and policy.

use std::collections::BTreeMap;
use std::time::Duration;

use bpfman_image_format::{ImageReference, SourceDate};
use bpfman_proto::ext::v1 as ext;
use serde::Serialize;

use super::{connect, pulled_where_watched};
use crate::args::Global;
use crate::args::load::ImageSource;
use crate::command::progress::while_waiting;
use crate::error::CliError;
use crate::show;
use crate::show::CommandOutput;
use crate::show::block::Block;
use crate::show::json::filled;
use crate::show::json_shape::json_shape;
use crate::show::screen::Screen;
use crate::show::table::TextTable;

pub async fn list(global: &Global) -> Result<(), CliError> {
    let mut client = connect(global).await?;
    let answer = client.images.list_images(ext::ListImagesRequest {}).await?.into_inner();
    show::answer(global, &Cache(answer.images.iter().map(CachedImageJson::new).collect()))
}

pub async fn inspect(global: &Global, image: &ImageReference) -> Result<(), CliError> {
    let mut client = connect(global).await?;
    let request = ext::InspectImageRequest { image: image.to_string() };
    let answer = client.images.inspect_image(request).await?.into_inner();
    let image = answer.image.ok_or(CliError::Incomplete { call: "InspectImage", part: "the image" })?;
    let inspected = Inspected {
        image: CachedImageJson::new(&image),
        programs: answer.programs.into_iter().collect(),
        maps: answer.maps.into_iter().collect(),
        verified: answer.verified.as_ref().map(VerifiedJson::new),
        refused: filled(&answer.refusal),
    };
    show::answer(global, &inspected)
}

pub async fn verify(global: &Global, image: &ImageSource) -> Result<(), CliError> {
    let mut client = connect(global).await?;
    let wanted = pulled_where_watched(global, &mut client, image).await?;
    let request = ext::VerifyImageRequest { image: Some(wanted) };
    let waiting = format!("verifying {}", image.name.url());
    let answer = while_waiting(global, &waiting, client.images.verify_image(request)).await?.into_inner();
    let verified =
        answer.verified.ok_or(CliError::Incomplete { call: "VerifyImage", part: "what was verified" })?;
    let image = image.name.url().to_owned();
    show::answer(
        global,
        &ImageVerification { image, digest: answer.digest, verified: VerifiedJson::new(&verified) },
    )
}

pub async fn prune(global: &Global, unused_for: Duration) -> Result<(), CliError> {
    let mut client = connect(global).await?;
    let request = ext::PruneImagesRequest { unused_seconds: unused_for.as_secs() };
    let answer =
        while_waiting(global, "removing images", client.images.prune_images(request)).await?.into_inner();
    show::answer(global, &Pruned { images: answer.images, bytes: answer.bytes })
}

/// Converts seconds since 1970 to a date in UTC; the bare number after the year 9999.
fn date(seconds: u64) -> String {
    SourceDate::from_seconds(seconds).map_or_else(|_| seconds.to_string(), SourceDate::rfc3339)
}

json_shape! {
    pub struct CachedImageJson(image: &ext::CachedImage) {
        name: String = image.name.clone(),
        tags: Vec<String> = image.tags.clone(),
        digest: String = image.digest.clone(),
        manifest_digest: String = image.manifest_digest.clone(),
        object_digest: String = image.object_digest.clone(),
        bytes: u64 = image.bytes,
        signatures: u32 = image.signatures,
        last_used: String = date(image.last_used),
        program_ids: Vec<u32> = image.program_ids.clone(),
    }
}

impl CachedImageJson {
    fn ids(&self) -> String {
        self.program_ids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
    }
}

#[derive(Serialize)]
struct Cache(Vec<CachedImageJson>);

impl CommandOutput for Cache {
    fn table(&self, screen: Screen) -> String {
        let mut table =
            TextTable::new(&["Image", "Tags", "Digest", "Bytes", "Signatures", "Last Used", "Programs"]);
        for image in &self.0 {
            table.row(vec![
                image.name.clone(),
                image.tags.join(", "),
                image.digest.clone(),
                image.bytes.to_string(),
                image.signatures.to_string(),
                image.last_used.clone(),
                image.ids(),
            ]);
        }
        table.render(screen)
    }

    fn ids(&self) -> Vec<String> {
        self.0.iter().map(|image| format!("{}@{}", image.name, image.digest)).collect()
    }
}

json_shape! {
    pub struct VerifiedJson(verified: &ext::Verified) {
        summary: String = verified.summary.clone(),
        rule: Option<String> = filled(&verified.rule),
        signers: Vec<String> = verified.signers.clone(),
        signed_digest: Option<String> = filled(&verified.signed_digest),
        signed_at: Option<String> = verified.signed_at.and_then(|seconds| u64::try_from(seconds).ok()).map(date),
    }
}

#[derive(Clone, Serialize)]
struct Inspected {
    #[serde(flatten)]
    image: CachedImageJson,
    programs: BTreeMap<String, String>,
    maps: BTreeMap<String, String>,
    verified: Option<VerifiedJson>,
    refused: Option<String>,
}

impl CommandOutput for Inspected {
    fn table(&self, screen: Screen) -> String {
        let image = &self.image;
        let pairs = |names: &BTreeMap<String, String>| -> Vec<String> {
            names.iter().map(|(name, kind)| format!("{name}: {kind}")).collect()
        };
        let mut block = Block::new("Image");
        block.line("Name", &image.name);
        block.line("Tags", image.tags.join(", "));
        block.line("Digest", &image.digest);
        block.line("Manifest", &image.manifest_digest);
        block.line("Object", &image.object_digest);
        block.line("Bytes", image.bytes);
        block.line("Signatures", image.signatures);
        block.line("Last Used", &image.last_used);
        block.line("Programs Loaded", image.ids());
        block.lines("Programs", pairs(&self.programs));
        block.lines("Maps", pairs(&self.maps));
        block.optional("Verified By", self.verified.as_ref().map(|verified| &verified.summary));
        block.optional("Signed At", self.verified.as_ref().and_then(|verified| verified.signed_at.as_ref()));
        block.optional("Refused", self.refused.as_ref());
        block.render(screen)
    }

    fn ids(&self) -> Vec<String> {
        vec![self.image.digest.clone()]
    }
}

#[derive(Clone, Serialize)]
pub struct ImageVerification {
    pub image: String,
    pub digest: String,
    #[serde(flatten)]
    pub verified: VerifiedJson,
}

impl CommandOutput for ImageVerification {
    fn table(&self, screen: Screen) -> String {
        let mut block = Block::new("Verified");
        block.line("Image", &self.image);
        block.line("Digest", &self.digest);
        block.line("By", &self.verified.summary);
        block.optional("Signed Digest", self.verified.signed_digest.as_ref());
        block.optional("Signed At", self.verified.signed_at.as_ref());
        block.render(screen)
    }

    fn ids(&self) -> Vec<String> {
        vec![self.digest.clone()]
    }
}

#[derive(Clone, Serialize)]
struct Pruned {
    images: Vec<String>,
    bytes: u64,
}

impl CommandOutput for Pruned {
    fn table(&self, _: Screen) -> String {
        let lines: String = self.images.iter().map(|image| format!("removed {image}\n")).collect();
        format!("{lines}{} bytes given back\n", self.bytes)
    }

    fn ids(&self) -> Vec<String> {
        self.images.clone()
    }
}
