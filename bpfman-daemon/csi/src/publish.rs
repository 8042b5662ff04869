//! Publishing of volumes into pods.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use bpfmand_kernel::Mount;

use crate::named_maps::NamedMap;
use crate::undo::MountUndo;
use crate::volumes::{resolve, source};
use crate::{CsiError, DRIVER, MapSource, Publication, Volumes};

/// Folder of a volume that the pod sees. Not the whole bpffs: kernels with CONFIG_BPF_PRELOAD put lists of all maps and
/// programs of the machine into each bpffs (`maps.debug`, `progs.debug`), which cannot be removed.
const SHOWN: &str = "maps";
/// Mount point of the bpffs with the writable pins of a volume, which pods do not see.
const PINS: &str = "pins";
/// Mode of the folder of pins: only the pod's group may list it.
const FOLDER_MODE: u32 = 0o750;
const WRITABLE_MODE: u32 = 0o660;
const READABLE_MODE: u32 = 0o440;

enum VolumeComparison {
    Same,
    /// The names are equal, but the maps are of an earlier load.
    OtherMaps,
    /// The maps are equal, but published in the form of older daemons.
    OlderForm,
    Differs(String),
}

impl<M: MapSource> Volumes<M> {
    /// Publishes a volume at its target. An existing one with the same maps, group and read-only flag is kept; one with
    /// maps of an earlier load is rebuilt, so that a pod never starts with maps that no program uses.
    pub fn publish(&self, wanted: &Publication) -> Result<(), CsiError> {
        let _held = self.held.take(&wanted.volume)?;
        let target_error =
            |why: &str| CsiError::Target { target: wanted.target.clone(), why: why.to_owned() };
        let target = resolve(&wanted.target)?.ok_or_else(|| {
            target_error("the folder that it is to be in does not exist; the caller makes it")
        })?;
        let table = self.mounts.table()?;
        let there = self.mounts_at(&table, &wanted.volume, &target)?;
        let maps = self.maps.find(wanted.maps(), self.unexported)?;
        if let Some(mount) = there.last() {
            match self.compare(wanted, &target, (&table, mount), &maps)? {
                VolumeComparison::Same if wanted.read_only && !mount.read_only => {
                    // An earlier publish was killed before its last step.
                    return Ok(self.mounts.bind_read_only(&target)?);
                }
                VolumeComparison::Same => return Ok(()),
                VolumeComparison::OtherMaps => {
                    tracing::info!(volume = %wanted.volume, "maps are of an earlier load; the volume is made again");
                    self.leave_target(&table, &wanted.volume, &target)?;
                }
                VolumeComparison::OlderForm => {
                    tracing::info!(volume = %wanted.volume, "pins can be made in this volume; it is made again");
                    self.leave_target(&table, &wanted.volume, &target)?;
                }
                VolumeComparison::Differs(what) => {
                    return Err(CsiError::Differs { volume: wanted.volume.to_string(), target, what });
                }
            }
        }
        // The volume now has no target: a killed publish left it, or it was just unbound.
        self.remove_volume(&table, &wanted.volume)?;
        let mut undo = MountUndo::new(&*self.mounts);
        self.build(wanted, &maps, &mut undo)
            .and_then(|()| self.show(wanted, &target, &mut undo))
            .map_err(|cause| undo.because_of(cause))
    }

    fn compare(
        &self,
        wanted: &Publication,
        target: &Path,
        (table, mount): (&[Mount], &Mount),
        maps: &[NamedMap<M::Handle>],
    ) -> Result<VolumeComparison, CsiError> {
        let fail = |source| CsiError::Files { action: "look at", path: target.to_owned(), source };
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(target).map_err(fail)? {
            names.insert(entry.map_err(fail)?.file_name().to_string_lossy().into_owned());
        }
        // Skip the kernel's own files in volumes of v0.6.0: other names cannot contain a dot.
        names.retain(|name| !name.contains('.'));
        if names != wanted.maps.iter().cloned().collect() {
            let names: Vec<String> = names.into_iter().collect();
            return Ok(VolumeComparison::Differs(format!("with the maps {}", names.join(", "))));
        }
        let pin_bound = |other: &Mount| maps.iter().any(|map| other.point == target.join(&map.name));
        let has_bound_pins = table.iter().any(pin_bound);
        let is_writable = has_bound_pins || !mount.sealed;
        if is_writable == wanted.read_only {
            let how = if is_writable { "for writing" } else { "read-only" };
            return Ok(VolumeComparison::Differs(how.to_owned()));
        }
        let group = fs::metadata(target).map_err(fail)?.gid();
        if group != wanted.group {
            return Ok(VolumeComparison::Differs(format!("for group {group}")));
        }
        // An earlier daemon showed pods the folder of pins itself, where root in a container can add pins.
        if is_writable && !mount.sealed {
            return Ok(VolumeComparison::OlderForm);
        }
        for map in maps {
            if self.mounts.pinned_map(&target.join(&map.name))? != Some(map.id) {
                return Ok(VolumeComparison::OtherMaps);
            }
        }
        Ok(VolumeComparison::Same)
    }

