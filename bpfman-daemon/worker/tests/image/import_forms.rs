use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::docker_registry::DockerRegistry;
use crate::harness::keyless::{ISSUER, SUBJECT};
use crate::harness::world::World;
use crate::harness::{Store, demand, object, publish, publish_signed, unsigned};
use bpfman_image_format::{Digest, ImageReference, OciLayout, media};
use bpfman_registry::{SigningKey, archive, save, sign};
use bpfmand_image::{Category, FetchPolicy, ImageError, ImportOutcome, Policy};
use serde_json::{Value, json};

struct Saved {
    image: ImageReference,
    digest: Digest,
    key: SigningKey,
    folder: tempfile::TempDir,
}

impl Saved {
    async fn new(salt: &str) -> Self {
        let (registry, key) = (DockerRegistry::start(), SigningKey::generate().unwrap());
        let image = registry.image("team/a:1");
        let digest = publish_signed(&image, &object(salt), &key).await;
        let saved = Self { image, digest, key, folder: tempfile::tempdir().unwrap() };
        save(&saved.image, &saved.layout(), None, None).await.unwrap();
        saved
    }

    fn layout(&self) -> OciLayout {
        OciLayout::open_or_create(&self.folder.path().join("layout")).unwrap()
    }

    fn policy(&self) -> Policy {
        demand(&[&self.key])
    }

    fn annotate(&self, image: &Value, signatures: &Value) -> PathBuf {
        let folder = self.layout().path().to_owned();
        let index = std::fs::read(folder.join("index.json")).unwrap();
        let mut index: Value = serde_json::from_slice(&index).unwrap();
        for entry in index["manifests"].as_array_mut().unwrap() {
            let is_image = entry["digest"] == self.digest.to_string();
            entry["annotations"] = if is_image { image.clone() } else { signatures.clone() };
        }
        std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
        folder
    }

    fn signature_tag(&self) -> String {
        bpfman_image_format::signature_tag(self.digest)
    }

    async fn import_and_load(&self, path: &Path, name: Option<&ImageReference>) {
        let store = Store::new(self.policy());
        let imported = store.store.import(path, name).await.unwrap();
        assert!(matches!(&imported[0].outcome, ImportOutcome::Verified(_)), "{path:?}: {imported:?}");
        assert_eq!((imported.len(), imported[0].digest), (1, self.digest));
        let loaded = store.load(name.unwrap_or(&self.image), FetchPolicy::Never).await.unwrap();
        assert_eq!((loaded.digest, store.left_over()), (self.digest, 0));
    }
}

fn packed(content: &[u8], path: &Path) -> [PathBuf; 2] {
    let (gzip, zstd) = (path.with_extension("tar.gz"), path.with_extension("tar.zst"));
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    std::fs::write(&gzip, encoder.finish().unwrap()).unwrap();
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    std::fs::write(&zstd, ruzstd::encoding::compress_to_vec(content, level)).unwrap();
    [gzip, zstd]
}

#[tokio::test]
async fn compressed_archives_are_imported() {
    let saved = Saved::new("compressed").await;
    let path = saved.folder.path().join("image.tar");
    archive(&saved.layout(), &path).unwrap();
    let content = std::fs::read(&path).unwrap();
    for path in packed(&content, &path) {
        saved.import_and_load(&path, None).await;
    }
    let store = Store::new(unsigned());
    for path in packed(&content, &path) {
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let error = store.store.import(&path, None).await.unwrap_err();
        assert_eq!(error.category(), Category::Malformed, "{error}");
    }
    for (magic, name) in [(b"\xfd7zXZ\0".as_slice(), "xz"), (b"BZh9", "bzip2"), (b"# read me", "a text")] {
        std::fs::write(&path, magic).unwrap();
        let error = store.store.import(&path, None).await.unwrap_err();
        assert!(error.to_string().contains(name) && error.category() == Category::Malformed, "{error}");
    }
    assert_eq!(store.left_over(), 0);
}

