//! Check whether the kubelet sees volumes mounted in this mount namespace. No I/O.

use std::path::{Path, PathBuf};

use bpfmand_kernel::Mount;
use thiserror::Error;

/// Error: neither the kubelet nor pods would see the volumes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "pods will find their volumes empty: what is mounted below {} is not seen outside of this mount namespace. In a pod, mount the host's folder there with mountPropagation: Bidirectional; under systemd, run a unit without the protections that give it mounts of its own (ProtectSystem, ReadWritePaths, PrivateDevices and the like)",
    .0.display()
)]
pub struct UnseenVolumes(PathBuf);

impl UnseenVolumes {
    /// Checks the folder of pods in this process's mount table. `first` is the mount table of the machine's first
    /// process, if it can be read.
    ///
    /// systemd makes mounts that receive from another group and have a peer group of their own: what is
    /// mounted below them reaches the kubelet only if the machine has mounts in their group.
    #[must_use]
    pub fn of(pods: &Path, table: &[Mount], first: Option<&[Mount]>) -> Option<Self> {
        // The last mount hides earlier ones.
        let mount = table
            .iter()
            .filter(|mount| pods.starts_with(&mount.point))
            .max_by_key(|mount| mount.point.components().count())?;
        let reaches = match (mount.peers, mount.master) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(peers), Some(_)) => {
                first.is_some_and(|first| first.iter().any(|mount| mount.peers == Some(peers)))
            }
        };
        (!reaches).then(|| Self(pods.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(point: &str, peers: Option<u32>, master: Option<u32>) -> Mount {
        Mount {
            device: "8:1".to_owned(),
            point: point.into(),
            file_system: "ext4".to_owned(),
            source: "disk".to_owned(),
            read_only: false,
            sealed: false,
            peers,
            master,
        }
    }

    #[test]
    fn the_innermost_and_last_mount_decides() {
        let pods = Path::new("/var/lib/kubelet/pods");
        let shared = mount("/", Some(1), None);
        assert_eq!(UnseenVolumes::of(pods, std::slice::from_ref(&shared), None), None);
        let private = mount("/var/lib", None, None);
        assert!(UnseenVolumes::of(pods, &[private.clone(), shared.clone()], None).is_some());
        assert_eq!(
            UnseenVolumes::of(
                pods,
                &[shared.clone(), private.clone(), mount("/var/lib", Some(2), None)],
                None
            ),
            None
        );
        assert_eq!(UnseenVolumes::of(pods, &[shared, mount("/var/lib/kubelet/po", None, None)], None), None);
    }

    #[test]
    fn receive_only_peer_group_is_invisible_to_the_machine() {
        let pods = Path::new("/pods");
        let own = [mount("/", Some(9), Some(1))];
        assert!(UnseenVolumes::of(pods, &own, None).is_some());
        assert!(UnseenVolumes::of(pods, &own, Some(&[mount("/", Some(1), None)])).is_some());
        // A machine that is itself a container has such mounts too.
        assert_eq!(UnseenVolumes::of(pods, &own, Some(&[mount("/", Some(9), Some(1))])), None);
    }
}
