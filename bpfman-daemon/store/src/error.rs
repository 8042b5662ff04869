use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use crate::engine::{EngineKind, StorageError};

/// Outcome of a failed commit, found by reopening the database and reading it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// The records are as before the commit.
    NotApplied,
    /// The records are as after the commit, although it was not acknowledged: treat it as done, or undo it.
    Applied,
    /// The database could not be reopened yet; the next call tries again.
    Unknown,
}

/// Error of the store. `Clone`, because callers that share one durable write share its error.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process (or another handle of this one) holds the folder.
    #[error(
        "the state folder {} is in use by {}; stop it, or give this daemon another folder",
        folder.display(),
        pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    Locked {
        folder: PathBuf,
        /// Holder, if its lock file could be read.
        pid: Option<u32>,
    },
    /// The schema of the records is newer than this program supports.
    #[error(
        "the store in {} has schema version {found}, this program knows versions up to {supported}; nothing was changed, \
         and what runs goes on; run the newer program that wrote it, or put a copy of the folder back that this one wrote",
        folder.display()
    )]
    NewerSchema { folder: PathBuf, found: u32, supported: u32 },
    /// No migration leads from the version in the store to the supported one.
    #[error(
        "the store in {} has schema version {found}, and this program cannot migrate from it; \
         run the release that wrote it, or move the folder away to start empty",
        folder.display()
    )]
    NoMigration { folder: PathBuf, found: u32 },
    #[error("migrating the store in {} from schema version {from}: {source}", folder.display())]
    Migration { folder: PathBuf, from: u32, source: Arc<dyn Error + Send + Sync> },
    #[error(
        "the store in {} was written with engine {found}, not {wanted}; \
         set engine = \"{found}\" in the section [store], or move the folder away to start empty",
        folder.display()
    )]
    OtherEngine { folder: PathBuf, found: EngineKind, wanted: EngineKind },
    /// The database is consistent, but missing or older than the last acknowledged commit.
    #[error(
        "the store in {} ends at commit {found}, but commit {acknowledged} was acknowledged: records were lost; \
         restore the folder from a backup, or remove the file {} to go on with what is left",
        folder.display(),
        folder.join("acknowledged").display()
    )]
    LostCommits { folder: PathBuf, found: u64, acknowledged: u64 },
    #[error("the store in {} is damaged: {why}; restore the folder from a backup, or move it away to start empty", folder.display())]
    Damaged { folder: PathBuf, why: String },
    #[error("{name:?} is no table name: 1 to 64 visible ASCII characters")]
    BadTableName { name: String },
    #[error("a {what} of {size} bytes is larger than the store takes ({limit} bytes)")]
    TooLarge {
        what: &'static str,
        /// Size, in bytes.
        size: usize,
        /// Limit, in bytes.
        limit: usize,
    },
    #[error("the change was not saved ({}): {source}", match outcome {
        CommitOutcome::NotApplied => "the store is as before",
        CommitOutcome::Applied => "the store holds it, unacknowledged",
        CommitOutcome::Unknown => "whether the store holds it is unknown",
    })]
    NotSaved { outcome: CommitOutcome, source: Arc<StorageError> },
    /// Opening or reading failed in the engine.
    #[error(transparent)]
    Engine(Arc<StorageError>),
}

impl From<StorageError> for StoreError {
    fn from(error: StorageError) -> StoreError {
        StoreError::Engine(Arc::new(error))
    }
}

/// Error: a file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}: {source}")]
pub struct FileError {
    /// Action, as a verb phrase.
    pub action: &'static str,
    /// File or folder.
    pub path: String,
    pub source: std::io::Error,
}