#[tokio::test]
async fn layouts_without_whole_names_are_imported_by_a_given_one() {
    let saved = Saved::new("nameless").await;
    let image = Some(&saved.image);
    let cosign = |kind: &str| json!({ "kind": format!("dev.cosignproject.cosign/{kind}") });
    let tag = |tag: &str| json!({ media::REF_NAME: tag });
    for (of_image, of_signatures) in [
        (cosign("image"), cosign("sigs")),
        (cosign("imageIndex"), cosign("sigs")),
        (tag("1"), tag(&saved.signature_tag())),
        (json!(null), tag(&saved.signature_tag())),
    ] {
        let path = saved.annotate(&of_image, &of_signatures);
        saved.import_and_load(&path, image).await;
        let error = Store::new(saved.policy()).store.import(&path, None).await.unwrap_err();
        assert!(matches!(error, ImageError::NoImportName { .. }), "{error}");
        assert!(error.hint().unwrap().to_string().contains("--name"), "{error}");
    }
    let named = |kind: &str| json!({ "kind": format!("dev.cosignproject.cosign/{kind}"), media::REF_NAME: saved.image.to_string() });
    let path = saved.annotate(&named("image"), &named("sigs"));
    saved.import_and_load(&path, None).await;
    saved.import_and_load(&path, image).await;
    // Under another name: the signature names its own repository, and the rule has no `signed_as`.
    let other: ImageReference = "quay.io/other/a:1".parse().unwrap();
    let imported = Store::new(saved.policy()).store.import(&path, Some(&other)).await.unwrap();
    assert!(
        matches!(&imported[0].outcome, ImportOutcome::Refused(why) if why.contains("signed_as")),
        "{imported:?}"
    );
}

#[tokio::test]
async fn a_given_name_means_the_image_with_its_tag() {
    let registry = DockerRegistry::start();
    let folder = tempfile::tempdir().unwrap();
    let layout = OciLayout::open_or_create(folder.path()).unwrap();
    let mut digests = BTreeMap::new();
    for tag in ["1", "2"] {
        let image = registry.image(&format!("team/a:{tag}"));
        digests.insert(tag, publish(&image, &object(&format!("tagged_{tag}")), None).await);
        save(&image, &layout, None, None).await.unwrap();
    }
    let index = std::fs::read_to_string(folder.path().join("index.json")).unwrap();
    std::fs::write(
        folder.path().join("index.json"),
        index.replace(&format!("{}:", registry.image("team/a")), ""),
    )
    .unwrap();
    let import = async |name: &str| {
        let store = Store::new(unsigned());
        store.store.import(folder.path(), Some(&name.parse().unwrap())).await
    };
    for (tag, digest) in &digests {
        let imported = import(&format!("quay.io/b:{tag}")).await.unwrap();
        assert_eq!((imported.len(), imported[0].digest), (1, *digest));
        let imported = import(&format!("quay.io/b@{digest}")).await.unwrap();
        assert_eq!(imported[0].digest, *digest);
    }
    let error = import("quay.io/b:3").await.unwrap_err();
    assert!(error.to_string().contains("it has 1, 2"), "{error}");
    assert_eq!(error.category(), Category::InvalidRequest);
}

/// `oras copy -r` lists all referrers beside the image.
#[tokio::test]
async fn bundles_beside_an_image_in_a_layout_count() {
    let world = World::new("beside");
    world.refer(&[world.making().bundle(world.digest)]);
    let folder = tempfile::tempdir().unwrap();
    let layout = OciLayout::open_or_create(folder.path()).unwrap();
    let saved = save(&world.image, &layout, None, None).await.unwrap();
    assert_eq!((saved.digest, saved.signatures), (world.digest, 1));
    let index = std::fs::read(folder.path().join("index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let list = index["manifests"][1]["digest"].as_str().unwrap().replace("sha256:", "blobs/sha256/");
    let list: Value = serde_json::from_slice(&std::fs::read(folder.path().join(list)).unwrap()).unwrap();
    let beside = json!({ "schemaVersion": 2, "manifests": [index["manifests"][0], list["manifests"][0]] });
    std::fs::write(folder.path().join("index.json"), beside.to_string()).unwrap();
    let store = Store::new(world.trusting(ISSUER, SUBJECT));
    let imported = store.store.import(folder.path(), None).await.unwrap();
    assert!(matches!(imported[0].outcome, ImportOutcome::Verified(_)), "{imported:?}");
}

/// Docker before 25 writes a symbolic link for a layer of another image.
fn with_linked_layer(archive: &Path, linked: &Path) {
    let (mut read, mut files) = (tar::Archive::new(File::open(archive).unwrap()), Vec::new());
    for entry in read.entries().unwrap() {
        let mut entry = entry.unwrap();
        let (name, mut content) = (entry.path().unwrap().display().to_string(), Vec::new());
        entry.read_to_end(&mut content).unwrap();
        files.push((entry.header().entry_type().is_file(), name, content));
    }
    let mut builder = tar::Builder::new(File::create(linked).unwrap());
    for (_, name, content) in files.into_iter().filter(|(is_file, ..)| *is_file) {
        let is_manifest = name == "manifest.json";
        let mut manifest: Value = serde_json::from_slice(&content).unwrap_or_default();
        if is_manifest {
            let layer = manifest[0]["Layers"][0].as_str().unwrap().to_owned();
            manifest[0]["Layers"][0] = "first/layer.tar".into();
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, "first/layer.tar", format!("../{layer}")).unwrap();
        }
        let content = if is_manifest { manifest.to_string().into_bytes() } else { content };
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, &*content).unwrap();
    }
    builder.into_inner().unwrap();
}

