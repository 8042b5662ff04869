use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, netlink::SocketAddrNetlink};

use super::watch::{GROUP_LINK, identity};
use super::{interfaces, netlink, netns, sys};
use crate::{KernelError, NetworkWatch};

/// Folder of named namespaces, used by `ip netns` and by network plugins of container runtimes.
const NAMED: &str = "/run/netns";
/// Namespace of the process. Threads that enter another namespace end in it, so they do not change this one.
const OWN: &str = "/proc/self/ns/net";
const MAX_NAMED: usize = 4096;
const GROUP_ADDRESSES: u32 = 0x10 | 0x100;
/// Maximum number of messages that one call receives, so that it returns even if messages keep arriving.
const MAX_MESSAGES: usize = 10_000;

/// Returns the files of the folder. Not every one of them is a namespace.
pub fn names() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(NAMED).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.take(MAX_NAMED).map(|entry| entry.path()).collect();
    found.sort_unstable();
    found
}

pub fn named() -> Vec<PathBuf> {
    let mut found = names();
    // Inodes of namespaces that exist at the same time differ; only those of different times need cookies.
    let mut seen: BTreeSet<(u64, u64)> = identity(Path::new(OWN)).into_iter().collect();
    found.retain(|path| identity(path).map_or(true, |identity| seen.insert(identity)));
    found
}

#[derive(Debug)]
struct Followed {
    was: Option<(u64, u64)>,
    /// Keeps the namespace alive until the next check finds its file gone.
    notices: OwnedFd,
}

#[derive(Debug, Default)]
pub struct NetlinkWatch {
    followed: BTreeMap<Option<PathBuf>, Followed>,
}

impl NetworkWatch for NetlinkWatch {
    fn follow(
        &mut self,
        namespaces: &BTreeSet<Option<PathBuf>>,
    ) -> Result<BTreeSet<Option<PathBuf>>, KernelError> {
        self.followed.retain(|path, followed| {
            let now = path.as_deref().map(identity).transpose();
            namespaces.contains(path) && now.is_ok_and(|now| now == followed.was)
        });
        let mut begun = BTreeSet::new();
        for path in namespaces {
            if self.followed.contains_key(path) {
                continue;
            }
            match open(path.as_deref()) {
                Ok(followed) => {
                    self.followed.insert(path.clone(), followed);
                    begun.insert(path.clone());
                }
                Err(KernelError::NoNamespace { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(begun)
    }

    fn followed(&self) -> BTreeSet<Option<PathBuf>> {
        self.followed.keys().cloned().collect()
    }

    fn wait(&mut self, timeout: Duration) -> Result<BTreeSet<Option<PathBuf>>, KernelError> {
        let sockets = self.followed.values().map(|followed| &followed.notices);
        let ready = sys::readable(sockets, timeout)
            .map_err(|source| KernelError::call("watch", "network interfaces", source))?;
        let changed = self.followed.iter().zip(ready).filter(|(_, ready)| *ready);
        Ok(changed
            .filter(|((_, followed), _)| drain(&followed.notices))
            .map(|((path, _), _)| path.clone())
            .collect())
    }
}

fn open(path: Option<&Path>) -> Result<Followed, KernelError> {
    // Read first: if the file leads elsewhere before the socket is made, the next check finds that out.
    let look = |path: &Path| {
        identity(path).map_err(|source| KernelError::NoNamespace { path: path.to_owned(), source })
    };
    let was = path.map(look).transpose()?;
    netns::enter(path, || {
        let opened = || -> io::Result<Followed> {
            let notices = netlink::socket()?;
            rustix::net::bind(&notices, &SocketAddrNetlink::new(0, GROUP_LINK | GROUP_ADDRESSES))?;
            Ok(Followed { was, notices })
        };
        opened().map_err(|source| interfaces::failed(path, source))
    })
}

fn drain(notices: &OwnedFd) -> bool {
    let mut buffer = [0_u8; 64];
    let mut any = false;
    for _ in 0..MAX_MESSAGES {
        match rustix::net::recv(notices, &mut buffer, RecvFlags::TRUNC | RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN) => break,
            _ => any = true,
        }
    }
    any
}
