use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::attr::{self, Command};
use super::{mounts, sys};
use crate::{FolderLock, KernelError, PinIdentity};

const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
/// Without this option every user could write to a bpffs, as to /tmp.
const MOUNT_OPTIONS: &CStr = c"mode=0755";
const FOLDER_MODE: u32 = 0o755;
const PRIVATE_MODE: u32 = 0o700;
const LOCK_WAIT: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(5);
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Folder that the daemon of a bpffs locks. Only root can open it; any user can open, and so lock, the root folder.
const OWNER: &str = "owner";

/// Mounted bpffs, held by a descriptor: if another mount covered its path, all pins would seem to be missing.
#[derive(Debug)]
pub struct Bpffs {
    root: PathBuf,
    folder: OwnedFd,
    pub(super) is_new: bool,
}

impl Bpffs {
    pub fn open(root: &Path) -> Result<Self, KernelError> {
        let fail = |action, source: io::Error| KernelError::call(action, root.display().to_string(), source);
        std::fs::create_dir_all(root).map_err(|source| fail("create folder", source))?;
        let found = rustix::fs::statfs(root).map_err(|e| fail("look at", e.into()))?;
        let is_new = found.f_type as u64 != BPF_FS_MAGIC;
        if is_new {
            rustix::mount::mount("bpffs", root, "bpf", mounts::flags(), MOUNT_OPTIONS)
                .map_err(|e| fail("mount a bpffs on", e.into()))?;
        }
        claim(root).map_err(|source| fail("use the bpffs on", source))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(root, flags, Mode::empty()).map_err(|e| fail("open", e.into()))?;
        Ok(Self { root: root.to_owned(), folder, is_new })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns a path that leads to the pin wherever the bpffs is mounted now.
    fn path(&self, relative: &Path) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.folder.as_raw_fd())).join(relative)
    }

    fn fail(&self, action: &'static str, path: &Path, source: io::Error) -> KernelError {
        KernelError::call(action, self.root.join(path).display().to_string(), source)
    }

    /// Locks the bpffs until the result is dropped: two daemons would remove each other's pins.
    pub fn hold_alone(&self) -> Result<FolderLock, KernelError> {
        let folder = self.path(Path::new(OWNER));
        match std::fs::DirBuilder::new().mode(PRIVATE_MODE).create(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check_owned_by_root(&folder),
            made => made,
        }
        .map_err(|source| self.fail("create folder", Path::new(OWNER), source))?;
        self.lock(Path::new(OWNER)).map_err(|error| match error {
            KernelError::Call { source, .. } if source.kind() == io::ErrorKind::WouldBlock => {
                KernelError::HeldByOther { root: self.root.display().to_string() }
            }
            other => other,
        })
    }

    pub fn check_mounted(&self) -> Result<(), KernelError> {
        let same = || -> io::Result<bool> {
            let (ours, found) = (rustix::fs::fstat(&self.folder)?, rustix::fs::stat(&self.root)?);
            Ok((ours.st_dev, ours.st_ino) == (found.st_dev, found.st_ino))
        };
        if same().unwrap_or(false) {
            return Ok(());
        }
        Err(KernelError::NotMounted { root: self.root.display().to_string() })
    }

    pub fn make_folder(&self, path: &Path) -> Result<(), KernelError> {
        self.make_each_folder(path).map_err(|source| self.fail("create folder", path, source))
    }

    /// Locks a folder, and waits for other holders, which need the lock only for a few system calls.
    pub fn lock(&self, path: &Path) -> Result<FolderLock, KernelError> {
        let fail = |source: io::Error| self.fail("lock folder", path, source);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(self.path(path), flags, Mode::empty()).map_err(|e| fail(e.into()))?;
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(FolderLock { _held: Some(folder) }),
                // A blocking wait for the lock could stop this thread forever.
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(LOCK_PAUSE),
                Err(Errno::WOULDBLOCK) => {
                    let why = "another process holds it (`flock`), and does not let go";
                    return Err(fail(io::Error::new(io::ErrorKind::WouldBlock, why)));
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(fail(error.into())),
            }
        }
    }

    fn make_each_folder(&self, path: &Path) -> io::Result<()> {
        if path.is_absolute() {
            return match std::fs::DirBuilder::new().mode(PRIVATE_MODE).create(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check_owned_by_root(path),
                other => other,
            };
        }
        let mut folder = self.path(Path::new(""));
        for component in path.components() {
            let Component::Normal(name) = component else {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a path below the bpffs"));
            };
            folder.push(name);
            match std::fs::DirBuilder::new().mode(FOLDER_MODE).create(&folder) {
                // The folder exists, but another user may have made it.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check_owned_by_root(&folder)?,
                other => other?,
            }
        }
        Ok(())
    }

    pub fn remove_folder(&self, path: &Path) -> Result<(), KernelError> {
        absent_is_fine(std::fs::remove_dir(self.path(path)))
            .map_err(|source| self.fail("remove folder", path, source))
    }

    pub fn is_folder(&self, path: &Path) -> Result<bool, KernelError> {
        match std::fs::symlink_metadata(self.path(path)) {
            Ok(found) => Ok(found.is_dir()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(self.fail("look at", path, source)),
        }
    }

    pub fn list(&self, path: &Path) -> Result<Vec<String>, KernelError> {
        let read = || -> io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in std::fs::read_dir(self.path(path))? {
                names.push(entry?.file_name().to_string_lossy().into_owned());
            }
            names.sort();
            Ok(names)
        };
        match read() {
            Ok(names) => Ok(names),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(Vec::new())
            }
            Err(source) => Err(self.fail("list", path, source)),
        }
    }

    pub fn pin(&self, fd: &OwnedFd, path: &Path) -> Result<(), KernelError> {
        let name = self.c_path(path)?;
        let mut request =
            attr::Object { pathname: name.as_ptr() as u64, bpf_fd: fd.as_raw_fd(), ..Default::default() };
        sys::bpf(Command::ObjPin, &mut request).map(drop).map_err(|source| self.fail("pin", path, source))
    }

    pub fn get(&self, path: &Path) -> Result<Option<OwnedFd>, KernelError> {
        let name = self.c_path(path)?;
        let mut request = attr::Object { pathname: name.as_ptr() as u64, ..Default::default() };
        match sys::bpf_fd(Command::ObjGet, &mut request) {
            Ok(fd) => Ok(Some(fd)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(source) => Err(self.fail("open pin", path, source)),
        }
    }

    pub fn identity(&self, path: &Path) -> Result<Option<PinIdentity>, KernelError> {
        const NANOSECONDS: i128 = 1_000_000_000;
        match std::fs::symlink_metadata(self.path(path)) {
            Ok(found) if found.is_file() => Ok(Some(PinIdentity {
                device: found.dev(),
                inode: found.ino(),
                changed: i128::from(found.ctime()) * NANOSECONDS + i128::from(found.ctime_nsec()),
            })),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.fail("look at pin", path, source)),
        }
    }

    pub fn unpin(&self, path: &Path) -> Result<(), KernelError> {
        absent_is_fine(std::fs::remove_file(self.path(path)))
            .map_err(|source| self.fail("remove pin", path, source))
    }

    pub fn rename(&self, from: &Path, to: &Path) -> Result<(), KernelError> {
        rustix::fs::renameat_with(
            rustix::fs::CWD,
            self.path(from),
            rustix::fs::CWD,
            self.path(to),
            rustix::fs::RenameFlags::NOREPLACE,
        )
        .map_err(|error| self.fail("move pin to", to, error.into()))
    }

    fn c_path(&self, path: &Path) -> Result<CString, KernelError> {
        CString::new(self.path(path).into_os_string().into_encoded_bytes())
            .map_err(|error| self.fail("use path", path, error.into()))
    }
}

