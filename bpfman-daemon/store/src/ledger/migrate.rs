//! Migration of records to the present schema, and refusal of other formats.

use std::path::Path;

use super::{Ledger, not_saved};
use crate::engine::EngineKind;
use crate::error::StoreError;
use crate::{Batch, Migration};

/// Refuses a folder of the other engine: an empty database beside it would look like the loss of all records.
pub(super) fn refuse_other_engine(folder: &Path, wanted: EngineKind) -> Result<(), StoreError> {
    let found = EngineKind::ALL.into_iter().find(|kind| *kind != wanted && kind.path(folder).exists());
    match found {
        Some(found) => Err(StoreError::OtherEngine { folder: folder.to_owned(), found, wanted }),
        None => Ok(()),
    }
}

impl Ledger {
    /// Each migration is one commit with its version number: a crash leaves a store of an intermediate version.
    pub(super) fn migrate(&mut self, schema: u32, migrations: &[Migration]) -> Result<(), StoreError> {
        if self.state.schema > schema {
            return Err(StoreError::NewerSchema {
                folder: self.folder.clone(),
                found: self.state.schema,
                supported: schema,
            });
        }
        while self.state.schema < schema {
            let from = self.state.schema;
            let Some(step) = migrations.iter().find(|step| step.from == from) else {
                return Err(StoreError::NoMigration { folder: self.folder.clone(), found: from });
            };
            let mut batch = Batch::new();
            (step.run)(&self.load()?, &mut batch).map_err(|error| StoreError::Migration {
                folder: self.folder.clone(),
                from,
                source: error.into(),
            })?;
            batch.check()?;
            self.state.schema = from + 1;
            self.commit(&[&batch], None).map_err(not_saved)?;
        }
        Ok(())
    }
}
