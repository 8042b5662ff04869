#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod authority;
pub mod bare_registry;
pub mod der;
pub mod docker_registry;
pub mod hostile;
pub mod keyless;
pub mod log;
pub mod services;
pub mod timestamp;
pub mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use bpfman_image_format::{
    BytecodeFile, Credential, Digest, ImageReference, OciLayout, Platform, PlatformInputs, SourceDate,
};
use bpfman_registry::{SigningKey, push, sign};
use bpfman_worker::WorkerThreads;
use bpfmand_image::{
    Caller, FetchPolicy, ImageError, ImageRequest, ImageStore, LegacySigning, Limits, Policy, PolicyFile,
    VerifiedImage,
};

pub fn object(salt: &str) -> BytecodeFile {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().unwrap()).path();
    let (source, path) = (folder.join(format!("{salt}.c")), folder.join(format!("{salt}.o")));
    let text = format!(
        "__attribute__((section(\"xdp\"), used)) int pass_{salt}(void *c) {{ return 2; }}\n\
         char _license[] __attribute__((section(\"license\"), used)) = \"GPL\";\n"
    );
    std::fs::write(&source, text).unwrap();
    let status = Command::new("clang")
        .args(["-target", "bpf", "-g", "-O2", "-c", "-o"])
        .arg(&path)
        .arg(&source)
        .status();
    assert!(status.expect("clang is installed").success());
    BytecodeFile::parse("prog.o", std::fs::read(path).unwrap()).unwrap()
}

pub fn layout(folder: &Path, name: &str, object: &BytecodeFile) -> (OciLayout, Digest) {
    let inputs = PlatformInputs::one(Platform::host().unwrap(), object.clone()).unwrap();
    let image = inputs.build(SourceDate::default()).unwrap();
    let layout = OciLayout::open_or_create(&folder.join("layout")).unwrap();
    image.write(&layout, name).unwrap();
    (layout, image.digest())
}

pub async fn publish(
    image: &ImageReference,
    object: &BytecodeFile,
    credential: Option<&Credential>,
) -> Digest {
    let folder = tempfile::tempdir().unwrap();
    let (layout, digest) = layout(folder.path(), "image", object);
    assert_eq!(push(&layout, "image", image, credential, None).await.unwrap(), digest);
    digest
}

pub async fn publish_signed(image: &ImageReference, object: &BytecodeFile, key: &SigningKey) -> Digest {
    let digest = publish(image, object, None).await;
    assert_eq!(sign(image, key, &BTreeMap::new(), None).await.unwrap().digest, digest);
    digest
}

pub fn demand(keys: &[&SigningKey]) -> Policy {
    let keys: Vec<String> =
        keys.iter().map(|key| format!("'''{}'''", key.public_key().unwrap().to_pem())).collect();
    policy(&format!("[[images]]\npattern = \"*\"\nkeys = [{}]\n", keys.join(", ")))
}

pub fn policy(text: &str) -> Policy {
    let file = PolicyFile::parse(text, &mut |path| std::fs::read_to_string(path)).unwrap();
    Policy::resolve(Some(file), LegacySigning::default())
}

pub fn unsigned() -> Policy {
    policy("[[images]]\npattern = \"*\"\nunsigned = true\n")
}

pub struct Store {
    pub folder: tempfile::TempDir,
    pub store: ImageStore,
}

impl Store {
    pub fn new(policy: Policy) -> Self {
        Self::with_limits(policy, Limits::default())
    }

    pub fn with_limits(policy: Policy, limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store =
            ImageStore::with_limits(folder.path().join("images"), policy, Arc::new(WorkerThreads), limits);
        Self { folder, store }
    }

    pub fn restarted(self, policy: Policy) -> Self {
        let store = ImageStore::new(self.folder.path().join("images"), policy, Arc::new(WorkerThreads));
        Self { folder: self.folder, store }
    }

    pub async fn load(
        &self,
        image: &ImageReference,
        pull_policy: FetchPolicy,
    ) -> Result<VerifiedImage, ImageError> {
        let request =
            ImageRequest { image: image.clone(), pull_policy, credential: None, caller: Caller::Other };
        self.store.load(&request, None).await
    }

    pub async fn pull(&self, image: &ImageReference) -> Result<VerifiedImage, ImageError> {
        self.load(image, FetchPolicy::IfNotPresent).await
    }

    pub fn blobs(&self) -> PathBuf {
        self.folder.path().join("images/sha256")
    }

    pub fn kept(&self) -> Vec<String> {
        let root = self.folder.path().join("images");
        let mut found = Vec::new();
        for folder in ["sha256", "signatures", "tags", "images", "access", "floors", "tmp"] {
            for entry in std::fs::read_dir(root.join(folder)).into_iter().flatten() {
                found.push(format!("{folder}/{}", entry.unwrap().file_name().display()));
            }
        }
        found
    }

    pub fn left_over(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("images/tmp")).map(|entries| entries.count()).unwrap_or(0)
    }
}
