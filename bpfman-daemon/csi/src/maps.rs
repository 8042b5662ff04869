//! Where maps come from.

use std::path::Path;

use bpfmand_engine::{Engine, EngineError};
use bpfmand_kernel::Kernel;

use crate::named_maps::{NamedMap, NamedMapsError, UnexportedMaps, WantedMaps, maps_by_name};

/// Finds maps of applications and pins them. The engine does, for the daemon.
pub trait MapSource: Send + Sync + 'static {
    /// Keeps a map alive.
    type Handle: Send;

    /// Holds maps of an application by their names, for a pod of a namespace: of its own namespace's application, or
    /// of one of no namespace that gives them out.
    ///
    /// # Errors
    /// It is not loaded, has no such map, or does not give it out.
    fn find(
        &self,
        wanted: WantedMaps<'_>,
        unexported: UnexportedMaps,
    ) -> Result<Vec<NamedMap<Self::Handle>>, NamedMapsError>;

    /// Pins a map at an absolute path.
    ///
    /// # Errors
    /// The kernel refuses.
    fn pin(&self, map: &NamedMap<Self::Handle>, path: &Path) -> Result<(), EngineError>;

    /// Programs can be loaded.
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
