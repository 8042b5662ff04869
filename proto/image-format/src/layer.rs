//! From the bytes of a layer to the one object file in it.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::ELF_LIMIT;

/// Why a layer holds no usable file.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// It grows beyond the limit.
    #[error("it unpacks to more than {0} bytes")]
    TooLarge(u64),
    /// Something else.
    #[error("{0}")]
    Malformed(String),
}

/// The file found.
#[derive(Debug, PartialEq, Eq)]
pub struct FoundObject {
    /// Its name without folders; none if the layer is the file itself.
    pub name: Option<String>,
    /// The file itself.
    pub bytes: Vec<u8>,
}

const ELF: &[u8] = b"\x7fELF";
const GZIP: &[u8] = &[0x1f, 0x8b];
/// Entries of a tar that are looked at. An image has one; docker may add its folders.
const MAX_ENTRIES: usize = 64;
/// Bytes of a name, or of a pax header around one.
const NAME_LIMIT: u64 = 16 << 10;
/// Bytes that a layer may unpack to, whatever is in it: the most that are sent, and room for headers.
pub const UNPACKED_LIMIT: u64 = 128 << 20;

/// Takes the object file out of a layer: an ELF file, or a tar with one, each compressed by gzip or not. Reads it piece
/// by piece: only the object itself is ever whole in memory.
///
/// Content decides, not the media type: tools disagree about those.
///
/// # Errors
/// [`LayerError`]: it grows beyond a limit, or holds no object.
pub fn decode(mut layer: impl Read) -> Result<FoundObject, LayerError> {
    let mut start = [0; 4];
    let length = fill(&mut layer, &mut start).map_err(failed)?;
    let whole = io::Cursor::new(start).take(length as u64).chain(layer);
    if start[..length].starts_with(GZIP) {
        let mut reader = Limited::new(MultiGzDecoder::new(whole));
        let mut start = [0; 4];
        let length = fill(&mut reader, &mut start).map_err(failed)?;
        unpacked(io::Cursor::new(start).take(length as u64).chain(reader), &start[..length])
    } else {
        unpacked(Limited::new(whole), &start[..length])
    }
}

fn unpacked(mut reader: impl Read, start: &[u8]) -> Result<FoundObject, LayerError> {
    if start != ELF {
        return from_tar(reader);
    }
    Ok(FoundObject { name: None, bytes: object(&mut reader, Vec::new())? })
}

/// The rest of an object whose beginning is known.
fn object(reader: &mut impl Read, mut bytes: Vec<u8>) -> Result<Vec<u8>, LayerError> {
    let left = ELF_LIMIT + 1 - bytes.len() as u64;
    reader.take(left).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > ELF_LIMIT {
        return Err(LayerError::TooLarge(ELF_LIMIT));
    }
    Ok(bytes)
}

/// The first entry named `*.o` that is an ELF file, else the first ELF file of any name (v0.6.0 took any).
fn from_tar(reader: impl Read) -> Result<FoundObject, LayerError> {
    let mut archive = tar::Archive::new(reader);
    let mut found: Option<FoundObject> = None;
    let mut count = 0;
    // The name of the next entry, where it is too long for a header.
    let mut long_name: Option<PathBuf> = None;
    // Raw: the tar crate would read names of any length into memory.
    for entry in archive.entries().map_err(failed)?.raw(true) {
        let mut entry = entry.map_err(failed)?;
        count += 1;
        if count > MAX_ENTRIES {
            return Err(LayerError::Malformed(format!("it has more than {MAX_ENTRIES} entries")));
        }
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() || kind.is_pax_local_extensions() {
            long_name = read_name(&mut entry, kind.is_pax_local_extensions())?.or(long_name);
            continue;
        }
        let path = match long_name.take() {
            Some(path) => path,
            None => entry.path().map_err(failed)?.into_owned(),
        };
        check_path(&path)?;
        if kind.is_dir() || kind.is_pax_global_extensions() {
            continue;
        }
        if !kind.is_file() {
            // Links and devices have no business in a bytecode image; following one could lead anywhere.
            return Err(LayerError::Malformed(format!("`{}` is not a plain file", path.display())));
        }
        let is_object = path.extension().is_some_and(|extension| extension == "o");
        let have_object =
            found.as_ref().and_then(|f| f.name.as_ref()).is_some_and(|name| name.ends_with(".o"));
        if have_object || (found.is_some() && !is_object) {
            continue;
        }
        let mut start = [0; 4];
        let length = fill(&mut entry, &mut start).map_err(failed)?;
        if start[..length] == *ELF {
            let mut bytes = Vec::with_capacity(usize::try_from(entry.size().min(ELF_LIMIT)).unwrap_or(0));
            bytes.extend_from_slice(&start);
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            found = Some(FoundObject { name, bytes: object(&mut entry, bytes)? });
        }
    }
    found.ok_or_else(|| LayerError::Malformed(format!("none of its {count} entries is an ELF file")))
}

