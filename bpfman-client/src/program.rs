//! Programs, links and maps of the daemon.

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;

use crate::{AttachAt, Client, Error, MapAccess, MapFile, ProgramLease};

/// Program of the daemon. It stays loaded when this handle is dropped; a [`ProgramLease`] unloads it.
#[derive(Clone, Debug)]
pub struct RemoteProgram {
    client: Client,
    id: u32,
    name: String,
}

/// Attachment of a program. It stays when this handle is dropped.
#[derive(Clone, Debug)]
pub struct RemoteLink {
    client: Client,
    id: u32,
}

/// Map of a program, as described by the daemon.
#[derive(Clone, Debug)]
pub struct RemoteMap {
    client: Client,
    description: ext::Map,
}

impl RemoteProgram {
    pub(crate) const fn new(client: Client, id: u32, name: String) -> Self {
        Self { client, id, name }
    }

    /// Returns the kernel's id. It changes with a new version of the program, and with a reboot.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// Returns the name of the function.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the client of the program's daemon.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the daemon's current description: type, owner, source of the bytecode, maps, links.
    ///
    /// # Errors
    /// [`Error::Refused`], with reason `not-found` if the program no longer exists.
    pub async fn describe(&self) -> Result<ext::Program, Error> {
        self.client.describe(self.id).await
    }

    /// Attaches the program.
    ///
    /// # Errors
    /// [`Error::Refused`]: nothing was attached.
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

    /// Returns the current links.
    pub async fn links(&self) -> Result<Vec<RemoteLink>, Error> {
        let of = |link: ext::Link| RemoteLink { client: self.client.clone(), id: link.id };
        Ok(self.describe().await?.links.into_iter().map(of).collect())
    }

    /// Returns the current maps, including those of global variables.
    pub async fn maps(&self) -> Result<Vec<RemoteMap>, Error> {
        let of = |description| RemoteMap { client: self.client.clone(), description };
        Ok(self.describe().await?.maps.into_iter().map(of).collect())
    }

    /// Opens one of the maps, by its name in the object.
    pub async fn open_map(&self, name: impl Into<String>, access: MapAccess) -> Result<MapFile, Error> {
        self.client.open_map_of(self.id, name, access).await
    }

    /// Detaches the program everywhere and unloads it. Maps are removed when no process holds them.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn unload(self) -> Result<(), Error> {
        self.client.services().v1.unload(v1::UnloadRequest { id: self.id }).await?;
        Ok(())
    }

    /// Returns a lease, which unloads the program when it is dropped.
    #[must_use = "it is unloaded at once otherwise"]
    pub const fn lease(self) -> ProgramLease {
        ProgramLease::of(self)
    }
}

impl RemoteLink {
    /// Returns the id of the link. It stays the same for the life of the link, also across reboots.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// Detaches the program from this attach point.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn detach(self) -> Result<(), Error> {
        self.client.services().v1.detach(v1::DetachRequest { link_id: self.id }).await?;
        Ok(())
    }
}

impl RemoteMap {
    /// Returns the kernel's id.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.description.id
    }

    /// Returns the map's name in the object.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.description.name
    }

    /// Returns type, sizes and users.
    #[must_use]
    pub const fn description(&self) -> &ext::Map {
        &self.description
    }

    /// Opens the map through the daemon. A grant of the caller has to allow `maps-read` or `maps-write` for every
    /// program that uses the map.
    ///
    /// # Errors
    /// [`Error::Refused`], with reason `denied` if no grant allows it and `not-found` if there is no such map;
    /// [`Error::Handover`].
    pub async fn open(&self, access: MapAccess) -> Result<MapFile, Error> {
        self.client.open_map(self.id(), access).await
    }
}
