#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalState {
    /// Number of the oldest entry; 0 if there is none.
    pub first: u64,
    /// Number of the newest entry; 0 if there is none.
    pub last: u64,
    /// Size of its files, in bytes.
    pub bytes: u64,
    /// Maximum size, in bytes.
    pub most_bytes: u64,
    /// Number of entries that could not be written since the daemon started.
    pub lost: u64,
    /// Number of refusals without an entry of their own, because there were too many.
    pub suppressed: u64,
    /// Reason why the last entry could not be written; empty after a success.
    pub failure: String,
    /// Number of invalid bytes cut when the journal was opened.
    pub cut: u64,
}
