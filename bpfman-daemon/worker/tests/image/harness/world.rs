use bpfman_image_format::{Digest, ImageReference, media, referrers_tag, signature_tag};
use bpfmand_image::{ImageError, Policy, VerifiedBy};
use serde_json::{Value, json};

use super::authority::Authority;
use super::hostile::Hostile;
use super::keyless::Making;
use super::log::{Log, trusted_root};
use super::{Store, object, policy};

pub struct World {
    pub hostile: Hostile,
    pub image: ImageReference,
    pub digest: Digest,
    pub authority: Authority,
    pub log: Log,
    pub folder: tempfile::TempDir,
}

pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

impl World {
    pub fn new(salt: &str) -> Self {
        let hostile = Hostile::start();
        let (_, digest) = hostile.image_of(object(salt).bytes());
        let image = hostile.image("a:latest");
        let folder = tempfile::tempdir().unwrap();
        Self { hostile, image, digest, authority: Authority::new("test"), log: Log::new(), folder }
    }

    pub fn making(&self) -> Making<'_> {
        Making::new(&self.authority, &self.log)
    }

    pub fn policy(&self, rule: &str) -> Policy {
        self.policy_with(&[], rule)
    }

    pub fn policy_with(&self, timestampers: &[Value], rule: &str) -> Policy {
        let mut trusted: Value = serde_json::from_str(&trusted_root(&self.authority, &self.log)).unwrap();
        trusted["timestampAuthorities"] = timestampers.into();
        let root = self.folder.path().join("trusted_root.json");
        std::fs::write(&root, trusted.to_string()).unwrap();
        policy(&format!("trusted_root = \"{}\"\n[[images]]\npattern = \"*\"\n{rule}\n", root.display()))
    }

    pub fn trusting(&self, issuer: &str, subject: &str) -> Policy {
        self.policy(&format!("identities = [{{ issuer = \"{issuer}\", subject = \"{subject}\" }}]"))
    }

    pub fn refer(&self, bundles: &[Value]) {
        let entries: Vec<Value> = bundles.iter().map(|bundle| self.referrer(bundle, self.digest)).collect();
        let index = json!({ "schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": entries });
        self.hostile.manifest(&referrers_tag(self.digest), &index);
    }

    pub fn referrer(&self, bundle: &Value, subject: Digest) -> Value {
        let empty = self.hostile.blob("application/vnd.oci.empty.v1+json", b"{}");
        let layer = self.hostile.blob(BUNDLE, bundle.to_string().as_bytes());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": BUNDLE,
            "config": empty, "layers": [layer],
            "subject": { "mediaType": media::OCI_MANIFEST, "digest": subject, "size": 1 },
        });
        let digest = self.hostile.manifest("referrer", &manifest);
        json!({
            "mediaType": media::OCI_MANIFEST, "digest": digest, "size": manifest.to_string().len(),
            "artifactType": "application/vnd.oci.empty.v1+json",
        })
    }

    pub fn refer_simple(&self, payload: &[u8], annotations: &[(&str, String)], subject: Digest) {
        let mut layer = self.hostile.blob(media::SIMPLE_SIGNING, payload);
        for (name, value) in annotations {
            layer.annotations.insert((*name).to_owned(), value.clone());
        }
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": media::SIMPLE_SIGNING,
            "config": self.hostile.blob("application/vnd.oci.empty.v1+json", b"{}"), "layers": [layer],
            "subject": { "mediaType": media::OCI_MANIFEST, "digest": subject, "size": 1 },
        });
        let digest = self.hostile.manifest("referrer", &manifest);
        let entry = json!({
            "mediaType": media::OCI_MANIFEST, "digest": digest, "size": manifest.to_string().len(),
        });
        let index = json!({ "schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": [entry] });
        self.hostile.manifest(&referrers_tag(self.digest), &index);
    }

    pub fn tag(&self, payload: &[u8], annotations: &[(&str, String)]) {
        let mut layer = self.hostile.blob(media::SIMPLE_SIGNING, payload);
        for (name, value) in annotations {
            layer.annotations.insert((*name).to_owned(), value.clone());
        }
        self.hostile.manifest(&signature_tag(self.digest), &json!({ "schemaVersion": 2, "layers": [layer] }));
    }

    pub async fn load(&self, policy: Policy) -> Result<VerifiedBy, ImageError> {
        Store::new(policy).pull(&self.image).await.map(|loaded| loaded.verified_by)
    }

    pub async fn refused(&self, policy: Policy) -> String {
        match self.load(policy).await.unwrap_err() {
            ImageError::Untrusted { why, .. } => why.to_string(),
            other => panic!("{other}"),
        }
    }
}
