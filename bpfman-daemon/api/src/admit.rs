//! Checks of paths in requests: the daemon, as root, opens only files that the caller could open itself.
//!
//! Permission to attach is decided elsewhere. These checks prevent answers from revealing files in folders that the
//! caller cannot enter, and contents of files that it cannot read. A path may change after the check: a probed file is
//! therefore opened with the rights that are returned here; of a network namespace only its existence can be revealed.

use std::path::PathBuf;

use bpfman_model::{
    AttachPoint, FileReader, Interface, InterfaceMatch, NetnsPattern, ProbeReader, ProcessScope,
};
use bpfmand_kernel::Kernel;
use tonic::Status;

use crate::audit;
use crate::authorize::Permit;
use crate::server::{Api, fail};
use crate::status::denied;

impl<K: Kernel> Api<K> {
    pub(crate) async fn admit_interface(&self, permit: &Permit, interface: &Interface) -> Result<(), Status> {
        match &interface.netns {
            Some(netns) => self.admit_namespaces(permit, [netns.clone()]).await,
            None => Ok(()),
        }
    }

    pub(crate) async fn admit_namespaces(
        &self,
        permit: &Permit,
        paths: impl IntoIterator<Item = PathBuf>,
    ) -> Result<(), Status> {
        self.admit(permit, paths.into_iter().collect(), false).await
    }

    pub(crate) async fn admit_match(
        &self,
        permit: &Permit,
        interfaces: &InterfaceMatch,
    ) -> Result<(), Status> {
        let (mut files, mut folders) = (Vec::new(), Vec::new());
        for pattern in interfaces.netns() {
            match pattern {
                NetnsPattern::File(path) => files.push(path.clone()),
                NetnsPattern::Files { folder, .. } => folders.push(folder.clone()),
            }
        }
        self.admit(permit, files, false).await?;
        self.admit(permit, folders, true).await
    }

    /// Checks the files of an attach point, and returns the caller with whose rights a probed file is opened. Root's
    /// rights count in containers if the grant that allowed this call is for all applications.
    pub(crate) async fn admit_point(
        &self,
        permit: &Permit,
        point: &AttachPoint,
    ) -> Result<ProbeReader, Status> {
        if let Some((interface, _)) = point.hook() {
            self.admit_interface(permit, interface).await?;
        }
        if let Some(netns) = point.netns() {
            self.admit_namespaces(permit, netns.clone()).await?;
        }
        if let Some((target, ProcessScope { container_pid: None, .. })) = point.binary()
            && target.starts_with('/')
        {
            self.admit(permit, vec![PathBuf::from(target)], true).await?;
        }
        let peer = audit::caller()?;
        let is_root_in_containers = peer.uid != 0 && permit.speaks_for_all;
        Ok(FileReader { is_root_in_containers, ..FileReader::from(&peer) }.into())
    }

    async fn admit(&self, permit: &Permit, paths: Vec<PathBuf>, read: bool) -> Result<(), Status> {
        if paths.is_empty() {
            return Ok(());
        }
        let Some(peer) = audit::peer().filter(|peer| peer.uid != 0) else { return Ok(()) };
        let uid = peer.uid;
        let refused = self
            .read(permit, move |api| {
                let hidden = api.engine.kernel().first_hidden(&FileReader::from(&peer), &paths, read);
                let hidden = hidden.map_err(|error| fail(error.into()))?;
                Ok(hidden.and_then(|place| paths.into_iter().nth(place)))
            })
            .await?;
        match refused {
            None => Ok(()),
            Some(path) => Err(denied(format!(
                "user {uid} may not {} {}, so the daemon does not for this user: name a file that the user may, or have \
                 root do it",
                if read { "read" } else { "look at" },
                path.display(),
            ))),
        }
    }
}