/// The name in an entry that only holds the next one's: GNU's, or a record `LENGTH path=NAME` of a pax header.
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

/// Nothing is ever written by an entry's path. One that tries to lead elsewhere is still refused whole: its
/// author meant harm to somebody.
fn check_path(path: &Path) -> Result<(), LayerError> {
    let plain = |component| matches!(component, Component::Normal(_) | Component::CurDir);
    if path.components().all(plain) {
        return Ok(());
    }
    Err(LayerError::Malformed(format!("the entry `{}` leads outside the image", path.display())))
}

fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match reader.read(&mut buffer[length..])? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}

fn failed(error: io::Error) -> LayerError {
    if error.get_ref().is_some_and(|inner| inner.is::<Bomb>()) {
        return LayerError::TooLarge(UNPACKED_LIMIT);
    }
    // The tar reader wraps errors in its own, with ours as the cause.
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        if inner.is::<Bomb>() {
            return LayerError::TooLarge(UNPACKED_LIMIT);
        }
        if let Some(io) = inner.downcast_ref::<io::Error>()
            && io.get_ref().is_some_and(|inner| inner.is::<Bomb>())
        {
            return LayerError::TooLarge(UNPACKED_LIMIT);
        }
        cause = inner.source();
    }
    LayerError::Malformed(format!("it cannot be unpacked: {error}"))
}

#[derive(Debug, thiserror::Error)]
#[error("too much data")]
struct Bomb;

/// Fails, instead of ending quietly, once more than the limit was read.
struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R> Limited<R> {
    fn new(inner: R) -> Self {
        Self { inner, left: UNPACKED_LIMIT }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| io::Error::other(Bomb))?;
        Ok(read)
    }
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

    /// Writes the name as it is: the tar crate's own setter refuses dangerous ones.
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

    fn malformed(layer: &[u8], part: &str) {
        match decode(layer) {
            Err(LayerError::Malformed(why)) => assert!(why.contains(part), "{why}"),
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
    }

    #[test]
    fn layer_whose_paths_lead_elsewhere_is_refused() {
        for name in ["../a.o", "a/../../b.o", "/etc/a.o"] {
            malformed(&tar(&[("fine.o", FILE, OBJECT), (name, FILE, OBJECT)]), "leads outside");
        }
        for kind in
            [tar::EntryType::Symlink, tar::EntryType::Link, tar::EntryType::Char, tar::EntryType::Fifo]
        {
            malformed(&tar(&[("a.o", kind, b"")]), "not a plain file");
        }
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
        malformed(&pax("../a.o"), "leads outside");
        let endless = vec![b'a'; usize::try_from(NAME_LIMIT).unwrap() + 1];
        malformed(&gzip(&tar(&[("x", tar::EntryType::GNULongName, &endless)])), "a name in it");
    }

    #[test]
    fn layer_without_an_object_is_refused() {
        malformed(&[], "none of its 0 entries");
        malformed(&gzip(&[]), "none of its 0 entries");
        malformed(&tar(&[("a.o", FILE, b"text")]), "none of its 1 entries");
        malformed(&[7; 2000], "cannot be unpacked");
        malformed(&gzip(&tar(&[("a.o", FILE, OBJECT)]))[..40], "cannot be unpacked");
        let many = vec![("a", FILE, b"".as_slice()); 65];
        malformed(&tar(&many), "more than 64");
    }

    #[test]
    fn layer_that_is_a_bomb_is_refused() {
        let limit = usize::try_from(ELF_LIMIT).unwrap();
        let mut large = OBJECT.to_vec();
        large.resize(limit + 1, 0);
        for layer in [large.clone(), gzip(&large), gzip(&tar(&[("a.o", FILE, &large)]))] {
            assert!(matches!(decode(layer.as_slice()), Err(LayerError::TooLarge(_))));
        }
        // Many files, each within the limit, together beyond it.
        let zeros = vec![0; usize::try_from(UNPACKED_LIMIT / 2).unwrap()];
        let layer = gzip(&tar(&[("a", FILE, &zeros), ("b", FILE, &zeros), ("c.o", FILE, OBJECT)]));
        assert!(
            matches!(decode(layer.as_slice()), Err(LayerError::TooLarge(_))),
            "{:?}",
            decode(layer.as_slice()).map(|f| f.name)
        );
        large.truncate(limit);
        assert_eq!(decode(gzip(&large).as_slice()).unwrap().bytes.len(), limit);
    }
}
