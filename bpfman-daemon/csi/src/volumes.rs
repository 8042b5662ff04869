//! Volumes of this node: their locations, and the ownership of mounts.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bpfmand_engine::{NoObserver, StepObserver};
use bpfmand_kernel::{Mount, Mounts};

use crate::held::HeldVolumes;
use crate::{CsiError, DRIVER, MapSource, UnexportedMaps, VolumeId};

/// Mode of the folder of volumes: root only; pods see them at their targets.
const FOLDER_MODE: u32 = 0o700;

/// Volumes of this node. All methods are thread-safe, and block.
pub struct Volumes<M: MapSource> {
    pub(crate) maps: Arc<M>,
    pub(crate) mounts: Arc<dyn Mounts>,
    pub(crate) held: HeldVolumes,
    pub(crate) unexported: UnexportedMaps,
    observer: Arc<dyn StepObserver>,
    folder: PathBuf,
}

impl<M: MapSource> Volumes<M> {
    /// Opens the volumes below a folder, which is created if it is missing.
    pub fn open(folder: &Path, maps: Arc<M>, mounts: Arc<dyn Mounts>) -> Result<Self, CsiError> {
        let fail = |action, source| CsiError::Files { action, path: folder.to_owned(), source };
        // The parent folder also contains the socket.
        let above = folder.parent().map_or(Ok(()), fs::create_dir_all);
        let made =
            above.and_then(|()| fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder));
        made.map_err(|source| fail("create folder", source))?;
        // The mount table has paths without symbolic links.
        let folder = folder.canonicalize().map_err(|source| fail("find", source))?;
        let (held, unexported) = (HeldVolumes::default(), UnexportedMaps::default());
        Ok(Self { maps, mounts, held, unexported, observer: Arc::new(NoObserver), folder })
    }

    /// Sets the default for applications without exports.
    #[must_use]
    pub fn with_unexported(self, unexported: UnexportedMaps) -> Self {
        Self { unexported, ..self }
    }

    /// Sets an observer of every step.
    #[must_use]
    pub fn with_observer(self, observer: Arc<dyn StepObserver>) -> Self {
        Self { observer, ..self }
    }

    pub(crate) fn step(&self, operation: &'static str, step: &'static str) {
        self.observer.before(operation, step);
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn folder_of(&self, volume: &VolumeId) -> PathBuf {
        self.folder.join(volume.as_str())
    }

    /// Returns the mounts of a volume at its target or folder; an error if there is a mount of another kind.
    pub(crate) fn mounts_at<'t>(
        &self,
        table: &'t [Mount],
        volume: &VolumeId,
        at: &Path,
    ) -> Result<Vec<&'t Mount>, CsiError> {
        let folder = self.folder_of(volume);
        let source = source(volume);
        let is_ours = |mount: &Mount| {
            let same_device = |own: &Mount| own.point == folder && own.device == mount.device;
            // Compare devices: v0.6.0 did not set a mount source.
            mount.file_system == "bpf" && (mount.source == source || table.iter().any(same_device))
        };
        let here: Vec<&Mount> = table.iter().filter(|mount| mount.point == at).collect();
        match here.iter().find(|mount| !is_ours(mount)) {
            None => Ok(here),
            Some(foreign) => Err(CsiError::Foreign {
                volume: volume.to_string(),
                target: at.to_owned(),
                file_system: foreign.file_system.clone(),
                source_name: foreign.source.clone(),
            }),
        }
    }
}

pub fn source(volume: &VolumeId) -> String {
    format!("{DRIVER}/{volume}")
}

/// Returns a target as in the mount table, without symbolic links in its parent; `None` without a parent.
pub fn resolve(target: &Path) -> Result<Option<PathBuf>, CsiError> {
    let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
        return Err(CsiError::Target { target: target.to_owned(), why: "it names no folder".to_owned() });
    };
    match parent.canonicalize() {
        Ok(parent) => Ok(Some(parent.join(name))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CsiError::Files { action: "find", path: parent.to_owned(), source }),
    }
}
