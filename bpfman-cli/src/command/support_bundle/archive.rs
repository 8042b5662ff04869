//! Archive: built in memory with a size limit, and moved into place at once.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::error::CliError;

const MAX_BYTES: usize = 64 << 20;
/// Space reserved for failures and the manifest, in bytes.
const KEPT: usize = 2 << 20;

pub struct BundleArchive {
    folder: String,
    files: Vec<(String, Vec<u8>)>,
    bytes: usize,
}

impl BundleArchive {
    pub fn new(folder: &str) -> Self {
        Self { folder: folder.to_owned(), files: Vec::new(), bytes: 0 }
    }

    pub fn add(&mut self, name: &str, bytes: &[u8]) -> bool {
        if bytes.is_empty() {
            return true;
        }
        let is_small = bytes.len() <= KEPT / 16;
        let most = if is_small { MAX_BYTES } else { MAX_BYTES - KEPT };
        if self.bytes + bytes.len() > most {
            return false;
        }
        self.bytes += bytes.len();
        self.files.push((name.to_owned(), bytes.to_vec()));
        true
    }

    /// Writes the archive, readable by this user only: complete or not at all, and replacing nothing. Returns its size.
    pub fn write(self, manifest: &[u8], file: &Path) -> Result<u64, CliError> {
        let failed = |source| CliError::File { path: file.to_owned(), source };
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let packed = self.packed(manifest).map_err(failed)?;
        // The file has mode 0600 from the beginning.
        let mut new =
            tempfile::Builder::new().prefix(".bpfman-support-").tempfile_in(folder).map_err(failed)?;
        new.as_file().set_permissions(fs::Permissions::from_mode(0o600)).map_err(failed)?;
        new.write_all(&packed).and_then(|()| new.as_file().sync_all()).map_err(failed)?;
        new.persist_noclobber(file).map_err(|error| failed(error.error))?;
        Ok(packed.len() as u64)
    }

    fn packed(self, manifest: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let manifest = ("manifest.json".to_owned(), manifest.to_vec());
        for (name, bytes) in std::iter::once(manifest).chain(self.files) {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o600);
            header.set_mtime(now);
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, format!("{}/{name}", self.folder), &bytes[..])?;
        }
        archive.into_inner()?.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn an_archive_is_whole_and_private_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.tar.gz");
        let mut archive = BundleArchive::new("all");
        assert!(archive.add("x/one.txt", b"one") && archive.add("empty.txt", b""));
        let bytes = archive.write(b"{}", &file).unwrap();
        let found = fs::metadata(&file).unwrap();
        assert_eq!((found.len(), found.permissions().mode() & 0o777), (bytes, 0o600));
        let mut names = Vec::new();
        let packed = flate2::read::GzDecoder::new(fs::File::open(&file).unwrap());
        for entry in tar::Archive::new(packed).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            names.push((name, text));
        }
        let of = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        assert_eq!(names, [of("all/manifest.json", "{}"), of("all/x/one.txt", "one")]);
        assert!(BundleArchive::new("all").write(b"{}", &file).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left of the second");
    }

    #[test]
    fn files_that_do_not_fit_are_left_out_and_why_has_room() {
        let mut archive = BundleArchive::new("all");
        let large = vec![0; 16 << 20];
        let added = (0..5).filter(|number| archive.add(&number.to_string(), &large)).count();
        assert_eq!(added, 3);
        assert!(archive.add("why.txt", b"no room"));
    }
}
