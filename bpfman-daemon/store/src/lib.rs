//! Persistent desired state, durable when acknowledged.
//!
//! The store keeps opaque records in named tables, and a bounded journal, without knowing their meaning. One [`Batch`]
//! is one step between consistent states: after a crash at any instruction, and after power loss, all of it is there or
//! none of it, and every commit that [`Store::commit`] acknowledged is there.
//!
//! - [`Store`] is the handle: cloneable, blocking, safe from many threads. Callers that wait at the same time share
//!   one durable write.
//! - The ledger below it reveals damage whatever the engine does: a checksum in every record, one digest over all of
//!   them, and a number per commit that is also kept outside the database.
//! - A [`StorageEngine`] is an ordered map of bytes with one atomic, durable write. Two exist: [`EngineKind::Redb`], the
//!   default, and [`EngineKind::Sled`].
//!
//! Contents of the state folder: `lock` (held while open, contains the holder's pid), `acknowledged` (the number of the
//! last acknowledged commit), and `records.redb` or `records.sled/`.

mod acknowledged;
mod batch;
mod blob_id;
mod blobs;
mod digest;
mod durable;
mod engine;
mod error;
mod foreign;
mod ledger;
mod lock;
mod options;
mod record;
mod snapshot;
mod store;

pub use batch::{Batch, MAX_KEY, MAX_SHARED, MAX_TABLE_NAME, MAX_VALUE, Table};
pub use blob_id::{Blob, BlobId};
pub use blobs::{BlobAhead, Blobs};
pub use engine::redb_engine::RedbEngine;
pub use engine::sled_engine::SledEngine;
pub use engine::{EngineKind, EngineWrite, StorageEngine, StorageError, UnknownEngine, Visit};
pub use error::{CommitOutcome, FileError, StoreError};
pub use foreign::{ForeignRecord, ForeignRecords, open_foreign_sled};
pub use options::{DEFAULT_JOURNAL_LIMIT, Migration, MigrationError, StoreOptions};
pub use snapshot::{JournalEntry, Snapshot};
pub use store::Store;