/// Ensures that only root can create pins: another user may have mounted the bpffs.
fn claim(root: &Path) -> io::Result<()> {
    let metadata = std::fs::metadata(root)?;
    if metadata.uid() != 0 {
        return Err(not_owned_by_root(root, format!("belongs to user {}", metadata.uid())));
    }
    if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        tracing::info!(root = %root.display(), mode = %format!("{:o}", metadata.mode() & 0o7777), "others could write to the bpffs; they no longer can");
        std::fs::set_permissions(root, std::fs::Permissions::from_mode(FOLDER_MODE))?;
    }
    // Refuse the start for entries created while other users could write, instead of failing in the middle of work.
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        let owner = entry.metadata()?.uid();
        if owner != 0 {
            return Err(not_owned_by_root(&entry.path(), format!("belongs to user {owner}; remove it")));
        }
    }
    Ok(())
}

/// Refuses a folder of other users: they could replace it by a symbolic link, so that pins are made elsewhere.
fn check_owned_by_root(folder: &Path) -> io::Result<()> {
    let metadata = std::fs::symlink_metadata(folder)?;
    if !metadata.is_dir() {
        return Err(not_owned_by_root(folder, "is not a folder".to_owned()));
    }
    if metadata.uid() != 0 {
        return Err(not_owned_by_root(folder, format!("belongs to user {}", metadata.uid())));
    }
    if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(not_owned_by_root(folder, "can be written to by others than root".to_owned()));
    }
    Ok(())
}

