//! Watching the interfaces and addresses of many namespaces, by one thread.

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

/// Where `ip netns` and network plugins of container runtimes keep namespaces.
const NAMED: &str = "/run/netns";
/// The namespace of this process; its threads that enter others end there.
const OWN: &str = "/proc/self/ns/net";
/// Namespaces with names that are looked at, at most.
const MOST_NAMED: usize = 4096;
/// `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV6_IFADDR`.
const GROUP_ADDRESSES: u32 = 0x10 | 0x100;
/// Messages that one call takes in from a socket, so that it ends whatever comes.
const MOST: usize = 10_000;

/// All names of namespaces, sorted. Not every one need be of a namespace.
pub fn names() -> Vec<PathBuf> {
    // No namespace has a name yet where there is no such folder.
    let entries = std::fs::read_dir(NAMED).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.take(MOST_NAMED).map(|entry| entry.path()).collect();
    found.sort_unstable();
    found
}

/// Files of the namespaces that have a name, sorted; each namespace once, and the daemon's own not at all.
pub fn named() -> Vec<PathBuf> {
    let mut found = names();
    // The inodes of two namespaces that are there at the same time differ; cookies tell apart those that are not.
    let mut seen: BTreeSet<(u64, u64)> = identity(Path::new(OWN)).into_iter().collect();
    // What cannot be looked at leads to no namespace: whoever goes on with it finds that out.
    found.retain(|path| identity(path).map_or(true, |identity| seen.insert(identity)));
    found
}

/// One namespace that is watched.
#[derive(Debug)]
struct Followed {
    /// What its file was; none for the daemon's own.
    was: Option<(u64, u64)>,
    /// Hears of changes. Keeps the namespace alive until the next look finds its file gone.
    notices: OwnedFd,
}

/// Sockets in all of them.
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
                // Not yet, or not any more.
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
    // Looked at first: if the file leads elsewhere before the socket is made, the next look finds that out.
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

/// Takes in what is there, whatever it says. Tells whether there was something, if only that messages were lost.
fn drain(notices: &OwnedFd) -> bool {
    let mut buffer = [0_u8; 64];
    let mut any = false;
    for _ in 0..MOST {
        match rustix::net::recv(notices, &mut buffer, RecvFlags::TRUNC | RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN) => break,
            _ => any = true,
        }
    }
    any
}