#[tokio::test]
async fn docker_and_podman_archives_import_if_no_signature_is_needed() {
    let (registry, object) = (DockerRegistry::start(), object("docker_archive"));
    let image = registry.image("team/a:1");
    publish(&image, &object, None).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.tar");
    for name in [Some(&image), None] {
        let _absent = std::fs::remove_file(&path);
        let suffix = name.map(|name| format!(":{name}")).unwrap_or_default();
        let status = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"])
            .arg(format!("docker://{image}"))
            .arg(format!("docker-archive:{}{suffix}", path.display()))
            .status()
            .expect("skopeo is installed");
        assert!(status.success());
        let store = Store::new(unsigned());
        let given = if name.is_none() { Some(&image) } else { None };
        let imported = store.store.import(&path, given).await.unwrap();
        assert!(matches!(imported[0].outcome, ImportOutcome::Verified(_)), "{imported:?}");
        assert_eq!(imported[0].name, image.to_string());
        assert_eq!(&*store.load(&image, FetchPolicy::Never).await.unwrap().bytes, object.bytes());
    }
    let linked = folder.path().join("linked.tar");
    with_linked_layer(&path, &linked);
    let store = Store::new(unsigned());
    store.store.import(&linked, Some(&image)).await.unwrap();
    assert_eq!(&*store.load(&image, FetchPolicy::Never).await.unwrap().bytes, object.bytes());
    let refused = Store::new(demand(&[&SigningKey::generate().unwrap()]));
    let imported = refused.store.import(&path, Some(&image)).await.unwrap();
    assert!(matches!(&imported[0].outcome, ImportOutcome::Refused(why) if why.contains("not signed")));
    assert_eq!(refused.kept(), Vec::<String>::new());
    let mut builder = tar::Builder::new(std::fs::File::create(&path).unwrap());
    let manifest = br#"[{"Config":"c.json","RepoTags":null,"Layers":["x/layer.tar"]}]"#;
    for (name, content) in [("c.json", b"{}".as_slice()), ("manifest.json", manifest)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, content).unwrap();
    }
    builder.into_inner().unwrap();
    let error = refused.store.import(&path, Some(&image)).await.unwrap_err();
    assert!(error.to_string().contains("x/layer.tar"), "{error}");
}

#[tokio::test]
async fn a_layout_that_was_signed_twice_counts_both_signers() {
    let (registry, one, two) =
        (DockerRegistry::start(), SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let image = registry.image("team/two:1");
    publish_signed(&image, &object("two_signers"), &one).await;
    sign(&image, &two, &BTreeMap::new(), None).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let layout = OciLayout::open_or_create(folder.path()).unwrap();
    save(&image, &layout, None, None).await.unwrap();
    let policy = format!(
        "[[images]]\npattern = \"*\"\nkeys = ['''{}''', '''{}''']\nmin_signatures = 2\n",
        one.public_key().unwrap().to_pem(),
        two.public_key().unwrap().to_pem()
    );
    let store = Store::new(crate::harness::policy(&policy));
    let imported = store.store.import(folder.path(), None).await.unwrap();
    assert!(matches!(imported[0].outcome, ImportOutcome::Verified(_)), "{imported:?}");
}
