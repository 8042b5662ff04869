use std::io::Write as _;

use crate::harness::hostile::Hostile;
use crate::harness::{Store, object, unsigned};
use bpfman_image_format::{Descriptor, Digest, Platform, media};
use bpfmand_image::{Category, FetchPolicy, ImageError, Limits, VerifiedImage};
use serde_json::{Value, json};

async fn load(hostile: &Hostile) -> Result<VerifiedImage, ImageError> {
    let store = Store::new(unsigned());
    let image = hostile.image("a:latest");
    let loaded = store.pull(&image).await;
    assert_eq!(store.left_over(), 0);
    if loaded.is_ok() {
        let asked = hostile.requests().len();
        store.load(&image, FetchPolicy::Never).await.unwrap();
        store.pull(&image).await.unwrap();
        assert_eq!(hostile.requests().len(), asked);
    }
    loaded
}

fn zstd(content: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(content, ruzstd::encoding::CompressionLevel::Fastest)
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn image(hostile: &Hostile, layers: &[Descriptor]) -> Value {
    let config = hostile.blob(media::OCI_CONFIG, b"{}");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "config": config, "layers": layers,
    });
    let digest = hostile.manifest("latest", &manifest);
    json!({ "mediaType": media::OCI_MANIFEST, "digest": digest, "size": manifest.to_string().len() })
}

#[tokio::test]
async fn layers_of_zstd_are_read_whatever_their_type_says() {
    let (hostile, object) = (Hostile::start(), object("zstd"));
    let packed = tar(&[("prog.o", object.bytes())]);
    // zstd:chunked ends in a skippable frame with its table of contents.
    let chunked =
        [zstd(&packed[..512]), zstd(&packed[512..]), b"\x50\x2a\x4d\x18\x04\0\0\0info".to_vec()].concat();
    for kind in
        ["application/vnd.oci.image.layer.v1.tar+zstd", "application/vnd.docker.image.rootfs.diff.tar.zstd"]
    {
        for content in [zstd(&packed), zstd(object.bytes()), chunked.clone()] {
            image(&hostile, &[hostile.blob(kind, &content)]);
            assert_eq!(&*load(&hostile).await.unwrap().bytes, object.bytes());
        }
    }
    // A decompression bomb: the beginning of an object, and two hundred blocks of 128 KiB that repeat one byte.
    let mut bomb = b"\x28\xb5\x2f\xfd\0\x58\x20\0\0\x7fELF".to_vec();
    bomb.extend(b"\x02\0\x10\0".repeat(200));
    image(&hostile, &[hostile.blob(media::OCI_LAYER, &bomb)]);
    let error = load(&hostile).await.unwrap_err();
    assert!(matches!(error, ImageError::TooLarge { .. }), "{error}");
    image(&hostile, &[hostile.blob(media::OCI_LAYER, &bomb[..20])]);
    assert_eq!(load(&hostile).await.unwrap_err().category(), Category::Malformed);
    image(&hostile, &[hostile.blob(media::OCI_LAYER, b"\xfd7zXZ\0 and so on")]);
    let error = load(&hostile).await.unwrap_err();
    assert!(matches!(error, ImageError::Unsupported { .. }) && error.to_string().contains("xz"), "{error}");
}

