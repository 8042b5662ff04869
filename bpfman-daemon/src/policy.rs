//! The policy, from files that only root can write, as they are now: whose images count, and who may do what.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use bpfmand_access::{AccessPolicy, AccessVerb, AccountNames, ApplicationPattern, Grant, GrantCallers};
use bpfmand_api::{AccessSource, UnreadablePolicy};
use bpfmand_image::{LegacySigning, Policy, PolicyFile};

use crate::config::Config;
use crate::group;

/// The name of the grant of [`Config::node_agent_user`].
const NODE_AGENT: &str = "node-agent";

/// What a file looked like when it was read: another inode, size or time is another text.
type Stamp = Option<(u64, u64, i64, i64)>;

/// The policy, read again as soon as one of its files changes: a revoked key must not wait for a restart.
#[derive(Debug)]
pub struct PolicySource {
    file: (PathBuf, bool),
    legacy: LegacySigning,
    node_agent: Option<u32>,
    read: Mutex<Read>,
}

#[derive(Debug)]
struct Read {
    policy: Arc<Policy>,
    access: Arc<AccessPolicy>,
    stamps: BTreeMap<PathBuf, Stamp>,
}

impl PolicySource {
    /// Reads the policy. Without a file, signatures are enforced and no signer is trusted.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        let (file, legacy, node_agent) = (config.policy.clone(), config.signing, config.node_agent_user);
        let read = Mutex::new(read(&file, legacy, node_agent)?);
        Ok(Self { file, legacy, node_agent, read })
    }

    /// The policy as its files are now. Another one than before is another value behind the pointer.
    ///
    /// A file that cannot be followed any more is an error: going on with what it said before could load what it now
    /// forbids.
    pub fn current(&self) -> anyhow::Result<Arc<Policy>> {
        Ok(self.read_again()?.0)
    }

    fn read_again(&self) -> anyhow::Result<(Arc<Policy>, Arc<AccessPolicy>)> {
        let mut known = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if known.stamps.iter().any(|(path, seen)| stamp(path) != *seen) {
            *known = read(&self.file, self.legacy, self.node_agent)?;
            tracing::info!(policy = %self.file.0.display(), "the policy was read again");
        }
        Ok((Arc::clone(&known.policy), Arc::clone(&known.access)))
    }
}

impl AccessSource for PolicySource {
    fn policy(&self) -> Result<Arc<AccessPolicy>, UnreadablePolicy> {
        let read = self.read_again().map(|(_, access)| access);
        read.map_err(|error| UnreadablePolicy(format!("{error:#}").into()))
    }
}

/// Users and groups of this machine.
struct Accounts;

impl AccountNames for Accounts {
    fn user(&self, name: &str) -> Option<u32> {
        group::find_user(name)
    }

    fn group(&self, name: &str) -> Option<u32> {
        group::find(name).ok()
    }
}

/// What the node agent may do: all that a grant can allow, on what belongs to applications.
fn node_agent_grant(user: u32) -> Grant {
    let every_name = "*".parse::<ApplicationPattern>();
    Grant {
        name: NODE_AGENT.to_owned(),
        callers: GrantCallers { users: [user].into(), ..GrantCallers::default() },
        verbs: AccessVerb::GRANTABLE.into(),
        applications: every_name.into_iter().collect(),
        ..Grant::default()
    }
}

fn read(
    (path, required): &(PathBuf, bool),
    legacy: LegacySigning,
    node_agent: Option<u32>,
) -> anyhow::Result<Read> {
    // Stamped before they are read: a change in between is seen as one at the next look.
    let mut stamps = BTreeMap::from([(path.clone(), stamp(path))]);
    let mut read_file = |named: &Path| {
        stamps.insert(named.to_owned(), stamp(named));
        read_root_file(named)
    };
    let (file, mut access) = match read_root_file(path) {
        Ok(text) => {
            let file = PolicyFile::parse(&text, &mut read_file)
                .with_context(|| format!("signature policy {}", path.display()))?;
            let access = AccessPolicy::parse(&text, &Accounts)
                .with_context(|| format!("grants of {}", path.display()))?;
            (Some(file), access)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && !required => (None, AccessPolicy::default()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot trust signature policy {}", path.display()));
        }
    };
    access.grants.extend(node_agent.map(node_agent_grant));
    Ok(Read { policy: Arc::new(Policy::resolve(file, legacy)), access: Arc::new(access), stamps })
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
