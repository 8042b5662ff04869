//! Opening of a loaded program's maps by their pins.

use std::io::{Error as IoError, ErrorKind};
use std::path::Path;

use anyhow::{Error, Result};
use aya::maps::{Map, MapData, MapError};

use crate::failure::Failure;

/// Opens the map pinned as `<map_dir>/<name>`; fails if it has another type or other sizes than expected.
pub fn open_map<M>(map_dir: &Path, name: &str) -> Result<M>
where
    M: TryFrom<Map, Error = MapError>,
{
    let path = map_dir.join(name);
    let data = MapData::from_pin(&path).map_err(|error| refused(&path, error.into()))?;
    let map = Map::from_map_data(data).and_then(M::try_from);
    map.map_err(|error| unusable(&format!("the map {}", path.display()), error))
}

fn refused(path: &Path, error: Error) -> Error {
    let system = error.chain().find_map(|cause| cause.downcast_ref::<IoError>()).map(IoError::kind);
    let what = format!("cannot open the pinned map {}", path.display());
    match system {
        Some(ErrorKind::NotFound) => Failure::not_found(
            format!("{what}: there is none"),
            "`bpfman get program ID` prints the map folder",
        )
        .into(),
        Some(ErrorKind::PermissionDenied) => {
            let hint = "pins are root's alone: with --program or --app the daemon hands maps over";
            Failure::denied(format!("{what}: permission denied"), hint).into()
        }
        _ => error.context(what),
    }
}

/// Returns the error for a map that is open but has the wrong type or cannot be used.
pub fn unusable(map: &str, error: MapError) -> Error {
    use MapError::{InvalidKeySize, InvalidMapType, InvalidValueSize};
    match error {
        InvalidMapType { .. } | InvalidKeySize { .. } | InvalidValueSize { .. } => {
            let hint = "name a program, or an application, of this entry of the gallery";
            Failure::invalid(format!("{map} is not this example's: {error}"), hint).into()
        }
        error => Error::from(error).context(format!("cannot use {map}")),
    }
}