#[tokio::test]
async fn the_layer_with_the_object_is_found_among_others() {
    let (hostile, object) = (Hostile::start(), object("layers"));
    let layer = |content: &[u8]| hostile.blob(media::OCI_LAYER_GZIP, content);
    let licence = layer(&gzip(&tar(&[("LICENSE", b"text")])));
    let empty = layer(&gzip(&tar(&[])));
    let readme = hostile.blob("text/markdown", b"# read me");
    let tool = layer(&std::fs::read("/bin/true").unwrap());
    let good = layer(&gzip(&tar(&[("prog.o", object.bytes())])));
    for layers in [
        vec![licence.clone(), good.clone()],
        vec![good.clone(), licence.clone()],
        vec![empty.clone(), good.clone()],
        vec![readme.clone(), good.clone()],
        vec![tool.clone(), readme.clone(), licence.clone(), empty.clone(), good.clone()],
    ] {
        image(&hostile, &layers);
        assert_eq!(&*load(&hostile).await.unwrap().bytes, object.bytes());
    }
    image(&hostile, &[readme.clone(), empty.clone()]);
    let error = load(&hostile).await.unwrap_err();
    assert!(matches!(error, ImageError::NoObject { .. }) && error.to_string().contains("a text"), "{error}");
    let mut many: Vec<_> = (0..8_u8).map(|n| layer(&[n; 20])).collect();
    many.push(good.clone());
    image(&hostile, &many);
    assert!(matches!(load(&hostile).await.unwrap_err(), ImageError::NoObject { .. }));
    image(&hostile, &[readme.clone(), good.clone()]);
    let limits = Limits { layer: good.size.max(readme.size), ..Limits::default() };
    let error = Store::with_limits(unsigned(), limits).pull(&hostile.image("a:latest")).await.unwrap_err();
    assert!(matches!(error, ImageError::NoObject { .. }), "{error}");
}

#[tokio::test]
async fn indexes_of_every_builder_lead_to_the_image() {
    let (hostile, object) = (Hostile::start(), object("indexes"));
    let entry = image(&hostile, &[hostile.blob(media::OCI_LAYER, object.bytes())]);
    let host = Platform::host().unwrap();
    let platform = json!({ "os": "linux", "architecture": host.architecture() });
    let with_platform = |entry: &Value| {
        let mut entry = entry.clone();
        entry["platform"] = platform.clone();
        entry
    };
    let index = |entries: &[Value]| json!({ "schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": entries });
    let inner = |tag: &str, document: &Value| {
        let digest = hostile.manifest(tag, document);
        json!({ "mediaType": media::OCI_INDEX, "digest": digest, "size": document.to_string().len() })
    };
    let attestation = json!({
        "mediaType": media::OCI_MANIFEST, "digest": Digest::of(b"attestation"), "size": 1,
        "platform": { "os": "unknown", "architecture": "unknown" },
        "annotations": { media::DOCKER_REFERENCE_TYPE: "attestation-manifest" },
    });
    let one = inner("one", &index(&[with_platform(&entry)]));
    let two = inner("two", &index(std::slice::from_ref(&one)));
    for document in [
        index(std::slice::from_ref(&entry)),
        index(&[entry.clone(), attestation]),
        index(&[with_platform(&one)]),
        index(std::slice::from_ref(&one)),
        index(std::slice::from_ref(&two)),
    ] {
        let digest = hostile.manifest("latest", &document);
        let loaded = load(&hostile).await.unwrap();
        assert_eq!((&*loaded.bytes, loaded.digest), (object.bytes(), digest), "{document}");
        assert_eq!(loaded.manifest_digest.to_string(), entry["digest"], "{document}");
    }
    // Nested too deep; an index that contains its own digest cannot exist.
    hostile.manifest("latest", &index(&[inner("three", &index(&[two]))]));
    let error = load(&hostile).await.unwrap_err();
    assert!(error.to_string().contains("nested too deep"), "{error}");
    let mut other = entry.clone();
    other["digest"] = Digest::of(b"other").to_string().into();
    hostile.manifest("latest", &index(&[entry, other]));
    let error = load(&hostile).await.unwrap_err();
    assert!(matches!(&error, ImageError::NoPlatform { .. }), "{error}");
    assert!(error.to_string().contains("2 that name no platform"), "{error}");
}

#[tokio::test]
async fn digests_by_another_algorithm_are_not_called_malformed() {
    let hostile = Hostile::start();
    let config = hostile.blob(media::OCI_CONFIG, b"{}");
    let layer =
        json!({ "mediaType": media::OCI_LAYER, "digest": format!("sha512:{}", "0".repeat(128)), "size": 1 });
    hostile.manifest("latest", &json!({ "schemaVersion": 2, "config": config, "layers": [layer] }));
    let error = load(&hostile).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("is not supported") && text.contains("sha512") && !text.contains("malformed"),
        "{text}"
    );
}
