use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bpfman_model::{HookKey, HookKind, IfIndex, Interface, NetnsId};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::thread::LinkNameSpaceType;

use super::{interfaces, sys};
use crate::KernelError;

/// Runs work in a namespace, on a new thread: the daemon's other threads stay in their namespace.
pub fn enter<T: Send>(
    netns: Option<&Path>,
    work: impl FnOnce() -> Result<T, KernelError> + Send,
) -> Result<T, KernelError> {
    let Some(path) = netns else { return work() };
    let file = open(path)?;
    std::thread::scope(|scope| {
        let inside = std::thread::Builder::new().name("netns".to_owned()).stack_size(256 << 10).spawn_scoped(
            scope,
            move || {
                rustix::thread::move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .map_err(|error| not_entered(path, error.into()))?;
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

/// Runs work in a network namespace that is held by a descriptor.
pub fn enter_held<T: Send>(
    held: &OwnedFd,
    work: impl FnOnce() -> Result<T, KernelError> + Send,
) -> Result<T, KernelError> {
    enter(Some(Path::new(&format!("/proc/self/fd/{}", held.as_raw_fd()))), work)
}

/// EINVAL means a namespace of another kind. Other errors (memory, permission) do not prove that it is gone.
fn not_entered(path: &Path, source: io::Error) -> KernelError {
    match source.raw_os_error() {
        Some(libc::EINVAL) => KernelError::NoNamespace { path: path.to_owned(), source },
        _ => KernelError::call("enter network namespace", path.display().to_string(), source),
    }
}

/// Opens namespaces only: opening a pipe may block for ever, and opening a device may have effects.
pub fn open(path: &Path) -> Result<OwnedFd, KernelError> {
    const NSFS_MAGIC: u64 = 0x6e73_6673;
    let fail = |source: io::Error| match (source.kind(), source.raw_os_error()) {
        (io::ErrorKind::InvalidInput, None)
        | (
            _,
            Some(
                libc::ENOENT
                | libc::ENOTDIR
                | libc::ESRCH
                | libc::ELOOP
                | libc::ENAMETOOLONG
                | libc::ENXIO
                | libc::EINVAL,
            ),
        ) => KernelError::NoNamespace { path: path.to_owned(), source },
        // Errors that do not prove that the namespace is gone: descriptors, memory, permission.
        _ => KernelError::call("open network namespace", path.display().to_string(), source),
    };
    let wrong = |why| fail(io::Error::new(io::ErrorKind::InvalidInput, why));
    if !path.is_absolute() {
        return Err(wrong("its path is not absolute"));
    }
    let place = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| fail(error.into()))?;
    let found = rustix::fs::fstatfs(&place).map_err(|error| fail(error.into()))?;
    if found.f_type as u64 != NSFS_MAGIC {
        return Err(wrong("it is a file of another kind"));
    }
    let again = format!("/proc/self/fd/{}", place.as_raw_fd());
    rustix::fs::open(again, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| fail(error.into()))
}

pub fn here() -> Result<NetnsId, KernelError> {
    let fail = |source: io::Error| KernelError::call("identify", "the network namespace", source);
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .map_err(|error| fail(error.into()))?;
    identity(&socket).map_err(fail)
}

fn identity(socket: &OwnedFd) -> io::Result<NetnsId> {
    let inode = std::fs::metadata("/proc/thread-self/ns/net")?.ino();
    Ok(NetnsId { inode, cookie: sys::netns_cookie(socket) })
}

pub fn find_hook(interface: &Interface, kind: HookKind) -> Result<HookKey, KernelError> {
    enter(interface.netns.as_deref(), || find_hook_here(interface, kind))
}

pub fn find_hook_here(interface: &Interface, kind: HookKind) -> Result<HookKey, KernelError> {
    let fail = |source: io::Error| {
        KernelError::call("look for interface", format!("\"{}\"", interface.name), source)
    };
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .map_err(|error| fail(error.into()))?;
    let by_call = rustix::net::netdevice::name_to_index(&socket, &interface.name).ok();
    // The call reads a name up to its first colon: the found interface may have another name.
    let is_it = |ifindex: &u32| interfaces::name_of(IfIndex(*ifindex)).as_ref() == Some(&interface.name);
    let found = match by_call.filter(is_it) {
        Some(ifindex) => Ok(IfIndex(ifindex)),
        None => interfaces::index_of(&interface.name),
    };
    let ifindex = found.map_err(|_absent| KernelError::NoInterface {
        name: interface.name.clone(),
        netns: interface.netns.clone(),
    })?;
    let netns = identity(&socket).map_err(fail)?;
    Ok(HookKey { netns: netns.into(), ifindex, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_kind_of_namespace_is_none() {
        let path = Path::new("/run/netns/a");
        for number in [libc::EPERM, libc::ENOMEM, libc::EMFILE, libc::ENOSPC] {
            let error = not_entered(path, io::Error::from_raw_os_error(number));
            assert!(matches!(error, KernelError::Call { .. }), "{error:?}");
        }
        let error = enter(Some(Path::new("/proc/self/ns/uts")), here).unwrap_err();
        assert!(matches!(error, KernelError::NoNamespace { .. }), "{error:?}");
    }

    #[test]
    fn interface_is_found_by_its_whole_name() {
        let find = |name: &str| {
            find_hook_here(&Interface { name: name.to_owned(), netns: None }, HookKind::Xdp)
                .map(|key| key.ifindex)
        };
        assert_eq!(find("lo").unwrap(), IfIndex(1));
        for name in ["lo:", "lo:.100", "lo/", "lo "] {
            assert!(matches!(find(name), Err(KernelError::NoInterface { .. })), "{name}");
        }
    }

    #[test]
    fn only_namespaces_are_opened() {
        assert!(open(Path::new("/proc/self/ns/net")).is_ok());
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .unwrap();
        let absent = folder.path().join("absent");
        for (path, why) in [
            (pipe.as_path(), "another kind"),
            (Path::new("/dev/null"), "another kind"),
            (folder.path(), "another kind"),
            (absent.as_path(), "No such file"),
            (Path::new("proc/self/ns/net"), "not absolute"),
        ] {
            let error = open(path).unwrap_err();
            assert!(matches!(error, KernelError::NoNamespace { .. }), "{error:?}");
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
