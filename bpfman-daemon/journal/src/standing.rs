//! How the journal is.

/// How the journal is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalStanding {
    /// Number of the oldest entry; 0: there is none.
    pub first: u64,
    /// Number of the newest; 0: there is none.
    pub last: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Most bytes that they may have.
    pub most_bytes: u64,
    /// Entries that could not be written, since the daemon started.
    pub lost: u64,
    /// Refusals without an entry of their own, since there were too many.
    pub suppressed: u64,
    /// Why the last entry could not be written; empty while entries are.
    pub failure: String,
    /// Bytes that were no entry when the journal was opened, and were cut.
    pub cut: u64,
}
