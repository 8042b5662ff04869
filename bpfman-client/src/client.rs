//! Client of one daemon.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bpfman_proto::{DEFAULT_SOCKET_PATH, SOCKET_PATH_VARIABLE, ext::v1 as ext, v1};

use crate::handover::{self, RequestedMap};
use crate::services::{Reconnect, Services};
use crate::{Error, EventQuery, Events, MapAccess, MapFile, NewLoad, RemoteProgram, Watch};

/// Client of one daemon. Clones share the connection; a call after a restart of the daemon connects again.
///
/// It has to be created and used within a tokio runtime that has I/O enabled.
#[derive(Clone, Debug)]
pub struct Client {
    services: Services,
    socket: PathBuf,
}

impl Client {
    /// Connects to the daemon at the socket that the environment variable `BPFMAN_SOCKET_PATH` names, or else at
    /// `/run/bpfman-sock/bpfman.sock`.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::SocketDenied`].
    pub async fn connect() -> Result<Self, Error> {
        Self::connect_to(default_socket(std::env::var_os(SOCKET_PATH_VARIABLE))).await
    }

    /// Connects to the daemon that listens on a socket.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::SocketDenied`].
    pub async fn connect_to(socket: impl AsRef<Path>) -> Result<Self, Error> {
        let socket = socket.as_ref().to_path_buf();
        let connected = Services::connect(&socket, Reconnect::NextCall).await;
        let services = connected.map_err(|source| Error::of_connect(&socket, source))?;
        Ok(Self { services, socket })
    }

    /// Returns the path of the daemon's socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Returns the services as on the wire, for calls that this type does not cover.
    #[must_use]
    pub fn services(&self) -> Services {
        self.services.clone()
    }

    /// Loads programs of one object and returns them in the order of the request.
    ///
    /// # Errors
    /// [`Error::Refused`]: nothing was loaded.
    pub async fn load(&self, load: NewLoad) -> Result<Vec<RemoteProgram>, Error> {
        let loaded = match load.into_request() {
            (request, None) => self.services().v1.load(request).await?.into_inner().programs,
            (request, Some(values)) => self.load_with(request, values).await?,
        };
        // Take the name from the answer: a caller that may load programs need not be allowed to read them.
        let remote = |program: v1::LoadResponseInfo| {
            let id = program.kernel_info.ok_or(lacks("Load", "the program's id"))?.id;
            Ok(RemoteProgram::new(self.clone(), id, program.info.map(|info| info.name).unwrap_or_default()))
        };
        loaded.into_iter().map(remote).collect()
    }

    /// Loads with values. An older daemon ignores the values: its programs are unloaded, and the load fails.
    async fn load_with(
        &self,
        request: v1::LoadRequest,
        values: ext::LoadValues,
    ) -> Result<Vec<v1::LoadResponseInfo>, Error> {
        let request = Some(request);
        let request = ext::ExtLoadRequest { request, values: Some(values), ..ext::ExtLoadRequest::default() };
        let answer = self.services().ext.load(request).await?.into_inner();
        let loaded = answer.response.unwrap_or_default().programs;
        if answer.values_set {
            return Ok(loaded);
        }
        for kernel in loaded.into_iter().filter_map(|program| program.kernel_info) {
            self.services().v1.unload(v1::UnloadRequest { id: kernel.id }).await?;
        }
        Err(lacks("Load", "values of global variables and sizes of maps"))
    }

    /// Returns a program of the daemon by the kernel's id.
    ///
    /// # Errors
    /// [`Error::Refused`], with reason `not-found` if there is no such program.
    pub async fn program(&self, id: u32) -> Result<RemoteProgram, Error> {
        let program = self.describe(id).await?;
        Ok(self.remote(&program))
    }

    /// Returns the daemon's programs with all these pairs in their metadata, by id; all programs if there are no pairs.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn programs<'p>(
        &self,
        metadata: impl IntoIterator<Item = (&'p str, &'p str)>,
    ) -> Result<Vec<RemoteProgram>, Error> {
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let select = v1::ListRequest {
            program_type: None,
            bpfman_programs_only: Some(true),
            match_metadata: metadata.into_iter().map(owned).collect(),
        };
        let request = ext::ListProgramsRequest { select: Some(select), program_type: String::new() };
        let found = self.services().ext.list_programs(request).await?.into_inner().programs;
        Ok(found.iter().map(|program| self.remote(program)).collect())
    }

    fn remote(&self, program: &ext::Program) -> RemoteProgram {
        let id = program.kernel_info.as_ref().map_or(0, |kernel| kernel.id);
        let name = program.info.as_ref().map(|info| info.name.clone()).unwrap_or_default();
        RemoteProgram::new(self.clone(), id, name)
    }

    pub(crate) async fn describe(&self, id: u32) -> Result<ext::Program, Error> {
        let answer = self.services().ext.get_program(ext::GetProgramRequest { id }).await?.into_inner();
        answer.program.ok_or(lacks("GetProgram", "the program"))
    }

    /// Opens a map by the kernel's id. A program of the daemon has to use it.
    pub async fn open_map(&self, id: u32, access: MapAccess) -> Result<MapFile, Error> {
        self.hand_over(RequestedMap::Id(id), access).await
    }

    /// Opens a map of a program, by the program's kernel id and the map's name in the object. The caller
    /// needs permission to access maps, but none to list programs.
    pub async fn open_map_of(
        &self,
        program: u32,
        name: impl Into<String>,
        access: MapAccess,
    ) -> Result<MapFile, Error> {
        self.hand_over(RequestedMap::OfProgram { program, name: name.into() }, access).await
    }

    async fn hand_over(&self, wanted: RequestedMap, access: MapAccess) -> Result<MapFile, Error> {
        handover::receive(&self.socket, wanted, access).await
    }

    /// Follows changes of the daemon's programs and links, and of interfaces in its own and in named network
    /// namespaces.
    ///
    /// # Errors
    /// [`Error::Refused`], with reason `busy` if 64 streams are open, or 16 of this user.
    pub async fn watch(&self) -> Result<Watch, Error> {
        let stream = self.services().node.watch(ext::WatchRequest { netns: Vec::new() }).await?;
        Ok(Watch::new(stream.into_inner()))
    }

    /// Follows the daemon's journal: changes, refusals, and actions of the daemon itself. Root receives all entries,
    /// other users those that concern them.
    ///
    /// # Errors
    /// [`Error::Refused`], with reason `busy` if 64 streams are open, or 16 of this user; with `conflict` if the
    /// journal does not have the number to begin after.
    pub async fn events(&self, query: EventQuery) -> Result<Events, Error> {
        let stream = self.services().node.follow_events(query.into_request()).await?;
        Events::begin(stream.into_inner()).await
    }
}

pub(crate) const fn lacks(call: &'static str, part: &'static str) -> Error {
    Error::Incomplete { call, part }
}

fn default_socket(variable: Option<OsString>) -> PathBuf {
    variable.filter(|path| !path.is_empty()).map_or_else(|| DEFAULT_SOCKET_PATH.into(), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_the_one_that_the_environment_names() {
        assert_eq!(default_socket(None), Path::new(DEFAULT_SOCKET_PATH));
        assert_eq!(default_socket(Some(OsString::new())), Path::new(DEFAULT_SOCKET_PATH));
        assert_eq!(default_socket(Some("/run/mine".into())), Path::new("/run/mine"));
    }
}
