//! Separate debug information, searched by build id and `.gnu_debuglink` below the binary's root, as debuggers do. The
//! binary's author chose both; they can only name files in the folders that debuggers search.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path, PathBuf};

use bpfman_model::hexadecimal;
use flate2::Crc;
use object::Endianness;
use object::elf;
use object::pod::Pod;
use object::read::elf::FileHeader;

use super::elf_binary::Binary;
use super::symbols::{MAX_TARGET, TargetFile};

const FOLDER: &str = "/usr/lib/debug";
/// A SHA-1 id has 20 bytes; other notes may be in the same section.
const MAX_NOTES: usize = 4 << 10;
const MAX_ID: usize = 64;
const MAX_LINK: usize = 512;
const BUILD_ID: u32 = 3;

pub fn of<Elf: FileHeader<Endian = Endianness> + Pod>(
    target: &TargetFile,
    binary: &Binary<'_, Elf>,
) -> io::Result<Option<File>> {
    let mut left = MAX_TARGET;
    if let Some(id) = build_id(binary)? {
        let has_id = |file: &File| {
            Binary::<Elf>::open(file)
                .and_then(|debug| build_id(&debug))
                .is_ok_and(|other| other.as_ref() == Some(&id))
        };
        let found = by_build_id(&id).and_then(|path| open(target, &path, &mut left)).filter(has_id);
        if found.is_some() {
            return Ok(found);
        }
    }
    let Some((name, checksum)) = debug_link(binary)? else { return Ok(None) };
    let is_of_binary = |file: &File| self::checksum(file).is_ok_and(|found| found == checksum);
    Ok(by_link(target, &name).iter().find_map(|path| open(target, path, &mut left).filter(&is_of_binary)))
}

fn build_id<Elf: FileHeader<Endian = Endianness> + Pod>(
    binary: &Binary<'_, Elf>,
) -> io::Result<Option<Vec<u8>>> {
    let Some(section) = binary.named_section(elf::SHT_NOTE, ".note.gnu.build-id")? else { return Ok(None) };
    let notes = binary.contents(&section, MAX_NOTES)?;
    Ok(notes.and_then(|notes| id_in(&notes, binary.endian)))
}

/// Notes: lengths of name and contents, a type, then both parts, padded to words.
fn id_in(mut notes: &[u8], endian: Endianness) -> Option<Vec<u8>> {
    loop {
        let (header, rest) = notes.split_at_checked(12)?;
        let word = |at: usize| word(header.get(at..at + 4)?, endian);
        let (name, contents, kind) = (word(0)? as usize, word(4)? as usize, word(8)?);
        let contents_at = name.checked_next_multiple_of(4)?;
        let end = contents_at.checked_add(contents)?;
        if kind == BUILD_ID && rest.get(..name) == Some(b"GNU\0") {
            let id = rest.get(contents_at..end)?;
            return (2..=MAX_ID).contains(&id.len()).then(|| id.to_vec());
        }
        notes = rest.get(end.checked_next_multiple_of(4)?..)?;
    }
}

fn word(bytes: &[u8], endian: Endianness) -> Option<u32> {
    let bytes = bytes.try_into().ok()?;
    Some(match endian {
        Endianness::Little => u32::from_le_bytes(bytes),
        Endianness::Big => u32::from_be_bytes(bytes),
    })
}

fn by_build_id(id: &[u8]) -> Option<PathBuf> {
    let (first, rest) = id.split_at_checked(1)?;
    let [first, rest] = [first, rest].map(hexadecimal);
    Some(Path::new(FOLDER).join(".build-id").join(first).join(format!("{rest}.debug")))
}

/// Returns name and checksum of a binary's debug file.
fn debug_link<Elf: FileHeader<Endian = Endianness> + Pod>(
    binary: &Binary<'_, Elf>,
) -> io::Result<Option<(String, u32)>> {
    let Some(section) = binary.named_section(elf::SHT_PROGBITS, ".gnu_debuglink")? else { return Ok(None) };
    let bytes = binary.contents(&section, MAX_LINK)?;
    Ok(bytes.and_then(|bytes| link_in(&bytes, binary.endian)))
}

/// Format: a zero-terminated plain file name, and the checksum at the next word.
fn link_in(bytes: &[u8], endian: Endianness) -> Option<(String, u32)> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let name = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut parts = Path::new(name).components();
    let is_name =
        matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name);
    let at = (end + 1).next_multiple_of(4);
    let checksum = word(bytes.get(at..at + 4)?, endian)?;
    is_name.then(|| (name.to_owned(), checksum))
}

fn by_link(target: &TargetFile, name: &str) -> Vec<PathBuf> {
    let mut binaries = vec![target.path().to_owned()];
    if target.root().is_host() {
        // Debuggers resolve symbolic links: also search the folder of the resolved path.
        binaries.extend(path_of(target.file()).filter(|path| path != target.path()));
    }
    let folders: Vec<&Path> =
        binaries.iter().filter_map(|path| path.parent()).filter(|folder| folder.is_absolute()).collect();
    let below = |folder: &Path| Path::new(FOLDER).join(folder.strip_prefix("/").unwrap_or(folder)).join(name);
    let places = folders
        .iter()
        .flat_map(|folder| [folder.join(name), folder.join(".debug").join(name), below(folder)]);
    places.filter(|place| !binaries.contains(place)).collect()
}

