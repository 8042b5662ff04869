//! What makes another version of a load, as one hash.

use std::collections::BTreeMap;

use bpfman_proto::v1::{LoadInfo, LoadRequest, bytecode_location::Location, prog_specific_info::Info};
use sha2::{Digest as _, Sha256};

/// Metadata key of the owner's uid, on programs; of the link's uuid, on links.
pub const UUID_KEY: &str = "bpfman.io/uuid";
/// Metadata key of the application's name: the CSI driver looks for it.
pub const PROGRAM_NAME_KEY: &str = "bpfman.io/ProgramName";
/// Metadata key of the hash over what makes another version.
pub const CONTENT_KEY: &str = "bpfman.io/content";
/// Metadata key of a link's identity among those of its program.
pub const LINK_KEY: &str = "bpfman.io/link";

/// Hash over bytecode, pull policy, globals, and the programs with their types and what they need when loaded.
///
/// Not over credentials and metadata, and not over the order of the list: the same programs in another order are the
/// same version.
#[must_use]
pub fn content(request: &LoadRequest) -> String {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        // Lengths keep neighbours apart.
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    match request.bytecode.as_ref().and_then(|bytecode| bytecode.location.as_ref()) {
        Some(Location::Image(image)) => {
            part(b"image");
            part(image.url.as_bytes());
            part(&image.image_pull_policy.to_le_bytes());
        }
        Some(Location::File(path)) => {
            part(b"file");
            part(path.as_bytes());
        }
        None => part(b"none"),
    }
    let globals: BTreeMap<_, _> = request.global_data.iter().collect();
    part(&(globals.len() as u64).to_le_bytes());
    for (name, value) in globals {
        part(name.as_bytes());
        part(value);
    }
    let mut programs: Vec<&LoadInfo> = request.info.iter().collect();
    programs.sort_by_key(|program| (&program.name, program.program_type));
    for program in programs {
        part(program.name.as_bytes());
        part(&program.program_type.to_le_bytes());
        part(
            match program.info.as_ref().and_then(|info| info.info.as_ref()) {
                Some(Info::FentryLoadInfo(info)) => info.fn_name.as_str(),
                Some(Info::FexitLoadInfo(info)) => info.fn_name.as_str(),
                Some(Info::LsmLoadInfo(info)) => info.hook_name.as_str(),
                None => "",
            }
            .as_bytes(),
        );
    }
    hexadecimal(&hash.finalize()[..16])
}

/// sha256 of an object file, in hexadecimal; none if it cannot be read here.
#[must_use]
pub fn of_file(path: &str) -> Option<String> {
    std::fs::read(path).ok().map(|bytes| hexadecimal(&Sha256::digest(bytes)))
}

/// A uuid for a link: the same for the same owner, program and key, so that it outlives failures and restarts.
#[must_use]
pub fn link_uuid(owner: &str, program: &str, key: &str) -> String {
    let mut hash = Sha256::new();
    for text in [owner, program, key] {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    let mut bytes: [u8; 16] = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    // RFC 9562: version 8, made by a hash of our own.
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hexadecimal(&bytes);
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}