    /// Builds the complete volume, where no pod sees it yet. In an unsealed bpffs, root in a container can pin any map
    /// of which it has a descriptor, and open the new pin for writing; container runtimes remount the pod's mount as
    /// writable. Therefore the writable pins are in a bpffs that pods do not see, each bound over the pin of the same
    /// map in a sealed one. The sealed one is a bpffs, too: older daemons recognise their volumes by type,
    /// and runtimes relabel files of other types.
    fn build(
        &self,
        wanted: &Publication,
        maps: &[NamedMap<M::Handle>],
        undo: &mut MountUndo<'_>,
    ) -> Result<(), CsiError> {
        let folder = self.folder_of(&wanted.volume);
        self.step("publish", "make the volume's folder");
        make_folder(&folder, 0o700)?;
        undo.made(&folder);
        self.step("publish", "mount the volume");
        self.mounts.mount_bpffs(&folder, &source(&wanted.volume))?;
        undo.mounted(&folder);
        let shown = folder.join(SHOWN);
        self.step("publish", "make the folder of pins");
        make_folder(&shown, 0o700)?;
        self.pin_all(wanted, maps, &shown, READABLE_MODE)?;
        if !wanted.read_only {
            let pins = folder.join(PINS);
            make_folder(&pins, 0o700)?;
            self.mounts.mount_bpffs(&pins, DRIVER)?;
            self.pin_all(wanted, maps, &pins, WRITABLE_MODE)?;
            for map in maps {
                self.step("publish", "bind a pin");
                self.mounts.bind(&pins.join(&map.name), &shown.join(&map.name))?;
            }
        }
        self.step("publish", "let the group in");
        self.mounts.set_access(&shown, wanted.group, FOLDER_MODE)?;
        self.step("publish", "seal the volume");
        Ok(self.mounts.seal(&folder)?)
    }

    fn pin_all(
        &self,
        wanted: &Publication,
        maps: &[NamedMap<M::Handle>],
        folder: &Path,
        mode: u32,
    ) -> Result<(), CsiError> {
        for map in maps {
            let pin = folder.join(&map.name);
            self.step("publish", "pin a map");
            self.maps.pin(map, &pin)?;
            self.mounts.set_access(&pin, wanted.group, mode)?;
        }
        Ok(())
    }

    fn show(&self, wanted: &Publication, target: &Path, undo: &mut MountUndo<'_>) -> Result<(), CsiError> {
        self.step("publish", "make the target");
        match fs::symlink_metadata(target) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => {
                let why = "something that is no folder is there".to_owned();
                return Err(CsiError::Target { target: target.to_owned(), why });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_folder(target, FOLDER_MODE)?;
                undo.made(target);
            }
            Err(source) => {
                return Err(CsiError::Files { action: "look at", path: target.to_owned(), source });
            }
        }
        self.step("publish", "bind the volume to the target");
        self.mounts.bind_tree(&self.folder_of(&wanted.volume).join(SHOWN), target)?;
        undo.mounted(target);
        if wanted.read_only {
            self.step("publish", "make the target read-only");
            self.mounts.bind_read_only(target)?;
        }
        Ok(())
    }
}

fn make_folder(path: &Path, mode: u32) -> Result<(), CsiError> {
    let made = fs::DirBuilder::new().mode(mode).create(path);
    made.map_err(|source| CsiError::Files { action: "create folder", path: path.to_owned(), source })
}
