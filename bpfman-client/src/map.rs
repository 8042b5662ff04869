//! Maps received from the daemon.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bpfman_proto::ext::v1 as ext;

#[cfg(feature = "aya")]
use crate::Error;

/// Map held by a descriptor of this process. It stays usable after its program is unloaded, replaced or detached, and
/// after the grant that allowed it is removed. Entries that no program writes any more keep their values.
///
/// For a map opened for reading, the kernel refuses to write (`EPERM`) and to map it into memory. The reader of a ring
/// buffer removes records, so it needs a map opened for writing.
#[derive(Debug)]
pub struct MapFile {
    description: ext::Map,
    descriptor: OwnedFd,
}

impl MapFile {
    pub(crate) const fn new(description: ext::Map, descriptor: OwnedFd) -> Self {
        Self { description, descriptor }
    }

    /// Returns id, name, type and sizes.
    #[must_use]
    pub const fn description(&self) -> &ext::Map {
        &self.description
    }

    /// Returns the descriptor. It is closed on exec.
    #[must_use]
    pub fn into_descriptor(self) -> OwnedFd {
        self.descriptor
    }

    /// Returns the map as one of aya's types, with its keys and values.
    ///
    /// ```no_run
    /// use bpfman_client::aya::maps::{HashMap, MapData};
    /// use bpfman_client::{Client, MapAccess};
    ///
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let program = Client::connect().await?.program(42).await?;
    /// let blocked: HashMap<MapData, [u8; 4], u64> = program.open_map("blocked", MapAccess::Read).await?.typed()?;
    /// for entry in blocked.iter() {
    ///     let (address, packets) = entry?;
    ///     println!("{address:?} {packets}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Map`]: the map is of another type or has other sizes. Before Linux 5.19 the kernel refuses bpf(2) to a
    /// process without CAP_BPF, unless `kernel.unprivileged_bpf_disabled` is 0.
    #[cfg(feature = "aya")]
    pub fn typed<M>(self) -> Result<M, Error>
    where
        M: TryFrom<aya::maps::Map, Error = aya::maps::MapError>,
    {
        let name = self.description.name;
        let data = aya::maps::MapData::from_fd(self.descriptor);
        let map = data.and_then(aya::maps::Map::from_map_data).and_then(M::try_from);
        map.map_err(|source| Error::Map { map: name, source: Box::new(source) })
    }

    /// Pins the map in a bpffs. The kernel checks only this process's permissions on the folder (Linux 5.19).
    /// The map exists as long as the pin. Open the map for writing, because every user who may open the pin
    /// may write to it.
    ///
    /// # Errors
    /// [`Error::Pin`]: the path exists, the folder is not in a bpffs or not writable by this user, or the kernel
    /// refuses.
    #[cfg(feature = "aya")]
    pub fn pin(&self, path: impl AsRef<std::path::Path>) -> Result<(), Error> {
        let (path, map) = (path.as_ref(), self.description.name.clone());
        let failed = |source| Error::Pin { map: map.clone(), path: path.to_path_buf(), source };
        let descriptor = self.descriptor.try_clone().map_err(failed)?;
        let data = aya::maps::MapData::from_fd(descriptor)
            .map_err(|source| Error::Map { map: map.clone(), source: Box::new(source) })?;
        data.pin(path).map_err(|error| match error {
            aya::pin::PinError::SyscallError(call) => failed(call.io_error),
            other => failed(std::io::Error::other(other)),
        })
    }

    /// Returns the records of a ring buffer as a stream. The map has to be open for writing.
    ///
    /// ```no_run
    /// # use bpfman_client::{Client, MapAccess};
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let program = Client::connect().await?.program(42).await?;
    /// let mut events = program.open_map("events", MapAccess::Write).await?.ring()?;
    /// loop {
    ///     let record = events.next().await?;
    ///     println!("{} bytes", record.len());
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Map`]: the map is no ring buffer, or is open for reading. [`Error::Ring`]: there is no runtime with
    /// I/O.
    #[cfg(feature = "aya")]
    pub fn ring(self) -> Result<crate::RingReader, Error> {
        let name = self.description.name.clone();
        let ring = self.typed()?;
        crate::RingReader::new(ring).map_err(|source| Error::Ring { map: name, source })
    }

    /// Returns the records of a perf event array as one stream per CPU. The map has to be open for writing. This process
    /// needs CAP_PERFMON, because it allocates the buffers: `pages` pages each, a power of two. After all readers are
    /// dropped, nothing is recorded.
    ///
    /// # Errors
    /// [`Error::Map`]: the map is no perf event array, or is open for reading. [`Error::Perf`]: the kernel creates no
    /// buffer, or there is no runtime with I/O.
    #[cfg(feature = "aya")]
    pub fn perf_buffers(self, pages: usize) -> Result<Vec<crate::PerfReader>, Error> {
        let name = self.description.name.clone();
        let mut array = self.typed()?;
        crate::PerfReader::of_all_cpus(&mut array, pages).map_err(|source| Error::Perf { map: name, source })
    }
}

impl AsFd for MapFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
