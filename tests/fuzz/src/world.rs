//! Engine of a daemon on a simulated kernel, with an object file to load.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bpfman_model::{BytecodeSource, LoadRequest, NetnsId, ProgramRequest, ProgramType};
use bpfmand_engine::{Engine, EngineError, EngineOptions, ReadObjects, SCHEMA};
use bpfmand_kernel::sim::{SimKernel, SimOptions};
use bpfmand_store::{Store, StoreOptions};
use tempfile::TempDir;

use crate::programs::programs;

pub const INTERFACE: &str = "eth0";
pub const PROGRAM: &str = "pass";

pub fn object() -> PathBuf {
    programs().object.clone()
}

pub struct World {
    pub kernel: Arc<SimKernel>,
    pub folder: TempDir,
}

impl World {
    pub fn new() -> Self {
        // The engine reads its own namespace from the real system.
        let inode = std::fs::metadata("/proc/self/ns/net").expect("procfs").ino();
        let own_namespace = NetnsId { inode, cookie: 1 };
        let kernel = Arc::new(SimKernel::new(SimOptions { own_namespace, ..SimOptions::default() }));
        kernel.add_interface(None, INTERFACE);
        kernel.switch_interface(None, INTERFACE, true);
        Self { kernel, folder: folder() }
    }

    pub fn store(&self) -> Store {
        Store::open(StoreOptions::new(self.folder.path().join("store"), SCHEMA)).expect("a new folder")
    }

    pub fn engine(&self, store: Store) -> Result<Engine<SimKernel>, EngineError> {
        self.engine_with(store, None)
    }

    pub fn engine_with(
        &self,
        store: Store,
        objects: Option<Arc<dyn ReadObjects>>,
    ) -> Result<Engine<SimKernel>, EngineError> {
        let mut options = EngineOptions::new(self.folder.path().join("bytecode"), store);
        options.libxdp_pins = Path::new("/nonexistent").to_owned();
        if let Some(objects) = objects {
            options.objects = objects;
        }
        let engine = Engine::open(Arc::clone(&self.kernel), options)?;
        engine.recover()?;
        Ok(engine)
    }
}

pub fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder")
}

pub fn load_request() -> LoadRequest {
    let program = ProgramRequest { name: PROGRAM.to_owned(), program_type: ProgramType::Xdp, target: None };
    LoadRequest::new(BytecodeSource::File(object()), vec![program])
}
