//! Cleanup of volumes left by a killed daemon or an earlier boot.

use crate::{CsiError, MapSource, VolumeId, Volumes};

#[derive(Debug, Default)]
pub struct Recovered {
    /// Number of volumes in use by pods.
    pub kept: usize,
    pub removed: usize,
    /// Leftovers that could not be removed, with the reasons.
    pub problems: Vec<String>,
}

impl<M: MapSource> Volumes<M> {
    /// Removes volumes without a target, left by a killed publish or unpublish, and folders of an earlier boot's mounts.
    pub fn recover(&self) -> Result<Recovered, CsiError> {
        let fail = |source| CsiError::Files { action: "list", path: self.folder().to_owned(), source };
        let table = self.mounts.table()?;
        let mut recovered = Recovered::default();
        for entry in std::fs::read_dir(self.folder()).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name();
            let Some(volume) = name.to_str().and_then(|name| VolumeId::parse(name).ok()) else { continue };
            let folder = self.folder_of(&volume);
            let is_bound = table
                .iter()
                .filter(|mount| mount.point == folder)
                .any(|own| table.iter().any(|mount| mount.device == own.device && mount.point != folder));
            if is_bound {
                recovered.kept += 1;
                continue;
            }
            match self.remove_volume(&table, &volume) {
                Ok(()) => recovered.removed += 1,
                Err(error) => recovered.problems.push(error.to_string()),
            }
        }
        Ok(recovered)
    }
}
