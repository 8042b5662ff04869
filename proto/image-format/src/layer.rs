//! Extraction of the one object file from the bytes of a layer.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use crate::ELF_LIMIT;
use crate::content_kind::{TAR_HEADER, is_tar, kind_of};
use crate::packing::{UnsupportedPacking, fill, unpacked};
use crate::unpacked_limit::{Limited, UNPACKED_LIMIT, is_over_limit};

/// Reason why a layer has no usable object.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error("it unpacks to more than {0} bytes")]
    TooLarge(u64),
    /// The layer is readable and has no object. Another layer may have one.
    #[error("{0}")]
    NoObject(String),
    /// The compression of the layer is not supported.
    #[error(transparent)]
    Unsupported(#[from] UnsupportedPacking),
    /// The layer is malformed.
    #[error("{0}")]
    Malformed(String),
}

/// Object file of a layer.
#[derive(Debug, PartialEq, Eq)]
pub struct FoundObject {
    /// Name of the file without folders; none if the layer is the file itself.
    pub name: Option<String>,
    /// Contents of the file.
    pub bytes: Vec<u8>,
}

const ELF: &[u8] = b"\x7fELF";
const ELF_START: usize = 20;
const EM_BPF: u16 = 247;
/// Maximum number of entries in a layer: an image has one file, to which docker may add its folders.
const MAX_ENTRIES: usize = 64;
const NAME_LIMIT: u64 = 16 << 10;
const SHOWN_CHARACTERS: usize = 160;

/// Returns the object file in a layer: an ELF file, or a tar with one, compressed by gzip, zstd or not at
/// all. The content decides, not the media type, on which tools disagree.
pub fn decode(layer: impl Read) -> Result<FoundObject, LayerError> {
    let mut reader = Limited::new(unpacked(layer).map_err(failed)?);
    let mut start = [0; TAR_HEADER];
    let length = fill(&mut reader, &mut start).map_err(failed)?;
    let start = &start[..length];
    if start.starts_with(ELF) {
        return Ok(FoundObject { name: None, bytes: object(&mut reader, start.to_vec())? });
    }
    if !start.is_empty() && !is_tar(start) {
        return Err(LayerError::NoObject(format!(
            "it is neither an ELF file nor a tar, but {}",
            kind_of(start)
        )));
    }
    from_tar(start.chain(reader))
}

fn object(reader: &mut impl Read, mut bytes: Vec<u8>) -> Result<Vec<u8>, LayerError> {
    let left = ELF_LIMIT + 1 - bytes.len() as u64;
    reader.take(left).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > ELF_LIMIT {
        return Err(LayerError::TooLarge(ELF_LIMIT));
    }
    Ok(bytes)
}

/// Returns the rank of a file, the lowest is best: eBPF before other machines, then names ending in `.o`.
fn rank(path: &Path, start: &[u8]) -> u8 {
    let is_little = start.get(5) == Some(&1);
    let machine = start.get(18..20).and_then(|bytes| bytes.try_into().ok());
    let machine =
        machine.map(|bytes| if is_little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) });
    let is_named = path.extension().is_some_and(|extension| extension == "o");
    u8::from(!is_named) + if machine == Some(EM_BPF) { 0 } else { 2 }
}

