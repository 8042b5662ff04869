//! Checks of paths in requests: the daemon, as root, opens only files that the caller could open itself.
//!
//! Permission to attach is checked elsewhere. These checks keep answers from disclosing files in folders that the
//! caller cannot enter, and contents of programs that it cannot read. If a path leads elsewhere after the check, the
//! answer may disclose facts about the new file, but nothing more.

use std::path::PathBuf;

use bpfmand_core::{AttachPoint, Interface, InterfaceMatch, NetnsPattern, ProcessScope};
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

    /// Checks network namespaces, named by the paths of their files.
    pub(crate) async fn admit_namespaces(
        &self,
        permit: &Permit,
        paths: impl IntoIterator<Item = PathBuf>,
    ) -> Result<(), Status> {
        self.admit(permit, paths.into_iter().collect(), false).await
    }

    /// Checks the network namespaces of a match: files, and folders to be listed.
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

    /// Checks the paths and the process that an attach point names.
    pub(crate) async fn admit_point(&self, permit: &Permit, point: &AttachPoint) -> Result<(), Status> {
        if let Some((interface, _)) = point.hook() {
            return self.admit_interface(permit, interface).await;
        }
        if let Some(netns) = point.netns() {
            return self.admit_namespaces(permit, netns.clone()).await;
        }
        let (AttachPoint::Uprobe { target, scope: ProcessScope { container_pid, .. }, .. }
        | AttachPoint::UprobeMulti { target, scope: ProcessScope { container_pid, .. }, .. }
        | AttachPoint::Usdt { target, scope: ProcessScope { container_pid, .. }, .. }) = point
        else {
            return Ok(());
        };
        match container_pid {
            Some(pid) => self.admit_process(permit, *pid).await,
            // A library without a path is searched in folders that every user can read.
            None if !target.starts_with('/') => Ok(()),
            None => self.admit(permit, vec![PathBuf::from(target)], true).await,
        }
    }

    /// Checks a process before its files are read. Only root may name one of the host: others name its files by path.
    async fn admit_process(&self, permit: &Permit, pid: u32) -> Result<(), Status> {
        let Some(peer) = audit::peer().filter(|peer| peer.uid != 0) else { return Ok(()) };
        if self.read(permit, move |api| Ok(api.engine.kernel().is_contained(pid))).await? {
            return Ok(());
        }
        Err(denied(format!(
            "process {pid} is in no container: user {} may name the target as this machine has it, without a process",
            peer.uid
        )))
    }

    async fn admit(&self, permit: &Permit, paths: Vec<PathBuf>, read: bool) -> Result<(), Status> {
        if paths.is_empty() {
            return Ok(());
        }
        let Some(peer) = audit::peer().filter(|peer| peer.uid != 0) else { return Ok(()) };
        let uid = peer.uid;
        let refused = self
            .read(permit, move |api| {
                let hidden = api.engine.kernel().first_hidden(&peer, &paths, read);
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
