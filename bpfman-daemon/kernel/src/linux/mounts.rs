use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bpfman_model::MapId;
use rustix::mount::{MountFlags, UnmountFlags};

use super::attr::{self, Command};
use super::{facts, mount_table, sys};
use crate::{KernelError, Mount, Mounts};

/// Mount options: only root has access until all pins exist, when the mode is changed.
const OPTIONS: &std::ffi::CStr = c"mode=0700";
const BPF_F_RDONLY: u32 = 1 << 3;

/// Mounts of this process's mount namespace.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinuxMounts;

/// No mount of the daemon contains executables.
pub(super) fn flags() -> MountFlags {
    MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RELATIME
}

fn fail(action: &'static str, at: &Path, source: impl Into<io::Error>) -> KernelError {
    KernelError::call(action, at.display().to_string(), source)
}

impl LinuxMounts {
    /// Returns the mounts of the first process of this pid namespace. Needs CAP_SYS_PTRACE.
    pub fn table_of_the_first_process(&self) -> Result<Vec<Mount>, KernelError> {
        read("/proc/1/mountinfo")
    }
}

fn read(path: &str) -> Result<Vec<Mount>, KernelError> {
    let text = std::fs::read(path).map_err(|source| KernelError::call("read", path, source))?;
    Ok(mount_table::parse(&text))
}

/// Returns mounts of network namespaces, which container runtimes create outside of `/run/netns`.
pub(super) fn of_namespaces() -> Vec<PathBuf> {
    let mounts = read("/proc/self/mountinfo").unwrap_or_default();
    mounts.into_iter().filter(|mount| mount.file_system == "nsfs").map(|mount| mount.point).collect()
}

impl Mounts for LinuxMounts {
    fn table(&self) -> Result<Vec<Mount>, KernelError> {
        read("/proc/self/mountinfo")
    }

    fn mount_bpffs(&self, at: &Path, source: &str) -> Result<(), KernelError> {
        rustix::mount::mount(source, at, "bpf", flags(), OPTIONS)
            .map_err(|error| fail("mount a bpffs on", at, error))
    }

    fn set_access(&self, path: &Path, group: u32, mode: u32) -> Result<(), KernelError> {
        std::os::unix::fs::chown(path, None, Some(group))
            .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)))
            .map_err(|source| fail("set group and mode of", path, source))
    }

    fn seal(&self, at: &Path) -> Result<(), KernelError> {
        // Without the bind flag, this changes the file system, not only the mount.
        rustix::mount::mount_remount(at, flags() | MountFlags::RDONLY, c"")
            .map_err(|error| fail("make read-only the bpffs on", at, error))
    }

    fn bind(&self, from: &Path, to: &Path) -> Result<(), KernelError> {
        rustix::mount::mount_bind(from, to).map_err(|error| fail("bind a bpffs to", to, error))
    }

    fn bind_tree(&self, from: &Path, to: &Path) -> Result<(), KernelError> {
        rustix::mount::mount_bind_recursive(from, to).map_err(|error| fail("bind a volume to", to, error))
    }

    fn bind_read_only(&self, at: &Path) -> Result<(), KernelError> {
        rustix::mount::mount_remount(at, flags() | MountFlags::BIND | MountFlags::RDONLY, c"")
            .map_err(|error| fail("make read-only the mount at", at, error))
    }

    fn unmount(&self, at: &Path) -> Result<(), KernelError> {
        rustix::mount::unmount(at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            .map_err(|error| fail("unmount", at, error))
    }

    fn pinned_map(&self, path: &Path) -> Result<Option<MapId>, KernelError> {
        let name = CString::new(path.as_os_str().as_bytes())
            .map_err(|error| fail("use path", path, io::Error::from(error)))?;
        let mut request = attr::Object {
            pathname: name.as_ptr() as u64,
            file_flags: BPF_F_RDONLY,
            ..attr::Object::default()
        };
        match sys::bpf_fd(Command::ObjGet, &mut request) {
            Ok(map) => {
                facts::map(&map).map(|facts| Some(facts.id)).map_err(|source| fail("describe", path, source))
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(source) => Err(fail("open pin", path, source)),
        }
    }
}
