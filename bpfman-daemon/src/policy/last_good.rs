//! Copy of the last valid policy. It is written before the policy takes effect, so that neither an error in the file
//! nor a restart brings back an older policy.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bpfman_image_format::Digest;
use serde::{Deserialize, Serialize};

use super::file::{others_can_change, read_bounded};
use super::texts::PolicyTexts;

const NAME: &str = "last-good-policy";
const MAGIC: &str = "bpfman last good policy, format ";
/// Format version. A copy with a newer one is rejected: it may hold restrictions that this version would ignore.
const FORMAT: u32 = 1;
/// Maximum size in bytes: all texts with every byte escaped.
const MAX_COPY: u64 = 128 << 20;

#[derive(Debug)]
pub struct LastGoodCopy {
    path: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptedPolicy {
    pub file: PathBuf,
    pub texts: PolicyTexts,
    pub accepted: String,
}

impl LastGoodCopy {
    pub fn new(state: &Path) -> Self {
        Self { path: state.join(NAME) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the copy. Fails if it is damaged, writable by others, of a newer format, or of another file.
    pub fn read(&self, policy: &Path) -> io::Result<Option<AcceptedPolicy>> {
        let (text, metadata) = match read_bounded(&self.path, MAX_COPY) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if let Some(why) = others_can_change(&self.path, &metadata) {
            return Err(io::Error::other(why));
        }
        let of_file = |accepted: AcceptedPolicy| match accepted.file == policy {
            true => Ok(accepted),
            false => Err(format!("it is of {}", accepted.file.display())),
        };
        let accepted = decode(&text).and_then(of_file);
        accepted.map(Some).map_err(|why| io::Error::other(format!("{}: {why}", self.path.display())))
    }

    /// Writes the copy atomically. Returns an error unless the copy is durable.
    pub fn write(&self, accepted: &AcceptedPolicy) -> io::Result<()> {
        let text = encode(accepted)?;
        let new = self.path.with_extension("new");
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        self.sync_folder()
    }

    /// Removes the copy: a mistake then leaves access to root and the node agent. Fails unless it is durable.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.sync_folder(),
        }
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}

fn encode(accepted: &AcceptedPolicy) -> io::Result<String> {
    let body = serde_json::to_string(accepted)?;
    Ok(format!("{MAGIC}{FORMAT}, {}\n{body}", Digest::of(body.as_bytes())))
}

fn decode(text: &str) -> Result<AcceptedPolicy, String> {
    let parts = text.split_once('\n').and_then(|(head, body)| {
        let (format, digest) = head.strip_prefix(MAGIC)?.split_once(", ")?;
        Some((format.parse::<u32>().ok()?, digest, body))
    });
    let (format, digest, body) = parts.ok_or("it is damaged")?;
    if format != FORMAT {
        return Err(format!("it has format {format}, and this version knows {FORMAT}"));
    }
    if Digest::of(body.as_bytes()).to_string() != digest {
        return Err("it is damaged".to_owned());
    }
    serde_json::from_str(body).map_err(|error| format!("it is damaged: {error}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const FILE: &str = "/etc/bpfman/policy.toml";

    fn accepted() -> AcceptedPolicy {
        let mut texts = PolicyTexts { policy: Some("mode = \"off\"\n".to_owned()), ..PolicyTexts::default() };
        texts.keep(Path::new("/keys/a.pub"), "-----BEGIN\n").unwrap();
        AcceptedPolicy { file: FILE.into(), texts, accepted: "2026-11-29T06:00:00Z".to_owned() }
    }

    #[test]
    fn copy_is_read_as_it_was_written_and_is_roots_alone() {
        let folder = tempfile::tempdir().unwrap();
        let copy = LastGoodCopy::new(folder.path());
        let read = || copy.read(Path::new(FILE));
        assert_eq!(read().unwrap(), None);
        copy.write(&accepted()).unwrap();
        assert_eq!(read().unwrap(), Some(accepted()));
        let of_another = copy.read(Path::new("/srv/policy.toml")).unwrap_err().to_string();
        assert!(of_another.ends_with("it is of /etc/bpfman/policy.toml"), "{of_another}");
        assert_eq!(fs::metadata(copy.path()).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(copy.path(), fs::Permissions::from_mode(0o666)).unwrap();
        assert!(read().unwrap_err().to_string().contains("must belong to root"));
        copy.remove().unwrap();
        copy.remove().unwrap();
        assert_eq!(read().unwrap(), None);
    }

    #[test]
    fn copy_with_any_byte_changed_or_missing_is_none() {
        let text = encode(&accepted()).unwrap();
        for place in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            assert!(std::str::from_utf8(&bytes[..place]).is_ok_and(|cut| decode(cut).is_err()), "{place}");
            bytes[place] ^= 1;
            assert!(std::str::from_utf8(&bytes).is_ok_and(|damaged| decode(damaged).is_err()), "{place}");
        }
        let newer = text.replacen("format 1", "format 2", 1);
        assert!(decode(&newer).unwrap_err().contains("format 2"));
    }
}