fn not_owned_by_root(path: &Path, why: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, format!("{} {why}", path.display()))
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, lchown, symlink};

    use rustix::mount::{MountFlags, UnmountFlags};

    use super::*;

    struct Mounted(tempfile::TempDir);

    impl Mounted {
        fn new(options: Option<&CStr>) -> Option<Self> {
            if !rustix::process::geteuid().is_root() {
                return None;
            }
            let folder = tempfile::tempdir().unwrap();
            if let Some(options) = options {
                rustix::mount::mount("bpffs", folder.path(), "bpf", MountFlags::empty(), options).unwrap();
            }
            Some(Self(folder))
        }

        fn mode(&self, path: &str) -> u32 {
            std::fs::symlink_metadata(self.0.path().join(path)).unwrap().mode() & 0o777
        }
    }

    impl Drop for Mounted {
        fn drop(&mut self) {
            let _not_mounted = rustix::mount::unmount(self.0.path(), UnmountFlags::DETACH);
        }
    }

    #[test]
    fn only_root_can_write_to_a_bpffs_that_was_mounted_here() {
        let Some(mounted) = Mounted::new(None) else { return };
        let pins = Bpffs::open(mounted.0.path()).unwrap();
        assert_eq!(mounted.mode(""), 0o755);
        pins.make_folder(Path::new("maps/7")).unwrap();
        pins.make_folder(Path::new("maps/7")).unwrap();
        assert_eq!((mounted.mode("maps"), mounted.mode("maps/7")), (0o755, 0o755));
    }

    #[test]
    fn world_accessible_bpffs_is_closed_and_another_users_refused() {
        let Some(mounted) = Mounted::new(Some(c"mode=1777")) else { return };
        Bpffs::open(mounted.0.path()).unwrap();
        assert_eq!(mounted.mode(""), 0o755);
        let link = mounted.0.path().join("xdp");
        symlink("/tmp", &link).unwrap();
        lchown(&link, Some(4711), None).unwrap();
        let error = Bpffs::open(mounted.0.path()).unwrap_err().to_string();
        assert!(error.contains("xdp belongs to user 4711"), "{error}");
        std::fs::remove_file(&link).unwrap();
        Bpffs::open(mounted.0.path()).unwrap();
        chown(mounted.0.path(), Some(4711), None).unwrap();
        let error = Bpffs::open(mounted.0.path()).unwrap_err().to_string();
        assert!(error.contains("4711"), "{error}");
    }

    #[test]
    fn one_daemon_at_a_time_holds_a_bpffs() {
        let Some(mounted) = Mounted::new(None) else { return };
        let (first, second) =
            (Bpffs::open(mounted.0.path()).unwrap(), Bpffs::open(mounted.0.path()).unwrap());
        let held = first.hold_alone().unwrap();
        assert_eq!(mounted.mode(OWNER), PRIVATE_MODE, "others cannot lock it");
        let error = second.hold_alone().unwrap_err().to_string();
        assert!(error.contains(&mounted.0.path().display().to_string()), "{error}");
        drop(held);
        second.hold_alone().unwrap();
    }

    #[test]
    fn pins_stay_reachable_after_unmount_and_it_is_reported() {
        let Some(mounted) = Mounted::new(None) else { return };
        let root = mounted.0.path();
        let pins = Bpffs::open(root).unwrap();
        pins.make_folder(Path::new("maps/7")).unwrap();
        pins.check_mounted().unwrap();
        rustix::mount::unmount(root, UnmountFlags::DETACH).unwrap();
        assert!(!root.join("maps").exists());
        assert_eq!(pins.list(Path::new("maps")).unwrap(), ["7"]);
        let error = pins.check_mounted().unwrap_err().to_string();
        assert!(error.contains(&root.display().to_string()), "{error}");
        assert!(error.contains("restart"), "{error}");
    }

    #[test]
    fn folders_that_others_made_are_refused() {
        let Some(mounted) = Mounted::new(None) else { return };
        let root = mounted.0.path();
        let pins = Bpffs::open(root).unwrap();
        let refuses = |path: &str, why: &str| {
            let error = pins.make_folder(Path::new(path)).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        };
        pins.make_folder(Path::new("elsewhere")).unwrap();
        symlink(root.join("elsewhere"), root.join("xdp")).unwrap();
        refuses("xdp/hook", "not a folder");
        pins.make_folder(Path::new("links")).unwrap();
        chown(root.join("links"), Some(4711), None).unwrap();
        refuses("links/7", "user 4711");
        pins.make_folder(Path::new("maps")).unwrap();
        std::fs::set_permissions(root.join("maps"), std::fs::Permissions::from_mode(0o777)).unwrap();
        refuses("maps/7", "others");
        refuses("../outside", "below the bpffs");
        assert_eq!(pins.list(Path::new("elsewhere")).unwrap(), [""; 0]);
    }
}
