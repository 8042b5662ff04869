//! The signature policy, from files that only root can write, as they are now.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use bpfmand_image::{LegacySigning, Policy, PolicyFile};

use crate::config::Config;

/// What a file looked like when it was read: another inode, size or time is another text.
type Stamp = Option<(u64, u64, i64, i64)>;

/// The policy, read again as soon as one of its files changes: a revoked key must not wait for a restart.
#[derive(Debug)]
pub struct PolicySource {
    file: (PathBuf, bool),
    legacy: LegacySigning,
    read: Mutex<Read>,
}

#[derive(Debug)]
struct Read {
    policy: Arc<Policy>,
    stamps: BTreeMap<PathBuf, Stamp>,
}

impl PolicySource {
    /// Reads the policy. Without a file, signatures are enforced and no signer is trusted.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        let (file, legacy) = (config.policy.clone(), config.signing);
        let read = Mutex::new(read(&file, legacy)?);
        Ok(Self { file, legacy, read })
    }

    /// The policy as its files are now, and whether it is another one than at the last call.
    ///
    /// A file that cannot be followed any more is an error: going on with what it said before could load what it now
    /// forbids.
    pub fn current(&self) -> anyhow::Result<(Arc<Policy>, bool)> {
        let mut known = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if known.stamps.iter().all(|(path, seen)| stamp(path) == *seen) {
            return Ok((Arc::clone(&known.policy), false));
        }
        *known = read(&self.file, self.legacy)?;
        tracing::info!(policy = %self.file.0.display(), "the signature policy was read again");
        Ok((Arc::clone(&known.policy), true))
    }
}

fn read((path, required): &(PathBuf, bool), legacy: LegacySigning) -> anyhow::Result<Read> {
    // Stamped before they are read: a change in between is seen as one at the next look.
    let mut stamps = BTreeMap::from([(path.clone(), stamp(path))]);
    let mut read_file = |named: &Path| {
        stamps.insert(named.to_owned(), stamp(named));
        read_root_file(named)
    };
    let file = match read_root_file(path) {
        Ok(text) => Some(
            PolicyFile::parse(&text, &mut read_file)
                .with_context(|| format!("signature policy {}", path.display()))?,
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !required => None,
        Err(error) => {
            return Err(error).with_context(|| format!("cannot trust signature policy {}", path.display()));
        }
    };
    Ok(Read { policy: Arc::new(Policy::resolve(file, legacy)), stamps })
}

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.size(), metadata.ctime(), metadata.ctime_nsec()))
}

/// Reads a file if nobody but root can change it.
pub fn read_root_file(path: &Path) -> io::Result<String> {
    let file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    let others_may_write = metadata.mode() & 0o022 != 0;
    if metadata.uid() != 0 || others_may_write {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{} must belong to root and be writable by nobody else", path.display()),
        ));
    }
    io::read_to_string(file)
}
