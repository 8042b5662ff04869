//! Calls of `bpfman.ext.v1.BpfmanMaps`, which hand maps to callers. For their entries, see `map_entries.rs`.

use bpfman_model::{MapId, Owner, ProgramId};
use bpfman_proto::ext::v1 as wire;
use bpfmand_access::{AccessObject, OwnedObject};
use bpfmand_engine::{MapRecipients, UsedMap, WantedMap};
use bpfmand_kernel::Kernel;
use tonic::Status;
use wire::handover_request::Call as Asked;

use crate::authorize::Permit;
use crate::serve::OpenedMap;
use crate::server::{Api, fail};
use crate::status::{invalid, unsupported};
use crate::{audit, ext_show};

impl<K: Kernel> Api<K> {
    pub(crate) async fn open_map(&self, asked: Asked) -> OpenedMap {
        let (request, write) = match asked {
            Asked::OpenForReading(request) => (request, false),
            Asked::OpenForWriting(request) => (request, true),
            Asked::StartSession(_) => return Err(invalid("a session is no map")),
        };
        let wanted = wanted(request)?;
        audit::map(&wanted);
        let found = self.engine.find_map(&wanted);
        let users: Vec<(ProgramId, Owner)> = found.iter().flat_map(|map| map.users()).collect();
        // Check permissions before existence: a caller that may open no map learns of none.
        let permit = self.authorize(&programs_of(&users))?;
        let map = found.map_err(fail)?;
        if write {
            self.authorize_handing_over(&permit, &users, &map).await?;
        }
        audit::made(format_args!("descriptor of map {} {}", map.id(), map.name()));
        let (details, handle) =
            self.read(&permit, move |api| api.engine.open_map(&map, write).map_err(fail)).await?;
        let descriptor = self.engine.kernel().descriptor_of(handle);
        let descriptor = descriptor.ok_or_else(|| unsupported("a simulated kernel has no descriptors"))?;
        Ok((wire::OpenMapResponse { map: Some(ext_show::map(details, &self.paths.fs)) }, descriptor))
    }

    /// Refuses a writable descriptor of a map that no caller may write, or that leads to objects of others.
    async fn authorize_handing_over(
        &self,
        permit: &Permit,
        users: &[(ProgramId, Owner)],
        map: &UsedMap,
    ) -> Result<(), Status> {
        let asked = map.clone();
        let recipients =
            self.read(permit, move |api| api.engine.recipients_for_writing(&asked).map_err(fail)).await?;
        if recipients == MapRecipients::WritersOfIt {
            return Ok(());
        }
        let mut objects = programs_of(users);
        objects
            .push(AccessObject::Owned { thing: OwnedObject::ReachableFrom(map.id()), owner: &Owner::Root });
        self.authorize(&objects).map(drop)
    }
}

fn wanted(request: wire::OpenMapRequest) -> Result<WantedMap, Status> {
    use wire::open_map_request::Map;
    match request.map {
        Some(Map::MapId(id)) => Ok(WantedMap::Id(MapId(id))),
        Some(Map::OfProgram(wire::MapOfProgram { program_id, name })) => {
            Ok(WantedMap::OfProgram { program: ProgramId(program_id), name })
        }
        None => Err(invalid("the request names no map: give its id, or a program and the map's name")),
    }
}

pub(crate) fn programs_of(users: &[(ProgramId, Owner)]) -> Vec<AccessObject<'_>> {
    users.iter().map(|(id, owner)| AccessObject::Owned { thing: OwnedObject::MapUser(*id), owner }).collect()
}
