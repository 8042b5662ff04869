//! Removal of volumes, for the kubelet or because they are outdated.

use std::fs;
use std::io;
use std::path::Path;

use bpfmand_kernel::Mount;

use crate::volumes::resolve;
use crate::{CsiError, MapSource, VolumeId, Volumes};

impl<M: MapSource> Volumes<M> {
    /// Removes a volume from its target, and its folders. A missing volume is no error.
    pub fn unpublish(&self, volume: &VolumeId, target: &Path) -> Result<(), CsiError> {
        let _held = self.held.take(volume)?;
        let table = self.mounts.table()?;
        if let Some(target) = resolve(target)? {
            self.leave_target(&table, volume, &target)?;
            self.step("unpublish", "remove the target");
            remove_folder(&target)?;
        }
        self.remove_volume(&table, volume)
    }

    pub(crate) fn leave_target(
        &self,
        table: &[Mount],
        volume: &VolumeId,
        target: &Path,
    ) -> Result<(), CsiError> {
        for _mount in self.mounts_at(table, volume, target)? {
            self.step("unpublish", "unmount the target");
            self.mounts.unmount(target)?;
        }
        Ok(())
    }

    pub(crate) fn remove_volume(&self, table: &[Mount], volume: &VolumeId) -> Result<(), CsiError> {
        let folder = self.folder_of(volume);
        for _mount in self.mounts_at(table, volume, &folder)? {
            self.step("unpublish", "unmount the volume");
            self.mounts.unmount(&folder)?;
        }
        self.step("unpublish", "remove the volume's folder");
        remove_folder(&folder)
    }
}

fn remove_folder(folder: &Path) -> Result<(), CsiError> {
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done.map_err(|source| CsiError::Files {
            action: "remove folder",
            path: folder.to_owned(),
            source,
        }),
    }
}
