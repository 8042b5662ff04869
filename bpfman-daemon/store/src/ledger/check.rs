//! Consistency check: reads everything back and compares it with the store's own state.

use std::ops::ControlFlow;
use std::path::Path;

use crate::Snapshot;
use crate::digest::{RecordsDigest, unseal};
use crate::engine::StorageEngine;
use crate::error::StoreError;
use crate::record::{
    JOURNAL, LAYOUT, RECORDS, STATE_KEY, StoreState, journal_number, range_of, split_record_key,
};

/// Adds every record to `snapshot` if there is one; otherwise checks the journal. `None` if the database is empty.
pub(super) fn read_all(
    folder: &Path,
    engine: &dyn StorageEngine,
    mut snapshot: Option<&mut Snapshot>,
) -> Result<Option<StoreState>, StoreError> {
    let damaged = |why: String| StoreError::Damaged { folder: folder.to_owned(), why };
    let state = read_state(folder, engine)?;
    let expected = state.unwrap_or_default();

    let mut wrong = None;
    let mut digest = RecordsDigest::default();
    let (from, until) = range_of(RECORDS);
    engine.scan(&from, &until, &mut |key, stored| {
        digest.add(stored);
        let Some((value, (table, own_key))) = unseal(key, stored).zip(split_record_key(key)) else {
            wrong = Some(format!("the record at {} was changed", key.escape_ascii()));
            return ControlFlow::Break(());
        };
        if let Some(snapshot) = &mut snapshot {
            if !snapshot.tables.contains_key(table) {
                snapshot.tables.insert(table.to_owned(), Default::default());
            }
            if let Some(records) = snapshot.tables.get_mut(table) {
                records.insert(own_key.to_vec(), value.to_vec());
            }
        }
        ControlFlow::Continue(())
    })?;
    if let Some(why) = wrong {
        return Err(damaged(why));
    }
    if digest.count != expected.digest.count {
        return Err(damaged(format!(
            "it holds {} records instead of {}",
            digest.count, expected.digest.count
        )));
    }
    if digest != expected.digest {
        return Err(damaged("it holds other records than were last committed".into()));
    }
    // Reading the journal checks it again, so loading need not wait for it.
    if snapshot.is_none()
        && let Some(number) = wrong_journal_entry(engine, &expected)?
    {
        return Err(damaged(format!("journal entry {number} is missing, was changed, or is one too many")));
    }
    Ok(state)
}

fn read_state(folder: &Path, engine: &dyn StorageEngine) -> Result<Option<StoreState>, StoreError> {
    let Some(stored) = engine.read(STATE_KEY)? else { return Ok(None) };
    let damaged =
        || StoreError::Damaged { folder: folder.to_owned(), why: "its own description was changed".into() };
    let bytes = unseal(STATE_KEY, &stored).ok_or_else(damaged)?;
    match StoreState::from_bytes(bytes) {
        Ok(state) => Ok(Some(state)),
        Err(Some(found)) if found > LAYOUT => {
            Err(StoreError::NewerSchema { folder: folder.to_owned(), found, supported: LAYOUT })
        }
        Err(_) => Err(damaged()),
    }
}

fn wrong_journal_entry(engine: &dyn StorageEngine, state: &StoreState) -> Result<Option<u64>, StoreError> {
    let (from, until) = range_of(JOURNAL);
    let mut next = state.journal_first;
    let mut wrong = None;
    engine.scan(&from, &until, &mut |key, stored| {
        if journal_number(key) != Some(next) || next >= state.journal_next || unseal(key, stored).is_none() {
            wrong = Some(next);
            return ControlFlow::Break(());
        }
        next += 1;
        ControlFlow::Continue(())
    })?;
    Ok(wrong.or((next != state.journal_next).then_some(next)))
}