fn from_tar(reader: impl Read) -> Result<FoundObject, LayerError> {
    let mut archive = tar::Archive::new(reader);
    let mut found: Option<(u8, FoundObject)> = None;
    let mut count = 0;
    let mut long_name: Option<PathBuf> = None;
    // Raw entries: otherwise the tar crate would read names of any length into memory.
    for entry in archive.entries().map_err(failed)?.raw(true) {
        let mut entry = entry.map_err(failed)?;
        count += 1;
        if count > MAX_ENTRIES && found.is_some() {
            break;
        }
        if count > MAX_ENTRIES {
            return Err(LayerError::NoObject(format!("it has more than {MAX_ENTRIES} entries")));
        }
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() || kind.is_pax_local_extensions() {
            long_name = read_name(&mut entry, kind.is_pax_local_extensions())?.or(long_name);
            continue;
        }
        // Skip the target of a link, which comes before the link itself.
        if kind.is_gnu_longlink() {
            continue;
        }
        let path = match long_name.take() {
            Some(path) => path,
            None => entry.path().map_err(failed)?.into_owned(),
        };
        // Links and devices are never followed: the target of a link has an entry of its own.
        if leads_outside(&path) || !kind.is_file() && !kind.is_contiguous() {
            continue;
        }
        let mut start = [0; ELF_START];
        let length = fill(&mut entry, &mut start).map_err(failed)?;
        let (start, rank) = (&start[..length], rank(&path, &start[..length]));
        if start.starts_with(ELF) && found.as_ref().is_none_or(|(best, _)| rank < *best) {
            let mut bytes = Vec::with_capacity(usize::try_from(entry.size().min(ELF_LIMIT)).unwrap_or(0));
            bytes.extend_from_slice(start);
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            found = Some((rank, FoundObject { name, bytes: object(&mut entry, bytes)? }));
        }
    }
    found
        .map(|(_, found)| found)
        .ok_or_else(|| LayerError::NoObject(format!("none of its {count} entries is an ELF file")))
}

