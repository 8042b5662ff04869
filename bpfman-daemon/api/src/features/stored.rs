//! Probe results of this boot, stored for later daemons.

use std::path::{Path, PathBuf};

use bpfman_proto::ext::v1 as wire;
use prost::Message as _;

/// File that is valid for one boot and one version of the daemon. Support does not change while a kernel runs.
pub struct Kept {
    path: PathBuf,
    seal: String,
}

impl Kept {
    pub fn new(folder: &Path, boot: &str) -> Self {
        let seal = format!("{boot} {}\n", env!("CARGO_PKG_VERSION"));
        Self { path: folder.join("features"), seal }
    }

    pub fn read(&self) -> Option<Vec<wire::Feature>> {
        let bytes = std::fs::read(&self.path).ok()?;
        let message = bytes.strip_prefix(self.seal.as_bytes())?;
        let kept = wire::FeaturesResponse::decode(message).ok()?;
        (!kept.features.is_empty()).then_some(kept.features)
    }

    /// Stores the results. If that fails, the next daemon probes again.
    pub fn write(&self, features: &[wire::Feature]) {
        let kept = wire::FeaturesResponse { features: features.to_vec(), ..Default::default() };
        let bytes = [self.seal.as_bytes(), &kept.encode_to_vec()].concat();
        let beside = self.path.with_extension("new");
        let written = std::fs::write(&beside, bytes).and_then(|()| std::fs::rename(&beside, &self.path));
        if let Err(error) = written {
            tracing::debug!(%error, path = %self.path.display(), "what the kernel has is not kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_features_apply_to_one_boot() {
        let folder = tempfile::tempdir().unwrap();
        let found = vec![wire::Feature { name: "xdp".to_owned(), ..Default::default() }];
        let kept = Kept::new(folder.path(), "boot-1");
        assert_eq!(kept.read(), None);
        kept.write(&found);
        assert_eq!(kept.read(), Some(found));
        assert_eq!(Kept::new(folder.path(), "boot-2").read(), None);
        std::fs::write(folder.path().join("features"), format!("{}\u{7f}", kept.seal)).unwrap();
        assert_eq!(kept.read(), None, "a damaged file is none");
    }
}
