//! Each kernel call fails once, on real mounts of a real bpffs: no trace of the volume remains.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bpfman_model::{MapId, MapSpec};
use bpfmand_csi::{
    CsiError, MapSource, NamedMap, NamedMapsError, Publication, UnexportedMaps, VolumeId, Volumes, WantedMaps,
};
use bpfmand_engine::EngineError;
use bpfmand_kernel::linux::{LinuxKernel, LinuxMounts};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::{KernelError, Mount, Mounts};
use tempfile::TempDir;

struct Failing {
    kernel: LinuxKernel,
    fail_at: AtomicUsize,
    undoing_fails: AtomicBool,
}

const NEVER: usize = usize::MAX;

impl Failing {
    fn call(&self) -> Result<(), KernelError> {
        let left = self.fail_at.load(Ordering::SeqCst);
        if left != NEVER {
            self.fail_at.store(left.wrapping_sub(1), Ordering::SeqCst);
        }
        if left == 0 { Err(refused("try")) } else { Ok(()) }
    }
}

fn refused(action: &'static str) -> KernelError {
    KernelError::Call { action, subject: "it".to_owned(), source: io::Error::other("told to fail") }
}

impl Mounts for Failing {
    fn table(&self) -> Result<Vec<Mount>, KernelError> {
        LinuxMounts.table()
    }
    fn mount_bpffs(&self, at: &Path, source: &str) -> Result<(), KernelError> {
        self.call().and_then(|()| LinuxMounts.mount_bpffs(at, source))
    }
    fn set_access(&self, path: &Path, group: u32, mode: u32) -> Result<(), KernelError> {
        self.call().and_then(|()| LinuxMounts.set_access(path, group, mode))
    }
    fn seal(&self, at: &Path) -> Result<(), KernelError> {
        self.call().and_then(|()| LinuxMounts.seal(at))
    }
    fn bind(&self, from: &Path, to: &Path) -> Result<(), KernelError> {
        self.call().and_then(|()| LinuxMounts.bind(from, to))
    }
    fn bind_tree(&self, from: &Path, to: &Path) -> Result<(), KernelError> {
        self.call().and_then(|()| LinuxMounts.bind_tree(from, to))
    }
    fn bind_read_only(&self, at: &Path) -> Result<(), KernelError> {
        self.call().and_then(|()| LinuxMounts.bind_read_only(at))
    }
    fn unmount(&self, at: &Path) -> Result<(), KernelError> {
        if self.undoing_fails.load(Ordering::SeqCst) {
            return Err(refused("unmount"));
        }
        LinuxMounts.unmount(at)
    }
    fn pinned_map(&self, path: &Path) -> Result<Option<MapId>, KernelError> {
        LinuxMounts.pinned_map(path)
    }
}

impl MapSource for Failing {
    type Handle = OwnedFd;

    fn find(
        &self,
        wanted: WantedMaps<'_>,
        _: UnexportedMaps,
    ) -> Result<Vec<NamedMap<OwnedFd>>, NamedMapsError> {
        let spec = MapSpec::sized("counts", 2, 4, 8, 1);
        let make = |name: &String| {
            let handle = self.kernel.create_map(&spec, None).map_err(EngineError::from)?;
            let id = self.kernel.map_of(&handle).map_err(EngineError::from)?.id;
            Ok(NamedMap { name: name.clone(), id, handle })
        };
        wanted.names.iter().map(make).collect()
    }
    fn pin(&self, map: &NamedMap<OwnedFd>, path: &Path) -> Result<(), EngineError> {
        self.call()?;
        Ok(self.kernel.pin(&map.handle, path)?)
    }
    fn is_ready(&self) -> bool {
        true
    }
}