/// Reads a long file name, in GNU's form or as a record `LENGTH path=NAME` of a pax header.
fn read_name(entry: &mut impl Read, pax: bool) -> Result<Option<PathBuf>, LayerError> {
    let mut bytes = Vec::new();
    entry.take(NAME_LIMIT + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > NAME_LIMIT {
        return Err(LayerError::Malformed(format!("a name in it has more than {NAME_LIMIT} bytes")));
    }
    let name = if pax {
        let records = tar::PaxExtensions::new(&bytes);
        let mut names = records.filter_map(Result::ok).filter(|record| record.key_bytes() == b"path");
        names.next().map(|record| record.value_bytes().to_vec())
    } else {
        Some(bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec())
    };
    Ok(name.map(|name| PathBuf::from(OsString::from_vec(name))))
}

/// Returns whether a path has `..`. Absolute paths are allowed, because no entry is written to its path.
fn leads_outside(path: &Path) -> bool {
    path.components().any(|component| component == Component::ParentDir)
}

fn failed(error: io::Error) -> LayerError {
    if let Some(unsupported) = UnsupportedPacking::of(&error) {
        return unsupported.into();
    }
    if is_over_limit(&error) {
        return LayerError::TooLarge(UNPACKED_LIMIT);
    }
    // Tar readers include the malformed text in their errors.
    let why: String = error.to_string().chars().filter(|c| !c.is_control()).take(SHOWN_CHARACTERS).collect();
    LayerError::Malformed(format!("it cannot be unpacked: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write as _;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn tar(entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, bytes) in entries {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            builder.append(&header, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    const FILE: tar::EntryType = tar::EntryType::Regular;
    const OBJECT: &[u8] = b"\x7fELF and so on";

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn zstd_stored(bytes: &[u8]) -> Vec<u8> {
        let mut frame = b"\x28\xb5\x2f\xfd\0\x58".to_vec();
        for block in bytes.chunks(128 << 10) {
            frame.extend(&u32::try_from(block.len() << 3).unwrap().to_le_bytes()[..3]);
            frame.extend(block);
        }
        frame.extend([1, 0, 0]);
        frame
    }

    fn malformed(layer: &[u8], part: &str) {
        match decode(layer) {
            Err(LayerError::Malformed(why)) => assert!(why.contains(part), "{why}"),
            other => panic!("{part}: {other:?}"),
        }
    }

    fn holds_none(layer: &[u8], part: &str) {
        match decode(layer) {
            Err(LayerError::NoObject(why)) => assert!(why.contains(part), "{why}"),
            other => panic!("{part}: {other:?}"),
        }
    }

    #[test]
    fn layer_of_each_packing_gives_the_object() {
        let packed = tar(&[("./a.o", FILE, OBJECT)]);
        for (layer, name) in [
            (OBJECT.to_vec(), None),
            (gzip(OBJECT), None),
            (packed.clone(), Some("a.o".to_owned())),
            (gzip(&packed), Some("a.o".to_owned())),
            (zstd(OBJECT), None),
            (zstd(&packed), Some("a.o".to_owned())),
            ([gzip(&packed[..700]), gzip(&packed[700..])].concat(), Some("a.o".to_owned())),
            ([zstd(&packed[..700]), zstd(&packed[700..])].concat(), Some("a.o".to_owned())),
        ] {
            assert_eq!(decode(layer.as_slice()).unwrap(), FoundObject { name, bytes: OBJECT.to_vec() });
        }
    }

    #[test]
    fn layer_with_several_files_gives_the_first_object() {
        let other = b"\x7fELF another";
        let layer = tar(&[
            ("dir/", tar::EntryType::Directory, b""),
            ("README", FILE, b"text"),
            ("tool", FILE, other),
            ("dir/a.o", FILE, OBJECT),
            ("b.o", FILE, other),
        ]);
        assert_eq!(
            decode(layer.as_slice()).unwrap(),
            FoundObject { name: Some("a.o".to_owned()), bytes: OBJECT.to_vec() }
        );
        let layer = tar(&[("text.o", FILE, b"text"), ("bytecode", FILE, OBJECT)]);
        assert_eq!(decode(layer.as_slice()).unwrap().name.as_deref(), Some("bytecode"));
        let mut bpf = [OBJECT, &[0; 20]].concat();
        (bpf[5], bpf[18], bpf[19]) = (1, 247, 0);
        let layer = tar(&[("tool", FILE, OBJECT), ("crt1.o", FILE, OBJECT), ("probe", FILE, &bpf)]);
        assert_eq!(decode(layer.as_slice()).unwrap().name.as_deref(), Some("probe"));
    }

    #[test]
    fn entries_with_paths_outside_are_left_out() {
        for name in ["../a.o", "a/../../b.o", "/../a.o"] {
            for pack in [gzip, zstd, <[u8]>::to_vec] {
                let layer = pack(&tar(&[(name, FILE, OBJECT), ("fine", FILE, OBJECT)]));
                assert_eq!(decode(layer.as_slice()).unwrap().name.as_deref(), Some("fine"));
                holds_none(&pack(&tar(&[(name, FILE, OBJECT)])), "none of its 1 entries");
            }
        }
    }

    #[test]
    fn layer_with_root_links_and_absolute_names_has_its_object() {
        const FOLDER: tar::EntryType = tar::EntryType::Directory;
        let name = |entries: &[(&str, tar::EntryType, &[u8])]| decode(tar(entries).as_slice()).unwrap().name;
        let a = Some("a.o".to_owned());
        assert_eq!(name(&[("/", FOLDER, b""), ("a.o", FILE, OBJECT)]), a);
        assert_eq!(name(&[("./", FOLDER, b""), ("./opt/", FOLDER, b""), ("./opt/a.o", FILE, OBJECT)]), a);
        assert_eq!(name(&[("/opt/a.o", FILE, OBJECT)]), a);
        for kind in
            [tar::EntryType::Symlink, tar::EntryType::Link, tar::EntryType::Char, tar::EntryType::Fifo]
        {
            assert_eq!(name(&[("latest.o", kind, b""), ("a.o", FILE, OBJECT)]), a);
            holds_none(&tar(&[("a.o", kind, b"")]), "none of its 1 entries");
        }
        assert_eq!(name(&[("a.o", tar::EntryType::Continuous, OBJECT)]), a);
    }

    #[test]
    fn layer_of_another_kind_is_named() {
        for (layer, kind) in [
            (b"# read me\n".as_slice(), "a text"),
            ("# lies mich \u{e9}\n".as_bytes(), "a text"),
            (b"{\"a\":1}", "a JSON document"),
            (b"\0asm\x01\0\0\0", "a WebAssembly module"),
            (b"\x01\x02\x03\x04", "begins with the bytes 01 02 03 04"),
            (&[7; 2000], "begins with the bytes 07 07"),
        ] {
            for pack in [gzip, zstd, <[u8]>::to_vec] {
                holds_none(&pack(layer), kind);
            }
        }
        let unsupported = decode(b"\xfd7zXZ\0\0".as_slice()).unwrap_err();
        assert!(unsupported.to_string().contains("compressed by xz"), "{unsupported}");
    }

    #[test]
    fn layer_with_long_names_is_read_and_names_without_end_are_not() {
        let long = format!("{}/a.o", "d".repeat(150));
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(OBJECT.len() as u64);
        builder.append_data(&mut header, &long, OBJECT).unwrap();
        let layer = builder.into_inner().unwrap();
        assert_eq!(decode(layer.as_slice()).unwrap().name.as_deref(), Some("a.o"));
        let pax = |path: &str| {
            let mut builder = tar::Builder::new(Vec::new());
            builder.append_pax_extensions([("path", path.as_bytes())]).unwrap();
            let mut header = tar::Header::new_ustar();
            header.set_size(OBJECT.len() as u64);
            header.set_path("short").unwrap();
            header.set_cksum();
            builder.append(&header, OBJECT).unwrap();
            builder.into_inner().unwrap()
        };
        assert_eq!(decode(pax(&long).as_slice()).unwrap().name.as_deref(), Some("a.o"));
        holds_none(&pax("../a.o"), "none of its");
        let endless = vec![b'a'; usize::try_from(NAME_LIMIT).unwrap() + 1];
        malformed(&gzip(&tar(&[("x", tar::EntryType::GNULongName, &endless)])), "a name in it");
    }

    #[test]
    fn layer_without_an_object_is_refused() {
        holds_none(&[], "none of its 0 entries");
        holds_none(&gzip(&[]), "none of its 0 entries");
        holds_none(&tar(&[]), "none of its 0 entries");
        holds_none(&tar(&[("a.o", FILE, b"text")]), "none of its 1 entries");
        for pack in [gzip, zstd] {
            malformed(&pack(&tar(&[("a.o", FILE, OBJECT)]))[..40], "cannot be unpacked");
        }
        let damaged = [tar(&[("a", FILE, b"text")])[..1024].to_vec(), vec![0xc3; 1024]].concat();
        malformed(&damaged, "cannot be unpacked");
        let many = vec![("a", FILE, b"".as_slice()); 65];
        holds_none(&tar(&many), "more than 64");
        let first = [&[("a.o", FILE, OBJECT)][..], &many].concat();
        assert_eq!(decode(tar(&first).as_slice()).unwrap().name.as_deref(), Some("a.o"));
    }

    #[test]
    fn layer_that_is_a_bomb_is_refused() {
        let limit = usize::try_from(ELF_LIMIT).unwrap();
        let mut large = OBJECT.to_vec();
        large.resize(limit + 1, 0);
        let packed = tar(&[("a.o", FILE, &large)]);
        for layer in [large.clone(), gzip(&large), gzip(&packed), zstd_stored(&large), zstd_stored(&packed)] {
            assert!(matches!(decode(layer.as_slice()), Err(LayerError::TooLarge(_))));
        }
        let zeros = vec![0; usize::try_from(UNPACKED_LIMIT / 2).unwrap()];
        let layer = tar(&[("a", FILE, &zeros), ("b", FILE, &zeros), ("c.o", FILE, OBJECT)]);
        for layer in [gzip(&layer), zstd_stored(&layer)] {
            let found = decode(layer.as_slice()).map(|found| found.name);
            assert!(matches!(found, Err(LayerError::TooLarge(_))), "{found:?}");
        }
        large.truncate(limit);
        for layer in [gzip(&large), zstd_stored(&large)] {
            assert_eq!(decode(layer.as_slice()).unwrap().bytes.len(), limit);
        }
    }
}
