//! Interfaces and the network namespaces they live in.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bpfmand_core::{HookKey, HookKind, IfIndex, Interface, NetnsId};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::thread::LinkNameSpaceType;

use super::sys;
use crate::KernelError;

/// Runs `work` in the network namespace of the file, or right here if none is given.
///
/// A thread of its own enters the namespace and ends with it, so that no thread of the daemon is ever left in a
/// namespace that is not its own.
pub fn enter<T: Send>(
    netns: Option<&Path>,
    work: impl FnOnce() -> Result<T, KernelError> + Send,
) -> Result<T, KernelError> {
    let Some(path) = netns else { return work() };
    let fail = |source: io::Error| KernelError::NoNamespace { path: path.to_owned(), source };
    let file = File::open(path).map_err(fail)?;
    std::thread::scope(|scope| {
        let inside = std::thread::Builder::new().name("netns".to_owned()).stack_size(256 << 10).spawn_scoped(
            scope,
            move || {
                rustix::thread::move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .map_err(|error| fail(error.into()))?;
                work()
            },
        );
        match inside.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(source) => Err(KernelError::call("start a thread in", path.display().to_string(), source)),
        }
    })
}

/// Finds an interface and tells its namespace's identity.
pub fn find_hook(interface: &Interface, kind: HookKind) -> Result<HookKey, KernelError> {
    enter(interface.netns.as_deref(), || {
        let fail = |source: io::Error| {
            KernelError::call("look for interface", format!("\"{}\"", interface.name), source)
        };
        let socket =
            rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
                .map_err(|error| fail(error.into()))?;
        let ifindex = rustix::net::netdevice::name_to_index(&socket, &interface.name).map_err(|_absent| {
            KernelError::NoInterface { name: interface.name.clone(), netns: interface.netns.clone() }
        })?;
        let inode = std::fs::metadata("/proc/thread-self/ns/net").map_err(fail)?.ino();
        let netns = NetnsId { inode, cookie: sys::netns_cookie(&socket) };
        Ok(HookKey { netns, ifindex: IfIndex(ifindex), kind })
    })
}
