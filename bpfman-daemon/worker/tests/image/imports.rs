use std::collections::BTreeMap;

use crate::harness::docker_registry::DockerRegistry;
use crate::harness::{Store, demand, object, publish, publish_signed, unsigned};
use bpfman_image_format::Digest;
use bpfman_registry::{SigningKey, archive, save, sign};
use bpfmand_image::{Category, FetchPolicy, ImportOutcome};

fn key() -> SigningKey {
    SigningKey::generate().unwrap()
}

#[tokio::test]
async fn layouts_of_skopeo_and_our_own_archives_are_imported() {
    let (mut registry, key) = (DockerRegistry::start(), key());
    let image = registry.image("demo/import:v1");
    let object = object("import");
    let digest = publish_signed(&image, &object, &key).await;
    let folder = tempfile::tempdir().unwrap();
    let layout = bpfman_image_format::OciLayout::open_or_create(&folder.path().join("layout")).unwrap();
    let saved = save(&image, &layout, None, None).await.unwrap();
    assert_eq!((saved.digest, saved.signatures), (digest, 1));
    let packed = folder.path().join("image.tar");
    archive(&layout, &packed).unwrap();
    let theirs = folder.path().join("theirs");
    let status = std::process::Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"])
        .arg(format!("docker://{image}"))
        .arg(format!("oci-archive:{}:{image}", theirs.display()))
        .status()
        .expect("skopeo is installed");
    assert!(status.success());
    registry.stop();
    for (path, is_signed) in [(layout.path(), true), (packed.as_path(), true), (theirs.as_path(), false)] {
        let store = Store::new(demand(&[&key]));
        let imported = store.store.import(path, None).await.unwrap();
        assert_eq!((imported.len(), imported[0].digest), (1, digest), "{}", path.display());
        assert_eq!(matches!(imported[0].outcome, ImportOutcome::Verified(_)), is_signed);
        let loaded = store.load(&image, FetchPolicy::Never).await;
        assert_eq!(loaded.is_ok(), is_signed);
        let store = store.restarted(unsigned());
        let imported = store.store.import(path, None).await.unwrap();
        assert!(matches!(imported[0].outcome, ImportOutcome::Verified(_)));
        assert_eq!(&*store.load(&image, FetchPolicy::Never).await.unwrap().bytes, object.bytes());
        assert_eq!(store.left_over(), 0);
    }
}

#[tokio::test]
async fn invalid_or_lying_layouts_are_refused_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let tar = |entries: &[(&str, &[u8])]| {
        let path = folder.path().join("bad.tar");
        let mut builder = tar::Builder::new(std::fs::File::create(&path).unwrap());
        for (name, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *content).unwrap();
        }
        builder.into_inner().unwrap();
        path
    };
    let blob = format!("blobs/sha256/{}", Digest::of(b"right").hex());
    let index = br#"{"schemaVersion":2,"manifests":[]}"#.as_slice();
    for (entries, part) in [
        (vec![], "neither index.json"),
        (vec![("index.json", b"[]".as_slice())], "index.json"),
        (vec![("index.json", index)], "none of its images has a name"),
        (vec![("index.json", index), (blob.as_str(), b"wrong".as_slice())], "digest"),
    ] {
        let store = Store::new(unsigned());
        let error = store.store.import(&tar(&entries), None).await.unwrap_err();
        assert!(error.to_string().contains(part), "{part}: {error}");
        assert_eq!(store.left_over(), 0);
        assert!(store.store.images().await.unwrap().is_empty());
    }
    let store = Store::new(unsigned());
    assert_eq!(
        store.store.import(&folder.path().join("none"), None).await.unwrap_err().category(),
        Category::Storage
    );
    std::fs::write(folder.path().join("text"), "text").unwrap();
    assert_eq!(
        store.store.import(&folder.path().join("text"), None).await.unwrap_err().category(),
        Category::Malformed
    );
}

#[tokio::test]
async fn a_refused_import_changes_neither_tag_nor_signatures() {
    let (mut registry, key) = (DockerRegistry::start(), key());
    let image = registry.image("demo/fw:v2");
    let folder = tempfile::tempdir().unwrap();
    let archived = async |name: &str| {
        let layout = bpfman_image_format::OciLayout::open_or_create(&folder.path().join(name)).unwrap();
        save(&image, &layout, None, None).await.unwrap();
        layout.path().to_owned()
    };
    publish(&image, &object("import_evil"), None).await;
    let evil = archived("evil").await;
    let good = object("import_good");
    let digest = publish_signed(&image, &good, &key).await;
    let one = archived("one").await;
    let second = SigningKey::generate().unwrap();
    sign(&image, &second, &BTreeMap::new(), None).await.unwrap();
    let store = Store::new(demand(&[&key]));
    store.pull(&image).await.unwrap();
    registry.stop();
    let before = store.kept();

    let imported = store.store.import(&evil, None).await.unwrap();
    assert!(matches!(&imported[0].outcome, ImportOutcome::Refused(why) if why.contains("not signed")));
    assert_eq!(store.kept(), before);
    let loaded = store.load(&image, FetchPolicy::Never).await.unwrap();
    assert_eq!((loaded.digest, &*loaded.bytes), (digest, good.bytes()));
    let imported = store.store.import(&one, None).await.unwrap();
    assert!(matches!(imported[0].outcome, ImportOutcome::Verified(_)), "{imported:?}");
    store.store.set_policy(demand(&[&second]));
    store.load(&image, FetchPolicy::Never).await.unwrap();
    assert_eq!(store.left_over(), 0);
}
