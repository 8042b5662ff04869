//! Encoding of records, journal entries and the store's own state in one ordered map of bytes.
//!
//! | key | value (each with a checksum appended) |
//! | --- | --- |
//! | `j` and the entry's number, 8 bytes big-endian | the journal entry |
//! | `m` and a name | internal state of the store |
//! | `r`, table name, a zero byte, key | the record |

use crate::digest::RecordsDigest;

pub(crate) const JOURNAL: u8 = b'j';
pub(crate) const RECORDS: u8 = b'r';
pub(crate) const STATE_KEY: &[u8] = b"mstate";
/// Version of the key and value encodings above. A reader refuses a newer one.
pub(crate) const LAYOUT: u32 = 1;

pub(crate) fn range_of(kind: u8) -> ([u8; 1], [u8; 1]) {
    ([kind], [kind + 1])
}

pub(crate) fn record_key(table: &str, key: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(2 + table.len() + key.len());
    stored.push(RECORDS);
    stored.extend_from_slice(table.as_bytes());
    stored.push(0);
    stored.extend_from_slice(key);
    stored
}

pub(crate) fn split_record_key(stored: &[u8]) -> Option<(&str, &[u8])> {
    let rest = stored.strip_prefix(&[RECORDS])?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    Some((std::str::from_utf8(&rest[..end]).ok()?, &rest[end + 1..]))
}

pub(crate) fn journal_key(number: u64) -> Vec<u8> {
    let mut stored = vec![JOURNAL];
    stored.extend_from_slice(&number.to_be_bytes());
    stored
}

pub(crate) fn journal_number(stored: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(stored.strip_prefix(&[JOURNAL])?.try_into().ok()?))
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StoreState {
    /// Assigned by the records' owner.
    pub(crate) schema: u32,
    /// Number of the commit that wrote this state; increases by one.
    pub(crate) number: u64,
    pub(crate) digest: RecordsDigest,
    pub(crate) journal_first: u64,
    pub(crate) journal_next: u64,
}

impl StoreState {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(48);
        bytes.extend_from_slice(&LAYOUT.to_le_bytes());
        bytes.extend_from_slice(&self.schema.to_le_bytes());
        let words = [self.number, self.digest.count, self.digest.sum, self.journal_first, self.journal_next];
        words.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        bytes
    }

    /// `Err` holds the layout version if it is not supported.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<StoreState, Option<u32>> {
        let (layout, rest) = bytes.split_first_chunk::<4>().ok_or(None)?;
        let layout = u32::from_le_bytes(*layout);
        if layout != LAYOUT {
            return Err(Some(layout));
        }
        let (schema, rest) = rest.split_first_chunk::<4>().ok_or(None)?;
        let (words, tail) = rest.as_chunks::<8>();
        let &[number, count, sum, journal_first, journal_next] = words else { return Err(None) };
        if !tail.is_empty() {
            return Err(None);
        }
        Ok(StoreState {
            schema: u32::from_le_bytes(*schema),
            number: u64::from_le_bytes(number),
            digest: RecordsDigest { count: u64::from_le_bytes(count), sum: u64::from_le_bytes(sum) },
            journal_first: u64::from_le_bytes(journal_first),
            journal_next: u64::from_le_bytes(journal_next),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_split_into_what_they_were_made_of() {
        assert_eq!(split_record_key(&record_key("links", b"\0a\0")), Some(("links", &b"\0a\0"[..])));
        assert_eq!(split_record_key(&record_key("links", b"")), Some(("links", &b""[..])));
        assert_eq!(journal_number(&journal_key(u64::MAX)), Some(u64::MAX));
        assert_eq!(journal_number(b"j123"), None);
    }

    #[test]
    fn tables_do_not_run_into_each_other() {
        assert_ne!(record_key("a", b"bc"), record_key("ab", b"c"));
    }

    #[test]
    fn the_state_survives_its_own_bytes_and_no_others() {
        let state = StoreState {
            schema: 7,
            number: 1 << 40,
            digest: RecordsDigest { count: 3, sum: u64::MAX },
            journal_first: 4,
            journal_next: 9,
        };
        let bytes = state.to_bytes();
        assert_eq!(StoreState::from_bytes(&bytes), Ok(state));
        assert_eq!(StoreState::from_bytes(&bytes[..bytes.len() - 1]), Err(None));
        assert_eq!(StoreState::from_bytes(&[2, 0, 0, 0, 0]), Err(Some(2)));
    }
}
