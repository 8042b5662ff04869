//! A program and its links, in the daemon.

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;

use crate::{AttachAt, Client, Error, MapAccess, MapFile, ProgramLease};

/// A program of the daemon. It stays loaded when this handle goes; [`ProgramLease`] ends it.
#[derive(Clone, Debug)]
pub struct RemoteProgram {
    client: Client,
    id: u32,
    name: String,
}

/// An attachment of a program. It stays when this handle goes.
#[derive(Clone, Debug)]
pub struct RemoteLink {
    client: Client,
    id: u32,
}

/// A map of a program, as the daemon describes it.
#[derive(Clone, Debug)]
pub struct RemoteMap {
    client: Client,
    description: ext::Map,
}

impl RemoteProgram {
    pub(crate) const fn new(client: Client, id: u32, name: String) -> Self {
        Self { client, id, name }
    }

    /// The kernel's id. A new version of the program, and a reboot, give it another.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// The name of its function.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The daemon that has it.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// All that the daemon says of it now: type, owner, where its bytecode came from, maps, links.
    ///
    /// # Errors
    /// [`Error::Refused`], with reason `not-found` where it is gone.
    pub async fn describe(&self) -> Result<ext::Program, Error> {
        self.client.describe(self.id).await
    }

    /// Attaches it.
    ///
    /// # Errors
    /// [`Error::Refused`]: nothing is attached then.
    pub async fn attach(&self, at: AttachAt) -> Result<RemoteLink, Error> {
        let id = match at.into_wire() {
            (attach, None) => {
                let request = v1::AttachRequest { id: self.id, attach };
                self.client.services().v1.attach(request).await?.into_inner().link_id
            }
            (attach, point) => {
                let request =
                    ext::ChainAttachRequest { program_id: self.id, attach, point, ..Default::default() };
                let answer = self.client.services().chains.attach(request).await?.into_inner();
                answer.link.ok_or(Error::Incomplete { call: "Attach", part: "the link" })?.id
            }
        };
        Ok(RemoteLink { client: self.client.clone(), id })
    }

    /// Its links now.
    ///
    /// # Errors
    /// As [`RemoteProgram::describe`].
    pub async fn links(&self) -> Result<Vec<RemoteLink>, Error> {
        let of = |link: ext::Link| RemoteLink { client: self.client.clone(), id: link.id };
        Ok(self.describe().await?.links.into_iter().map(of).collect())
    }

    /// Its maps now, those of global variables among them.
    ///
    /// # Errors
    /// As [`RemoteProgram::describe`].
    pub async fn maps(&self) -> Result<Vec<RemoteMap>, Error> {
        let of = |description| RemoteMap { client: self.client.clone(), description };
        Ok(self.describe().await?.maps.into_iter().map(of).collect())
    }

    /// Opens one of its maps, by its name in the object.
    ///
    /// # Errors
    /// As [`RemoteMap::open`].
    pub async fn open_map(&self, name: impl Into<String>, access: MapAccess) -> Result<MapFile, Error> {
        self.client.open_map_of(self.id, name, access).await
    }

    /// Detaches it everywhere and unloads it. Maps go when nobody holds them any more.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn unload(self) -> Result<(), Error> {
        self.client.services().v1.unload(v1::UnloadRequest { id: self.id }).await?;
        Ok(())
    }

    /// Has it unloaded when the answer is dropped.
    #[must_use = "it is unloaded at once otherwise"]
    pub const fn lease(self) -> ProgramLease {
        ProgramLease::of(self)
    }
}

impl RemoteLink {
    /// Its number, which stays as long as the link does, across reboots too.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// Ends it.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn detach(self) -> Result<(), Error> {
        self.client.services().v1.detach(v1::DetachRequest { link_id: self.id }).await?;
        Ok(())
    }
}

impl RemoteMap {
    /// The kernel's id.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.description.id
    }

    /// Its name in the object.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.description.name
    }

    /// Type, sizes and users.
    #[must_use]
    pub const fn description(&self) -> &ext::Map {
        &self.description
    }

    /// Has the daemon hand it over. A grant of the caller has to allow `maps-read` or `maps-write`, over every program that
    /// uses the map.
    ///
    /// # Errors
    /// [`Error::Refused`], with reason `denied` where no grant allows it and `not-found` where there is no such map;
    /// [`Error::Handover`].
    pub async fn open(&self, access: MapAccess) -> Result<MapFile, Error> {
        self.client.open_map(self.id(), access).await
    }
}