fn path_of(file: &File) -> Option<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}

/// Opens with the rights with which the binary was opened, since answers reveal the file to callers.
fn open(target: &TargetFile, path: &Path, left: &mut u64) -> Option<File> {
    let found = target.root().open(path, *left).ok()?.into_file();
    *left -= found.metadata().ok()?.len().min(*left);
    Some(found)
}

fn checksum(file: &File) -> io::Result<u32> {
    let mut checksum = Crc::new();
    let mut buffer = vec![0; 64 << 10];
    let mut at = 0;
    loop {
        let read = file.read_at(&mut buffer, at)?;
        if read == 0 {
            return Ok(checksum.sum());
        }
        checksum.update(&buffer[..read]);
        at += read as u64;
        if at > MAX_TARGET {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use bpfman_model::FileReader;

    use super::super::elf_symbols::file_offset;
    use super::super::symbols::find_file;
    use super::super::target_root::TargetRoot;
    use super::*;

    const SOURCE: &str = "int work(int n) { return n + 1; } int main(void) { return work(1); }";

    fn tool(folder: &Path, line: &[&str]) {
        let status = Command::new(line[0]).args(&line[1..]).current_dir(folder).status().unwrap();
        assert!(status.success(), "{line:?}");
    }

    fn stripped(folder: &Path, linked: bool) -> u64 {
        fs::write(folder.join("app.c"), SOURCE).unwrap();
        tool(folder, &["cc", "-g", "-O0", "-Wl,--build-id", "-o", "app", "app.c"]);
        let at = offset(&folder.join("app")).unwrap();
        tool(folder, &["objcopy", "--only-keep-debug", "app", "app.debug"]);
        tool(folder, &["strip", "app"]);
        if linked {
            link_to(folder, "app.debug");
        }
        at
    }

    fn link_to(folder: &Path, file: &str) {
        tool(folder, &["objcopy", "--remove-section=.gnu_debuglink", "app"]);
        tool(folder, &["objcopy", &format!("--add-gnu-debuglink={file}"), "app"]);
    }

    fn offset(path: &Path) -> Result<u64, String> {
        let file = find_file(path.to_str().unwrap(), &Default::default(), None).unwrap();
        file_offset(&file, "work").map_err(|error| error.to_string())
    }

    #[test]
    fn symbols_are_found_beside_and_in_the_folder_for_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let at = stripped(folder.path(), true);
        assert_eq!(offset(&path("app")), Ok(at));
        fs::create_dir(path(".debug")).unwrap();
        fs::rename(path("app.debug"), path(".debug/app.debug")).unwrap();
        assert_eq!(offset(&path("app")), Ok(at));
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(path("app"), elsewhere.path().join("linked")).unwrap();
        assert_eq!(offset(&elsewhere.path().join("linked")), Ok(at));
        fs::remove_dir_all(path(".debug")).unwrap();
        assert!(offset(&path("app")).unwrap_err().contains("has no function \"work\""));
    }

    #[test]
    fn packed_symbols_are_named_where_a_function_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let at = stripped(folder.path(), true);
        fs::write(path("packed"), b"\xfd7zXZ\0").unwrap();
        tool(folder.path(), &["objcopy", "--add-section=.gnu_debugdata=packed", "app"]);
        assert_eq!(offset(&path("app")), Ok(at), "other symbols are read as before");
        fs::remove_file(path("app.debug")).unwrap();
        let error = offset(&path("app")).unwrap_err();
        assert!(error.contains("no function \"work\"") && error.contains(".gnu_debugdata"), "{error}");
    }

    #[test]
    fn file_of_another_build_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        stripped(folder.path(), true);
        let mut bytes = fs::read(path("app.debug")).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(path("app.debug"), bytes).unwrap();
        assert!(offset(&path("app")).is_err());
        fs::write(path("no.debug"), "no binary").unwrap();
        link_to(folder.path(), "no.debug");
        assert!(offset(&path("app")).unwrap_err().contains("has no function \"work\""));
    }

    /// A file with the right build id or checksum may be forged, for example in a shared image layer.
    #[test]
    fn symbol_inside_of_a_function_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let at = stripped(folder.path(), true);
        assert_eq!(offset(&path("app")), Ok(at));
        for (moved, is_found) in [(1, false), (0, true)] {
            tool(folder.path(), &["cc", "-g", "-O0", "-Wl,--build-id", "-o", "whole", "app.c"]);
            let place = format!(
                "--add-symbol=moved=.text:{:#x},function,global",
                at_in_text(&path("whole"), at) + moved
            );
            tool(folder.path(), &["objcopy", &place, "whole", "moved"]);
            tool(folder.path(), &["objcopy", "--only-keep-debug", "moved", "app.debug"]);
            link_to(folder.path(), "app.debug");
            let file = find_file(path("app").to_str().unwrap(), &Default::default(), None).unwrap();
            let found = file_offset(&file, "moved").map_err(|error| error.to_string());
            assert_eq!(found.is_ok(), is_found, "{moved}: {found:?}");
        }
    }

    fn at_in_text(path: &Path, offset: u64) -> u64 {
        let file = File::open(path).unwrap();
        let binary = Binary::<elf::FileHeader64<Endianness>>::open(&file).unwrap();
        let text = binary.named_section(elf::SHT_PROGBITS, ".text").unwrap().unwrap();
        offset - text.sh_offset.get(Endianness::Little)
    }

    #[test]
    fn symbols_are_found_by_build_id_below_the_root_of_the_binary() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let at = stripped(root.path(), false);
        let target = || {
            let root = TargetRoot::at(File::open(root.path()).unwrap(), None);
            root.open(Path::new("/app"), MAX_TARGET).unwrap().seen_by(root)
        };
        assert!(file_offset(&target(), "work").is_err());
        let file = File::open(path("app")).unwrap();
        let binary = Binary::<elf::FileHeader64<Endianness>>::open(&file).unwrap();
        let place = by_build_id(&build_id(&binary).unwrap().unwrap()).unwrap();
        let place = path(place.strip_prefix("/").unwrap().to_str().unwrap());
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::rename(path("app.debug"), &place).unwrap();
        assert_eq!(file_offset(&target(), "work").unwrap(), at);
        tool(root.path(), &["cc", "-g", "-O0", "-Wl,--build-id=0xabcd", "-o", "other", "app.c"]);
        fs::rename(path("other"), &place).unwrap();
        assert!(file_offset(&target(), "work").is_err());
    }

    #[test]
    fn file_that_the_reader_may_not_read_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let at = stripped(folder.path(), true);
        let set = |name: &str, mode| {
            fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        set("", 0o755);
        let reader = FileReader { uid: 4711, gid: 4711, ..FileReader::default() };
        let offset_as = |reader| {
            let file = find_file(path("app").to_str().unwrap(), &Default::default(), reader).unwrap();
            file_offset(&file, "work").ok()
        };
        assert_eq!(offset_as(Some(&reader)), Some(at));
        set("app.debug", 0o600);
        assert_eq!([None, Some(&reader)].map(offset_as), [Some(at), None]);
        set("app.debug", 0o644);
        fs::create_dir(path(".debug")).unwrap();
        fs::rename(path("app.debug"), path(".debug/app.debug")).unwrap();
        set(".debug", 0o700);
        assert_eq!([None, Some(&reader)].map(offset_as), [Some(at), None]);
        set(".debug", 0o755);
        assert_eq!(offset_as(Some(&reader)), Some(at));
    }

    #[test]
    fn function_of_a_library_is_said_to_be_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app");
        fs::write(
            folder.path().join("app.c"),
            "#include <stdlib.h>\nint main(void) { return malloc(1) == 0; }",
        )
        .unwrap();
        tool(folder.path(), &["cc", "-O0", "-o", "app", "app.c"]);
        let file = find_file(path.to_str().unwrap(), &Default::default(), None).unwrap();
        let error = file_offset(&file, "malloc").unwrap_err().to_string();
        assert!(error.contains("takes function \"malloc\" from a library: name that library"), "{error}");
    }

    #[test]
    fn claims_of_binaries_name_files_in_these_folders_alone() {
        let link = |name: &[u8]| {
            let mut bytes = [name, &[0]].concat();
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes.extend(7_u32.to_le_bytes());
            link_in(&bytes, Endianness::Little)
        };
        assert_eq!(link(b"app.debug"), Some(("app.debug".to_owned(), 7)));
        for name in [&b""[..], b".", b"..", b"/etc/passwd", b"../x", b"a/b", b"a/", b"\xff"] {
            assert_eq!(link(name), None, "{name:?}");
        }
        assert_eq!(link_in(b"app", Endianness::Little), None);
        assert_eq!(link_in(b"app\0abc", Endianness::Little), None);
        let note = |name: u32, size: u32, rest: &[u8]| {
            [&name.to_le_bytes()[..], &size.to_le_bytes(), &BUILD_ID.to_le_bytes(), rest].concat()
        };
        assert_eq!(id_in(&note(4, 2, b"GNU\0\x12\x34"), Endianness::Little), Some(vec![0x12, 0x34]));
        let second = [note(4, 3, b"XYZ\0abc\0"), note(4, 2, b"GNU\0\x12\x34")].concat();
        assert_eq!(id_in(&second, Endianness::Little), Some(vec![0x12, 0x34]));
        for hostile in [note(u32::MAX, 2, b"GNU\0"), note(4, u32::MAX, b"GNU\0"), note(4, 1, b"GNU\0\x01")] {
            assert_eq!(id_in(&hostile, Endianness::Little), None);
        }
    }
}
