//! Source of an example's maps: the daemon, or pins.

use std::path::PathBuf;

use anyhow::{Context, Error, Result, bail};
use aya::maps::{Map, MapError};
use bpfman_client::wire::{APPLICATION_KEY, APPLICATION_KEY_NEWER};
use bpfman_client::{Client, MapAccess, MapFile, Reason, RemoteProgram};
use clap::Args;

use crate::failure::Failure;
use crate::pinned;

/// Source of the maps. The daemon hands over the maps of a program, by its id or its application, to callers with a
/// grant; pins are accessible to root only.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct MapSource {
    /// The program, by its id: its daemon hands the maps over
    #[arg(long, value_name = "ID")]
    program: Option<u32>,
    /// The application that the program belongs to, as `bpfman apply` and clusters name it
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// The folder of the program's pinned maps
    #[arg(long, value_name = "DIR")]
    map_dir: Option<PathBuf>,
}

impl MapSource {
    /// Opens a map as one of aya's map types; fails if the map has another type or other sizes.
    pub fn open<M>(&self, name: &str, access: MapAccess) -> Result<M>
    where
        M: TryFrom<Map, Error = MapError>,
    {
        if let Some(folder) = &self.map_dir {
            return pinned::open_map(folder, name);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (file, whose) = runtime.block_on(self.hand_over(name, access))?;
        file.typed().map_err(|error| match error {
            bpfman_client::Error::Map { source, .. } => {
                pinned::unusable(&format!("map \"{name}\" of {whose}"), *source)
            }
            error => Error::from(error).context(format!("cannot have map \"{name}\" of {whose}")),
        })
    }

    /// Returns the programs that may use a map, of the application or of one load; there are none for pins.
    pub async fn programs(&self, map: &str) -> Result<Vec<RemoteProgram>> {
        if let Some(application) = &self.app {
            let programs = of_name(&Client::connect().await?, application).await;
            return programs
                .with_context(|| format!("cannot find the programs of application \"{application}\""));
        }
        let Some(program) = self.program else {
            return Err(Failure::invalid(
                "a folder of maps names no programs",
                "name one of the programs with --program, or their application with --app",
            )
            .into());
        };
        let client = Client::connect().await?;
        let described = client.program(program).await?.describe().await?;
        let shared =
            described.maps.iter().filter(|described| described.name == map).flat_map(|map| &map.used_by);
        let mut programs = Vec::new();
        for id in shared {
            programs.push(client.program(*id).await?);
        }
        if programs.is_empty() {
            let hint = "`bpfman list programs` shows all";
            return Err(Failure::not_found(format!("program {program} has no map \"{map}\""), hint).into());
        }
        Ok(programs)
    }

    async fn hand_over(&self, name: &str, access: MapAccess) -> Result<(MapFile, String)> {
        let (found, whose) = if let Some(program) = self.program {
            (of_program(program, name, access).await, format!("program {program}"))
        } else if let Some(application) = &self.app {
            (of_application(application, name, access).await, format!("application \"{application}\""))
        } else {
            bail!("neither a program nor an application nor a folder of maps is named");
        };
        Ok((found.with_context(|| format!("cannot have map \"{name}\" of {whose}"))?, whose))
    }
}

async fn of_program(program: u32, name: &str, access: MapAccess) -> Result<MapFile> {
    Ok(Client::connect().await?.open_map_of(program, name, access).await?)
}

async fn of_application(application: &str, name: &str, access: MapAccess) -> Result<MapFile> {
    let client = Client::connect().await?;
    let mut answer = None;
    for program in of_name(&client, application).await? {
        match client.open_map_of(program.id(), name, access).await {
            Err(error) if error.reason() == Some(Reason::NotFound) => answer = Some(error),
            found => return Ok(found?),
        }
    }
    Err(answer.map_or_else(|| none_of_it().into(), Into::into))
}

async fn of_name(client: &Client, application: &str) -> Result<Vec<RemoteProgram>> {
    let mut programs = Vec::new();
    for key in [APPLICATION_KEY, APPLICATION_KEY_NEWER] {
        programs.extend(client.programs([(key, application)]).await?);
    }
    if programs.is_empty() { Err(none_of_it().into()) } else { Ok(programs) }
}

fn none_of_it() -> Failure {
    Failure::not_found("no program of it is loaded", "`bpfman list programs` shows all")
}
