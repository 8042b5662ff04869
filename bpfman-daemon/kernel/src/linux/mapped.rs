use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::symbols::TargetFile;
use super::target_root::reopen;
use super::{libraries, processes};

/// Numbers, and a path of at most 4096 bytes with escaped line breaks.
const MAX_LINE: u64 = 16 << 10;
/// The kernel's default limit is 65,530.
const MAX_MAPPINGS: usize = 1_000_000;

/// Opens the very file that a process has mapped, even if it was removed or is in another mount namespace.
pub fn library(pid: u32, name: &str, limit: u64) -> Option<TargetFile> {
    let process = processes::root().join(pid.to_string());
    let maps = File::open(process.join("maps")).ok()?;
    Lines(BufReader::new(maps)).take(MAX_MAPPINGS).find_map(|line| {
        let (range, path) = executable(&line)?;
        let file = Path::new(path).file_name()?.to_str()?;
        if !libraries::is_named(file, name) {
            return None;
        }
        let file = open(&process, range, limit).ok()?;
        Some(TargetFile::new(file, PathBuf::from(path)))
    })
}

/// Lines of a file of `/proc`, empty if they are no text: the process controls its mappings.
struct Lines(BufReader<File>);

impl Iterator for Lines {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut line = Vec::new();
        self.0.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).ok().filter(|bytes| *bytes > 0)?;
        Some(String::from_utf8(line).unwrap_or_default())
    }
}

/// Format: "START-END r-xp OFFSET DEVICE INODE   PATH".
pub(super) fn executable(line: &str) -> Option<(&str, &str)> {
    let mut fields = line.trim_end_matches('\n').splitn(6, ' ');
    let (range, rights) = (fields.next()?, fields.next()?);
    let path = fields.nth(3)?.trim_start();
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    (rights.as_bytes().get(2) == Some(&b'x') && path.starts_with('/')).then_some((range, path))
}

/// Opens by the link in `map_files`, which needs CAP_SYS_ADMIN: another file may be at the path by now.
fn open(process: &Path, range: &str, limit: u64) -> io::Result<File> {
    let link = process.join("map_files").join(shortened(range));
    let place: OwnedFd = rustix::fs::open(link, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    reopen(&place, limit)
}

/// `maps` has leading zeros, `map_files` does not.
fn shortened(range: &str) -> String {
    let bare = |address: &str| match address.trim_start_matches('0') {
        "" => "0".to_owned(),
        bare => bare.to_owned(),
    };
    range.split('-').map(bare).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_run_is_a_library() {
        let line = "7f01e000-7f17e000 r-xp 0002c000 fe:00 1234    /opt/a b/libx.so.1 (deleted)\n";
        assert_eq!(executable(line), Some(("7f01e000-7f17e000", "/opt/a b/libx.so.1")));
        for line in [
            "7f01e000-7f17e000 r--p 0002c000 fe:00 1234    /opt/libx.so.1\n",
            "7ffe8000-7ffea000 r-xp 00000000 00:00 0       [vdso]\n",
            "7ffe8000-7ffea000 rwxp 00000000 00:00 0 \n",
            "",
        ] {
            assert_eq!(executable(line), None, "{line}");
        }
        assert_eq!(shortened("00401000-0040a000"), "401000-40a000");
    }

    #[test]
    fn a_process_tells_which_library_it_runs() {
        let own = library(std::process::id(), "libc", 1 << 30).unwrap();
        assert!(own.path().starts_with("/"), "{own:?}");
        assert!(library(std::process::id(), "no-such-library", 1 << 30).is_none());
        assert!(library(u32::MAX, "libc", 1 << 30).is_none());
    }
}
