use std::path::Path;

use bpfmand_engine::{Engine, EngineError};
use bpfmand_kernel::Kernel;

use crate::named_maps::{NamedMap, NamedMapsError, UnexportedMaps, WantedMaps, maps_by_name};

/// Source of the maps of applications. In the daemon, the engine.
pub trait MapSource: Send + Sync + 'static {
    /// Handle that keeps a map alive.
    type Handle: Send;

    /// Opens maps of an application by name, for a pod in a namespace: of an application in that namespace, or of an
    /// exporting one without a namespace. Fails if the application is not loaded, has no such map, or does not export
    /// it.
    fn find(
        &self,
        wanted: WantedMaps<'_>,
        unexported: UnexportedMaps,
    ) -> Result<Vec<NamedMap<Self::Handle>>, NamedMapsError>;

    /// Pins a map at an absolute path. Fails if the kernel refuses.
    fn pin(&self, map: &NamedMap<Self::Handle>, path: &Path) -> Result<(), EngineError>;

    /// Returns whether programs can be loaded.
    fn is_ready(&self) -> bool;
}

impl<K: Kernel> MapSource for Engine<K> {
    type Handle = K::Handle;

    fn find(
        &self,
        wanted: WantedMaps<'_>,
        unexported: UnexportedMaps,
    ) -> Result<Vec<NamedMap<K::Handle>>, NamedMapsError> {
        maps_by_name(self, wanted, unexported)
    }

    fn pin(&self, map: &NamedMap<K::Handle>, path: &Path) -> Result<(), EngineError> {
        Ok(self.kernel().pin(&map.handle, path)?)
    }

    fn is_ready(&self) -> bool {
        self.takes_changes()
    }
}
