//! Hash that identifies the version of a load.

use std::collections::BTreeMap;

use bpfman_model::hexadecimal;
use bpfman_proto::ext::v1::LoadValues;
use bpfman_proto::v1::{LoadInfo, LoadRequest, bytecode_location::Location, prog_specific_info::Info};
use bpfman_proto::{ACTUAL_TYPE_PREFIX, MAP_EXPORTS_KEY};
use sha2::{Digest as _, Sha256};

/// Metadata key of the owner's uid, on programs; of the link's uuid, on links.
pub const UUID_KEY: &str = "bpfman.io/uuid";
/// Metadata key of the application's name, which the CSI driver reads.
pub const PROGRAM_NAME_KEY: &str = "bpfman.io/ProgramName";
/// Metadata key of the namespace, by which the CSI driver restricts the maps of a namespaced application.
pub const PROGRAM_NAMESPACE_KEY: &str = "bpfman.io/ProgramNamespace";
/// Metadata key of the version's hash.
pub const CONTENT_KEY: &str = "bpfman.io/content";
/// Metadata key of a link's identity among those of its program.
pub const LINK_KEY: &str = "bpfman.io/link";

/// Returns the hash over bytecode, pull policy, values, namespace, and programs with types, targets, return probes and
/// exports. Credentials, other metadata and the order of programs do not change the hash.
#[must_use]
pub fn content(request: &LoadRequest, values: Option<&LoadValues>) -> String {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        // Length prefixes keep adjacent parts distinct.
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
    if let Some(namespace) = request.metadata.get(PROGRAM_NAMESPACE_KEY) {
        part(b"namespace");
        part(namespace.as_bytes());
    }
    if let Some(exports) = request.metadata.get(MAP_EXPORTS_KEY) {
        part(b"map exports");
        part(exports.as_bytes());
    }
    let types: BTreeMap<_, _> =
        request.metadata.iter().filter(|(key, _)| key.starts_with(ACTUAL_TYPE_PREFIX)).collect();
    for (key, value) in types {
        part(key.as_bytes());
        part(value.as_bytes());
    }
    // Without values, the hash is that of earlier releases, so that running programs are not reloaded.
    if let Some(values) = values {
        part(b"values");
        part(&[u8::from(values.by_type_only)]);
        let globals: BTreeMap<_, _> = values.globals.iter().collect();
        part(&(globals.len() as u64).to_le_bytes());
        for (name, text) in globals {
            part(name.as_bytes());
            part(text.as_bytes());
        }
        let sizes: BTreeMap<_, _> = values.map_sizes.iter().collect();
        for (map, entries) in sizes {
            part(map.as_bytes());
            part(&entries.to_le_bytes());
        }
    }
    hexadecimal(&hash.finalize()[..16])
}

/// Returns whether `running` is the hash of the same request with the tag of `url` in place of the digest.
pub(crate) fn is_pinned_form(
    (request, values): (&LoadRequest, Option<&LoadValues>),
    policy: i32,
    running: &str,
    (url, digest): (&str, &str),
) -> bool {
    let mut named = request.clone();
    let Some(Location::Image(image)) =
        named.bytecode.as_mut().and_then(|bytecode| bytecode.location.as_mut())
    else {
        return false;
    };
    let Some((name, wanted)) = image.url.split_once('@') else { return false };
    if wanted != digest || repository(name) != repository(url) {
        return false;
    }
    image.url = url.to_owned();
    image.image_pull_policy = policy;
    content(&named, values) == running
}

fn repository(url: &str) -> &str {
    let bare = url.split_once('@').map_or(url, |(bare, _)| bare);
    // A colon after the last slash precedes a tag; before it, a port.
    let host = bare.rfind('/').map_or(0, |slash| slash + 1);
    bare.rfind(':').filter(|colon| *colon >= host).and_then(|colon| bare.get(..colon)).unwrap_or(bare)
}

/// Returns the sha256 of an object file in hexadecimal, or `None` if this process cannot read the file.
#[must_use]
pub fn of_file(path: &str) -> Option<String> {
    std::fs::read(path).ok().map(|bytes| hexadecimal(&Sha256::digest(bytes)))
}

/// Returns the uuid of a link. It depends only on owner, program and key, so that it survives failures and restarts.
#[must_use]
pub fn link_uuid(owner: &str, program: &str, key: &str) -> String {
    let mut hash = Sha256::new();
    for text in [owner, program, key] {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    let mut bytes: [u8; 16] = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    // RFC 9562, version 8: made by an application-defined hash.
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hexadecimal(&bytes);
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}

#[cfg(test)]
mod tests {
    use bpfman_proto::v1::{BytecodeImage, BytecodeLocation};

    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef";

    fn request(url: &str, global: u8) -> LoadRequest {
        let image = BytecodeImage { url: url.to_owned(), image_pull_policy: 1, ..BytecodeImage::default() };
        LoadRequest {
            bytecode: Some(BytecodeLocation { location: Some(Location::Image(image)) }),
            global_data: [("sampling".to_owned(), vec![global])].into(),
            ..LoadRequest::default()
        }
    }

    #[test]
    fn the_name_of_an_image_ends_before_tag_and_digest() {
        for url in ["host:5000/team/app", "host:5000/team/app:v1", "host:5000/team/app:v1@sha256:00"] {
            assert_eq!(repository(url), "host:5000/team/app");
        }
        assert_eq!(repository("app:v1"), "app");
    }

    #[test]
    fn an_image_that_was_named_by_tag_is_the_same_by_its_digest() {
        let url = "host:5000/team/app:v1";
        let running = content(&request(url, 1), None);
        let pinned = format!("host:5000/team/app@{DIGEST}");
        let is_same =
            |wanted: LoadRequest, digest| is_pinned_form((&wanted, None), 1, &running, (url, digest));
        assert!(is_same(request(&pinned, 1), DIGEST));
        assert!(!is_same(request(&pinned, 1), "sha256:ff"), "the tag stood for another one");
        assert!(!is_same(request(&pinned, 2), DIGEST), "another global is another version");
        assert!(!is_same(request(url, 1), DIGEST), "a tag may stand for another image now");
        assert!(!is_same(request(&format!("other/app@{DIGEST}"), 1), DIGEST), "another place, another trust");
        assert!(
            !is_pinned_form((&request(&pinned, 1), None), 0, &running, (url, DIGEST)),
            "another pull policy"
        );
    }
}