struct Machine {
    folder: TempDir,
    failing: Arc<Failing>,
    volumes: Volumes<Failing>,
    wanted: Publication,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kernel = LinuxKernel::new(&folder.path().join("bpffs")).unwrap();
        let failing = Arc::new(Failing {
            kernel,
            fail_at: AtomicUsize::new(NEVER),
            undoing_fails: AtomicBool::new(false),
        });
        let mounts = Arc::clone(&failing) as Arc<dyn Mounts>;
        let volumes = Volumes::open(&folder.path().join("fs"), Arc::clone(&failing), mounts).unwrap();
        std::fs::create_dir(folder.path().join("pod")).unwrap();
        let wanted = Publication {
            volume: VolumeId::parse(&format!("undo-{}", std::process::id())).unwrap(),
            target: folder.path().canonicalize().unwrap().join("pod/mount"),
            program: "counter".to_owned(),
            namespace: None,
            maps: vec!["a".to_owned(), "b".to_owned()],
            read_only: true,
            group: 42,
        };
        Self { folder, failing, volumes, wanted }
    }

    fn publish_failing_at(&self, call: usize) -> Result<(), CsiError> {
        self.failing.fail_at.store(call, Ordering::SeqCst);
        let result = self.volumes.publish(&self.wanted);
        self.failing.fail_at.store(NEVER, Ordering::SeqCst);
        result
    }

    fn mounts(&self) -> Vec<PathBuf> {
        let folder = self.folder.path().canonicalize().unwrap();
        let bpffs = folder.join("bpffs");
        let points = LinuxMounts.table().unwrap().into_iter().map(|mount| mount.point);
        points.filter(|point| point.starts_with(&folder) && *point != bpffs).collect()
    }

    fn assert_nothing_is_left(&self) {
        assert_eq!(self.mounts(), [""; 0].map(PathBuf::from));
        assert_eq!(std::fs::read_dir(self.folder.path().join("fs")).unwrap().count(), 0);
        assert!(!self.wanted.target.exists());
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for point in self.mounts().into_iter().chain([self.folder.path().join("bpffs")]) {
            let _not_mounted = LinuxMounts.unmount(&point);
        }
    }
}

#[test]
fn a_publish_that_fails_at_any_step_is_undone() {
    // Calls: mount, pin and chmod of two maps, chmod of the folder, seal, bind, read-only bind.
    fails_at_any_step(true, 9, 2);
}

#[test]
fn writable_publish_that_fails_at_any_step_is_undone() {
    // Calls: mount, pin and chmod of two maps, all twice; two binds, chmod of the folder, seal, bind. Both trees have the binds.
    fails_at_any_step(false, 15, 7);
}

fn fails_at_any_step(read_only: bool, all_calls: usize, mounts: usize) {
    let mut machine = Machine::new();
    machine.wanted.read_only = read_only;
    let mut calls = 0;
    while let Err(error) = machine.publish_failing_at(calls) {
        assert_eq!(error.code(), tonic::Code::Internal);
        assert!(error.to_string().contains("told to fail"), "{error}");
        assert!(!error.to_string().contains("undoing"), "{error}");
        machine.assert_nothing_is_left();
        calls += 1;
    }
    assert_eq!(calls, all_calls);
    assert_eq!(machine.mounts().len(), mounts);
    machine.volumes.unpublish(&machine.wanted.volume, &machine.wanted.target).unwrap();
    machine.assert_nothing_is_left();
}

#[test]
fn failed_undo_is_reported_and_repeated_by_next_call() {
    let machine = Machine::new();
    machine.failing.undoing_fails.store(true, Ordering::SeqCst);
    let error = machine.publish_failing_at(7).unwrap_err().to_string();
    for text in ["cannot try it", "undoing it failed", "cannot unmount it"] {
        assert!(error.contains(text), "{error}");
    }
    assert_eq!(machine.mounts().len(), 1);
    machine.failing.undoing_fails.store(false, Ordering::SeqCst);
    machine.volumes.publish(&machine.wanted).unwrap();
    assert_eq!(machine.mounts().len(), 2);
    machine.volumes.unpublish(&machine.wanted.volume, &machine.wanted.target).unwrap();
    machine.assert_nothing_is_left();
}
