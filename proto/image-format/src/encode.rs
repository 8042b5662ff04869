use std::collections::BTreeMap;
use std::io::Write as _;

use flate2::{Compression, GzBuilder};
use serde_json::json;

use crate::{
    BuildError, BytecodeFile, Descriptor, Digest, Labels, Platform, PlatformField, SourceDate, media,
};

pub(crate) fn keep(blobs: &mut BTreeMap<Digest, Vec<u8>>, media_type: &str, content: Vec<u8>) -> Descriptor {
    let descriptor = Descriptor::of(media_type, &content);
    blobs.insert(descriptor.digest, content);
    descriptor
}

pub(crate) fn image(
    platform: Platform,
    bytecode: &BytecodeFile,
    labels: &Labels,
    date: SourceDate,
    blobs: &mut BTreeMap<Digest, Vec<u8>>,
) -> Result<Descriptor, BuildError> {
    let tar = tar_of(bytecode, date).map_err(|e| BuildError::Encode(e.to_string()))?;
    let layer = gzip(&tar).map_err(|e| BuildError::Encode(e.to_string()))?;
    let config = json!({
        "created": date.rfc3339(),
        "architecture": platform.architecture(),
        "os": platform.os(),
        "config": { "Labels": labels.write() },
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(&tar)] },
        "history": [{ "created": date.rfc3339(), "created_by": format!("COPY {} /", bytecode.file_name()) }],
    });
    let config = keep(blobs, media::OCI_CONFIG, config.to_string().into_bytes());
    let layer = keep(blobs, media::OCI_LAYER_GZIP, layer);
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "config": config, "layers": [layer] });
    let mut manifest = keep(blobs, media::OCI_MANIFEST, manifest.to_string().into_bytes());
    manifest.platform = Some(PlatformField {
        architecture: platform.architecture().to_owned(),
        os: platform.os().to_owned(),
        other: serde_json::Map::new(),
    });
    Ok(manifest)
}

fn tar_of(bytecode: &BytecodeFile, date: SourceDate) -> std::io::Result<Vec<u8>> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(bytecode.bytes().len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(date.seconds());
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, bytecode.file_name(), bytecode.bytes())?;
    archive.into_inner()
}

fn gzip(content: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
    encoder.write_all(content)?;
    encoder.finish()
}
