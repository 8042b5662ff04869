//! Opening the maps of a loaded program by their pins.

use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::{Map, MapData, MapError};

/// Opens the map pinned as `<map_dir>/<name>` as one of aya's map types.
///
/// # Errors
/// When there is no such pin, when it may not be opened, or when the map there is of another type or has other
/// sizes than the example's own; each names the path.
pub fn open_map<M>(map_dir: &Path, name: &str) -> Result<M>
where
    M: TryFrom<Map, Error = MapError>,
{
    let path = map_dir.join(name);
    let data = MapData::from_pin(&path).with_context(|| {
        format!(
            "cannot open the pinned map {} (`bpfman get program ID` prints the map folder)",
            path.display()
        )
    })?;
    let map = Map::from_map_data(data).and_then(M::try_from);
    map.with_context(|| format!("the map {} is not this example's", path.display()))
}
