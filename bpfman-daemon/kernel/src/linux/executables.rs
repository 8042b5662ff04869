use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, open, statx};

/// File systems with ambiguous inode numbers: all their subvolumes have one device.
const AMBIGUOUS: [(&str, u64); 2] = [("btrfs", 0x9123_683e), ("bcachefs", 0xca45_1a4e)];

/// Identity of an existing file, unique except on `AMBIGUOUS` file systems and overlays of several file systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExecutableId {
    /// `i_ino` of the kernel's `struct inode`.
    pub inode: u64,
    /// `s_dev` of its `struct super_block`: major number << 20 | minor number.
    pub device: u32,
}

/// Returns the identity of the file at a path (Linux 5.8). Overlays and btrfs report another device than that of their
/// file system, which the mount table has. Fails on file systems with ambiguous inode numbers.
pub fn executable(path: &Path) -> io::Result<ExecutableId> {
    let file = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let magic = rustix::fs::fstatfs(&file)?.f_type as u64;
    if let Some((name, _)) = AMBIGUOUS.iter().find(|(_, known)| *known == magic) {
        let why = format!("{} is on {name}, where several files have one inode number", path.display());
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    }
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    let found = statx(&file, "", AtFlags::EMPTY_PATH, wanted)?;
    let mount = found.stx_mnt_id.to_string();
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let device = table.lines().find_map(|line| device_of(line, &mount));
    let device = device.ok_or_else(|| io::Error::other(format!("mount {mount} is in no table")))?;
    Ok(ExecutableId { inode: found.stx_ino, device })
}

fn device_of(line: &str, mount: &str) -> Option<u32> {
    let mut fields = line.split(' ');
    if fields.next()? != mount {
        return None;
    }
    let (major, minor) = fields.nth(1)?.split_once(':')?;
    Some(major.parse::<u32>().ok()? << 20 | minor.parse::<u32>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_those_of_the_mount() {
        let line = "36 35 98:1 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        assert_eq!(device_of(line, "36"), Some(98 << 20 | 1));
        assert_eq!(device_of(line, "35"), None);
        assert_eq!(device_of("36 35 98", "36"), None);
    }

    #[test]
    fn links_are_followed_and_other_files_are_other_files() {
        let own = executable(Path::new("/proc/self/exe")).unwrap();
        assert_eq!(own, executable(&std::env::current_exe().unwrap()).unwrap());
        assert_ne!(own, executable(Path::new("/bin/true")).unwrap());
        assert_eq!(executable(Path::new("/nowhere")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
