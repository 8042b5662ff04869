//! Places of attachments that outlive a daemon: recorded, and found again.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use bpfmand_calls::ObjectKind;
use bpfmand_kernel::linux::brokered;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum HeldPlace {
    Map(u32),
    /// A cgroup or namespace, by device and inode, and the path that led to it.
    File {
        device: u64,
        inode: u64,
        path: PathBuf,
    },
}

/// One cgroup or namespace can have several paths.
impl PartialEq for HeldPlace {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Map(one), Self::Map(other)) => one == other,
            (Self::File { device, inode, .. }, Self::File { device: other, inode: of_other, .. }) => {
                (device, inode) == (other, of_other)
            }
            _ => false,
        }
    }
}

impl Eq for HeldPlace {}

impl HeldPlace {
    pub fn of(held: &OwnedFd) -> io::Result<Self> {
        if let Some(object) = brokered::object_id(held) {
            return Ok(Self::Map(object.id));
        }
        let file = File::from(held.try_clone()?).metadata()?;
        let path = std::fs::read_link(format!("/proc/self/fd/{}", held.as_raw_fd()))?;
        Ok(Self::File { device: file.dev(), inode: file.ino(), path })
    }

    /// Opens the place if it still exists. A namespace is searched by the files and processes that refer to it.
    pub fn open(&self) -> Option<OwnedFd> {
        let (device, inode, path) = match self {
            Self::Map(id) => return brokered::open_object(ObjectKind::Map, *id, 0).ok(),
            Self::File { device, inode, path } => (*device, *inode, path),
        };
        let is_it = |file: &std::fs::Metadata| (file.dev(), file.ino()) == (device, inode);
        let is_namespace = !path.is_absolute();
        let files = ["/run/netns", "/var/run/netns"].into_iter().flat_map(entries);
        let namespaces = files.chain(entries("/proc").map(|process| process.join("ns/net")));
        let mut paths = std::iter::once(path.clone()).chain(namespaces.filter(|_| is_namespace));
        paths.find_map(|path| {
            // The check of the path comes first: to open another file may block.
            std::fs::metadata(&path).ok().filter(is_it)?;
            let opened = File::open(&path).ok()?;
            is_it(&opened.metadata().ok()?).then(|| opened.into())
        })
    }
}

fn entries(folder: &str) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn namespace_and_folder_are_found_again() {
        for path in ["/proc/self/ns/net", "/usr"] {
            let place = HeldPlace::of(&File::open(path).unwrap().into()).unwrap();
            let written = serde_json::to_string(&place).unwrap();
            let read: HeldPlace = serde_json::from_str(&written).unwrap();
            assert_eq!(HeldPlace::of(&read.open().unwrap()).unwrap(), place, "{path}");
        }
        let gone = HeldPlace::File { device: 1, inode: u64::MAX, path: "/usr".into() };
        assert!(gone.open().is_none());
        assert_ne!(gone, HeldPlace::Map(7));
    }
}
