//! What the store says when it cannot.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use crate::engine::{EngineKind, StorageError};

/// What a failed commit left behind, found by opening the database again and reading it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// The records are as before the commit.
    NotApplied,
    /// The records are as after the commit, though it was never acknowledged: take it as done, or undo it with another
    /// commit.
    Applied,
    /// The database could not be opened again yet; the next call tries once more.
    Unknown,
}

/// Why the store refused or failed. Cloneable, because callers that shared one durable write share its failure.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process (or another handle of this one) has the folder.
    #[error(
        "the state folder {} is in use by {}; stop it, or give this daemon another folder",
        folder.display(),
        pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    Locked {
        /// The state folder.
        folder: PathBuf,
        /// The holder, where its lock file could be read.
        pid: Option<u32>,
    },
    /// The records are of a version this program does not know.
    #[error(
        "the store in {} has schema version {found}, this program knows versions up to {supported}; nothing was changed, \
         and what runs goes on; run the newer program that wrote it, or put a copy of the folder back that this one wrote",
        folder.display()
    )]
    NewerSchema {
        /// The state folder.
        folder: PathBuf,
        /// The version found.
        found: u32,
        /// The newest version known.
        supported: u32,
    },
    /// There is no way from the version found to the one wanted.
    #[error(
        "the store in {} has schema version {found}, and this program cannot migrate from it; \
         run the release that wrote it, or move the folder away to start empty",
        folder.display()
    )]
    NoMigration {
        /// The state folder.
        folder: PathBuf,
        /// The version found.
        found: u32,
    },
    /// A migration refused what it read; nothing was changed.
    #[error("migrating the store in {} from schema version {from}: {source}", folder.display())]
    Migration {
        /// The state folder.
        folder: PathBuf,
        /// The version it started from.
        from: u32,
        /// Its reason.
        source: Arc<dyn Error + Send + Sync>,
    },
    /// The folder holds the database of the other engine.
    #[error(
        "the store in {} was written with engine {found}, not {wanted}; \
         set engine = \"{found}\" in the section [store], or move the folder away to start empty",
        folder.display()
    )]
    OtherEngine {
        /// The state folder.
        folder: PathBuf,
        /// What wrote it.
        found: EngineKind,
        /// What was asked for.
        wanted: EngineKind,
    },
    /// The database is whole, but older than what was acknowledged, or there is none any more.
    #[error(
        "the store in {} ends at commit {found}, but commit {acknowledged} was acknowledged: records were lost; \
         restore the folder from a backup, or remove the file {} to go on with what is left",
        folder.display(),
        folder.join("acknowledged").display()
    )]
    LostCommits {
        /// The state folder.
        folder: PathBuf,
        /// The last commit in the database.
        found: u64,
        /// The last commit that was acknowledged.
        acknowledged: u64,
    },
    /// What was read back contradicts itself.
    #[error("the store in {} is damaged: {why}; restore the folder from a backup, or move it away to start empty", folder.display())]
    Damaged {
        /// The state folder.
        folder: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A table name outside the allowed bytes.
    #[error("{name:?} is no table name: 1 to 64 visible ASCII characters")]
    BadTableName {
        /// The name.
        name: String,
    },
    /// Something beyond its limit; nothing was written.
    #[error("a {what} of {size} bytes is larger than the store takes ({limit} bytes)")]
    TooLarge {
        /// What it was.
        what: &'static str,
        /// Its bytes.
        size: usize,
        /// The most it may have.
        limit: usize,
    },
    /// A commit failed and is not acknowledged.
    #[error("the change was not saved ({}): {source}", match outcome {
        CommitOutcome::NotApplied => "the store is as before",
        CommitOutcome::Applied => "the store holds it, unacknowledged",
        CommitOutcome::Unknown => "whether the store holds it is unknown",
    })]
    NotSaved {
        /// What opening the database again showed.
        outcome: CommitOutcome,
        /// What failed.
        source: Arc<StorageError>,
    },
    /// Opening or reading failed below.
    #[error(transparent)]
    Engine(Arc<StorageError>),
}

impl From<StorageError> for StoreError {
    fn from(error: StorageError) -> StoreError {
        StoreError::Engine(Arc::new(error))
    }
}

/// A file that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}: {source}")]
pub struct FileError {
    /// A verb phrase.
    pub action: &'static str,
    /// The file or folder.
    pub path: String,
    /// Why.
    pub source: std::io::Error,
}
