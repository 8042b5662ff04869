//! Where an example gets its maps: from the daemon, or by their pins.

use std::path::PathBuf;

use anyhow::{Context, Result};
use aya::maps::{Map, MapError};
use bpfman_client::{Client, Error, MapAccess};
use clap::Args;

use crate::pinned;

/// Whose maps. By its id the daemon hands them over, which takes no privileges but a grant of root's; pins are root's alone.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct MapSource {
    /// The program, by its id: its daemon hands the maps over
    #[arg(long, value_name = "ID")]
    program: Option<u32>,
    /// The folder of the program's pinned maps
    #[arg(long, value_name = "DIR")]
    map_dir: Option<PathBuf>,
}

impl MapSource {
    /// Opens a map as one of aya's map types.
    ///
    /// # Errors
    /// There is no such map, this user may not have it, or it is of another type or has other sizes than the example's own.
    pub fn open<M>(&self, name: &str, access: MapAccess) -> Result<M>
    where
        M: TryFrom<Map, Error = MapError>,
    {
        match (self.program, &self.map_dir) {
            (Some(program), _) => handed_over(program, name, access),
            (None, Some(folder)) => pinned::open_map(folder, name),
            (None, None) => anyhow::bail!("neither a program nor a folder of maps is named"),
        }
    }
}

fn handed_over<M>(program: u32, name: &str, access: MapAccess) -> Result<M>
where
    M: TryFrom<Map, Error = MapError>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let opened = runtime
        .block_on(async { Client::connect().await?.open_map_of(program, name, access).await?.typed() });
    opened.map_err(with_hint).with_context(|| format!("cannot have map \"{name}\" of program {program}"))
}

/// What the daemon says to do next comes behind what failed.
fn with_hint(error: Error) -> anyhow::Error {
    let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
    anyhow::anyhow!("{error}{hint}")
}
